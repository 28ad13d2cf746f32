//! What the client knows about topics and broker groups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use timbermq_remoting::body::{BrokerData, ClusterInfo, MessageQueue, QueueData, TopicRouteData};
use timbermq_remoting::header::group_of_entrance;
use timbermq_types::{Mono, perm};

/// The id by which a leader is known.
const LEADER: i64 = 0;

/// Routes by topic, addresses by broker name.
pub(crate) struct Routes {
    state: Mutex<State>,
    routes_max: usize,
}

#[derive(Default)]
struct State {
    topics: BTreeMap<String, (Mono, Arc<TopicRouteData>)>,
    groups: BTreeMap<String, BTreeMap<i64, String>>,
    /// Groups whose leader is being looked for.
    sought: BTreeSet<String>,
}

impl Routes {
    pub(crate) fn new(routes_max: usize) -> Self {
        Self { state: Mutex::default(), routes_max }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics while it holds the routes")
    }

    /// The route and when it was fetched.
    pub(crate) fn topic(&self, topic: &str) -> Option<(Mono, Arc<TopicRouteData>)> {
        self.lock().topics.get(topic).cloned()
    }

    pub(crate) fn put_topic(&self, topic: &str, route: Arc<TopicRouteData>, now: Mono) {
        let mut state = self.lock();
        if state.topics.len() >= self.routes_max && !state.topics.contains_key(topic) {
            let oldest = state.topics.iter().min_by_key(|(_, (at, _))| *at).map(|(topic, _)| topic.clone());
            oldest.and_then(|topic| state.topics.remove(&topic));
        }
        put_groups(&mut state, &route.broker_datas);
        state.topics.insert(topic.to_owned(), (now, route));
    }

    pub(crate) fn put_cluster(&self, cluster: &ClusterInfo) {
        let mut state = self.lock();
        // A cluster's table is complete: what is not in it is gone.
        state.groups.clear();
        put_groups(&mut state, cluster.broker_addr_table.values());
    }

    /// Whether a broker group's leader is known.
    pub(crate) fn has_leader(&self, broker_name: &str) -> bool {
        self.lock().groups.get(broker_name).is_some_and(|addrs| addrs.contains_key(&LEADER))
    }

    /// Whether to begin to look for the leader of a broker group: it is not known, and nobody is at it.
    pub(crate) fn begin_search(&self, broker_name: &str) -> bool {
        let mut state = self.lock();
        let is_leaderless = state.groups.get(broker_name).is_some_and(|addrs| !addrs.contains_key(&LEADER));
        is_leaderless && state.sought.insert(broker_name.to_owned())
    }

    /// Nobody is at it any more.
    pub(crate) fn end_search(&self, broker_name: &str) {
        self.lock().sought.remove(broker_name);
    }

    /// The addresses of a broker group, the leader first.
    pub(crate) fn addrs(&self, broker_name: &str) -> Vec<String> {
        self.lock().groups.get(broker_name).map(|addrs| addrs.values().cloned().collect()).unwrap_or_default()
    }
}

fn put_groups<'a>(state: &mut State, groups: impl IntoIterator<Item = &'a BrokerData>) {
    for group in groups {
        state.groups.insert(group.broker_name.clone(), group.broker_addrs.clone());
    }
}

/// Whether these are not a broker group's own queues but a follower's entrance to them, which exists for clients that cannot
/// find the leader otherwise.
#[must_use]
pub fn is_entrance(queues: &QueueData) -> bool {
    queues.read_queue_nums == 0 && group_of_entrance(&queues.broker_name).is_some()
}

/// Takes the entrances out of a cluster's table: a stock NameServer shows them as broker groups.
pub(crate) fn hide_entrances(cluster: &mut ClusterInfo) {
    let is_entrance = |(name, data): (&String, &BrokerData)| {
        let group = group_of_entrance(name).and_then(|group| cluster.broker_addr_table.get(group))?;
        let known = |addr: &String| group.broker_addrs.values().any(|other| other == addr);
        data.broker_addrs.values().all(known).then(|| name.clone())
    };
    let hidden: Vec<String> = cluster.broker_addr_table.iter().filter_map(is_entrance).collect();
    for name in hidden {
        cluster.broker_addr_table.remove(&name);
        cluster.cluster_addr_table.values_mut().for_each(|names| {
            names.remove(&name);
        });
    }
}

/// Queues that may be written, in the order every client counts them. Those of entrances are left out: this client finds
/// the leader itself.
pub(crate) fn write_queues(topic: &str, route: &TopicRouteData) -> Vec<MessageQueue> {
    queues(topic, route, |queue| {
        (perm::writable(queue.perm.unsigned_abs()) && !is_entrance(queue), queue.write_queue_nums)
    })
}

/// Queues that may be read.
pub(crate) fn read_queues(topic: &str, route: &TopicRouteData) -> Vec<MessageQueue> {
    queues(topic, route, |queue| (perm::readable(queue.perm.unsigned_abs()), queue.read_queue_nums))
}

fn queues(topic: &str, route: &TopicRouteData, usable: impl Fn(&QueueData) -> (bool, i32)) -> Vec<MessageQueue> {
    let mut queues = Vec::new();
    for data in &route.queue_datas {
        let (allowed, count) = usable(data);
        // A route is what a NameServer says; its numbers are not to size anything unchecked.
        let count = count.clamp(0, i32::try_from(timbermq_types::limits::QUEUES_MAX).unwrap_or(i32::MAX));
        if allowed {
            queues.extend((0..count).map(|queue| MessageQueue::new(topic, &data.broker_name, queue)));
        }
    }
    queues
}

#[cfg(test)]
mod tests {
    use timbermq_remoting::header::entrance_name;

    use super::*;

    fn data(name: &str, addrs: &[(i64, &str)]) -> BrokerData {
        BrokerData {
            broker_name: name.into(),
            broker_addrs: addrs.iter().map(|(id, addr)| (*id, (*addr).to_owned())).collect(),
            ..BrokerData::default()
        }
    }

    #[test]
    fn entrances_have_no_queues_of_their_own() {
        let queues = |name: &str, perm, read| QueueData {
            broker_name: name.into(),
            perm,
            read_queue_nums: read,
            write_queue_nums: 2,
            topic_sys_flag: 0,
        };
        let queue_datas = vec![queues("a", 6, 2), queues(&entrance_name("a", 2), 2, 0), queues("a-node-x", 6, 2)];
        let route = TopicRouteData { queue_datas, ..TopicRouteData::default() };
        let names = |queues: Vec<MessageQueue>| queues.into_iter().map(|queue| queue.broker_name).collect::<Vec<_>>();
        assert_eq!(names(write_queues("t", &route)), ["a", "a", "a-node-x", "a-node-x"]);
        assert_eq!(names(read_queues("t", &route)), ["a", "a", "a-node-x", "a-node-x"]);
    }

    #[test]
    fn entrances_are_no_groups_and_groups_with_such_names_are() {
        let mut cluster = ClusterInfo::default();
        for group in [
            data("a", &[(0, "h1:1"), (2, "h2:1")]),
            data("a-node-2", &[(0, "h2:1")]),
            data("a-node-3", &[(0, "h9:1")]),
            data("b-node-2", &[(0, "h2:1")]),
        ] {
            cluster.cluster_addr_table.entry("C".into()).or_default().insert(group.broker_name.clone());
            cluster.broker_addr_table.insert(group.broker_name.clone(), group);
        }
        hide_entrances(&mut cluster);
        assert_eq!(cluster.broker_addr_table.keys().collect::<Vec<_>>(), ["a", "a-node-3", "b-node-2"]);
        assert_eq!(cluster.cluster_addr_table["C"].len(), 3);
    }
}
