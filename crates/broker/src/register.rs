//! Registration with the NameServers.
//!
//! The leader registers as BrokerId 0 with all topics, a follower as its slot + 1. The version carries the Raft term, so a
//! NameServer refuses a leader of an older term. A leader that has not heard from a majority lately does not register as
//! 0: it may have been replaced already.

use std::sync::Arc;
use std::time::Duration;

use timbermq_bugs::{Bug, planted};
use timbermq_remoting::body::{DataVersion, JsonBody, RegisterBrokerBody, TopicConfigTable, body_crc32};
use timbermq_remoting::header::{BrokerIdentityHeader, REGISTRATION_COMPLETE, RegisterBrokerHeader};
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_transport::ConnectorOptions;
use timbermq_types::BrokerId;

use crate::context::Context;
use crate::topics;

/// How long a NameServer may take to answer.
const REGISTER_TIMEOUT: Duration = Duration::from_secs(3);
/// Changes within this long are registered together.
const GATHER: Duration = Duration::from_millis(10);
/// How long connecting to a NameServer may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Connecting to a NameServer that is down must not delay the others for long.
pub(crate) fn connector_options() -> ConnectorOptions {
    ConnectorOptions { connect_timeout: CONNECT_TIMEOUT, ..ConnectorOptions::default() }
}

/// Keeps this replica registered until the service stops.
pub(crate) async fn drive(context: Arc<Context>) {
    let mut role = context.replica.role();
    loop {
        register(&context);
        let wait = context.env.timeout(context.settings.register_interval, async {
            tokio::select! {
                biased;
                () = context.stopped() => false,
                changed = role.changed() => changed.is_ok(),
                () = context.register_now.notified() => true,
            }
        });
        match wait.await {
            Some(true) => context.env.sleep(GATHER).await,
            Some(false) => break,
            None => {}
        }
        role.borrow_and_update();
    }
}

fn register(context: &Arc<Context>) {
    let Some((header, body)) = registration(context) else { return };
    for address in &context.settings.namesrv {
        let mut request =
            RemotingCommand::request(RequestCode::REGISTER_BROKER).with_header(&header).with_body(body.clone());
        request.ext.set(REGISTRATION_COMPLETE, "true");
        let (connector, address) = (context.namesrv.clone(), address.clone());
        // Side by side: one NameServer that is down does not hold up what the others must know.
        context.env.spawn("broker.register", async move {
            match connector.request(&address, request, REGISTER_TIMEOUT).await {
                Ok(answer) if answer.response_code() == ResponseCode::SUCCESS => {}
                Ok(answer) => {
                    tracing::warn!(namesrv = %address, code = answer.code, remark = ?answer.remark, "broker.register_refused");
                }
                Err(error) => tracing::debug!(namesrv = %address, %error, "broker.register_failed"),
            }
        });
    }
}

/// What to register as, or `None` while this replica may not say what it is.
fn registration(context: &Context) -> Option<(RegisterBrokerHeader, Vec<u8>)> {
    let role = *context.replica.role().borrow();
    let is_leader = role.is_leader;
    let has_quorum = role.has_quorum || planted(Bug::StaleLeaderRegisters);
    if *context.stopping.borrow() || is_leader && !has_quorum {
        return None;
    }
    let broker_id = if is_leader { BrokerId::LEADER } else { BrokerId::follower(context.settings.me().slot) };
    let table = if is_leader {
        topics::table(context)
    } else {
        // Topics of a follower are not looked at; an empty table would be taken for a broker without any.
        let version =
            DataVersion { counter: 0, state_version: i64::try_from(role.term.0).unwrap_or(i64::MAX), timestamp: 0 };
        TopicConfigTable { data_version: version, ..topics::table(context) }
    };
    let body = RegisterBrokerBody { filter_server_list: Vec::new(), topics: table }.to_json();
    let header = RegisterBrokerHeader {
        broker_name: context.settings.group.clone(),
        broker_addr: context.settings.me().broker.clone(),
        cluster_name: context.settings.cluster.clone(),
        ha_server_addr: context.settings.me().broker.clone(),
        broker_id: i64::try_from(broker_id.0).unwrap_or(0),
        heartbeat_timeout_millis: None,
        enable_acting_master: Some(false),
        compressed: false,
        body_crc32: body_crc32(&body),
    };
    Some((header, body))
}

/// Takes this replica out of the routes: it stops. What is said here follows what was said before on the same connection,
/// and nothing is said after it.
pub(crate) async fn unregister(context: &Context) {
    let header = BrokerIdentityHeader {
        broker_name: context.settings.group.clone(),
        broker_addr: context.settings.me().broker.clone(),
        cluster_name: context.settings.cluster.clone(),
        broker_id: i64::try_from(context.broker_id().0).unwrap_or(0),
    };
    for address in &context.settings.namesrv {
        let request = RemotingCommand::request(RequestCode::UNREGISTER_BROKER).with_header(&header);
        if let Err(error) = context.namesrv.request(address, request, CONNECT_TIMEOUT).await {
            tracing::debug!(namesrv = %address, %error, "broker.unregister_failed");
        }
    }
    context.namesrv.close();
}
