package timbermq.peers;

import com.rabbitmq.client.Channel;
import com.rabbitmq.client.Connection;
import com.rabbitmq.client.ConnectionFactory;
import com.rabbitmq.client.MessageProperties;
import java.util.Map;
import java.util.concurrent.ConcurrentNavigableMap;
import java.util.concurrent.ConcurrentSkipListMap;

/** One channel with confirms to one quorum queue of three members, whose leader is on the node of the connection. */
final class RabbitMq implements Target {
    private static final String QUEUE = "bench";

    private final Connection connection;
    private final Channel channel;
    private final ConcurrentNavigableMap<Long, Answer> unconfirmed = new ConcurrentSkipListMap<>();

    RabbitMq(Map<String, String> settings) throws Exception {
        ConnectionFactory factory = new ConnectionFactory();
        factory.setHost("127.0.0.1");
        factory.setPort(Integer.parseInt(settings.get("port")));
        connection = factory.newConnection();
        channel = connection.createChannel();
        Map<String, Object> arguments = Map.of(
                "x-queue-type", "quorum", "x-quorum-initial-group-size", 3, "x-queue-leader-locator", "client-local");
        channel.queueDeclare(QUEUE, true, false, false, arguments);
        channel.confirmSelect();
        channel.addConfirmListener(
                (tag, multiple) -> confirm(tag, multiple, true), (tag, multiple) -> confirm(tag, multiple, false));
    }

    @Override
    public void empty() throws Exception {
        channel.queuePurge(QUEUE);
    }

    @Override
    public void send(byte[] body, Answer answer) throws Exception {
        unconfirmed.put(channel.getNextPublishSeqNo(), answer);
        channel.basicPublish("", QUEUE, MessageProperties.PERSISTENT_BASIC, body);
    }

    private void confirm(long tag, boolean multiple, boolean stored) {
        if (multiple) {
            ConcurrentNavigableMap<Long, Answer> confirmed = unconfirmed.headMap(tag, true);
            while (true) {
                Map.Entry<Long, Answer> first = confirmed.pollFirstEntry();
                if (first == null) break;
                first.getValue().settled(stored);
            }
        } else {
            Answer answer = unconfirmed.remove(tag);
            if (answer != null) answer.settled(stored);
        }
    }

    @Override
    public void close() throws Exception {
        connection.close(5_000);
    }
}
