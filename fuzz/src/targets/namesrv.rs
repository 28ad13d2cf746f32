//! Requests to a NameServer.

use std::io::Write;

use bytes::BytesMut;
use flate2::Compression;
use flate2::write::ZlibEncoder;
use timbermq_namesrv::fuzzing::Table;
use timbermq_remoting::body::{JsonBody, TopicList, TopicRouteData, body_crc32};
use timbermq_remoting::code::{REQUEST_KINDS, Receiver};
use timbermq_remoting::header::REGISTRATION_COMPLETE;
use timbermq_remoting::{FrameDecoder, RemotingCommand, RequestCode, ResponseCode, SerializeType};
use timbermq_route::RouteLimits;

use super::disk;
use super::input::Input;

/// Names of ext fields that some request reads.
pub(crate) const FIELDS: &[&str] = &[
    "brokerName",
    "brokerAddr",
    "clusterName",
    "haServerAddr",
    "brokerId",
    "heartbeatTimeoutMillis",
    "enableActingMaster",
    "compressed",
    "bodyCrc32",
    "namespace",
    "key",
    "value",
    "topic",
    "cluster",
    "acceptStandardJsonOnly",
    REGISTRATION_COMPLETE,
];

/// Small, so that inputs reach the bounds.
fn limits() -> RouteLimits {
    RouteLimits { brokers_max: 3, topics_max: 8, kv_entries_max: 4, ..RouteLimits::default() }
}

/// Several requests against one table. Each is a byte for its code, one for its connection and what happens before it, one
/// for its version and form, a count of fields with name and text each, and a body with a length of two bytes.
pub(super) fn requests(input: &[u8]) {
    let mut input = Input::new(input);
    let env = disk::env(&disk::new());
    let mut table = Table::new(env, limits());
    let codes: Vec<RequestCode> =
        REQUEST_KINDS.iter().filter(|kind| kind.receiver == Receiver::NameServer).map(|kind| kind.code).collect();
    while !input.is_empty() {
        let code = usize::from(input.byte());
        let code = codes.get(code % (codes.len() + 1)).copied().unwrap_or(RequestCode(i32::from(input.u16())));
        let before = input.byte();
        let channel = u64::from(before & 3);
        match before >> 2 & 7 {
            1 => table.disconnected(channel),
            2 => table.expire(),
            _ => {}
        }
        let request = request(code, &mut input);
        let answer = table.answer(channel, &request);
        check_answer(&request, &answer);
        check_table(&table);
    }
}

fn request(code: RequestCode, input: &mut Input<'_>) -> RemotingCommand {
    let mut request = RemotingCommand::request(code);
    let form = input.byte();
    request.version = [0, 35, 36, 399, 401, 413, 453, i32::MAX][usize::from(form & 7)];
    request.opaque = i32::from(form);
    if form & 8 == 8 {
        request.serialize = SerializeType::Binary;
    }
    for _ in 0..input.below(16) {
        let name = FIELDS[input.below(FIELDS.len())];
        request.ext.set(name, &input.text());
    }
    let body = input.long();
    let body = match form & 16 {
        16 => {
            let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
            let written = encoder.write_all(body).and_then(|()| encoder.finish());
            written.expect("compressing into memory cannot fail")
        }
        _ => body.to_vec(),
    };
    if request.ext.get("bodyCrc32") == Some("") {
        request.ext.set_display("bodyCrc32", body_crc32(&body));
    }
    request.with_body(body)
}

fn check_answer(request: &RemotingCommand, answer: &RemotingCommand) {
    assert!(answer.is_response());
    assert_eq!(answer.opaque, request.opaque);
    let mut frame = BytesMut::from(&answer.to_frame().expect("an answer can be sent")[..]);
    let read = FrameDecoder::default().decode(&mut frame).expect("an answer can be read").expect("it is a whole frame");
    assert_eq!((read.code, &read.body), (answer.code, &answer.body));
    if answer.response_code() == ResponseCode::SUCCESS && request.request_code() == RequestCode::GET_ROUTEINFO_BY_TOPIC
    {
        TopicRouteData::from_json(&answer.body).expect("a route can be read");
    }
}

fn check_table(table: &Table) {
    let table = table.table();
    let TopicList { topic_list, .. } = table.topic_list();
    assert!(topic_list.len() <= limits().topics_max);
    let clusters = table.cluster_info();
    let brokers: usize = clusters.broker_addr_table.values().map(|group| group.broker_addrs.len()).sum();
    assert!(brokers <= limits().brokers_max, "{clusters:?}");
    for topic in &topic_list {
        let route = table.route(topic).expect("a listed topic has a route");
        assert!(!route.queue_datas.is_empty(), "{topic} has no queues");
        for queues in &route.queue_datas {
            let group = route.broker_datas.iter().find(|group| group.broker_name == queues.broker_name);
            let group = group.unwrap_or_else(|| panic!("{topic} is on {}, which nobody knows", queues.broker_name));
            assert!(!group.broker_addrs.is_empty(), "{} has no members", group.broker_name);
        }
    }
}
