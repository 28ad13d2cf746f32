//! The network: byte streams between hosts, with the behaviour of TCP over links that delay, lose, reorder, repeat and cut.
//!
//! Below TCP a lost segment is sent again, a repeated one is dropped and segments that overtake each other are put in order,
//! so that what a program sees of all three is delay, and reordering between its connections. A cut direction keeps what
//! is sent into it; it arrives when the cut ends, or the connection is given up after twenty seconds. A process that dies
//! closes its connections one after the other; a machine that loses power says nothing, and answers what still reaches it
//! afterwards with a reset.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use timbermq_env::{BoxFuture, Connection, Listener, Net, ReadHalf, WriteHalf};

use crate::rng::Rng;
use crate::world::{HostId, Nanos, World};

/// Time after which a connection is given up whose segments do not arrive.
const GIVE_UP: Duration = Duration::from_secs(20);
/// First wait before a lost segment is sent again; it doubles up to 16 times that.
const RESEND: Duration = Duration::from_millis(200);
/// Bytes on their way in one direction before the writer must wait.
const WINDOW_BYTES: usize = 1 << 20;
/// Longest time a connection attempt goes on.
const CONNECT_LIMIT: Duration = Duration::from_secs(10);

/// How a direction between two hosts behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Shortest delay of a segment.
    pub delay: Duration,
    /// Most that is added to it.
    pub jitter: Duration,
    /// Segments lost, of 1000.
    pub loss_per_mille: u64,
    /// Segments repeated, of 1000.
    pub repeat_per_mille: u64,
    /// Segments that others overtake, of 1000.
    pub reorder_per_mille: u64,
    /// Nothing gets through.
    pub cut: bool,
}

impl Default for Link {
    fn default() -> Self {
        Self {
            delay: Duration::from_micros(100),
            jitter: Duration::from_micros(200),
            loss_per_mille: 0,
            repeat_per_mille: 0,
            reorder_per_mille: 0,
            cut: false,
        }
    }
}

/// What the network did to segments.
#[derive(Clone, Copy, Debug, Default)]
pub struct NetCounts {
    /// Segments sent.
    pub segments: u64,
    /// Lost, and sent again.
    pub lost: u64,
    /// Repeated, and dropped.
    pub repeated: u64,
    /// Overtaken, and put in order.
    pub reordered: u64,
    /// Held up by a cut.
    pub held: u64,
    /// Connections reset.
    pub resets: u64,
}

struct Segment {
    at: Nanos,
    since: Nanos,
    tries: u32,
    bytes: Bytes,
    /// The end of the stream.
    end: bool,
}

#[derive(Default)]
struct Pipe {
    /// In order; the first is delivered next.
    wire: VecDeque<Segment>,
    wire_bytes: usize,
    /// A delivery is scheduled.
    pumping: bool,
    arrived: VecDeque<Bytes>,
    arrived_bytes: usize,
    ended: bool,
    reset: bool,
    reader: Option<Waker>,
    writer: Option<Waker>,
}

/// One end of a connection.
struct End {
    host: HostId,
    life: u64,
    addr: SocketAddr,
}

struct Stream {
    /// From, to; pipe 0 carries what the first end writes.
    ends: [End; 2],
    pipes: [Pipe; 2],
    /// Readers and writers that may still be used.
    halves: u32,
}

struct Waiting {
    life: u64,
    backlog: VecDeque<(u64, usize)>,
    waker: Option<Waker>,
}

struct State {
    addrs: BTreeMap<IpAddr, HostId>,
    ips: BTreeMap<HostId, IpAddr>,
    /// Machines without power.
    dark: BTreeSet<HostId>,
    listeners: BTreeMap<(HostId, u16), Waiting>,
    streams: BTreeMap<u64, Stream>,
    next_stream: u64,
    next_port: u16,
    links: BTreeMap<(HostId, HostId), Link>,
    /// What a link is when nothing else was said.
    usual: Link,
    rng: Rng,
    counts: NetCounts,
}

/// The network between all hosts. Clones are the same one.
#[derive(Clone)]
pub struct SimNet {
    world: World,
    state: Arc<Mutex<State>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn broken(kind: io::ErrorKind, what: &str) -> io::Error {
    io::Error::new(kind, what.to_owned())
}

fn wake(waker: &mut Option<Waker>, wakers: &mut Vec<Waker>) {
    wakers.extend(waker.take());
}

impl SimNet {
    /// A network without hosts.
    #[must_use]
    pub fn new(world: &World, usual: Link, rng: Rng) -> Self {
        let state = State {
            addrs: BTreeMap::new(),
            ips: BTreeMap::new(),
            dark: BTreeSet::new(),
            listeners: BTreeMap::new(),
            streams: BTreeMap::new(),
            next_stream: 0,
            next_port: 40_000,
            links: BTreeMap::new(),
            usual,
            rng,
            counts: NetCounts::default(),
        };
        Self { world: world.clone(), state: Arc::new(Mutex::new(state)) }
    }

    /// Connects a machine, and returns its address.
    pub fn attach(&self, host: HostId) -> IpAddr {
        let mut state = lock(&self.state);
        let n = u8::try_from(host.0 + 1).unwrap_or(u8::MAX);
        let ip = IpAddr::V4(Ipv4Addr::new(10, 0, 0, n));
        state.addrs.insert(ip, host);
        state.ips.insert(host, ip);
        ip
    }

    /// The network as the process of `host` sees it in its current life.
    #[must_use]
    pub fn of(&self, host: HostId) -> Arc<dyn Net> {
        Arc::new(HostNet { net: self.clone(), host })
    }

    /// Changes one direction.
    pub fn set_link(&self, from: HostId, to: HostId, change: impl FnOnce(&mut Link)) {
        let mut state = lock(&self.state);
        let usual = state.usual;
        change(state.links.entry((from, to)).or_insert(usual));
    }

    /// Makes every link usual again.
    pub fn heal(&self) {
        lock(&self.state).links.clear();
    }

    /// What was done to segments so far.
    #[must_use]
    pub fn counts(&self) -> NetCounts {
        lock(&self.state).counts
    }

    /// The process of `host` has died; with `power`, the whole machine: nobody is told.
    pub fn host_died(&self, host: HostId, power: bool) {
        let mine: Vec<u64> = {
            let mut state = lock(&self.state);
            state.listeners.retain(|(at, _), _| *at != host);
            if power {
                state.dark.insert(host);
            }
            let has = |stream: &Stream| stream.ends.iter().any(|end| end.host == host);
            state.streams.iter().filter(|(_, stream)| has(stream)).map(|(id, _)| *id).collect()
        };
        if power {
            return;
        }
        // The system closes the descriptors of a dead process one after the other.
        for id in mine {
            let after = Duration::from_micros(lock(&self.state).rng.below(2000));
            let net = self.clone();
            self.world.after(after, move |_| net.reset(id));
        }
    }

    /// The machine has power again; its process does not run yet.
    pub fn host_lit(&self, host: HostId) {
        lock(&self.state).dark.remove(&host);
    }

    /// Resets every connection between two hosts.
    pub fn reset_between(&self, a: HostId, b: HostId) {
        let between: Vec<u64> = {
            let state = lock(&self.state);
            let is = |stream: &Stream| {
                let [first, second] = &stream.ends;
                (first.host, second.host) == (a, b) || (first.host, second.host) == (b, a)
            };
            state.streams.iter().filter(|(_, stream)| is(stream)).map(|(id, _)| *id).collect()
        };
        for id in between {
            self.reset(id);
        }
    }

    fn reset(&self, id: u64) {
        let mut wakers = Vec::new();
        {
            let mut state = lock(&self.state);
            let Some(stream) = state.streams.get_mut(&id) else { return };
            for pipe in &mut stream.pipes {
                if !pipe.reset {
                    pipe.reset = true;
                    pipe.wire.clear();
                    pipe.wire_bytes = 0;
                    wake(&mut pipe.reader, &mut wakers);
                    wake(&mut pipe.writer, &mut wakers);
                }
            }
            state.counts.resets += 1;
        }
        wakers.into_iter().for_each(Waker::wake);
    }

    fn link(state: &State, from: HostId, to: HostId) -> Link {
        state.links.get(&(from, to)).copied().unwrap_or(state.usual)
    }

    /// When a segment sent now arrives.
    fn arrival(state: &mut State, now: Nanos, from: HostId, to: HostId) -> Nanos {
        let link = Self::link(state, from, to);
        let State { rng, counts, .. } = state;
        counts.segments += 1;
        let nanos = |d: Duration| u64::try_from(d.as_nanos()).unwrap_or(u64::MAX);
        let mut at = now + nanos(link.delay) + rng.below(nanos(link.jitter) + 1);
        let mut wait = nanos(RESEND);
        while link.loss_per_mille > 0 && rng.chance(link.loss_per_mille) {
            counts.lost += 1;
            at += wait;
            wait = (wait * 2).min(nanos(RESEND) * 16);
        }
        if link.repeat_per_mille > 0 && rng.chance(link.repeat_per_mille) {
            counts.repeated += 1;
        }
        if link.reorder_per_mille > 0 && rng.chance(link.reorder_per_mille) {
            counts.reordered += 1;
            at += nanos(link.delay) + nanos(link.jitter);
        }
        at
    }

    fn send(&self, id: u64, way: usize, bytes: Bytes, end: bool) {
        let now = self.world.now();
        let mut state = lock(&self.state);
        let Some(stream) = state.streams.get(&id) else { return };
        let (from, to) = (stream.ends[way].host, stream.ends[1 - way].host);
        let at = Self::arrival(&mut state, now, from, to);
        let Some(stream) = state.streams.get_mut(&id) else { return };
        let pipe = &mut stream.pipes[way];
        if pipe.reset {
            return;
        }
        let at = at.max(pipe.wire.back().map_or(0, |last| last.at));
        pipe.wire_bytes += bytes.len();
        pipe.wire.push_back(Segment { at, since: now, tries: 0, bytes, end });
        let starts = !std::mem::replace(&mut pipe.pumping, true);
        drop(state);
        if starts {
            self.schedule(id, way, at - now);
        }
    }

    fn schedule(&self, id: u64, way: usize, after: Nanos) {
        let net = self.clone();
        self.world.after(Duration::from_nanos(after), move |world| net.pump(world, id, way));
    }

    /// Delivers what is due.
    fn pump(&self, world: &World, id: u64, way: usize) {
        let now = world.now();
        let mut wakers = Vec::new();
        let mut next = None;
        let mut reset = false;
        {
            let mut state = lock(&self.state);
            let Some(stream) = state.streams.get(&id) else { return };
            let (from, to) = (stream.ends[way].host, stream.ends[1 - way].host);
            let same_life = world.is_alive(to) && world.life(to) == stream.ends[1 - way].life;
            let dark = state.dark.contains(&to);
            let cut = Self::link(&state, from, to).cut;
            let State { streams, counts, .. } = &mut *state;
            let Some(stream) = streams.get_mut(&id) else { return };
            let pipe = &mut stream.pipes[way];
            pipe.pumping = false;
            while let Some(segment) = pipe.wire.front_mut() {
                if segment.at > now {
                    next = Some(segment.at - now);
                    break;
                }
                if cut || dark {
                    counts.held += 1;
                    if now - segment.since > u64::try_from(GIVE_UP.as_nanos()).unwrap_or(u64::MAX) {
                        reset = true;
                        break;
                    }
                    let wait = u64::try_from(RESEND.as_nanos()).unwrap_or(0) << segment.tries.min(3);
                    segment.tries += 1;
                    segment.at = now + wait;
                    next = Some(wait);
                    break;
                }
                if !same_life {
                    reset = true;
                    break;
                }
                let Some(segment) = pipe.wire.pop_front() else { break };
                pipe.wire_bytes -= segment.bytes.len();
                if segment.end {
                    pipe.ended = true;
                } else {
                    pipe.arrived_bytes += segment.bytes.len();
                    pipe.arrived.push_back(segment.bytes);
                }
                wake(&mut pipe.reader, &mut wakers);
            }
            if next.is_some() {
                pipe.pumping = true;
            }
            if pipe.wire_bytes + pipe.arrived_bytes < WINDOW_BYTES {
                wake(&mut pipe.writer, &mut wakers);
            }
        }
        world.note(id << 1 | way as u64);
        wakers.into_iter().for_each(Waker::wake);
        if reset {
            self.reset(id);
        } else if let Some(after) = next {
            self.schedule(id, way, after);
        }
    }

    /// Lets go of `halves` readers and writers; a stream without any is forgotten.
    fn let_go(state: &mut State, id: u64, halves: u32) {
        if let Some(stream) = state.streams.get_mut(&id) {
            stream.halves = stream.halves.saturating_sub(halves);
            if stream.halves == 0 {
                state.streams.remove(&id);
            }
        }
    }
}

struct HostNet {
    net: SimNet,
    host: HostId,
}

fn parse(addr: &str) -> io::Result<SocketAddr> {
    addr.parse().map_err(|_| broken(io::ErrorKind::InvalidInput, &format!("cannot resolve {addr:?}")))
}

impl Net for HostNet {
    fn listen(&self, addr: &str) -> BoxFuture<'static, io::Result<Box<dyn Listener>>> {
        let (net, host, parsed) = (self.net.clone(), self.host, parse(addr));
        Box::pin(async move {
            let asked = parsed?;
            let mut state = lock(&net.state);
            let port = if asked.port() == 0 {
                state.next_port += 1;
                state.next_port
            } else {
                asked.port()
            };
            if state.listeners.contains_key(&(host, port)) {
                return Err(broken(io::ErrorKind::AddrInUse, "address in use"));
            }
            let life = net.world.life(host);
            state.listeners.insert((host, port), Waiting { life, backlog: VecDeque::new(), waker: None });
            let addr = SocketAddr::new(state.ips[&host], port);
            drop(state);
            Ok(Box::new(SimListener { net, host, port, addr, life }) as Box<dyn Listener>)
        })
    }

    fn connect(&self, addr: &str) -> BoxFuture<'static, io::Result<Connection>> {
        let (net, host, parsed, name) = (self.net.clone(), self.host, parse(addr), addr.to_owned());
        Box::pin(async move {
            let target = parsed?;
            let world = net.world.clone();
            let begun = world.now();
            let fail = |kind, what: &str| Err(broken(kind, &format!("cannot connect to {name}: {what}")));
            let Some(to) = lock(&net.state).addrs.get(&target.ip()).copied() else {
                return fail(io::ErrorKind::HostUnreachable, "no such host");
            };
            let mut wait = Duration::from_secs(1);
            loop {
                let (there, back, lost) = {
                    let mut state = lock(&net.state);
                    let now = world.now();
                    let there = SimNet::arrival(&mut state, now, host, to) - now;
                    let back = SimNet::arrival(&mut state, now, to, host) - now;
                    let cut = SimNet::link(&state, host, to).cut || SimNet::link(&state, to, host).cut;
                    (there, back, cut || state.dark.contains(&to))
                };
                if !lost {
                    world.sleep(Duration::from_nanos(there)).await;
                    let connected = net.accept(host, to, target);
                    world.sleep(Duration::from_nanos(back)).await;
                    return match connected {
                        Some(id) => Ok(net.connection(id, 0)),
                        None => fail(io::ErrorKind::ConnectionRefused, "connection refused"),
                    };
                }
                if world.now() - begun > u64::try_from(CONNECT_LIMIT.as_nanos()).unwrap_or(u64::MAX) {
                    return fail(io::ErrorKind::TimedOut, "no answer");
                }
                world.sleep(wait).await;
                wait *= 2;
            }
        })
    }
}

impl SimNet {
    /// Puts a new connection into the backlog of `target`, if its process listens there.
    fn accept(&self, from: HostId, to: HostId, target: SocketAddr) -> Option<u64> {
        let (id, waker) = {
            let mut state = lock(&self.state);
            let (life, from_life) = (self.world.life(to), self.world.life(from));
            let listening = state.listeners.get(&(to, target.port())).is_some_and(|l| l.life == life);
            if !listening || !self.world.is_alive(to) || state.dark.contains(&to) {
                return None;
            }
            state.next_port = state.next_port.checked_add(1).unwrap_or(40_000);
            state.next_stream += 1;
            let id = state.next_stream;
            let local = SocketAddr::new(state.ips[&from], state.next_port);
            let ends = [End { host: from, life: from_life, addr: local }, End { host: to, life, addr: target }];
            state.streams.insert(id, Stream { ends, pipes: [Pipe::default(), Pipe::default()], halves: 4 });
            let listener = state.listeners.get_mut(&(to, target.port()))?;
            listener.backlog.push_back((id, 1));
            (id, listener.waker.take())
        };
        if let Some(waker) = waker {
            waker.wake();
        }
        Some(id)
    }

    fn connection(&self, id: u64, side: usize) -> Connection {
        let state = lock(&self.state);
        let nobody = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), 0);
        let (local, peer) = state
            .streams
            .get(&id)
            .map_or((nobody, nobody), |stream| (stream.ends[side].addr, stream.ends[1 - side].addr));
        drop(state);
        Connection {
            peer,
            local,
            reader: Box::new(Reader { net: self.clone(), id, way: 1 - side }),
            writer: Box::new(Writer { net: self.clone(), id, way: side, ended: false }),
        }
    }
}

struct SimListener {
    net: SimNet,
    host: HostId,
    port: u16,
    addr: SocketAddr,
    life: u64,
}

impl Listener for SimListener {
    fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    fn accept(&mut self) -> BoxFuture<'_, io::Result<Connection>> {
        Box::pin(async move {
            let (id, side) = std::future::poll_fn(|cx| {
                let mut state = lock(&self.net.state);
                let Some(listener) = state.listeners.get_mut(&(self.host, self.port)) else { return Poll::Pending };
                match listener.backlog.pop_front() {
                    Some(next) => Poll::Ready(next),
                    None => {
                        listener.waker = Some(cx.waker().clone());
                        Poll::Pending
                    }
                }
            })
            .await;
            Ok(self.net.connection(id, side))
        })
    }
}

impl Drop for SimListener {
    fn drop(&mut self) {
        let unaccepted = {
            let mut state = lock(&self.net.state);
            match state.listeners.get(&(self.host, self.port)) {
                Some(listener) if listener.life == self.life => {}
                _ => return,
            }
            state.listeners.remove(&(self.host, self.port)).map(|listener| listener.backlog).unwrap_or_default()
        };
        for (id, _) in unaccepted {
            self.net.reset(id);
            SimNet::let_go(&mut lock(&self.net.state), id, 2);
        }
    }
}

/// `way`: the pipe it reads or writes.
struct Reader {
    net: SimNet,
    id: u64,
    way: usize,
}

struct Writer {
    net: SimNet,
    id: u64,
    way: usize,
    ended: bool,
}

fn was_reset() -> io::Error {
    broken(io::ErrorKind::ConnectionReset, "connection reset")
}

impl ReadHalf for Reader {
    fn read<'a>(&'a mut self, buf: &'a mut BytesMut) -> BoxFuture<'a, io::Result<usize>> {
        Box::pin(std::future::poll_fn(move |cx| {
            let mut wakers = Vec::new();
            let outcome = {
                let mut state = lock(&self.net.state);
                let Some(stream) = state.streams.get_mut(&self.id) else { return Poll::Ready(Err(was_reset())) };
                let pipe = &mut stream.pipes[self.way];
                if pipe.reset {
                    return Poll::Ready(Err(was_reset()));
                }
                let mut taken = 0;
                while taken < 64 << 10
                    && let Some(mut first) = pipe.arrived.pop_front()
                {
                    let n = first.len().min((64 << 10) - taken);
                    buf.extend_from_slice(&first[..n]);
                    first.advance(n);
                    taken += n;
                    if !first.is_empty() {
                        pipe.arrived.push_front(first);
                    }
                }
                pipe.arrived_bytes -= taken;
                if taken > 0 {
                    wake(&mut pipe.writer, &mut wakers);
                    Poll::Ready(Ok(taken))
                } else if pipe.ended {
                    Poll::Ready(Ok(0))
                } else {
                    pipe.reader = Some(cx.waker().clone());
                    Poll::Pending
                }
            };
            wakers.into_iter().for_each(Waker::wake);
            outcome
        }))
    }
}

impl WriteHalf for Writer {
    fn write_all<'a>(&'a mut self, parts: &'a mut Vec<Bytes>) -> BoxFuture<'a, io::Result<()>> {
        Box::pin(async move {
            let mut all = BytesMut::with_capacity(parts.iter().map(Bytes::len).sum());
            parts.drain(..).for_each(|part| all.extend_from_slice(&part));
            let mut all = all.freeze();
            while !all.is_empty() {
                std::future::poll_fn(|cx| {
                    let mut state = lock(&self.net.state);
                    let Some(stream) = state.streams.get_mut(&self.id) else { return Poll::Ready(Err(was_reset())) };
                    let pipe = &mut stream.pipes[self.way];
                    if pipe.reset {
                        return Poll::Ready(Err(was_reset()));
                    }
                    if pipe.wire_bytes + pipe.arrived_bytes < WINDOW_BYTES {
                        return Poll::Ready(Ok(()));
                    }
                    pipe.writer = Some(cx.waker().clone());
                    Poll::Pending
                })
                .await?;
                let segment = all.split_to(all.len().min(64 << 10));
                self.net.send(self.id, self.way, segment, false);
            }
            Ok(())
        })
    }

    fn shutdown(&mut self) -> BoxFuture<'_, io::Result<()>> {
        if !std::mem::replace(&mut self.ended, true) {
            self.net.send(self.id, self.way, Bytes::new(), true);
        }
        Box::pin(std::future::ready(Ok(())))
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let alive = {
            let state = lock(&self.net.state);
            state.streams.get(&self.id).is_some_and(|stream| {
                let end = &stream.ends[self.way];
                self.net.world.is_alive(end.host) && self.net.world.life(end.host) == end.life
            })
        };
        // What a dead process leaves behind is the system's to close.
        if alive && !std::mem::replace(&mut self.ended, true) {
            self.net.send(self.id, self.way, Bytes::new(), true);
        }
        SimNet::let_go(&mut lock(&self.net.state), self.id, 1);
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        let mut state = lock(&self.net.state);
        if let Some(stream) = state.streams.get_mut(&self.id) {
            let pipe = &mut stream.pipes[self.way];
            pipe.reader = None;
            // Nobody reads what comes now.
            pipe.arrived.clear();
            pipe.arrived_bytes = 0;
        }
        SimNet::let_go(&mut state, self.id, 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Two hosts; what `b` has read of what `a` sent, after each of the given seconds.
    fn exchange(change: impl Fn(&SimNet, HostId, HostId) + Send + Sync + 'static, seconds: &[u64]) -> Vec<String> {
        let world = World::new(5, false);
        let net = SimNet::new(&world, Link::default(), Rng::new(5, "net"));
        let hosts = ["a", "b"].map(|name| world.add_host(name, Rng::new(5, name)));
        let [a, b] = hosts;
        let addr = SocketAddr::new(net.attach(b), 7);
        net.attach(a);
        for host in hosts {
            let env = crate::host::env(
                &world,
                &net,
                host,
                timbermq_simdisk::SimDisk::new().mount(),
                Arc::new(crate::host::Instantly),
            );
            world.boot(host, env);
        }
        let got = Arc::new(Mutex::new(String::new()));
        let (server, sink) = (net.of(b), Arc::clone(&got));
        world.spawn(
            b,
            "server",
            Box::pin(async move {
                let mut listener = server.listen(&addr.to_string()).await.unwrap();
                let mut connection = listener.accept().await.unwrap();
                let mut buf = BytesMut::new();
                loop {
                    let outcome = connection.reader.read(&mut buf).await;
                    let mut sink = sink.lock().unwrap();
                    match outcome {
                        Ok(0) => return sink.push('.'),
                        Ok(_) => sink.push_str(&String::from_utf8_lossy(&buf.split())),
                        Err(_) => return sink.push('!'),
                    }
                }
            }),
        );
        let (client, cutter, clock) = (net.of(a), net.clone(), world.clone());
        world.spawn(
            a,
            "client",
            Box::pin(async move {
                clock.sleep(Duration::from_millis(1)).await;
                let mut connection = client.connect(&addr.to_string()).await.unwrap();
                connection.writer.write_all(&mut vec![Bytes::from("one")]).await.unwrap();
                clock.sleep(Duration::from_millis(500)).await;
                change(&cutter, a, b);
                let _ = connection.writer.write_all(&mut vec![Bytes::from("two")]).await;
                std::future::pending::<()>().await;
            }),
        );
        let mut seen = Vec::new();
        for second in seconds {
            world.run_until(second * 1_000_000_000);
            seen.push(got.lock().unwrap().clone());
        }
        seen
    }

    #[test]
    fn bytes_arrive_in_order_whatever_the_link_does() {
        let bad = |net: &SimNet, a, b| {
            net.set_link(a, b, |link| {
                (link.loss_per_mille, link.repeat_per_mille, link.reorder_per_mille) = (400, 400, 400);
            });
        };
        assert_eq!(exchange(bad, &[60]), ["onetwo"]);
    }

    #[test]
    fn what_is_sent_into_a_cut_arrives_when_it_ends_or_the_connection_is_given_up() {
        let cut = |net: &SimNet, a, b| net.set_link(a, b, |link| link.cut = true);
        assert_eq!(exchange(cut, &[10, 60]), ["one", "one!"]);
        let healed = |net: &SimNet, a, b| {
            net.set_link(a, b, |link| link.cut = true);
            let later = net.clone();
            net.world.after(Duration::from_secs(5), move |_| later.heal());
        };
        assert_eq!(exchange(healed, &[4, 20]), ["one", "onetwo"]);
    }

    #[test]
    fn a_process_that_dies_is_noticed_and_a_machine_without_power_is_not() {
        let dies = |power| {
            move |net: &SimNet, a, _| {
                let later = net.clone();
                net.world.after(Duration::ZERO, move |world| {
                    world.kill(a);
                    later.host_died(a, power);
                });
            }
        };
        assert_eq!(exchange(dies(false), &[10]), ["one!"]);
        assert!(exchange(dies(true), &[10])[0].starts_with("one") && !exchange(dies(true), &[10])[0].ends_with('!'));
    }
}
