package timbermq.clients;

import java.util.Collection;
import java.util.Locale;

/** One event line, built key by key. */
final class Json {
    private final StringBuilder text = new StringBuilder(160);

    Json(String event) {
        text.append("{\"ev\":");
        quote(event);
    }

    Json put(String key, String value) {
        key(key);
        quote(value == null ? "" : value);
        return this;
    }

    Json put(String key, long value) {
        key(key);
        text.append(value);
        return this;
    }

    Json put(String key, boolean value) {
        key(key);
        text.append(value);
        return this;
    }

    /** Milliseconds with three decimals. */
    Json putMs(String key, double ms) {
        key(key);
        text.append(String.format(Locale.ROOT, "%.3f", ms));
        return this;
    }

    Json put(String key, Collection<Integer> values) {
        key(key);
        char before = '[';
        for (Integer value : values) {
            text.append(before).append(value);
            before = ',';
        }
        text.append(values.isEmpty() ? "[]" : "]");
        return this;
    }

    /** The finished line, without a line feed. */
    String line() {
        return text + "}";
    }

    private void key(String key) {
        text.append(',');
        quote(key);
        text.append(':');
    }

    private void quote(String value) {
        text.append('"');
        for (int i = 0; i < value.length(); i++) {
            char c = value.charAt(i);
            if (c == '"' || c == '\\') {
                text.append('\\').append(c);
            } else if (c < ' ' || Character.isSurrogate(c) || c == '\u2028' || c == '\u2029') {
                text.append(String.format(Locale.ROOT, "\\u%04x", (int) c));
            } else {
                text.append(c);
            }
        }
        text.append('"');
    }
}
