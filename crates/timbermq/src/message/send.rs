//! `timbermq message send`.

use std::io::{self, BufRead};

use clap::Args;
use serde_json::json;
use timbermq_client::{ClientError, QueueChoice, SendAck, SendRequest};
use timbermq_types::TopicName;

use crate::cli;
use crate::failure::Failure;
use crate::output::{self, Format};
use crate::session::{Session, is_topic_missing, wait_for_route};

/// Longest line taken from stdin: the longest body a broker takes.
const LINE_MAX: usize = 4 << 20;

/// Arguments of `message send`.
#[derive(Args, Debug)]
pub struct SendArgs {
    /// The topic
    #[arg(value_parser = cli::topic)]
    topic: TopicName,
    /// The body; - sends each line of stdin
    body: String,
    /// A key to find it by; may be repeated
    #[arg(long = "key", value_name = "KEY", value_parser = key)]
    keys: Vec<String>,
    /// Its tag
    #[arg(long)]
    tag: Option<String>,
    /// A property of your own; may be repeated
    #[arg(long = "property", value_name = "NAME=VALUE", value_parser = property)]
    properties: Vec<(String, String)>,
    /// The queue; by default in turn
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i32).range(0..))]
    queue: Option<i32>,
    /// How many times, one after the other
    #[arg(long, default_value_t = 1, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: u64,
}

fn property(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(name, _)| !name.is_empty());
    pair.map(|(name, value)| (name.to_owned(), value.to_owned())).ok_or_else(|| "write name=value".to_owned())
}

fn key(text: &str) -> Result<String, String> {
    match text.is_empty() || text.contains(char::is_whitespace) {
        true => Err("a key has no blanks: they separate keys".to_owned()),
        false => Ok(text.to_owned()),
    }
}

/// Sends, and prints a line for each message that is stored.
///
/// # Errors
/// The first message that is not acknowledged, saying whether it may be stored.
pub async fn run(session: &Session, format: Format, args: SendArgs) -> Result<(), Failure> {
    let topic = args.topic.as_str();
    let is_new = session.client.route(topic).await.is_err_and(|error| is_topic_missing(&error));
    if args.body == "-" {
        let mut input = io::stdin().lock();
        while let Some(line) = next_line(&mut input)? {
            repeat(session, format, &args, &line).await?;
        }
    } else {
        repeat(session, format, &args, &args.body).await?;
    }
    if is_new {
        // The broker made the topic; whoever runs `message tail` next should find it.
        wait_for_route(session, topic).await;
    }
    Ok(())
}

/// The next line without its end.
fn next_line(input: &mut impl BufRead) -> Result<Option<String>, Failure> {
    let failed = |error: io::Error| Failure::failed(format!("cannot read stdin: {error}"));
    let mut line = String::new();
    let mut bounded = io::Read::take(&mut *input, LINE_MAX as u64 + 1);
    if bounded.read_line(&mut line).map_err(failed)? == 0 {
        return Ok(None);
    }
    let text = line.trim_end_matches(['\n', '\r']);
    if text.len() > LINE_MAX {
        return Err(Failure::failed("a line of stdin is longer than the longest message"));
    }
    line.truncate(text.len());
    Ok(Some(line))
}

async fn repeat(session: &Session, format: Format, args: &SendArgs, body: &str) -> Result<(), Failure> {
    for _ in 0..args.count {
        let ack = send(session, args, body).await.map_err(|error| explain(args.topic.as_str(), error))?;
        print(format, &ack)?;
    }
    Ok(())
}

async fn send(session: &Session, args: &SendArgs, body: &str) -> Result<SendAck, ClientError> {
    let queue = match args.queue {
        Some(queue_id) => QueueChoice::Queue { broker_name: None, queue_id },
        None => QueueChoice::RoundRobin,
    };
    let request = SendRequest {
        queue,
        tags: args.tag.clone(),
        keys: args.keys.clone(),
        properties: args.properties.clone(),
        timeout: session.timeout,
        ..SendRequest::new(args.topic.as_str(), body.to_owned())
    };
    session.client.send(request).await
}

fn explain(topic: &str, error: ClientError) -> Failure {
    if is_topic_missing(&error) {
        return Failure::failed(format!("topic {topic} does not exist; make it with: timbermq topic create {topic}"));
    }
    let fate = if error.is_unknown() { "the message may be stored or not" } else { "the message is not stored" };
    Failure::failed(format!("{fate}: {error}"))
}

fn print(format: Format, ack: &SendAck) -> Result<(), Failure> {
    match format {
        Format::Table => {
            output::line(&format!("queue {}  offset {}  id {}", ack.queue.queue_id, ack.offset, ack.message_id))
        }
        Format::Json => output::line(
            &json!({
                "broker": ack.queue.broker_name, "queue": ack.queue.queue_id, "offset": ack.offset,
                "messageId": ack.message_id, "uniqueKey": ack.unique_key,
            })
            .to_string(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn properties_and_keys_are_checked() {
        assert_eq!(property("a=b=c"), Ok(("a".into(), "b=c".into())));
        assert!(property("=b").is_err() && property("a").is_err());
        assert!(key("k-1").is_ok() && key("two words").is_err() && key("").is_err());
    }

    #[test]
    fn lines_lose_their_end_and_the_last_needs_none() {
        let mut input = io::Cursor::new("a\r\n\nb");
        let mut lines = Vec::new();
        while let Some(line) = next_line(&mut input).unwrap() {
            lines.push(line);
        }
        assert_eq!(lines, ["a", "", "b"]);
        let mut input = io::Cursor::new("x".repeat(LINE_MAX + 1));
        assert!(next_line(&mut input).is_err());
    }

    #[test]
    fn a_failure_says_whether_the_message_may_be_stored() {
        let unknown = ClientError::Unknown { code: None, addr: "a:1".into(), reason: "no response in time".into() };
        let Failure::Failed(error) = explain("t", unknown) else { panic!("wrong kind") };
        assert!(error.to_string().starts_with("the message may be stored or not:"), "{error}");
    }
}
