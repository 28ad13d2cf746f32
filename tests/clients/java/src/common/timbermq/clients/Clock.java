package timbermq.clients;

/** The machine's monotonic clock, which all drivers on one host share. */
final class Clock {
    private Clock() {}

    /** Milliseconds since an arbitrary moment (CLOCK_MONOTONIC on Linux). */
    static double nowMs() {
        return System.nanoTime() / 1e6;
    }
}
