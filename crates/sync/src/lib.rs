//! The loom shim and the few hand-made concurrent primitives.
