//! One table of configuration keys and everything that is generated from it.
