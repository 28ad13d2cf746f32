package timbermq.peers;

import java.time.Duration;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.ConsumerRecords;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * One consumer that reads all partitions from their beginnings to where they end when it is asked, and only counts what it gets.
 * It belongs to no group and stores no offsets. Settings are those of the consumer.
 */
final class KafkaReader implements Reader {
    private static final Duration POLL = Duration.ofMillis(100);

    private final KafkaConsumer<byte[], byte[]> consumer;

    KafkaReader(Map<String, String> settings) {
        Properties ofConsumer = new Properties();
        ofConsumer.putAll(settings);
        consumer = new KafkaConsumer<>(ofConsumer, new ByteArrayDeserializer(), new ByteArrayDeserializer());
    }

    @Override
    public void read() {
        List<TopicPartition> partitions = consumer.partitionsFor(Kafka.TOPIC).stream()
                .map(partition -> new TopicPartition(partition.topic(), partition.partition()))
                .toList();
        consumer.assign(partitions);
        Map<TopicPartition, Long> begins = consumer.beginningOffsets(partitions);
        Map<TopicPartition, Long> ends = consumer.endOffsets(partitions);
        begins.forEach(consumer::seek);
        Set<TopicPartition> left = new HashSet<>(partitions);
        left.removeIf(partition -> begins.get(partition) >= ends.get(partition));
        Main.say("{\"ev\":\"begin\"}");
        long start = System.nanoTime();
        long messages = 0;
        long bytes = 0;
        while (!left.isEmpty()) {
            ConsumerRecords<byte[], byte[]> records = consumer.poll(POLL);
            for (TopicPartition partition : records.partitions()) {
                long end = ends.get(partition);
                for (ConsumerRecord<byte[], byte[]> record : records.records(partition)) {
                    if (record.offset() >= end) break;
                    messages++;
                    bytes += record.serializedValueSize();
                }
                if (consumer.position(partition) >= end) {
                    left.remove(partition);
                    consumer.pause(List.of(partition));
                }
            }
        }
        long micros = (System.nanoTime() - start) / 1000;
        Main.say("{\"ev\":\"measured\"}");
        long there = partitions.stream().mapToLong(partition -> ends.get(partition) - begins.get(partition)).sum();
        // What was fetched beyond the ends goes.
        consumer.unsubscribe();
        Main.say(String.format(
                "{\"ev\":\"end\",\"messages\":%d,\"bytes\":%d,\"micros\":%d,\"skipped\":%d}",
                messages, bytes, micros, there - messages));
    }

    @Override
    public void close() {
        consumer.close();
    }
}
