//! Typed headers.

use timbermq_remoting::header::*;
use timbermq_remoting::{ExtFields, HeaderError, RequestCode};

use super::input::Input;
use crate::Bound;

/// What decoding a header may hold: the texts of its fields, or an error that shows the beginning of one.
const DECODING: Bound = Bound { base: 64, per_byte: 1 };

fn decode<H>(ext: &ExtFields, decode: impl FnOnce(&ExtFields) -> Result<H, HeaderError>) -> Result<H, HeaderError> {
    let text = ext.iter().map(|(name, value)| name.len() + value.len()).sum();
    DECODING.hold(text, || decode(ext))
}

/// Decodes a header, writes it, and decodes it again.
fn check<H: Header + PartialEq + std::fmt::Debug>(ext: &ExtFields) -> Result<(), HeaderError> {
    let header = decode(ext, H::decode)?;
    let mut written = ExtFields::new();
    header.encode(&mut written);
    assert_eq!(H::decode(&written).as_ref(), Ok(&header), "from {written:?}");
    let mut twice = written.clone();
    header.encode(&mut twice);
    assert_eq!(twice, written, "fields are set, not added");
    Ok(())
}

fn check_send(ext: &ExtFields) -> Result<(), HeaderError> {
    // The two spellings of one header.
    let long = decode(ext, |ext| SendMessageHeader::decode_for(RequestCode::SEND_MESSAGE, ext));
    let short = decode(ext, |ext| SendMessageHeader::decode_for(RequestCode::SEND_MESSAGE_V2, ext));
    for header in [&long, &short].into_iter().flatten() {
        for code in [RequestCode::SEND_MESSAGE, RequestCode::SEND_MESSAGE_V2, RequestCode::SEND_BATCH_MESSAGE] {
            let mut written = ExtFields::new();
            header.encode_for(code, &mut written);
            assert_eq!(SendMessageHeader::decode_for(code, &written).as_ref(), Ok(header), "from {written:?}");
        }
    }
    long.and(short).map(|_| ())
}

macro_rules! headers {
    ($($name:ident),* $(,)?) => {
        const HEADERS: &[(&str, fn(&ExtFields) -> Result<(), HeaderError>)] =
            &[$((stringify!($name), check::<$name>),)* ("send in both spellings", check_send)];
    };
}

headers!(
    AddWritePermResponseHeader,
    BrokerGroupHeader,
    BrokerHeartbeatHeader,
    BrokerIdentityHeader,
    BrokerNameHeader,
    CheckTransactionStateHeader,
    ClusterHeader,
    ConsumeMessageDirectlyHeader,
    ConsumerGroupHeader,
    ConsumerSendMsgBackHeader,
    CreateTopicHeader,
    DeleteSubscriptionGroupHeader,
    DeleteTopicFromNamesrvHeader,
    EarliestStoreTimeResponseHeader,
    EndTransactionHeader,
    GetAllSubscriptionGroupHeader,
    GetAllSubscriptionGroupResponseHeader,
    GetAllTopicConfigHeader,
    GetAllTopicConfigResponseHeader,
    GetBrokerConfigResponseHeader,
    GetConsumeStatsHeader,
    GetConsumerRunningInfoHeader,
    GetConsumerStatusHeader,
    GetKvConfigResponseHeader,
    GetRouteInfoHeader,
    GroupHeader,
    HeartbeatResponseHeader,
    KvConfigHeader,
    KvNamespaceHeader,
    OffsetResponseHeader,
    ProducerGroupHeader,
    PullMessageHeader,
    PullMessageResponseHeader,
    PutKvConfigHeader,
    QueryConsumerOffsetHeader,
    QueryDataVersionResponseHeader,
    QueryMessageHeader,
    QueryMessageResponseHeader,
    QueueHeader,
    RegisterBrokerHeader,
    RegisterBrokerResponseHeader,
    RegisterTopicHeader,
    ReplyMessageHeader,
    ResetOffsetHeader,
    SearchOffsetHeader,
    SendMessageHeader,
    SendMessageResponseHeader,
    TopicHeader,
    UnregisterClientHeader,
    UpdateConsumerOffsetHeader,
    ViewMessageHeader,
    WipeWritePermResponseHeader,
);

/// The first byte picks the header; the rest is ext fields: names up to `=`, values up to a line break. Names of the
/// header's own that have no value are tried with every value that the input has.
pub(super) fn typed(input: &[u8]) {
    let mut input = Input::new(input);
    let (_, check) = HEADERS[input.below(HEADERS.len())];
    let text = String::from_utf8_lossy(input.rest()).into_owned();
    let mut ext: ExtFields = text.split('\n').filter_map(|line| line.split_once('=')).collect();
    // A mandatory field that is missing gets a value, so that mutations need not guess long names.
    let values: Vec<String> = ext.iter().map(|(_, value)| value.to_owned()).collect();
    // Not more than came: a long value in each of two dozen fields would be the target's doing, not the product's.
    let mut room = text.len();
    for turn in 0..64 {
        match check(&ext) {
            Err(HeaderError::Missing { field }) => {
                let value = values.get(turn % values.len().max(1)).map_or("0", String::as_str);
                let value = if value.len() <= room { value } else { "0" };
                room = room.saturating_sub(value.len());
                ext.set(field, if value.is_empty() { "1" } else { value });
            }
            Err(HeaderError::Malformed { field, value }) => {
                assert!(ext.get(field).is_some_and(|text| text.starts_with(&value)));
                ext.set(field, "2");
            }
            Ok(()) => return,
        }
    }
    panic!("a header with every field set is refused: {ext:?}");
}
