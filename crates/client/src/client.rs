//! The client, and how it reaches who can answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use timbermq_env::Env;
use timbermq_remoting::body::{ClusterInfo, JsonBody, MessageQueue, TopicRouteData};
use timbermq_remoting::header::GetRouteInfoHeader;
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_transport::Connector;
use timbermq_types::Mono;

use crate::config::ClientConfig;
use crate::error::{ClientError, is_passing};
use crate::routes::{Routes, hide_entrances, read_queues, write_queues};

/// A client. Cheap to clone; clones share connections and routes.
#[derive(Clone)]
pub struct Client {
    pub(crate) shared: Arc<Shared>,
}

pub(crate) struct Shared {
    pub(crate) env: Env,
    pub(crate) config: ClientConfig,
    connector: Connector,
    routes: Routes,
    /// The NameServer that answered last.
    name_server: AtomicUsize,
    pub(crate) round_robin: AtomicUsize,
    /// Random part of message ids, and their counter.
    pub(crate) seed: (u64, u64),
    pub(crate) sequence: AtomicU64,
}

/// Whether a request may be carried out twice without harm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Repeat {
    /// It only reads, or sets what it would set again.
    Harmless,
    /// Only what certainly was not carried out is tried elsewhere.
    Never,
}

/// What is asked of a broker group.
pub(crate) struct Ask<'a> {
    /// Whose route names the group's addresses; without one the cluster's table does.
    pub(crate) topic: Option<&'a str>,
    pub(crate) broker_name: &'a str,
    pub(crate) request: RemotingCommand,
    pub(crate) timeout: Duration,
    /// How much of `timeout` the broker is asked to wait for something to happen.
    pub(crate) suspend: Duration,
    pub(crate) repeat: Repeat,
    /// An address to be asked last: it has just kept somebody waiting.
    pub(crate) avoid: Option<&'a str>,
    /// Codes besides SUCCESS that are an answer and not a failure.
    pub(crate) accept: &'a [ResponseCode],
}

/// How often a leader that the route does not name is looked for after an answer.
const SEARCHES: usize = 10;
/// Pause before each time.
const SEARCH_PAUSE: Duration = Duration::from_millis(200);

/// Ext field that says which broker name a request is for.
pub(crate) const BROKER_NAME: &str = "bname";

/// A success and who gave it.
pub(crate) struct Answered {
    pub(crate) response: RemotingCommand,
    pub(crate) addr: String,
}

impl Client {
    /// A client. Connects when it first has to.
    #[must_use]
    pub fn new(env: &Env, config: ClientConfig) -> Self {
        let shared = Shared {
            env: env.clone(),
            connector: Connector::new(env, None, config.connector.clone()),
            routes: Routes::new(config.routes_max),
            name_server: AtomicUsize::new(0),
            round_robin: AtomicUsize::new(0),
            seed: (env.entropy.next_u64(), env.entropy.next_u64()),
            sequence: AtomicU64::new(0),
            config,
        };
        Self { shared: Arc::new(shared) }
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.shared.config
    }

    /// Closes all connections. Later operations open new ones.
    pub fn close(&self) {
        self.shared.connector.close();
    }

    /// The route of a topic, from memory unless it is older than the configured age.
    ///
    /// # Errors
    /// No NameServer answers, or none knows the topic (17).
    pub async fn route(&self, topic: &str) -> Result<Arc<TopicRouteData>, ClientError> {
        match self.shared.routes.topic(topic) {
            Some((at, route)) if self.now().since(at) < self.shared.config.route_max_age => Ok(route),
            known => match (self.refresh_route(topic).await, known) {
                (Ok(route), _) => Ok(route),
                // An old route is better than none: brokers outlive NameServers.
                (Err(error), Some((_, route))) => {
                    tracing::debug!(%topic, %error, "client.route_is_old");
                    Ok(route)
                }
                (Err(error), None) => Err(error),
            },
        }
    }

    /// Fetches the route of a topic.
    ///
    /// # Errors
    /// As [`Client::route`].
    pub async fn refresh_route(&self, topic: &str) -> Result<Arc<TopicRouteData>, ClientError> {
        let header = GetRouteInfoHeader { topic: topic.to_owned(), accept_standard_json_only: false };
        let request = RemotingCommand::request(RequestCode::GET_ROUTEINFO_BY_TOPIC).with_header(&header);
        let Answered { response, addr } = self.ask_name_server(request).await?;
        let route = TopicRouteData::from_json(&response.body).map_err(|error| ClientError::garbled(&addr, error))?;
        let route = Arc::new(route);
        self.shared.routes.put_topic(topic, Arc::clone(&route), self.now());
        Ok(route)
    }

    /// The queues of a topic that may be written.
    ///
    /// # Errors
    /// As [`Client::route`].
    pub async fn write_queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        Ok(write_queues(topic, &*self.route(topic).await?))
    }

    /// The queues of a topic that may be read.
    ///
    /// # Errors
    /// As [`Client::route`].
    pub async fn read_queues(&self, topic: &str) -> Result<Vec<MessageQueue>, ClientError> {
        Ok(read_queues(topic, &*self.route(topic).await?))
    }

    /// All broker groups and their addresses (106).
    ///
    /// # Errors
    /// No NameServer answers.
    pub async fn cluster_info(&self) -> Result<ClusterInfo, ClientError> {
        let request = RemotingCommand::request(RequestCode::GET_BROKER_CLUSTER_INFO);
        let Answered { response, addr } = self.ask_name_server(request).await?;
        let mut cluster = ClusterInfo::from_json(&response.body).map_err(|error| ClientError::garbled(&addr, error))?;
        hide_entrances(&mut cluster);
        self.shared.routes.put_cluster(&cluster);
        Ok(cluster)
    }

    /// Sends any request to one address; the response may have any code.
    ///
    /// # Errors
    /// There is no response.
    pub async fn call(
        &self,
        addr: &str,
        request: RemotingCommand,
        timeout: Duration,
    ) -> Result<RemotingCommand, ClientError> {
        let result = self.shared.connector.request(addr, request, timeout).await;
        result.map_err(|error| ClientError::from_call(addr, &error))
    }

    /// Sends a request that only reads, or that may be repeated, to a broker group: to the leader, then to the others.
    ///
    /// # Errors
    /// No replica answers with success in time; the last failure.
    pub async fn call_broker(
        &self,
        broker_name: &str,
        request: RemotingCommand,
    ) -> Result<RemotingCommand, ClientError> {
        self.call_group(broker_name, request, Repeat::Harmless).await
    }

    /// Sends a request that must not be carried out twice, or after a later one, to a broker group: to the leader, then to
    /// the others as long as it certainly was not carried out.
    ///
    /// # Errors
    /// As [`Client::call_broker`]; `Unknown` where it may have been carried out.
    pub async fn call_broker_once(
        &self,
        broker_name: &str,
        request: RemotingCommand,
    ) -> Result<RemotingCommand, ClientError> {
        self.call_group(broker_name, request, Repeat::Never).await
    }

    async fn call_group(
        &self,
        broker_name: &str,
        mut request: RemotingCommand,
        repeat: Repeat,
    ) -> Result<RemotingCommand, ClientError> {
        // A follower must not take it for asked of its own name.
        request.ext.set(BROKER_NAME, broker_name);
        let timeout = self.shared.config.timeout;
        let ask = Ask {
            topic: None,
            broker_name,
            request,
            timeout,
            suspend: Duration::ZERO,
            repeat,
            avoid: None,
            accept: &[],
        };
        Ok(self.ask_group(ask).await?.response)
    }

    /// Sends a request to one address and accepts success and the codes of `accept`.
    pub(crate) async fn ask(
        &self,
        addr: &str,
        request: RemotingCommand,
        timeout: Duration,
        accept: &[ResponseCode],
    ) -> Result<Answered, ClientError> {
        let response = self.call(addr, request, timeout).await?;
        let code = response.response_code();
        if code == ResponseCode::SUCCESS || accept.contains(&code) {
            return Ok(Answered { response, addr: addr.to_owned() });
        }
        let error = ClientError::from_response(addr, code, response.remark);
        Err(if self.shared.config.doubts_refusals { error.doubted() } else { error })
    }

    /// Asks the NameServer that answered last, then the others.
    pub(crate) async fn ask_name_server(&self, request: RemotingCommand) -> Result<Answered, ClientError> {
        let servers = &self.shared.config.name_servers;
        let first = self.shared.name_server.load(Ordering::Relaxed);
        let mut last = ClientError::refused("no NameServer is configured");
        for turn in 0..servers.len() {
            let index = (first + turn) % servers.len();
            match self.ask(&servers[index], request.clone(), self.shared.config.timeout, &[]).await {
                // One that was just restarted may not know yet what the others know.
                Err(error) => last = error,
                answered => {
                    self.shared.name_server.store(index, Ordering::Relaxed);
                    return answered;
                }
            }
        }
        Err(last)
    }

    /// Tells every NameServer, for they do not tell each other.
    pub(crate) async fn tell_name_servers(&self, request: RemotingCommand) -> Result<(), ClientError> {
        let mut result = Ok(());
        for server in &self.shared.config.name_servers {
            if let Err(error) = self.ask(server, request.clone(), self.shared.config.timeout, &[]).await {
                result = Err(error);
            }
        }
        result
    }

    /// Asks a broker group until one of its replicas answers with success, the failure is final, or time is up. If any of
    /// several attempts may have been carried out, so may the whole.
    pub(crate) async fn ask_group(&self, ask: Ask<'_>) -> Result<Answered, ClientError> {
        let mut unknown = None;
        let answer = self.ask_replicas(ask, &mut unknown).await;
        answer.map_err(|error| if error.is_unknown() { error } else { unknown.unwrap_or(error) })
    }

    /// [`ask_group`](Self::ask_group), as far as the last attempt knows; `unknown` is the last one whose outcome is.
    async fn ask_replicas(&self, ask: Ask<'_>, unknown: &mut Option<ClientError>) -> Result<Answered, ClientError> {
        let Ask { topic, broker_name, request, timeout, suspend, repeat, avoid, accept } = ask;
        let deadline = self.now().plus(timeout);
        let mut last = ClientError::refused(format!("broker {broker_name} has no known address"));
        let mut refreshed = false;
        let mut rounds = 0;
        let attempt_max = match repeat {
            // A replica that hangs must not use up the time of the others.
            Repeat::Harmless => self.shared.config.attempt_timeout + suspend,
            // Nobody else may be asked after it, so it gets all the time there is.
            Repeat::Never => timeout,
        };
        if self.shared.routes.addrs(broker_name).is_empty() {
            self.refresh_group(topic).await?;
            refreshed = true;
        }
        loop {
            let addrs = self.addrs(broker_name, avoid);
            for addr in &addrs {
                let Some(left) = self.left_until(deadline) else { return Err(last) };
                match self.ask(addr, request.clone(), left.min(attempt_max), accept).await {
                    Ok(answered) => {
                        self.look_for_leader(topic, broker_name);
                        return Ok(answered);
                    }
                    Err(error) if error.is_unknown() && repeat == Repeat::Never => {
                        self.refresh_group_in_background(topic);
                        return Err(error);
                    }
                    Err(error) if !error.is_about_route() => return Err(error),
                    Err(error) => {
                        tracing::debug!(%broker_name, %addr, %error, "client.trying_elsewhere");
                        if error.is_unknown() {
                            *unknown = Some(error.clone());
                        }
                        last = error;
                    }
                }
                if !refreshed {
                    // The route may name a better address than the next one of the old list.
                    refreshed = true;
                    let known = self.refresh_group(topic).await.is_ok();
                    if known && self.addrs(broker_name, avoid) != addrs {
                        break;
                    }
                }
            }
            rounds += 1;
            // Replicas may be behind with what was just created; what all of them say twice is so.
            if rounds == 2 && last.code().is_some_and(|code| !is_passing(code)) {
                return Err(last);
            }
            if self.left_until(deadline).is_none_or(|left| left <= self.shared.config.retry_pause) {
                return Err(last);
            }
            self.shared.env.sleep(self.shared.config.retry_pause).await;
            refreshed = self.refresh_group(topic).await.is_ok();
        }
    }

    /// The addresses of a broker group in the order of asking.
    fn addrs(&self, broker_name: &str, avoid: Option<&str>) -> Vec<String> {
        let mut addrs = self.shared.routes.addrs(broker_name);
        addrs.sort_by_key(|addr| Some(addr.as_str()) == avoid);
        addrs
    }

    async fn refresh_group(&self, topic: Option<&str>) -> Result<(), ClientError> {
        match topic {
            Some(topic) => self.refresh_route(topic).await.map(drop),
            None => self.cluster_info().await.map(drop),
        }
    }

    fn refresh_group_in_background(&self, topic: Option<&str>) {
        let client = self.clone();
        let topic = topic.map(str::to_owned);
        self.shared.env.spawn("client.refresh_route", async move {
            // A failure shows again, and with a reader, at the next operation.
            let _ = client.refresh_group(topic.as_deref()).await;
        });
    }

    /// A route that was fetched while there was no leader names followers only. One of them has just passed a request on, and
    /// would for as long as the route is young, until the leader fails and the follower is taken for silent: so the leader is
    /// looked for, for a while.
    fn look_for_leader(&self, topic: Option<&str>, broker_name: &str) {
        if !self.shared.routes.begin_search(broker_name) {
            return;
        }
        let client = self.clone();
        let (topic, broker_name) = (topic.map(str::to_owned), broker_name.to_owned());
        self.shared.env.spawn("client.look_for_leader", async move {
            let routes = &client.shared.routes;
            for _ in 0..SEARCHES {
                client.shared.env.sleep(SEARCH_PAUSE).await;
                let _ = client.refresh_group(topic.as_deref()).await;
                if routes.has_leader(&broker_name) {
                    break;
                }
            }
            // If it is still not there, the next answer of a follower begins anew.
            routes.end_search(&broker_name);
        });
    }

    pub(crate) fn now(&self) -> Mono {
        self.shared.env.mono()
    }

    /// Time left, or `None` when it is up.
    pub(crate) fn left_until(&self, deadline: Mono) -> Option<Duration> {
        Some(deadline.since(self.now())).filter(|left| !left.is_zero())
    }
}
