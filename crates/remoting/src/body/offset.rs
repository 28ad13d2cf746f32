//! Offsets by queue, with queues as map keys (220, 221, 222, 223).

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize as DeriveDeserialize, Serialize};

use super::dialect::{ObjectWriter, write_object_keys};
use super::{JsonBody, JsonDialect, MessageQueue, tolerant};

/// Something by queue.
pub type QueueTable<V> = BTreeMap<MessageQueue, V>;

/// A [`QueueTable`] whose keys are the text of the queue; null is empty.
pub(super) fn queue_table<'de, D, V>(from: D) -> Result<QueueTable<V>, D::Error>
where
    D: Deserializer<'de>,
    V: Deserialize<'de>,
{
    let by_text = Option::<BTreeMap<String, V>>::deserialize(from)?.unwrap_or_default();
    by_text.into_iter().map(|(key, value)| Ok((queue(&key).map_err(Error::custom)?, value))).collect()
}

fn queue(text: &str) -> Result<MessageQueue, serde_json::Error> {
    serde_json::from_str(text)
}

/// Body of 220, response body of 222. Java and Go read and write the map form, C++ the list form.
#[derive(Clone, Debug, Default, PartialEq, Eq, DeriveDeserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ResetOffsetBody {
    /// New offset by queue.
    #[serde(deserialize_with = "map_or_list")]
    pub offset_table: QueueTable<i64>,
}

impl ResetOffsetBody {
    /// The list form, for C++ clients.
    pub fn to_json_list(&self) -> Vec<u8> {
        let items: Vec<_> =
            self.offset_table.iter().map(|(queue, offset)| ListItem { queue, offset: *offset }).collect();
        ObjectWriter::new(JsonDialect::Fastjson).field("offsetTable", &items).finish()
    }
}

impl JsonBody for ResetOffsetBody {
    fn to_json_dialect(&self, dialect: JsonDialect) -> Vec<u8> {
        let table = write_object_keys(&self.offset_table, dialect);
        ObjectWriter::new(dialect).raw_field("offsetTable", &table).finish()
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ListItem<'a> {
    #[serde(flatten)]
    queue: &'a MessageQueue,
    offset: i64,
}

fn map_or_list<'de, D: Deserializer<'de>>(from: D) -> Result<QueueTable<i64>, D::Error> {
    #[derive(Default, DeriveDeserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Item {
        #[serde(deserialize_with = "tolerant::or_default")]
        broker_name: String,
        #[serde(deserialize_with = "tolerant::integer")]
        offset: i64,
        queue_id: i32,
        #[serde(deserialize_with = "tolerant::or_default")]
        topic: String,
    }

    struct Table;

    impl<'de> Visitor<'de> for Table {
        type Value = QueueTable<i64>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("offsets by queue, as a map or as a list")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
            let mut table = QueueTable::new();
            while let Some((key, offset)) = entries.next_entry::<String, i64>()? {
                table.insert(queue(&key).map_err(Error::custom)?, offset);
            }
            Ok(table)
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut table = QueueTable::new();
            while let Some(item) = items.next_element::<Item>()? {
                table.insert(MessageQueue::new(item.topic, item.broker_name, item.queue_id), item.offset);
            }
            Ok(table)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(QueueTable::new())
        }
    }

    from.deserialize_any(Table)
}

/// Response body of 221 and 223.
#[derive(Clone, Debug, Default, PartialEq, Eq, DeriveDeserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ConsumerStatusBody {
    /// Of 223: offsets by queue, by client.
    #[serde(deserialize_with = "client_tables")]
    pub consumer_table: BTreeMap<String, QueueTable<i64>>,
    /// Of 221: offsets by queue.
    #[serde(deserialize_with = "queue_table")]
    pub message_queue_table: QueueTable<i64>,
}

fn client_tables<'de, D: Deserializer<'de>>(from: D) -> Result<BTreeMap<String, QueueTable<i64>>, D::Error> {
    #[derive(DeriveDeserialize)]
    struct Inner(#[serde(deserialize_with = "queue_table")] QueueTable<i64>);

    let tables = Option::<BTreeMap<String, Inner>>::deserialize(from)?.unwrap_or_default();
    Ok(tables.into_iter().map(|(client, Inner(table))| (client, table)).collect())
}

impl JsonBody for ConsumerStatusBody {
    fn to_json_dialect(&self, dialect: JsonDialect) -> Vec<u8> {
        let mut tables = ObjectWriter::new(dialect);
        for (client, table) in &self.consumer_table {
            tables = tables.raw_field(client, &write_object_keys(table, dialect));
        }
        ObjectWriter::new(dialect)
            .raw_field("consumerTable", &tables.finish())
            .raw_field("messageQueueTable", &write_object_keys(&self.message_queue_table, dialect))
            .finish()
    }
}
