//! The key=value words of the command line.

use std::collections::HashMap;
use std::fmt;

use crate::Result;

/// The stock client has no such function; the text is the reason.
#[derive(Debug)]
pub struct Unsupported(pub String);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Unsupported {}

/// A wrong command line.
#[derive(Debug)]
pub struct Usage(pub String);

impl fmt::Display for Usage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Usage {}

const SEND: &[&str] = &[
    "namesrv",
    "topic",
    "group",
    "id",
    "count",
    "kind",
    "queues",
    "batch",
    "tags",
    "rate",
    "body_bytes",
    "timeout_ms",
    "window",
    "start",
    "trigger",
];
const CONSUME: &[&str] = &["namesrv", "topic", "group", "tag", "kind", "instance", "from", "threads", "fail_first"];

pub struct Arguments(HashMap<String, String>);

impl Arguments {
    pub fn parse(verb: &str, words: &[String]) -> Result<Self> {
        let known: Option<&[&str]> = match verb {
            "send" => Some(SEND),
            "consume" => Some(CONSUME),
            "version" => Some(&[]),
            _ => None, // refused before its keys matter
        };
        let pair = |word: &String| match word.split_once('=') {
            Some((key, value)) if !key.is_empty() => {
                if known.is_some_and(|known| !known.contains(&key)) {
                    return Err(Usage(format!("{verb} has no argument {key}")).into());
                }
                Ok((key.to_owned(), value.to_owned()))
            }
            _ => Err(Usage(format!("argument {word:?} is not key=value")).into()),
        };
        words.iter().map(pair).collect::<Result<_>>().map(Self)
    }

    pub fn text(&self, key: &str, otherwise: &str) -> String {
        self.0.get(key).map_or(otherwise, String::as_str).to_owned()
    }

    pub fn required(&self, key: &str) -> Result<String> {
        match self.0.get(key) {
            Some(value) if !value.is_empty() => Ok(value.clone()),
            _ => Err(Usage(format!("argument {key}= is missing")).into()),
        }
    }

    pub fn number(&self, key: &str, otherwise: u32, least: u32) -> Result<u32> {
        let Some(value) = self.0.get(key) else { return Ok(otherwise) };
        match value.parse() {
            Ok(number) if number >= least => Ok(number),
            _ => Err(Usage(format!("argument {key}={value} is not a number of at least {least}")).into()),
        }
    }

    /// One of the allowed values; the first is the default.
    pub fn choice(&self, key: &str, allowed: &[&str]) -> Result<String> {
        let value = self.text(key, allowed[0]);
        if allowed.contains(&value.as_str()) {
            return Ok(value);
        }
        Err(Usage(format!("argument {key}={value} is not one of {}", allowed.join(", "))).into())
    }
}
