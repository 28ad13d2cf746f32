//! Prints what decoding and encoding the headers of the hot path cost on this machine.

use std::hint::black_box;
use std::time::Instant;

use bytes::BytesMut;
use timbermq_remoting::header::{SendMessageHeader, SendMessageResponseHeader};
use timbermq_remoting::{FrameDecoder, RemotingCommand, RequestCode, ResponseCode, SerializeType};

const ROUNDS: u32 = 200_000;

fn measure(what: &str, mut step: impl FnMut()) {
    // The best of several runs: other work on the machine only ever adds time.
    let best = (0..7).map(|_| {
        let start = Instant::now();
        (0..ROUNDS).for_each(|_| step());
        start.elapsed() / ROUNDS
    });
    println!("{what:<45} {:>6} ns", best.min().map_or(0, |time| time.as_nanos()));
}

fn main() {
    let send = SendMessageHeader {
        producer_group: "please_rename_unique_group_name".into(),
        topic: "TopicTest".into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 3,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties:
            "KEYS\u{1}OrderID188\u{2}UNIQ_KEY\u{1}7F0000010A5F18B4AAC2\u{2}WAIT\u{1}true\u{2}TAGS\u{1}TagA\u{2}".into(),
        reconsume_times: 0,
        unit_mode: false,
        batch: false,
        max_reconsume_times: Some(16),
        broker_name: Some("broker-a".into()),
    };
    for serialize in [SerializeType::Json, SerializeType::Binary] {
        let mut request = RemotingCommand::request(RequestCode::SEND_MESSAGE_V2).with_body(vec![7; 1024]);
        request.serialize = serialize;
        send.encode_for(RequestCode::SEND_MESSAGE_V2, &mut request.ext);
        let frame = request.to_frame().expect("a small frame");
        let header_len = request.to_frame().expect("a small frame").len() - 1024;
        println!("{serialize:?}, header of {header_len} bytes");
        measure("  copy the frame (part of the next line)", || drop(black_box(BytesMut::from(&frame[..]))));
        measure("  decode a frame of 310", || {
            let mut buffer = BytesMut::from(&frame[..]);
            black_box(FrameDecoder::default().decode(&mut buffer).expect("a good frame"));
        });
        let command = FrameDecoder::default().decode(&mut BytesMut::from(&frame[..])).expect("a good frame");
        let command = command.expect("a whole frame");
        measure("  decode the typed header of 310", || {
            black_box(SendMessageHeader::decode_for(RequestCode::SEND_MESSAGE_V2, black_box(&command.ext)))
                .expect("good");
        });
        let response = SendMessageResponseHeader {
            msg_id: "0A00000100002A9F0000000000001234".into(),
            queue_id: 3,
            queue_offset: 123_456,
            transaction_id: None,
            batch_uniq_id: None,
            recall_handle: None,
        };
        let mut dst = BytesMut::with_capacity(512);
        measure("  build and encode the response", || {
            dst.clear();
            let response =
                RemotingCommand::response(7, serialize, ResponseCode::SUCCESS).with_header(black_box(&response));
            response.encode(&mut dst).expect("a small frame");
        });
    }
}
