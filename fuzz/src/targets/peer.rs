//! What replicas of a group send each other.

use std::io::ErrorKind;

use bytes::Bytes;
use timbermq_replica::fuzzing::{self, Frame, MESSAGES};

use super::input::Input;
use crate::Bound;

/// What reading a stream may hold: its bytes in a buffer that grows, and a list of frames of 17 bytes or more.
const READING: Bound = Bound { base: 4 << 10, per_byte: 16 };

fn frames(stream: &[u8], piece: usize, trusted: bool) -> (Vec<Frame>, Option<ErrorKind>) {
    READING.hold(stream.len(), || fuzzing::frames(stream, piece, trusted))
}

/// The first byte says how the stream is cut, the second whether the handshake is over and whether what follows is payloads
/// of frames, each with a length of one byte, or the stream itself.
pub(super) fn stream(input: &[u8]) {
    let mut input = Input::new(input);
    let piece = 1 + usize::from(input.byte());
    let mode = input.byte();
    let trusted = mode & 1 == 1;
    if mode & 2 == 0 {
        let stream = input.rest();
        let whole = frames(stream, stream.len().max(1), trusted);
        assert_eq!(frames(stream, piece, trusted), whole, "in pieces of {piece}");
        return;
    }
    let mut stream = Vec::new();
    let mut sent = Vec::new();
    while !input.is_empty() {
        let (kind, request, payload) = (input.byte(), input.number(), Bytes::copy_from_slice(input.short()));
        stream.extend(fuzzing::frame_bytes(kind, request, payload.clone()));
        sent.push((kind, request, payload));
    }
    let (found, error) = frames(&stream, piece, trusted);
    assert_eq!((&found, error), (&sent, None));
    drop(found);
    if stream.pop().is_some() {
        sent.pop();
        assert_eq!(frames(&stream, piece, trusted), (sent, Some(ErrorKind::UnexpectedEof)));
    }
}

/// The first byte picks the message, or with its top bit all; the rest is the message.
pub(super) fn message(input: &[u8]) {
    let mut input = Input::new(input);
    let which = usize::from(input.byte());
    let bytes = Bytes::copy_from_slice(input.rest());
    let messages = match which {
        128.. => MESSAGES,
        _ => &MESSAGES[which % MESSAGES.len()..][..1],
    };
    for (name, again) in messages {
        if let Some(encoded) = again(bytes.clone()) {
            assert_eq!(again(encoded.clone()), Some(encoded), "{name}");
        }
    }
}
