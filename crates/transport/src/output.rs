//! Bytes waiting to be written to one peer.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::{Bytes, BytesMut};
use timbermq_remoting::{FrameError, RemotingCommand};
use timbermq_sync::Budget;
use tokio::sync::Notify;

/// Bodies from this size on are sent from where they are; smaller ones are copied beside their headers.
const COPY_BYTES_MAX: usize = 4096;

/// Why a frame was not queued. Nothing of it was.
#[derive(Debug)]
pub(crate) enum PushError {
    Closed,
    Full,
    Frame(FrameError),
}

/// A queue of frames that the writer empties in large pieces.
pub(crate) struct Output {
    state: Mutex<State>,
    /// There is something to write, or the queue was closed. One waiter: the writer.
    ready: Notify,
    /// Bytes were written. Any number of waiters.
    drained: Notify,
    budget: Arc<Budget>,
    frame_bytes_max: usize,
    bytes_max: usize,
}

#[derive(Default)]
struct State {
    parts: VecDeque<Bytes>,
    /// Headers and small bodies that follow `parts`.
    tail: BytesMut,
    /// Bytes queued and not yet written.
    queued: usize,
    /// Bytes ever queued: where in the stream the next frame begins.
    enqueued: u64,
    /// Bytes ever handed to the writer.
    taken: u64,
    closed: bool,
}

impl Output {
    pub(crate) fn new(budget: Arc<Budget>, frame_bytes_max: usize, bytes_max: usize) -> Self {
        Self {
            state: Mutex::default(),
            ready: Notify::new(),
            drained: Notify::new(),
            budget,
            frame_bytes_max,
            bytes_max,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the output queue")
    }

    /// Queues a frame. `admit` is told, before the writer can see the frame, where in the stream it begins; its bytes are
    /// counted by then.
    pub(crate) fn push(&self, command: &RemotingCommand, admit: impl FnOnce(u64)) -> Result<(), PushError> {
        let mut state = self.lock();
        if state.closed {
            return Err(PushError::Closed);
        }
        if state.queued > self.bytes_max {
            return Err(PushError::Full);
        }
        let head = command.encode_head(&mut state.tail).map_err(PushError::Frame)?;
        let frame_bytes = state.tail.len() - head + command.body.len();
        if frame_bytes > self.frame_bytes_max {
            state.tail.truncate(head);
            let (part, size, max) = ("frame", frame_bytes, self.frame_bytes_max);
            return Err(PushError::Frame(FrameError::TooLarge { part, size, max }));
        }
        if command.body.len() < COPY_BYTES_MAX {
            state.tail.extend_from_slice(&command.body);
        } else {
            let tail = state.tail.split().freeze();
            state.parts.push_back(tail);
            state.parts.push_back(command.body.clone());
        }
        // With the lock held: counted later, the bytes might be written and given back first.
        self.budget.add(frame_bytes);
        admit(state.enqueued);
        state.queued += frame_bytes;
        state.enqueued += frame_bytes as u64;
        drop(state);
        self.ready.notify_one();
        Ok(())
    }

    /// Moves up to `bytes_max` bytes from the front of the queue into `into`; says how many.
    pub(crate) fn take(&self, into: &mut Vec<Bytes>, bytes_max: usize) -> usize {
        let mut state = self.lock();
        if !state.tail.is_empty() {
            let tail = state.tail.split().freeze();
            state.parts.push_back(tail);
        }
        let mut taken = 0;
        while taken < bytes_max {
            let Some(mut part) = state.parts.pop_front() else { break };
            if part.len() > bytes_max - taken {
                let rest = part.split_off(bytes_max - taken);
                state.parts.push_front(rest);
            }
            taken += part.len();
            into.push(part);
        }
        state.taken += taken as u64;
        taken
    }

    /// Counts `bytes` that [`Output::take`] gave out as written.
    pub(crate) fn written(&self, bytes: usize) {
        self.lock().queued -= bytes;
        self.budget.give_back(bytes);
        self.drained.notify_waiters();
    }

    /// Waits until there is something to take (true), or the queue is closed and empty (false).
    pub(crate) async fn readable(&self) -> bool {
        loop {
            {
                let state = self.lock();
                if !state.tail.is_empty() || !state.parts.is_empty() {
                    return true;
                }
                if state.closed {
                    return false;
                }
            }
            self.ready.notified().await;
        }
    }

    /// Bytes queued and not yet written.
    pub(crate) fn queued(&self) -> usize {
        self.lock().queued
    }

    /// Waits until at most `bytes` are queued or the queue is closed.
    pub(crate) async fn at_most(&self, bytes: usize) {
        loop {
            let drained = self.drained.notified();
            tokio::pin!(drained);
            drained.as_mut().enable();
            {
                let state = self.lock();
                if state.queued <= bytes || state.closed {
                    return;
                }
            }
            drained.await;
        }
    }

    /// Accepts nothing more. What is queued is still written if `flush`, else forgotten. Says up to where in the stream
    /// bytes may have left or may still leave.
    pub(crate) fn close(&self, flush: bool) -> u64 {
        let mut state = self.lock();
        state.closed = true;
        let mut dropped = 0;
        if !flush {
            dropped = state.tail.len() + state.parts.iter().map(Bytes::len).sum::<usize>();
            state.parts.clear();
            state.tail = BytesMut::new();
            state.queued -= dropped;
        }
        let reach = if flush { state.enqueued } else { state.taken };
        drop(state);
        self.budget.give_back(dropped);
        self.ready.notify_one();
        self.drained.notify_waiters();
        reach
    }

    /// Throws away what is queued; the writer has ended.
    pub(crate) fn discard(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.parts.clear();
        state.tail = BytesMut::new();
        let dropped = std::mem::take(&mut state.queued);
        drop(state);
        self.budget.give_back(dropped);
        self.drained.notify_waiters();
    }
}

#[cfg(test)]
mod tests {
    use timbermq_remoting::{FrameDecoder, RequestCode};

    use super::*;

    fn command(opaque: i32, body: usize) -> RemotingCommand {
        let mut command = RemotingCommand::request(RequestCode::HEART_BEAT).with_body(vec![7; body]);
        command.opaque = opaque;
        command
    }

    #[test]
    fn frames_come_out_whole_and_in_order_whatever_the_piece_size() {
        for piece in [1, 7, 100, 5000, 1 << 20] {
            let budget = Arc::new(Budget::new(1));
            let output = Output::new(Arc::clone(&budget), 1 << 20, 1 << 20);
            let sizes = [0, 10, COPY_BYTES_MAX - 1, COPY_BYTES_MAX, 3 * COPY_BYTES_MAX, 1];
            for (opaque, size) in (0..).zip(sizes) {
                output.push(&command(opaque, size), |_| ()).unwrap();
            }
            assert_eq!(budget.used(), output.queued());
            let mut stream = BytesMut::new();
            loop {
                let mut parts = Vec::new();
                let taken = output.take(&mut parts, piece);
                if taken == 0 {
                    break;
                }
                assert!(taken <= piece);
                parts.iter().for_each(|part| stream.extend_from_slice(part));
                output.written(taken);
            }
            let mut seen = Vec::new();
            while let Some(received) = FrameDecoder::default().decode(&mut stream).unwrap() {
                seen.push((received.opaque, received.body.len()));
            }
            assert_eq!(seen, (0..).zip(sizes).collect::<Vec<_>>());
            assert_eq!((output.queued(), budget.used()), (0, 0));
        }
    }

    #[test]
    fn a_full_queue_refuses_and_keeps_what_it_has() {
        let output = Output::new(Arc::new(Budget::new(1)), 1 << 20, 100);
        output.push(&command(1, 200), |at| assert_eq!(at, 0)).unwrap();
        let queued = output.queued();
        assert!(matches!(output.push(&command(2, 0), |_| panic!("not queued")), Err(PushError::Full)));
        assert_eq!(output.queued(), queued);
    }

    #[test]
    fn a_frame_above_the_limit_leaves_the_stream_as_it_was() {
        let output = Output::new(Arc::new(Budget::new(1)), 1000, 1 << 20);
        output.push(&command(1, 0), |_| ()).unwrap();
        let queued = output.queued();
        assert!(matches!(output.push(&command(2, 2000), |_| ()), Err(PushError::Frame(FrameError::TooLarge { .. }))));
        output.push(&command(3, 0), |at| assert_eq!(at, queued as u64)).unwrap();
        let mut parts = Vec::new();
        output.take(&mut parts, 1 << 20);
        let mut stream: BytesMut = parts.iter().flatten().copied().collect::<Vec<_>>().as_slice().into();
        assert_eq!(FrameDecoder::default().decode(&mut stream).unwrap().unwrap().opaque, 1);
        assert_eq!(FrameDecoder::default().decode(&mut stream).unwrap().unwrap().opaque, 3);
    }

    #[test]
    fn a_discarded_queue_gives_its_bytes_back() {
        let budget = Arc::new(Budget::new(1));
        let output = Output::new(Arc::clone(&budget), 1 << 20, 1 << 20);
        output.push(&command(1, 10_000), |_| ()).unwrap();
        assert!(budget.is_over());
        output.discard();
        assert_eq!((output.queued(), budget.used()), (0, 0));
        assert!(matches!(output.push(&command(2, 0), |_| ()), Err(PushError::Closed)));
    }

    #[test]
    fn bytes_are_counted_before_the_writer_can_write_them() {
        let budget = Arc::new(Budget::new(1 << 20));
        let output = Output::new(Arc::clone(&budget), 1 << 20, 1 << 30);
        output.push(&command(0, 0), |_| assert_ne!(budget.used(), 0)).unwrap();
        let frames = 20_000;
        std::thread::scope(|scope| {
            scope.spawn(|| (1..frames).for_each(|opaque| output.push(&command(opaque, 0), |_| ()).unwrap()));
            let mut stream = BytesMut::new();
            let mut seen = 0;
            while seen < frames {
                let mut parts = Vec::new();
                let taken = output.take(&mut parts, 1 << 20);
                assert!(budget.used() >= taken, "{taken} bytes taken of {} counted", budget.used());
                output.written(taken);
                parts.iter().for_each(|part| stream.extend_from_slice(part));
                while FrameDecoder::default().decode(&mut stream).unwrap().is_some() {
                    seen += 1;
                }
            }
        });
        assert_eq!((output.queued(), budget.used()), (0, 0));
    }
}
