//! The duty to answer one request.

use std::sync::Arc;

use timbermq_remoting::{RemotingCommand, ResponseCode, SerializeType};

use crate::Peer;

/// Answers one request, once, from anywhere.
///
/// Dropping it unanswered answers SYSTEM_ERROR, so that no requester waits for a timeout because of a path that forgot
/// it. An answer to a one-way request, or on a closed connection, goes nowhere.
pub struct Responder {
    peer: Arc<Peer>,
    opaque: i32,
    serialize: SerializeType,
    one_way: bool,
    bytes: usize,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    InFlight,
    Parked,
    Answered,
}

impl Responder {
    pub(crate) fn new(peer: &Arc<Peer>, request: &RemotingCommand, bytes: usize) -> Self {
        peer.enter(bytes);
        Self {
            peer: Arc::clone(peer),
            opaque: request.opaque,
            serialize: request.serialize,
            one_way: request.is_one_way(),
            bytes,
            state: State::InFlight,
        }
    }

    /// Sends the response. Opaque, serialize type and the response flag are set here.
    pub fn send(mut self, response: RemotingCommand) {
        self.answer(response);
    }

    /// Sends a response that consists of a code and a remark.
    pub fn refuse(mut self, code: ResponseCode, remark: impl Into<String>) {
        self.answer(RemotingCommand::response(self.opaque, self.serialize, code).with_remark(remark));
    }

    /// An empty response to fill in.
    #[must_use]
    pub fn response(&self, code: ResponseCode) -> RemotingCommand {
        RemotingCommand::response(self.opaque, self.serialize, code)
    }

    /// Says that the request will wait for something to happen, like a long poll: from now on it takes none of the
    /// connection's places for requests being handled. False if the peer has too many parked already; answer it then.
    #[must_use = "a request that may not be parked must be answered"]
    pub fn park(&mut self) -> bool {
        match self.state {
            State::Parked => true,
            State::Answered => false,
            State::InFlight => {
                let parked = self.peer.try_park();
                if parked {
                    self.peer.leave(self.bytes);
                    self.state = State::Parked;
                }
                parked
            }
        }
    }

    /// The connection that the request came from.
    #[must_use]
    pub fn peer(&self) -> &Arc<Peer> {
        &self.peer
    }

    /// The request's correlation id.
    #[must_use]
    pub fn opaque(&self) -> i32 {
        self.opaque
    }

    /// Whether the requester wants no answer.
    #[must_use]
    pub fn is_one_way(&self) -> bool {
        self.one_way
    }

    /// Whether an answer would go nowhere because the connection is closed.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.peer.is_closed()
    }

    fn answer(&mut self, mut response: RemotingCommand) {
        if self.state == State::Answered {
            return;
        }
        if !self.one_way {
            response.opaque = self.opaque;
            response.serialize = self.serialize;
            response.flag = timbermq_remoting::command::FLAG_RESPONSE;
            self.peer.push_response(&response);
        }
        match std::mem::replace(&mut self.state, State::Answered) {
            State::InFlight => self.peer.leave(self.bytes),
            State::Parked => self.peer.unpark(),
            State::Answered => {}
        }
    }
}

impl Drop for Responder {
    fn drop(&mut self) {
        if self.state != State::Answered {
            if !self.one_way && !self.peer.is_closed() {
                tracing::warn!(peer = %self.peer.remote_addr(), opaque = self.opaque, "transport.request_dropped");
            }
            let code = ResponseCode::SYSTEM_ERROR;
            let remark = "the request was dropped without an answer";
            self.answer(RemotingCommand::response(self.opaque, self.serialize, code).with_remark(remark));
        }
    }
}

impl std::fmt::Debug for Responder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Responder").field("peer", &self.peer).field("opaque", &self.opaque).finish_non_exhaustive()
    }
}
