package timbermq.clients;

/** Clients of this age have no DefaultLitePullConsumer. */
final class LitePullConsume {
    private LitePullConsume() {}

    static void run(ConsumeOptions options, Events events, Receiver receiver) {
        throw new UnsupportedException("litepull: this client has no DefaultLitePullConsumer");
    }
}
