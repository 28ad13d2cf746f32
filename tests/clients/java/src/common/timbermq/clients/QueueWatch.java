package timbermq.clients;

import java.util.Collection;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.Callable;
import org.apache.rocketmq.common.message.MessageQueue;

/** Polls the queues that the client holds and reports each change. */
final class QueueWatch implements Runnable {
    private static final long POLL_MS = 500;

    private final Events events;
    private final StopSignal stop;
    private final String topic;
    private final Callable<? extends Collection<MessageQueue>> assigned;

    private QueueWatch(Events events, StopSignal stop, String topic, Callable<? extends Collection<MessageQueue>> assigned) {
        this.events = events;
        this.stop = stop;
        this.topic = topic;
        this.assigned = assigned;
    }

    /** Watches until stopped. {@code assigned} may name queues of other topics, such as the group's retry topic. */
    static void start(Events events, StopSignal stop, String topic, Callable<? extends Collection<MessageQueue>> assigned) {
        Thread thread = new Thread(new QueueWatch(events, stop, topic, assigned), "queues");
        thread.setDaemon(true);
        thread.start();
    }

    @Override
    public void run() {
        Set<Integer> last = new TreeSet<>();
        try {
            while (!stop.await(POLL_MS)) {
                Set<Integer> now = new TreeSet<>();
                for (MessageQueue queue : assigned.call()) {
                    if (queue.getTopic().equals(topic)) {
                        now.add(queue.getQueueId());
                    }
                }
                if (!now.equals(last)) {
                    events.emit(new Json("queues").put("queues", now));
                    last = now;
                }
            }
        } catch (Exception e) {
            System.err.println("driver: queues are no longer watched: " + Events.describe(e));
        }
    }
}
