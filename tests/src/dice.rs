//! Seeded chance: the same seed gives the same moments, victims and payloads.

use timbermq_check::selftest;

/// The checkers' generator, with what loads and faults draw from it.
#[derive(Clone, Debug)]
pub struct Dice(selftest::Dice);

impl Dice {
    /// The generator of a seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self(selftest::Dice::new(seed))
    }

    /// The generator of `consumer` under a seed: each has its own, so that one that draws more does not shift the others.
    #[must_use]
    pub fn of(seed: u64, consumer: &str) -> Self {
        let name = consumer
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3));
        Self::new(Self::new(seed).next_u64() ^ name)
    }

    /// 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// Below `bound`; 0 when that is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0.below(bound)
    }

    /// In `from..to`; `from` when that is empty.
    pub fn range(&mut self, from: u64, to: u64) -> u64 {
        from + self.below(to.saturating_sub(from))
    }

    /// True in so many of 100 cases.
    pub fn percent(&mut self, chance: u64) -> bool {
        self.0.chance(chance)
    }

    /// An index below `len`; 0 when that is 0.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).unwrap_or(0)
    }

    /// Puts a list into another order.
    pub fn shuffle<T>(&mut self, list: &mut [T]) {
        for at in (1..list.len()).rev() {
            list.swap(at, self.index(at + 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_and_consumers_do_not_share() {
        let draw = |mut dice: Dice| (0..8).map(|_| dice.below(1_000)).collect::<Vec<_>>();
        assert_eq!(draw(Dice::of(1, "a")), draw(Dice::of(1, "a")));
        assert_ne!(draw(Dice::of(1, "a")), draw(Dice::of(1, "b")));
        assert_ne!(draw(Dice::of(1, "a")), draw(Dice::of(2, "a")));
    }

    #[test]
    fn empty_ranges_and_lists_give_their_beginning() {
        let mut dice = Dice::new(7);
        assert_eq!((dice.below(0), dice.range(5, 5), dice.index(0)), (0, 5, 0));
        let mut list: Vec<u32> = (0..20).collect();
        dice.shuffle(&mut list);
        assert_ne!(list, (0..20).collect::<Vec<_>>());
        list.sort_unstable();
        assert_eq!(list, (0..20).collect::<Vec<_>>());
    }
}
