//! The NameServer's table as a state machine with time as an input.
