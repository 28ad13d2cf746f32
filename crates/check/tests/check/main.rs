//! The public face: the file format, and what a verdict says.

mod format;
mod verdict;
