//! Frames captured from stock clients and brokers: read, written again, and compared.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Buf, BytesMut};
use serde_json::{Map, Value};
use timbermq_remoting::body::*;
use timbermq_remoting::header::*;
use timbermq_remoting::{ExtFields, FrameDecoder, RemotingCommand, RequestCode, ResponseCode, SerializeType};

/// Every `.bin` file under a directory: one or more frames, back to back.
fn captures(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            captures(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "bin") {
            found.push(path);
        }
    }
    found.sort();
}

#[test]
fn captured_frames_are_understood_and_written_again() {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden");
    let mut files = Vec::new();
    captures(&directory, &mut files);
    assert!(!files.is_empty(), "no captured frames in {}", directory.display());
    let mut frames = 0;
    for file in &files {
        let mut stream = BytesMut::from(&fs::read(file).unwrap()[..]);
        assert!(!stream.is_empty(), "{} is empty", file.display());
        while !stream.is_empty() {
            let bytes = stream.clone();
            let command = match FrameDecoder::default().decode(&mut stream) {
                Ok(Some(command)) => command,
                other => panic!("{} after {frames} frames: {other:?}", file.display()),
            };
            let frame = &bytes[..bytes.len() - stream.len()];
            let what = format!("{}: {command:?}", file.display());
            check_written_again(&command, frame, &what);
            check_typed(&command, file, &what);
            frames += 1;
        }
    }
    println!("{frames} frames in {} files", files.len());
}

/// The header as it came gives the same bytes; our own header means the same.
fn check_written_again(command: &RemotingCommand, frame: &[u8], what: &str) {
    let mut verbatim = BytesMut::new();
    command.encode_verbatim(&mut verbatim).unwrap();
    assert_eq!(verbatim, frame, "{what}");

    let mut canonical = BytesMut::new();
    command.encode(&mut canonical).unwrap();
    match command.serialize {
        SerializeType::Binary => assert_eq!(canonical, frame, "{what}"),
        SerializeType::Json => {
            assert_eq!(meaning(&header_of(&canonical)), meaning(&header_of(frame)), "{what}");
        }
    }
    let again = FrameDecoder::default().decode(&mut canonical).unwrap().expect("a whole frame");
    assert_eq!(&again, command, "{what}");
}

fn header_of(frame: &[u8]) -> Vec<u8> {
    let mut frame = frame;
    frame.advance(4);
    let length = (frame.get_u32() & 0x00ff_ffff) as usize;
    frame[..length].to_vec()
}

/// A JSON header without what has no meaning: how ext values are typed, nulls, and the note of the serialize type.
fn meaning(header: &[u8]) -> Map<String, Value> {
    let Value::Object(mut header) = serde_json::from_slice(header).expect("JSON") else { panic!("no object") };
    header.remove("serializeTypeCurrentRPC");
    header.retain(|_, value| !value.is_null());
    if let Some(Value::Object(ext)) = header.get_mut("extFields") {
        ext.retain(|_, value| !value.is_null());
        for value in ext.values_mut().filter(|value| !value.is_string()) {
            *value = Value::String(value.to_string());
        }
        if ext.is_empty() {
            header.remove("extFields");
        }
    }
    header
}

fn check_typed(command: &RemotingCommand, file: &Path, what: &str) {
    // `req-310-1.bin`, `resp-310-1.bin`: the code is that of the request in both.
    let name = file.file_stem().unwrap_or_default().to_string_lossy();
    let code = name.split('-').nth(1).and_then(|code| code.parse().ok());
    let code = code.unwrap_or_else(|| panic!("no request code in the name of {}", file.display()));
    assert_eq!(command.is_response(), name.starts_with("resp-"), "{what}");
    if command.is_response() {
        check_response(command, RequestCode(code), what);
    } else {
        assert_eq!(command.code, code, "{what}");
        check_request(command, what);
    }
}

/// The header is understood, and writing it gives the fields that were read.
fn header<H: Header>(command: &RemotingCommand, what: &str) -> H {
    let header: H = command.header().unwrap_or_else(|error| panic!("{error}: {what}"));
    check_fields(&command.ext, |written| header.encode(written), what);
    header
}

fn known_header<H: Header>(command: &RemotingCommand, what: &str) {
    let _: H = header(command, what);
}

/// Every field that was written and received has the text that was received.
fn check_fields(received: &ExtFields, encode: impl Fn(&mut ExtFields), what: &str) {
    let mut written = ExtFields::new();
    encode(&mut written);
    for (name, text) in written.iter() {
        // C++ writes booleans as 0 and 1.
        let is_same = |received: &str| received == text || matches!((received, text), ("0", "false") | ("1", "true"));
        assert!(received.get(name).is_none_or(is_same), "{name} became {text:?}: {what}");
    }
}

fn body<B: JsonBody>(command: &RemotingCommand, what: &str) {
    B::from_json(&command.body).unwrap_or_else(|error| panic!("{error}: {what}"));
}

fn check_request(command: &RemotingCommand, what: &str) {
    let code = command.request_code();
    assert!(code.kind().is_some(), "an unknown request code: {what}");
    match code {
        RequestCode::SEND_MESSAGE
        | RequestCode::SEND_MESSAGE_V2
        | RequestCode::SEND_BATCH_MESSAGE
        | RequestCode::SEND_REPLY_MESSAGE
        | RequestCode::SEND_REPLY_MESSAGE_V2 => {
            let send = SendMessageHeader::decode_for(code, &command.ext);
            let send = send.unwrap_or_else(|error| panic!("{error}: {what}"));
            check_fields(&command.ext, |written| send.encode_for(code, written), what);
        }
        RequestCode::PULL_MESSAGE | RequestCode::LITE_PULL_MESSAGE => known_header::<PullMessageHeader>(command, what),
        RequestCode::QUERY_MESSAGE => known_header::<QueryMessageHeader>(command, what),
        RequestCode::QUERY_CONSUMER_OFFSET => known_header::<QueryConsumerOffsetHeader>(command, what),
        RequestCode::UPDATE_CONSUMER_OFFSET => known_header::<UpdateConsumerOffsetHeader>(command, what),
        RequestCode::UPDATE_AND_CREATE_TOPIC => known_header::<CreateTopicHeader>(command, what),
        RequestCode::SEARCH_OFFSET_BY_TIMESTAMP => known_header::<SearchOffsetHeader>(command, what),
        RequestCode::GET_MAX_OFFSET | RequestCode::GET_MIN_OFFSET | RequestCode::GET_EARLIEST_MSG_STORETIME => {
            known_header::<QueueHeader>(command, what);
        }
        RequestCode::VIEW_MESSAGE_BY_ID => known_header::<ViewMessageHeader>(command, what),
        RequestCode::HEART_BEAT => body::<HeartbeatData>(command, what),
        RequestCode::UNREGISTER_CLIENT => known_header::<UnregisterClientHeader>(command, what),
        RequestCode::CONSUMER_SEND_MSG_BACK => known_header::<ConsumerSendMsgBackHeader>(command, what),
        RequestCode::END_TRANSACTION => known_header::<EndTransactionHeader>(command, what),
        RequestCode::CHECK_TRANSACTION_STATE => known_header::<CheckTransactionStateHeader>(command, what),
        RequestCode::GET_CONSUMER_LIST_BY_GROUP
        | RequestCode::NOTIFY_CONSUMER_IDS_CHANGED
        | RequestCode::GET_CONSUMER_CONNECTION_LIST => known_header::<ConsumerGroupHeader>(command, what),
        RequestCode::LOCK_BATCH_MQ | RequestCode::UNLOCK_BATCH_MQ => body::<LockBatchRequest>(command, what),
        RequestCode::CHECK_CLIENT_CONFIG => body::<CheckClientConfigBody>(command, what),
        RequestCode::GET_ROUTEINFO_BY_TOPIC => known_header::<GetRouteInfoHeader>(command, what),
        RequestCode::REGISTER_BROKER => {
            let register: RegisterBrokerHeader = header(command, what);
            RegisterBrokerBody::decode(&command.body, register.compressed, command.version)
                .unwrap_or_else(|error| panic!("{error}: {what}"));
        }
        RequestCode::GET_TOPIC_STATS_INFO | RequestCode::QUERY_TOPIC_CONSUME_BY_WHO => {
            known_header::<TopicHeader>(command, what);
        }
        RequestCode::GET_CONSUME_STATS => known_header::<GetConsumeStatsHeader>(command, what),
        RequestCode::INVOKE_BROKER_TO_RESET_OFFSET => known_header::<ResetOffsetHeader>(command, what),
        RequestCode::RESET_CONSUMER_CLIENT_OFFSET => {
            known_header::<ResetOffsetHeader>(command, what);
            body::<ResetOffsetBody>(command, what);
        }
        RequestCode::PUSH_REPLY_MESSAGE_TO_CLIENT => known_header::<ReplyMessageHeader>(command, what),
        _ => {}
    }
}

/// A response does not say what it answers; the name of its file does.
fn check_response(command: &RemotingCommand, request: RequestCode, what: &str) {
    assert!(command.response_code().name().is_some(), "an unknown response code: {what}");
    let succeeded = command.response_code() == ResponseCode::SUCCESS;
    match request {
        RequestCode::PULL_MESSAGE | RequestCode::LITE_PULL_MESSAGE if matches!(command.code, 0 | 19 | 20 | 21) => {
            known_header::<PullMessageResponseHeader>(command, what);
        }
        _ if !succeeded => {}
        RequestCode::SEND_MESSAGE
        | RequestCode::SEND_MESSAGE_V2
        | RequestCode::SEND_BATCH_MESSAGE
        | RequestCode::SEND_REPLY_MESSAGE
        | RequestCode::SEND_REPLY_MESSAGE_V2 => known_header::<SendMessageResponseHeader>(command, what),
        RequestCode::QUERY_CONSUMER_OFFSET
        | RequestCode::SEARCH_OFFSET_BY_TIMESTAMP
        | RequestCode::GET_MAX_OFFSET
        | RequestCode::GET_MIN_OFFSET => known_header::<OffsetResponseHeader>(command, what),
        RequestCode::QUERY_MESSAGE => known_header::<QueryMessageResponseHeader>(command, what),
        RequestCode::HEART_BEAT => known_header::<HeartbeatResponseHeader>(command, what),
        RequestCode::REGISTER_BROKER => known_header::<RegisterBrokerResponseHeader>(command, what),
        RequestCode::GET_BROKER_CONFIG => known_header::<GetBrokerConfigResponseHeader>(command, what),
        RequestCode::QUERY_DATA_VERSION => {
            known_header::<QueryDataVersionResponseHeader>(command, what);
            // A NameServer that does not know the broker has no version to tell.
            if !command.body.is_empty() {
                body::<DataVersion>(command, what);
            }
        }
        RequestCode::GET_ROUTEINFO_BY_TOPIC => body::<TopicRouteData>(command, what),
        RequestCode::GET_BROKER_CLUSTER_INFO => body::<ClusterInfo>(command, what),
        RequestCode::GET_CONSUMER_LIST_BY_GROUP => body::<ConsumerList>(command, what),
        RequestCode::LOCK_BATCH_MQ => body::<LockBatchResponse>(command, what),
        RequestCode::GET_BROKER_RUNTIME_INFO => body::<KvTable>(command, what),
        RequestCode::GET_ALL_TOPIC_CONFIG => body::<TopicConfigTable>(command, what),
        RequestCode::GET_TOPIC_CONFIG => body::<TopicConfig>(command, what),
        RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => body::<SubscriptionGroupTable>(command, what),
        RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG => body::<SubscriptionGroupConfig>(command, what),
        RequestCode::GET_TOPIC_STATS_INFO => body::<TopicStatsTable>(command, what),
        RequestCode::GET_CONSUME_STATS => body::<ConsumeStats>(command, what),
        RequestCode::GET_CONSUMER_CONNECTION_LIST => body::<ConsumerConnection>(command, what),
        RequestCode::GET_PRODUCER_CONNECTION_LIST => body::<ProducerConnection>(command, what),
        RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER
        | RequestCode::GET_TOPICS_BY_CLUSTER
        | RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS => body::<TopicList>(command, what),
        RequestCode::QUERY_TOPIC_CONSUME_BY_WHO => body::<GroupList>(command, what),
        RequestCode::GET_BROKER_MEMBER_GROUP => body::<BrokerMemberGroupBody>(command, what),
        _ => {}
    }
}
