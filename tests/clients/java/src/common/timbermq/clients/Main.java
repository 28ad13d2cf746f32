package timbermq.clients;

import java.io.IOException;
import java.io.InputStream;
import java.util.Properties;

/** The driver of a stock Java client: {@code Main <verb> key=value…}; see tests/clients/PROTOCOL.md. */
public final class Main {
    private static final int FAILED = 1;
    private static final int USAGE = 2;
    private static final int UNSUPPORTED = 3;

    private Main() {}

    public static void main(String[] words) {
        Events events = Events.takeOverStdout();
        int exit;
        try {
            if (words.length == 0) {
                throw new UsageException("no verb; one of send, consume, query, offsets, version");
            }
            Arguments arguments = Arguments.parse(words);
            exit = run(words[0], arguments, events) ? 0 : FAILED;
        } catch (UsageException e) {
            System.err.println("driver: " + e.getMessage());
            exit = USAGE;
        } catch (UnsupportedException e) {
            events.emit(new Json("unsupported").put("why", e.getMessage()));
            exit = UNSUPPORTED;
        } catch (Throwable e) {
            System.err.println("driver: " + words[0] + " failed: " + Events.describe(e));
            e.printStackTrace(System.err);
            exit = FAILED;
        }
        events.close();
        // The clients leave threads behind that are not daemons.
        System.exit(exit);
    }

    /** Runs one verb to its end; false when it has reported an error and the process should exit with 1. */
    private static boolean run(String verb, Arguments arguments, Events events) throws Exception {
        switch (verb) {
            case "send":
                return new SendVerb(arguments, events).run();
            case "consume":
                return new ConsumeVerb(arguments, events).run();
            case "query":
                return new QueryVerb(arguments, events).run();
            case "offsets":
                return new OffsetsVerb(arguments, events).run();
            case "exercise":
                return new ExerciseVerb(arguments, events).run();
            case "version":
                arguments.rejectUnknown();
                events.emit(new Json("version").put("client", "java").put("version", clientVersion()));
                return true;
            default:
                throw new UsageException("unknown verb '" + verb + "'; one of send, consume, query, offsets, version, exercise");
        }
    }

    /** The version the client's own jar declares. */
    private static String clientVersion() throws IOException {
        String name = "/META-INF/maven/org.apache.rocketmq/rocketmq-client/pom.properties";
        try (InputStream in = Main.class.getResourceAsStream(name)) {
            if (in == null) {
                throw new IOException("no " + name + " on the class path");
            }
            Properties properties = new Properties();
            properties.load(in);
            return properties.getProperty("version");
        }
    }
}
