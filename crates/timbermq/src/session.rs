//! Asking NameServers and brokers on behalf of a command.

use std::time::Duration;

use timbermq_client::{Client, ClientConfig, ClientError};
use timbermq_env::Env;
use timbermq_remoting::ResponseCode;
use timbermq_transport::ConnectorOptions;

use crate::cli::Global;
use crate::failure::Failure;
use crate::process;

/// What a command asks with.
pub struct Session {
    /// Connections to NameServers and brokers.
    pub client: Client,
    /// Longest wait for one answer.
    pub timeout: Duration,
}

/// Runs `work` with a session on a runtime of its own.
///
/// # Errors
/// Those of `work`, and an unusable list of NameServers.
pub fn run<W>(global: &Global, work: impl FnOnce(Session) -> W) -> Result<(), Failure>
where
    W: Future<Output = Result<(), Failure>>,
{
    crate::logging::start_quiet();
    let name_servers = addresses(&global.namesrv)?;
    process::runtime()?.block_on(async {
        let session = Session::new(&timbermq_host::env(), name_servers, global.timeout);
        work(session).await
    })
}

/// The addresses of NameServers in one text.
///
/// # Errors
/// One of them is not `host:port`, or there is none.
pub fn addresses(text: &str) -> Result<Vec<String>, Failure> {
    let list: Vec<String> =
        text.split([';', ',']).map(str::trim).filter(|item| !item.is_empty()).map(str::to_owned).collect();
    let bad = |item: &&String| {
        item.rsplit_once(':').is_none_or(|(host, port)| host.is_empty() || port.parse::<u16>().is_err())
    };
    match list.iter().find(bad) {
        Some(item) => Err(Failure::Usage(format!("--namesrv: {item:?} is not host:port"))),
        None if list.is_empty() => Err(Failure::Usage("--namesrv names no NameServer".into())),
        None => Ok(list),
    }
}

impl Session {
    /// A session that asks these NameServers and waits up to `timeout` for each answer.
    pub fn new(env: &Env, name_servers: Vec<String>, timeout: Duration) -> Self {
        // A command asks few times; it would rather try again than be told that an attempt failed a moment ago.
        let connector = ConnectorOptions { reconnect_pause: Duration::ZERO, ..ConnectorOptions::default() };
        let config = ClientConfig { name_servers, timeout, connector, ..ClientConfig::default() };
        Self { client: Client::new(env, config), timeout }
    }

    /// The broker groups a command is about: the one that is named, or all that are registered.
    ///
    /// # Errors
    /// No NameServer answers, or nothing of that name is registered.
    pub async fn broker_names(&self, only: Option<&str>) -> Result<Vec<String>, Failure> {
        let mut names = self.client.broker_names().await?;
        names.retain(|name| only.is_none_or(|only| name == only));
        if names.is_empty() {
            return Err(Failure::failed(match only {
                Some(name) => format!("no broker group named {name} is registered with the NameServer"),
                None => "no broker is registered with the NameServer".to_owned(),
            }));
        }
        Ok(names)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Failure::Failed(error.into())
    }
}

/// Waits a moment until clients can find a topic that has just been made: brokers register what is new right afterwards.
pub async fn wait_for_route(session: &Session, topic: &str) {
    const PAUSE: Duration = Duration::from_millis(20);
    const ATTEMPTS: u32 = 100;
    for _ in 0..ATTEMPTS {
        if session.client.refresh_route(topic).await.is_ok() {
            return;
        }
        tokio::time::sleep(PAUSE).await;
    }
}

/// Whether nobody knows the topic that was asked about.
pub fn is_topic_missing(error: &ClientError) -> bool {
    error.code() == Some(ResponseCode::TOPIC_NOT_EXIST)
}

/// Says in plain words that a topic does not exist.
pub fn about_topic(topic: &str) -> impl FnOnce(ClientError) -> Failure {
    move |error| match is_topic_missing(&error) {
        true => Failure::failed(format!("topic {topic} does not exist")),
        false => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nameservers_are_separated_by_semicolons_or_commas() {
        assert_eq!(addresses(" a:1;b:2 ").unwrap(), ["a:1", "b:2"]);
        assert_eq!(addresses("a:1,b:2;").unwrap(), ["a:1", "b:2"]);
        for bad in ["", ";", "a", ":1", "a:x"] {
            assert!(matches!(addresses(bad), Err(Failure::Usage(_))), "{bad:?}");
        }
    }
}
