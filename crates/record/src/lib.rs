//! The stored message record, batches, properties and message ids.
