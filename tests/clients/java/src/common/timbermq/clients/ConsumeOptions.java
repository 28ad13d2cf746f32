package timbermq.clients;

/** What every kind of consumer is told. */
final class ConsumeOptions {
    final String namesrv;
    final String topic;
    final String group;
    /** Subscription expression: {@code *} or {@code TagA || TagB}. */
    final String tag;
    /** Instance name, empty for the client's own choice. */
    final String instance;
    final boolean fromFirst;
    final int threads;

    ConsumeOptions(Arguments arguments) {
        namesrv = arguments.required("namesrv");
        topic = arguments.required("topic");
        group = arguments.required("group");
        tag = arguments.text("tag", "*");
        instance = arguments.text("instance", "");
        fromFirst = arguments.oneOf("from", "last", "first").equals("first");
        threads = arguments.small("threads", 4, 1, 256);
    }
}
