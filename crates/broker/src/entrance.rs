//! A follower's second registration: a broker name of its own, with the users' topics, to be written only.
//!
//! Stock producers fetch routes every 30 s, and a failed send is only ever retried at *another broker name*. With one name
//! per group they would be down for that long after a takeover. Under its own name a follower is such another broker; it
//! passes what it is sent on to whoever leads. Consumers skip what cannot be read, so all they see is the group.
//!
//! An entrance has as many queues as the topic. Clients pick a queue by `hash % length` of a list of equal blocks, one for
//! each name, and k % (cN) % N = k % N: a key keeps its queue whatever entrances there are at the moment.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use timbermq_remoting::body::{JsonBody, ResetOffsetBody, TopicConfig, TopicConfigTable};
use timbermq_remoting::header::entrance_name;
use timbermq_remoting::{RemotingCommand, RequestCode};
use timbermq_replica::Role;
use timbermq_types::{Mono, NodeId, PERM_WRITE, Term, TopicName, perm};

use crate::context::{BrokerSettings, Call, Context};
use crate::outcome::Failure;
use crate::{system, topics};

/// How long clients may go by an old route: they fetch it every 30 s.
pub const ROUTE_AGE: Duration = Duration::from_secs(90);
/// How long a follower that does not hear its leader keeps its entrance: elections are over sooner, and its route should not come and go.
const LEADERLESS_MAX: Duration = Duration::from_secs(10);
/// How many registrations may fail to come before the entrance is dropped: a follower that hangs costs producers more than
/// one that is missing.
const INTERVALS_MAX: u32 = 3;
/// A topic that every group has and no client sends to. A stock NameServer takes a first registration of one topic for a
/// change and refuses it.
const SECOND_TOPIC: &str = "SELF_TEST_TOPIC";

/// What is known about this replica's entrance.
pub(crate) struct Entrance {
    state: Mutex<State>,
}

struct State {
    /// The leader last heard of, and when it was chosen or last answered. The engine alone does not tell: a replica that
    /// has lost everybody goes on naming the last leader.
    led: Option<(NodeId, Term, Mono)>,
    /// NameServers that may have the entrance, for all that is known: at first all, from the process before.
    registered: BTreeSet<String>,
    /// The leader's address as each NameServer knows it, and since when.
    named: BTreeMap<String, (String, Mono)>,
}

impl Entrance {
    pub(crate) fn new(settings: &BrokerSettings) -> Self {
        let registered = settings.namesrv.iter().cloned().collect();
        let named = BTreeMap::new();
        Self { state: Mutex::new(State { led: None, registered, named }) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds what is known about the entrance")
    }

    /// Takes notice of the role.
    pub(crate) fn observe(&self, role: Role, now: Mono) {
        let mut state = self.lock();
        if let Some(leader) = role.leader
            && state.led.is_none_or(|(known, term, _)| (known, term) != (leader, role.term))
        {
            state.led = Some((leader, role.term, now));
        }
    }

    /// Takes notice that `leader` has just said that it leads.
    pub(crate) fn led_by(&self, leader: NodeId, now: Mono) {
        if let Some((known, _, heard)) = &mut self.lock().led
            && *known == leader
        {
            *heard = now;
        }
    }

    fn is_led(&self, now: Mono) -> bool {
        self.lock().led.is_some_and(|(_, _, heard)| now.since(heard) < LEADERLESS_MAX)
    }

    /// Whether `namesrv` may have the entrance.
    pub(crate) fn may_be_at(&self, namesrv: &str) -> bool {
        self.lock().registered.contains(namesrv)
    }

    /// The entrance is about to be registered with `namesrv`, or it is certainly not there any more.
    pub(crate) fn set_at(&self, namesrv: &str, there: bool) {
        let mut state = self.lock();
        if there {
            state.registered.insert(namesrv.to_owned());
        } else {
            state.registered.remove(namesrv);
        }
    }

    /// What `namesrv` said is the leader's address; `None` when it said nothing.
    pub(crate) fn leader_named(&self, namesrv: &str, leader: Option<String>, now: Mono) {
        let mut state = self.lock();
        match leader {
            None => {
                state.named.remove(namesrv);
            }
            Some(leader) if state.named.get(namesrv).is_some_and(|(known, _)| *known == leader) => {}
            Some(leader) => {
                state.named.insert(namesrv.to_owned(), (leader, now));
            }
        }
    }
}

/// The broker name of `node`'s entrance.
pub(crate) fn name(settings: &BrokerSettings, node: NodeId) -> String {
    entrance_name(&settings.group, node.0)
}

/// How long a NameServer is to believe in the entrance without hearing of it.
pub(crate) fn timeout(settings: &BrokerSettings) -> Duration {
    settings.register_interval * INTERVALS_MAX
}

/// Whether there is to be an entrance: a retry must not meet the dead leader again, nor a replica that cannot pass on what it
/// is sent; and there must be a topic to be written.
pub(crate) fn is_open(context: &Context) -> bool {
    let settings = &context.settings;
    let role = *context.replica.role().borrow();
    let leads = role.is_leader || role.leader == Some(settings.node);
    if !settings.follower_writes || leads || *context.stopping.borrow() || !context.entrance.is_led(context.env.mono())
    {
        return false;
    }
    let members = context.replica.status().members;
    members.iter().any(|member| member.node == settings.node && member.voter)
        && context
            .view()
            .topics()
            .iter()
            .any(|topic| perm::writable(topic.perm) && is_for_users(settings, topic.name.as_str()))
}

/// The topics of the entrance, or `None` while there is to be none.
pub(crate) fn table(context: &Context) -> Option<TopicConfigTable> {
    if !is_open(context) {
        return None;
    }
    let settings = &context.settings;
    let mut table = topics::table_of(context, |name| name == SECOND_TOPIC || is_for_users(settings, name));
    for (name, config) in &mut table.topic_config_table {
        shut_to_readers(config, name != SECOND_TOPIC);
    }
    table.topic_config_table.retain(|name, config| *name == SECOND_TOPIC || config.perm != 0);
    (table.topic_config_table.len() > 1).then_some(table)
}

fn is_for_users(settings: &BrokerSettings, topic: &str) -> bool {
    let derived = |topic: &TopicName| topic.is_retry() || topic.is_dlq();
    !system::is_system(settings, topic) && TopicName::new(topic).is_ok_and(|topic| !derived(&topic))
}

fn shut_to_readers(config: &mut TopicConfig, stays_open: bool) {
    let is_open = stays_open && perm::writable(config.perm.cast_unsigned());
    config.perm = if is_open { PERM_WRITE.cast_signed() } else { 0 };
    config.write_queue_nums = if is_open { config.write_queue_nums } else { 0 };
    config.read_queue_nums = 0;
}

/// Nothing, as the answer of a follower to a question that tools ask every broker name, to put the answers together: the
/// leader is asked too, and would be heard several times. `None` when that is not certain.
///
/// A question that names its broker needs no guess. Else the leader must have had the group's name at every NameServer for
/// longer than a client goes by a route: who then asks here does it for the entrance.
pub(crate) fn nothing(context: &Context, call: &Call) -> Option<Result<RemotingCommand, Failure>> {
    let code = call.request.request_code();
    if call.forwarded || !matches!(code, RequestCode::QUERY_MESSAGE | RequestCode::INVOKE_BROKER_TO_RESET_OFFSET) {
        return None;
    }
    let asked_for_entrance = match call.request.ext.get("bname").filter(|name| !name.is_empty()) {
        Some(asked) => asked == name(&context.settings, context.settings.node),
        None => context.settings.follower_writes && leads_undoubted(context),
    };
    asked_for_entrance.then(|| match code {
        RequestCode::QUERY_MESSAGE => Err(Failure::NotFound(
            "this broker name has no messages; those of its group are its leader's to find".into(),
        )),
        _ => Ok(call.ok().with_body(ResetOffsetBody::default().to_json())),
    })
}

/// Whether every route that a client may still go by names the living leader.
fn leads_undoubted(context: &Context) -> bool {
    let Some(leader) = context.replica.role().borrow().leader else { return false };
    let Some(leader) = context.settings.address_of(leader) else { return false };
    let (now, state) = (context.env.mono(), context.entrance.lock());
    let agrees = |namesrv: &String| {
        let named = state.named.get(namesrv);
        named.is_some_and(|(named, since)| named == leader && now.since(*since) >= context.settings.route_age)
    };
    !context.settings.namesrv.is_empty() && context.settings.namesrv.iter().all(agrees)
}

#[cfg(test)]
mod tests {
    use timbermq_remoting::body::{QueueData, TopicRouteData};

    use super::*;

    /// The list that stock producers make of a route: names in order, of each that can be written its queues in order.
    fn publish_list(route: &TopicRouteData) -> Vec<(String, i32)> {
        let mut blocks: Vec<&QueueData> = route.queue_datas.iter().collect();
        blocks.sort_by(|a, b| a.broker_name.cmp(&b.broker_name));
        let writable = blocks.into_iter().filter(|block| perm::writable(block.perm.cast_unsigned()));
        writable.flat_map(|block| (0..block.write_queue_nums).map(|q| (block.broker_name.clone(), q))).collect()
    }

    fn block(name: &str, config: &TopicConfig) -> QueueData {
        QueueData {
            broker_name: name.to_owned(),
            perm: config.perm,
            read_queue_nums: config.read_queue_nums,
            write_queue_nums: config.write_queue_nums,
            topic_sys_flag: 0,
        }
    }

    #[test]
    fn a_key_keeps_its_queue_whatever_entrances_there_are() {
        let topic = TopicConfig { perm: 6, read_queue_nums: 5, write_queue_nums: 7, ..TopicConfig::default() };
        let mut shut = topic.clone();
        shut_to_readers(&mut shut, true);
        assert_eq!((shut.perm, shut.read_queue_nums), (2, 0), "nobody reads at an entrance");
        let leader = block("broker-a", &topic);
        let entrance = |n| block(&entrance_name("broker-a", n), &shut);
        let alone = vec![leader.clone()];
        let mixes = [
            vec![leader.clone(), entrance(2)],
            vec![entrance(3), leader, entrance(1)],
            vec![entrance(2), entrance(10)],
        ];
        let queue_of = |blocks: &Vec<QueueData>, hash: i32| {
            let list = publish_list(&TopicRouteData { queue_datas: blocks.clone(), ..TopicRouteData::default() });
            let at = (hash % i32::try_from(list.len()).unwrap()).unsigned_abs() as usize;
            list[at].1
        };
        for hash in (-200..200).chain([i32::MIN, i32::MIN + 1, i32::MAX]) {
            let queue = queue_of(&alone, hash);
            for mix in &mixes {
                assert_eq!(queue_of(mix, hash), queue, "hash {hash} over {} names", mix.len());
            }
        }
    }

    #[test]
    fn what_cannot_be_written_has_no_entrance() {
        let mut read_only = TopicConfig { perm: 4, read_queue_nums: 5, write_queue_nums: 7, ..TopicConfig::default() };
        shut_to_readers(&mut read_only, true);
        assert_eq!((read_only.perm, read_only.write_queue_nums), (0, 0));
    }
}
