//! `timbermq topic`.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use clap::{Args, Subcommand};
use serde_json::{Value, json};
use timbermq_client::{Client, TopicSettings, is_entrance};
use timbermq_remoting::body::{JsonBody, TopicConfig, TopicConfigTable, TopicList, TopicRouteData};
use timbermq_remoting::{RemotingCommand, RequestCode};
use timbermq_types::limits::QUEUES_MAX;
use timbermq_types::{PERM_INHERIT, PERM_READ, PERM_WRITE, TopicName, perm};

use crate::cli::{self, Global};
use crate::failure::Failure;
use crate::output::{self, Format, Rows, plural};
use crate::session::{self, Session, about_topic};
use crate::time;

/// Verbs of `timbermq topic`.
#[derive(Debug, Subcommand)]
pub enum TopicCommand {
    /// List topics
    List {
        /// Also those of the system, of retries and of dead letters
        #[arg(long)]
        all: bool,
    },
    /// Show a topic's queues with their bounds
    Show {
        /// The topic
        #[arg(value_parser = cli::topic)]
        name: TopicName,
    },
    /// Create a topic, or change it
    Create(CreateArgs),
    /// Delete a topic and its messages
    Delete {
        /// The topic
        #[arg(value_parser = cli::topic)]
        name: TopicName,
    },
    /// Show where clients find a topic
    Route {
        /// The topic
        #[arg(value_parser = cli::topic)]
        name: TopicName,
    },
}

/// Arguments of `topic create`.
#[derive(Args, Debug)]
pub struct CreateArgs {
    /// The topic
    #[arg(value_parser = cli::topic)]
    name: TopicName,
    /// Queues in each broker group
    #[arg(long, default_value_t = 8, value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..=i64::from(QUEUES_MAX)))]
    queues: u32,
    /// What clients may do: r, w or rw
    #[arg(long, default_value = "rw", value_parser = parse_perm)]
    perm: u32,
    /// Only in this broker group
    #[arg(long, value_name = "NAME")]
    broker: Option<String>,
}

/// Runs `timbermq topic`.
///
/// # Errors
/// The topic does not exist, or nobody answers.
pub fn run(global: &Global, command: TopicCommand) -> Result<(), Failure> {
    let format = global.output;
    session::run(global, |session| async move {
        match command {
            TopicCommand::List { all } => list(&session, format, all).await,
            TopicCommand::Show { name } => show(&session, format, name.as_str()).await,
            TopicCommand::Create(args) => create(&session, format, &args).await,
            TopicCommand::Delete { name } => delete(&session, format, name.as_str()).await,
            TopicCommand::Route { name } => {
                let route = session.client.route(name.as_str()).await.map_err(about_topic(name.as_str()))?;
                output::either(format, &route_json(&route), || route_table(&route))
            }
        }
    })
}

async fn list(session: &Session, format: Format, all: bool) -> Result<(), Failure> {
    let mut rows = Rows::new(&["TOPIC", "BROKER", "READ QUEUES", "WRITE QUEUES", "PERM"]);
    let mut items = Vec::new();
    for broker in session.broker_names(None).await? {
        let request = RemotingCommand::request(RequestCode::GET_ALL_TOPIC_CONFIG);
        let table: TopicConfigTable = ask(&session.client, &broker, request).await?;
        let hidden = if all { BTreeSet::new() } else { system_topics(&session.client, &broker).await? };
        for config in table.topic_config_table.values() {
            if all || !(is_derived(&config.topic_name) || hidden.contains(&config.topic_name)) {
                items.push(config_json(&broker, config));
                rows.push([
                    config.topic_name.clone(),
                    broker.clone(),
                    config.read_queue_nums.to_string(),
                    config.write_queue_nums.to_string(),
                    show_perm(config.perm),
                ]);
            }
        }
    }
    if items.is_empty() && format == Format::Table {
        eprintln!("no topics yet; the first send makes one, and so does: timbermq topic create NAME");
    }
    output::either(format, &Value::from(items), || rows.render())
}

fn is_derived(topic: &str) -> bool {
    TopicName::new(topic).is_ok_and(|topic| topic.is_retry() || topic.is_dlq())
}

async fn system_topics(client: &Client, broker: &str) -> Result<BTreeSet<String>, Failure> {
    let request = RemotingCommand::request(RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_BROKER);
    let list: TopicList = ask(client, broker, request).await?;
    Ok(list.topic_list.into_iter().collect())
}

async fn ask<B: JsonBody>(client: &Client, broker: &str, request: RemotingCommand) -> Result<B, Failure> {
    let answer = client.call_broker(broker, request).await?;
    B::from_json(&answer.body)
        .map_err(|error| Failure::failed(format!("{broker} gave an answer that cannot be read: {error}")))
}

async fn show(session: &Session, format: Format, topic: &str) -> Result<(), Failure> {
    let route = session.client.route(topic).await.map_err(about_topic(topic))?;
    let mut rows = Rows::new(&["BROKER", "QUEUE", "FIRST", "NEXT", "MESSAGES", "LAST STORED"]);
    let mut items = Vec::new();
    let mut total = 0_i64;
    for queues in route.queue_datas.iter().filter(|queues| !is_entrance(queues)) {
        let stats = session.client.topic_stats(&queues.broker_name, topic).await?;
        for (queue, bounds) in &stats.offset_table {
            let count = bounds.max_offset.saturating_sub(bounds.min_offset);
            total = total.saturating_add(count);
            items.push(json!({
                "broker": queue.broker_name, "queue": queue.queue_id, "first": bounds.min_offset,
                "next": bounds.max_offset, "messages": count, "lastStoredMs": bounds.last_update_timestamp,
            }));
            rows.push([
                queue.broker_name.clone(),
                queue.queue_id.to_string(),
                bounds.min_offset.to_string(),
                bounds.max_offset.to_string(),
                count.to_string(),
                if bounds.last_update_timestamp > 0 { time::utc(bounds.last_update_timestamp) } else { "-".into() },
            ]);
        }
    }
    let value = json!({"topic": topic, "messages": total, "route": route_json(&route), "queues": items});
    output::either(format, &value, || {
        let own = route.queue_datas.iter().filter(|queues| !is_entrance(queues));
        let perms: Vec<String> = own.map(|queues| show_perm(queues.perm)).collect();
        format!("{topic}: {} messages, permission {}\n\n{}", total, perms.join(", "), rows.render())
    })
}

async fn create(session: &Session, format: Format, args: &CreateArgs) -> Result<(), Failure> {
    let settings = TopicSettings {
        read_queues: args.queues,
        write_queues: args.queues,
        perm: args.perm,
        ..TopicSettings::default()
    };
    let topic = args.name.as_str();
    let brokers = session.broker_names(args.broker.as_deref()).await?;
    for broker in &brokers {
        session.client.put_topic(broker, topic, &settings).await?;
    }
    if !is_routed(session, topic, &brokers).await {
        eprintln!("the topic exists, but the NameServer does not name it yet");
    }
    let value =
        json!({"topic": topic, "queues": args.queues, "perm": show_perm(args.perm.cast_signed()), "brokers": brokers});
    output::either(format, &value, || {
        format!("topic {topic} has {} in {}", plural(args.queues as usize, "queue"), brokers.join(", "))
    })
}

/// Waits until clients can find the topic: brokers register what is new a moment after it exists.
async fn is_routed(session: &Session, topic: &str, brokers: &[String]) -> bool {
    const PAUSE: Duration = Duration::from_millis(20);
    let end = Instant::now() + session.timeout;
    loop {
        let route = session.client.refresh_route(topic).await;
        let knows = |broker: &String| {
            route.as_ref().is_ok_and(|route| route.queue_datas.iter().any(|queues| queues.broker_name == *broker))
        };
        if brokers.iter().all(knows) {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn delete(session: &Session, format: Format, topic: &str) -> Result<(), Failure> {
    // Brokers take a deletion of what is not there for done; a misspelt name should show.
    session.client.route(topic).await.map_err(about_topic(topic))?;
    session.client.delete_topic(topic).await?;
    output::either(format, &json!({"topic": topic, "deleted": true}), || format!("topic {topic} is deleted"))
}

fn parse_perm(text: &str) -> Result<u32, String> {
    match text {
        "r" => Ok(PERM_READ),
        "w" => Ok(PERM_WRITE),
        "rw" | "wr" => Ok(PERM_READ | PERM_WRITE),
        _ => Err("write r, w or rw".to_owned()),
    }
}

fn show_perm(bits: i32) -> String {
    let bits = bits.cast_unsigned();
    let mut text = String::new();
    for (set, letter) in [(perm::readable(bits), 'r'), (perm::writable(bits), 'w'), (bits & PERM_INHERIT != 0, 'i')] {
        if set {
            text.push(letter);
        }
    }
    if text.is_empty() { "none".to_owned() } else { text }
}

fn config_json(broker: &str, config: &TopicConfig) -> Value {
    json!({
        "topic": config.topic_name, "broker": broker, "readQueues": config.read_queue_nums,
        "writeQueues": config.write_queue_nums, "perm": show_perm(config.perm), "order": config.order,
        "attributes": config.attributes,
    })
}

fn route_table(route: &TopicRouteData) -> String {
    let mut rows = Rows::new(&["BROKER", "BROKERID", "ADDRESS", "READ QUEUES", "WRITE QUEUES", "PERM"]);
    for broker in &route.broker_datas {
        let queues = route.queue_datas.iter().find(|queues| queues.broker_name == broker.broker_name);
        let shown = |number: Option<i32>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        for (id, address) in &broker.broker_addrs {
            rows.push([
                broker.broker_name.clone(),
                id.to_string(),
                address.clone(),
                shown(queues.map(|queues| queues.read_queue_nums)),
                shown(queues.map(|queues| queues.write_queue_nums)),
                queues.map_or_else(|| "-".to_owned(), |queues| show_perm(queues.perm)),
            ]);
        }
    }
    rows.render()
}

fn route_json(route: &TopicRouteData) -> Value {
    let addresses = |broker: &timbermq_remoting::body::BrokerData| -> Value {
        broker.broker_addrs.iter().map(|(id, address)| json!({"brokerId": id, "address": address})).collect()
    };
    let brokers: Vec<Value> = route
        .broker_datas
        .iter()
        .map(|broker| json!({"broker": broker.broker_name, "cluster": broker.cluster, "addresses": addresses(broker)}))
        .collect();
    let queues: Vec<Value> = route
        .queue_datas
        .iter()
        .map(|queues| {
            json!({
                "broker": queues.broker_name, "readQueues": queues.read_queue_nums,
                "writeQueues": queues.write_queue_nums, "perm": show_perm(queues.perm),
            })
        })
        .collect();
    json!({"brokers": brokers, "queues": queues})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn permissions_are_letters() {
        for text in ["r", "w", "rw"] {
            assert_eq!(show_perm(parse_perm(text).unwrap().cast_signed()), text);
        }
        assert_eq!((show_perm(7), show_perm(0)), ("rwi".into(), "none".into()));
        assert!(parse_perm("x").is_err());
    }

    #[test]
    fn retry_and_dead_letter_topics_are_derived() {
        assert!(is_derived("%RETRY%g") && is_derived("%DLQ%g") && !is_derived("orders"));
    }
}
