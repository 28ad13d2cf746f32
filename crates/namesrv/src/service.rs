//! The service: connections in, table inside.

use std::fmt::Write;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use timbermq_env::Env;
use timbermq_remoting::RemotingCommand;
use timbermq_route::{RouteLimits, RouteTable};
use timbermq_transport::{Handler, Peer, Responder, Server, ServerOptions, ServerStats};
use tokio::sync::watch;

use crate::requests;

/// How a NameServer runs.
#[derive(Clone, Debug)]
pub struct NamesrvConfig {
    /// Addresses to listen on, `host:port`; port 0 picks one.
    pub listen: Vec<String>,
    /// Bounds of the table.
    pub limits: RouteLimits,
    /// How often silent brokers are looked for.
    pub scan_interval: Duration,
    /// Bounds of connections.
    pub server: ServerOptions,
}

impl Default for NamesrvConfig {
    fn default() -> Self {
        Self {
            listen: vec!["0.0.0.0:9876".to_owned()],
            limits: RouteLimits::default(),
            scan_interval: Duration::from_secs(5),
            server: ServerOptions::default(),
        }
    }
}

impl NamesrvConfig {
    /// The settings as properties text, as administrators get them.
    fn properties(&self, addrs: &[SocketAddr]) -> String {
        let mut text = String::new();
        let listen = addrs.iter().map(SocketAddr::to_string).collect::<Vec<_>>().join(";");
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "{key}={value}").expect("writing to a String cannot fail");
        };
        line("listenPort", &addrs.first().map_or(0, SocketAddr::port));
        line("listen", &listen);
        line("brokerTimeoutMillis", &self.limits.broker_timeout.as_millis());
        line("scanNotActiveBrokerInterval", &self.scan_interval.as_millis());
        line("brokersMax", &self.limits.brokers_max);
        line("topicsMax", &self.limits.topics_max);
        line("kvEntriesMax", &self.limits.kv_entries_max);
        line("connectionsMax", &self.server.connections_max);
        line("orderMessageEnable", &true);
        line("returnOrderTopicConfigToBroker", &true);
        text
    }
}

/// A running NameServer. Dropping it changes nothing; [`NameServer::shutdown`] ends it.
#[derive(Clone)]
pub struct NameServer {
    service: Arc<Service>,
    server: Server,
}

struct Service {
    env: Env,
    table: Mutex<RouteTable>,
    /// Properties text: what 319 shows.
    settings: String,
    stopping: watch::Sender<bool>,
}

impl NameServer {
    /// Listens and serves.
    ///
    /// # Errors
    /// An address cannot be listened on.
    pub async fn start(env: &Env, config: NamesrvConfig) -> io::Result<Self> {
        let mut listeners = Vec::with_capacity(config.listen.len());
        for addr in &config.listen {
            listeners.push(env.net.listen(addr).await?);
        }
        let addrs: Vec<_> = listeners.iter().map(|listener| listener.local_addr()).collect();
        let service = Arc::new(Service {
            env: env.clone(),
            table: Mutex::new(RouteTable::new(config.limits.clone())),
            settings: config.properties(&addrs),
            stopping: watch::Sender::new(false),
        });
        let handler: Arc<dyn Handler> = Arc::clone(&service) as _;
        let server = Server::serve(env, listeners, handler, config.server);
        env.spawn("namesrv.scan", scan(Arc::clone(&service), config.scan_interval));
        tracing::info!(?addrs, "namesrv.started");
        Ok(Self { service, server })
    }

    /// The first address listened on.
    ///
    /// # Panics
    /// If the configuration named no address.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.server.addrs()[0]
    }

    /// All addresses listened on.
    #[must_use]
    pub fn addrs(&self) -> &[SocketAddr] {
        self.server.addrs()
    }

    /// Looks into the table, for administration and tests.
    pub fn read<T>(&self, look: impl FnOnce(&RouteTable) -> T) -> T {
        look(&self.service.table())
    }

    /// Numbers of the connections, for metrics.
    #[must_use]
    pub fn stats(&self) -> ServerStats {
        self.server.stats()
    }

    /// Stops listening, lets running requests end for up to `grace`, and closes all connections.
    pub async fn shutdown(&self, grace: Duration) {
        self.service.stopping.send_replace(true);
        self.server.shutdown(grace).await;
        tracing::info!("namesrv.stopped");
    }
}

impl Service {
    fn table(&self) -> MutexGuard<'_, RouteTable> {
        self.table.lock().expect("nothing panics while it holds the route table")
    }
}

impl Handler for Service {
    fn handle(&self, peer: &Arc<Peer>, request: RemotingCommand, responder: Responder) {
        let response = requests::answer(&self.env, &mut self.table(), &self.settings, peer.id(), &request);
        responder.send(response);
    }

    fn disconnected(&self, peer: &Arc<Peer>) {
        for gone in self.table().channel_closed(peer.id()) {
            tracing::info!(broker_name = %gone.broker_name, broker_id = gone.broker_id, broker_addr = %gone.addr, "namesrv.broker_disconnected");
        }
    }
}

async fn scan(service: Arc<Service>, interval: Duration) {
    let mut stopping = service.stopping.subscribe();
    loop {
        tokio::select! {
            biased;
            _ = stopping.wait_for(|stopping| *stopping) => return,
            () = service.env.sleep(interval) => {}
        }
        for gone in service.table().expire(service.env.mono()) {
            tracing::warn!(broker_name = %gone.broker_name, broker_id = gone.broker_id, broker_addr = %gone.addr, "namesrv.broker_expired");
        }
    }
}
