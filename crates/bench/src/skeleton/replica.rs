//! One process of the skeleton: the leader if it is told of followers, else a follower.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Read, Write};
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use bytes::{Buf, Bytes, BytesMut};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};
use tokio::task::LocalSet;

use super::ring::Ring;
use super::{ACK_BYTES, IN_FLIGHT_MAX, Sync, committed};

/// Free space offered to each read.
const READ_BYTES: usize = 256 * 1024;
/// Parts handed to the system in one call.
const PARTS_MAX: usize = 64;
/// Bytes of a frame's length.
const PREFIX_BYTES: usize = 4;
/// How long the leader waits at the end for the slower follower.
const SETTLE_MAX: Duration = Duration::from_secs(5);
/// Acknowledgements written in one call.
const ACKS_MAX: usize = 1024;
/// Most chunks that the disk's thread has not taken yet.
const CHUNKS_MAX: usize = 4096;

/// What a process of the skeleton is told.
#[derive(Clone, Debug)]
pub struct ReplicaArgs {
    /// Where the followers listen, if this is the leader.
    pub followers: Vec<String>,
    /// The file.
    pub file: PathBuf,
    /// Its size.
    pub file_bytes: u64,
    /// What an acknowledgement waits for.
    pub sync: Sync,
}

/// Runs until the input ends. Says on the output where it listens, and at the end what it stored.
///
/// # Errors
/// Anything that fails: it does not go on.
pub fn replica(args: &ReplicaArgs) -> Result<()> {
    ensure!(matches!(args.followers.len(), 0 | 2), "a leader has two followers");
    let ring = Ring::open(&args.file, args.file_bytes).with_context(|| format!("opening {}", args.file.display()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (stopping, stop) = watch::channel(false);
    thread::spawn(move || {
        // Nothing is ever said to it: the end of the input is the sign to end.
        let _ = io::stdin().lock().read(&mut [0]);
        stopping.send_replace(true);
    });
    let stored = LocalSet::new().block_on(&runtime, live(args, ring, stop))?;
    say(&format!("stored {} bytes, digest {:08x}", stored.bytes, stored.digest))
}

fn say(line: &str) -> Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{line}").and_then(|()| out.flush()).context("nobody listens")
}

async fn live(args: &ReplicaArgs, ring: Ring, mut stop: watch::Receiver<bool>) -> Result<Scan> {
    let mut followers = Vec::new();
    for addr in &args.followers {
        let stream = TcpStream::connect(addr).await.with_context(|| format!("connecting to follower {addr}"))?;
        stream.set_nodelay(true)?;
        followers.push(stream.into_split());
    }
    let is_leader = !followers.is_empty();
    let replica = Rc::new(Replica::new(Disk::start(ring, args.sync)?, is_leader));
    for (place, (reader, writer)) in followers.into_iter().enumerate() {
        let feeding = Rc::clone(&replica);
        fatal(async move { feeding.feed(place, writer).await });
        let hearing = Rc::clone(&replica);
        fatal(async move { hearing.hear(place, reader).await });
    }
    if let Some(synced) = replica.disk.synced() {
        let watching = Rc::clone(&replica);
        fatal(async move { watching.watch(synced).await });
    }
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    say(&format!("listening {}", listener.local_addr()?))?;
    let accepting = Rc::clone(&replica);
    fatal(async move {
        loop {
            let (stream, _) = listener.accept().await?;
            stream.set_nodelay(true)?;
            let (reader, writer) = stream.into_split();
            let peer = accepting.meet();
            let (answering, taking) = (Rc::clone(&accepting), Rc::clone(&accepting));
            // A client that goes away is none of the skeleton's faults.
            tokio::task::spawn_local(async move { answering.answer(peer, writer).await });
            tokio::task::spawn_local(async move { taking.take(peer, reader).await });
        }
    });
    stop.wait_for(|stop| *stop).await.context("the input's thread ended")?;
    if is_leader {
        tokio::time::timeout(SETTLE_MAX, replica.settled()).await.context("a follower lags behind")?;
    }
    Ok(*replica.scan.borrow())
}

/// Runs `work` beside everything else; the process ends if it fails.
fn fatal(work: impl Future<Output = Result<()>> + 'static) {
    tokio::task::spawn_local(async move {
        if let Err(error) = work.await {
            eprintln!("skeleton: {error:#}");
            std::process::exit(1);
        }
    });
}

/// What a replica does with every frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Scan {
    /// Bytes of all frames so far.
    bytes: u64,
    /// All checksums, folded in order.
    digest: u32,
}

impl Scan {
    /// Checksums the whole frames at the front of `received`; returns their number and bytes.
    fn frames(&mut self, received: &[u8]) -> Result<(usize, usize)> {
        let (mut frames, mut at) = (0, 0);
        while let Some(prefix) = received[at..].first_chunk::<PREFIX_BYTES>() {
            let length = u32::from_be_bytes(*prefix) as usize;
            ensure!(length <= IN_FLIGHT_MAX, "a frame of {length} bytes");
            let Some(body) = received[at + PREFIX_BYTES..].get(..length) else { break };
            self.digest = self.digest.rotate_left(1) ^ crc32c::crc32c(body);
            at += PREFIX_BYTES + length;
            frames += 1;
        }
        self.bytes += at as u64;
        Ok((frames, at))
    }
}

/// Where a replica stores.
enum Disk {
    Inline(RefCell<Ring>),
    Thread { chunks: mpsc::SyncSender<Bytes>, synced: watch::Receiver<u64> },
}

impl Disk {
    fn start(ring: Ring, sync: Sync) -> Result<Self> {
        if sync == Sync::None {
            return Ok(Self::Inline(RefCell::new(ring)));
        }
        let (chunks, waiting) = mpsc::sync_channel(CHUNKS_MAX);
        let (done, synced) = watch::channel(0);
        thread::Builder::new().name("disk".to_owned()).spawn(move || {
            if let Err(error) = group_commit(ring, &waiting, &done) {
                eprintln!("skeleton: {error}");
                std::process::exit(1);
            }
        })?;
        Ok(Self::Thread { chunks, synced })
    }

    fn synced(&self) -> Option<watch::Receiver<u64>> {
        match self {
            Self::Inline(_) => None,
            Self::Thread { synced, .. } => Some(synced.clone()),
        }
    }

    /// Stores a chunk; true when it is stored already.
    fn store(&self, chunk: &Bytes) -> Result<bool> {
        match self {
            Self::Inline(ring) => {
                ring.borrow_mut().write(std::slice::from_ref(chunk))?;
                Ok(true)
            }
            Self::Thread { chunks, .. } => {
                chunks.send(chunk.clone()).context("the disk's thread ended")?;
                Ok(false)
            }
        }
    }
}

/// Writes what came during the last sync, and syncs once for all of it.
fn group_commit(mut ring: Ring, waiting: &mpsc::Receiver<Bytes>, done: &watch::Sender<u64>) -> io::Result<()> {
    let mut stored = 0;
    let mut chunks = Vec::new();
    while let Ok(first) = waiting.recv() {
        chunks.push(first);
        chunks.extend(waiting.try_iter());
        ring.write(&chunks)?;
        ring.sync()?;
        stored += chunks.drain(..).map(|chunk| chunk.len() as u64).sum::<u64>();
        done.send_replace(stored);
    }
    Ok(())
}

/// A queue of chunks to a follower, or of acknowledgements to a client or the leader.
#[derive(Default)]
struct Outgoing<T> {
    waiting: RefCell<T>,
    wake: Notify,
}

/// A process of the skeleton. Everything but the disk is on one thread.
struct Replica {
    is_leader: bool,
    disk: Disk,
    scan: RefCell<Scan>,
    /// Bytes that leader and followers have stored; a follower counts itself in the first place.
    stored: Cell<[u64; 3]>,
    /// Ends of chunks that are not committed yet, with who sent them and how many frames they hold.
    pending: RefCell<VecDeque<(u64, usize, usize)>>,
    /// Frames to be acknowledged, of each connection.
    peers: RefCell<Vec<Arc<Outgoing<usize>>>>,
    followers: [Outgoing<Vec<Bytes>>; 2],
    progress: Notify,
}

impl Replica {
    fn new(disk: Disk, is_leader: bool) -> Self {
        Self {
            is_leader,
            disk,
            scan: RefCell::default(),
            stored: Cell::default(),
            pending: RefCell::default(),
            peers: RefCell::default(),
            followers: <[Outgoing<Vec<Bytes>>; 2]>::default(),
            progress: Notify::new(),
        }
    }

    fn meet(&self) -> usize {
        let mut peers = self.peers.borrow_mut();
        peers.push(Arc::default());
        peers.len() - 1
    }

    /// Bytes that may be acknowledged: on the leader what two of three have, on a follower what it has itself.
    fn acknowledged(&self) -> u64 {
        if self.is_leader { committed(self.stored.get()) } else { self.stored.get()[0] }
    }

    /// Notes that a replica has stored so much, and acknowledges what that decides.
    fn note(&self, place: usize, bytes: u64) {
        let mut stored = self.stored.get();
        stored[place] = stored[place].max(bytes);
        self.stored.set(stored);
        let decided = self.acknowledged();
        let mut pending = self.pending.borrow_mut();
        let peers = self.peers.borrow();
        while let Some((_, peer, frames)) = pending.pop_front_if(|(end, ..)| *end <= decided) {
            *peers[peer].waiting.borrow_mut() += frames;
            peers[peer].wake.notify_one();
        }
        self.progress.notify_waiters();
    }

    /// Waits until every replica has everything.
    async fn settled(&self) {
        while self.stored.get().iter().any(|stored| *stored < self.scan.borrow().bytes) {
            self.progress.notified().await;
        }
    }

    /// Takes frames from a client or the leader.
    async fn take(&self, peer: usize, reader: OwnedReadHalf) -> Result<()> {
        let mut received = BytesMut::new();
        loop {
            while self.scan.borrow().bytes - self.acknowledged() > IN_FLIGHT_MAX as u64 {
                self.progress.notified().await;
            }
            reader.readable().await?;
            received.reserve(READ_BYTES);
            match reader.try_read_buf(&mut received) {
                Ok(0) => return Ok(()),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            let (frames, bytes) = self.scan.borrow_mut().frames(&received)?;
            if frames == 0 {
                continue;
            }
            let chunk = received.split_to(bytes).freeze();
            let end = self.scan.borrow().bytes;
            self.pending.borrow_mut().push_back((end, peer, frames));
            // The followers are told before the leader stores: the three do it at the same time.
            for follower in self.followers.iter().filter(|_| self.is_leader) {
                follower.waiting.borrow_mut().push(chunk.clone());
                follower.wake.notify_one();
            }
            if self.is_leader {
                tokio::task::yield_now().await;
            }
            if self.disk.store(&chunk)? {
                self.note(0, end);
            }
        }
    }

    /// Acknowledges: to a client frame by frame, to the leader by how much is stored.
    async fn answer(&self, peer: usize, writer: OwnedWriteHalf) -> Result<()> {
        let own = Arc::clone(&self.peers.borrow()[peer]);
        let mut ack = [0; ACK_BYTES];
        ack[..PREFIX_BYTES].copy_from_slice(&(ACK_BYTES as u32 - PREFIX_BYTES as u32).to_be_bytes());
        let acks = Bytes::from(ack.repeat(ACKS_MAX));
        loop {
            own.wake.notified().await;
            let mut frames = std::mem::take(&mut *own.waiting.borrow_mut());
            if !self.is_leader && frames > 0 {
                let stored = Bytes::copy_from_slice(&self.stored.get()[0].to_be_bytes());
                write_all(&writer, vec![stored]).await?;
                continue;
            }
            while frames > 0 {
                let now = frames.min(ACKS_MAX);
                write_all(&writer, vec![acks.slice(..now * ACK_BYTES)]).await?;
                frames -= now;
            }
        }
    }

    /// Sends a follower what it has not got.
    async fn feed(&self, place: usize, writer: OwnedWriteHalf) -> Result<()> {
        let own = &self.followers[place];
        loop {
            own.wake.notified().await;
            let chunks = std::mem::take(&mut *own.waiting.borrow_mut());
            write_all(&writer, chunks).await.context("feeding a follower")?;
        }
    }

    /// Hears how much a follower has stored.
    async fn hear(&self, place: usize, reader: OwnedReadHalf) -> Result<()> {
        let mut received = BytesMut::new();
        loop {
            reader.readable().await?;
            match reader.try_read_buf(&mut received) {
                Ok(0) => bail!("a follower went away"),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(error) => return Err(error.into()),
            }
            let mut last = None;
            while received.len() >= 8 {
                last = Some(received.get_u64());
            }
            if let Some(bytes) = last {
                self.note(place + 1, bytes);
            }
        }
    }

    /// Notes what the disk's thread has synced.
    async fn watch(&self, mut synced: watch::Receiver<u64>) -> Result<()> {
        loop {
            synced.changed().await.context("the disk's thread ended")?;
            let bytes = *synced.borrow_and_update();
            self.note(0, bytes);
        }
    }
}

async fn write_all(writer: &OwnedWriteHalf, mut parts: Vec<Bytes>) -> io::Result<()> {
    let mut at = 0;
    while at < parts.len() {
        let slices: Vec<IoSlice<'_>> = parts[at..].iter().take(PARTS_MAX).map(|part| IoSlice::new(part)).collect();
        let mut written = match writer.try_write_vectored(&slices) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                writer.writable().await?;
                continue;
            }
            Err(error) => return Err(error),
        };
        while written > 0 {
            let step = written.min(parts[at].len());
            parts[at].advance(step);
            written -= step;
            if parts[at].is_empty() {
                at += 1;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(body: &[u8]) -> Vec<u8> {
        [&u32::try_from(body.len()).unwrap().to_be_bytes()[..], body].concat()
    }

    fn waiting(replica: &Replica, peer: usize) -> usize {
        *replica.peers.borrow()[peer].waiting.borrow()
    }

    fn new_replica(is_leader: bool) -> (tempfile::TempDir, Replica) {
        let dir = tempfile::tempdir().unwrap();
        let ring = Ring::open(&dir.path().join("ring"), 100).unwrap();
        (dir, Replica::new(Disk::start(ring, Sync::None).unwrap(), is_leader))
    }

    #[test]
    fn only_whole_frames_count_and_the_digest_does_not_depend_on_how_they_came() {
        let all = [frame(b"one"), frame(b""), frame(b"three")].concat();
        let mut whole = Scan::default();
        assert_eq!(whole.frames(&all).unwrap(), (3, all.len()));
        let mut parts = Scan::default();
        assert_eq!(parts.frames(&all[..9]).unwrap(), (1, 7));
        assert_eq!(parts.frames(&all[7..]).unwrap(), (2, all.len() - 7));
        assert_eq!(whole, parts);
        let mut other = Scan::default();
        other.frames(&[frame(b"three"), frame(b""), frame(b"one")].concat()).unwrap();
        assert_ne!(whole.digest, other.digest, "order matters");
        assert!(Scan::default().frames(&[255; 8]).is_err(), "nobody sends so long a frame");
    }

    #[test]
    fn a_leader_acknowledges_what_two_of_three_have() {
        let (_dir, leader) = new_replica(true);
        let (first, second) = (leader.meet(), leader.meet());
        leader.pending.borrow_mut().extend([(10, first, 2), (20, second, 3), (30, first, 5)]);
        leader.note(0, 30);
        assert_eq!((waiting(&leader, first), waiting(&leader, second)), (0, 0), "the leader alone is not enough");
        leader.note(2, 20);
        assert_eq!((waiting(&leader, first), waiting(&leader, second)), (2, 3));
        leader.note(2, 10);
        leader.note(1, 30);
        assert_eq!((waiting(&leader, first), waiting(&leader, second)), (7, 3), "each once");
    }

    #[test]
    fn a_follower_acknowledges_what_it_has() {
        let (_dir, follower) = new_replica(false);
        let leader = follower.meet();
        follower.pending.borrow_mut().push_back((10, leader, 2));
        follower.note(0, 9);
        assert_eq!(waiting(&follower, leader), 0);
        follower.note(0, 10);
        assert_eq!(waiting(&follower, leader), 2);
    }
}
