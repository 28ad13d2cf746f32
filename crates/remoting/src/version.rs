//! Version numbers that peers put into every header, and the thresholds at which behaviour changes.
//!
//! A version is the ordinal of the release in the protocol's list of releases, two per release (snapshot, release).

/// What this broker and NameServer put into every response: 5.2.0.
///
/// It must be a real release between 401 and 479: Java clients refuse SQL subscriptions below [`SQL_FILTER`].
pub const CURRENT_VERSION: i32 = 453;

/// 4.1.0: the lowest *server* version with which Java clients use SQL subscriptions.
pub const SQL_FILTER: i32 = 232;
/// 3.0.7: a client that can be told to reset its offsets (request 220).
pub const RESET_OFFSET_PUSH: i32 = 28;
/// 3.0.11: a broker whose registration body is read.
pub const REGISTER_BROKER_BODY: i32 = 36;
/// 3.1.8: a client that answers 307 and 309.
pub const CONSUMER_CALL: i32 = 62;
/// 3.4.9: from here `maxReconsumeTimes` of a request overrides the group's limit.
pub const MAX_RECONSUME_TIMES_IN_REQUEST: i32 = 121;
/// 4.9.3: up to here clients do not sign `_UNIQUE_KEY_QUERY`.
pub const LAST_WITH_UNSIGNED_UNIQUE_KEY_QUERY: i32 = 399;
/// 4.9.4: from here clients read JSON with quoted map keys.
pub const STANDARD_JSON: i32 = 401;
/// 5.0.0: a broker whose compressed registration has a static topic section.
pub const STATIC_TOPICS: i32 = 413;
/// 5.3.1: clients above this understand response code 1500.
pub const LAST_WITHOUT_GO_AWAY: i32 = 475;
