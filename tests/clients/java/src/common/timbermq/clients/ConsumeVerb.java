package timbermq.clients;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.MessageExt;

/** Consumes a topic with one of the client's consumers until stopped. */
final class ConsumeVerb {
    private final Events events;
    private final String kind;
    private final ConsumeOptions options;
    private final Receiver receiver;
    private final boolean failFirst;

    ConsumeVerb(Arguments arguments, Events events) {
        this.events = events;
        kind = arguments.oneOf("kind", "push", "broadcast", "orderly", "pull", "litepull");
        failFirst = arguments.oneOf("fail_first", "0", "1").equals("1");
        options = new ConsumeOptions(arguments);
        arguments.rejectUnknown();
        receiver = new Receiver(events, failFirst);
    }

    boolean run() throws Exception {
        if (failFirst && kind.endsWith("pull")) {
            throw new UnsupportedException("fail_first: a pulling consumer has no listener that could refuse a message");
        }
        switch (kind) {
            case "pull":
                PullConsume.run(options, events, receiver, StopSignal.onStdin());
                break;
            case "litepull":
                LitePullConsume.run(options, events, receiver);
                break;
            default:
                push(StopSignal.onStdin());
        }
        events.emit(new Json("done").put("received", receiver.received()));
        return true;
    }

    private void push(StopSignal stop) throws MQClientException, InterruptedException {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(options.group);
        consumer.setNamesrvAddr(options.namesrv);
        if (!options.instance.isEmpty()) {
            consumer.setInstanceName(options.instance);
        }
        consumer.setConsumeFromWhere(options.fromFirst
            ? ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET : ConsumeFromWhere.CONSUME_FROM_LAST_OFFSET);
        consumer.setConsumeThreadMin(options.threads);
        consumer.setConsumeThreadMax(options.threads);
        consumer.subscribe(options.topic, options.tag);
        if (kind.equals("broadcast")) {
            setBroadcasting(consumer);
        }
        if (kind.equals("orderly")) {
            consumer.registerMessageListener((MessageListenerOrderly) (messages, context) ->
                acceptAll(messages) ? ConsumeOrderlyStatus.SUCCESS : ConsumeOrderlyStatus.SUSPEND_CURRENT_QUEUE_A_MOMENT);
        } else {
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) ->
                acceptAll(messages) ? ConsumeConcurrentlyStatus.CONSUME_SUCCESS : ConsumeConcurrentlyStatus.RECONSUME_LATER);
        }
        consumer.start();
        events.emit(new Json("ready"));
        QueueWatch.start(events, stop, options.topic,
            () -> consumer.getDefaultMQPushConsumerImpl().getRebalanceImpl().getProcessQueueTable().keySet());
        stop.await();
        consumer.shutdown();
    }

    /** The enumeration moved to another package in 5.0, so its name cannot stand here. */
    @SuppressWarnings("static-access")
    private static void setBroadcasting(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(consumer.getMessageModel().valueOf("BROADCASTING"));
    }

    /** The default batch is one message; a longer one succeeds or fails as a whole. */
    private boolean acceptAll(List<MessageExt> messages) {
        boolean all = true;
        for (MessageExt message : messages) {
            all &= receiver.accept(message);
        }
        return all;
    }
}
