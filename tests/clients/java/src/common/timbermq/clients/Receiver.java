package timbermq.clients;

import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.common.message.MessageExt;

/** Reports each delivery and decides whether the listener should refuse it. */
final class Receiver {
    /** Keys beyond this many are forgotten, eldest first. */
    private static final int MOST_KEYS = 1 << 20;

    private final Events events;
    private final boolean failFirst;
    private final AtomicLong received = new AtomicLong();
    private final Set<String> seen = Collections.newSetFromMap(new LinkedHashMap<String, Boolean>() {
        private static final long serialVersionUID = 1L;

        @Override
        protected boolean removeEldestEntry(Map.Entry<String, Boolean> eldest) {
            return size() > MOST_KEYS;
        }
    });

    Receiver(Events events, boolean failFirst) {
        this.events = events;
        this.failFirst = failFirst;
    }

    long received() {
        return received.get();
    }

    /** Prints the delivery; false when this one is to be refused. */
    boolean accept(MessageExt message) {
        double t = Clock.nowMs();
        received.incrementAndGet();
        events.emit(new Json("recv")
            .put("key", message.getKeys())
            .put("pid", message.getUserProperty("pid")).put("seq", Payload.seqOf(message))
            .put("tag", message.getTags())
            .put("queue", message.getQueueId()).put("offset", message.getQueueOffset())
            .put("body_ok", Payload.matches(message))
            .put("reconsume", message.getReconsumeTimes())
            .put("topic", message.getTopic()).put("msgid", message.getMsgId())
            .putMs("t", t));
        if (!failFirst) {
            return true;
        }
        synchronized (seen) {
            return !seen.add(message.getKeys());
        }
    }
}
