//! Settings of a client.

use std::time::Duration;

use timbermq_transport::ConnectorOptions;

/// Settings of a client.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// NameServers, `host:port`.
    pub name_servers: Vec<String>,
    /// Producer group of sends.
    pub producer_group: String,
    /// Consumer group of pulls that name none.
    pub consumer_group: String,
    /// How long administration and queries may take, retries included.
    pub timeout: Duration,
    /// How long one replica may take over something that another may be asked instead, beyond the time that it is asked
    /// to wait for a message.
    pub attempt_timeout: Duration,
    /// A route older than this is fetched again before it is used.
    pub route_max_age: Duration,
    /// Topics whose routes are remembered.
    pub routes_max: usize,
    /// Wait between rounds over all replicas.
    pub retry_pause: Duration,
    /// Whether a broker that answers *not available* or *busy* may have carried the request out all the same. This
    /// project's never has; one that answers so when it loses the leadership half-way may.
    pub doubts_refusals: bool,
    /// Bounds of connections.
    pub connector: ConnectorOptions,
}

impl Default for ClientConfig {
    fn default() -> Self {
        Self {
            name_servers: vec!["127.0.0.1:9876".to_owned()],
            producer_group: "TIMBERMQ_TOOLS".to_owned(),
            consumer_group: "TOOLS_CONSUMER".to_owned(),
            timeout: Duration::from_secs(5),
            attempt_timeout: Duration::from_secs(2),
            route_max_age: Duration::from_secs(30),
            routes_max: 10_000,
            retry_pause: Duration::from_millis(50),
            doubts_refusals: false,
            connector: ConnectorOptions::default(),
        }
    }
}
