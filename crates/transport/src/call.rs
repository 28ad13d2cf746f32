//! Requests to a peer that wait for their response.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Context, Poll};

use timbermq_env::BoxFuture;
use timbermq_remoting::{FrameError, RemotingCommand};
use tokio::sync::oneshot;

use crate::Peer;

/// Why a request has no response.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// No connection could be made; nothing was sent.
    #[error("{reason}")]
    ConnectFailed {
        /// Address tried.
        addr: String,
        /// What the network said, with the address.
        reason: String,
    },
    /// No response came in time. The request may have been carried out, and may still be.
    #[error("no response in time")]
    Timeout,
    /// The connection closed before a response came.
    #[error("the connection closed before a response came ({})", if *sent { "the request may have been carried out" } else { "the request was not sent" })]
    Closed {
        /// Whether any byte of the request may have left. If not, it was certainly not carried out.
        sent: bool,
    },
    /// Too many calls or bytes are waiting already; nothing was sent.
    #[error("too many requests are waiting for this peer")]
    Overloaded,
    /// The request cannot be written as a frame; nothing was sent.
    #[error("the request cannot be sent: {0}")]
    Frame(#[from] FrameError),
}

impl CallError {
    /// Whether the request may have been carried out, now or later.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        match self {
            CallError::Timeout => true,
            CallError::Closed { sent } => *sent,
            CallError::ConnectFailed { .. } | CallError::Overloaded | CallError::Frame(_) => false,
        }
    }
}

type Answer = Result<RemotingCommand, CallError>;

/// Calls of one connection by opaque.
#[derive(Default)]
pub(crate) struct Calls {
    state: Mutex<CallsState>,
}

#[derive(Default)]
struct CallsState {
    waiting: BTreeMap<i32, Waiting>,
    next_opaque: i32,
    closed: bool,
}

struct Waiting {
    answer: oneshot::Sender<Answer>,
    /// Where in the output stream the request begins.
    start: u64,
}

impl Calls {
    fn lock(&self) -> MutexGuard<'_, CallsState> {
        self.state.lock().expect("nothing panics while it holds the table of calls")
    }

    /// A place for a request's answer.
    pub(crate) fn open(&self, calls_max: usize) -> Result<(i32, oneshot::Receiver<Answer>), CallError> {
        let mut state = self.lock();
        if state.closed {
            return Err(CallError::Closed { sent: false });
        }
        if state.waiting.len() >= calls_max {
            return Err(CallError::Overloaded);
        }
        let (answer, receiver) = oneshot::channel();
        // The counter may wrap around onto a call that is still waiting.
        while state.waiting.contains_key(&state.next_opaque) {
            state.next_opaque = state.next_opaque.wrapping_add(1);
        }
        let opaque = state.next_opaque;
        state.next_opaque = opaque.wrapping_add(1);
        state.waiting.insert(opaque, Waiting { answer, start: u64::MAX });
        Ok((opaque, receiver))
    }

    /// An opaque for a request without an answer.
    pub(crate) fn next_opaque(&self) -> i32 {
        let mut state = self.lock();
        let opaque = state.next_opaque;
        state.next_opaque = opaque.wrapping_add(1);
        opaque
    }

    /// Notes where in the output stream the request of `opaque` begins.
    pub(crate) fn queued_at(&self, opaque: i32, start: u64) {
        if let Some(waiting) = self.lock().waiting.get_mut(&opaque) {
            waiting.start = start;
        }
    }

    /// Hands a response to its call; false if nobody waits for it.
    pub(crate) fn answer(&self, response: RemotingCommand) -> bool {
        let waiting = self.lock().waiting.remove(&response.opaque);
        waiting.is_some_and(|waiting| waiting.answer.send(Ok(response)).is_ok())
    }

    pub(crate) fn forget(&self, opaque: i32) {
        self.lock().waiting.remove(&opaque);
    }

    pub(crate) fn len(&self) -> usize {
        self.lock().waiting.len()
    }

    /// Fails every call; `reach` is up to where bytes of the output stream may have left or may still leave.
    pub(crate) fn close(&self, reach: u64) {
        let waiting = {
            let mut state = self.lock();
            state.closed = true;
            std::mem::take(&mut state.waiting)
        };
        for Waiting { answer, start } in waiting.into_values() {
            // A receiver that is gone does not want to know.
            let _ = answer.send(Err(CallError::Closed { sent: start < reach }));
        }
    }
}

/// A request on its way: a future of its response. Dropping it forgets the response.
///
/// The request is queued when this exists; awaiting late does not delay it.
#[must_use = "the response comes out of this future"]
pub struct Call {
    pub(crate) peer: Arc<Peer>,
    pub(crate) opaque: i32,
    pub(crate) answer: oneshot::Receiver<Answer>,
    pub(crate) deadline: BoxFuture<'static, ()>,
}

impl Future for Call {
    type Output = Answer;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Answer> {
        if let Poll::Ready(answer) = Pin::new(&mut self.answer).poll(cx) {
            // Without a message the sender was dropped, which only closing the connection does.
            return Poll::Ready(answer.unwrap_or(Err(CallError::Closed { sent: true })));
        }
        self.deadline.as_mut().poll(cx).map(|()| Err(CallError::Timeout))
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.peer.calls().forget(self.opaque);
    }
}
