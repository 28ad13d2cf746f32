use proptest::prelude::*;

use super::*;
use crate::code::{RequestCode, ResponseCode};
use crate::ext::ExtFields;
use crate::language::LanguageCode;

fn frame(header_word: u32, header: &[u8], body: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    frame.put_u32((4 + header.len() + body.len()) as u32);
    frame.put_u32(header_word);
    frame.put_slice(header);
    frame.put_slice(body);
    frame
}

fn json_frame(header: &str) -> BytesMut {
    frame(header.len() as u32, header.as_bytes(), b"")
}

fn binary_frame(header: &[u8]) -> BytesMut {
    frame(1 << 24 | header.len() as u32, header, b"")
}

fn decode(mut frame: BytesMut) -> Result<Option<RemotingCommand>, FrameError> {
    FrameDecoder::default().decode(&mut frame)
}

fn decode_json(header: &str) -> Result<RemotingCommand, FrameError> {
    decode(json_frame(header)).map(|command| command.expect("a whole frame"))
}

fn round_trip(command: &RemotingCommand) -> RemotingCommand {
    let mut bytes = BytesMut::new();
    command.encode(&mut bytes).unwrap();
    let decoded = FrameDecoder::default().decode(&mut bytes).unwrap().expect("a whole frame");
    assert!(bytes.is_empty());
    decoded
}

#[test]
fn writes_the_frames_clients_read() {
    let mut command = RemotingCommand::response(-5, SerializeType::Json, ResponseCode::SYSTEM_ERROR)
        .with_remark("a \"b\"\u{1}\n")
        .with_body(&b"xy"[..]);
    command.ext.set_display("queueId", 3);
    let header = br#"{"code":1,"flag":1,"language":"JAVA","opaque":-5,"serializeTypeCurrentRPC":"JSON","version":453,"remark":"a \"b\"\u0001\n","extFields":{"queueId":"3"}}"#;
    assert_eq!(command.to_frame().unwrap(), frame(header.len() as u32, header, b"xy"));

    let mut command = RemotingCommand { serialize: SerializeType::Binary, ..command };
    command.remark = Some("no".to_owned());
    let header = b"\0\x01\0\x01\xc5\xff\xff\xff\xfb\0\0\0\x01\0\0\0\x02no\0\0\0\x0e\0\x07queueId\0\0\0\x013";
    assert_eq!(command.to_frame().unwrap(), frame(1 << 24 | header.len() as u32, header, b"xy"));
}

#[test]
fn reads_what_each_client_writes() {
    let java = r#"{"code":310,"extFields":{"a":"g","i":"KEYS\u0001k\u0002","e":"-1"},"flag":0,"language":"JAVA","opaque":7,"serializeTypeCurrentRPC":"JSON","version":479}"#;
    let command = decode_json(java).unwrap();
    assert_eq!((command.code, command.opaque, command.flag, command.version), (310, 7, 0, 479));
    assert_eq!(command.ext.iter().collect::<Vec<_>>(), [("a", "g"), ("i", "KEYS\u{1}k\u{2}"), ("e", "-1")]);

    let go = r#"{"code":34,"language":"GO","version":317,"opaque":2147483647,"flag":2,"remark":"","extFields":null}"#;
    let command = decode_json(go).unwrap();
    assert_eq!((command.language, command.remark.as_deref()), (LanguageCode::GO, Some("")));
    assert!(command.is_one_way() && !command.is_response() && command.ext.is_empty());

    let cpp = " {\n\t\"code\" : 11 , \"extFields\" : { \"queueId\":3,\"f\":-1.5e3,\"t\":true,\"n\":null } ,\r\n\"flag\":1,\"language\":\"CPP\",\"opaque\":\"-9\",\"version\":333}\n";
    let command = decode_json(cpp).unwrap();
    assert_eq!((command.opaque, command.language, command.is_response()), (-9, LanguageCode::CPP, true));
    assert_eq!(command.ext.iter().collect::<Vec<_>>(), [("queueId", "3"), ("f", "-1.5e3"), ("t", "true")]);
    let written = String::from_utf8(command.to_frame().unwrap()[8..].to_vec()).unwrap();
    assert!(written.contains(r#""queueId":"3""#), "ext values are always written as text: {written}");

    let strange = r#"{"unknown":{"a":[1,{"b":"}"}],"c":null},"opaque":1,"code":9,"extFields":{"\u0061":"\ud83d\ude00\ud83d\/\t","raw":"tab	"},"language":12,"remark":null,"version":"5"}"#;
    let command = decode_json(strange).unwrap();
    assert_eq!(command.ext.get("a"), Some("\u{1f600}\u{fffd}/\t"));
    assert_eq!(command.ext.get("raw"), Some("tab\t"));
    assert_eq!((command.language, command.version, command.remark), (LanguageCode::RUST, 5, None));
}

#[test]
fn repeated_fields_count_once_and_the_last_wins() {
    let command = decode_json(r#"{"code":1,"opaque":1,"extFields":{"a":"1","b":"2","a":"3"}}"#).unwrap();
    assert_eq!(command.ext.iter().collect::<Vec<_>>(), [("a", "3"), ("b", "2")]);
}

#[test]
fn a_bad_length_is_refused_before_the_frame_has_arrived() {
    let decoder = FrameDecoder { max_frame: 1024 };
    for length in [i32::MAX, 1021, 3, 0, -1, i32::MIN] {
        let mut bytes = BytesMut::from(&length.to_be_bytes()[..]);
        assert_eq!(decoder.decode(&mut bytes), Err(FrameError::Length { length, max: 1020 }));
        assert!(bytes.capacity() < 64, "nothing was reserved for it");
    }
    let mut bytes = BytesMut::from(&1020i32.to_be_bytes()[..]);
    assert_eq!(decoder.decode(&mut bytes), Ok(None));
}

#[test]
fn a_bad_header_word_is_refused_before_the_header_has_arrived() {
    assert_eq!(decode(frame(2 << 24, b"", b"")), Err(FrameError::SerializeType(2)));
    let mut bytes = BytesMut::new();
    bytes.put_u32(100);
    bytes.put_u32(97);
    assert_eq!(decode(bytes), Err(FrameError::HeaderOverrun { header: 97, frame: 96 }));
}

#[test]
fn malformed_json_is_refused() {
    for header in [
        "",
        "{",
        "[]",
        "null",
        "{}",
        "{\"code\":1}",
        "{\"opaque\":1}",
        "{\"code\":1,\"opaque\":1",
        "{\"code\":1,\"opaque\":1}x",
        "{\"code\":1,\"opaque\":1,}",
        "{\"code\":1 \"opaque\":1}",
        "{\"code\":1.5,\"opaque\":1}",
        "{\"code\":true,\"opaque\":1}",
        "{\"code\":2147483648,\"opaque\":1}",
        "{\"code\":1,\"opaque\":1,\"extFields\":[]}",
        "{\"code\":1,\"opaque\":1,\"extFields\":1}",
        "{\"code\":1,\"opaque\":1,\"extFields\":{\"a\":{}}}",
        "{\"code\":1,\"opaque\":1,\"extFields\":{\"a\":[]}}",
        "{\"code\":1,\"opaque\":1,\"extFields\":{\"a\":x}}",
        "{\"code\":1,\"opaque\":1,\"extFields\":{\"a\":01x}}",
        "{\"code\":1,\"opaque\":1,\"extFields\":{a:1}}",
        "{\"code\":1,\"opaque\":1,\"extFields\":{\"a\" 1}}",
        "{\"code\":1,\"opaque\":1,\"extFields\":{\"a\":\"1\"",
        "{\"code\":1,\"opaque\":1,\"remark\":\"x}",
        "{\"code\":1,\"opaque\":1,\"remark\":{}}",
        "{\"code\":1,\"opaque\":1,\"remark\":\"\\x\"}",
        "{\"code\":1,\"opaque\":1,\"remark\":\"\\u12\"}",
        "{\"code\":1,\"opaque\":1,\"remark\":\"\\u12é4\"}",
        "{\"code\":1,\"opaque\":1,\"remark\":\"\\",
        "{\"code\":1,\"opaque\":1,\"x\":}",
        "{\"code\":1,\"opaque\":1,\"x\":é}",
        "{\"code\":-,\"opaque\":1}",
    ] {
        assert!(
            matches!(decode_json(header), Err(FrameError::Malformed { .. })),
            "{header}: {:?}",
            decode_json(header)
        );
    }
    assert_eq!(decode(frame(3, b"{\"\xff", b"")), Err(FrameError::NotUtf8 { at: 2 }));
}

#[test]
fn deep_nesting_is_refused() {
    let nested = |depth: usize| format!("{{\"code\":1,\"opaque\":1,\"x\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
    assert!(decode_json(&nested(32)).is_ok());
    assert!(matches!(decode_json(&nested(33)), Err(FrameError::Malformed { reason: "nested too deeply", .. })));
    assert!(decode_json(&nested(1_000_000)).is_err());
}

#[test]
fn too_many_ext_fields_are_refused() {
    let json = |count: usize, name: fn(usize) -> String| {
        let fields: Vec<String> = (0..count).map(|n| format!("\"{}\":\"v\"", name(n))).collect();
        decode_json(&format!("{{\"code\":1,\"opaque\":1,\"extFields\":{{{}}}}}", fields.join(",")))
    };
    let too_many = FrameError::TooManyFields { max: 1024 };
    assert_eq!(json(1024, |n| n.to_string()).unwrap().ext.len(), 1024);
    assert_eq!(json(1025, |n| n.to_string()), Err(too_many.clone()));
    assert_eq!(json(100_000, |n| n.to_string()), Err(too_many.clone()));
    assert_eq!(json(100_000, |_| "a".to_owned()), Err(too_many.clone()), "repeated fields are counted, too");

    let binary = |count: u32| {
        let mut header = BytesMut::from(&[0; 17][..]);
        header.put_u32(count * 8);
        (0..count).for_each(|n| header.put_slice(&[0, 1, (n % 120) as u8, 0, 0, 0, 1, b'v']));
        decode(binary_frame(&header))
    };
    assert_eq!(binary(1024).unwrap().unwrap().ext.len(), 120);
    assert_eq!(binary(100_000), Err(too_many));
}

#[test]
fn malformed_binary_headers_are_refused() {
    let mut command = RemotingCommand { serialize: SerializeType::Binary, ..RemotingCommand::request(RequestCode(10)) };
    command.remark = Some("r".to_owned());
    command.ext.set("a", "b");
    let good = command.to_frame().unwrap().slice(8..);
    assert!(decode(binary_frame(&good)).is_ok());
    for end in 0..good.len() {
        assert!(matches!(decode(binary_frame(&good[..end])), Err(FrameError::Malformed { .. })), "cut at {end}");
    }
    let mut longer = good.to_vec();
    longer.push(0);
    assert!(matches!(decode(binary_frame(&longer)), Err(FrameError::Malformed { .. })));
    let damaged = |at: usize, byte: u8| {
        let mut header = good.to_vec();
        header[at] = byte;
        decode(binary_frame(&header))
    };
    // 13 remark length, 17 remark, 18 ext length, 22 name length, 24 name, 25 value length, 29 value
    for (at, byte) in [(13, 0x80), (13, 0x7f), (18, 0x80), (21, 0), (22, 0x80), (23, 0xff), (25, 0x80), (28, 0)] {
        assert!(matches!(damaged(at, byte), Err(FrameError::Malformed { .. })), "byte {at} = {byte}");
    }
    for at in [17, 24, 29] {
        assert_eq!(damaged(at, 0xff), Err(FrameError::NotUtf8 { at }));
    }
}

#[test]
fn binary_keeps_empty_values_and_drops_nameless_fields() {
    let mut header = BytesMut::from(&[0; 17][..]);
    header.put_u32(7 + 7);
    header.put_slice(b"\0\x01a\0\0\0\0");
    header.put_slice(b"\0\0\0\0\0\x01v");
    let command = decode(binary_frame(&header)).unwrap().unwrap();
    assert_eq!(command.ext.iter().collect::<Vec<_>>(), [("a", "")]);
    assert_eq!(command.remark, None);
}

#[test]
fn what_a_json_header_leaves_out_has_its_default() {
    let command = decode_json(r#"{"code":1,"opaque":2}"#).unwrap();
    assert_eq!((command.language, command.version, command.serialize), (LanguageCode::JAVA, 0, SerializeType::Json));
}

#[test]
fn every_escape_is_read() {
    let command = decode_json(r#"{"code":1,"opaque":2,"remark":"\"\\\/\b\f\n\r\t\v\0\u0041"}"#).unwrap();
    assert_eq!(command.remark.as_deref(), Some("\"\\/\u{8}\u{c}\n\r\t\u{b}\0A"));
}

#[test]
fn binary_does_not_write_what_it_would_not_read() {
    let mut command = RemotingCommand { serialize: SerializeType::Binary, ..RemotingCommand::request(RequestCode(1)) };
    command.ext.set("a", "1");
    let plain = command.to_frame().unwrap();
    command.ext.set("", "nameless");
    assert_eq!(command.to_frame().unwrap(), plain);
}

#[test]
fn what_binary_cannot_hold_is_written_as_json() {
    for code in [200_050, 40_000, -40_000] {
        let command =
            RemotingCommand { serialize: SerializeType::Binary, ..RemotingCommand::request(RequestCode(code)) };
        let decoded = round_trip(&command);
        assert_eq!((decoded.code, decoded.serialize), (code, SerializeType::Json));
    }
}

#[test]
fn a_header_that_cannot_be_framed_leaves_the_buffer_as_it_was() {
    let command = RemotingCommand::request(RequestCode(1)).with_remark("x".repeat(0x0100_0000));
    for serialize in [SerializeType::Json, SerializeType::Binary] {
        let mut dst = BytesMut::from(&b"before"[..]);
        let command = RemotingCommand { serialize, ..command.clone() };
        assert!(matches!(command.encode(&mut dst), Err(FrameError::TooLarge { part: "header", .. })));
        assert_eq!(dst, b"before"[..]);
    }
}

#[test]
fn frames_are_cut_from_a_stream_of_any_pieces() {
    let mut stream = BytesMut::new();
    for opaque in 0..3 {
        let mut command = RemotingCommand::request(RequestCode(10)).with_body(vec![opaque as u8; opaque as usize]);
        command.opaque = opaque;
        command.encode(&mut stream).unwrap();
    }
    for piece in [1, 2, 3, 5, 7, 64, stream.len()] {
        let mut buffer = BytesMut::new();
        let mut opaques = Vec::new();
        for bytes in stream.chunks(piece) {
            buffer.extend_from_slice(bytes);
            while let Some(command) = FrameDecoder::default().decode(&mut buffer).unwrap() {
                assert_eq!(command.body.len(), command.opaque as usize);
                opaques.push(command.opaque);
            }
        }
        assert_eq!((opaques, buffer.len()), (vec![0, 1, 2], 0));
    }
}

#[test]
fn verbatim_keeps_the_header_as_it_came() {
    let original = frame(52, br#"{ "opaque":1,"x":[],"code":1,"extFields":{"q" : 3} }"#, b"body");
    let command = decode(original.clone()).unwrap().unwrap();
    let mut verbatim = BytesMut::new();
    command.encode_verbatim(&mut verbatim).unwrap();
    assert_eq!(verbatim, original);
    assert_eq!(round_trip(&command), command);
}

#[test]
fn the_body_is_a_slice_of_the_frame() {
    let original = frame(21, br#"{"code":1,"opaque":1}"#, &[7; 100]).freeze();
    let range = original.as_ptr_range();
    let buffer = original.try_into_mut().expect("the only owner");
    let command = decode(buffer).unwrap().unwrap();
    assert!(range.contains(&command.body.as_ptr()));
}

pub(crate) fn any_command() -> impl Strategy<Value = RemotingCommand> {
    let ext = prop::collection::vec(("\\PC{1,8}", "[\\PC\u{0}-\u{1f}]{0,12}"), 0..12);
    let remark = prop::option::of("[\\PC\u{0}-\u{1f}]{1,12}");
    let body = prop::collection::vec(any::<u8>(), 0..40);
    (any::<i16>(), 0u8..14, any::<i16>(), any::<i32>(), any::<i32>(), remark, ext, body, any::<bool>()).prop_map(
        |(code, language, version, opaque, flag, remark, ext, body, binary)| RemotingCommand {
            code: code.into(),
            language: LanguageCode(language),
            version: version.into(),
            opaque,
            flag,
            remark,
            ext: ext.into_iter().collect::<ExtFields>(),
            body: body.into(),
            serialize: if binary { SerializeType::Binary } else { SerializeType::Json },
            raw_header: None,
        },
    )
}

proptest! {
    #[test]
    fn decoding_undoes_encoding(command in any_command()) {
        prop_assert_eq!(round_trip(&command), command);
    }

    /// Whatever is written in one encoding of the header is read as in the other, as far as both can say it: the binary
    /// one has no fields without a name.
    #[test]
    fn both_encodings_of_the_header_say_the_same(command in any_command()) {
        let named = command.ext.iter().filter(|(name, _)| !name.is_empty());
        let ext: ExtFields = named.map(|(name, text)| (name.to_owned(), text.to_owned())).collect();
        let [json, binary] = [SerializeType::Json, SerializeType::Binary].map(|serialize| {
            let read = round_trip(&RemotingCommand { serialize, ext: ext.clone(), ..command.clone() });
            assert_eq!(read.serialize, serialize);
            RemotingCommand { serialize: command.serialize, raw_header: None, ..read }
        });
        prop_assert_eq!(&json, &binary);
        prop_assert_eq!(json, RemotingCommand { ext, ..command });
    }

    #[test]
    fn the_json_is_standard(command in any_command()) {
        let command = RemotingCommand { serialize: SerializeType::Json, ..command };
        let frame = command.to_frame().unwrap();
        let header = round_trip(&command).raw_header.unwrap();
        let value: serde_json::Value = serde_json::from_slice(&header).unwrap();
        prop_assert_eq!(&value["opaque"], &serde_json::json!(command.opaque));
        prop_assert_eq!(value["remark"].as_str(), command.remark.as_deref());
        for (name, text) in command.ext.iter() {
            prop_assert_eq!(value["extFields"][name].as_str(), Some(text));
        }
        prop_assert_eq!(frame.len(), 8 + header.len() + command.body.len());
    }

    #[test]
    fn any_header_is_answered(header in prop::collection::vec(any::<u8>(), 0..80), word in 0u32..2) {
        let _ = decode(frame(word << 24 | header.len() as u32, &header, b""));
    }

    #[test]
    fn any_json_like_text_is_answered(header in "[{}\\[\\]\":,\\\\ua0-9.etfn é-]{0,40}") {
        let _ = decode_json(&header);
        let _ = decode_json(&format!("{{\"code\":1,\"opaque\":1,\"extFields\":{{{header}"));
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let mut buffer = BytesMut::from(&bytes[..]);
        let _ = FrameDecoder::default().decode(&mut buffer);
    }

    #[test]
    fn damaged_frames_are_answered(command in any_command(), changes in prop::collection::vec((any::<usize>(), any::<u8>()), 1..4), cut: usize) {
        let mut bytes = BytesMut::from(&command.to_frame().unwrap()[..]);
        for (at, byte) in changes {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        bytes.truncate(cut % (bytes.len() + 1));
        let _ = FrameDecoder::default().decode(&mut bytes);
    }
}
