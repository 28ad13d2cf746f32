//! Bodies that compress as ordinary messages do: half of each is random.

/// Most bytes of all bodies together.
const POOL_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Most different bodies.
const POOL_BODIES_MAX: usize = 256;

/// A few bodies of one size, taken in turn.
#[derive(Clone, Debug)]
pub(crate) struct Bodies {
    bodies: Vec<Vec<u8>>,
    next: usize,
}

impl Bodies {
    /// Bodies of `size` bytes whose first half is random and whose second half is zero, drawn from `seed`.
    pub(crate) fn half_random(size: usize, seed: u64) -> Self {
        let count = (POOL_BYTES_MAX / size.max(1)).clamp(1, POOL_BODIES_MAX);
        let mut dice = Dice(seed);
        let body = |_| {
            let mut body = vec![0; size];
            for chunk in body[..size.div_ceil(2)].chunks_mut(8) {
                chunk.copy_from_slice(&dice.next().to_le_bytes()[..chunk.len()]);
            }
            body
        };
        Self { bodies: (0..count).map(body).collect(), next: 0 }
    }

    /// The next body.
    pub(crate) fn next(&mut self) -> &[u8] {
        self.next = (self.next + 1) % self.bodies.len();
        &self.bodies[self.next]
    }
}

/// splitmix64: the same seed gives the same bodies.
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_of_a_body_is_random_and_bodies_differ() {
        let mut bodies = Bodies::half_random(1001, 7);
        let first = bodies.next().to_vec();
        assert_eq!(first.len(), 1001);
        assert!(first[501..].iter().all(|byte| *byte == 0), "the second half is zero");
        assert!(first[..501].iter().filter(|byte| **byte == 0).count() < 50, "the first half is not");
        assert_ne!(first, bodies.next());
        let mut again = Bodies::half_random(1001, 7);
        assert_eq!(again.next(), first, "the seed decides");
    }

    #[test]
    fn the_pool_is_bounded_and_a_body_may_be_empty() {
        assert_eq!(Bodies::half_random(4 << 20, 1).bodies.len(), 4);
        assert_eq!(Bodies::half_random(64 << 20, 1).bodies.len(), 1);
        assert_eq!(Bodies::half_random(10, 1).bodies.len(), POOL_BODIES_MAX);
        assert!(Bodies::half_random(0, 1).next().is_empty());
    }
}
