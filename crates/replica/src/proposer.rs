//! From commands to entries: what arrives while earlier entries are on their way becomes the next one.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use openraft::errors::{ClientWriteError, ForwardReason, ForwardToLeader};
use openraft::impls::ProgressResponder;
use openraft::raft::ClientWriteResult;
use openraft::vote::leader_id_std::CommittedLeaderId;
use timbermq_commitlog::CommitLog;
use timbermq_env::Env;
use timbermq_machine::batch::BatchBuilder;
use timbermq_machine::{CommandKind, Proposal, Reply, View};
use timbermq_sync::Budget;
use timbermq_types::{Mono, NodeId, Term, UnixMillis};
use tokio::sync::{Notify, mpsc, oneshot, watch};

use crate::buffers::Buffers;
use crate::peer::suspicion::Raft;
use crate::race::{Either, race};
use crate::raft::{Batch, Group};
use crate::role::Role;

/// Bytes of commands that are handed to the engine's thread without waiting for more. What crosses at once is also answered at
/// once: a whole window of a client would for ever be with its connection, with the engine or on the disks, and two of the
/// three have nothing to do.
const HAND_OVER_BYTES: usize = 256 << 10;
/// Commands waiting to be gathered, besides those of the delivery that is being taken.
const QUEUE_MAX: usize = 16 * 1024;
/// Entries whose outcomes wait to be handed out on the callers' runtime.
const ANSWERED_MAX: usize = 64;

/// Why a command has no reply.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProposeError {
    /// Another replica leads. Nothing was proposed.
    #[error("this replica does not lead; the leader is {leader:?}")]
    NotLeader {
        /// Who leads, when known.
        leader: Option<NodeId>,
    },
    /// No majority answers. Nothing was proposed.
    #[error("the replica has no quorum")]
    NoQuorum,
    /// Too much is waiting. Nothing was proposed.
    #[error("too much is waiting to be written")]
    Overloaded,
    /// The command is longer than an entry may be. Nothing was proposed.
    #[error("the command has {bytes} bytes, more than fit into an entry")]
    TooLarge {
        /// Its length.
        bytes: usize,
    },
    /// It may or may not be carried out.
    #[error("the outcome is not known")]
    OutcomeUnknown,
    /// The replica is stopping. Nothing was proposed.
    #[error("the replica is stopping")]
    Stopping,
}

/// Counts the bytes of a command for as long as its outcome is open.
struct Counted {
    in_flight: Arc<Budget>,
    bytes: usize,
}

impl Counted {
    fn take(in_flight: &Arc<Budget>, bytes: usize) -> Option<Self> {
        in_flight.try_take(bytes).then(|| Self { in_flight: Arc::clone(in_flight), bytes })
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.in_flight.give_back(self.bytes);
    }
}

/// What became of a command.
pub type Outcome = Result<Reply, ProposeError>;

/// What is done with an outcome, once. Dropped without one, it gets that the outcome is not known.
struct Then(Option<Box<dyn FnOnce(Outcome) + Send>>);

impl Then {
    fn new(then: impl FnOnce(Outcome) + Send + 'static) -> Self {
        Self(Some(Box::new(then)))
    }

    /// What is to be done; nothing is from here any more.
    fn take(&mut self) -> Self {
        Self(self.0.take())
    }

    /// The first outcome counts.
    fn tell(&mut self, outcome: Outcome) {
        if let Some(then) = self.0.take() {
            then(outcome);
        }
    }
}

impl Drop for Then {
    fn drop(&mut self) {
        self.tell(Err(ProposeError::OutcomeUnknown));
    }
}

struct Waiting {
    proposal: Proposal,
    /// The only term in which it may be proposed, if it matters.
    only_in: Option<Term>,
    then: Then,
    /// When an outcome is due, known or not.
    until: Mono,
    counted: Counted,
}

/// The outcomes of one entry's commands, each with what is done with it.
type Answered = Vec<(Then, Outcome)>;

/// Where outcomes are handed out: on the callers' runtime once that is known. A task that is woken from another runtime's
/// thread costs that thread a system call, and a thousand that are woken one by one write a thousand answers one by one.
#[derive(Clone, Default)]
struct Counter(Arc<OnceLock<mpsc::Sender<Answered>>>);

impl Counter {
    fn open(&self, env: &Env) {
        let (sender, mut answered) = mpsc::channel(ANSWERED_MAX);
        if self.0.set(sender).is_ok() {
            env.spawn("replica.answers", async move {
                while let Some(answered) = answered.recv().await {
                    hand_out(answered);
                }
            });
        }
    }

    /// Never waits: with nobody there, or too much there already, the outcomes are handed out here.
    fn give(&self, answered: Answered) {
        let left = match self.0.get() {
            None => answered,
            Some(counter) => match counter.try_send(answered) {
                Ok(()) => return,
                Err(mpsc::error::TrySendError::Full(left) | mpsc::error::TrySendError::Closed(left)) => left,
            },
        };
        hand_out(left);
    }
}

fn hand_out(answered: Answered) {
    for (mut then, outcome) in answered {
        then.tell(outcome);
    }
}

/// The way to the engine's thread, for all commands that arrived together or one; at most `commands_max` are on it.
fn queue(commands_max: usize) -> (Queue, Inbox) {
    let (sender, receiver) = mpsc::channel(commands_max);
    let waiting = Arc::new(Budget::new(commands_max));
    (Queue { sender, waiting: Arc::clone(&waiting) }, Inbox { receiver, waiting, here: Vec::new().into_iter() })
}

/// The end of the way where commands are put.
#[derive(Clone)]
struct Queue {
    sender: mpsc::Sender<Vec<Waiting>>,
    /// Commands that were not taken yet.
    waiting: Arc<Budget>,
}

impl Queue {
    /// Never waits. What is not taken is for the caller to refuse.
    fn put(&self, commands: Vec<Waiting>) -> Refused {
        let count = commands.len();
        if !self.waiting.try_take(count) {
            return Refused { commands, error: ProposeError::Overloaded };
        }
        let (commands, error) = match self.sender.try_send(commands) {
            Ok(()) => return Refused::default(),
            Err(mpsc::error::TrySendError::Full(commands)) => (commands, ProposeError::Overloaded),
            Err(mpsc::error::TrySendError::Closed(commands)) => (commands, ProposeError::Stopping),
        };
        self.waiting.give_back(count);
        Refused { commands, error }
    }
}

/// Commands that are not proposed, and why.
struct Refused {
    commands: Vec<Waiting>,
    error: ProposeError,
}

impl Default for Refused {
    /// None.
    fn default() -> Self {
        Self { commands: Vec::new(), error: ProposeError::Stopping }
    }
}

impl Refused {
    fn tell(self) {
        refuse(self.commands.into_iter().map(Pending::from).collect(), &self.error);
    }
}

/// The end of the way where commands are taken one by one, however many were put together.
struct Inbox {
    receiver: mpsc::Receiver<Vec<Waiting>>,
    waiting: Arc<Budget>,
    here: std::vec::IntoIter<Waiting>,
}

impl Inbox {
    /// The next command; `None` if there will be none.
    async fn next(&mut self) -> Option<Waiting> {
        loop {
            if let Some(command) = self.here.next() {
                return Some(command);
            }
            let together = self.receiver.recv().await?;
            self.take(together);
        }
    }

    /// The next command that is here already.
    fn next_here(&mut self) -> Option<Waiting> {
        loop {
            if let Some(command) = self.here.next() {
                return Some(command);
            }
            let together = self.receiver.try_recv().ok()?;
            self.take(together);
        }
    }

    fn take(&mut self, together: Vec<Waiting>) {
        self.waiting.give_back(together.len());
        self.here = together.into_iter();
    }
}

/// Where commands gather on the callers' runtime until its tasks have had their turn, so that those that arrived together
/// become one entry. Each given to the engine's thread by itself, the first would be an entry alone, and the rest the next.
struct Outbox {
    queue: Queue,
    /// Nothing once nobody hands them over any more.
    gathered: Mutex<Option<Gathered>>,
    filled: Notify,
}

#[derive(Default)]
struct Gathered {
    commands: Vec<Waiting>,
    bytes: usize,
}

impl Outbox {
    fn new(queue: Queue) -> Self {
        Self { queue, gathered: Mutex::new(Some(Gathered::default())), filled: Notify::new() }
    }

    fn gathered(&self) -> MutexGuard<'_, Option<Gathered>> {
        self.gathered.lock().expect("nothing panics while it holds the outbox")
    }

    /// Never waits. What is known at once is told here.
    fn put(&self, command: Waiting) {
        let mut all = self.gathered();
        let refused = match &mut *all {
            Some(gathered) => {
                if gathered.commands.is_empty() {
                    self.filled.notify_one();
                }
                gathered.bytes += command.counted.bytes;
                gathered.commands.push(command);
                if gathered.bytes >= HAND_OVER_BYTES { self.hand_over(gathered) } else { Refused::default() }
            }
            None => Refused { commands: vec![command], error: ProposeError::Stopping },
        };
        drop(all);
        refused.tell();
    }

    /// What is refused may only be told when the outbox is free again: whoever is told may propose something.
    fn hand_over(&self, gathered: &mut Gathered) -> Refused {
        // As many may come next.
        let next = Gathered { commands: Vec::with_capacity(gathered.commands.len()), bytes: 0 };
        self.queue.put(std::mem::replace(gathered, next).commands)
    }

    /// Hands over what gathers until nobody takes it any more. When it ends, or its runtime does, what has gathered is refused,
    /// and so is whatever comes.
    async fn empty(&self) {
        let _closing = Closing(self);
        while let Either::Left(()) = race(self.filled.notified(), self.queue.sender.closed()).await {
            let mut all = self.gathered();
            let left = all.as_mut().filter(|gathered| !gathered.commands.is_empty());
            let refused = left.map(|gathered| self.hand_over(gathered)).unwrap_or_default();
            drop(all);
            refused.tell();
        }
    }
}

/// Closes the outbox when it is dropped.
struct Closing<'a>(&'a Outbox);

impl Drop for Closing<'_> {
    fn drop(&mut self) {
        let left = self.0.gathered().take().unwrap_or_default();
        Refused { commands: left.commands, error: ProposeError::Stopping }.tell();
    }
}

/// Takes commands from any thread.
#[derive(Clone)]
pub(crate) struct Proposer {
    env: Env,
    log: CommitLog,
    queue: Queue,
    outbox: Arc<OnceLock<Outbox>>,
    counter: Counter,
    in_flight: Arc<Budget>,
    deadline: Duration,
}

impl Proposer {
    pub async fn propose(&self, proposal: Proposal) -> Outcome {
        self.put(proposal, None).await
    }

    pub async fn propose_in(&self, term: Term, proposal: Proposal) -> Outcome {
        self.put(proposal, Some(term)).await
    }

    async fn put(&self, proposal: Proposal, only_in: Option<Term>) -> Outcome {
        let (tell, outcome) = oneshot::channel();
        // Whoever does not wait any more has been told that the outcome is unknown.
        if let Some(command) = self.command(proposal, only_in, Then::new(move |outcome| drop(tell.send(outcome)))) {
            self.queue.put(vec![command]).tell();
        }
        match self.env.timeout(self.deadline, outcome).await {
            Some(Ok(outcome)) => outcome,
            Some(Err(_)) | None => Err(ProposeError::OutcomeUnknown),
        }
    }

    /// Never waits, and what is known at once is told here. Several that are proposed one after the other become one entry.
    pub fn propose_then(&self, proposal: Proposal, then: impl FnOnce(Outcome) + Send + 'static) {
        match (self.command(proposal, None, Then::new(then)), self.outbox.get()) {
            (Some(command), Some(outbox)) => outbox.put(command),
            (Some(command), None) => self.queue.put(vec![command]).tell(),
            (None, _) => {}
        }
    }

    /// A command that may wait to be proposed; `None` if it was told that it may not.
    fn command(&self, proposal: Proposal, only_in: Option<Term>, mut then: Then) -> Option<Waiting> {
        let bytes = proposal.batch_bytes();
        if !proposal.fits_alone() {
            then.tell(Err(ProposeError::TooLarge { bytes }));
            return None;
        }
        let counted = if self.log.is_overloaded() { None } else { Counted::take(&self.in_flight, bytes) };
        let Some(counted) = counted else {
            then.tell(Err(ProposeError::Overloaded));
            return None;
        };
        let until = self.env.mono().plus(self.deadline);
        Some(Waiting { proposal, only_in, then, until, counted })
    }

    /// From now on what [`propose_then`](Self::propose_then) takes is handed over, and outcomes are handed out, by tasks of
    /// `env`. Only the first call counts.
    pub fn answer_on(&self, env: &Env) {
        self.counter.open(env);
        if self.outbox.set(Outbox::new(self.queue.clone())).is_ok() {
            let outbox = Arc::clone(&self.outbox);
            env.spawn("replica.commands", async move {
                if let Some(outbox) = outbox.get() {
                    outbox.empty().await;
                }
            });
        }
    }

    /// Bytes of commands whose outcome is open.
    pub fn in_flight_bytes(&self) -> usize {
        self.in_flight.used()
    }
}

/// What the gathering end needs.
pub(crate) struct ProposerOptions {
    pub env: Env,
    pub raft: Raft,
    pub log: CommitLog,
    pub view: View,
    pub role: watch::Receiver<Role>,
    pub in_flight_bytes_max: usize,
    pub batch_bytes_max: usize,
    pub batches_in_flight: usize,
    pub deadline: Duration,
}

/// Starts the proposer. It ends when `stop` is closed, and answers what it has not proposed.
pub(crate) fn start(options: ProposerOptions, stop: mpsc::Sender<()>) -> Proposer {
    let (queue, waiting) = queue(QUEUE_MAX);
    let proposer = Proposer {
        env: options.env.clone(),
        log: options.log.clone(),
        queue,
        outbox: Arc::default(),
        counter: Counter::default(),
        in_flight: Arc::new(Budget::new(options.in_flight_bytes_max)),
        deadline: options.deadline,
    };
    options.env.clone().spawn("raft.proposer", run(options, waiting, proposer.counter.clone(), stop));
    proposer
}

/// A command of an entry that is on its way.
struct Pending {
    then: Then,
    until: Mono,
    counted: Counted,
}

impl From<Waiting> for Pending {
    fn from(waiting: Waiting) -> Self {
        let Waiting { then, until, counted, .. } = waiting;
        Self { then, until, counted }
    }
}

impl Pending {
    /// An outcome is given after the bytes are: whoever has one finds them free.
    fn with(self, outcome: Outcome) -> (Then, Outcome) {
        let Self { then, counted, .. } = self;
        drop(counted);
        (then, outcome)
    }
}

/// The commands of one entry, in the order in which they came.
type Replies = Vec<Pending>;

async fn run(options: ProposerOptions, mut waiting: Inbox, counter: Counter, stop: mpsc::Sender<()>) {
    let mut under_way = FuturesUnordered::new();
    // A command that did not fit into the last batch, or for which there is no room at the moment.
    let mut left_over: Option<Waiting> = None;
    // The last batch's time: it may not be applied yet when the next is stamped, and the clock may have gone back since.
    let mut stamped = UnixMillis(0);
    // Under load entries are of a size: growing each to it step by step would copy every message once more.
    let mut usual_bytes = 0;
    let buffers = Buffers::default();
    loop {
        let is_full = under_way.len() >= options.batches_in_flight;
        if left_over.is_none() || is_full {
            let idle = under_way.is_empty();
            let answered = async { if idle { std::future::pending().await } else { under_way.next().await } };
            let oldest = left_over.as_ref().map(|oldest| oldest.until);
            let next = async {
                match oldest {
                    Some(until) => {
                        options.env.sleep(until.since(options.env.mono())).await;
                        Next::Late
                    }
                    None => waiting.next().await.map_or(Next::Nothing, Next::Command),
                }
            };
            match race(answered, race(next, stop.closed())).await {
                Either::Left(_) => continue,
                Either::Right(Either::Left(Next::Command(one))) => {
                    left_over = Some(one);
                    continue;
                }
                Either::Right(Either::Left(Next::Late)) => {
                    let now = options.env.mono();
                    while let Some(late) = left_over.take_if(|one| one.until <= now) {
                        counter.give(refusals(vec![late.into()], &ProposeError::NoQuorum));
                        left_over = waiting.next_here();
                    }
                    continue;
                }
                Either::Right(Either::Left(Next::Nothing) | Either::Right(())) => break,
            }
        }
        let Some(first) = left_over.take() else { continue };
        let role = *options.role.borrow();
        stamped = stamped.max(options.view.last_at()).max(options.env.wall());
        let (batch, replies) = gather(&options, role, buffers.take(usual_bytes), first, &mut waiting, &mut left_over);
        let payload = batch.seal_within(stamped);
        usual_bytes = payload.len().max(usual_bytes - usual_bytes / 8);
        let batch = Batch(buffers.share(payload).into());
        if replies.is_empty() {
            continue;
        }
        let (responder, outcome) = ProgressResponder::<Group, _>::complete_only();
        let leader = CommittedLeaderId::new(role.term.0);
        // Handed over in order, before the next is gathered.
        match options.raft.write(batch).responder(responder).with_leader(leader).await {
            Ok(()) => under_way.push(settle(&options.env, &counter, replies, outcome)),
            Err(_) => refuse(replies, &ProposeError::Stopping),
        }
    }
    waiting.receiver.close();
    while let Some(mut one) = left_over.take().or_else(|| waiting.next_here()) {
        one.then.tell(Err(ProposeError::Stopping));
    }
}

/// What the proposer waits for beside outcomes.
enum Next {
    Command(Waiting),
    /// Nothing can be proposed, and who waits for it longest has waited long enough.
    Late,
    /// Nobody can propose any more.
    Nothing,
}

/// Hands out what became of an entry once that is known. Whose time is up before is told so; the bytes count on.
async fn settle<E>(
    env: &Env,
    counter: &Counter,
    mut replies: Replies,
    outcome: impl Future<Output = Result<ClientWriteResult<Group>, E>>,
) {
    let mut outcome = pin!(outcome);
    let mut told = 0;
    let outcome = loop {
        let Some(until) = replies.get(told).map(|first| first.until) else { break outcome.await };
        if let Some(outcome) = env.timeout(until.since(env.mono()), outcome.as_mut()).await {
            break outcome;
        }
        let now = env.mono();
        let late = replies.iter_mut().skip(told).take_while(|one| one.until <= now);
        let late: Answered = late.map(|one| (one.then.take(), Err(ProposeError::OutcomeUnknown))).collect();
        told += late.len();
        counter.give(late);
    };
    match outcome {
        Ok(result) => counter.give(answers(replies, result.map(|response| response.data.0))),
        // The engine stopped with the entry in its hands.
        Err(_) => refuse(replies, &ProposeError::OutcomeUnknown),
    }
}

/// Why a command must not be proposed as things are. A leader's start comes before everything else of its term: it extends
/// what lives by the time of the log, which any other command of a leader whose clock is ahead would first move on.
fn obstacle(proposal: &Proposal, only_in: Option<Term>, role: Role) -> Option<ProposeError> {
    let is_turn = role.is_leader || proposal.kind() == CommandKind::LeaderStarted;
    let is_term = only_in.is_none_or(|term| term == role.term);
    match role.leader {
        _ if is_turn && is_term => None,
        None => Some(ProposeError::NoQuorum),
        leader => Some(ProposeError::NotLeader { leader }),
    }
}

/// Everything that waits and may be proposed, as far as it fits.
fn gather(
    options: &ProposerOptions,
    role: Role,
    buffer: Vec<u8>,
    first: Waiting,
    waiting: &mut Inbox,
    left_over: &mut Option<Waiting>,
) -> (BatchBuilder, Replies) {
    let now = options.env.mono();
    let mut batch = BatchBuilder::within(buffer);
    let mut replies = Replies::new();
    let mut next = Some(first);
    while let Some(one) = next.take() {
        if let Some(error) = obstacle(&one.proposal, one.only_in, role) {
            refuse(vec![one.into()], &error);
        } else if one.until <= now {
            refuse(vec![one.into()], &ProposeError::NoQuorum);
        } else {
            let fits =
                batch.bytes() + one.proposal.batch_bytes() <= options.batch_bytes_max && batch.fits(&one.proposal);
            if !fits && !batch.is_empty() {
                *left_over = Some(one);
                break;
            }
            batch.push(&one.proposal);
            replies.push(one.into());
        }
        next = waiting.next_here();
    }
    (batch, replies)
}

fn refuse(replies: Replies, error: &ProposeError) {
    hand_out(refusals(replies, error));
}

fn refusals(replies: Replies, error: &ProposeError) -> Answered {
    replies.into_iter().map(|one| one.with(Err(error.clone()))).collect()
}

fn answers(waiting: Replies, outcome: Result<Vec<Reply>, ClientWriteError<Group>>) -> Answered {
    match outcome {
        Ok(replies) if replies.len() == waiting.len() => {
            waiting.into_iter().zip(replies).map(|(one, reply)| one.with(Ok(reply))).collect()
        }
        Ok(_) => refusals(waiting, &ProposeError::OutcomeUnknown),
        Err(error) => refusals(waiting, &write_error(error)),
    }
}

/// What a refused write means for whoever proposed it.
pub(crate) fn write_error(error: ClientWriteError<Group>) -> ProposeError {
    match error {
        ClientWriteError::ForwardToLeader(forward) => forward_error(&forward),
        ClientWriteError::LogEntryDiscarded(_) => ProposeError::OutcomeUnknown,
        ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_) => {
            ProposeError::OutcomeUnknown
        }
    }
}

pub(crate) fn forward_error(forward: &ForwardToLeader<Group>) -> ProposeError {
    match (forward.reason, forward.leader_id) {
        (ForwardReason::LeaseExpired, _) | (ForwardReason::NotLeader, None) => ProposeError::NoQuorum,
        (_, leader) => ProposeError::NotLeader { leader: leader.map(NodeId) },
    }
}

#[cfg(test)]
mod tests {
    use timbermq_machine::{CommitOffsets, LeaderStarted};

    use super::*;

    #[test]
    fn outcomes_are_handed_out_where_the_callers_run() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let counter = Counter::default();
        let give = || {
            let (tell, outcome) = oneshot::channel();
            let then = Then::new(move |outcome| drop(tell.send(outcome)));
            counter.give(vec![(then, Err(ProposeError::Overloaded))]);
            outcome
        };
        assert!(give().try_recv().is_ok(), "nobody has said where the callers are");
        counter.open(&timbermq_host::env_on(runtime.handle().clone()));
        let mut outcome = give();
        assert_eq!(outcome.try_recv(), Err(oneshot::error::TryRecvError::Empty));
        assert!(runtime.block_on(outcome).is_ok());
        // More than wait there at most are not waited for.
        let mut outcomes: Vec<_> = (0..=ANSWERED_MAX).map(|_| give()).collect();
        assert!(outcomes.last_mut().unwrap().try_recv().is_ok());
        drop(runtime);
        assert!(give().try_recv().is_ok(), "nobody is there any more");
    }

    /// A command that is known by `number`, whose outcome goes to `outcomes`.
    fn command(number: u64, outcomes: &std::sync::mpsc::Sender<Outcome>) -> Waiting {
        command_of(1, number, outcomes)
    }

    fn command_of(bytes: usize, number: u64, outcomes: &std::sync::mpsc::Sender<Outcome>) -> Waiting {
        let (tell, counted) = (outcomes.clone(), Counted::take(&Arc::new(Budget::new(bytes)), bytes));
        let then = Then::new(move |outcome| drop(tell.send(outcome)));
        let proposal = Proposal::from(CommitOffsets { offsets: Vec::new() });
        Waiting { proposal, only_in: None, then, until: Mono(number), counted: counted.expect("there is room for one") }
    }

    #[test]
    fn commands_that_arrive_together_are_handed_over_together() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (tell, outcomes) = std::sync::mpsc::channel();
        let (queue, mut inbox) = queue(8);
        let outbox = Arc::new(Outbox::new(queue));
        let emptying = runtime.spawn({
            let outbox = Arc::clone(&outbox);
            async move { outbox.empty().await }
        });
        (0..3).for_each(|number| outbox.put(command(number, &tell)));
        let numbers = |together: Vec<Waiting>| together.iter().map(|one| one.until.0).collect::<Vec<_>>();
        assert_eq!(numbers(runtime.block_on(inbox.receiver.recv()).unwrap()), [0, 1, 2]);
        // So much that nobody waits for more: it is there before anybody has had a turn.
        let much = [(1, 3), (HAND_OVER_BYTES - 1, 4), (1, 5)];
        much.iter().for_each(|(bytes, number)| outbox.put(command_of(*bytes, *number, &tell)));
        assert_eq!(inbox.receiver.try_recv().map(numbers).ok(), Some(vec![3, 4]));
        assert_eq!(
            numbers(runtime.block_on(inbox.receiver.recv()).unwrap()),
            [5],
            "what came later comes with the next"
        );
        drop((inbox, outcomes.try_iter().collect::<Vec<_>>()));
        (0..2).for_each(|number| outbox.put(command(number, &tell)));
        runtime.block_on(emptying).unwrap();
        outbox.put(command(0, &tell));
        assert_eq!(outcomes.try_iter().collect::<Vec<_>>(), vec![Err(ProposeError::Stopping); 3], "nobody takes them");
    }

    #[test]
    fn a_command_that_finds_too_many_waiting_is_refused_and_may_be_proposed_again_at_once() {
        let (tell, outcomes) = std::sync::mpsc::channel();
        let (queue, inbox) = queue(1);
        let outbox = Arc::new(Outbox::new(queue));
        outbox.put(command_of(HAND_OVER_BYTES, 0, &tell));
        let (again, once_more) = (Arc::clone(&outbox), command(1, &tell));
        let then = Then::new(move |outcome| {
            assert_eq!(outcome, Err(ProposeError::Overloaded));
            again.put(once_more);
        });
        outbox.put(Waiting { then, ..command_of(HAND_OVER_BYTES, 2, &std::sync::mpsc::channel().0) });
        assert_eq!(outbox.gathered().as_ref().map(|gathered| (gathered.commands.len(), gathered.bytes)), Some((1, 1)));
        drop((outbox, inbox));
        assert_eq!(outcomes.try_iter().collect::<Vec<_>>(), vec![Err(ProposeError::OutcomeUnknown); 2]);
    }

    #[test]
    fn commands_of_callers_whose_runtime_is_gone_have_an_outcome() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (tell, outcomes) = std::sync::mpsc::channel();
        let (queue, _inbox) = queue(1);
        let outbox = Arc::new(Outbox::new(queue));
        let emptying = Arc::clone(&outbox);
        runtime.spawn(async move { emptying.empty().await });
        runtime.block_on(tokio::task::yield_now());
        outbox.put(command(0, &tell));
        drop(runtime);
        outbox.put(command(1, &tell));
        assert_eq!(outcomes.try_iter().collect::<Vec<_>>(), vec![Err(ProposeError::Stopping); 2]);
    }

    #[test]
    fn commands_come_in_order_however_they_were_handed_over() {
        let (tell, outcomes) = std::sync::mpsc::channel();
        let (queue, mut inbox) = queue(3);
        for together in [vec![0, 1], vec![], vec![2]] {
            queue.put(together.into_iter().map(|number| command(number, &tell)).collect()).tell();
        }
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let first = runtime.block_on(inbox.next()).map(|one| one.until.0);
        let rest: Vec<_> = std::iter::from_fn(|| inbox.next_here()).map(|one| one.until.0).collect();
        assert_eq!((first, rest), (Some(0), vec![1, 2]));
        drop(outcomes.try_iter().collect::<Vec<_>>());
        // As many as may wait, however they were put.
        let some = |numbers: std::ops::Range<u64>| numbers.map(|number| command(number, &tell)).collect();
        queue.put(some(0..2)).tell();
        queue.put(some(2..4)).tell();
        assert_eq!(outcomes.try_iter().collect::<Vec<_>>(), vec![Err(ProposeError::Overloaded); 2]);
        assert_eq!(inbox.next_here().map(|one| one.until.0), Some(0));
        queue.put(some(4..7)).tell();
        assert_eq!(outcomes.try_iter().filter(|outcome| *outcome == Err(ProposeError::Overloaded)).count(), 0);
    }

    #[test]
    fn a_leader_begins_with_its_start_and_takes_what_is_meant_for_its_term() {
        let (me, other) = (NodeId(1), NodeId(2));
        let start = Proposal::from(LeaderStarted { node: me, term: Term(3) });
        let command = Proposal::from(CommitOffsets { offsets: Vec::new() });
        let elected = Role { term: Term(3), leader: Some(me), is_leader: false, has_quorum: true };
        assert_eq!(obstacle(&start, None, elected), None);
        assert_eq!(obstacle(&command, None, elected), Some(ProposeError::NotLeader { leader: Some(me) }));
        let started = Role { is_leader: true, ..elected };
        assert_eq!(obstacle(&command, None, started), None);
        assert_eq!(obstacle(&command, Some(Term(3)), started), None);
        let another_term = obstacle(&command, Some(Term(1)), started);
        assert_eq!(another_term, Some(ProposeError::NotLeader { leader: Some(me) }));
        let follows = Role { leader: Some(other), is_leader: false, ..elected };
        assert_eq!(obstacle(&command, None, follows), Some(ProposeError::NotLeader { leader: Some(other) }));
        let alone = Role { leader: None, ..follows };
        assert_eq!(obstacle(&command, None, alone), Some(ProposeError::NoQuorum));
    }
}
