//! Who leads, as the NameServer of a local cluster says.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::dev::plan::GROUP;
use crate::session::Session;

/// Pause between two questions. What is measured is longer than this by far.
const POLL: Duration = Duration::from_millis(5);
/// Longest wait for one answer.
pub const ASK_MAX: Duration = Duration::from_secs(1);

/// Address by BrokerId; empty when nobody is registered or the NameServer does not answer.
pub async fn registered(session: &Session) -> BTreeMap<i64, String> {
    let cluster = session.client.cluster_info().await.unwrap_or_default();
    cluster.broker_addr_table.get(GROUP).map(|group| group.broker_addrs.clone()).unwrap_or_default()
}

/// Decides when a leader that was just killed has been replaced.
#[derive(Debug)]
pub struct Takeover {
    /// The dead leader.
    before: String,
    /// Whether its registration has been seen to be gone.
    gone: bool,
}

impl Takeover {
    /// After the leader at `before` was killed.
    pub fn from(before: &str) -> Self {
        Self { before: before.to_owned(), gone: false }
    }

    /// The leader that took over, given who is registered as leader now. The dead one's registration is not counted until
    /// it was seen to be gone: then it is a new one, of a replica that was started again.
    pub fn leader(&mut self, now: Option<&String>) -> Option<String> {
        match now {
            None => {
                self.gone = true;
                None
            }
            Some(leader) if *leader == self.before && !self.gone => None,
            Some(leader) => Some(leader.clone()),
        }
    }
}

/// Waits until somebody else leads.
pub async fn takeover(session: &Session, before: &str, limit: Duration) -> Option<String> {
    let mut takeover = Takeover::from(before);
    let end = Instant::now() + limit;
    while Instant::now() < end {
        if let Some(leader) = takeover.leader(registered(session).await.get(&0)) {
            return Some(leader);
        }
        tokio::time::sleep(POLL).await;
    }
    None
}

/// Waits until there is a leader.
pub async fn leader(session: &Session) -> String {
    loop {
        if let Some(leader) = registered(session).await.remove(&0) {
            return leader;
        }
        tokio::time::sleep(POLL * 4).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_leaders_old_registration_is_no_takeover() {
        let (a, b) = ("a:1".to_owned(), "b:1".to_owned());
        let mut takeover = Takeover::from(&a);
        assert_eq!(takeover.leader(Some(&a)), None, "the NameServer has not noticed yet");
        assert_eq!(takeover.leader(Some(&b)), Some(b));
        let mut takeover = Takeover::from(&a);
        assert_eq!(takeover.leader(None), None);
        assert_eq!(takeover.leader(Some(&a)), Some(a), "it was started again and leads again");
    }
}
