//! What clients and administrators ask.

use std::collections::BTreeMap;

use timbermq_remoting::body::{BrokerData, BrokerMemberGroup, ClusterInfo, TopicList, TopicRouteData};

use crate::kv::ORDER_TOPIC_NAMESPACE;
use crate::table::{Group, RouteTable};

/// Flag bit of a topic of a unit.
const SYS_FLAG_UNIT: i32 = 1;
/// Flag bit of a topic with subscriptions of units.
const SYS_FLAG_UNIT_SUB: i32 = 2;

/// Legacy kinds of topics of multi-unit deployments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UnitTopics {
    /// Topics of a unit.
    Unit,
    /// Topics with subscriptions of units.
    UnitSub,
    /// Topics with subscriptions of units that are not of a unit themselves.
    UnitSubNotUnit,
}

impl RouteTable {
    /// Where a topic's queues are; `None` if no broker has it.
    #[must_use]
    pub fn route(&self, topic: &str) -> Option<TopicRouteData> {
        let queues = self.topics.get(topic)?;
        let groups = queues.keys().filter_map(|name| Some(broker_data(name, self.groups.get(name)?)));
        Some(TopicRouteData {
            broker_datas: groups.collect(),
            filter_server_table: BTreeMap::new(),
            order_topic_conf: self.kv.get(ORDER_TOPIC_NAMESPACE, topic).map(str::to_owned),
            queue_datas: queues.values().cloned().collect(),
        })
    }

    /// The address registered as id 0 of a broker group, and the state version it registered with: the term it leads in.
    #[must_use]
    pub fn leader(&self, broker_name: &str) -> Option<(&str, i64)> {
        let member = self.groups.get(broker_name)?.members.get(&0)?;
        Some((&member.addr, member.data_version.state_version))
    }

    /// All broker groups; entrances to them are not groups.
    #[must_use]
    pub fn cluster_info(&self) -> ClusterInfo {
        let mut info = ClusterInfo::default();
        for (name, group) in self.groups.iter().filter(|(_, group)| group.entrance_of.is_none()) {
            info.broker_addr_table.insert(name.clone(), broker_data(name, group));
            info.cluster_addr_table.entry(group.cluster.clone()).or_default().insert(name.clone());
        }
        info
    }

    /// All topics.
    #[must_use]
    pub fn topic_list(&self) -> TopicList {
        TopicList { broker_addr: None, topic_list: self.topics.keys().cloned().collect() }
    }

    /// The topics of a cluster.
    #[must_use]
    pub fn topics_of_cluster(&self, cluster: &str) -> TopicList {
        self.topics_where(|queues| {
            queues.iter().any(|(name, _)| self.groups.get(name).is_some_and(|group| group.cluster == cluster))
        })
    }

    /// The names of clusters and broker groups, under which brokers have topics of their own; and some broker's address.
    #[must_use]
    pub fn system_topic_list(&self) -> TopicList {
        let clusters = self.groups.values().map(|group| group.cluster.clone());
        let names = self.groups.iter().filter(|(_, group)| group.entrance_of.is_none()).map(|(name, _)| name.clone());
        let mut topic_list: Vec<_> = clusters.chain(names).collect();
        topic_list.sort_unstable();
        topic_list.dedup();
        let some_broker = self.groups.values().find_map(|group| group.members.values().next());
        TopicList { broker_addr: some_broker.map(|broker| broker.addr.clone()), topic_list }
    }

    /// Topics of multi-unit deployments.
    #[must_use]
    pub fn unit_topics(&self, kind: UnitTopics) -> TopicList {
        self.topics_where(|queues| {
            // The flag is the topic's; brokers have the same.
            let flag = queues.values().next().map_or(0, |queue| queue.topic_sys_flag);
            let (unit, unit_sub) = (flag & SYS_FLAG_UNIT != 0, flag & SYS_FLAG_UNIT_SUB != 0);
            match kind {
                UnitTopics::Unit => unit,
                UnitTopics::UnitSub => unit_sub,
                UnitTopics::UnitSubNotUnit => unit_sub && !unit,
            }
        })
    }

    /// The live members of a broker group.
    #[must_use]
    pub fn member_group(&self, broker_name: &str) -> Option<BrokerMemberGroup> {
        let BrokerData { broker_addrs, broker_name, cluster, .. } =
            broker_data(broker_name, self.groups.get(broker_name)?);
        Some(BrokerMemberGroup { broker_addrs, broker_name, cluster })
    }

    fn topics_where(
        &self,
        mut wanted: impl FnMut(&BTreeMap<String, timbermq_remoting::body::QueueData>) -> bool,
    ) -> TopicList {
        let topics = self.topics.iter().filter(|(_, queues)| wanted(queues));
        TopicList { broker_addr: None, topic_list: topics.map(|(topic, _)| topic.clone()).collect() }
    }
}

fn broker_data(name: &str, group: &Group) -> BrokerData {
    BrokerData {
        broker_addrs: group.members.iter().map(|(id, member)| (*id, member.addr.clone())).collect(),
        broker_name: name.to_owned(),
        cluster: group.cluster.clone(),
        enable_acting_master: group.enable_acting_master,
        zone_name: None,
    }
}
