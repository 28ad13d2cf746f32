//! A NameServer without connections, for fuzz targets.

use timbermq_env::Env;
use timbermq_remoting::RemotingCommand;
use timbermq_route::{RouteLimits, RouteTable};

use crate::requests;

/// The table behind the requests.
pub struct Table {
    env: Env,
    table: RouteTable,
}

impl Table {
    /// An empty table with these bounds, in a world with this clock.
    #[must_use]
    pub fn new(env: Env, limits: RouteLimits) -> Self {
        Self { env, table: RouteTable::new(limits) }
    }

    /// The answer to a request that came over connection `channel`.
    pub fn answer(&mut self, channel: u64, request: &RemotingCommand) -> RemotingCommand {
        requests::answer(&self.env, &mut self.table, "", channel, request)
    }

    /// What the end of connection `channel` does.
    pub fn disconnected(&mut self, channel: u64) {
        self.table.channel_closed(channel);
    }

    /// What the search for silent brokers does.
    pub fn expire(&mut self) {
        self.table.expire(self.env.mono());
    }

    /// Looks into the table.
    #[must_use]
    pub fn table(&self) -> &RouteTable {
        &self.table
    }
}
