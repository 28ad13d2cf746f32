package timbermq.peers;

import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import org.HdrHistogram.Histogram;

/** One closed loop: a message is sent when another was answered, so that a window of them is always under way. */
final class Run {
    /** Longest wait for the last answers. */
    private static final long ANSWER_MAX_S = 20;
    private static final long LATENCY_MAX_US = TimeUnit.SECONDS.toMicros(60);

    private final Target target;
    private final Bodies bodies;
    private final int window;
    private final Semaphore free;
    private final long start;
    private final long from;
    private final long to;

    // Written by the thread that hears the answers, read when all have been heard.
    private final Histogram latency = new Histogram(LATENCY_MAX_US, 3);
    private long acknowledged;
    private long errors;
    private long warmupErrors;

    Run(Target target, Bodies bodies, int window, long warmupMs, long timeMs) {
        this.target = target;
        this.bodies = bodies;
        this.window = window;
        free = new Semaphore(window);
        start = System.nanoTime();
        from = TimeUnit.MILLISECONDS.toNanos(warmupMs);
        to = from + TimeUnit.MILLISECONDS.toNanos(timeMs);
    }

    void go() throws Exception {
        Thread announcer = new Thread(this::announce);
        announcer.start();
        long unanswered = send();
        announcer.join();
        synchronized (this) {
            errors += unanswered;
            Main.say(String.format(
                    "{\"ev\":\"end\",\"messages\":%d,\"errors\":%d,\"warmupErrors\":%d,\"p50Us\":%d,\"p99Us\":%d,\"maxUs\":%d}",
                    acknowledged, errors, warmupErrors, latency.getValueAtPercentile(50), latency.getValueAtPercentile(99),
                    latency.getMaxValue()));
        }
    }

    /** Sends until the time is over; returns how many messages were never answered. */
    private long send() throws Exception {
        while (now() < to) {
            int permits = free.drainPermits();
            if (permits == 0) {
                if (!free.tryAcquire(10, TimeUnit.MILLISECONDS)) continue;
                permits = 1 + free.drainPermits();
            }
            while (permits > 0) {
                long sent = now();
                if (sent >= to) {
                    free.release(permits);
                    break;
                }
                permits--;
                target.send(bodies.next(), stored -> settle(sent, stored));
            }
        }
        boolean answered = free.tryAcquire(window, ANSWER_MAX_S, TimeUnit.SECONDS);
        return answered ? 0 : window - free.availablePermits();
    }

    private void settle(long sent, boolean stored) {
        long now = now();
        synchronized (this) {
            boolean measured = sent >= from && sent < to;
            if (stored) {
                if (now >= from && now < to) acknowledged++;
                if (measured) latency.recordValue(Math.min((now - sent) / 1000, LATENCY_MAX_US));
            } else if (measured) {
                errors++;
            } else {
                warmupErrors++;
            }
        }
        free.release();
    }

    /** Whoever started this reads the servers' counters at these two moments. */
    private void announce() {
        try {
            TimeUnit.NANOSECONDS.sleep(from - now());
            Main.say("{\"ev\":\"begin\"}");
            TimeUnit.NANOSECONDS.sleep(to - now());
            Main.say("{\"ev\":\"measured\"}");
        } catch (InterruptedException interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    private long now() {
        return System.nanoTime() - start;
    }
}
