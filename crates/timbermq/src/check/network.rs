//! Listen addresses and NameServers.

use std::time::Duration;

use timbermq_config::ServerSettings;
use timbermq_env::Env;

use super::Finding;

/// Longest wait for a NameServer.
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// `running`: a server is up on the data directory, and the ports are taken by it.
pub(super) async fn ports(env: &Env, settings: &ServerSettings, running: bool) -> Vec<Finding> {
    let mut addresses = vec![("broker port", &settings.listen_broker), ("peer port", &settings.listen_peer)];
    addresses.extend(settings.listen_vip.as_ref().map(|address| ("vip port", address)));
    let mut findings = Vec::with_capacity(addresses.len());
    for (name, address) in addresses {
        findings.push(match env.net.listen(address).await {
            Ok(_) if running => Finding::warn(name, format!("{address} is free, though a server is running")),
            Ok(_) => Finding::ok(name, format!("{address} is free")),
            Err(_) if running => Finding::ok(name, format!("{address} is in use, by the running server it seems")),
            Err(error) => Finding::fail(name, format!("cannot listen on {address}: {error}")),
        });
    }
    findings
}

/// A NameServer that is down does not keep a broker from starting.
pub(super) async fn namesrv(env: &Env, settings: &ServerSettings) -> Vec<Finding> {
    const NAME: &str = "NameServer";
    let mut findings = Vec::with_capacity(settings.namesrv.len());
    for address in &settings.namesrv {
        findings.push(match env.timeout(CONNECT_MAX, env.net.connect(address)).await {
            Some(Ok(_)) => Finding::ok(NAME, format!("{address} answers")),
            Some(Err(error)) => Finding::warn(NAME, format!("{address} cannot be reached: {error}")),
            None => Finding::warn(NAME, format!("{address} does not answer within {CONNECT_MAX:?}")),
        });
    }
    findings
}
