//! Valid histories from a seed: a small cluster in which everything takes effect at one moment between call and return.

mod clients;
mod close;
mod effects;

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{Dice, RETENTION};
use crate::history::{Action, End, ExitCause, FaultKind, Found, History, MessageId, Micros, Name, Operation, Outcome};

/// How long clients work.
const WORK: Micros = 600_000;
/// When a consumer group's members are counted as settled after a change.
const HAND_OVER: Micros = 10_000;
/// How long an order lock lives.
const LEASE: Micros = 60_000;
/// How often a message comes again before it is a dead letter.
const RECONSUME_MAX: u32 = 2;
/// Queues of the topic that groups consume.
const ORDERS: usize = 3;
/// The queue of the topic that nobody consumes, and those of retries and dead letters.
const AUDIT: usize = 3;
const RETRY: usize = 4;
const DEAD: usize = 5;
/// Broker time at the beginning, in milliseconds.
const EPOCH_MS: u64 = 1_700_000_000_000;

#[derive(Clone, Copy, Debug)]
struct Stored {
    id: MessageId,
    tag: Option<Name>,
    key: Option<Name>,
    store_ms: u64,
    reconsume: u32,
    at: Micros,
}

#[derive(Clone, Debug, Default)]
struct Queue {
    min: usize,
    log: Vec<Stored>,
    /// Group "readers": stored offset, and who may move it back.
    stored: Option<u64>,
    claimed_by: Option<Name>,
    /// Group "clerks": holder of the order lock, and until when.
    lock: Option<(Name, Micros)>,
}

/// What a follower has applied.
#[derive(Clone, Debug, Default)]
struct View {
    bounds: [(usize, usize); DEAD + 1],
    applied: u64,
}

/// What a process asks of the leader, or of another node.
#[derive(Clone, Debug)]
enum Intent {
    Send { queue: usize, parts: Vec<MessageId>, tags: Vec<Name>, keys: Vec<Option<Name>>, batch: u64, shape: Shape },
    Pull { queue: usize, from: u64, tags: Vec<Name>, node: usize, group: bool, max: usize },
    Bound { queue: usize, end: End, node: usize },
    SearchTime { queue: usize, time_ms: u64 },
    QueryId { message: MessageId },
    QueryKey { key: Name, max: u32, span: Option<(u64, u64)> },
    Store { queue: usize, offset: u64, reset: bool },
    Query { queue: usize },
    Lock { queue: usize },
    Unlock { queue: usize },
    Put { name: Name, value: Option<Name> },
    Get { name: Name },
    SendBack { message: Stored },
}

#[derive(Clone, Copy, Debug, Default)]
struct Shape {
    resends: u32,
    copies: u32,
    ordered: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    Producer,
    Reader,
    Looker,
    Worker,
    Watcher,
    Clerk,
    Admin,
    Observer,
}

#[derive(Clone, Debug)]
struct Process {
    name: Name,
    role: Role,
    number: usize,
    seq: u64,
    /// A send to be made again.
    again: Option<(usize, MessageId, Name, Option<Name>)>,
    /// What a reader does next, and with what.
    stage: u64,
    queue: usize,
    position: u64,
    /// What a broadcasting member has got, by queue; `None` before it joined.
    next: Option<[usize; ORDERS]>,
    /// A message that a worker is to hand back.
    back: Option<Stored>,
    /// The lock that a clerk trusts: queue and until when.
    held: Option<(usize, Micros)>,
}

#[derive(Clone, Debug)]
enum Event {
    Act(usize),
    Effect { process: usize, invoke: Micros, intent: Intent, silent: bool },
    CatchUp(usize),
    Trim,
    Failover,
    Fault,
    Register(usize),
    Rebalance,
}

struct World {
    dice: Dice,
    history: History,
    now: Micros,
    events: BinaryHeap<Reverse<(Micros, u64)>>,
    payload: Vec<Option<Event>>,
    queues: Vec<Queue>,
    views: Vec<View>,
    leader: usize,
    term: u64,
    applied: u64,
    nodes: Vec<Name>,
    servers: Vec<(Name, Option<(Name, u64)>)>,
    processes: Vec<Process>,
    topics: [Name; 4],
    tags: Vec<Name>,
    keys: Vec<Name>,
    values: Vec<Name>,
    config: Vec<(Name, Option<Name>)>,
    broker: Name,
    groups: [Name; 4],
    observer: Name,
    batches: u64,
    clock_ms: u64,
    /// Which worker owns each queue of the topic, and how far the group got; the last is the retry queue.
    owners: [Option<usize>; ORDERS + 1],
    progress: [usize; ORDERS + 1],
    workers: u64,
    is_stopping: bool,
}

/// A valid history of some hundred operations.
#[must_use]
pub fn generate(seed: u64) -> History {
    let mut world = World::new(seed);
    world.open();
    while let Some(Reverse((at, number))) = world.events.pop() {
        world.now = at;
        let event = world.payload.get_mut(usize::try_from(number).unwrap_or(usize::MAX)).and_then(Option::take);
        if let Some(event) = event {
            world.happen(event);
        }
    }
    world.close();
    world.history
}

impl World {
    fn new(seed: u64) -> Self {
        let mut history = History::new();
        let mut names = |texts: &[&str]| texts.iter().map(|text| history.name(text)).collect::<Vec<Name>>();
        let nodes = names(&["1", "2", "3"]);
        let servers = names(&["ns1", "ns2"]).into_iter().map(|name| (name, None)).collect();
        let topics = names(&["orders", "audit", "%RETRY%workers", "%DLQ%workers"]);
        let groups = names(&["readers", "workers", "watchers", "clerks"]);
        let tags = names(&["A", "B", "C"]);
        let keys = names(&["k0", "k1", "k2", "k3", "k4", "k5"]);
        let values = names(&["v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7"]);
        let config = names(&["workers", "orders"]).into_iter().map(|name| (name, None)).collect();
        let broker = names(&["broker-a"])[0];
        let observer = names(&["observer"])[0];
        Self {
            dice: Dice::new(seed),
            history,
            now: 1_000,
            events: BinaryHeap::new(),
            payload: Vec::new(),
            queues: vec![Queue::default(); DEAD + 1],
            views: vec![View::default(); 3],
            leader: 0,
            term: 1,
            applied: 0,
            nodes,
            servers,
            processes: Vec::new(),
            topics: [topics[0], topics[1], topics[2], topics[3]],
            tags,
            keys,
            values,
            config,
            broker,
            groups: [groups[0], groups[1], groups[2], groups[3]],
            observer,
            batches: 0,
            clock_ms: EPOCH_MS,
            owners: [None; ORDERS + 1],
            progress: [0; ORDERS + 1],
            workers: 0,
            is_stopping: false,
        }
    }

    fn at(&mut self, time: Micros, event: Event) {
        self.events.push(Reverse((time, self.payload.len() as u64)));
        self.payload.push(Some(event));
    }

    fn soon(&mut self, limit: Micros) -> Micros {
        self.now + 1 + self.dice.below(limit)
    }

    fn open(&mut self) {
        let replicas = self.nodes.clone();
        let id = self.history.name("generated");
        self.note(0, 1, Action::Run { id, replicas });
        let roles = [
            ("p", Role::Producer, 3),
            ("r", Role::Reader, 2),
            ("l", Role::Looker, 2),
            ("w", Role::Worker, 2),
            ("b", Role::Watcher, 2),
            ("c", Role::Clerk, 2),
            ("a", Role::Admin, 2),
            ("o", Role::Observer, 1),
        ];
        for (letter, role, count) in roles {
            for number in 0..count {
                let name = self.history.name(&format!("{letter}{number}"));
                let index = self.processes.len();
                self.processes.push(Process {
                    name,
                    role,
                    number,
                    seq: 0,
                    again: None,
                    stage: 0,
                    queue: 0,
                    position: 0,
                    next: None,
                    back: None,
                    held: None,
                });
                let start = self.soon(20_000);
                self.at(start, Event::Act(index));
            }
        }
        self.register_all();
        for follower in 0..3 {
            self.at(self.now + 5_000, Event::CatchUp(follower));
        }
        self.at(self.now + RETENTION, Event::Trim);
        self.at(self.now + 2_000, Event::Rebalance);
        let change = self.now + WORK / 3 + self.dice.below(WORK / 3);
        self.at(change, Event::Rebalance);
        for _ in 0..self.dice.below(3) {
            let at = self.now + WORK / 4 + self.dice.below(WORK / 2);
            self.at(at, Event::Failover);
        }
        for _ in 0..self.dice.below(2) {
            let at = self.now + WORK / 4 + self.dice.below(WORK / 4);
            self.at(at, Event::Fault);
        }
    }

    fn happen(&mut self, event: Event) {
        match event {
            Event::Act(process) => self.act(process),
            Event::Effect { process, invoke, intent, silent } => self.effect(process, invoke, intent, silent),
            Event::CatchUp(follower) => {
                self.catch_up(follower);
                if self.now < WORK {
                    let next = self.soon(30_000);
                    self.at(next, Event::CatchUp(follower));
                }
            }
            Event::Trim => {
                let expired = self.now.saturating_sub(RETENTION);
                for queue in &mut self.queues[..=AUDIT] {
                    // Something is always left, so that there is something to find.
                    let last = queue.log.len().saturating_sub(1);
                    while queue.min < last && queue.log[queue.min].at < expired {
                        queue.min += 1;
                    }
                }
                if self.now < WORK {
                    let next = self.now + 50_000 + self.dice.below(100_000);
                    self.at(next, Event::Trim);
                }
            }
            Event::Failover => self.fail_over(),
            Event::Fault => self.fault(),
            Event::Register(server) => {
                let leader = (self.nodes[self.leader], self.term);
                self.servers[server].1 = Some(leader);
            }
            Event::Rebalance => self.rebalance(),
        }
    }

    fn catch_up(&mut self, follower: usize) {
        let mut view = View { applied: self.applied, ..View::default() };
        for (bounds, queue) in view.bounds.iter_mut().zip(&self.queues) {
            *bounds = (queue.min, queue.log.len());
        }
        self.views[follower] = view;
    }

    fn register_all(&mut self) {
        for server in 0..self.servers.len() {
            let at = self.soon(10_000);
            self.at(at, Event::Register(server));
        }
    }

    fn fail_over(&mut self) {
        let old = self.leader;
        self.catch_up(old);
        self.leader = (old + 1 + usize::from(self.dice.chance(50))) % 3;
        self.term += 1 + self.dice.below(2);
        // Nobody knows which renewals the old leader promised.
        for queue in &mut self.queues {
            if let Some((_, until)) = queue.lock.as_mut().filter(|(_, until)| *until > self.now) {
                *until = (*until).max(self.now + LEASE);
            }
        }
        self.register_all();
        let heal = self.now + 5_000 + self.dice.below(20_000);
        self.fault_of(FaultKind::Process, vec![self.nodes[old]], heal);
        self.exit(self.nodes[old], ExitCause::Asked);
    }

    fn fault(&mut self) {
        let node = self.nodes[usize::try_from(self.dice.below(3)).unwrap_or(0)];
        let heal = self.now + 1_000 + self.dice.below(20_000);
        match self.dice.below(4) {
            0 => {
                self.fault_of(FaultKind::Power, self.nodes.clone(), heal);
                for node in self.nodes.clone() {
                    self.exit(node, ExitCause::Asked);
                }
            }
            1 => self.fault_of(FaultKind::Corruption, vec![node], heal),
            2 => {
                self.fault_of(FaultKind::Disk, vec![node], heal);
                self.exit(node, ExitCause::FailStop);
            }
            _ => self.fault_of(FaultKind::Network, vec![node], heal),
        }
    }

    fn fault_of(&mut self, kind: FaultKind, nodes: Vec<Name>, heal: Micros) {
        self.note(self.now, heal, Action::Fault { kind, detail: None, nodes });
    }

    fn exit(&mut self, node: Name, cause: ExitCause) {
        let at = self.now;
        self.history
            .push(Operation { node: Some(node), ..Operation::new(self.observer, at, at, Action::Exit { cause }) });
    }

    /// The observer saw something.
    fn note(&mut self, invoke: Micros, returned: Micros, action: Action) {
        self.history.push(Operation::new(self.observer, invoke, returned, action));
    }

    fn record(&mut self, process: usize, invoke: Micros, returned: Micros, action: Action) -> &mut Operation {
        let index = self.history.push(Operation::new(self.processes[process].name, invoke, returned, action));
        &mut self.history.operations_mut()[index]
    }

    /// An operation that the leader answered.
    fn answer(&mut self, process: usize, invoke: Micros, action: Action) {
        let returned = self.soon(3_000);
        let (node, term) = (self.nodes[self.leader], self.term);
        let operation = self.record(process, invoke, returned, action);
        operation.node = Some(node);
        operation.broker_id = Some(0);
        operation.term = Some(term);
        self.rest(process, returned);
    }

    /// When a process does something again.
    fn rest(&mut self, process: usize, from: Micros) {
        let pause = match self.processes[process].role {
            Role::Producer => 20_000,
            Role::Reader => 8_000,
            Role::Looker => 15_000,
            Role::Worker => 6_000,
            Role::Watcher => 8_000,
            Role::Clerk => 12_000,
            Role::Admin => 40_000,
            Role::Observer => 10_000,
        };
        let next = from + 1 + self.dice.below(pause);
        if next < WORK {
            self.at(next, Event::Act(process));
        }
    }

    fn place(&self, queue: usize) -> (Name, u32) {
        match queue {
            AUDIT => (self.topics[1], 0),
            RETRY => (self.topics[2], 0),
            DEAD => (self.topics[3], 0),
            _ => (self.topics[0], u32::try_from(queue).unwrap_or(0)),
        }
    }

    fn found(&self, queue: usize, offset: usize) -> Found {
        let stored = self.queues[queue].log[offset];
        Found {
            tag: stored.tag,
            key: stored.key,
            store_ms: Some(stored.store_ms),
            reconsume: stored.reconsume,
            ..Found::new(offset as u64, stored.id)
        }
    }

    fn append(&mut self, queue: usize, id: MessageId, tag: Option<Name>, key: Option<Name>, reconsume: u32) -> u64 {
        self.clock_ms = self.clock_ms.max(EPOCH_MS + self.now / 1_000);
        self.applied += 1;
        let stored = Stored { id, tag, key, store_ms: self.clock_ms, reconsume, at: self.now };
        let log = &mut self.queues[queue].log;
        log.push(stored);
        log.len() as u64 - 1
    }

    fn act(&mut self, process: usize) {
        let intent = match self.processes[process].role {
            Role::Producer => return self.produce(process),
            Role::Reader => self.read(process),
            Role::Looker => self.look(),
            Role::Worker => return self.work(process),
            Role::Watcher => return self.watch(process),
            Role::Clerk => match self.clerk(process) {
                Some(intent) => intent,
                None => return,
            },
            Role::Admin => self.administer(),
            Role::Observer => return self.observe(process),
        };
        self.ask(process, intent, 6);
    }

    /// Makes a call that is ok, or of unknown outcome in so many of 100 cases.
    fn ask(&mut self, process: usize, intent: Intent, unknown: u64) {
        let invoke = self.now;
        let effect = self.soon(3_000);
        if !self.dice.chance(unknown) {
            self.at(effect, Event::Effect { process, invoke, intent, silent: false });
            return;
        }
        let returned = invoke + 10_000 + self.dice.below(5_000);
        let lost = self.unanswered(process, &intent);
        for action in lost {
            self.record(process, invoke, returned, action).outcome = Outcome::Unknown;
        }
        if self.dice.chance(50) {
            // It may take effect long after its caller gave up.
            let effect = self.soon(30_000).min(WORK + 2_000).max(self.now + 1);
            self.at(effect, Event::Effect { process, invoke, intent, silent: true });
        }
        self.rest(process, returned);
    }
}
