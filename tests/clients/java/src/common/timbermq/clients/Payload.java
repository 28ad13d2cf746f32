package timbermq.clients;

import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.rocketmq.common.message.Message;

/** What message {@code seq} of a producer carries: derived from the two names alone, so that any reader can check it. */
final class Payload {
    private Payload() {}

    static Message message(String topic, String pid, long seq, String[] tags, int bodyBytes) {
        String tag = tags.length == 0 ? "" : tags[(int) (seq % tags.length)];
        Message message = new Message(topic, tag, key(pid, seq), body(pid, seq, bodyBytes));
        message.putUserProperty("pid", pid);
        message.putUserProperty("seq", Long.toString(seq));
        return message;
    }

    static String key(String pid, long seq) {
        return pid + "-" + seq;
    }

    /** {@code pid:seq:} and then the pad letter up to {@code bodyBytes}; never shorter than the prefix. */
    static byte[] body(String pid, long seq, int bodyBytes) {
        byte[] prefix = prefix(pid, seq);
        byte[] body = Arrays.copyOf(prefix, Math.max(prefix.length, bodyBytes));
        Arrays.fill(body, prefix.length, body.length, pad(seq));
        return body;
    }

    /** True when {@code body} is what {@link #body} makes for some length. */
    static boolean bodyMatches(byte[] body, String pid, long seq) {
        byte[] prefix = prefix(pid, seq);
        if (body == null || body.length < prefix.length) {
            return false;
        }
        for (int i = 0; i < body.length; i++) {
            if (body[i] != (i < prefix.length ? prefix[i] : pad(seq))) {
                return false;
            }
        }
        return true;
    }

    /** The {@code seq} property, -1 when there is none. */
    static long seqOf(Message message) {
        String text = message.getUserProperty("seq");
        try {
            return text == null ? -1 : Long.parseLong(text);
        } catch (NumberFormatException e) {
            return -1;
        }
    }

    /** True when the message has both properties, the key made of them and the body made of them. */
    static boolean matches(Message message) {
        String pid = message.getUserProperty("pid");
        long seq = seqOf(message);
        return pid != null && seq >= 0 && key(pid, seq).equals(message.getKeys())
            && bodyMatches(message.getBody(), pid, seq);
    }

    private static byte[] prefix(String pid, long seq) {
        return (pid + ":" + seq + ":").getBytes(StandardCharsets.UTF_8);
    }

    private static byte pad(long seq) {
        return (byte) ('a' + seq % 26);
    }
}
