//! `timbermq message`.

mod history;
mod send;
mod show;
mod tail;

use std::io::IsTerminal;

use clap::Subcommand;
use serde_json::{Value, json};
use timbermq_client::Message;

use crate::cli::Global;
use crate::failure::Failure;
use crate::output::Format;
use crate::session;
use crate::time;

/// Verbs of `timbermq message`.
#[derive(Debug, Subcommand)]
pub enum MessageCommand {
    /// Send a message, or one for each line of stdin
    Send(send::SendArgs),
    /// Print messages as they come; consumes nothing
    Tail(tail::TailArgs),
    /// Show one message, by its id, key or place
    Show(show::ShowArgs),
}

/// Runs `timbermq message`.
///
/// # Errors
/// A send that is not acknowledged, a message that is not there, or nobody answers.
pub fn run(global: &Global, command: MessageCommand) -> Result<(), Failure> {
    let format = global.output;
    session::run(global, |session| async move {
        match command {
            MessageCommand::Send(args) => send::run(&session, format, args).await,
            MessageCommand::Tail(args) => tail::run(&session, format, &args).await,
            MessageCommand::Show(args) => show::run(&session, format, &args).await,
        }
    })
}

/// The body as text, when it is text that is safe to print.
fn text(message: &Message) -> Option<&str> {
    let printable = |text: &&str| text.chars().all(|c| !c.is_control() || matches!(c, '\n' | '\r' | '\t'));
    if message.is_compressed() { None } else { std::str::from_utf8(&message.body).ok().filter(printable) }
}

/// The body for a person: text as it is, anything else in hexadecimal, in one line.
fn preview(message: &Message) -> String {
    /// Bytes of a body shown in hexadecimal.
    const HEX_BYTES: usize = 32;
    match text(message) {
        Some(text) => text.replace('\n', "\\n").replace('\r', "\\r"),
        None => {
            let shown = &message.body[..message.body.len().min(HEX_BYTES)];
            let rest = if message.body.len() > HEX_BYTES { "…" } else { "" };
            let kind = if message.is_compressed() { "compressed " } else { "" };
            format!("({kind}{} bytes) {}{rest}", message.body.len(), hex(shown))
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn value(message: &Message) -> Value {
    let mut value = json!({
        "topic": message.topic,
        "queue": message.queue_id,
        "offset": message.queue_offset,
        "messageId": message.message_id,
        "uniqueKey": message.unique_key(),
        "storedMs": message.stored.0,
        "bornMs": message.born.0,
        "bornHost": message.born_host.to_string(),
        "reconsumeTimes": message.reconsume_times,
        "properties": message.properties,
    });
    // One of the two: a body that is not text has no place in JSON otherwise.
    match text(message) {
        Some(text) => value["body"] = text.into(),
        None => value["bodyHex"] = hex(&message.body).into(),
    }
    value
}

/// One line about a message.
fn line(format: Format, message: &Message) -> String {
    match format {
        Format::Json => value(message).to_string(),
        Format::Table => {
            let stored = time::utc(i64::try_from(message.stored.0).unwrap_or(i64::MAX));
            let tags = message.tags().map(|tags| format!(" [{tags}]")).unwrap_or_default();
            let place = format!("{}:{}", message.queue_id, message.queue_offset);
            let place = if std::io::stdout().is_terminal() { format!("{place:<8}") } else { place };
            format!("{stored}  {place}{tags}  {}", preview(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;
    use timbermq_types::UnixMillis;

    pub(super) fn message(queue_id: i32, queue_offset: i64, body: &[u8]) -> Message {
        Message {
            topic: "t".into(),
            queue_id,
            queue_offset,
            position: 0,
            message_id: "ID".into(),
            body: body.to_vec().into(),
            properties: BTreeMap::from([("TAGS".to_owned(), "TagA".to_owned())]),
            flag: 0,
            sys_flag: 0,
            born: UnixMillis(0),
            born_host: "127.0.0.1:1".parse().unwrap(),
            stored: UnixMillis(1_000_000_000_000),
            reconsume_times: 0,
        }
    }

    #[test]
    fn a_message_is_one_line_whatever_is_in_it() {
        let shown = |body: &[u8]| line(Format::Table, &message(3, 41, body));
        assert_eq!(shown(b"hello"), "2001-09-09T01:46:40.000Z  3:41 [TagA]  hello");
        assert!(shown(b"a\nb\r").ends_with("a\\nb\\r"));
        assert!(shown(&[0x1b, b'[', b'2', b'J']).ends_with("(4 bytes) 1b5b324a"), "no escape reaches the terminal");
        assert!(shown(&[0xff; 40]).ends_with(&format!("(40 bytes) {}…", "ff".repeat(32))));
        let json: Value = serde_json::from_str(&line(Format::Json, &message(3, 41, b"x"))).unwrap();
        assert_eq!((json["body"].as_str(), json["offset"].as_i64()), (Some("x"), Some(41)));
        let json: Value = serde_json::from_str(&line(Format::Json, &message(3, 41, &[0xff]))).unwrap();
        assert_eq!(json["bodyHex"], "ff");
    }
}
