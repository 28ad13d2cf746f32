//! Every response code of the protocol that clients know.

use std::fmt;

/// Code of a response; any number may come from the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResponseCode(pub i32);

macro_rules! response_codes {
    ($($number:literal $name:ident;)*) => {
        #[allow(missing_docs, reason = "the names are the protocol's own")]
        impl ResponseCode {
            $(pub const $name: Self = Self($number);)*
        }

        /// Every known code with its name, ascending.
        pub const RESPONSE_CODES: &[(ResponseCode, &str)] = &[$((ResponseCode::$name, stringify!($name)),)*];
    };
}

impl ResponseCode {
    /// The name, if the code is known.
    pub fn name(self) -> Option<&'static str> {
        let index = RESPONSE_CODES.binary_search_by_key(&self, |(code, _)| *code).ok()?;
        RESPONSE_CODES.get(index).map(|(_, name)| *name)
    }
}

impl fmt::Display for ResponseCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => write!(f, "{name}({})", self.0),
            None => write!(f, "{}", self.0),
        }
    }
}

response_codes! {
    0 SUCCESS;
    1 SYSTEM_ERROR;
    2 SYSTEM_BUSY;
    3 REQUEST_CODE_NOT_SUPPORTED;
    4 TRANSACTION_FAILED;
    10 FLUSH_DISK_TIMEOUT;
    11 SLAVE_NOT_AVAILABLE;
    12 FLUSH_SLAVE_TIMEOUT;
    13 MESSAGE_ILLEGAL;
    14 SERVICE_NOT_AVAILABLE;
    15 VERSION_NOT_SUPPORTED;
    16 NO_PERMISSION;
    17 TOPIC_NOT_EXIST;
    18 TOPIC_EXIST_ALREADY;
    19 PULL_NOT_FOUND;
    20 PULL_RETRY_IMMEDIATELY;
    21 PULL_OFFSET_MOVED;
    22 QUERY_NOT_FOUND;
    23 SUBSCRIPTION_PARSE_FAILED;
    24 SUBSCRIPTION_NOT_EXIST;
    25 SUBSCRIPTION_NOT_LATEST;
    26 SUBSCRIPTION_GROUP_NOT_EXIST;
    27 FILTER_DATA_NOT_EXIST;
    28 FILTER_DATA_NOT_LATEST;
    29 INVALID_PARAMETER;
    200 TRANSACTION_SHOULD_COMMIT;
    201 TRANSACTION_SHOULD_ROLLBACK;
    202 TRANSACTION_STATE_UNKNOW;
    203 TRANSACTION_STATE_GROUP_WRONG;
    204 NO_BUYER_ID;
    205 NOT_IN_CURRENT_UNIT;
    206 CONSUMER_NOT_ONLINE;
    207 CONSUME_MSG_TIMEOUT;
    208 NO_MESSAGE;
    209 POLLING_FULL;
    210 POLLING_TIMEOUT;
    211 BROKER_NOT_EXIST;
    212 BROKER_DISPATCH_NOT_COMPLETE;
    213 BROADCAST_CONSUMPTION;
    215 FLOW_CONTROL;
    501 NOT_LEADER_FOR_QUEUE;
    604 ILLEGAL_OPERATION;
    1500 GO_AWAY;
    3001 USER_NOT_EXIST;
    3002 POLICY_NOT_EXIST;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_is_ascending_and_found() {
        assert!(RESPONSE_CODES.windows(2).all(|pair| pair[0].0 < pair[1].0));
        for (code, name) in RESPONSE_CODES {
            assert_eq!(code.name(), Some(*name));
        }
        assert_eq!(ResponseCode(17).to_string(), "TOPIC_NOT_EXIST(17)");
        assert_eq!(ResponseCode(-1006).to_string(), "-1006");
    }
}
