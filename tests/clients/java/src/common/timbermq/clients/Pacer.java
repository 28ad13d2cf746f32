package timbermq.clients;

import java.util.concurrent.TimeUnit;

/** Spreads calls evenly over time. */
final class Pacer {
    /** After a stall no more than this is caught up at once. */
    private static final long MOST_BACKLOG_NS = TimeUnit.SECONDS.toNanos(1);

    private final long intervalNs;
    private long nextNs = System.nanoTime();

    /** {@code perSecond} 0 means no limit; {@code each} messages are sent per call. */
    Pacer(long perSecond, long each) {
        intervalNs = perSecond == 0 ? 0 : TimeUnit.SECONDS.toNanos(1) * each / perSecond;
    }

    /** Waits for the next turn; true when stopped meanwhile. */
    boolean await(StopSignal stop) throws InterruptedException {
        if (intervalNs > 0) {
            long aheadNs = nextNs - System.nanoTime();
            if (aheadNs > 0 && stop.await(Math.max(1, TimeUnit.NANOSECONDS.toMillis(aheadNs)))) {
                return true;
            }
            nextNs = Math.max(nextNs + intervalNs, System.nanoTime() - MOST_BACKLOG_NS);
        }
        return stop.requested();
    }
}
