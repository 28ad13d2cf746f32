//! The ports to the outside: clock, tasks, randomness, disk, network.
