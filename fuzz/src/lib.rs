//! Fuzz targets: every decoder of bytes that come from a network, a disk or a user, as a function of a byte string.
//!
//! * [`TARGETS`] lists them. Each has a binary in `fuzz_targets`, which hands the engine's inputs to [`run`].
//! * `corpus/<target>` holds seeds, `regressions/<target>` inputs that once failed. `cargo test` replays both, without the
//!   engine; `cargo xtask fuzz` explores from them.
//!
//! What every target asks of the product: no panic, and no more memory than [`Bound`] allows for an input of that length.
//! Beyond that, what was decoded and encoded decodes to the same again, and where two ways lead to one result they agree.
//!
//! Not here: SQL92 filters, because they are not built yet; RocksDB, which is a C++ library with fuzzers of its own.

mod heap;
pub mod seeds;
mod targets;

pub use heap::{Bound, Usage, measured};
pub use targets::TARGETS;

/// A function to be fuzzed.
#[derive(Clone, Copy, Debug)]
pub struct Target {
    /// Its name, and that of its binary and its directories.
    pub name: &'static str,
    /// What it decodes.
    pub about: &'static str,
    /// What a case may hold in memory, the target's own reference values included.
    pub memory: Bound,
    /// Runs one case.
    pub run: fn(&[u8]),
}

impl Target {
    /// Runs one case within the target's bound of memory.
    ///
    /// # Panics
    /// When the product does not do what the target asks.
    pub fn check(&self, input: &[u8]) {
        self.memory.hold(input.len(), || (self.run)(input));
    }
}

/// Runs one case of the target called `name`.
///
/// # Panics
/// When there is no such target, or the product does not do what it asks.
pub fn run(name: &str, input: &[u8]) {
    let target = TARGETS.iter().find(|target| target.name == name);
    target.unwrap_or_else(|| panic!("no target is called {name}")).check(input);
}
