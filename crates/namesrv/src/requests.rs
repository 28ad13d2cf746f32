//! The request table.

use timbermq_env::Env;
use timbermq_remoting::{RemotingCommand, RequestCode, ResponseCode};
use timbermq_route::RouteTable;
use timbermq_types::Mono;

use crate::refusal::Refusal;
use crate::{broker, kv, route};

/// What a request sees.
pub(crate) struct Context<'a> {
    pub(crate) table: &'a mut RouteTable,
    pub(crate) request: &'a RemotingCommand,
    /// The connection it came over.
    pub(crate) channel: u64,
    pub(crate) now: Mono,
    /// What 319 shows.
    pub(crate) settings: &'a str,
}

impl Context<'_> {
    /// An empty success.
    pub(crate) fn success(&self) -> RemotingCommand {
        self.request.respond(ResponseCode::SUCCESS)
    }
}

/// Answers one request. None of them waits for anything.
pub(crate) type Answer = fn(&mut Context<'_>) -> Result<RemotingCommand, Refusal>;

/// Every code that is answered, ascending.
pub(crate) const REQUESTS: &[(RequestCode, Answer)] = &[
    (RequestCode::PUT_KV_CONFIG, kv::put),
    (RequestCode::GET_KV_CONFIG, kv::get),
    (RequestCode::DELETE_KV_CONFIG, kv::delete),
    (RequestCode::REGISTER_BROKER, broker::register),
    (RequestCode::UNREGISTER_BROKER, broker::unregister),
    (RequestCode::GET_ROUTEINFO_BY_TOPIC, route::route),
    (RequestCode::GET_BROKER_CLUSTER_INFO, route::cluster_info),
    (RequestCode::WIPE_WRITE_PERM_OF_BROKER, broker::wipe_write_perm),
    (RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER, route::topic_list),
    (RequestCode::DELETE_TOPIC_IN_NAMESRV, route::delete_topic),
    (RequestCode::REGISTER_TOPIC_IN_NAMESRV, route::register_topic),
    (RequestCode::GET_KVLIST_BY_NAMESPACE, kv::namespace),
    (RequestCode::GET_TOPICS_BY_CLUSTER, route::topics_of_cluster),
    (RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_NS, route::system_topic_list),
    (RequestCode::GET_UNIT_TOPIC_LIST, route::unit_topics),
    (RequestCode::GET_HAS_UNIT_SUB_TOPIC_LIST, route::unit_sub_topics),
    (RequestCode::GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST, route::unit_sub_not_unit_topics),
    (RequestCode::UPDATE_NAMESRV_CONFIG, kv::update_settings),
    (RequestCode::GET_NAMESRV_CONFIG, kv::settings),
    (RequestCode::QUERY_DATA_VERSION, broker::query_data_version),
    (RequestCode::ADD_WRITE_PERM_OF_BROKER, broker::add_write_perm),
    (RequestCode::GET_BROKER_MEMBER_GROUP, broker::member_group),
    (RequestCode::BROKER_HEARTBEAT, broker::heartbeat),
];

/// The answer to any request.
pub(crate) fn answer(
    env: &Env,
    table: &mut RouteTable,
    settings: &str,
    channel: u64,
    request: &RemotingCommand,
) -> RemotingCommand {
    let mut context = Context { table, request, channel, now: env.mono(), settings };
    let found = REQUESTS.binary_search_by_key(&request.request_code(), |(code, _)| *code);
    let result = match found {
        Ok(index) => REQUESTS[index].1(&mut context),
        Err(_) => Err(Refusal::Unsupported(request.code)),
    };
    result.unwrap_or_else(|refusal| {
        tracing::debug!(code = %request.request_code(), %refusal, "namesrv.refused");
        request.respond(refusal.code()).with_remark(refusal.to_string())
    })
}

#[cfg(test)]
mod tests {
    use timbermq_remoting::code::{REQUEST_KINDS, Receiver};

    use super::*;

    #[test]
    fn every_code_of_a_name_server_is_answered_and_found() {
        assert!(REQUESTS.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for kind in REQUEST_KINDS.iter().filter(|kind| kind.receiver == Receiver::NameServer) {
            assert!(REQUESTS.iter().any(|(code, _)| *code == kind.code), "{} is not answered", kind.name);
        }
    }
}
