package timbermq.clients;

import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/** DefaultLitePullConsumer in subscribe mode: the group shares the queues, the client commits by itself. */
final class LitePullConsume {
    private static final long POLL_MS = 200;

    private LitePullConsume() {}

    static void run(ConsumeOptions options, Events events, Receiver receiver) throws MQClientException {
        StopSignal stop = StopSignal.onStdin();
        DefaultLitePullConsumer consumer = new DefaultLitePullConsumer(options.group);
        consumer.setNamesrvAddr(options.namesrv);
        if (!options.instance.isEmpty()) {
            consumer.setInstanceName(options.instance);
        }
        consumer.setConsumeFromWhere(options.fromFirst
            ? ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET : ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        // A pull that the broker holds keeps its thread for 20 s: fewer threads than queues would starve some of them.
        consumer.setPullThreadNums(Math.max(consumer.getPullThreadNums(), options.threads));
        consumer.subscribe(options.topic, options.tag);
        consumer.start();
        events.emit(new Json("ready"));
        QueueWatch.start(events, stop, options.topic, consumer::assignment);
        while (!stop.requested()) {
            for (MessageExt message : consumer.poll(POLL_MS)) {
                receiver.accept(message);
            }
        }
        // What was printed counts as consumed: without this the automatic commit may be seconds behind.
        consumer.commitSync();
        consumer.shutdown();
    }
}
