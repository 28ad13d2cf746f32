//! Soft state of a broker: clients, group membership, parked pulls.
