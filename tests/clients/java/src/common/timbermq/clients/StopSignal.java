package timbermq.clients;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/** Raised by the line {@code stop} on stdin or by its end. */
final class StopSignal {
    /** A shutdown that takes longer than this is broken off: the client hangs. */
    private static final long SHUTDOWN_LIMIT_MS = 90_000;

    private final CountDownLatch latch = new CountDownLatch(1);

    /** Starts to listen on stdin. */
    static StopSignal onStdin() {
        StopSignal signal = new StopSignal();
        Thread thread = new Thread(signal::listen, "stdin");
        thread.setDaemon(true);
        thread.start();
        return signal;
    }

    boolean requested() {
        return latch.getCount() == 0;
    }

    /** Waits until stopped; true when it is. */
    boolean await(long timeoutMs) throws InterruptedException {
        return latch.await(timeoutMs, TimeUnit.MILLISECONDS);
    }

    void await() throws InterruptedException {
        latch.await();
    }

    private void listen() {
        try {
            BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
            String line = in.readLine();
            while (line != null && !line.trim().equals("stop")) {
                line = in.readLine();
            }
        } catch (IOException e) {
            System.err.println("driver: stdin: " + e.getMessage());
        }
        latch.countDown();
        try {
            Thread.sleep(SHUTDOWN_LIMIT_MS);
        } catch (InterruptedException e) {
            return;
        }
        System.err.println("driver: the client did not shut down in " + SHUTDOWN_LIMIT_MS + " ms");
        Runtime.getRuntime().halt(1);
    }
}
