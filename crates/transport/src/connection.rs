//! The two tasks of a connection.

use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use bytes::BytesMut;
use timbermq_env::{BoxFuture, Connection, Env, ReadHalf, WriteHalf};
use timbermq_remoting::{FrameDecoder, RemotingCommand};
use timbermq_sync::Budget;
use timbermq_types::Mono;

use crate::budget::{self, Reservation};
use crate::handler::Handler;
use crate::peer::{CloseReason, Peer};
use crate::responder::Responder;

/// Most bytes of one write, which the write timeout applies to.
const WRITE_BYTES_MAX: usize = 1024 * 1024;
/// Frames up to this size are read without a reservation; room for this much is part of the price of a connection.
const SMALL_FRAME_BYTES: usize = 64 * 1024;
/// Largest empty receive buffer that is kept for the next read.
const KEPT_BUFFER_BYTES: usize = 256 * 1024;
/// Frames handled in a row before other tasks get their turn.
const FRAMES_PER_TURN: usize = 256;

/// Starts both tasks. `guard` lives until both have ended.
pub(crate) fn start<G: Send + Sync + 'static>(
    env: &Env,
    peer: &Arc<Peer>,
    connection: Connection,
    handler: Arc<dyn Handler>,
    frames: Arc<Budget>,
    guard: G,
) {
    let Connection { reader, writer, .. } = connection;
    let guard = Arc::new(guard);
    let write_env = env.clone();
    let write_peer = Arc::clone(peer);
    let write_guard = Arc::clone(&guard);
    env.spawn("transport.write", async move {
        write_all(&write_env, &write_peer, writer).await;
        drop(write_guard);
    });
    let read_env = env.clone();
    let peer = Arc::clone(peer);
    env.spawn("transport.read", async move {
        handler.connected(&peer);
        let mut read = Reading::new(&read_env, &peer, &*handler, frames);
        let reason = read.run(reader).await;
        log_close(&peer, &reason);
        peer.close_because(reason);
        handler.disconnected(&peer);
        drop(guard);
    });
}

fn log_close(peer: &Peer, reason: &CloseReason) {
    let (remote, id) = (peer.remote_addr(), peer.id());
    match reason {
        CloseReason::Local
        | CloseReason::Shutdown
        | CloseReason::Remote
        | CloseReason::Idle
        | CloseReason::Network(_) => {
            tracing::debug!(peer = %remote, id, %reason, "transport.closed");
        }
        CloseReason::BrokenFrame(_)
        | CloseReason::SlowFrame
        | CloseReason::WriteTimeout
        | CloseReason::OutputOverflow => {
            tracing::warn!(peer = %remote, id, %reason, "transport.closed");
        }
    }
}

async fn write_all(env: &Env, peer: &Peer, mut writer: Box<dyn WriteHalf>) {
    let timeout = peer.options().write_timeout;
    let mut parts = Vec::new();
    while peer.output().readable().await {
        let bytes = peer.output().take(&mut parts, WRITE_BYTES_MAX);
        let reason = match env.timeout(timeout, writer.write_all(&mut parts)).await {
            Some(Ok(())) => {
                parts.clear();
                peer.output().written(bytes);
                peer.touch();
                continue;
            }
            Some(Err(error)) => CloseReason::Network(error.to_string()),
            None => CloseReason::WriteTimeout,
        };
        peer.close_because(reason);
        break;
    }
    peer.output().discard();
    // Dropping the writer closes the direction anyway; a peer that does not let it end in order loses nothing.
    let _ = env.timeout(timeout, writer.shutdown()).await;
}

/// The reader's state.
struct Reading<'a> {
    env: &'a Env,
    peer: &'a Arc<Peer>,
    handler: &'a dyn Handler,
    frames: Arc<Budget>,
    decoder: FrameDecoder,
    buffer: BytesMut,
    /// Room for the large frame at the front of the buffer.
    reserved: Option<Reservation>,
    /// When the unfinished frame at the front of the buffer began to arrive.
    frame_since: Option<Mono>,
    check_every: Duration,
    next_check: BoxFuture<'static, ()>,
}

impl<'a> Reading<'a> {
    fn new(env: &'a Env, peer: &'a Arc<Peer>, handler: &'a dyn Handler, frames: Arc<Budget>) -> Self {
        let options = peer.options();
        let check_every = (options.idle_timeout.min(options.frame_timeout) / 4).max(Duration::from_millis(1));
        Self {
            env,
            peer,
            handler,
            frames,
            decoder: FrameDecoder { max_frame: options.frame_bytes_max },
            buffer: BytesMut::new(),
            reserved: None,
            frame_since: None,
            check_every,
            next_check: env.sleep(check_every),
        }
    }

    async fn run(&mut self, mut reader: Box<dyn ReadHalf>) -> CloseReason {
        let peer = Arc::clone(self.peer);
        // One subscription for the life of the connection instead of one per read.
        let closed = peer.closed();
        tokio::pin!(closed);
        let reason = loop {
            tokio::select! {
                biased;
                reason = &mut closed => break reason,
                result = self.step(&mut *reader) => if let Err(reason) = result { return reason },
            }
        };
        if let CloseReason::Network(_) = reason {
            // A write failed: the peer is gone, but what it sent before may lie here still. A client that sends one-way
            // and then closes its socket on an unread answer has nobody left who would send again.
            let limit = self.peer.options().frame_timeout;
            let _ = self.env.timeout(limit, async { while self.step(&mut *reader).await.is_ok() {} }).await;
        }
        reason
    }

    /// Handles what is buffered, then reads once.
    async fn step(&mut self, reader: &mut dyn ReadHalf) -> Result<(), CloseReason> {
        self.handle_buffered().await?;
        self.reserve_frame().await?;
        let read = {
            let read = reader.read(&mut self.buffer);
            tokio::pin!(read);
            loop {
                tokio::select! {
                    biased;
                    read = &mut read => break read,
                    () = &mut self.next_check => {
                        self.next_check = self.env.sleep(self.check_every);
                        check_deadlines(self.env, self.peer, self.frame_since)?;
                    }
                }
            }
        };
        match read {
            Ok(0) => Err(CloseReason::Remote),
            Ok(_) => {
                self.peer.touch();
                if self.frame_since.is_none() {
                    self.frame_since = Some(self.env.mono());
                }
                Ok(())
            }
            Err(error) => Err(CloseReason::Network(error.to_string())),
        }
    }

    async fn handle_buffered(&mut self) -> Result<(), CloseReason> {
        let mut handled = 0;
        // Looked at once for all frames that came together: for small ones the clock is a cost.
        let mut now = self.env.mono();
        while !self.buffer.is_empty() {
            if !self.peer.admits() {
                let peer = Arc::clone(self.peer);
                self.wait(peer.admission()).await?;
                now = self.env.mono();
            }
            let Some(command) = self.decoder.decode(&mut self.buffer).map_err(CloseReason::BrokenFrame)? else { break };
            self.reserved = None;
            self.frame_since = (!self.buffer.is_empty()).then_some(now);
            self.dispatch(command);
            handled += 1;
            if handled % FRAMES_PER_TURN == 0 {
                yield_once().await;
                now = self.env.mono();
            }
        }
        if self.buffer.is_empty() {
            if self.buffer.capacity() > KEPT_BUFFER_BYTES {
                // A buffer that once held a large frame is not kept for an idle connection.
                self.buffer = BytesMut::new();
            }
            self.frame_since = None;
        }
        Ok(())
    }

    /// Waits for room for the frame at the front if it is a large one.
    async fn reserve_frame(&mut self) -> Result<(), CloseReason> {
        if self.reserved.is_some() {
            return Ok(());
        }
        // The decoder has looked at the length word and found it within the limit.
        let Some(word) = self.buffer.first_chunk::<4>() else { return Ok(()) };
        let bytes = (u32::from_be_bytes(*word) as usize).saturating_add(4);
        if bytes > SMALL_FRAME_BYTES {
            let frames = Arc::clone(&self.frames);
            self.reserved = Some(self.wait(budget::reserve(&frames, bytes)).await?);
        }
        Ok(())
    }

    /// Waits for something that this side owes the peer: the clock of the frame stands still, that of idleness does not.
    async fn wait<T>(&mut self, what: impl Future<Output = T>) -> Result<T, CloseReason> {
        tokio::pin!(what);
        let value = loop {
            tokio::select! {
                biased;
                value = &mut what => break value,
                () = &mut self.next_check => {
                    self.next_check = self.env.sleep(self.check_every);
                    check_deadlines(self.env, self.peer, None)?;
                }
            }
        };
        self.frame_since = self.frame_since.map(|_| self.env.mono());
        Ok(value)
    }

    fn dispatch(&self, command: RemotingCommand) {
        self.peer.note_serialize(command.serialize);
        if command.is_response() {
            let opaque = command.opaque;
            if !self.peer.calls().answer(command) {
                tracing::trace!(peer = %self.peer.remote_addr(), opaque, "transport.response_unexpected");
            }
            return;
        }
        let bytes = command.body.len() + command.raw_header.as_ref().map_or(0, bytes::Bytes::len);
        let responder = Responder::new(self.peer, &command, bytes);
        self.handler.handle(self.peer, command, responder);
    }
}

/// Lets other tasks run.
async fn yield_once() {
    let mut yielded = false;
    std::future::poll_fn(|cx| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn check_deadlines(env: &Env, peer: &Peer, frame_since: Option<Mono>) -> Result<(), CloseReason> {
    if peer.idle() >= peer.options().idle_timeout {
        return Err(CloseReason::Idle);
    }
    match frame_since {
        Some(since) if env.mono().since(since) >= peer.options().frame_timeout => Err(CloseReason::SlowFrame),
        _ => Ok(()),
    }
}
