package timbermq.peers;

/** Where messages go: one connection to one topic or queue. */
interface Target extends AutoCloseable {
    /** Hears of the end of one send, on the client's own thread. */
    interface Answer {
        void settled(boolean stored);
    }

    /** Takes away what earlier runs left, so that every run begins with the same disk and memory. */
    void empty() throws Exception;

    /** Hands a message to the client; called by one thread. */
    void send(byte[] body, Answer answer) throws Exception;
}
