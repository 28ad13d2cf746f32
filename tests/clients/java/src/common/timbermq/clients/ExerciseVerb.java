package timbermq.clients;

import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

/** Makes, once each, the calls that no other verb makes, so that their frames can be recorded. */
final class ExerciseVerb {
    private final Events events;
    private final String namesrv;
    private final String topic;
    private final String group;
    private final String kind;
    private final int waitMs;

    ExerciseVerb(Arguments arguments, Events events) {
        this.events = events;
        kind = arguments.oneOf("kind", "transaction", "sql", "reply");
        namesrv = arguments.required("namesrv");
        topic = arguments.required("topic");
        group = arguments.required("group");
        waitMs = arguments.small("wait_ms", 20_000, 0, 600_000);
        arguments.rejectUnknown();
    }

    boolean run() throws Exception {
        switch (kind) {
            case "transaction":
                return transaction();
            case "sql":
                return sql();
            default:
                return RequestReply.run(events, namesrv, topic, group, waitMs);
        }
    }

    /** Commits one message, rolls one back, and leaves one to the broker's check for at most {@code waitMs}. */
    private boolean transaction() throws Exception {
        AtomicInteger checks = new AtomicInteger();
        TransactionMQProducer producer = new TransactionMQProducer(group);
        producer.setNamesrvAddr(namesrv);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object state) {
                return (LocalTransactionState) state;
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                checks.incrementAndGet();
                return LocalTransactionState.COMMIT_MESSAGE;
            }
        });
        producer.start();
        long seq = 0;
        for (LocalTransactionState state : LocalTransactionState.values()) {
            Message message = Payload.message(topic, group, seq, new String[] {"TagA"}, 100);
            producer.sendMessageInTransaction(message, state);
            events.emit(new Json("transaction").put("seq", seq).put("state", state.name()));
            seq++;
        }
        waitUntilPositive(checks);
        // The answer to the check leaves the client after the listener returned.
        Thread.sleep(500);
        producer.shutdown();
        events.emit(new Json("done").put("checks", checks.get()));
        return checks.get() > 0;
    }

    /** Consumes with an SQL expression until the first message or {@code waitMs}. */
    private boolean sql() throws Exception {
        AtomicInteger received = new AtomicInteger();
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group);
        consumer.setNamesrvAddr(namesrv);
        consumer.subscribe(topic, MessageSelector.bySql("seq > 2 AND TAGS IN ('TagA', 'TagB')"));
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            received.incrementAndGet();
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        waitUntilPositive(received);
        consumer.shutdown();
        events.emit(new Json("done").put("received", received.get()));
        return received.get() > 0;
    }

    private void waitUntilPositive(AtomicInteger number) throws InterruptedException {
        double end = Clock.nowMs() + waitMs;
        while (number.get() == 0 && Clock.nowMs() < end) {
            Thread.sleep(50);
        }
    }
}
