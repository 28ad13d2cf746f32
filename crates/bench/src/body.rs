//! Bodies that compress as ordinary messages do: half of each is random.

use bytes::BytesMut;
use timbermq_record::{BatchError, BatchItem};

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

    /// Bodies of sends of `messages` messages each, whose bodies are these in turn; all have these properties, and the same layout.
    ///
    /// # Errors
    /// A body or the properties are longer than a message's may be.
    pub(crate) fn batches(mut self, messages: u32, properties: &str) -> Result<Self, BatchError> {
        let mut batch = || {
            let mut batch = BytesMut::new();
            for _ in 0..messages {
                BatchItem { flag: 0, body: self.next(), properties }.encode(&mut batch)?;
            }
            Ok(batch.to_vec())
        };
        let first = batch()?;
        let more = (POOL_BYTES_MAX / first.len().max(1)).clamp(1, POOL_BODIES_MAX) - 1;
        let rest: Result<Vec<_>, _> = (0..more).map(|_| batch()).collect();
        Ok(Self { bodies: std::iter::once(first).chain(rest?).collect(), next: 0 })
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
    fn batches_are_made_of_bodies_in_turn() {
        let mut plain = Bodies::half_random(100, 7);
        let mut batches = plain.clone().batches(3, "k\u{1}v\u{2}").unwrap();
        // The first batch that is taken is the second that was made.
        (0..3).for_each(|_| drop(plain.next().to_vec()));
        let batch = batches.next().to_vec();
        let items: Vec<_> =
            timbermq_record::batch_items(&batch, timbermq_record::BatchLimits::default()).map(Result::unwrap).collect();
        assert_eq!(items.len(), 3);
        for item in items {
            assert_eq!((item.body, item.properties), (plain.next(), "k\u{1}v\u{2}"));
        }
        let large = Bodies::half_random(1 << 20, 7).batches(3, "").unwrap();
        assert_eq!(large.bodies.len(), 5, "the pool is bounded");
        assert!(Bodies::half_random(0, 7).batches(1, &"p".repeat(1 << 20)).is_err());
    }

    #[test]
    fn the_pool_is_bounded_and_a_body_may_be_empty() {
        assert_eq!(Bodies::half_random(4 << 20, 1).bodies.len(), 4);
        assert_eq!(Bodies::half_random(64 << 20, 1).bodies.len(), 1);
        assert_eq!(Bodies::half_random(10, 1).bodies.len(), POOL_BODIES_MAX);
        assert!(Bodies::half_random(0, 1).next().is_empty());
    }
}
