//! Where a pull stands relative to its queue: the table of reading rules.

use timbermq_types::QueueOffset;

/// What to do with a pull from some offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// There are messages from this offset on.
    Read(QueueOffset),
    /// Nothing there yet: hold the pull if it may be held, else answer 19 with the same offset.
    Wait,
    /// The offset is outside the queue and the client is to go on here (21). Only a replica that has reached the group's
    /// latest state may say so: clients store the new offset at once.
    Moved(QueueOffset),
}

/// Decides for offset `from` (as the client sent it) of a queue holding `min..max`.
#[must_use]
pub fn decide(from: i64, min: QueueOffset, max: QueueOffset) -> Decision {
    let Ok(from) = u64::try_from(from) else {
        return Decision::Moved(min);
    };
    let from = QueueOffset(from);
    if max.0 == 0 {
        // A queue that never held anything: only its very beginning is a place to wait at.
        return if from.0 == 0 { Decision::Wait } else { Decision::Moved(QueueOffset(0)) };
    }
    if from < min {
        Decision::Moved(min)
    } else if from == max {
        Decision::Wait
    } else if from > max {
        Decision::Moved(max)
    } else {
        Decision::Read(from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reading_rules() {
        let q = QueueOffset;
        for (from, min, max, expected) in [
            (0, 0, 0, Decision::Wait),
            (3, 0, 0, Decision::Moved(q(0))),
            (2, 3, 9, Decision::Moved(q(3))),
            (3, 3, 9, Decision::Read(q(3))),
            (8, 3, 9, Decision::Read(q(8))),
            (9, 3, 9, Decision::Wait),
            (10, 3, 9, Decision::Moved(q(9))),
            (-1, 3, 9, Decision::Moved(q(3))),
            (9, 9, 9, Decision::Wait),
            (0, 9, 9, Decision::Moved(q(9))),
        ] {
            assert_eq!(decide(from, q(min), q(max)), expected, "{from} in {min}..{max}");
        }
    }
}
