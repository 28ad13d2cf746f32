//! Topics that exist from the start.

use timbermq_machine::PutTopic;
use timbermq_types::{PERM_INHERIT, PERM_READ, PERM_WRITE, TopicConfig, TopicName};

use crate::context::{BrokerSettings, Context};

/// Topic whose settings automatically created topics inherit. Clients ask for its route when a topic has none.
pub(crate) const AUTO_CREATE_TOPIC: &str = "TBW102";

/// Topics that clients and tools expect and users may not delete.
pub const SYSTEM_TOPICS: &[&str] = &[
    "SELF_TEST_TOPIC",
    AUTO_CREATE_TOPIC,
    "BenchmarkTest",
    "OFFSET_MOVED_EVENT",
    "SCHEDULE_TOPIC_XXXX",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "RMQ_SYS_TRACE_TOPIC",
];

/// System topics that clients may not send to.
pub(crate) const WRITE_PROTECTED: &[&str] = &[
    "SCHEDULE_TOPIC_XXXX",
    "RMQ_SYS_TRANS_HALF_TOPIC",
    "RMQ_SYS_TRANS_OP_HALF_TOPIC",
    "TRANS_CHECK_MAX_TIME_TOPIC",
    "SELF_TEST_TOPIC",
    "OFFSET_MOVED_EVENT",
];

/// Whether the broker itself needs this topic.
pub(crate) fn is_system(settings: &BrokerSettings, topic: &str) -> bool {
    SYSTEM_TOPICS.contains(&topic)
        || topic == settings.cluster
        || topic == settings.group
        || topic == reply_topic(settings)
}

/// The topic through which replies travel.
pub(crate) fn reply_topic(settings: &BrokerSettings) -> String {
    format!("{}_REPLY_TOPIC", settings.cluster)
}

fn wanted(settings: &BrokerSettings) -> Vec<TopicConfig> {
    let all = PERM_READ | PERM_WRITE | PERM_INHERIT;
    let rw = PERM_READ | PERM_WRITE;
    let reply = reply_topic(settings);
    let mut topics = vec![
        ("SELF_TEST_TOPIC", 1, rw),
        ("BenchmarkTest", 16, rw),
        ("OFFSET_MOVED_EVENT", 1, rw),
        (settings.cluster.as_str(), 16, all),
        (settings.group.as_str(), 1, all),
        (reply.as_str(), 1, rw),
    ];
    if settings.auto_create_topic {
        topics.push((AUTO_CREATE_TOPIC, settings.auto_create_queues, all));
    }
    topics
        .into_iter()
        // A cluster's name may hold characters that a topic's may not; such a topic is of no use to anybody.
        .filter_map(|(name, queues, perm)| {
            Some(TopicConfig { perm, ..TopicConfig::new(TopicName::new(name).ok()?, queues) })
        })
        .collect()
}

/// Creates the system topics that are missing. Called when this replica starts to lead.
pub(crate) async fn create_missing(context: &Context) {
    for config in wanted(&context.settings) {
        if context.view().topic(config.name.as_str()).is_none() {
            let name = config.name.clone();
            if let Err(error) = context.propose(PutTopic { config, if_absent: true }.into()).await {
                tracing::warn!(topic = %name, %error, "broker.system_topic_missing");
                return;
            }
        }
    }
}
