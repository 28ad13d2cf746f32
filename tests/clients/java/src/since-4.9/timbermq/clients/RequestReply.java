package timbermq.clients;

import java.nio.charset.StandardCharsets;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.RequestTimeoutException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/**
 * Requests and their replies, both ends in this process.
 *
 * <p>Client 5.3.3 wakes {@code request} as soon as the request is sent and reports a timeout unless the reply has already come;
 * what counts therefore is that the broker took a reply, which it does only after the requester acknowledged the push.
 */
final class RequestReply {
    private static final int REQUEST_TIMEOUT_MS = 3_000;
    private static final long PAUSE_MS = 1_000;

    private RequestReply() {}

    static boolean run(Events events, String namesrv, String topic, String group, int waitMs) throws Exception {
        AtomicInteger taken = new AtomicInteger();
        DefaultMQProducer producer = new DefaultMQProducer(group + "-requester");
        producer.setNamesrvAddr(namesrv);
        producer.setInstanceName("requester");
        DefaultMQProducer replier = new DefaultMQProducer(group + "-replier");
        replier.setNamesrvAddr(namesrv);
        replier.setInstanceName("replier");
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.setInstanceName("server");
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                try {
                    replier.send(MessageUtil.createReplyMessage(message, "answer".getBytes(StandardCharsets.UTF_8)));
                    taken.incrementAndGet();
                } catch (Exception e) {
                    System.err.println("driver: reply: " + Events.describe(e));
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        producer.start();
        replier.start();
        consumer.start();
        Message reply = null;
        double end = Clock.nowMs() + waitMs;
        // A consumer that has just joined may not have its queues yet, so the first request may go unanswered.
        while (reply == null && taken.get() == 0 && Clock.nowMs() < end) {
            try {
                Message request = new Message(topic, "TagA", "question".getBytes(StandardCharsets.UTF_8));
                reply = producer.request(request, REQUEST_TIMEOUT_MS);
            } catch (RequestTimeoutException e) {
                System.err.println("driver: request: " + Events.describe(e));
                Thread.sleep(PAUSE_MS);
            }
        }
        while (taken.get() == 0 && Clock.nowMs() < end) {
            Thread.sleep(50);
        }
        consumer.shutdown();
        replier.shutdown();
        producer.shutdown();
        events.emit(new Json("done").put("replied", reply != null).put("taken", taken.get()));
        return taken.get() > 0;
    }
}
