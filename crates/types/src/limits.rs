//! Limits that bound every buffer, name and message. Each is a property of the wire format or a promise of ours.

/// Longest frame a peer may send, counted as the length word plus what follows it. Larger frames close the connection.
pub const FRAME_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Longest message body (or batch body) accepted, unless configured lower.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Longest properties string of a stored message; its length field is a signed 16-bit integer.
pub const PROPERTIES_BYTES_MAX: usize = 32_767;
/// Longest ordinary topic name: the stored length is one signed byte.
pub const TOPIC_CHARS_MAX: usize = 127;
/// Longest `%RETRY%` or `%DLQ%` topic name.
pub const DERIVED_TOPIC_CHARS_MAX: usize = 255;
/// Longest consumer or producer group name.
pub const GROUP_CHARS_MAX: usize = 120;
/// Most queues a topic may have.
pub const QUEUES_MAX: u32 = 65_536;
/// Most header fields of one remoting command.
pub const EXT_FIELDS_MAX: usize = 1_024;
/// Longest payload of one Raft entry: one largest message, its header, and room for what is proposed beside it.
pub const ENTRY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Most messages of one batch.
pub const BATCH_MESSAGES_MAX: usize = 32_768;
