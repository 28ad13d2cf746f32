//! `timbermq group`: consumer groups.

use std::collections::BTreeMap;
use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use timbermq_client::{ClientError, is_entrance};
use timbermq_remoting::body::{ConsumeOffset, ConsumerConnection, JsonBody, MessageQueue, ResetOffsetBody};
use timbermq_remoting::header::ResetOffsetHeader;
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_types::{GroupName, TopicName};

use crate::cli::{self, Global};
use crate::failure::Failure;
use crate::output::{self, Format, Rows, plural};
use crate::session::{self, Session, about_topic};
use crate::time;

/// Verbs of `timbermq group`.
#[derive(Debug, Subcommand)]
pub enum GroupCommand {
    /// List consumer groups
    List {
        /// Also those of tools and of the system
        #[arg(long)]
        all: bool,
    },
    /// Show a group's settings, members and subscriptions
    Show {
        /// The group
        #[arg(value_parser = cli::group)]
        name: GroupName,
    },
    /// Show how far a group is behind, queue by queue
    Lag {
        /// The group
        #[arg(value_parser = cli::group)]
        name: GroupName,
    },
    /// Move a group in a topic; connected members are told to jump
    Reset(ResetArgs),
    /// Delete a group and its offsets
    Delete {
        /// The group
        #[arg(value_parser = cli::group)]
        name: GroupName,
    },
}

/// Arguments of `group reset`.
#[derive(Args, Debug)]
pub struct ResetArgs {
    /// The group
    #[arg(value_parser = cli::group)]
    name: GroupName,
    /// The topic
    #[arg(long, value_parser = cli::topic)]
    topic: TopicName,
    /// Where to: earliest, latest, a time (2026-01-31T12:00:00Z, -15m), or with --queue an offset
    #[arg(long, allow_hyphen_values = true, value_name = "POINT")]
    to: Target,
    /// Only this queue
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    queue: Option<i32>,
}

/// Where a group is moved to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    Earliest,
    Latest,
    Time(i64),
    Offset(i64),
}

impl std::str::FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => return Ok(Target::Earliest),
            "latest" => return Ok(Target::Latest),
            _ => {}
        }
        if let Some(point) = time::parse_point(text, SystemTime::now()) {
            return Ok(Target::Time(point));
        }
        text.parse().ok().filter(|offset| *offset >= 0).map(Target::Offset).ok_or_else(|| {
            "write earliest, latest, an offset, or a time such as 2026-01-31T12:00:00Z or -15m".to_owned()
        })
    }
}

/// Runs `timbermq group`.
///
/// # Errors
/// The group does not exist, or nobody answers.
pub fn run(global: &Global, command: GroupCommand) -> Result<(), Failure> {
    let format = global.output;
    session::run(global, |session| async move {
        match command {
            GroupCommand::List { all } => list(&session, format, all).await,
            GroupCommand::Show { name } => show(&session, format, name.as_str()).await,
            GroupCommand::Lag { name } => lag(&session, format, name.as_str()).await,
            GroupCommand::Reset(args) => reset(&session, format, &args).await,
            GroupCommand::Delete { name } => delete(&session, format, name.as_str()).await,
        }
    })
}

/// Whether a group belongs to tools or to the system: looking at messages makes one too.
fn is_system(group: &str) -> bool {
    const NAMES: [&str; 4] = ["DEFAULT_CONSUMER", "TOOLS_CONSUMER", "SELF_TEST_C_GROUP", "FILTERSRV_CONSUMER"];
    NAMES.contains(&group) || group.starts_with("CID_RMQ_SYS_") || group.starts_with("CID_ONS")
}

async fn list(session: &Session, format: Format, all: bool) -> Result<(), Failure> {
    let mut rows = Rows::new(&["GROUP", "BROKER", "MEMBERS", "RETRIES", "ENABLED"]);
    let mut items = Vec::new();
    for broker in session.broker_names(None).await? {
        for (name, config) in session.client.group_list(&broker).await? {
            if !all && is_system(&name) {
                continue;
            }
            let members = members(session, &broker, &name).await?.map_or(0, |members| members.connection_set.len());
            items.push(json!({
                "group": name, "broker": broker, "members": members, "retriesMax": config.retry_max_times,
                "enabled": config.consume_enable,
            }));
            rows.push([
                name,
                broker.clone(),
                members.to_string(),
                config.retry_max_times.to_string(),
                if config.consume_enable { "yes" } else { "no" }.to_owned(),
            ]);
        }
    }
    output::either(format, &Value::from(items), || rows.render())
}

/// The members of a group; `None` when nobody is connected.
async fn members(session: &Session, broker: &str, group: &str) -> Result<Option<ConsumerConnection>, Failure> {
    let offline = |error: &ClientError| {
        error.code() == Some(ResponseCode::CONSUMER_NOT_ONLINE)
            // What brokers without a code for it say.
            || matches!(error, ClientError::Unknown { reason, .. } if reason.contains("not online"))
    };
    match session.client.consumer_connections(broker, group).await {
        Ok(members) => Ok(Some(members)),
        Err(error) if offline(&error) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

async fn show(session: &Session, format: Format, group: &str) -> Result<(), Failure> {
    let mut configs = Vec::new();
    let mut connected: BTreeMap<String, Value> = BTreeMap::new();
    let mut subscriptions: BTreeMap<String, String> = BTreeMap::new();
    let mut rows = Rows::new(&["CLIENT", "ADDRESS", "LANGUAGE", "VERSION"]);
    for broker in session.broker_names(None).await? {
        let Some(config) = session.client.group_list(&broker).await?.remove(group) else { continue };
        let Some(members) = members(session, &broker, group).await? else {
            configs.push((broker, config));
            continue;
        };
        for member in members.connection_set {
            let value = json!({
                "client": member.client_id, "address": member.client_addr, "language": member.language, "version": member.version,
            });
            // Members are connected to every broker group.
            if connected.insert(member.client_id.clone(), value).is_none() {
                rows.push([member.client_id, member.client_addr, member.language, member.version.to_string()]);
            }
        }
        subscriptions.extend(members.subscription_table.into_iter().map(|(topic, data)| (topic, data.sub_string)));
        configs.push((broker, config));
    }
    let Some((_, config)) = configs.first() else { return Err(missing(group)) };
    let value = json!({
        "group": group,
        "brokers": configs.iter().map(|(broker, _)| broker).collect::<Vec<_>>(),
        "enabled": config.consume_enable,
        "broadcast": config.consume_broadcast_enable,
        "orderly": config.consume_message_orderly,
        "retriesMax": config.retry_max_times,
        "retryQueues": config.retry_queue_nums,
        "members": connected.values().collect::<Vec<_>>(),
        "subscriptions": subscriptions,
    });
    output::either(format, &value, || {
        let mut text = format!(
            "{group}: {}, up to {} retries, {} connected",
            if config.consume_enable { "enabled" } else { "disabled" },
            config.retry_max_times,
            plural(connected.len(), "member")
        );
        for (topic, expression) in &subscriptions {
            text.push_str(&format!("\nsubscribes to {topic} ({expression})"));
        }
        if !connected.is_empty() {
            text.push_str(&format!("\n\n{}", rows.render()));
        }
        text
    })
}

fn missing(group: &str) -> Failure {
    Failure::failed(format!("consumer group {group} does not exist"))
}

/// Messages between where a group is and the end of the queue.
fn behind(offset: &ConsumeOffset) -> i64 {
    offset.broker_offset.saturating_sub(offset.consumer_offset.max(0)).max(0)
}

async fn lag(session: &Session, format: Format, group: &str) -> Result<(), Failure> {
    let mut rows = Rows::new(&["TOPIC", "BROKER", "QUEUE", "NEXT", "CONSUMED TO", "LAG", "LAST CONSUMED"]);
    let mut items = Vec::new();
    let mut total = 0_i64;
    let mut found = false;
    for broker in session.broker_names(None).await? {
        if !session.client.group_list(&broker).await?.contains_key(group) {
            continue;
        }
        found = true;
        let stats = match session.client.consume_stats(&broker, group).await {
            Ok(stats) => stats,
            // A group that never consumed has no positions; stock brokers call that an error.
            Err(error) if session::is_topic_missing(&error) => continue,
            Err(error) => return Err(error.into()),
        };
        for (queue, offset) in &stats.offset_table {
            let lag = behind(offset);
            total = total.saturating_add(lag);
            items.push(lag_json(queue, offset, lag));
            rows.push([
                queue.topic.clone(),
                queue.broker_name.clone(),
                queue.queue_id.to_string(),
                offset.broker_offset.to_string(),
                offset.consumer_offset.to_string(),
                lag.to_string(),
                if offset.last_timestamp > 0 { time::utc(offset.last_timestamp) } else { "-".to_owned() },
            ]);
        }
    }
    if !found {
        return Err(missing(group));
    }
    output::either(format, &json!({"group": group, "lag": total, "queues": items}), || {
        format!("{group} is {} behind\n\n{}", plural(usize::try_from(total).unwrap_or(0), "message"), rows.render())
    })
}

fn lag_json(queue: &MessageQueue, offset: &ConsumeOffset, lag: i64) -> Value {
    json!({
        "topic": queue.topic, "broker": queue.broker_name, "queue": queue.queue_id, "next": offset.broker_offset,
        "consumed": offset.consumer_offset, "lag": lag, "lastConsumedMs": offset.last_timestamp,
    })
}

async fn reset(session: &Session, format: Format, args: &ResetArgs) -> Result<(), Failure> {
    let topic = args.topic.as_str();
    let (offset, timestamp) = match args.to {
        Target::Earliest => (None, 0),
        Target::Latest => (None, -1),
        Target::Time(at) => (None, at),
        Target::Offset(offset) if args.queue.is_some() => (Some(offset), 0),
        Target::Offset(_) => {
            return Err(Failure::Usage("an offset belongs to one queue: add --queue NUMBER".to_owned()));
        }
    };
    let header = ResetOffsetHeader {
        topic: topic.to_owned(),
        group: args.name.to_string(),
        queue_id: args.queue.unwrap_or(-1),
        offset,
        timestamp,
        is_force: true,
    };
    let mut rows = Rows::new(&["BROKER", "QUEUE", "OFFSET"]);
    let mut items = Vec::new();
    let route = session.client.route(topic).await.map_err(about_topic(topic))?;
    for queues in route.queue_datas.iter().filter(|queues| !is_entrance(queues)) {
        let request = RemotingCommand::request(RequestCode::INVOKE_BROKER_TO_RESET_OFFSET).with_header(&header);
        let answer = session.client.call_broker(&queues.broker_name, request).await?;
        let done = ResetOffsetBody::from_json(&answer.body).map_err(|error| {
            Failure::failed(format!("{} gave an answer that cannot be read: {error}", queues.broker_name))
        })?;
        for (queue, offset) in done.offset_table {
            items.push(json!({"broker": queue.broker_name, "queue": queue.queue_id, "offset": offset}));
            rows.push([queue.broker_name, queue.queue_id.to_string(), offset.to_string()]);
        }
    }
    let value = json!({"group": args.name.as_str(), "topic": topic, "queues": items});
    output::either(format, &value, || rows.render())
}

async fn delete(session: &Session, format: Format, group: &str) -> Result<(), Failure> {
    let mut deleted = Vec::new();
    for broker in session.broker_names(None).await? {
        if session.client.group_list(&broker).await?.contains_key(group) {
            session.client.delete_group(&broker, group, true).await?;
            deleted.push(broker);
        }
    }
    if deleted.is_empty() {
        return Err(missing(group));
    }
    let value = json!({"group": group, "deleted": true, "brokers": deleted});
    output::either(format, &value, || format!("consumer group {group} is deleted in {}", deleted.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_words_offsets_or_times() {
        assert_eq!("earliest".parse(), Ok(Target::Earliest));
        assert_eq!("latest".parse(), Ok(Target::Latest));
        assert_eq!("17".parse(), Ok(Target::Offset(17)));
        assert_eq!("2001-09-09T01:46:40Z".parse(), Ok(Target::Time(1_000_000_000_000)));
        assert!(matches!("-15m".parse(), Ok(Target::Time(_))));
        for bad in ["", "soon", "-15", "1.5"] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_group_without_an_offset_is_behind_by_everything() {
        let at = |broker_offset, consumer_offset| ConsumeOffset {
            broker_offset,
            consumer_offset,
            ..ConsumeOffset::default()
        };
        assert_eq!((behind(&at(10, 4)), behind(&at(10, -1)), behind(&at(3, 5))), (6, 10, 0));
    }
}
