//! A network in user space: every machine's packets pass through this process, which may lose, delay, reorder and repeat them.
//!
//! A bridge in the kernel can only drop. Here each machine has a TUN device whose other end is held here. A packet goes to
//! whom its destination names, at once or when it is due. What is decided by chance comes from the run's seed.

use std::collections::{BTreeSet, BinaryHeap};
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::dice::Dice;
use crate::sandbox::has_program;

/// Where TUN devices are made.
const TUN: &str = "/dev/net/tun";
/// Longest packet.
const PACKET_MAX: usize = 65_536;
/// Most packets that wait. Beyond, they are lost, as in a router whose queue is full.
const WAITING_MAX: usize = 8_192;

/// What happens to packets between machines. Nothing, by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Weather {
    /// How late every packet is, in milliseconds.
    pub delay_ms: u64,
    /// How much later by chance, in milliseconds.
    pub jitter_ms: u64,
    /// Of a hundred packets, how many may be overtaken: they are later by up to `jitter_ms` than those behind them.
    pub overtaken: u64,
    /// Of a hundred packets, how many arrive twice.
    pub repeated: u64,
}

impl Weather {
    /// Both kinds of weather at once.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        Self {
            delay_ms: self.delay_ms.max(other.delay_ms),
            jitter_ms: self.jitter_ms.max(other.jitter_ms),
            overtaken: self.overtaken.max(other.overtaken),
            repeated: self.repeated.max(other.repeated),
        }
    }
}

/// One end of the network.
struct Port {
    ip: Ipv4Addr,
    device: Arc<File>,
}

/// A packet that is on its way.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    /// The earliest comes first, and of several the one that was sent first.
    due: std::cmp::Reverse<(Instant, u64)>,
    to: usize,
    bytes: Vec<u8>,
}

struct State {
    ports: Vec<Port>,
    /// From which port to which nothing gets through.
    cuts: BTreeSet<(usize, usize)>,
    /// Of a hundred packets between machines, how many are lost.
    loss: u64,
    weather: Weather,
    waiting: BinaryHeap<Waiting>,
    /// When the last packet in order of each link is due.
    last_due: std::collections::BTreeMap<(usize, usize), Instant>,
    sent: u64,
    dice: Dice,
}

/// The network's middle. Its threads end with the process.
pub struct Hub {
    state: Arc<(Mutex<State>, Condvar)>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}

/// The port of the clients: the first.
const CLIENTS: usize = 0;

impl Hub {
    /// A hub without ports.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let state = Arc::new((Mutex::new(State::new(seed)), Condvar::new()));
        let timer = Arc::clone(&state);
        std::thread::spawn(move || deliver_when_due(&timer));
        Self { state }
    }

    /// Adds a port, and returns its number. The device `name` is made in the namespace of this process; it may be moved.
    ///
    /// # Errors
    /// The device is refused.
    pub fn add(&self, name: &str, ip: Ipv4Addr) -> Result<usize> {
        let device = File::options().read(true).write(true).open(TUN).context(TUN)?;
        tun::name(&device, name).with_context(|| format!("making the TUN device {name}"))?;
        let device = Arc::new(device);
        let port = {
            let mut state = lock(&self.state.0);
            state.ports.push(Port { ip, device: Arc::clone(&device) });
            state.ports.len() - 1
        };
        let state = Arc::clone(&self.state);
        std::thread::spawn(move || forward(&state, port, &device));
        Ok(port)
    }

    /// Lets exactly these ways be cut, from port to port, and so many of a hundred packets between machines be lost.
    pub fn cut(&self, cuts: BTreeSet<(usize, usize)>, loss: u32) {
        let mut state = lock(&self.state.0);
        (state.cuts, state.loss) = (cuts, u64::from(loss));
    }

    /// What happens to packets between machines from now on.
    pub fn set_weather(&self, weather: Weather) {
        lock(&self.state.0).weather = weather;
    }

    /// The number of the clients' port.
    #[must_use]
    pub const fn clients() -> usize {
        CLIENTS
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Reads what a port sends, for ever.
fn forward(state: &(Mutex<State>, Condvar), from: usize, device: &File) {
    let mut packet = vec![0; PACKET_MAX];
    let mut device = device;
    loop {
        let Ok(read) = device.read(&mut packet) else { return };
        let mut guard = lock(&state.0);
        for (to, due) in guard.ways(from, &packet[..read], Instant::now()) {
            let Some(due) = due else {
                let device = Arc::clone(&guard.ports[to].device);
                let _ = (&*device).write(&packet[..read]); // a device that is down loses packets
                continue;
            };
            if guard.waiting.len() < WAITING_MAX {
                guard.sent += 1;
                let due = std::cmp::Reverse((due, guard.sent));
                guard.waiting.push(Waiting { due, to, bytes: packet[..read].to_vec() });
                state.1.notify_one();
            }
        }
    }
}

fn deliver_when_due(state: &(Mutex<State>, Condvar)) {
    let mut guard = lock(&state.0);
    loop {
        let now = Instant::now();
        let wait = guard.waiting.peek().map(|next| next.due.0.0.saturating_duration_since(now));
        guard = match wait {
            Some(Duration::ZERO) => {
                if let Some(packet) = guard.waiting.pop() {
                    let device = Arc::clone(&guard.ports[packet.to].device);
                    let _ = (&*device).write(&packet.bytes);
                }
                guard
            }
            Some(wait) => state.1.wait_timeout(guard, wait).unwrap_or_else(PoisonError::into_inner).0,
            None => state.1.wait(guard).unwrap_or_else(PoisonError::into_inner),
        };
    }
}

impl State {
    /// Fair weather, and nobody connected.
    fn new(seed: u64) -> Self {
        Self {
            ports: Vec::new(),
            cuts: BTreeSet::new(),
            loss: 0,
            weather: Weather::default(),
            waiting: BinaryHeap::new(),
            last_due: std::collections::BTreeMap::new(),
            sent: 0,
            dice: Dice::of(seed, "hub"),
        }
    }

    /// To which ports a packet goes, and when; none for at once.
    fn ways(&mut self, from: usize, packet: &[u8], now: Instant) -> Vec<(usize, Option<Instant>)> {
        // Version 4, and the destination in bytes 16 to 19.
        let Some(address) = packet.get(16..20).filter(|_| packet[0] >> 4 == 4) else { return Vec::new() };
        let address = Ipv4Addr::new(address[0], address[1], address[2], address[3]);
        let Some(to) = self.ports.iter().position(|port| port.ip == address) else { return Vec::new() };
        if self.cuts.contains(&(from, to)) {
            return Vec::new();
        }
        // Clients have good weather: what is examined is the machines.
        if from == CLIENTS || to == CLIENTS {
            return vec![(to, None)];
        }
        if self.loss > 0 && self.dice.percent(self.loss) {
            return Vec::new();
        }
        let Weather { delay_ms, jitter_ms, overtaken, repeated } = self.weather;
        let last = self.last_due.get(&(from, to)).copied().filter(|last| *last > now);
        if self.weather == Weather::default() && last.is_none() {
            return vec![(to, None)];
        }
        let late = Duration::from_millis(delay_ms + self.dice.range(0, jitter_ms + 1));
        let due = if overtaken > 0 && self.dice.percent(overtaken) {
            now + late
        } else {
            // In order, however late: behind the one before.
            let base = if overtaken > 0 { Duration::from_millis(delay_ms) } else { late };
            let due = last.map_or(now + base, |last| last.max(now + base));
            self.last_due.insert((from, to), due);
            due
        };
        let mut ways = vec![(to, Some(due))];
        if repeated > 0 && self.dice.percent(repeated) {
            ways.push((to, Some(due + Duration::from_millis(1))));
        }
        ways
    }
}

/// Why packets cannot pass through here, if so.
#[must_use]
pub fn missing() -> Option<String> {
    if !has_program("ip") {
        return Some("ip is missing: install the package iproute2".to_owned());
    }
    File::options().read(true).write(true).open(TUN).err().map(|error| format!("{TUN}: {error}"))
}

mod tun {
    //! The one request to the driver for which there is no safe interface.

    use std::fs::File;

    use rustix::ioctl::{Opcode, Setter, ioctl, opcode};

    /// `TUNSETIFF`.
    const SET: Opcode = opcode::write::<i32>(b'T', 202);
    /// Packets of IP, without a header before them.
    const FLAGS: u16 = 0x0001 | 0x1000;

    /// The kernel's `ifreq`, of which this request reads the name and the flags.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: u16,
        rest: [u8; 22],
    }

    /// Makes the device of this name, whose packets `device` reads and writes.
    #[allow(unsafe_code, reason = "a request by its number; it reads and writes the structure that it is given")]
    pub(super) fn name(device: &File, name: &str) -> std::io::Result<()> {
        let mut request = Request { name: [0; 16], flags: FLAGS, rest: [0; 22] };
        let room = request.name.len() - 1;
        if name.len() > room {
            return Err(std::io::Error::other(format!("a device's name has at most {room} bytes")));
        }
        request.name[..name.len()].copy_from_slice(name.as_bytes());
        // SAFETY: the request takes a pointer to an `ifreq`, whose layout and size `Request` has; `Setter` keeps it alive for
        // the call, and what the kernel writes back into it is not read.
        unsafe { ioctl(device, Setter::<SET, Request>::new(request)) }?;
        Ok(())
    }

    #[cfg(test)]
    mod tests {
        #[test]
        fn the_request_has_the_number_and_the_size_of_the_kernel() {
            assert_eq!(u64::from(super::SET), 0x4004_54ca);
            assert_eq!(size_of::<super::Request>(), 40);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        let port =
            |last| Port { ip: Ipv4Addr::new(10, 77, 0, last), device: Arc::new(File::open("/dev/null").unwrap()) };
        State { ports: vec![port(254), port(1), port(2)], ..State::new(1) }
    }

    fn packet(to: u8) -> [u8; 20] {
        let mut packet = [0; 20];
        packet[0] = 0x45;
        packet[16..].copy_from_slice(&[10, 77, 0, to]);
        packet
    }

    #[test]
    fn packets_go_where_they_are_addressed_unless_that_way_is_cut() {
        let (mut state, now) = (state(), Instant::now());
        assert_eq!(state.ways(1, &packet(2), now), [(2, None)]);
        state.cuts.insert((1, 2));
        assert_eq!(state.ways(1, &packet(2), now), []);
        assert_eq!(state.ways(2, &packet(1), now), [(1, None)]);
        assert_eq!(state.ways(1, &packet(9), now), []);
        assert_eq!(state.ways(1, &[0x60; 40], now), []);
    }

    #[test]
    fn late_packets_stay_in_order_and_clients_have_none() {
        let (mut state, now) = (state(), Instant::now());
        state.weather = Weather { delay_ms: 50, jitter_ms: 100, ..Weather::default() };
        let mut before = now;
        for n in 0..200 {
            let now = now + Duration::from_millis(n);
            let ways = state.ways(1, &packet(2), now);
            let due = ways[0].1.unwrap();
            assert!(due >= before && due >= now + Duration::from_millis(50));
            before = due;
        }
        assert_eq!(state.ways(0, &packet(2), now), [(2, None)]);
        // One that is sent in good weather does not overtake those that are still on their way.
        state.weather = Weather::default();
        assert_eq!(state.ways(1, &packet(2), now), [(2, Some(before))]);
    }

    #[test]
    fn some_packets_are_overtaken_some_come_twice_and_some_are_lost() {
        let (mut state, now) = (state(), Instant::now());
        state.weather = Weather { delay_ms: 1, jitter_ms: 40, overtaken: 30, repeated: 10 };
        let (mut overtaken, mut twice, mut last) = (0, 0, now);
        for _ in 0..1_000 {
            let ways = state.ways(1, &packet(2), now);
            twice += usize::from(ways.len() == 2);
            let due = ways[0].1.unwrap();
            overtaken += usize::from(due < last);
            last = due;
        }
        assert!((150..450).contains(&overtaken), "{overtaken}");
        assert!((50..200).contains(&twice), "{twice}");
        state.weather = Weather::default();
        (state.loss, state.last_due) = (20, std::collections::BTreeMap::new());
        let lost = (0..1_000).filter(|_| state.ways(1, &packet(2), now).is_empty()).count();
        assert!((120..280).contains(&lost), "{lost}");
    }
}
