//! Valid histories from a seed: a small cluster in which everything takes effect at one moment between call and return.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::{ANSWER, Dice, RETENTION};
use crate::history::{
    Action, Batch, ConfigKind, Consumed, End, ExitCause, FaultKind, Found, History, Located, MessageId, Micros, Name,
    Operation, Origin, Outcome, PullStatus,
};

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

    /// What is known of a call without an answer.
    fn unanswered(&self, process: usize, intent: &Intent) -> Vec<Action> {
        let of = |queue: &usize| self.place(*queue);
        let [readers, workers, _, clerks] = self.groups;
        vec![match intent {
            Intent::Send { queue, parts, tags, keys, batch, shape } => {
                return self.sends(*queue, parts, (tags, keys), *batch, *shape, None);
            }
            Intent::Pull { queue, from, tags, group, .. } => {
                let (topic, queue) = of(queue);
                Action::Pull {
                    group: group.then_some(readers),
                    topic,
                    queue,
                    from: *from,
                    tags: tags.clone(),
                    status: PullStatus::Read,
                    messages: Vec::new(),
                    next: *from,
                    bounds: None,
                }
            }
            Intent::Bound { queue, end, .. } => {
                let (topic, queue) = of(queue);
                Action::Bound { topic, queue, end: *end, offset: 0 }
            }
            Intent::SearchTime { queue, time_ms } => {
                let (topic, queue) = of(queue);
                Action::SearchTime { topic, queue, time_ms: *time_ms, offset: 0 }
            }
            Intent::QueryId { message } => {
                Action::QueryId { topic: self.topics[0], message: *message, found: Vec::new() }
            }
            Intent::QueryKey { key, max, span } => {
                Action::QueryKey { topic: self.topics[0], key: *key, between_ms: *span, max: *max, found: Vec::new() }
            }
            Intent::Store { queue, offset, reset } => {
                let (topic, queue) = of(queue);
                Action::StoreOffset { group: readers, topic, queue, offset: *offset, reset: *reset }
            }
            Intent::Query { queue } => {
                let (topic, queue) = of(queue);
                Action::QueryOffset { group: readers, topic, queue, offset: None }
            }
            Intent::Lock { queue } | Intent::Unlock { queue } => {
                let (topic, queue) = of(queue);
                let client = self.processes[process].name;
                if matches!(intent, Intent::Lock { .. }) {
                    Action::Lock { group: clerks, topic, queue, client, granted: false, until: None }
                } else {
                    Action::Unlock { group: clerks, topic, queue, client }
                }
            }
            Intent::Put { name, value } => Action::PutConfig { kind: ConfigKind::Group, name: *name, value: *value },
            Intent::Get { name } => Action::GetConfig { kind: ConfigKind::Group, name: *name, value: None },
            Intent::SendBack { message } => Action::SendBack {
                group: workers,
                message: message.id,
                reconsume: message.reconsume,
                max_reconsume: RECONSUME_MAX,
            },
        }]
    }

    fn sends(
        &self,
        queue: usize,
        parts: &[MessageId],
        (tags, keys): (&[Name], &[Option<Name>]),
        batch: u64,
        shape: Shape,
        first: Option<u64>,
    ) -> Vec<Action> {
        let (topic, queue) = self.place(queue);
        let of = u32::try_from(parts.len()).unwrap_or(1);
        let part = |(index, message): (usize, &MessageId)| Action::Send {
            topic,
            queue: Some(queue),
            message: *message,
            tag: Some(tags[index]),
            key: keys[index],
            batch: (of > 1).then(|| Batch { id: batch, part: u32::try_from(index).unwrap_or(0), of }),
            offset: first.map(|first| first + index as u64),
            resends: shape.resends,
            ordered: shape.ordered,
        };
        parts.iter().enumerate().map(part).collect()
    }

    fn produce(&mut self, process: usize) {
        let invoke = self.now;
        let state = self.processes[process].clone();
        let of_any = ORDERS as u64 + 1;
        let mut shape = Shape { copies: 1, ..Shape::default() };
        let (queue, parts, tags, keys) = if let Some((queue, mut message, tag, key)) = state.again {
            self.processes[process].again = None;
            // Some clients say which attempt a message is, some do not.
            if state.number == 0 {
                message.attempt += 1;
            }
            (queue, vec![message], vec![tag], vec![key])
        } else {
            let queue = usize::try_from(self.dice.below(of_any)).unwrap_or(0);
            let count = if self.dice.chance(15) { 2 + self.dice.below(3) } else { 1 };
            if state.number == 2 && count == 1 {
                shape.resends = 2;
                shape.copies = 1 + u32::from(self.dice.chance(10)) + u32::from(self.dice.chance(10));
            }
            let mut parts = Vec::new();
            for part in 0..count {
                parts.push(MessageId { producer: state.name, seq: state.seq + part, attempt: 0 });
            }
            self.processes[process].seq += count;
            let tags = parts.iter().map(|_| self.dice.pick(&self.tags).unwrap_or(self.tags[0])).collect();
            let keys = parts.iter().map(|_| self.dice.pick(&self.keys)).collect();
            (queue, parts, tags, keys)
        };
        self.batches += 1;
        let batch = self.batches;
        // Two at once, which rely on their order.
        if state.number == 1 && parts.len() == 1 && self.dice.chance(20) {
            shape.ordered = true;
            let second = MessageId { producer: state.name, seq: self.processes[process].seq, attempt: 0 };
            self.processes[process].seq += 1;
            let (tag, key) = (self.tags[0], None);
            let first = self.soon(1_000);
            let intent = Intent::Send { queue, parts, tags, keys, batch, shape };
            self.at(first, Event::Effect { process, invoke, intent, silent: false });
            let later = first + 1 + self.dice.below(1_000);
            self.after_ordered(process, (queue, second, tag, key), invoke + 1, later, batch, shape);
            return;
        }
        match self.dice.below(100) {
            0..80 => {
                let effect = self.soon(4_000);
                let intent = Intent::Send { queue, parts, tags, keys, batch, shape };
                self.at(effect, Event::Effect { process, invoke, intent, silent: false });
            }
            80..85 => {
                let returned = self.soon(2_000);
                let all = self.sends(queue, &parts, (&tags, &keys), batch, shape, None);
                for action in all {
                    self.record(process, invoke, returned, action).outcome = Outcome::Fail;
                }
                self.rest(process, returned);
            }
            _ => {
                if parts.len() == 1 && self.dice.chance(50) {
                    self.processes[process].again = Some((queue, parts[0], tags[0], keys[0]));
                }
                self.ask(process, Intent::Send { queue, parts, tags, keys, batch, shape }, 100);
            }
        }
    }

    fn after_ordered(
        &mut self,
        process: usize,
        (queue, id, tag, key): (usize, MessageId, Name, Option<Name>),
        invoke: Micros,
        effect: Micros,
        batch: u64,
        shape: Shape,
    ) {
        let intent = Intent::Send { queue, parts: vec![id], tags: vec![tag], keys: vec![key], batch, shape };
        self.at(effect, Event::Effect { process, invoke, intent, silent: false });
    }

    fn read(&mut self, process: usize) -> Intent {
        // Each has its share of the queues; from the middle on they swap.
        let swapped = self.now > WORK / 2;
        let state = &mut self.processes[process];
        let own = if (state.number == 0) == swapped { [0, 2] } else { [1, 1] };
        let (queue, position) = (state.queue, state.position);
        let pull = Intent::Pull { queue, from: position, tags: Vec::new(), node: 0, group: true, max: 4 };
        match state.stage {
            // Both go on only when they are answered.
            0 => {
                state.queue = own[usize::try_from(state.seq % 2).unwrap_or(0)];
                Intent::Query { queue: state.queue }
            }
            1 => pull,
            2 if self.dice.chance(40) => pull,
            2 => {
                state.stage = 3;
                Intent::Store { queue, offset: position, reset: false }
            }
            _ => {
                state.seq += 1;
                state.stage = 0;
                match self.dice.below(20) {
                    0 => Intent::Store { queue, offset: position.saturating_sub(2), reset: false },
                    1 => Intent::Store { queue, offset: self.dice.below(position + 1), reset: true },
                    _ => {
                        state.queue = own[usize::try_from(state.seq % 2).unwrap_or(0)];
                        Intent::Query { queue: state.queue }
                    }
                }
            }
        }
    }

    fn look(&mut self) -> Intent {
        let queue = usize::try_from(self.dice.below(ORDERS as u64 + 1)).unwrap_or(0);
        let node = usize::try_from(self.dice.below(3)).unwrap_or(0);
        let len = self.queues[queue].log.len() as u64;
        let filters = [vec![], vec![], vec![self.tags[0]], vec![self.tags[0], self.tags[1]]];
        match self.dice.below(10) {
            0..4 => {
                let tags = filters[usize::try_from(self.dice.below(4)).unwrap_or(0)].clone();
                let (from, max) = (self.dice.below(len + 3), 1 + usize::try_from(self.dice.below(8)).unwrap_or(0));
                Intent::Pull { queue, from, tags, node, group: false, max }
            }
            4..6 => Intent::Bound { queue, end: End::Max, node },
            6 => Intent::Bound { queue, end: End::Min, node },
            7 => Intent::SearchTime { queue, time_ms: EPOCH_MS + self.dice.below(self.now / 1_000 + 20) },
            8 => {
                let log = &self.queues[usize::try_from(self.dice.below(ORDERS as u64)).unwrap_or(0)].log;
                let index = usize::try_from(self.dice.below(log.len() as u64)).unwrap_or(0);
                let nobody = MessageId { producer: self.observer, seq: 7, attempt: 0 };
                Intent::QueryId { message: log.get(index).map_or(nobody, |stored| stored.id) }
            }
            _ => {
                let key = self.dice.pick(&self.keys).unwrap_or(self.keys[0]);
                let from = EPOCH_MS + self.dice.below(self.now / 1_000 + 1);
                let span = self.dice.chance(50).then_some((from, from + 200));
                let max = if self.dice.chance(80) { 1_000 } else { 2 };
                Intent::QueryKey { key, max, span }
            }
        }
    }

    fn administer(&mut self) -> Intent {
        let index = usize::try_from(self.dice.below(2)).unwrap_or(0);
        let name = self.config[index].0;
        if self.dice.chance(40) {
            let value = if self.dice.chance(90) { self.dice.pick(&self.values) } else { None };
            Intent::Put { name, value }
        } else {
            Intent::Get { name }
        }
    }

    fn observe(&mut self, process: usize) {
        let invoke = self.now;
        let returned = self.soon(1_000);
        match self.dice.below(4) {
            0 | 1 => {
                let server = usize::try_from(self.dice.below(2)).unwrap_or(0);
                let (node, known) = self.servers[server];
                let broker = self.broker;
                let action =
                    Action::Route { broker, leader: known.map(|known| known.0), version: known.map(|known| known.1) };
                self.record(process, invoke, returned, action).node = Some(node);
            }
            2 => {
                let node = usize::try_from(self.dice.below(3)).unwrap_or(0);
                let applied = if node == self.leader { self.applied } else { self.views[node].applied };
                let origin = if self.dice.chance(20) { Origin::Snapshot } else { Origin::Live };
                self.digest(process, node, applied, origin, returned);
            }
            _ => {
                let node = self.nodes[usize::try_from(self.dice.below(3)).unwrap_or(0)];
                let action = Action::Resources { memory: 100 << 20, descriptors: 50 };
                self.record(process, invoke, returned, action).node = Some(node);
            }
        }
        self.rest(process, returned);
    }

    fn digest(&mut self, process: usize, node: usize, applied: u64, origin: Origin, returned: Micros) {
        let log_from = 10 * self.dice.below(2);
        let log = self.history.name(&format!("log {log_from}..{applied}"));
        let state = self.history.name(&format!("state {applied}"));
        let node = self.nodes[node];
        let invoke = self.now;
        let action = Action::Digest { applied, log_from, log, state, origin };
        self.record(process, invoke, returned, action).node = Some(node);
    }

    /// Members of the group of workers come and go.
    fn rebalance(&mut self) {
        let members: Vec<usize> =
            (0..self.processes.len()).filter(|index| self.processes[*index].role == Role::Worker).collect();
        let [orders, ..] = self.topics;
        let group = self.groups[1];
        let now = self.now;
        self.workers += 1;
        let joining = if self.workers == 1 { members[0] } else { members[1] };
        let action =
            Action::Join { group, topic: orders, broadcast: false, tags: vec![], from_first: true, lock_client: None };
        self.record(joining, now, now + 10, action);
        let shares: Vec<(usize, Vec<usize>)> = if self.workers == 1 {
            vec![(members[0], vec![0, 1, 2, 3])]
        } else {
            vec![(members[0], vec![0, 3]), (members[1], vec![1, 2])]
        };
        for (member, share) in shares {
            let took = now + 20 + self.dice.below(HAND_OVER);
            let queues: Vec<u32> =
                share.iter().filter(|queue| **queue < ORDERS).map(|queue| u32::try_from(*queue).unwrap_or(0)).collect();
            self.record(member, took, took + 10, Action::Assign { group, topic: orders, queues });
            for queue in share {
                self.owners[queue] = Some(member);
                // What the last owner had not stored comes again.
                self.progress[queue] = self.progress[queue].saturating_sub(1);
            }
        }
    }

    fn work(&mut self, process: usize) {
        let invoke = self.now;
        if let Some(message) = self.processes[process].back.take() {
            if self.dice.chance(8) {
                let returned = self.soon(2_000);
                let refused = self.unanswered(process, &Intent::SendBack { message });
                for action in refused {
                    self.record(process, invoke, returned, action).outcome = Outcome::Fail;
                }
                return self.rest(process, returned);
            }
            return self.ask(process, Intent::SendBack { message }, 10);
        }
        let own: Vec<usize> = (0..=ORDERS).filter(|queue| self.owners[*queue] == Some(process)).collect();
        let of = |queue: usize| if queue == ORDERS { RETRY } else { queue };
        let ready: Vec<usize> =
            own.into_iter().filter(|queue| self.progress[*queue] < self.queues[of(*queue)].log.len()).collect();
        let Some(queue) = self.dice.pick(&ready) else { return self.rest(process, invoke) };
        let offset = self.progress[queue].max(self.queues[of(queue)].min);
        self.progress[queue] = offset + 1;
        let found = self.found(of(queue), offset);
        let (topic, number) = self.place(of(queue));
        let later = self.dice.chance(if self.is_stopping { 0 } else { 15 });
        let consumed = if later { Consumed::Later } else { Consumed::Done };
        if later {
            self.processes[process].back = Some(self.queues[of(queue)].log[offset]);
        }
        let returned = self.soon(2_000);
        let action = Action::Deliver { group: self.groups[1], topic, queue: number, found, consumed };
        self.record(process, invoke, returned, action);
        self.rest(process, returned);
    }

    fn watch(&mut self, process: usize) {
        let invoke = self.now;
        let returned = self.soon(1_000);
        let [orders, ..] = self.topics;
        let number = self.processes[process].number;
        let tags = if number == 0 { vec![] } else { vec![self.tags[0]] };
        let group = self.groups[2];
        let Some(mut next) = self.processes[process].next else {
            let from_first = number == 0;
            let start = |queue: &Queue| if from_first { queue.min } else { queue.log.len() };
            let next = [start(&self.queues[0]), start(&self.queues[1]), start(&self.queues[2])];
            self.processes[process].next = Some(next);
            let join = Action::Join { group, topic: orders, broadcast: true, tags, from_first, lock_client: None };
            self.record(process, invoke, returned, join);
            return self.rest(process, returned);
        };
        let queue = usize::try_from(self.dice.below(ORDERS as u64)).unwrap_or(0);
        self.show(process, queue, &mut next, &tags);
        self.processes[process].next = Some(next);
        self.rest(process, returned);
    }

    /// Delivers the next message that matches to a broadcasting member; false when there is none.
    fn show(&mut self, process: usize, queue: usize, next: &mut [usize; ORDERS], tags: &[Name]) -> bool {
        let log = &self.queues[queue];
        let mut offset = next[queue].max(log.min);
        while offset < log.log.len() && !(tags.is_empty() || log.log[offset].tag == tags.first().copied()) {
            offset += 1;
        }
        next[queue] = offset;
        if offset >= log.log.len() {
            return false;
        }
        next[queue] += 1;
        let found = self.found(queue, offset);
        let (topic, queue) = self.place(queue);
        let (group, now) = (self.groups[2], self.now);
        let action = Action::Deliver { group, topic, queue, found, consumed: Consumed::Done };
        self.record(process, now, now + 1_000, action);
        true
    }

    /// What a consumer in order does: take the lock, consume while it holds it, give it up.
    fn clerk(&mut self, process: usize) -> Option<Intent> {
        let [orders, ..] = self.topics;
        let group = self.groups[3];
        let invoke = self.now;
        if self.processes[process].stage == 0 {
            self.processes[process].stage = 1;
            let lock_client = Some(self.processes[process].name);
            let join =
                Action::Join { group, topic: orders, broadcast: false, tags: vec![], from_first: false, lock_client };
            self.record(process, invoke, invoke + 5, join);
            self.rest(process, invoke + 5);
            return None;
        }
        let Some((queue, until)) = self.processes[process].held else {
            return Some(Intent::Lock { queue: usize::from(self.dice.chance(50)) });
        };
        let can_deliver = !self.queues[queue].log.is_empty();
        match self.dice.below(10) {
            0 | 1 => {
                self.processes[process].held = None;
                Some(Intent::Unlock { queue })
            }
            2 | 3 => Some(Intent::Lock { queue }),
            _ if invoke + 3_000 < until && can_deliver => {
                let min = self.queues[queue].min;
                let range = (self.queues[queue].log.len() - min) as u64;
                let offset = min + usize::try_from(self.dice.below(range)).unwrap_or(0);
                let found = self.found(queue, offset);
                let number = u32::try_from(queue).unwrap_or(0);
                let action = Action::Deliver { group, topic: orders, queue: number, found, consumed: Consumed::Done };
                let returned = self.soon(1_000);
                self.record(process, invoke, returned, action);
                self.rest(process, returned);
                None
            }
            _ => {
                self.processes[process].held = None;
                self.rest(process, invoke);
                None
            }
        }
    }

    fn effect(&mut self, process: usize, invoke: Micros, intent: Intent, silent: bool) {
        let name = self.processes[process].name;
        let [readers, workers, _, clerks] = self.groups;
        let action = match intent {
            Intent::Send { queue, parts, tags, keys, batch, shape } => {
                return self.stored(process, invoke, (queue, parts, tags, keys), batch, shape, silent);
            }
            Intent::Pull { .. } | Intent::Bound { .. } => {
                if !silent {
                    self.looked(process, invoke, intent);
                }
                return;
            }
            Intent::SearchTime { queue, time_ms } => {
                let (topic, number) = self.place(queue);
                let Queue { min, log, .. } = &self.queues[queue];
                let offset = *min + log[*min..].partition_point(|stored| stored.store_ms < time_ms);
                Action::SearchTime { topic, queue: number, time_ms, offset: offset as u64 }
            }
            Intent::QueryId { message } => {
                let found = self.located(usize::MAX, |stored| stored.id == message);
                Action::QueryId { topic: self.topics[0], message, found }
            }
            Intent::QueryKey { key, max, span } => {
                let limit = usize::try_from(max).unwrap_or(usize::MAX);
                let found = self.located(limit, |stored| {
                    stored.key == Some(key) && span.is_none_or(|(from, to)| (from..=to).contains(&stored.store_ms))
                });
                Action::QueryKey { topic: self.topics[0], key, between_ms: span, max, found }
            }
            Intent::Store { queue, offset, reset } => {
                let (topic, number) = self.place(queue);
                let state = &mut self.queues[queue];
                let may_lower = reset || state.claimed_by == Some(name);
                if state.stored.is_none_or(|stored| offset >= stored || may_lower) {
                    state.stored = Some(offset);
                    self.applied += 1;
                }
                Action::StoreOffset { group: readers, topic, queue: number, offset, reset }
            }
            Intent::Query { queue } => {
                let (topic, number) = self.place(queue);
                let state = &mut self.queues[queue];
                state.claimed_by = Some(name);
                let offset = state.stored;
                if !silent {
                    self.processes[process].position = offset.unwrap_or(0);
                    self.processes[process].stage = 1;
                }
                Action::QueryOffset { group: readers, topic, queue: number, offset }
            }
            Intent::Lock { queue } => {
                let (topic, number) = self.place(queue);
                let until = self.now + LEASE;
                let lock = &mut self.queues[queue].lock;
                let granted = lock.is_none_or(|(holder, end)| holder == name || end <= self.now);
                if granted {
                    *lock = Some((name, until));
                    self.applied += 1;
                }
                if !silent {
                    self.processes[process].held = granted.then_some((queue, until));
                }
                let until = granted.then_some(until);
                Action::Lock { group: clerks, topic, queue: number, client: name, granted, until }
            }
            Intent::Unlock { queue } => {
                let (topic, number) = self.place(queue);
                let lock = &mut self.queues[queue].lock;
                if lock.is_some_and(|(holder, _)| holder == name) {
                    *lock = None;
                    self.applied += 1;
                }
                Action::Unlock { group: clerks, topic, queue: number, client: name }
            }
            Intent::Put { name, value } => {
                if let Some(config) = self.config.iter_mut().find(|config| config.0 == name) {
                    config.1 = value;
                }
                self.applied += 1;
                Action::PutConfig { kind: ConfigKind::Group, name, value }
            }
            Intent::Get { name } => {
                let value = self.config.iter().find(|config| config.0 == name).and_then(|config| config.1);
                Action::GetConfig { kind: ConfigKind::Group, name, value }
            }
            Intent::SendBack { message } => {
                let Stored { id, tag, key, reconsume, .. } = message;
                let queue = if reconsume >= RECONSUME_MAX { DEAD } else { RETRY };
                self.append(queue, id, tag, key, reconsume + 1);
                Action::SendBack { group: workers, message: id, reconsume, max_reconsume: RECONSUME_MAX }
            }
        };
        if !silent {
            self.answer(process, invoke, action);
        }
    }

    fn located(&self, max: usize, is_wanted: impl Fn(&Stored) -> bool) -> Vec<Located> {
        let mut found = Vec::new();
        for (queue, state) in self.queues[..ORDERS].iter().enumerate() {
            for (offset, stored) in state.log.iter().enumerate().skip(state.min) {
                if is_wanted(stored) && found.len() < max {
                    let queue = u32::try_from(queue).unwrap_or(0);
                    found.push(Located { queue, offset: offset as u64, message: stored.id });
                }
            }
        }
        found
    }

    fn stored(
        &mut self,
        process: usize,
        invoke: Micros,
        (queue, parts, tags, keys): (usize, Vec<MessageId>, Vec<Name>, Vec<Option<Name>>),
        batch: u64,
        shape: Shape,
        silent: bool,
    ) {
        let mut first = 0;
        for _ in 0..shape.copies {
            for (index, id) in parts.iter().enumerate() {
                let offset = self.append(queue, *id, Some(tags[index]), keys[index], 0);
                if index == 0 {
                    first = offset;
                }
            }
        }
        if silent {
            return;
        }
        let returned = self.soon(3_000);
        let (node, term) = (self.nodes[self.leader], self.term);
        let all = self.sends(queue, &parts, (&tags, &keys), batch, shape, Some(first));
        for action in all {
            let operation = self.record(process, invoke, returned, action);
            (operation.node, operation.broker_id, operation.term) = (Some(node), Some(0), Some(term));
        }
        // Of two that overlap only one goes on.
        if !(shape.ordered && parts[0].seq + 1 < self.processes[process].seq) {
            self.rest(process, returned);
        }
    }

    /// A pull or a bound query, on whichever node.
    fn looked(&mut self, process: usize, invoke: Micros, intent: Intent) {
        let (queue, node) = match &intent {
            Intent::Pull { queue, node, .. } | Intent::Bound { queue, node, .. } => (*queue, *node),
            _ => return,
        };
        let group_pull = matches!(intent, Intent::Pull { group: true, .. });
        let node = if group_pull { self.leader } else { node };
        let leads = node == self.leader;
        let bounds =
            if leads { (self.queues[queue].min, self.queues[queue].log.len()) } else { self.views[node].bounds[queue] };
        let (topic, number) = self.place(queue);
        let action = match intent {
            Intent::Bound { end, .. } => {
                let offset = if end == End::Min { bounds.0 } else { bounds.1 } as u64;
                Action::Bound { topic, queue: number, end, offset }
            }
            Intent::Pull { from, tags, group, max, .. } => {
                self.pulled(process, (queue, from, &tags, group, max), bounds, leads)
            }
            _ => return,
        };
        let returned = self.soon(3_000);
        let (name, term) = (self.nodes[node], self.term);
        let operation = self.record(process, invoke, returned, action);
        operation.node = Some(name);
        operation.broker_id = Some(if leads { 0 } else { u32::try_from(node).unwrap_or(0) + 1 });
        operation.term = leads.then_some(term);
        self.rest(process, returned);
    }

    fn pulled(
        &mut self,
        process: usize,
        (queue, from, tags, group, max): (usize, u64, &[Name], bool, usize),
        (min, len): (usize, usize),
        leads: bool,
    ) -> Action {
        let (topic, number) = self.place(queue);
        let first = usize::try_from(from).unwrap_or(usize::MAX);
        let mut status = PullStatus::Read;
        let mut messages = Vec::new();
        let mut next = first;
        if first < min {
            (status, next) = (PullStatus::Moved, min);
        } else if first > len {
            // A follower does not judge what it has not reached.
            if leads {
                (status, next) = (PullStatus::Moved, len);
            }
        } else {
            while next < len && messages.len() < max {
                let found = self.found(queue, next);
                if tags.is_empty() || found.tag.is_some_and(|tag| tags.contains(&tag)) {
                    messages.push(found);
                }
                next += 1;
            }
        }
        if group {
            self.queues[queue].claimed_by = Some(self.processes[process].name);
            self.processes[process].position = next as u64;
            self.processes[process].stage = 2;
        }
        Action::Pull {
            group: group.then_some(self.groups[0]),
            topic,
            queue: number,
            from,
            tags: tags.to_vec(),
            status,
            messages,
            next: next as u64,
            bounds: Some((min as u64, len as u64)),
        }
    }

    /// Everything that happens after the load: consumers finish, queues are tried and drained.
    fn close(&mut self) {
        self.is_stopping = true;
        self.now = WORK + 2 * ANSWER;
        for index in 0..self.processes.len() {
            let role = self.processes[index].role;
            for _ in 0..2_000 {
                self.now += 10;
                let before = self.history.len();
                match role {
                    Role::Worker => self.work(index),
                    Role::Watcher => self.finish_watching(index),
                    _ => {}
                }
                // Nothing new has happened, and nobody waits for anything.
                while let Some(Reverse((at, number))) = self.events.pop() {
                    self.now = self.now.max(at);
                    if let Some(Event::Effect { process, invoke, intent, silent }) =
                        self.payload.get_mut(usize::try_from(number).unwrap_or(usize::MAX)).and_then(Option::take)
                    {
                        self.effect(process, invoke, intent, silent);
                    }
                }
                if self.history.len() == before && self.processes[index].back.is_none() {
                    break;
                }
            }
        }
        // A last message may have been handed back by one worker when the owner of the retry queue was done.
        let owner = self.owners[ORDERS];
        while let Some(owner) = owner.filter(|_| self.progress[ORDERS] < self.queues[RETRY].log.len()) {
            self.now += 2_100;
            self.work(owner);
            self.events.clear();
        }
        self.now += 10_000;
        for group in [self.groups[1], self.groups[2]] {
            let (now, topic) = (self.now, self.topics[0]);
            self.note(now, now + 10, Action::Settled { group, topic });
        }
        self.now += 10_000;
        for queue in 0..=AUDIT {
            let (topic, queue) = self.place(queue);
            let returned = self.soon(2_000);
            self.note(self.now, returned, Action::Service { topic, queue });
        }
        self.now += 10_000;
        for follower in 0..3 {
            self.catch_up(follower);
        }
        let passes = 1 + u32::from(self.dice.chance(50));
        for pass in 0..passes {
            for node in 0..3 {
                for queue in 0..=DEAD {
                    self.drain(pass, node, queue);
                }
                let origin = if node == 2 { Origin::Replay } else { Origin::Live };
                let (process, applied) = (self.processes.len() - 1, self.applied);
                let returned = self.now + 10;
                self.digest(process, node, applied, origin, returned);
            }
            self.now += 10_000;
        }
        for node in self.nodes.clone() {
            self.exit(node, ExitCause::Asked);
        }
    }

    fn finish_watching(&mut self, process: usize) {
        let Some(mut next) = self.processes[process].next else { return };
        let tags = if self.processes[process].number == 0 { vec![] } else { vec![self.tags[0]] };
        for queue in 0..ORDERS {
            while self.show(process, queue, &mut next, &tags) {
                self.now += 1_100;
            }
        }
        self.processes[process].next = Some(next);
    }

    fn drain(&mut self, pass: u32, node: usize, queue: usize) {
        let (topic, number) = self.place(queue);
        let (min, max) = (self.queues[queue].min, self.queues[queue].log.len());
        let middle = if self.dice.chance(30) { min + (max - min) / 2 } else { max };
        for (from, to) in [(min, middle), (middle, max)] {
            if from == to && from != min {
                continue;
            }
            let messages = (from..to).map(|offset| self.found(queue, offset)).collect();
            let action = Action::Drain {
                pass,
                topic,
                queue: number,
                min: min as u64,
                max: max as u64,
                from: from as u64,
                to: to as u64,
                messages,
            };
            let name = self.nodes[node];
            let returned = self.now + 100;
            self.history
                .push(Operation { node: Some(name), ..Operation::new(self.observer, self.now, returned, action) });
        }
    }
}
