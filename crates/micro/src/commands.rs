//! The protocol's commands: a send and its answer, in both forms of headers.

use std::hint::black_box;

use anyhow::{Context, Result};
use bytes::{Bytes, BytesMut};
use timbermq_remoting::header::{SendMessageHeader, SendMessageResponseHeader};
use timbermq_remoting::{FrameDecoder, RemotingCommand, RequestCode, ResponseCode, SerializeType};

use crate::sample::{self, TOPIC};
use crate::{Call, Operation};

pub(crate) const OPERATIONS: [Operation; 8] = [
    Operation {
        name: "send-encode-json",
        unit: "request",
        units: 1,
        calls: 2000,
        prepare: || encode_send(SerializeType::Json),
    },
    Operation {
        name: "send-decode-json",
        unit: "request",
        units: 1,
        calls: 2000,
        prepare: || decode_send(SerializeType::Json),
    },
    Operation {
        name: "answer-encode-json",
        unit: "answer",
        units: 1,
        calls: 2000,
        prepare: || encode_answer(SerializeType::Json),
    },
    Operation {
        name: "answer-decode-json",
        unit: "answer",
        units: 1,
        calls: 2000,
        prepare: || decode_answer(SerializeType::Json),
    },
    Operation {
        name: "send-encode-binary",
        unit: "request",
        units: 1,
        calls: 2000,
        prepare: || encode_send(SerializeType::Binary),
    },
    Operation {
        name: "send-decode-binary",
        unit: "request",
        units: 1,
        calls: 2000,
        prepare: || decode_send(SerializeType::Binary),
    },
    Operation {
        name: "answer-encode-binary",
        unit: "answer",
        units: 1,
        calls: 2000,
        prepare: || encode_answer(SerializeType::Binary),
    },
    Operation {
        name: "answer-decode-binary",
        unit: "answer",
        units: 1,
        calls: 2000,
        prepare: || decode_answer(SerializeType::Binary),
    },
];

fn send_header() -> SendMessageHeader {
    SendMessageHeader {
        producer_group: "bench".into(),
        topic: TOPIC.into(),
        default_topic: "TBW102".into(),
        default_topic_queue_nums: 4,
        queue_id: 3,
        sys_flag: 0,
        born_timestamp: 1_700_000_000_000,
        flag: 0,
        properties: sample::properties(0),
        reconsume_times: 0,
        unit_mode: false,
        batch: false,
        max_reconsume_times: Some(16),
        broker_name: Some("broker-a".into()),
    }
}

fn answer_header() -> SendMessageResponseHeader {
    SendMessageResponseHeader {
        msg_id: "7F00000100002A9F0000000000001234".into(),
        queue_id: 3,
        queue_offset: 123_456,
        transaction_id: None,
        batch_uniq_id: None,
        recall_handle: None,
    }
}

fn send(serialize: SerializeType, header: &SendMessageHeader, body: Bytes) -> RemotingCommand {
    let mut request = RemotingCommand::request(RequestCode::SEND_MESSAGE_V2).with_body(body);
    request.serialize = serialize;
    request.opaque = 7;
    header.encode_for(RequestCode::SEND_MESSAGE_V2, &mut request.ext);
    request
}

fn encode_send(serialize: SerializeType) -> Result<Call> {
    let (header, body) = (send_header(), Bytes::from(sample::body(0)));
    let mut dst = BytesMut::with_capacity(4096);
    Ok(Box::new(move || {
        dst.clear();
        let request = send(serialize, black_box(&header), body.clone());
        request.encode(&mut dst).expect("a small frame");
    }))
}

fn decode_send(serialize: SerializeType) -> Result<Call> {
    let mut frame = BytesMut::new();
    send(serialize, &send_header(), sample::body(0).into()).encode(&mut frame)?;
    Ok(Box::new(move || {
        let command = decoded(&frame).expect("a frame");
        black_box(SendMessageHeader::decode_for(RequestCode::SEND_MESSAGE_V2, black_box(&command.ext))).expect("good");
    }))
}

fn encode_answer(serialize: SerializeType) -> Result<Call> {
    let header = answer_header();
    let mut dst = BytesMut::with_capacity(4096);
    Ok(Box::new(move || {
        dst.clear();
        let answer = RemotingCommand::response(7, serialize, ResponseCode::SUCCESS).with_header(black_box(&header));
        answer.encode(&mut dst).expect("a small frame");
    }))
}

fn decode_answer(serialize: SerializeType) -> Result<Call> {
    let mut frame = BytesMut::new();
    let answer = RemotingCommand::response(7, serialize, ResponseCode::SUCCESS).with_header(&answer_header());
    answer.encode(&mut frame)?;
    Ok(Box::new(move || {
        let command = decoded(&frame).expect("a frame");
        black_box(command.header::<SendMessageResponseHeader>()).expect("good");
    }))
}

/// The command of a frame, copied as a connection copies what it receives.
fn decoded(frame: &BytesMut) -> Result<RemotingCommand> {
    let mut buffer = BytesMut::from(black_box(&frame[..]));
    FrameDecoder::default().decode(&mut buffer)?.context("a whole frame")
}
