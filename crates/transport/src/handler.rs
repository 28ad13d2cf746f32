//! What answers requests.

use std::sync::Arc;

use timbermq_remoting::RemotingCommand;

use crate::{Peer, Responder};

/// Answers the requests of peers.
///
/// For one connection the calls come in this order, one after the other: `connected`, `handle` for each request in the
/// order received, `disconnected`. Different connections call concurrently where the tasks of the process do.
pub trait Handler: Send + Sync + 'static {
    /// A request arrived. This runs on the task that reads the connection: it must not block, and long work is spawned.
    ///
    /// The responder may be kept and answered later from anywhere. Body and raw header of the request are slices of a
    /// receive buffer that stays allocated as long as they do: copy out what is kept for long.
    fn handle(&self, peer: &Arc<Peer>, request: RemotingCommand, responder: Responder);

    /// A connection is open.
    fn connected(&self, _peer: &Arc<Peer>) {}

    /// The connection is closed; responders of it may still be alive, their answers go nowhere.
    fn disconnected(&self, _peer: &Arc<Peer>) {}
}
