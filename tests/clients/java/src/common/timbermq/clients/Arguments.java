package timbermq.clients;

import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/** The {@code key=value} words after the verb. Every key must be asked for by the verb, so that a typo is an error. */
final class Arguments {
    private final Map<String, String> values;
    private final Set<String> asked = new TreeSet<>();

    private Arguments(Map<String, String> values) {
        this.values = values;
    }

    /** Reads the words after the first one. */
    static Arguments parse(String[] words) {
        Map<String, String> values = new LinkedHashMap<>();
        for (String word : Arrays.asList(words).subList(1, words.length)) {
            int equals = word.indexOf('=');
            if (equals <= 0) {
                throw new UsageException("'" + word + "' is not key=value");
            }
            if (values.put(word.substring(0, equals), word.substring(equals + 1)) != null) {
                throw new UsageException("'" + word.substring(0, equals) + "' is given twice");
            }
        }
        return new Arguments(values);
    }

    String required(String key) {
        String value = text(key, "");
        if (value.isEmpty()) {
            throw new UsageException("'" + key + "=…' is missing");
        }
        return value;
    }

    String text(String key, String otherwise) {
        asked.add(key);
        return values.getOrDefault(key, otherwise);
    }

    String oneOf(String key, String... allowed) {
        String value = text(key, allowed[0]);
        if (!Arrays.asList(allowed).contains(value)) {
            throw new UsageException("'" + key + "=" + value + "': one of " + String.join(", ", allowed));
        }
        return value;
    }

    long number(String key, long otherwise, long least, long most) {
        String value = text(key, Long.toString(otherwise));
        try {
            long number = Long.parseLong(value);
            if (number >= least && number <= most) {
                return number;
            }
        } catch (NumberFormatException e) {
            // Reported below, like a number out of range.
        }
        throw new UsageException("'" + key + "=" + value + "': a number from " + least + " to " + most);
    }

    int small(String key, int otherwise, int least, int most) {
        return (int) number(key, otherwise, least, most);
    }

    /** Call after the last key was asked for. */
    void rejectUnknown() {
        for (String key : values.keySet()) {
            if (!asked.contains(key)) {
                throw new UsageException("unknown key '" + key + "'; this verb takes " + String.join(", ", asked));
            }
        }
    }
}
