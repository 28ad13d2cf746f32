package timbermq.peers;

/** Bodies whose first half is random and whose second half is zero, the same as those of the Rust load. */
final class Bodies {
    private static final int COUNT = 256;

    private final byte[][] bodies = new byte[COUNT][];
    private long dice;
    private int next;

    Bodies(int size, long seed) {
        dice = seed;
        for (int i = 0; i < COUNT; i++) {
            bodies[i] = new byte[size];
            int random = (size + 1) / 2;
            for (int at = 0; at < random; at += 8) {
                long word = roll();
                for (int b = 0; b < 8 && at + b < random; b++) bodies[i][at + b] = (byte) (word >>> (8 * b));
            }
        }
    }

    byte[] next() {
        next = (next + 1) % COUNT;
        return bodies[next];
    }

    /** splitmix64. */
    private long roll() {
        dice += 0x9e3779b97f4a7c15L;
        long z = dice;
        z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
        z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
        return z ^ (z >>> 31);
    }
}
