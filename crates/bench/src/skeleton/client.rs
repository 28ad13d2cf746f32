//! The load's side of the skeleton.

use std::collections::VecDeque;

use anyhow::{Context, Result};
use bytes::{Buf, BufMut, BytesMut};
use tokio::net::TcpStream;

use super::ACK_BYTES;
use crate::body::Bodies;
use crate::load::{Answer, Endpoint, Moment, Sender};

/// A running leader.
pub struct Skeleton {
    /// Where it listens.
    pub addr: String,
    /// Bytes of a body.
    pub size: usize,
}

impl Endpoint for Skeleton {
    type Sender = SkeletonSender;

    async fn connect(&self, index: usize) -> Result<(TcpStream, SkeletonSender)> {
        let stream = TcpStream::connect(&self.addr).await.with_context(|| format!("connecting to {}", self.addr))?;
        Ok((stream, SkeletonSender { bodies: Bodies::half_random(self.size, index as u64), sent: VecDeque::new() }))
    }
}

/// One connection. Acknowledgements come in the order of the messages.
pub struct SkeletonSender {
    bodies: Bodies,
    sent: VecDeque<u32>,
}

impl Sender for SkeletonSender {
    fn put(&mut self, token: u32, _: Moment, out: &mut BytesMut) {
        let body = self.bodies.next();
        out.put_u32(u32::try_from(body.len()).unwrap_or(u32::MAX));
        out.put_slice(body);
        self.sent.push_back(token);
    }

    fn take(&mut self, received: &mut BytesMut) -> Result<Option<Answer>> {
        if received.len() < ACK_BYTES {
            return Ok(None);
        }
        received.advance(ACK_BYTES);
        let token = self.sent.pop_front().context("an acknowledgement for nothing")?;
        Ok(Some(Answer { token, code: 0 }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn acknowledgements_belong_to_messages_in_order() {
        let mut sender = SkeletonSender { bodies: Bodies::half_random(3, 1), sent: VecDeque::new() };
        let mut out = BytesMut::new();
        let moment = Moment { born: 0, due: 0 };
        sender.put(7, moment, &mut out);
        sender.put(2, moment, &mut out);
        assert_eq!((out.len(), &out[..4]), (14, &[0, 0, 0, 3][..]));
        let mut received = BytesMut::zeroed(2 * ACK_BYTES - 1);
        assert_eq!(sender.take(&mut received).unwrap(), Some(Answer { token: 7, code: 0 }));
        assert_eq!(sender.take(&mut received).unwrap(), None, "half an acknowledgement is none");
        received.put_u8(0);
        assert_eq!(sender.take(&mut received).unwrap(), Some(Answer { token: 2, code: 0 }));
        received.put_bytes(0, ACK_BYTES);
        assert!(sender.take(&mut received).is_err());
    }
}
