//! Every request code of the protocol.

use std::fmt;

/// What a code is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Tier {
    /// Sending and consuming: no client works without it.
    Core,
    /// Transactions, queries by key, time and id, subscription checks.
    Extended,
    /// Administration.
    Admin,
    /// Between brokers, NameServers and controllers, and the pop family.
    Cluster,
    /// Numbered, but handled by nobody.
    Unused,
}

/// Who gets requests of a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Receiver {
    /// A broker. Codes 307 and 309 come to it from administrators and are passed on to clients.
    Broker,
    /// A NameServer.
    NameServer,
    /// A client, from its broker.
    Client,
    /// A controller.
    Controller,
    /// Nobody; the answer is "not supported".
    Nobody,
}

/// One row of the registry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestKind {
    /// The code.
    pub code: RequestCode,
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub tier: Tier,
    /// Who gets it.
    pub receiver: Receiver,
}

/// Code of a request; any number may come from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestCode(pub i32);

macro_rules! request_codes {
    ($($number:literal $name:ident $tier:ident $receiver:ident;)*) => {
        #[allow(missing_docs, reason = "the names are the protocol's own and the registry says what they are for")]
        impl RequestCode {
            $(pub const $name: Self = Self($number);)*
        }

        /// Every known code, ascending.
        pub const REQUEST_KINDS: &[RequestKind] = &[
            $(RequestKind {
                code: RequestCode::$name,
                name: stringify!($name),
                tier: Tier::$tier,
                receiver: Receiver::$receiver,
            },)*
        ];
    };
}

impl RequestCode {
    /// The registry's row for this code.
    pub fn kind(self) -> Option<&'static RequestKind> {
        let index = REQUEST_KINDS.binary_search_by_key(&self, |kind| kind.code).ok()?;
        REQUEST_KINDS.get(index)
    }

    /// The name, if the code is known.
    pub fn name(self) -> Option<&'static str> {
        self.kind().map(|kind| kind.name)
    }
}

impl fmt::Display for RequestCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}({})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

request_codes! {
    10 SEND_MESSAGE Core Broker;
    11 PULL_MESSAGE Core Broker;
    12 QUERY_MESSAGE Extended Broker;
    13 QUERY_BROKER_OFFSET Unused Nobody;
    14 QUERY_CONSUMER_OFFSET Core Broker;
    15 UPDATE_CONSUMER_OFFSET Core Broker;
    17 UPDATE_AND_CREATE_TOPIC Admin Broker;
    18 UPDATE_AND_CREATE_TOPIC_LIST Admin Broker;
    21 GET_ALL_TOPIC_CONFIG Admin Broker;
    22 GET_TOPIC_CONFIG_LIST Unused Nobody;
    23 GET_TOPIC_NAME_LIST Unused Nobody;
    25 UPDATE_BROKER_CONFIG Admin Broker;
    26 GET_BROKER_CONFIG Admin Broker;
    27 TRIGGER_DELETE_FILES Unused Nobody;
    28 GET_BROKER_RUNTIME_INFO Admin Broker;
    29 SEARCH_OFFSET_BY_TIMESTAMP Extended Broker;
    30 GET_MAX_OFFSET Core Broker;
    31 GET_MIN_OFFSET Extended Broker;
    32 GET_EARLIEST_MSG_STORETIME Extended Broker;
    33 VIEW_MESSAGE_BY_ID Extended Broker;
    34 HEART_BEAT Core Broker;
    35 UNREGISTER_CLIENT Core Broker;
    36 CONSUMER_SEND_MSG_BACK Core Broker;
    37 END_TRANSACTION Extended Broker;
    38 GET_CONSUMER_LIST_BY_GROUP Core Broker;
    39 CHECK_TRANSACTION_STATE Extended Client;
    40 NOTIFY_CONSUMER_IDS_CHANGED Core Client;
    41 LOCK_BATCH_MQ Core Broker;
    42 UNLOCK_BATCH_MQ Core Broker;
    43 GET_ALL_CONSUMER_OFFSET Cluster Broker;
    45 GET_ALL_DELAY_OFFSET Cluster Broker;
    46 CHECK_CLIENT_CONFIG Extended Broker;
    47 GET_CLIENT_CONFIG Unused Nobody;
    50 UPDATE_AND_CREATE_ACL_CONFIG Admin Broker;
    51 DELETE_ACL_CONFIG Admin Broker;
    52 GET_BROKER_CLUSTER_ACL_INFO Admin Broker;
    53 UPDATE_GLOBAL_WHITE_ADDRS_CONFIG Admin Broker;
    54 GET_BROKER_CLUSTER_ACL_CONFIG Admin Broker;
    60 GET_TIMER_CHECK_POINT Cluster Broker;
    61 GET_TIMER_METRICS Cluster Broker;
    100 PUT_KV_CONFIG Admin NameServer;
    101 GET_KV_CONFIG Admin NameServer;
    102 DELETE_KV_CONFIG Admin NameServer;
    103 REGISTER_BROKER Cluster NameServer;
    104 UNREGISTER_BROKER Cluster NameServer;
    105 GET_ROUTEINFO_BY_TOPIC Core NameServer;
    106 GET_BROKER_CLUSTER_INFO Admin NameServer;
    200 UPDATE_AND_CREATE_SUBSCRIPTIONGROUP Admin Broker;
    201 GET_ALL_SUBSCRIPTIONGROUP_CONFIG Admin Broker;
    202 GET_TOPIC_STATS_INFO Admin Broker;
    203 GET_CONSUMER_CONNECTION_LIST Admin Broker;
    204 GET_PRODUCER_CONNECTION_LIST Admin Broker;
    205 WIPE_WRITE_PERM_OF_BROKER Admin NameServer;
    206 GET_ALL_TOPIC_LIST_FROM_NAMESERVER Admin NameServer;
    207 DELETE_SUBSCRIPTIONGROUP Admin Broker;
    208 GET_CONSUME_STATS Admin Broker;
    209 SUSPEND_CONSUMER Unused Nobody;
    210 RESUME_CONSUMER Unused Nobody;
    211 RESET_CONSUMER_OFFSET_IN_CONSUMER Unused Nobody;
    212 RESET_CONSUMER_OFFSET_IN_BROKER Unused Nobody;
    213 ADJUST_CONSUMER_THREAD_POOL Unused Nobody;
    214 WHO_CONSUME_THE_MESSAGE Unused Nobody;
    215 DELETE_TOPIC_IN_BROKER Admin Broker;
    216 DELETE_TOPIC_IN_NAMESRV Admin NameServer;
    217 REGISTER_TOPIC_IN_NAMESRV Admin NameServer;
    219 GET_KVLIST_BY_NAMESPACE Admin NameServer;
    220 RESET_CONSUMER_CLIENT_OFFSET Admin Client;
    221 GET_CONSUMER_STATUS_FROM_CLIENT Admin Client;
    222 INVOKE_BROKER_TO_RESET_OFFSET Admin Broker;
    223 INVOKE_BROKER_TO_GET_CONSUMER_STATUS Admin Broker;
    224 GET_TOPICS_BY_CLUSTER Admin NameServer;
    225 UPDATE_AND_CREATE_SUBSCRIPTIONGROUP_LIST Admin Broker;
    300 QUERY_TOPIC_CONSUME_BY_WHO Admin Broker;
    301 REGISTER_FILTER_SERVER Unused Nobody;
    302 REGISTER_MESSAGE_FILTER_CLASS Unused Nobody;
    303 QUERY_CONSUME_TIME_SPAN Admin Broker;
    304 GET_SYSTEM_TOPIC_LIST_FROM_NS Admin NameServer;
    305 GET_SYSTEM_TOPIC_LIST_FROM_BROKER Admin Broker;
    306 CLEAN_EXPIRED_CONSUMEQUEUE Admin Broker;
    307 GET_CONSUMER_RUNNING_INFO Admin Client;
    308 QUERY_CORRECTION_OFFSET Admin Broker;
    309 CONSUME_MESSAGE_DIRECTLY Admin Client;
    310 SEND_MESSAGE_V2 Core Broker;
    311 GET_UNIT_TOPIC_LIST Admin NameServer;
    312 GET_HAS_UNIT_SUB_TOPIC_LIST Admin NameServer;
    313 GET_HAS_UNIT_SUB_UNUNIT_TOPIC_LIST Admin NameServer;
    314 CLONE_GROUP_OFFSET Admin Broker;
    315 VIEW_BROKER_STATS_DATA Admin Broker;
    316 CLEAN_UNUSED_TOPIC Admin Broker;
    317 GET_BROKER_CONSUME_STATS Admin Broker;
    318 UPDATE_NAMESRV_CONFIG Admin NameServer;
    319 GET_NAMESRV_CONFIG Admin NameServer;
    320 SEND_BATCH_MESSAGE Core Broker;
    321 QUERY_CONSUME_QUEUE Admin Broker;
    322 QUERY_DATA_VERSION Cluster NameServer;
    323 RESUME_CHECK_HALF_MESSAGE Admin Broker;
    324 SEND_REPLY_MESSAGE Core Broker;
    325 SEND_REPLY_MESSAGE_V2 Core Broker;
    326 PUSH_REPLY_MESSAGE_TO_CLIENT Core Client;
    327 ADD_WRITE_PERM_OF_BROKER Admin NameServer;
    328 GET_ALL_PRODUCER_INFO Admin Broker;
    329 DELETE_EXPIRED_COMMITLOG Admin Broker;
    343 QUERY_TOPICS_BY_CONSUMER Admin Broker;
    345 QUERY_SUBSCRIPTION_BY_CONSUMER Admin Broker;
    351 GET_TOPIC_CONFIG Admin Broker;
    352 GET_SUBSCRIPTIONGROUP_CONFIG Admin Broker;
    353 UPDATE_AND_GET_GROUP_FORBIDDEN Admin Broker;
    354 CHECK_ROCKSDB_CQ_WRITE_PROGRESS Admin Broker;
    355 EXPORT_ROCKSDB_CONFIG_TO_JSON Admin Broker;
    361 LITE_PULL_MESSAGE Core Broker;
    370 RECALL_MESSAGE Cluster Broker;
    400 QUERY_ASSIGNMENT Cluster Broker;
    401 SET_MESSAGE_REQUEST_MODE Cluster Broker;
    402 GET_ALL_MESSAGE_REQUEST_MODE Cluster Broker;
    513 UPDATE_AND_CREATE_STATIC_TOPIC Cluster Broker;
    901 GET_BROKER_MEMBER_GROUP Cluster NameServer;
    902 ADD_BROKER Cluster Broker;
    903 REMOVE_BROKER Cluster Broker;
    904 BROKER_HEARTBEAT Cluster NameServer;
    905 NOTIFY_MIN_BROKER_ID_CHANGE Cluster Broker;
    906 EXCHANGE_BROKER_HA_INFO Cluster Broker;
    907 GET_BROKER_HA_STATUS Admin Broker;
    908 RESET_MASTER_FLUSH_OFFSET Cluster Broker;
    1001 CONTROLLER_ALTER_SYNC_STATE_SET Cluster Controller;
    1002 CONTROLLER_ELECT_MASTER Cluster Controller;
    1003 CONTROLLER_REGISTER_BROKER Cluster Controller;
    1004 CONTROLLER_GET_REPLICA_INFO Cluster Controller;
    1005 CONTROLLER_GET_METADATA_INFO Cluster Controller;
    1006 CONTROLLER_GET_SYNC_STATE_DATA Cluster Controller;
    1007 GET_BROKER_EPOCH_CACHE Admin Broker;
    1008 NOTIFY_BROKER_ROLE_CHANGED Cluster Broker;
    1009 UPDATE_CONTROLLER_CONFIG Cluster Controller;
    1010 GET_CONTROLLER_CONFIG Cluster Controller;
    1011 CLEAN_BROKER_DATA Cluster Controller;
    1012 CONTROLLER_GET_NEXT_BROKER_ID Cluster Controller;
    1013 CONTROLLER_APPLY_BROKER_ID Cluster Controller;
    2001 UPDATE_COLD_DATA_FLOW_CTR_CONFIG Admin Broker;
    2002 REMOVE_COLD_DATA_FLOW_CTR_CONFIG Admin Broker;
    2003 GET_COLD_DATA_FLOW_CTR_INFO Admin Broker;
    2004 SET_COMMITLOG_READ_MODE Admin Broker;
    3001 AUTH_CREATE_USER Admin Broker;
    3002 AUTH_UPDATE_USER Admin Broker;
    3003 AUTH_DELETE_USER Admin Broker;
    3004 AUTH_GET_USER Admin Broker;
    3005 AUTH_LIST_USER Admin Broker;
    3006 AUTH_CREATE_ACL Admin Broker;
    3007 AUTH_UPDATE_ACL Admin Broker;
    3008 AUTH_DELETE_ACL Admin Broker;
    3009 AUTH_GET_ACL Admin Broker;
    3010 AUTH_LIST_ACL Admin Broker;
    200_050 POP_MESSAGE Cluster Broker;
    200_051 ACK_MESSAGE Cluster Broker;
    200_052 PEEK_MESSAGE Cluster Broker;
    200_053 CHANGE_MESSAGE_INVISIBLETIME Cluster Broker;
    200_054 NOTIFICATION Cluster Broker;
    200_055 POLLING_INFO Cluster Broker;
    200_056 POP_ROLLBACK Cluster Broker;
    200_151 BATCH_ACK_MESSAGE Cluster Broker;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_is_ascending_and_found() {
        assert!(REQUEST_KINDS.windows(2).all(|pair| pair[0].code < pair[1].code));
        for kind in REQUEST_KINDS {
            assert_eq!(kind.code.kind(), Some(kind));
        }
        assert_eq!(RequestCode::SEND_MESSAGE_V2.0, 310);
        assert_eq!(RequestCode(310).to_string(), "SEND_MESSAGE_V2(310)");
        assert_eq!(RequestCode(9999).to_string(), "9999");
    }
}
