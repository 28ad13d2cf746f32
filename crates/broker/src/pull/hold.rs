//! Pulls that are held, and what ends the holding.

use std::sync::Arc;
use std::time::Duration;

use timbermq_machine::{Arrived, Effect};
use timbermq_remoting::header::PullMessageHeader;
use timbermq_replica::Notice;
use timbermq_session::{TagFilter, Waiting};
use timbermq_transport::Responder;
use timbermq_types::QueueOffset;

use super::{Pulled, run};
use crate::context::{Call, Context, topic_name};

/// How often pulls past their time are looked for.
const TICK: Duration = Duration::from_millis(500);
/// Longest time that answering all of them may take when the broker stops.
const DRAIN_MAX: Duration = Duration::from_secs(2);
/// Every so many ticks, pulls are run again for which anything arrived, wanted or not.
const TICKS_PER_SWEEP: u32 = 10;

/// A held pull: all that is needed to run it again and to answer.
pub(crate) struct Held {
    call: Call,
    responder: Responder,
}

/// Holds a pull that found nothing at `from`.
pub(super) fn park(context: &Arc<Context>, call: Call, mut responder: Responder, from: QueueOffset, filter: TagFilter) {
    let Ok(header) = call.header::<PullMessageHeader>() else { return };
    let Ok(topic) = topic_name(&header.topic) else { return };
    let queue = timbermq_types::QueueId(u32::try_from(header.queue_id).unwrap_or(0));
    let asked = Duration::from_millis(u64::try_from(header.suspend_timeout_millis).unwrap_or(0));
    let deadline = context.env.mono().plus(asked.min(context.settings.hold_max));
    let is_allowed = responder.park();
    let waiting = Waiting { channel: call.channel(), from, filter, deadline, value: Held { call, responder } };
    if !is_allowed {
        return rerun(context, waiting);
    }
    let next = || context.view().queue_bounds(topic.as_str(), queue).max;
    match timbermq_session::hold(|| context.parked(), &topic, queue, waiting, next) {
        Err(refused) => rerun(context, refused),
        Ok(overtaken) => rerun_all(context, overtaken),
    }
}

/// Runs a held pull again and answers it.
fn rerun(context: &Arc<Context>, waiting: Waiting<Held>) {
    let context = Arc::clone(context);
    let env = context.env.clone();
    env.spawn("broker.pull", async move { answer(&context, waiting).await });
}

async fn answer(context: &Context, waiting: Waiting<Held>) {
    let Held { call, responder } = waiting.value;
    if responder.is_closed() {
        return;
    }
    match run(context, &call, false).await {
        Ok(Pulled::Answer(answer)) => responder.send(answer),
        Ok(Pulled::Hold { .. }) => unreachable!("only a first pass is held"),
        Err(failure) => responder.send(failure.response(&call.request)),
    }
}

fn rerun_all(context: &Arc<Context>, woken: Vec<Waiting<Held>>) {
    for waiting in woken {
        rerun(context, waiting);
    }
}

fn arrived(context: &Arc<Context>, arrived: &Arrived) {
    let woken = context.parked().arrived(&arrived.topic, arrived.queue, arrived.next, &arrived.tags_codes);
    rerun_all(context, woken);
}

/// Reacts to what the state machine did, for as long as the replica runs.
pub(crate) async fn drive(context: Arc<Context>) {
    let waiting = Arc::downgrade(&context);
    let mut effects =
        context.replica.effects(move || waiting.upgrade().is_some_and(|context| context.may_hold_pulls()));
    let ticking = Arc::clone(&context);
    context.env.spawn("broker.pull_ticks", tick(ticking));
    while let Some(notice) = effects.next().await {
        match notice {
            Notice::SweepAll => sweep(&context),
            Notice::Effects(effects) => effects.iter().for_each(|effect| react(&context, effect)),
        }
    }
    drain(&context).await;
}

fn react(context: &Arc<Context>, effect: &Effect) {
    match effect {
        Effect::Arrived(messages) => arrived(context, messages),
        Effect::TopicChanged(_) | Effect::TopicDeleted(_) | Effect::LeaderStarted { .. } => {
            context.register_now.notify_one();
        }
        Effect::GroupChanged(_) | Effect::GroupDeleted(_) | Effect::Marked(_) | Effect::Trimmed(_) => {}
    }
}

fn sweep(context: &Arc<Context>) {
    let now = context.env.mono();
    let view = context.view().clone();
    let woken = context.parked().sweep(now, |topic, queue| view.queue_bounds(topic.as_str(), queue).max);
    rerun_all(context, woken);
}

async fn tick(context: Arc<Context>) {
    let mut ticks: u32 = 0;
    loop {
        context.env.sleep(TICK).await;
        ticks = ticks.wrapping_add(1);
        if ticks.is_multiple_of(TICKS_PER_SWEEP) {
            sweep(&context);
        } else {
            let expired = context.parked().expired(context.env.mono());
            rerun_all(&context, expired);
        }
    }
}

/// Answers every held pull, now: the broker stops, and its connections close once this returns.
pub(crate) async fn drain(context: &Context) {
    let held = context.parked().drain();
    let answer_all = async {
        for waiting in held {
            answer(context, waiting).await;
        }
    };
    if context.env.timeout(DRAIN_MAX, answer_all).await.is_none() {
        tracing::info!("broker.held_pulls_not_answered");
    }
}
