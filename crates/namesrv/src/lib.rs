//! The NameServer service.
