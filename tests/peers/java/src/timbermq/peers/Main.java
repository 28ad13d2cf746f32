package timbermq.peers;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.Map;

/**
 * A load through an official client: {@code Main kafka|rabbitmq key=value…}. Each line "WINDOW WARMUP_MS TIME_MS RATE" on
 * stdin is one run: with a RATE of 0 WINDOW messages are always under way, else RATE are due in a second, whatever becomes of
 * those before, as long as no more than WINDOW are under way. Events go to stdout, one JSON object a line: ready, begin,
 * measured, end. It ends with its stdin.
 *
 * <p>{@code Main kafka-reader key=value…} reads instead, once for each line, with the same events.
 */
public final class Main {
    private Main() {}

    public static void main(String[] args) throws Exception {
        Map<String, String> settings = new HashMap<>();
        for (int i = 1; i < args.length; i++) {
            int at = args[i].indexOf('=');
            settings.put(args[i].substring(0, at), args[i].substring(at + 1));
        }
        if (args[0].equals("kafka-reader")) read(new KafkaReader(settings));
        else load(args[0], settings);
        // Clients may leave threads of their own behind.
        System.exit(0);
    }

    private static void load(String kind, Map<String, String> settings) throws Exception {
        Bodies bodies = new Bodies(Integer.parseInt(settings.remove("size")), 0);
        try (Target target = open(kind, settings);
                BufferedReader in = stdin()) {
            say("{\"ev\":\"ready\"}");
            for (String line = in.readLine(); line != null; line = in.readLine()) {
                String[] run = line.trim().split(" ");
                target.empty();
                long rate = Long.parseLong(run[3]);
                new Run(target, bodies, Integer.parseInt(run[0]), Long.parseLong(run[1]), Long.parseLong(run[2]), rate).go();
            }
        }
    }

    private static void read(Reader reader) throws Exception {
        try (reader;
                BufferedReader in = stdin()) {
            say("{\"ev\":\"ready\"}");
            for (String line = in.readLine(); line != null; line = in.readLine()) reader.read();
        }
    }

    private static BufferedReader stdin() {
        return new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    }

    static synchronized void say(String event) {
        System.out.println(event);
        System.out.flush();
    }

    private static Target open(String kind, Map<String, String> settings) throws Exception {
        return switch (kind) {
            case "kafka" -> new Kafka(settings);
            case "rabbitmq" -> new RabbitMq(settings);
            default -> throw new IllegalArgumentException("no load for " + kind);
        };
    }
}
