//! Keys read back, and their byte order is the order of what they name.

use proptest::prelude::*;
use timbermq_types::{GroupName, LogIndex, QueueId, TopicName};

fn topics() -> impl Strategy<Value = TopicName> {
    "[%|a-zA-Z0-9_-]{1,12}".prop_map(|name| TopicName::new(&name).unwrap())
}

fn groups() -> impl Strategy<Value = GroupName> {
    "[%|a-zA-Z0-9_-]{1,12}".prop_map(|name| GroupName::new(&name).unwrap())
}

macro_rules! key_properties {
    ($($test:ident: $strategy:expr, $name:pat => $encode:expr, $decode:path;)*) => {
        proptest! {$(
            #[test]
            fn $test(a in $strategy, b in $strategy, junk in any::<u8>()) {
                let encode = |$name: &_| Vec::from($encode);
                prop_assert_eq!($decode(&encode(&a)), Some(a.clone()));
                prop_assert_eq!(encode(&a).cmp(&encode(&b)), a.cmp(&b));
                let mut longer = encode(&a);
                longer.push(junk);
                prop_assert_eq!($decode(&longer), None);
                prop_assert_eq!($decode(&encode(&a)[1..]), None);
            }
        )*}
    };
}

key_properties! {
    topic_keys: topics(), topic => crate::topic::keys::encode(topic), crate::topic::keys::decode;
    group_keys: groups(), group => crate::group::keys::encode(group), crate::group::keys::decode;
    offset_keys: (groups(), topics()), (group, topic) => crate::offset::keys::encode(group, topic), crate::offset::keys::decode;
    lock_keys: (groups(), topics(), any::<u32>().prop_map(QueueId)), (group, topic, queue) => crate::order::keys::encode(group, topic, *queue), crate::order::keys::decode;
    queue_keys: (topics(), any::<u32>().prop_map(QueueId)), (topic, queue) => crate::queue::keys::state::encode(topic, *queue), crate::queue::keys::state::decode;
    block_keys: (any::<u32>(), any::<u64>()), (uid, block) => crate::queue::keys::block::encode(*uid, *block), crate::queue::keys::block::decode;
    entries_keys: (any::<u8>(), any::<u32>()), (partition, run) => crate::key_index::keys::entries::encode(*partition, *run), crate::key_index::keys::entries::decode;
    run_keys: any::<u32>(), run => crate::key_index::keys::run::encode(*run), crate::key_index::keys::run::decode;
    mark_keys: any::<u64>().prop_map(LogIndex), index => crate::retention::keys::mark::encode(*index), crate::retention::keys::mark::decode;
    dump_keys: any::<u64>().prop_map(LogIndex), index => crate::retention::keys::dump::encode(*index), crate::retention::keys::dump::decode;
}
