//! `timbermq message tail`.

use std::collections::{BTreeMap, VecDeque};
use std::str::FromStr;
use std::time::SystemTime;

use clap::Args;
use timbermq_client::{Message, TailFrom};
use timbermq_types::TopicName;

use crate::cli;
use crate::failure::Failure;
use crate::message::history::{From, History};
use crate::message::line;
use crate::output::{self, Format};
use crate::session::{Session, about_topic};
use crate::time;

/// Messages that may wait to be printed.
const BUFFER: usize = 1024;
/// Most messages of `--from -N`, which are held in memory.
const LAST_MAX: u64 = 10_000;

/// Arguments of `message tail`.
#[derive(Args, Debug)]
pub struct TailArgs {
    /// The topic
    #[arg(value_parser = cli::topic)]
    topic: TopicName,
    /// Where to begin: earliest, latest, -10 (the last ten), or a time (2026-01-31T12:00:00Z, -15m)
    #[arg(long, default_value = "latest", allow_hyphen_values = true, value_name = "POINT")]
    from: From,
    /// Only messages with one of these tags: TagA, or TagA||TagB
    #[arg(long, value_name = "TAGS")]
    tag: Option<String>,
    /// Stop after so many messages
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// Wait for new messages (the default)
    #[arg(short, long, overrides_with = "no_follow")]
    follow: bool,
    /// Stop at the present end
    #[arg(long)]
    no_follow: bool,
}

impl FromStr for From {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "earliest" => return Ok(From::Earliest),
            "latest" => return Ok(From::Latest),
            _ => {}
        }
        if let Some(count) = text.strip_prefix('-').and_then(|count| count.parse().ok()) {
            return match count {
                1..=LAST_MAX => Ok(From::Last(count)),
                _ => Err(format!("at most the last {LAST_MAX} messages; write a time instead, such as -15m")),
            };
        }
        let point = time::parse_point(text, SystemTime::now()).map(From::Time);
        point.ok_or_else(|| "write earliest, latest, -10, or a time such as 2026-01-31T12:00:00Z or -15m".to_owned())
    }
}

/// Prints messages until the count is reached, the end is (with `--no-follow`), or nobody reads.
///
/// # Errors
/// The topic does not exist, or cannot be read.
pub async fn run(session: &Session, format: Format, args: &TailArgs) -> Result<(), Failure> {
    let topic = args.topic.as_str();
    let mut printer = Printer { format, tags: args.tag.as_deref().map(tags), left: args.count };
    // It begins before the history ends, so that nothing falls in between; what both have is printed once.
    let tail = match args.no_follow {
        true => None,
        false => Some(session.client.tail(topic, TailFrom::Latest, BUFFER).await.map_err(about_topic(topic))?),
    };
    let mut history = History::open(&session.client, topic, args.from).await.map_err(about_topic(topic))?;
    let ends = history.ends();
    if let From::Last(count) = args.from {
        // Only the end of what the queues give is of the last N.
        let mut last = VecDeque::new();
        while let Some(message) = history.next().await? {
            if printer.wants(&message) {
                last.push_back(message);
                if last.len() as u64 > count {
                    last.pop_front();
                }
            }
        }
        for message in &last {
            if printer.print(message)?.is_done() {
                return Ok(());
            }
        }
    } else {
        while let Some(message) = history.next().await? {
            if printer.print(&message)?.is_done() {
                return Ok(());
            }
        }
    }
    let Some(mut tail) = tail else { return Ok(()) };
    if args.from == From::Latest && format == Format::Table {
        eprintln!("waiting for messages in {topic}; Ctrl-C ends");
    }
    while let Some(next) = tail.next().await {
        match next {
            Ok(message) if is_history(&ends, &message) => {}
            Ok(message) => {
                if printer.print(&message)?.is_done() {
                    break;
                }
            }
            Err(error) => eprintln!("{error}; trying again"),
        }
    }
    Ok(())
}

/// Whether a message was part of the history. Message ids name no broker group, but a queue of a group does not shrink:
/// only when all groups had this offset has it been printed.
fn is_history(ends: &BTreeMap<timbermq_client::MessageQueue, i64>, message: &Message) -> bool {
    let mut same = ends.iter().filter(|(queue, _)| queue.queue_id == message.queue_id).peekable();
    same.peek().is_some() && same.all(|(_, end)| message.queue_offset < *end)
}

fn tags(text: &str) -> Vec<String> {
    text.split("||").map(str::trim).filter(|tag| !tag.is_empty() && *tag != "*").map(str::to_owned).collect()
}

/// Whether there is more to print.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Progress {
    More,
    Done,
}

impl Progress {
    fn is_done(self) -> bool {
        self == Progress::Done
    }
}

struct Printer {
    format: Format,
    tags: Option<Vec<String>>,
    left: Option<u64>,
}

impl Printer {
    fn wants(&self, message: &Message) -> bool {
        match &self.tags {
            Some(tags) if !tags.is_empty() => message.tags().is_some_and(|tag| tags.iter().any(|one| one == tag)),
            _ => true,
        }
    }

    fn print(&mut self, message: &Message) -> Result<Progress, Failure> {
        if !self.wants(message) {
            return Ok(Progress::More);
        }
        output::line(&line(self.format, message))?;
        if let Some(left) = &mut self.left {
            *left -= 1;
        }
        Ok(if self.left == Some(0) { Progress::Done } else { Progress::More })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::message;
    use timbermq_client::MessageQueue;

    #[test]
    fn beginnings_are_read() {
        assert_eq!("earliest".parse(), Ok(From::Earliest));
        assert_eq!("latest".parse(), Ok(From::Latest));
        assert_eq!("-10".parse(), Ok(From::Last(10)));
        assert!(matches!("-15m".parse(), Ok(From::Time(_))));
        assert!(matches!("2026-01-31T12:00:00Z".parse(), Ok(From::Time(1_769_860_800_000))));
        for bad in ["", "-0", "-10001", "10", "yesterday"] {
            assert!(bad.parse::<From>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn tags_are_alternatives() {
        let wants = |text: &str| {
            Printer { format: Format::Table, tags: Some(tags(text)), left: None }.wants(&message(0, 0, b""))
        };
        assert!(wants("TagA") && wants("TagB || TagA") && wants("*") && !wants("TagB"));
    }

    #[test]
    fn what_the_history_had_is_not_printed_again() {
        let ends = BTreeMap::from([(MessageQueue::new("t", "b", 0), 5), (MessageQueue::new("t", "b", 1), 0)]);
        assert!(is_history(&ends, &message(0, 4, b"")));
        assert!(!is_history(&ends, &message(0, 5, b"")));
        assert!(!is_history(&ends, &message(1, 0, b"")));
        assert!(!is_history(&ends, &message(2, 0, b"")), "a queue that was added later");
    }
}
