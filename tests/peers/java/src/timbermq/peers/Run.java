package timbermq.peers;

import java.util.concurrent.Semaphore;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import org.HdrHistogram.Histogram;

/**
 * One run. In a closed loop a message is sent when another was answered, so that a window of them is always under way. In an
 * open one, which has a rate, a message is sent when it is due, or later if the window is full; latency counts from when it
 * was due.
 */
final class Run {
    /** Longest wait for the last answers. */
    private static final long ANSWER_MAX_S = 20;
    private static final long LATENCY_MAX_US = TimeUnit.SECONDS.toMicros(60);

    private final Target target;
    private final Bodies bodies;
    private final int window;
    private final long rate;
    private final Semaphore free;
    private final long start;
    private final long from;
    private final long to;

    // Written by the thread that hears the answers, read when all have been heard.
    private final Histogram latency = new Histogram(LATENCY_MAX_US, 3);
    private long acknowledged;
    private long errors;
    private long warmupErrors;

    Run(Target target, Bodies bodies, int window, long warmupMs, long timeMs, long rate) {
        this.target = target;
        this.bodies = bodies;
        this.window = window;
        this.rate = rate;
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
        if (rate > 0) sendWhenDue();
        else sendWhenAnswered();
        boolean answered = free.tryAcquire(window, ANSWER_MAX_S, TimeUnit.SECONDS);
        return answered ? 0 : window - free.availablePermits();
    }

    private void sendWhenDue() throws Exception {
        for (long number = 0; ; number++) {
            long due = number * TimeUnit.SECONDS.toNanos(1) / rate;
            if (due >= to) return;
            for (long early = due - now(); early > 0; early = due - now()) LockSupport.parkNanos(early);
            if (!free.tryAcquire(Math.max(0, to - now()), TimeUnit.NANOSECONDS)) return;
            target.send(bodies.next(), stored -> settle(due, stored));
        }
    }

    private void sendWhenAnswered() throws Exception {
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
