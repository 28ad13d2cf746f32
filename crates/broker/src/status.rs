//! The group's state for `timbermq cluster status` and for checks: two request codes of our own.

use serde::{Deserialize, Serialize};
use timbermq_remoting::{RemotingCommand, RequestCode};
use timbermq_replica::Role;

use crate::context::{Call, Context};
use crate::outcome::Failure;

/// Asks a replica for its view of the group. Answer body: [`GroupStatus`] as JSON.
pub const GROUP_STATUS: RequestCode = RequestCode(30_001);
/// Asks a replica for digests of its log and its state. Answer body: [`StateDigest`] as JSON. Reads everything: slow.
pub const STATE_DIGEST: RequestCode = RequestCode(30_002);

/// One replica's view of its group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupStatus {
    /// Cluster name.
    pub cluster: String,
    /// Broker group name.
    pub group: String,
    /// The replica that answers.
    pub node: u64,
    /// Its slot.
    pub slot: u32,
    /// The id clients address it by.
    pub broker_id: u64,
    /// `leader`, `leader-without-quorum`, `follower` or `electing`.
    pub role: String,
    /// Raft term.
    pub term: u64,
    /// The leader as this replica knows it.
    pub leader: Option<u64>,
    /// Index of its last log entry.
    pub last: Option<u64>,
    /// Highest entry known to be committed.
    pub committed: Option<u64>,
    /// Last entry applied.
    pub applied: Option<u64>,
    /// Highest entry that is durable in its own log.
    pub durable: Option<u64>,
    /// Last entry purged.
    pub purged: Option<u64>,
    /// First byte of its CommitLog.
    pub log_begin: u64,
    /// End of its CommitLog in bytes.
    pub log_end: u64,
    /// What an acknowledgement proves.
    pub durability: String,
    /// Bytes of the file system that holds its data.
    pub disk_total_bytes: u64,
    /// Of them, available.
    pub disk_available_bytes: u64,
    /// Program version.
    pub version: String,
    /// All replicas of the group.
    pub members: Vec<MemberStatus>,
}

/// One replica in a [`GroupStatus`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStatus {
    /// Raft id.
    pub node: u64,
    /// Slot.
    pub slot: u32,
    /// Broker address.
    pub broker: String,
    /// Last entry known to be on that replica; only the leader knows.
    pub matched: Option<u64>,
}

/// Digests that must be equal on all replicas at an equal applied entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StateDigest {
    /// Last entry applied.
    pub applied: Option<u64>,
    /// First entry of the log that the log digest covers.
    pub log_from: u64,
    /// CRC over term, index and payload of the entries from `log_from` to the applied one.
    pub log_crc: u32,
    /// Digest over what was applied, entry by entry.
    pub rolling: u64,
    /// CRC over all derived state: small state, queue rows, key index.
    pub state_crc: u32,
}

/// Header field of [`STATE_DIGEST`]: the first entry to cover.
const LOG_FROM: &str = "logFrom";

/// Answers [`GROUP_STATUS`].
pub(crate) async fn group_status(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let status = describe(context).await;
    let body = serde_json::to_vec(&status).map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(call.ok().with_body(body))
}

/// This replica's view of its group.
pub(crate) async fn describe(context: &Context) -> GroupStatus {
    let status = context.replica.status();
    let log = context.replica.log();
    let (disk, dir) = (context.env.disk.clone(), context.settings.data_dir.clone());
    let space = context.env.blocking("broker.space", move || disk.space(&dir)).await.ok();
    let me = context.settings.me();
    GroupStatus {
        cluster: context.settings.cluster.clone(),
        group: context.settings.group.clone(),
        node: me.node.0,
        slot: me.slot.0,
        broker_id: context.broker_id().0,
        role: role_name(&status.role).to_owned(),
        term: status.role.term.0,
        leader: status.role.leader.map(|leader| leader.0),
        last: status.last.map(|id| id.index.0),
        committed: status.committed.map(|id| id.index.0),
        applied: status.applied.map(|id| id.index.0),
        durable: status.durable.map(|index| index.0),
        purged: status.purged.map(|id| id.index.0),
        log_begin: log.first_position().0,
        log_end: log.end_position().0,
        durability: context.settings.durability.to_string(),
        disk_total_bytes: space.map_or(0, |space| space.total),
        disk_available_bytes: space.map_or(0, |space| space.available),
        version: context.settings.version.to_owned(),
        members: context
            .settings
            .members
            .iter()
            .map(|member| MemberStatus {
                node: member.node.0,
                slot: member.slot.0,
                broker: member.broker.clone(),
                matched: status
                    .followers
                    .iter()
                    .find(|f| f.node == member.node)
                    .and_then(|f| f.matched)
                    .map(|id| id.index.0),
            })
            .collect(),
    }
}

fn role_name(role: &Role) -> &'static str {
    match (role.is_leader, role.has_quorum, role.leader) {
        (true, true, _) => "leader",
        (true, false, _) => "leader-without-quorum",
        (false, _, Some(_)) => "follower",
        (false, _, None) => "electing",
    }
}

/// Answers [`STATE_DIGEST`].
pub(crate) async fn state_digest(context: &Context, call: &Call) -> Result<RemotingCommand, Failure> {
    let asked = call.request.ext.get(LOG_FROM).and_then(|text| text.parse::<u64>().ok());
    let (view, log) = (context.view().clone(), context.replica.log().clone());
    let digest = context.env.blocking("broker.digest", move || compute(&view, &log, asked)).await?;
    let body = serde_json::to_vec(&digest).map_err(|error| Failure::Internal(error.to_string()))?;
    Ok(call.ok().with_body(body))
}

fn compute(
    view: &timbermq_machine::View,
    log: &timbermq_commitlog::CommitLog,
    asked: Option<u64>,
) -> Result<StateDigest, Failure> {
    /// Bytes read at a time.
    const CHUNK: usize = 4 * 1024 * 1024;
    let applied = view.applied();
    let first = log.last_purged().map_or(0, |id| id.index.0 + 1);
    let log_from = asked.unwrap_or(first).max(first);
    let end = applied.map_or(0, |id| id.index.0 + 1);
    let mut crc = crc32fast::Hasher::new();
    let mut at = log_from;
    while at < end {
        let entries = log
            .read(timbermq_types::LogIndex(at), timbermq_types::LogIndex(end), CHUNK)
            .map_err(|error| Failure::Internal(error.to_string()))?;
        for placed in &entries {
            crc.update(&placed.entry.id.term.0.to_le_bytes());
            crc.update(&placed.entry.id.index.0.to_le_bytes());
            crc.update(&placed.entry.payload);
        }
        at += entries.len() as u64;
        if entries.is_empty() {
            return Err(Failure::Internal(format!("the log gave nothing at entry {at}")));
        }
    }
    let state_crc = view.state_digest().map_err(|error| Failure::Internal(error.to_string()))?;
    let rolling = view.digest();
    if view.applied() != applied {
        return Err(Failure::Internal("entries were applied meanwhile; ask again when the group is quiet".into()));
    }
    Ok(StateDigest { applied: applied.map(|id| id.index.0), log_from, log_crc: crc.finalize(), rolling, state_crc })
}
