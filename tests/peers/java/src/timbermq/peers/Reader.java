package timbermq.peers;

/** Where messages come from. */
interface Reader extends AutoCloseable {
    /** Reads everything from its beginning to where it ends now, and says when that begins, when it is over, and what came. */
    void read() throws Exception;
}
