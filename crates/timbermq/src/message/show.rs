//! `timbermq message show`.

use clap::{ArgGroup, Args};
use serde_json::Value;
use timbermq_client::{Client, Message, MessageQueue};
use timbermq_types::{TopicName, UnixMillis};

use crate::cli;
use crate::failure::Failure;
use crate::message::{preview, text, value};
use crate::output::{self, Format};
use crate::session::{Session, about_topic};
use crate::time;

/// Most messages with one key that are shown.
const FOUND_MAX: i32 = 32;

/// Arguments of `message show`.
#[derive(Args, Debug)]
#[command(group(ArgGroup::new("what").required(true).args(["id", "key", "unique", "offset"])))]
pub struct ShowArgs {
    /// The message id that a send returned
    id: Option<String>,
    /// The topic
    #[arg(long, value_parser = cli::topic, required_unless_present = "id", conflicts_with = "id")]
    topic: Option<TopicName>,
    /// All messages with this key
    #[arg(long, requires = "topic")]
    key: Option<String>,
    /// The message with this unique key, the id that its producer gave it
    #[arg(long, value_name = "KEY", requires = "topic")]
    unique: Option<String>,
    /// The message at --offset of this queue
    #[arg(long, value_name = "NUMBER", requires = "offset", value_parser = clap::value_parser!(i32).range(0..))]
    queue: Option<i32>,
    /// The message at this offset of --queue
    #[arg(long, value_name = "OFFSET", requires_all = ["topic", "queue"], value_parser = clap::value_parser!(i64).range(0..))]
    offset: Option<i64>,
}

/// Finds and prints messages.
///
/// # Errors
/// There is none.
pub async fn run(session: &Session, format: Format, args: &ShowArgs) -> Result<(), Failure> {
    let client = &session.client;
    let topic = args.topic.as_ref().map_or("", TopicName::as_str);
    let found = if let Some(id) = &args.id {
        vec![client.view_message(id).await?]
    } else if let Some(key) = &args.key {
        let always = UnixMillis(0)..=UnixMillis(i64::MAX.unsigned_abs());
        client.query_by_key(topic, key, FOUND_MAX, always).await.map_err(about_topic(topic))?
    } else if let Some(key) = &args.unique {
        client.query_by_unique_key(topic, key).await.map_err(about_topic(topic))?.into_iter().collect()
    } else {
        let (queue, offset) = (args.queue.unwrap_or_default(), args.offset.unwrap_or_default());
        at(client, topic, queue, offset).await?
    };
    if found.is_empty() {
        return Err(Failure::failed("no such message"));
    }
    let values: Value = found.iter().map(value).collect();
    output::either(format, &values, || found.iter().map(describe).collect::<Vec<_>>().join("\n\n"))
}

/// The messages at a place, one of each broker group that has such a queue.
async fn at(client: &Client, topic: &str, queue_id: i32, offset: i64) -> Result<Vec<Message>, Failure> {
    let queues = client.read_queues(topic).await.map_err(about_topic(topic))?;
    let queues: Vec<&MessageQueue> = queues.iter().filter(|queue| queue.queue_id == queue_id).collect();
    if queues.is_empty() {
        return Err(Failure::failed(format!("topic {topic} has no queue {queue_id}")));
    }
    let mut found = Vec::new();
    for queue in queues {
        let pulled = client.pull(queue, offset, 1, None).await?;
        found.extend(pulled.messages.into_iter().filter(|message| message.queue_offset == offset));
    }
    Ok(found)
}

fn describe(message: &Message) -> String {
    let utc = |at: UnixMillis| time::utc(i64::try_from(at.0).unwrap_or(i64::MAX));
    let mut lines = vec![
        format!("topic        {}", message.topic),
        format!("queue        {}", message.queue_id),
        format!("offset       {}", message.queue_offset),
        format!("message id   {}", message.message_id),
        format!("unique key   {}", message.unique_key().unwrap_or("-")),
        format!("stored       {}", utc(message.stored)),
        format!("born         {} by {}", utc(message.born), message.born_host),
        format!("retries      {}", message.reconsume_times),
    ];
    for (name, value) in &message.properties {
        lines.push(format!("property     {}={}", name.escape_debug(), value.escape_debug()));
    }
    lines.push(format!("body         {} bytes", message.body.len()));
    lines.push(text(message).map_or_else(|| preview(message), str::to_owned));
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use crate::cli::Cli;
    use clap::Parser;

    #[test]
    fn a_message_is_named_in_one_of_four_ways() {
        let parse = |args: &str| Cli::try_parse_from(format!("timbermq message show {args}").split_whitespace());
        for good in ["7F0000", "--topic t --key k", "--topic t --unique u", "--topic t --queue 0 --offset 5"] {
            assert!(parse(good).is_ok(), "{good}");
        }
        for bad in ["", "--topic t", "--key k", "ID --topic t", "--topic t --queue 1", "--topic t --key k --unique u"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
