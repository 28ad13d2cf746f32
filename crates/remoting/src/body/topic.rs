//! Topics (17, 18, 21, 351), lists and tables of text (28, 206, 219, 300).

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::tolerant;

/// The settings of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfig {
    /// Attributes such as `message.type`.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub attributes: BTreeMap<String, String>,
    /// Whether the topic is an ordered one.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub order: bool,
    /// Permission bits: 1 inherit, 2 write, 4 read.
    pub perm: i32,
    /// Queues that may be read.
    pub read_queue_nums: i32,
    /// `SINGLE_TAG` or `MULTI_TAG`.
    #[serde(deserialize_with = "filter_type")]
    pub topic_filter_type: String,
    /// Name.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub topic_name: String,
    /// System flag.
    pub topic_sys_flag: i32,
    /// Queues that may be written.
    pub write_queue_nums: i32,
}

const SINGLE_TAG: &str = "SINGLE_TAG";

fn filter_type<'de, D: serde::Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(from)?.unwrap_or_else(|| SINGLE_TAG.to_owned()))
}

impl Default for TopicConfig {
    /// A topic without a name, with 16 queues to read and write.
    fn default() -> Self {
        Self {
            attributes: BTreeMap::new(),
            order: false,
            perm: 6,
            read_queue_nums: 16,
            topic_filter_type: SINGLE_TAG.to_owned(),
            topic_name: String::new(),
            topic_sys_flag: 0,
            write_queue_nums: 16,
        }
    }
}

/// How new a set of settings is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct DataVersion {
    /// Number of changes.
    #[serde(deserialize_with = "tolerant::integer")]
    pub counter: i64,
    /// Leader term; the higher wins.
    #[serde(deserialize_with = "tolerant::integer")]
    pub state_version: i64,
    /// Time of the last change in ms.
    #[serde(deserialize_with = "tolerant::integer")]
    pub timestamp: i64,
}

/// Response body of 21, part of the body of 103.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigTable {
    /// How new the table is.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub data_version: DataVersion,
    /// Topics by name.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub topic_config_table: BTreeMap<String, TopicConfig>,
}

/// Body of 18.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicConfigList {
    /// Topics.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub topic_config_list: Vec<TopicConfig>,
}

/// Response body of 206, 224, 304, 305, 311 to 313 and 343.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct TopicList {
    /// Some broker, for callers that need one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub broker_addr: Option<String>,
    /// Names.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub topic_list: Vec<String>,
}

/// Response body of 28, 103 and 219: names and text.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct KvTable {
    /// The table.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub table: BTreeMap<String, String>,
}

/// Response body of 300.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct GroupList {
    /// Names.
    #[serde(deserialize_with = "tolerant::or_default")]
    pub group_list: Vec<String>,
}
