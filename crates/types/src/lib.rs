//! The vocabulary: names, offsets, ids, limits.
