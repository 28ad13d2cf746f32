package timbermq.clients;

/** This client has no such feature. */
final class UnsupportedException extends RuntimeException {
    private static final long serialVersionUID = 1L;

    UnsupportedException(String message) {
        super(message);
    }
}
