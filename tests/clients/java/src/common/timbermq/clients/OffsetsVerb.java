package timbermq.clients;

import java.util.TreeSet;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.impl.MQAdminImpl;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;

/** Prints the offset range of every readable queue of a topic. */
final class OffsetsVerb {
    private final Events events;
    private final DefaultMQProducer client;
    private final String topic;
    private final long timestamp;

    OffsetsVerb(Arguments arguments, Events events) {
        this.events = events;
        topic = arguments.required("topic");
        timestamp = arguments.number("timestamp", -1, -1, Long.MAX_VALUE);
        client = new DefaultMQProducer(arguments.text("group", "timbermq-offsets"));
        client.setNamesrvAddr(arguments.required("namesrv"));
        arguments.rejectUnknown();
    }

    boolean run() throws MQClientException {
        client.start();
        int queues = 0;
        boolean good = true;
        try {
            MQAdminImpl admin = client.getDefaultMQProducerImpl().getmQClientFactory().getMQAdminImpl();
            for (MessageQueue queue : new TreeSet<>(admin.fetchSubscribeMessageQueues(topic))) {
                long min = admin.minOffset(queue);
                long max = admin.maxOffset(queue);
                long byTime = timestamp < 0 ? -1 : admin.searchOffset(queue, timestamp);
                queues++;
                events.emit(new Json("queue").put("queue", queue.getQueueId())
                    .put("min", min).put("max", max).put("by_time", byTime));
            }
        } catch (MQClientException e) {
            good = false;
            events.emit(new Json("error").put("error", Events.describe(e)));
        }
        client.shutdown();
        events.emit(new Json("done").put("queues", queues));
        return good;
    }
}
