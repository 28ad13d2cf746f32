package timbermq.clients;

import java.util.Collections;
import java.util.List;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;

/** Looks messages up by one of their names. */
final class QueryVerb {
    private static final int MOST_HITS = 64;
    /** Response code in the client's exception that only says "nothing found". */
    private static final int NO_MESSAGE = 208;

    private final Events events;
    private final DefaultMQProducer client;
    private final String topic;
    private final String kind;
    private final String id;

    QueryVerb(Arguments arguments, Events events) {
        this.events = events;
        kind = arguments.oneOf("kind", "offsetid", "key", "unique");
        topic = arguments.required("topic");
        id = arguments.required("id");
        client = new DefaultMQProducer(arguments.text("group", "timbermq-query"));
        client.setNamesrvAddr(arguments.required("namesrv"));
        arguments.rejectUnknown();
    }

    boolean run() throws MQClientException {
        client.start();
        int found = 0;
        boolean good = true;
        try {
            for (MessageExt message : search()) {
                found++;
                events.emit(new Json("found")
                    .put("key", message.getKeys())
                    .put("queue", message.getQueueId()).put("offset", message.getQueueOffset())
                    .put("body_ok", Payload.matches(message)));
            }
        } catch (Exception e) {
            good = e instanceof MQClientException && ((MQClientException) e).getResponseCode() == NO_MESSAGE;
            if (!good) {
                events.emit(new Json("error").put("error", Events.describe(e)));
            }
        }
        client.shutdown();
        events.emit(new Json("done").put("found", found));
        return good;
    }

    private List<MessageExt> search() throws Exception {
        switch (kind) {
            case "key":
                return client.queryMessage(topic, id, MOST_HITS, 0, Long.MAX_VALUE).getMessageList();
            case "unique":
                return oneOrNone(client.getDefaultMQProducerImpl().queryMessageByUniqKey(topic, id));
            default:
                // Code 33 to the broker that the id names; should that fail, the client tries the id as a unique key.
                return oneOrNone(client.viewMessage(topic, id));
        }
    }

    private static List<MessageExt> oneOrNone(MessageExt message) {
        return message == null ? Collections.emptyList() : Collections.singletonList(message);
    }
}
