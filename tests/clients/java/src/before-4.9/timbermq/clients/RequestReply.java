package timbermq.clients;

/** Clients of this age cannot ask for a reply. */
final class RequestReply {
    private RequestReply() {}

    static boolean run(Events events, String namesrv, String topic, String group, int waitMs) {
        throw new UnsupportedException("reply: this client has no request-reply");
    }
}
