//! The request table: who serves a code, and where.

use timbermq_remoting::{RemotingCommand, RequestCode};

use crate::context::{Call, Context};
use crate::outcome::Failure;
use crate::status::{GROUP_STATUS, STATE_DIGEST};
use crate::{admin, groups, locks, members, offsets, query, request_reply, send, send_back, status, topics};

/// Which replica serves a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// The replica that received it.
    Here,
    /// The leader; a follower forwards it.
    Leader,
    /// The leader, once a majority has confirmed that it leads: what it then has is no older than anything that was
    /// acknowledged before the request came. A leader that was deposed would answer from the past.
    Confirmed,
}

macro_rules! request_table {
    ($($code:path => $place:ident $handler:path;)*) => {
        /// Where a code is served; `None` for one that nobody serves.
        pub(crate) fn place(code: RequestCode) -> Option<Place> {
            match code {
                $($code => Some(Place::$place),)*
                _ => None,
            }
        }

        /// Serves a request, whose place this is, on this replica.
        pub(crate) async fn serve(context: &Context, call: &Call, place: Place) -> Result<RemotingCommand, Failure> {
            if place == Place::Confirmed {
                context.barrier().await?;
            }
            match call.request.request_code() {
                $($code => Box::pin($handler(context, call)).await,)*
                other => Err(Failure::unsupported(other)),
            }
        }
    };
}

// Pulls (11, 361) are not here: they may be held, so they are served with their responder (`pull`).
request_table! {
    RequestCode::SEND_MESSAGE => Leader send::send;
    RequestCode::SEND_MESSAGE_V2 => Leader send::send;
    RequestCode::SEND_BATCH_MESSAGE => Leader send::send;
    RequestCode::CONSUMER_SEND_MSG_BACK => Leader send_back::send_back;
    RequestCode::SEND_REPLY_MESSAGE => Here request_reply::reply;
    RequestCode::SEND_REPLY_MESSAGE_V2 => Here request_reply::reply;

    RequestCode::HEART_BEAT => Here members::heartbeat;
    RequestCode::UNREGISTER_CLIENT => Here members::unregister;
    RequestCode::GET_CONSUMER_LIST_BY_GROUP => Here members::consumer_list;
    RequestCode::CHECK_CLIENT_CONFIG => Here members::check_client_config;
    RequestCode::GET_CONSUMER_CONNECTION_LIST => Here members::consumer_connections;
    RequestCode::GET_PRODUCER_CONNECTION_LIST => Here members::producer_connections;
    RequestCode::GET_CONSUMER_RUNNING_INFO => Here members::running_info;
    RequestCode::QUERY_TOPIC_CONSUME_BY_WHO => Here members::topic_consume_by_who;

    RequestCode::QUERY_CONSUMER_OFFSET => Leader offsets::query;
    RequestCode::UPDATE_CONSUMER_OFFSET => Leader offsets::update;
    RequestCode::GET_MAX_OFFSET => Confirmed offsets::max;
    RequestCode::GET_MIN_OFFSET => Confirmed offsets::min;
    RequestCode::SEARCH_OFFSET_BY_TIMESTAMP => Confirmed offsets::search;
    RequestCode::GET_EARLIEST_MSG_STORETIME => Confirmed offsets::earliest;
    RequestCode::INVOKE_BROKER_TO_RESET_OFFSET => Confirmed offsets::reset;
    RequestCode::GET_CONSUME_STATS => Leader offsets::consume_stats;
    RequestCode::GET_TOPIC_STATS_INFO => Leader offsets::topic_stats;

    RequestCode::LOCK_BATCH_MQ => Leader locks::lock;
    RequestCode::UNLOCK_BATCH_MQ => Leader locks::unlock;

    RequestCode::QUERY_MESSAGE => Confirmed query::by_key;
    RequestCode::VIEW_MESSAGE_BY_ID => Here query::by_position;

    RequestCode::UPDATE_AND_CREATE_TOPIC => Leader topics::put;
    RequestCode::DELETE_TOPIC_IN_BROKER => Leader topics::delete;
    RequestCode::GET_ALL_TOPIC_CONFIG => Here topics::all;
    RequestCode::GET_TOPIC_CONFIG => Confirmed topics::one;
    RequestCode::GET_SYSTEM_TOPIC_LIST_FROM_BROKER => Here topics::system;

    RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP => Leader groups::put;
    RequestCode::DELETE_SUBSCRIPTIONGROUP => Leader groups::delete;
    RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG => Here groups::all;
    RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG => Confirmed groups::one;

    RequestCode::GET_BROKER_RUNTIME_INFO => Here admin::runtime_info;
    RequestCode::GET_BROKER_CONFIG => Here admin::config;
    GROUP_STATUS => Here status::group_status;
    STATE_DIGEST => Here status::state_digest;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_how_things_are_is_confirmed() {
        let questions = [
            RequestCode::GET_MAX_OFFSET,
            RequestCode::GET_MIN_OFFSET,
            RequestCode::SEARCH_OFFSET_BY_TIMESTAMP,
            RequestCode::GET_EARLIEST_MSG_STORETIME,
            RequestCode::INVOKE_BROKER_TO_RESET_OFFSET,
            RequestCode::QUERY_MESSAGE,
            RequestCode::GET_TOPIC_CONFIG,
            RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG,
        ];
        for code in questions {
            assert_eq!(place(code), Some(Place::Confirmed), "{code:?}");
        }
    }

    #[test]
    fn every_core_code_of_a_broker_is_served() {
        use timbermq_remoting::code::{REQUEST_KINDS, Receiver, Tier};
        let pulls = [RequestCode::PULL_MESSAGE, RequestCode::LITE_PULL_MESSAGE];
        for kind in REQUEST_KINDS.iter().filter(|kind| kind.tier == Tier::Core && kind.receiver == Receiver::Broker) {
            assert!(pulls.contains(&kind.code) || place(kind.code).is_some(), "{} is not served", kind.name);
        }
    }
}
