//! The 34 promises, by number.

use serde::{Deserialize, Serialize};

use crate::evidence::Evidence;
use crate::report::Findings;
use crate::rules;

/// Number of an invariant: `I1` to `I34`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Id(u8);

impl Id {
    /// The invariant with a number from 1 to 34.
    ///
    /// # Panics
    /// There is no such invariant.
    #[must_use]
    pub const fn new(number: u8) -> Self {
        assert!(number >= 1 && number as usize <= INVARIANTS_LEN, "invariants are numbered from 1 to 34");
        Self(number)
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> u8 {
        self.0
    }
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "I{}", self.0)
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.to_string()
    }
}

impl TryFrom<String> for Id {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl std::str::FromStr for Id {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_prefix('I').and_then(|digits| digits.parse::<u8>().ok());
        match number.filter(|number| (1..=INVARIANTS_LEN).contains(&usize::from(*number))) {
            Some(number) => Ok(Self(number)),
            None => Err(format!("{text:?} is no invariant; they are I1 to I{INVARIANTS_LEN}")),
        }
    }
}

/// How an invariant is judged.
#[derive(Clone, Copy)]
pub(crate) enum Judge {
    /// By this function.
    By(fn(&Evidence<'_>, &mut Findings)),
    /// The product does not have what it is about.
    NotBuilt,
}

/// One promise of the broker.
#[derive(Clone, Copy)]
pub struct Invariant {
    /// Its number.
    pub id: Id,
    /// What Jepsen calls its violation; empty if it has no name for it.
    pub jepsen: &'static str,
    /// The promise in one sentence.
    pub statement: &'static str,
    /// The more general invariant whose promise this one repeats for a special fault.
    pub restates: Option<Id>,
    pub(crate) judge: Judge,
}

impl Invariant {
    /// Whether the product has what it is about.
    #[must_use]
    pub const fn is_built(&self) -> bool {
        matches!(self.judge, Judge::By(_))
    }
}

impl std::fmt::Debug for Invariant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.id, self.statement)
    }
}

const INVARIANTS_LEN: usize = 34;

/// All invariants, in the order of their numbers.
pub static INVARIANTS: [Invariant; INVARIANTS_LEN] = [
    rules::presence::LOST,
    rules::identity::INCONSISTENT_OFFSETS,
    rules::density::HOLES,
    rules::order::APPEND,
    rules::order::PRODUCER,
    rules::origin::PHANTOM,
    rules::identity::DUPLICATE,
    rules::reading::SKIP,
    rules::presence::DISAPPEARED,
    rules::bounds::MAX_OFFSET,
    rules::progress::GROUP_OFFSET,
    rules::delivery::UNSEEN,
    rules::ownership::OWNER,
    rules::retries::RETRY,
    rules::locks::ORDER_LOCK,
    rules::transactions::DECISION,
    rules::transactions::CHECK_BACK,
    rules::delay::DELAYED,
    rules::reading::FILTER,
    rules::bounds::RETENTION,
    rules::pop::RECEIPT,
    rules::delivery::BROADCAST,
    rules::config::REGISTER,
    rules::leadership::SPLIT_BRAIN,
    rules::presence::FOLLOWER,
    rules::replicas::IDENTICAL,
    rules::replicas::SNAPSHOT,
    rules::presence::POWER_CUT,
    rules::presence::CORRUPTION,
    rules::service::LIVENESS,
    rules::service::CRASH,
    rules::queries::EXACT,
    rules::density::STORE_TIMES,
    rules::density::BATCH,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_registry_lists_every_number_once_in_order() {
        for (index, invariant) in INVARIANTS.iter().enumerate() {
            assert_eq!(usize::from(invariant.id.number()), index + 1, "{invariant:?}");
            assert!(!invariant.statement.is_empty());
        }
        let missing: Vec<u8> = INVARIANTS
            .iter()
            .filter(|invariant| !invariant.is_built())
            .map(|invariant| invariant.id.number())
            .collect();
        assert_eq!(missing, [16, 17, 18, 21]);
    }

    #[test]
    fn ids_are_written_as_people_write_them() {
        assert_eq!("I34".parse(), Ok(Id::new(34)));
        assert_eq!(serde_json::to_string(&Id::new(7)).unwrap(), "\"I7\"");
        for wrong in ["I0", "I35", "7", "i7", "I"] {
            assert!(wrong.parse::<Id>().is_err(), "{wrong}");
        }
    }
}
