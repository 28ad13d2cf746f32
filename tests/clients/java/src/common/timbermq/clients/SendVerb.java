package timbermq.clients;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.MessageQueueSelector;
import org.apache.rocketmq.client.producer.SendCallback;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageClientIDSetter;
import org.apache.rocketmq.common.message.MessageQueue;

/** Sends numbered messages and reports the outcome of each. */
final class SendVerb {
    /** Rest after a failure, so that a dead broker does not turn the driver into a busy loop. */
    private static final long PAUSE_AFTER_ERROR_MS = 20;
    /** The client tries an asynchronous send again on its own; each try may take the whole timeout. */
    private static final int ASYNC_TRIES = 4;
    /**
     * Asynchronous sends that wait for the one before, so that each connection is made by one of them: where two make the same
     * one at once, client 4.4.0 closes the first one's with its send in it, and tries that again without any time.
     */
    private static final int ONE_AT_A_TIME = 64;

    private final Events events;
    private final StopSignal stop;
    private final DefaultMQProducer producer;
    private final String topic;
    private final String id;
    private final String kind;
    private final long first;
    private final long count;
    private final int queues;
    private final int batch;
    private final String[] tags;
    private final int bodyBytes;
    private final int timeoutMs;
    private final Pacer pacer;
    private final int window;
    private final Semaphore slots;
    private final Map<Long, Double> inFlight = new ConcurrentHashMap<>();
    private final AtomicLong ok = new AtomicLong();
    private final AtomicLong failed = new AtomicLong();

    SendVerb(Arguments arguments, Events events) {
        this.events = events;
        kind = arguments.oneOf("kind", "sync", "async", "oneway", "batch", "ordered");
        topic = arguments.required("topic");
        id = arguments.required("id");
        first = arguments.number("start", 0, 0, Long.MAX_VALUE / 2);
        count = arguments.number("count", 0, 0, Long.MAX_VALUE / 2);
        queues = arguments.small("queues", 8, 1, 65_535);
        batch = kind.equals("batch") ? arguments.small("batch", 16, 1, 10_000) : 1;
        arguments.text("batch", "");
        String names = arguments.text("tags", "TagA,TagB,TagC");
        tags = names.isEmpty() ? new String[0] : names.split(",");
        bodyBytes = arguments.small("body_bytes", 100, 0, 16 << 20);
        timeoutMs = arguments.small("timeout_ms", 3_000, 1, 600_000);
        pacer = new Pacer(arguments.number("rate", 0, 0, 10_000_000), batch);
        window = arguments.small("window", 64, 1, 65_536);
        slots = new Semaphore(window);
        arguments.oneOf("trigger", "none");

        producer = new DefaultMQProducer(arguments.required("group"));
        producer.setNamesrvAddr(arguments.required("namesrv"));
        producer.setSendMsgTimeout(timeoutMs);
        if (kind.equals("ordered")) {
            // A topic that the first send creates gets as many queues as the order relies on.
            producer.setDefaultTopicQueueNums(queues);
        }
        arguments.rejectUnknown();
        stop = StopSignal.onStdin();
    }

    boolean run() throws MQClientException, InterruptedException {
        producer.start();
        long end = count == 0 ? Long.MAX_VALUE : first + count;
        for (long seq = first; seq < end; seq += batch) {
            if (pacer.await(stop)) {
                break;
            }
            send(seq, (int) Math.min(batch, end - seq));
        }
        drain();
        producer.shutdown();
        events.emit(new Json("done").put("ok", ok.get()).put("failed", failed.get()));
        return true;
    }

    private void send(long seq, int n) throws InterruptedException {
        if (kind.equals("async")) {
            acquireSlot(seq);
        }
        Message message = Payload.message(topic, id, seq, tags, bodyBytes);
        double t0 = Clock.nowMs();
        try {
            switch (kind) {
                case "async":
                    inFlight.put(seq, t0);
                    producer.send(message, answer(seq), timeoutMs);
                    break;
                case "oneway":
                    producer.sendOneway(message);
                    sentOneway(seq, message, t0);
                    break;
                case "batch":
                    List<Message> messages = new ArrayList<>(n);
                    for (long i = seq; i < seq + n; i++) {
                        messages.add(Payload.message(topic, id, i, tags, bodyBytes));
                    }
                    sent(seq, n, producer.send(messages, timeoutMs), t0);
                    break;
                case "ordered":
                    sent(seq, n, producer.send(message, queueBySeq(), seq, timeoutMs), t0);
                    break;
                default:
                    sent(seq, n, producer.send(message, timeoutMs), t0);
            }
        } catch (InterruptedException e) {
            throw e;
        } catch (Exception e) {
            if (!kind.equals("async") || finish(seq) != null) {
                failed(seq, n, e, t0);
            }
            stop.await(PAUSE_AFTER_ERROR_MS);
        }
    }

    private void acquireSlot(long seq) throws InterruptedException {
        // One that never comes back is told in the end, by whoever waits for all of them.
        if (seq < first + ONE_AT_A_TIME && slots.tryAcquire(window, answerMs(), TimeUnit.MILLISECONDS)) {
            slots.release(window - 1);
        } else {
            slots.acquire();
        }
    }

    private MessageQueueSelector queueBySeq() {
        return (offered, message, seq) -> {
            int wanted = (int) ((Long) seq % queues);
            for (MessageQueue queue : offered) {
                if (queue.getQueueId() == wanted) {
                    return queue;
                }
            }
            // Another queue would break the order silently.
            throw new IllegalStateException("no write queue " + wanted + " in " + offered);
        };
    }

    private SendCallback answer(long seq) {
        return new SendCallback() {
            @Override
            public void onSuccess(SendResult result) {
                Double t0 = finish(seq);
                if (t0 != null) {
                    sent(seq, 1, result, t0);
                }
            }

            @Override
            public void onException(Throwable error) {
                Double t0 = finish(seq);
                if (t0 != null) {
                    failed(seq, 1, error, t0);
                }
            }
        };
    }

    /** Gives the slot back; null when that was already done. */
    private Double finish(long seq) {
        Double t0 = inFlight.remove(seq);
        if (t0 != null) {
            slots.release();
        }
        return t0;
    }

    /** The longest that an asynchronous send may take. */
    private long answerMs() {
        return (long) timeoutMs * ASYNC_TRIES + 5_000;
    }

    /** Waits for outstanding answers; those that never come are failures of the client. */
    private void drain() throws InterruptedException {
        if (!slots.tryAcquire(window, answerMs(), TimeUnit.MILLISECONDS)) {
            for (Long seq : inFlight.keySet()) {
                Double t0 = finish(seq);
                if (t0 != null) {
                    failed(seq, 1, new IllegalStateException("the client never called back"), t0);
                }
            }
        }
    }

    private void sent(long seq, int n, SendResult result, double t0) {
        double t1 = Clock.nowMs();
        MessageQueue queue = result.getMessageQueue();
        ok.addAndGet(n);
        events.emit(span("sent", seq, n)
            .put("queue", queue.getQueueId()).put("offset", result.getQueueOffset())
            .put("msgid", result.getMsgId()).put("offset_msgid", result.getOffsetMsgId())
            .put("status", result.getSendStatus().name())
            .putMs("t0", t0).putMs("t1", t1));
    }

    private void sentOneway(long seq, Message message, double t0) {
        double t1 = Clock.nowMs();
        ok.incrementAndGet();
        events.emit(span("sent", seq, 1)
            .put("queue", -1).put("offset", -1)
            .put("msgid", MessageClientIDSetter.getUniqID(message)).put("offset_msgid", "")
            .put("status", "ONEWAY")
            .putMs("t0", t0).putMs("t1", t1));
    }

    private void failed(long seq, int n, Throwable error, double t0) {
        double t1 = Clock.nowMs();
        failed.addAndGet(n);
        events.emit(span("error", seq, n).put("error", Events.describe(error)).putMs("t0", t0).putMs("t1", t1));
    }

    private Json span(String event, long seq, int n) {
        Json json = new Json(event).put("seq", seq);
        return kind.equals("batch") ? json.put("n", n) : json;
    }
}
