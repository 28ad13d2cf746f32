//! Randomness seeded by the operating system.

use std::io::Read;
use std::sync::atomic::{AtomicU64, Ordering};

use timbermq_env::Entropy;

/// A splitmix64 sequence that starts at a random place. Good for jitter, ids and generations; not for secrets.
pub(crate) struct HostEntropy {
    state: AtomicU64,
}

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

impl HostEntropy {
    pub(crate) fn new() -> Self {
        let mut seed = [0; 8];
        std::fs::File::open("/dev/urandom")
            .and_then(|mut source| source.read_exact(&mut seed))
            .expect("/dev/urandom gives random bytes");
        Self { state: AtomicU64::new(u64::from_le_bytes(seed)) }
    }
}

impl Entropy for HostEntropy {
    fn next_u64(&self) -> u64 {
        let mut z = self.state.fetch_add(STEP, Ordering::Relaxed).wrapping_add(STEP);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sources_differ_and_neither_repeats_itself() {
        let (a, b) = (HostEntropy::new(), HostEntropy::new());
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            seen.insert(a.next_u64());
            seen.insert(b.next_u64());
        }
        assert_eq!(seen.len(), 2000);
    }
}
