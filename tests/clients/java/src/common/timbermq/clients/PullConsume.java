package timbermq.clients;

import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

/** The old DefaultMQPullConsumer: one thread per queue of the topic, all of them pulled, nothing committed. */
final class PullConsume {
    private static final int MOST_MESSAGES = 32;
    private static final long REFRESH_QUEUES_MS = 5_000;
    private static final long PAUSE_AFTER_ERROR_MS = 500;
    private static final long JOIN_MS = 5_000;

    private final ConsumeOptions options;
    private final Receiver receiver;
    private final StopSignal stop;
    private final DefaultMQPullConsumer consumer;
    private final Map<MessageQueue, Thread> pullers = new ConcurrentHashMap<>();

    private PullConsume(ConsumeOptions options, Receiver receiver, StopSignal stop) {
        this.options = options;
        this.receiver = receiver;
        this.stop = stop;
        consumer = new DefaultMQPullConsumer(options.group);
        consumer.setNamesrvAddr(options.namesrv);
        if (!options.instance.isEmpty()) {
            consumer.setInstanceName(options.instance);
        }
    }

    static void run(ConsumeOptions options, Events events, Receiver receiver, StopSignal stop)
            throws MQClientException, InterruptedException {
        new PullConsume(options, receiver, stop).run(events);
    }

    private void run(Events events) throws MQClientException, InterruptedException {
        consumer.start();
        events.emit(new Json("ready"));
        QueueWatch.start(events, stop, options.topic, pullers::keySet);
        do {
            try {
                startPullers(consumer.fetchSubscribeMessageQueues(options.topic));
            } catch (MQClientException e) {
                System.err.println("driver: queues of " + options.topic + ": " + Events.describe(e));
            }
        } while (!stop.await(pullers.isEmpty() ? PAUSE_AFTER_ERROR_MS : REFRESH_QUEUES_MS));
        // Pulls that the broker holds are broken off, not awaited.
        for (Thread puller : pullers.values()) {
            puller.interrupt();
        }
        for (Thread puller : pullers.values()) {
            puller.join(JOIN_MS);
        }
        consumer.shutdown();
    }

    private void startPullers(Set<MessageQueue> queues) {
        for (MessageQueue queue : queues) {
            pullers.computeIfAbsent(queue, q -> {
                Thread thread = new Thread(() -> pull(q), "pull-" + q.getQueueId());
                thread.setDaemon(true);
                thread.start();
                return thread;
            });
        }
    }

    private void pull(MessageQueue queue) {
        long offset = -1;
        while (!stop.requested()) {
            try {
                if (offset < 0) {
                    offset = options.fromFirst ? consumer.minOffset(queue) : consumer.maxOffset(queue);
                }
                PullResult result = consumer.pullBlockIfNotFound(queue, options.tag, offset, MOST_MESSAGES);
                if (result.getPullStatus() == PullStatus.FOUND) {
                    for (MessageExt message : result.getMsgFoundList()) {
                        receiver.accept(message);
                    }
                }
                offset = result.getNextBeginOffset();
            } catch (InterruptedException e) {
                return;
            } catch (Exception e) {
                if (stop.requested()) {
                    return;
                }
                System.err.println("driver: pull " + queue + " at " + offset + ": " + Events.describe(e));
                try {
                    stop.await(PAUSE_AFTER_ERROR_MS);
                } catch (InterruptedException interrupted) {
                    return;
                }
            }
        }
    }
}
