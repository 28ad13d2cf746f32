//! What is known about one configuration key.

use std::time::Duration;

/// The type of a value, with its bounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// Free text.
    Text,
    /// A list of texts; commas separate them in the environment and in flags.
    List,
    /// One of these words.
    Word(&'static [&'static str]),
    /// `true` or `false`.
    Bool,
    /// A whole number within these bounds.
    Number(u64, u64),
    /// A length of time (`100ms`, `1.5s`, `72h`) within these bounds.
    Time(Duration, Duration),
    /// An amount of bytes (`64KiB`, `1GiB`) within these bounds.
    Bytes(u64, u64),
    /// A part of a whole (`85%` or `0.85`), 0 to 1.
    Ratio,
}

impl Kind {
    /// The type in words, for the reference page and for errors.
    #[must_use]
    pub fn describe(&self) -> String {
        match self {
            Kind::Text => "text".into(),
            Kind::List => "list of texts".into(),
            Kind::Word(words) => format!("one of {}", words.join(", ")),
            Kind::Bool => "true or false".into(),
            Kind::Number(min, max) if *max == u64::MAX => format!("number, {min} or more"),
            Kind::Number(min, max) => format!("number from {min} to {max}"),
            Kind::Time(min, max) => {
                format!("time from {} to {}", humantime::format_duration(*min), humantime::format_duration(*max))
            }
            Kind::Bytes(min, max) if *max == u64::MAX => {
                format!("size, {} or more", bytesize::ByteSize(*min).display())
            }
            Kind::Bytes(min, max) => {
                format!("size from {} to {}", bytesize::ByteSize(*min).display(), bytesize::ByteSize(*max).display())
            }
            Kind::Ratio => "ratio such as 85% or 0.85".into(),
        }
    }
}

/// Whose business a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Must be the same on every replica of a broker group.
    Group,
    /// May differ from node to node.
    Node,
}

/// Which process reads the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A broker replica.
    Server,
    /// A NameServer.
    Namesrv,
    /// Both.
    Any,
}

/// One configuration key.
#[derive(Clone, Copy, Debug)]
pub struct Key {
    /// Dotted name, as in TOML sections.
    pub name: &'static str,
    /// Type and bounds.
    pub kind: Kind,
    /// Default in the spelling a user would write; empty means unset.
    pub default: &'static str,
    /// Group-wide or per node.
    pub scope: Scope,
    /// Which process reads it.
    pub role: Role,
    /// The spelling of the same setting (same unit) in a RocketMQ properties file.
    pub alias: Option<&'static str>,
    /// One sentence.
    pub doc: &'static str,
}
