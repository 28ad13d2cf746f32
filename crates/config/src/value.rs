//! Values: text in, checked value out.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

use crate::Kind;

/// A checked value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Free text or one of a set of words.
    Text(String),
    /// A list of texts.
    List(Vec<String>),
    /// `true` or `false`.
    Bool(bool),
    /// A whole number.
    Number(u64),
    /// A length of time.
    Time(Duration),
    /// An amount of bytes.
    Bytes(u64),
    /// A part of a whole, 0 to 1.
    Ratio(f64),
}

/// Why a value was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{found:?} is not a valid value: expected {expected}")]
pub struct ValueError {
    /// What was written.
    pub found: String,
    /// What would have been right.
    pub expected: String,
}

impl Value {
    /// Reads `text` as a value of `kind`.
    ///
    /// # Errors
    /// [`ValueError`] with what was expected.
    pub fn parse(kind: &Kind, text: &str) -> Result<Self, ValueError> {
        let text = text.trim();
        let parsed = match kind {
            Kind::Text => Some(Value::Text(text.to_owned())),
            Kind::List => {
                Some(Value::List(text.split(',').map(str::trim).filter(|t| !t.is_empty()).map(str::to_owned).collect()))
            }
            Kind::Word(words) => words.contains(&text).then(|| Value::Text(text.to_owned())),
            Kind::Bool => text.parse().ok().map(Value::Bool),
            Kind::Number(min, max) => {
                text.replace('_', "").parse().ok().filter(|n| (min..=max).contains(&n)).map(Value::Number)
            }
            Kind::Time(min, max) => {
                humantime::parse_duration(text).ok().filter(|d| (min..=max).contains(&d)).map(Value::Time)
            }
            Kind::Bytes(min, max) => parse_bytes(text).filter(|n| (min..=max).contains(&n)).map(Value::Bytes),
            Kind::Ratio => parse_ratio(text).map(Value::Ratio),
        };
        parsed.ok_or_else(|| ValueError { found: text.to_owned(), expected: kind.describe() })
    }
}

fn parse_bytes(text: &str) -> Option<u64> {
    text.parse::<bytesize::ByteSize>().ok().map(|size| size.as_u64())
}

fn parse_ratio(text: &str) -> Option<f64> {
    let ratio = match text.strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.parse::<f64>().ok()?,
    };
    (0.0..=1.0).contains(&ratio).then_some(ratio)
}

impl fmt::Display for Value {
    /// Writes the value so that [`Value::parse`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) => f.write_str(text),
            Value::List(items) => f.write_str(&items.join(",")),
            Value::Bool(b) => b.fmt(f),
            Value::Number(n) => n.fmt(f),
            Value::Time(d) => humantime::format_duration(*d).fmt(f),
            Value::Bytes(n) => {
                // Only exact multiples may use a unit, so that what is shown is what is set.
                const UNITS: [(u64, &str); 4] =
                    [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
                match UNITS.iter().find(|(unit, _)| *n > 0 && n % unit == 0) {
                    Some((unit, name)) => write!(f, "{}{name}", n / unit),
                    None => write!(f, "{n}B"),
                }
            }
            Value::Ratio(r) => write!(f, "{r}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn units_are_read_and_bounds_are_kept() {
        let time = Kind::Time(Duration::from_millis(10), Duration::from_secs(60));
        assert_eq!(Value::parse(&time, "1s 500ms"), Ok(Value::Time(Duration::from_millis(1500))));
        assert!(Value::parse(&time, "5ms").is_err(), "below the lower bound");
        assert!(Value::parse(&time, "100").is_err(), "a time without a unit is ambiguous");
        let size = Kind::Bytes(1 << 20, u64::MAX);
        assert_eq!(Value::parse(&size, "1GiB"), Ok(Value::Bytes(1 << 30)));
        assert!(Value::parse(&size, "12").is_err());
        assert_eq!(Value::parse(&Kind::Ratio, "85%"), Ok(Value::Ratio(0.85)));
        assert!(Value::parse(&Kind::Ratio, "120%").is_err());
        assert!(Value::parse(&Kind::Word(&["a", "b"]), "c").unwrap_err().expected.contains("a, b"));
    }

    proptest! {
        #[test]
        fn what_is_shown_reads_back(n in 0u64..1 << 50, ms in 0u64..10_000_000_000) {
            let bytes = Value::Bytes(n);
            prop_assert_eq!(Value::parse(&Kind::Bytes(0, u64::MAX), &bytes.to_string()), Ok(bytes));
            let time = Value::Time(Duration::from_millis(ms));
            prop_assert_eq!(Value::parse(&Kind::Time(Duration::ZERO, Duration::MAX), &time.to_string()), Ok(time));
        }
    }
}
