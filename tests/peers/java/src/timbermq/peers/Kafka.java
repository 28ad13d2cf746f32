package timbermq.peers;

import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.errors.InvalidReplicationFactorException;
import org.apache.kafka.common.serialization.ByteArraySerializer;

/**
 * One producer to a topic with three replicas, whose {@code partitions} take the messages in turn. Other settings are those of the
 * producer; {@code topic.…} are the topic's.
 */
final class Kafka implements Target {
    static final String TOPIC = "bench";
    private static final short REPLICAS = 3;

    private final KafkaProducer<byte[], byte[]> producer;
    private final int partitions;
    private int next;

    Kafka(Map<String, String> settings) throws Exception {
        Map<String, String> ofTopic = new HashMap<>();
        Properties ofProducer = new Properties();
        partitions = Integer.parseInt(settings.remove("partitions"));
        settings.forEach((name, value) -> {
            if (name.startsWith("topic.")) ofTopic.put(name.substring("topic.".length()), value);
            else ofProducer.put(name, value);
        });
        try (Admin admin = Admin.create(Map.of("bootstrap.servers", settings.get("bootstrap.servers")))) {
            NewTopic topic = new NewTopic(TOPIC, partitions, REPLICAS).configs(ofTopic);
            create(admin, topic);
        }
        producer = new KafkaProducer<>(ofProducer, new ByteArraySerializer(), new ByteArraySerializer());
        producer.send(new ProducerRecord<>(TOPIC, 0, null, new byte[1])).get(60, TimeUnit.SECONDS);
    }

    /** Brokers may still be joining, and a topic with three replicas needs all three. */
    private static void create(Admin admin, NewTopic topic) throws Exception {
        long deadline = System.nanoTime() + TimeUnit.SECONDS.toNanos(60);
        while (true) {
            try {
                admin.createTopics(List.of(topic)).all().get(60, TimeUnit.SECONDS);
                return;
            } catch (ExecutionException e) {
                if (!(e.getCause() instanceof InvalidReplicationFactorException) || System.nanoTime() > deadline) throw e;
                Thread.sleep(200);
            }
        }
    }

    /** Retention does it. */
    @Override
    public void empty() {}

    @Override
    public void send(byte[] body, Answer answer) {
        next = (next + 1) % partitions;
        producer.send(new ProducerRecord<>(TOPIC, next, null, body), (stored, error) -> answer.settled(error == null));
    }

    @Override
    public void close() {
        producer.close(Duration.ofSeconds(5));
    }
}
