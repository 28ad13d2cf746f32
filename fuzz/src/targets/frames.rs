//! Frames and headers of the remoting protocol.

use bytes::{BufMut, Bytes, BytesMut};
use timbermq_remoting::language::LanguageCode;
use timbermq_remoting::{ExtFields, FrameDecoder, FrameError, RemotingCommand, SerializeType};

use super::input::Input;
use crate::Bound;

/// What decoding itself may hold: the text of ext fields and where they lie, some more when a vector grows.
const DECODING: Bound = Bound { base: 4 << 10, per_byte: 32 };

/// Every command of a stream that arrives in pieces of `piece` bytes, and how it ended.
fn decode_stream(stream: &[u8], piece: usize, max_frame: usize) -> (Vec<RemotingCommand>, Option<FrameError>, usize) {
    let decoder = FrameDecoder { max_frame };
    let mut buffer = BytesMut::new();
    let mut commands = Vec::new();
    for bytes in stream.chunks(piece) {
        buffer.extend_from_slice(bytes);
        loop {
            match decoder.decode(&mut buffer) {
                Ok(Some(command)) => commands.push(command),
                Ok(None) => break,
                Err(error) => return (commands, Some(error), 0),
            }
        }
    }
    (commands, None, buffer.len())
}

/// The first byte says how the stream is cut, the second how long a frame may be; the rest is the stream.
pub(super) fn stream(input: &[u8]) {
    let mut input = Input::new(input);
    let piece = 1 + usize::from(input.byte());
    let max_frame = if input.flag() { 64 } else { usize::from(u16::MAX) };
    let stream = input.rest();

    let (commands, error, left) = decode_stream(stream, stream.len().max(1), max_frame);
    let (in_pieces, error_in_pieces, left_in_pieces) = decode_stream(stream, piece, max_frame);
    assert_eq!(in_pieces, commands, "in pieces of {piece}");
    assert_eq!(error_in_pieces, error, "in pieces of {piece}");
    assert_eq!(left_in_pieces, left, "in pieces of {piece}");

    let mut verbatim = BytesMut::new();
    for command in &commands {
        command.encode_verbatim(&mut verbatim).expect("what came as a frame goes as one");
        again(command);
    }
    assert_eq!(verbatim, stream[..verbatim.len()], "passed on untouched");
    if error.is_none() {
        assert_eq!(verbatim.len() + left, stream.len(), "no byte is lost between frames");
    }
}

/// Decoding undoes encoding, and encoding is stable.
fn again(command: &RemotingCommand) -> RemotingCommand {
    let mut frame = BytesMut::new();
    command.encode(&mut frame).expect("a received command can be sent");
    let first = frame.clone();
    let decoder = FrameDecoder { max_frame: usize::MAX };
    let decoded = decoder.decode(&mut frame).expect("what was encoded is a frame").expect("it is a whole frame");
    assert!(frame.is_empty(), "{} bytes after the frame", frame.len());
    assert_eq!(decoded, normal(command, decoded.serialize));
    assert_eq!(decoded.to_frame().expect("a received command can be sent"), first.freeze());
    decoded
}

/// A command as it comes out of a header of the given form, which cannot say everything.
fn normal(command: &RemotingCommand, form: SerializeType) -> RemotingCommand {
    let mut normal = command.clone();
    normal.serialize = form;
    match form {
        // JSON names languages, and there is one name for all without one.
        SerializeType::Json => normal.language = LanguageCode::from_name(command.language.name()),
        // Binary headers tell neither an empty remark from none nor a field without a name from none.
        SerializeType::Binary => {
            normal.remark = command.remark.clone().filter(|remark| !remark.is_empty());
            normal.ext = command.ext.iter().filter(|(name, _)| !name.is_empty()).collect::<ExtFields>();
        }
    }
    normal
}

fn frame_of(form: SerializeType, header: &[u8]) -> BytesMut {
    let mut frame = BytesMut::new();
    let len = u32::try_from(header.len()).expect("inputs are short");
    frame.put_u32(len + 4);
    frame.put_u32(len | u32::from(form.byte()) << 24);
    frame.put_slice(header);
    frame
}

/// The first byte says which form of header the rest is.
pub(super) fn header(input: &[u8]) {
    let mut input = Input::new(input);
    let (form, other) = match input.flag() {
        true => (SerializeType::Binary, SerializeType::Json),
        false => (SerializeType::Json, SerializeType::Binary),
    };
    let header = input.rest();
    let mut frame = frame_of(form, header);
    let decoded = DECODING.hold(header.len(), || FrameDecoder::default().decode(&mut frame));
    let Ok(decoded) = decoded else { return };
    let command = decoded.expect("the frame is whole");
    assert_eq!((command.serialize, &command.body), (form, &Bytes::new()));
    again(&command);

    // The same command the other way, where the other way can say it: both decoders must give the same fields.
    let there = again(&RemotingCommand { serialize: other, ..command.clone() });
    if there.serialize == other {
        // Not as the first form would have it: a language given as a number has no name in JSON, and in binary it is the number.
        let both = normal(&command, other);
        assert_eq!(there, both);
        let back = again(&RemotingCommand { serialize: form, ..there });
        assert_eq!(normal(&normal(&back, other), form), normal(&both, form));
    } else {
        assert_eq!(other, SerializeType::Binary, "JSON can hold everything");
    }
}
