//! Bodies of requests and responses.

use std::fmt::Debug;
use std::io::{Read, Write};

use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use timbermq_remoting::body::*;
use timbermq_remoting::subscription::{Tags, parse_tags, tag_hash};

use super::input::Input;

/// Decodes a body, writes it in every dialect, and decodes it again.
fn check<B: JsonBody + PartialEq + Debug>(text: &[u8]) -> bool {
    let Ok(body) = B::from_json(text) else { return false };
    for dialect in [JsonDialect::Fastjson, JsonDialect::Standard] {
        let written = body.to_json_dialect(dialect);
        let again = B::from_json(&written);
        // What made the text long enough for them all may have been spaces and unknown keys.
        if let Err(BodyError::TooDense { .. }) = again {
            return true;
        }
        let again = again.unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&written)));
        assert_eq!(again, body, "{}", String::from_utf8_lossy(&written));
        assert_eq!(again.to_json_dialect(dialect), written);
        if dialect == JsonDialect::Standard {
            assert!(written.is_ascii(), "{}", String::from_utf8_lossy(&written));
        }
    }
    true
}

fn check_reset(text: &[u8]) -> bool {
    if let Ok(body) = ResetOffsetBody::from_json(text) {
        match ResetOffsetBody::from_json(&body.to_json_list()) {
            Err(BodyError::TooDense { .. }) => {}
            again => assert_eq!(again.expect("our own list form"), body),
        }
    }
    check::<ResetOffsetBody>(text)
}

macro_rules! bodies {
    ($($name:ident),* $(,)?) => {
        /// Whether a text is a body of some kind; all of them are checked.
        const BODIES: &[(&str, fn(&[u8]) -> bool)] = &[$((stringify!($name), check::<$name>),)*];
    };
}

bodies!(
    BrokerData,
    BrokerMemberGroupBody,
    CheckClientConfigBody,
    ClusterInfo,
    ConsumeStats,
    ConsumerConnection,
    ConsumerList,
    ConsumerStatusBody,
    DataVersion,
    GroupList,
    HeartbeatData,
    KvTable,
    LockBatchRequest,
    LockBatchResponse,
    ProducerConnection,
    ProducerTable,
    RegisterBrokerBody,
    SubscriptionData,
    SubscriptionGroupConfig,
    SubscriptionGroupList,
    SubscriptionGroupTable,
    TopicConfig,
    TopicConfigList,
    TopicConfigTable,
    TopicList,
    TopicRouteData,
    TopicStatsTable,
);

/// The first byte picks the kind of body, or with its top bit all of them; the rest is the text.
pub(super) fn json(input: &[u8]) {
    let mut input = Input::new(input);
    let kind = usize::from(input.byte());
    let text = input.rest();
    let all = BODIES.len() + 1;
    if kind >= 128 {
        for (_, check) in BODIES {
            check(text);
        }
        check_reset(text);
    } else if kind % all == BODIES.len() {
        check_reset(text);
    } else {
        BODIES[kind % all].1(text);
    }
}

/// Longest inflated body compared with an independent decompression.
const INFLATED_MAX: u64 = 4 << 20;

/// The first byte says whether the header says compressed, whether it is of a version with static topics, and whether the
/// rest is to be compressed here first, which no mutation would get right.
pub(super) fn registration(input: &[u8]) {
    let mut input = Input::new(input);
    let mode = input.byte();
    let (compressed, compress) = (mode & 1 == 1, mode & 2 == 2);
    let version = if mode & 4 == 4 { timbermq_remoting::version::STATIC_TOPICS } else { 399 };
    let body = match compress {
        true => deflate(input.rest()),
        false => input.rest().to_vec(),
    };
    let Ok(decoded) = RegisterBrokerBody::decode(&body, compressed, version) else { return };

    let again = RegisterBrokerBody::decode(&decoded.to_json(), false, version).expect("our own JSON");
    assert_eq!(again, decoded);
    // The compressed form says less of a topic: six words, parted by spaces.
    let written = decoded.to_compressed(version);
    let Ok(line_form) = RegisterBrokerBody::decode(&written, true, version) else {
        let says_lines = |topic: &TopicConfig| {
            !topic.topic_name.is_empty() && !topic.topic_name.contains(' ') && !topic.topic_filter_type.contains(' ')
        };
        assert!(!decoded.topics.topic_config_table.values().all(says_lines), "{decoded:?}");
        return;
    };
    assert_eq!(line_form.topics.data_version, decoded.topics.data_version);
    assert_eq!(line_form.filter_server_list, decoded.filter_server_list);
    assert_eq!(
        RegisterBrokerBody::decode(&line_form.to_compressed(version), true, version).expect("our own compressed form"),
        line_form
    );
    // Whoever finds a zlib stream in it, finds the same.
    let mut plain = Vec::new();
    let inflated = ZlibDecoder::new(&written[..]).take(INFLATED_MAX).read_to_end(&mut plain);
    inflated.expect("our own compressed form is a zlib stream");
}

fn deflate(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("compressing into memory cannot fail")
}

/// Up to a line break the tag of a message, if any; then the expression.
pub(super) fn tag_filter(input: &[u8]) {
    let text = String::from_utf8_lossy(input);
    let (tag, expression) = match text.split_once('\n') {
        Some((tag, expression)) => (Some(tag), expression),
        None => (None, &*text),
    };
    let tags = parse_tags(expression);
    // Written again with the separators that clients use, it asks for the same.
    if let Tags::Set(set) = &tags {
        assert!(!set.is_empty());
        for (at, tag) in set.iter().enumerate() {
            assert!(!tag.is_empty() && tag.trim() == tag && !tag.contains("||"), "{tag:?}");
            assert!(!set[..at].contains(tag), "{tag:?} twice");
            assert!(tags.matches(Some(tag)));
        }
        assert_eq!(parse_tags(&set.join(" || ")), tags_of(set));
    }
    let wanted = expression.split("||").map(str::trim).any(|wanted| Some(wanted) == tag && !wanted.is_empty());
    assert_eq!(tags.matches(tag), tags == Tags::All || wanted, "{tag:?} by {expression:?}");

    let subscription = SubscriptionData::for_tags("T", expression, 7);
    assert_eq!(subscription.tags(), tags);
    let written = SubscriptionData::from_json(&subscription.to_json()).expect("our own JSON");
    assert_eq!(written, subscription);
    // Two crates hash tags, one for what is asked for and one for what is stored.
    for (tag, code) in subscription.tags_set.iter().zip(&subscription.code_set) {
        assert_eq!(*code, tag_hash(tag));
        assert_eq!(*code, timbermq_record::java_string_hash(tag));
    }
}

/// A set of one star means everything when it is written again.
fn tags_of(set: &[String]) -> Tags {
    if set == ["*"] { Tags::All } else { Tags::Set(set.to_vec()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measured;

    fn read<B: JsonBody>(text: &[u8]) -> bool {
        B::from_json(text).is_ok()
    }

    /// The texts in which the fewest bytes stand for the most memory.
    #[test]
    fn no_text_costs_many_times_its_length() {
        let kinds: [fn(&[u8]) -> bool; 5] = [
            read::<HeartbeatData>,
            read::<LockBatchRequest>,
            read::<RegisterBrokerBody>,
            read::<TopicConfigList>,
            read::<TopicList>,
        ];
        for (open, item, close) in [
            (r#"{"consumerDataSet":["#, "{}", "]}"),
            (r#"{'producerDataSet':['"',"#, "{}", "]}"),
            (r#"{"consumerDataSet":[{"subscriptionDataSet":["#, "{}", "]}]}"),
            (r#"{"consumerDataSet":[{"subscriptionDataSet":["#, "{}                      ", "]}]}"),
            (r#"{"consumerDataSet":[{"subscriptionDataSet":["#, "[]", "]}]}"),
            (r#"{'consumerDataSet':[{'subscriptionDataSet':["#, "{}", "]}]}"),
            (r#"{"consumerDataSet":[{"subscriptionDataSet":[{"codeSet":["#, "0", "]}]}]}"),
            (r#"{"consumerDataSet":[{"subscriptionDataSet":[{"codeSet":["#, "[]", "]}]}]}"),
            (r#"{"consumerDataSet":[{"subscriptionDataSet":[{"tagsSet":["#, r#""""#, "]}]}]}"),
            (r#"{"topicConfigList":["#, "{}", "]}"),
            (r#"{"topicList":["#, r#""""#, "]}"),
            (r#"{"mqSet":["#, "{}", "]}"),
            (r#"{"filterServerList":["#, r#""""#, "]}"),
        ] {
            let items = vec![item; (1 << 20) / (item.len() + 1)].join(",");
            let text = format!("{open}{items}{close}");
            for kind in kinds {
                let (_, usage) = measured(|| kind(text.as_bytes()));
                let times = usage.peak / text.len();
                assert!(times <= 32, "{times} times the length of {open}{item},{item}...{close}");
            }
        }
    }

    #[test]
    fn a_registration_is_not_inflated_to_many_times_its_length() {
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![b' '; 32 << 20]).expect("memory takes it");
        let stream = encoder.finish().expect("memory takes it");
        let (read, usage) = measured(|| RegisterBrokerBody::decode(&stream, true, 479));
        assert!(read.is_err());
        // Twice, because the buffer doubles, and the state of zlib.
        assert!(usage.peak <= (4 << 20) + 256 * stream.len(), "{} for {}", usage.peak, stream.len());
    }
}
