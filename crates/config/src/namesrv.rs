//! The settings of a NameServer, typed.

use std::time::Duration;

use crate::layers::Layers;
use crate::server::Typed;

/// What a NameServer is configured with.
#[derive(Clone, Debug)]
pub struct NamesrvSettings {
    /// Where it listens, `host:port`.
    pub listen: String,
    /// Silence after which a broker is dropped.
    pub broker_expiry: Duration,
    /// How often silent brokers are looked for.
    pub scan_interval: Duration,
}

impl NamesrvSettings {
    /// Reads the settings in force.
    #[must_use]
    pub fn from_layers(layers: &Layers) -> Self {
        let get = Typed(layers);
        Self {
            listen: get.text("namesrv.listen"),
            broker_expiry: get.time("namesrv.broker_expiry"),
            scan_interval: get.time("namesrv.scan_interval"),
        }
    }
}
