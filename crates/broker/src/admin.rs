//! What tools ask about a broker: 26 and 28.

use std::collections::BTreeMap;

use timbermq_remoting::RemotingCommand;
use timbermq_remoting::body::{JsonBody, KvTable};
use timbermq_remoting::header::GetBrokerConfigResponseHeader;

use crate::context::{Call, Context};
use crate::outcome::Failure;
use crate::{status, topics};

/// Figures of this replica. Tools parse some of them, so every key that they read is there; what has no counterpart
/// here is 0.
pub(crate) async fn runtime_info(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let state = status::describe(context).await;
    let (groups, consumers, producers) = context.membership().counts();
    let used = state.disk_total_bytes.saturating_sub(state.disk_available_bytes);
    #[allow(clippy::cast_precision_loss)] // a ratio for people
    let ratio = if state.disk_total_bytes == 0 { 0.0 } else { used as f64 / state.disk_total_bytes as f64 };
    let uptime = context.env.mono().since(context.started);
    let boot = context.env.wall().0.saturating_sub(u64::try_from(uptime.as_millis()).unwrap_or(0));
    let queues = context.view().queues();
    let stored: u64 = queues.iter().map(|(_, _, bounds)| bounds.max.0 - bounds.min.0).sum();
    let seconds = uptime.as_secs();
    let mut table = BTreeMap::new();
    let mut put = |key: &str, value: String| {
        table.insert(key.to_owned(), value);
    };
    put("brokerVersionDesc", "V5_2_0".into());
    put("brokerVersion", timbermq_remoting::version::CURRENT_VERSION.to_string());
    put("brokerName", state.group.clone());
    put("brokerActive", (state.role == "leader").to_string());
    put("bootTimestamp", boot.to_string());
    put("startAcceptSendRequestTimeStamp", "0".into());
    put(
        "runtime",
        format!(
            "[ {} days, {} hours, {} minutes, {} seconds ]",
            seconds / 86_400,
            seconds / 3_600 % 24,
            seconds / 60 % 60,
            seconds % 60
        ),
    );
    put("commitLogMinOffset", state.log_begin.to_string());
    put("commitLogMaxOffset", state.log_end.to_string());
    put("commitLogDiskRatio", format!("{ratio:.4}"));
    put("consumeQueueDiskRatio", format!("{ratio:.4}"));
    put(
        "commitLogDirCapacity",
        format!("Total : {} B, Free : {} B.", state.disk_total_bytes, state.disk_available_bytes),
    );
    put("msgPutTotalTodayNow", stored.to_string());
    for key in [
        "msgPutTotalTodayMorning",
        "msgPutTotalYesterdayMorning",
        "msgGetTotalTodayNow",
        "msgGetTotalTodayMorning",
        "msgGetTotalYesterdayMorning",
        "sendThreadPoolQueueSize",
        "pullThreadPoolQueueSize",
        "ackThreadPoolQueueSize",
        "queryThreadPoolQueueSize",
        "sendThreadPoolQueueHeadWaitTimeMills",
        "pullThreadPoolQueueHeadWaitTimeMills",
        "ackThreadPoolQueueHeadWaitTimeMills",
        "queryThreadPoolQueueHeadWaitTimeMills",
        "sendThreadPoolQueueCapacity",
        "pullThreadPoolQueueCapacity",
        "ackThreadPoolQueueCapacity",
        "queryThreadPoolQueueCapacity",
        "EndTransactionQueueSize",
        "EndTransactionThreadPoolQueueCapacity",
        "pageCacheLockTimeMills",
        "dispatchBehindBytes",
        "earliestMessageTimeStamp",
        "timerReadBehind",
        "timerOffsetBehind",
        "timerCongestNum",
        "timerEnqueueTps",
        "timerDequeueTps",
        "putMessageEntireTimeMax",
        "getMessageEntireTimeMax",
        "putMessageFailedTimes",
        "remainTransientStoreBufferNumbs",
        "remainHowManyDataToCommit",
        "remainHowManyDataToFlush",
    ] {
        put(key, "0".into());
    }
    // Three rates, over 10, 60 and 600 seconds; tools read the first. Both spellings are read, by different generations.
    for key in ["putTps", "getTransferredTps", "getTransferedTps", "getTotalTps", "getFoundTps", "getMissTps"] {
        put(key, "0.0 0.0 0.0".into());
    }
    put("timbermq.role", state.role.clone());
    put("timbermq.term", state.term.to_string());
    put("timbermq.durability", state.durability.clone());
    put("timbermq.applied", state.applied.map_or_else(String::new, |applied| applied.to_string()));
    put("timbermq.committed", state.committed.map_or_else(String::new, |committed| committed.to_string()));
    put("timbermq.consumerGroups", groups.to_string());
    put("timbermq.consumers", consumers.to_string());
    put("timbermq.producers", producers.to_string());
    put("timbermq.version", state.version.clone());
    Ok(call.ok().with_body(KvTable { table }.to_json()))
}

/// The settings of this replica as properties text.
pub(crate) async fn config(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let settings = &context.settings;
    let me = settings.me();
    let text = [
        ("brokerClusterName", settings.cluster.clone()),
        ("brokerName", settings.group.clone()),
        ("brokerId", context.broker_id().to_string()),
        ("namesrvAddr", settings.namesrv.join(";")),
        ("brokerIP1", settings.store_host.ip().to_string()),
        ("listenPort", settings.store_host.port().to_string()),
        ("autoCreateTopicEnable", settings.auto_create_topic.to_string()),
        ("autoCreateSubscriptionGroup", settings.auto_create_group.to_string()),
        ("defaultTopicQueueNums", settings.auto_create_queues.to_string()),
        ("maxMessageSize", settings.message_bytes.to_string()),
        ("slaveReadEnable", settings.follower_reads.to_string()),
        ("timbermq.node", me.node.to_string()),
        ("timbermq.durability", settings.durability.to_string()),
    ]
    .map(|(key, value)| format!("{key}={value}\n"))
    .concat();
    let version =
        serde_json::to_string(&topics::version(context)).map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(call.ok().with_header(&GetBrokerConfigResponseHeader { version }).with_body(text))
}
