//! Topic and group names, valid by construction.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::limits;

/// Prefix of the topic that carries a group's retries.
pub const RETRY_PREFIX: &str = "%RETRY%";
/// Prefix of the topic that carries what a group gave up on.
pub const DLQ_PREFIX: &str = "%DLQ%";

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// The name is empty.
    #[error("the specified {0} name is blank")]
    Blank(&'static str),
    /// The name is too long.
    #[error("the specified {what} name is longer than {max} characters")]
    TooLong {
        /// "topic" or "group".
        what: &'static str,
        /// Longest allowed length in characters.
        max: usize,
    },
    /// The name has a character outside `%|a-zA-Z0-9_-`.
    #[error("the specified {what} name contains the illegal character {found:?}; allowed are % | a-z A-Z 0-9 _ -")]
    Illegal {
        /// "topic" or "group".
        what: &'static str,
        /// The first offending character.
        found: char,
    },
}

fn check(what: &'static str, name: &str, max: usize) -> Result<(), NameError> {
    if name.is_empty() {
        return Err(NameError::Blank(what));
    }
    if let Some(found) = name.chars().find(|c| !(c.is_ascii_alphanumeric() || matches!(c, '%' | '|' | '_' | '-'))) {
        return Err(NameError::Illegal { what, found });
    }
    if name.len() > max {
        return Err(NameError::TooLong { what, max });
    }
    Ok(())
}

macro_rules! name_type {
    ($(#[$doc:meta])* $name:ident, $what:literal, $max:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks the characters and the length.
            ///
            /// # Errors
            /// [`NameError`] says what is wrong in the words that clients show.
            pub fn new(name: &str) -> Result<Self, NameError> {
                let max: fn(&str) -> usize = $max;
                check($what, name, max(name))?;
                Ok(Self(Arc::from(name)))
            }

            /// Whether both are clones of one value: quicker than to compare them, but equal names need not be.
            #[must_use]
            pub fn is_clone_of(&self, other: &Self) -> bool {
                Arc::ptr_eq(&self.0, &other.0)
            }

            /// The name as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl TryFrom<String> for $name {
            type Error = NameError;
            fn try_from(value: String) -> Result<Self, NameError> {
                Self::new(&value)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> String {
                value.0.as_ref().to_owned()
            }
        }

        impl Borrow<str> for $name {
            fn borrow(&self) -> &str {
                &self.0
            }
        }

        impl AsRef<str> for $name {
            fn as_ref(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

name_type!(
    /// A topic's name: 1 to 127 characters of `%|a-zA-Z0-9_-`, up to 255 for retry and DLQ topics.
    TopicName,
    "topic",
    |name| {
        if name.starts_with(RETRY_PREFIX) || name.starts_with(DLQ_PREFIX) {
            limits::DERIVED_TOPIC_CHARS_MAX
        } else {
            limits::TOPIC_CHARS_MAX
        }
    }
);
name_type!(
    /// A producer or consumer group's name: 1 to 120 characters of `%|a-zA-Z0-9_-`.
    GroupName,
    "group",
    |_| limits::GROUP_CHARS_MAX
);

impl TopicName {
    /// The topic that carries `group`'s retries.
    #[must_use]
    pub fn retry_of(group: &GroupName) -> Self {
        Self(Arc::from(format!("{RETRY_PREFIX}{group}")))
    }

    /// The topic that carries what `group` gave up on.
    #[must_use]
    pub fn dlq_of(group: &GroupName) -> Self {
        Self(Arc::from(format!("{DLQ_PREFIX}{group}")))
    }

    /// Whether this is some group's retry topic.
    #[must_use]
    pub fn is_retry(&self) -> bool {
        self.0.starts_with(RETRY_PREFIX)
    }

    /// Whether this is some group's DLQ topic.
    #[must_use]
    pub fn is_dlq(&self) -> bool {
        self.0.starts_with(DLQ_PREFIX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_longest_names_fit_and_one_more_does_not() {
        assert!(TopicName::new(&"t".repeat(127)).is_ok());
        assert!(TopicName::new(&"t".repeat(128)).is_err());
        assert!(TopicName::new(&format!("%RETRY%{}", "t".repeat(248))).is_ok());
        assert!(TopicName::new(&format!("%RETRY%{}", "t".repeat(249))).is_err());
        assert!(GroupName::new(&"g".repeat(120)).is_ok());
        assert!(GroupName::new(&"g".repeat(121)).is_err());
    }

    #[test]
    fn blank_and_illegal_names_are_refused_with_the_reason() {
        assert_eq!(TopicName::new(""), Err(NameError::Blank("topic")));
        assert_eq!(GroupName::new("a b"), Err(NameError::Illegal { what: "group", found: ' ' }));
        assert_eq!(TopicName::new("ü"), Err(NameError::Illegal { what: "topic", found: 'ü' }));
    }

    proptest! {
        #[test]
        fn a_valid_name_reads_back(name in "[%|a-zA-Z0-9_-]{1,120}") {
            let group = GroupName::new(&name).unwrap();
            prop_assert_eq!(group.as_str(), name.as_str());
            prop_assert!(TopicName::retry_of(&group).is_retry());
            prop_assert!(TopicName::dlq_of(&group).is_dlq());
        }

        #[test]
        fn any_text_is_refused_or_kept(name in ".{0,300}") {
            if let Ok(topic) = TopicName::new(&name) {
                prop_assert_eq!(topic.as_str(), name.as_str());
            }
        }
    }
}
