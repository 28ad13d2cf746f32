package timbermq.clients;

import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;

/** The event lines on stdout: one writer at a time, each line flushed, nothing after {@link #close}. */
final class Events {
    private static final int LONGEST_ERROR = 600;

    private final OutputStream out = new FileOutputStream(FileDescriptor.out);
    private boolean closed;

    private Events() {}

    /** Whatever else in this process prints to stdout goes to stderr from now on. */
    static Events takeOverStdout() {
        System.setOut(System.err);
        return new Events();
    }

    synchronized void emit(Json event) {
        if (closed) {
            return;
        }
        try {
            out.write((event.line() + "\n").getBytes(StandardCharsets.UTF_8));
        } catch (IOException e) {
            // Nobody reads any more: there is no one left to drive for.
            System.err.println("driver: stdout: " + e.getMessage());
            Runtime.getRuntime().halt(1);
        }
    }

    synchronized void close() {
        closed = true;
    }

    /** {@code Class: message}, cut to a sane length. */
    static String describe(Throwable error) {
        String text = error.getClass().getSimpleName() + ": " + error.getMessage();
        if (error.getCause() != null && error.getCause() != error) {
            text += "; cause " + error.getCause().getClass().getSimpleName() + ": " + error.getCause().getMessage();
        }
        return text.length() <= LONGEST_ERROR ? text : text.substring(0, LONGEST_ERROR) + "…";
    }
}
