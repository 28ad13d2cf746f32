//! Administration.

use std::collections::BTreeMap;

use timbermq_remoting::body::{
    ConsumeStats, ConsumerConnection, JsonBody, KvTable, SubscriptionGroupConfig, SubscriptionGroupTable, TopicList,
    TopicStatsTable,
};
use timbermq_remoting::header::{
    ConsumerGroupHeader, CreateTopicHeader, DeleteSubscriptionGroupHeader, DeleteTopicFromNamesrvHeader,
    GetConsumeStatsHeader, KvConfigHeader, TopicHeader,
};
use timbermq_remoting::{RemotingCommand, RequestCode};
use timbermq_types::{PERM_READ, PERM_WRITE};

use crate::client::{Answered, Client};
use crate::error::ClientError;

/// Namespace of the queue counts of ordered topics.
const ORDER_TOPIC_NAMESPACE: &str = "ORDER_TOPIC_CONFIG";

/// What a topic is to be like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicSettings {
    /// Queues to read.
    pub read_queues: u32,
    /// Queues to write.
    pub write_queues: u32,
    /// `PERM_*` bits.
    pub perm: u32,
    /// Whether it is declared to be ordered.
    pub order: bool,
    /// Changes of attributes: `+name=value` sets, `-name` removes.
    pub attributes: Vec<String>,
}

impl Default for TopicSettings {
    /// 8 queues, readable and writable.
    fn default() -> Self {
        Self { read_queues: 8, write_queues: 8, perm: PERM_READ | PERM_WRITE, order: false, attributes: Vec::new() }
    }
}

impl Client {
    /// Names of all broker groups.
    ///
    /// # Errors
    /// No NameServer answers.
    pub async fn broker_names(&self) -> Result<Vec<String>, ClientError> {
        Ok(self.cluster_info().await?.broker_addr_table.into_keys().collect())
    }

    /// Names of all topics that a NameServer knows.
    ///
    /// # Errors
    /// No NameServer answers.
    pub async fn topic_list(&self) -> Result<Vec<String>, ClientError> {
        let request = RemotingCommand::request(RequestCode::GET_ALL_TOPIC_LIST_FROM_NAMESERVER);
        let Answered { response, addr } = self.ask_name_server(request).await?;
        let list = TopicList::from_json(&response.body).map_err(|error| ClientError::garbled(&addr, error))?;
        Ok(list.topic_list)
    }

    /// Creates a topic in a broker group, or changes it.
    ///
    /// # Errors
    /// The group does not answer in time, or refuses.
    pub async fn put_topic(&self, broker_name: &str, topic: &str, settings: &TopicSettings) -> Result<(), ClientError> {
        self.call_broker(broker_name, put_topic_request(topic, settings)?).await.map(drop)
    }

    /// Creates a topic on the replica at `addr`, or changes it there, for brokers whose replicas each have topics of their own.
    ///
    /// # Errors
    /// It does not answer in time, or refuses.
    pub async fn put_topic_at(&self, addr: &str, topic: &str, settings: &TopicSettings) -> Result<(), ClientError> {
        let request = put_topic_request(topic, settings)?;
        self.ask(addr, request, self.shared.config.timeout, &[]).await.map(drop)
    }

    /// Deletes a topic in every broker group, then at every NameServer.
    ///
    /// # Errors
    /// Something does not answer in time, or refuses; the topic may be deleted in part.
    pub async fn delete_topic(&self, topic: &str) -> Result<(), ClientError> {
        let header = TopicHeader { topic: topic.to_owned() };
        for broker_name in self.broker_names().await? {
            let request = RemotingCommand::request(RequestCode::DELETE_TOPIC_IN_BROKER).with_header(&header);
            self.call_broker(&broker_name, request).await?;
        }
        let header = DeleteTopicFromNamesrvHeader { topic: topic.to_owned(), cluster_name: None };
        let request = RemotingCommand::request(RequestCode::DELETE_TOPIC_IN_NAMESRV).with_header(&header);
        self.tell_name_servers(request).await?;
        let header = KvConfigHeader { namespace: ORDER_TOPIC_NAMESPACE.to_owned(), key: topic.to_owned() };
        let request = RemotingCommand::request(RequestCode::DELETE_KV_CONFIG).with_header(&header);
        self.tell_name_servers(request).await
    }

    /// The consumer groups of a broker group, by name.
    ///
    /// # Errors
    /// The group does not answer in time, or refuses.
    pub async fn group_list(
        &self,
        broker_name: &str,
    ) -> Result<BTreeMap<String, SubscriptionGroupConfig>, ClientError> {
        let request = RemotingCommand::request(RequestCode::GET_ALL_SUBSCRIPTIONGROUP_CONFIG);
        let table: SubscriptionGroupTable = self.ask_body(broker_name, request).await?;
        Ok(table.subscription_group_table)
    }

    /// Creates a consumer group in a broker group, or changes it.
    ///
    /// # Errors
    /// As [`Client::group_list`].
    pub async fn put_group(&self, broker_name: &str, group: &SubscriptionGroupConfig) -> Result<(), ClientError> {
        let request = RemotingCommand::request(RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP);
        self.call_broker(broker_name, request.with_body(group.to_json())).await.map(drop)
    }

    /// Deletes a consumer group in a broker group, with its offsets if wanted.
    ///
    /// # Errors
    /// As [`Client::group_list`].
    pub async fn delete_group(&self, broker_name: &str, group: &str, clean_offset: bool) -> Result<(), ClientError> {
        let header = DeleteSubscriptionGroupHeader { group_name: group.to_owned(), clean_offset };
        let request = RemotingCommand::request(RequestCode::DELETE_SUBSCRIPTIONGROUP).with_header(&header);
        self.call_broker(broker_name, request).await.map(drop)
    }

    /// Runtime information of one broker (28).
    ///
    /// # Errors
    /// It does not answer in time, or refuses.
    pub async fn runtime_info(&self, addr: &str) -> Result<BTreeMap<String, String>, ClientError> {
        let request = RemotingCommand::request(RequestCode::GET_BROKER_RUNTIME_INFO);
        let response = self.call(addr, request, self.shared.config.timeout).await?;
        match response.response_code() {
            timbermq_remoting::ResponseCode::SUCCESS => {
                let table = KvTable::from_json(&response.body).map_err(|error| ClientError::garbled(addr, error))?;
                Ok(table.table)
            }
            code => Err(ClientError::from_response(addr, code, response.remark)),
        }
    }

    /// Bounds of a topic's queues in a broker group (202).
    ///
    /// # Errors
    /// As [`Client::group_list`].
    pub async fn topic_stats(&self, broker_name: &str, topic: &str) -> Result<TopicStatsTable, ClientError> {
        let header = TopicHeader { topic: topic.to_owned() };
        let request = RemotingCommand::request(RequestCode::GET_TOPIC_STATS_INFO).with_header(&header);
        self.ask_body(broker_name, request).await
    }

    /// Positions of a consumer group in a broker group (208).
    ///
    /// # Errors
    /// As [`Client::group_list`].
    pub async fn consume_stats(&self, broker_name: &str, group: &str) -> Result<ConsumeStats, ClientError> {
        let header = GetConsumeStatsHeader { consumer_group: group.to_owned(), topic: None, topic_list: None };
        let request = RemotingCommand::request(RequestCode::GET_CONSUME_STATS).with_header(&header);
        self.ask_body(broker_name, request).await
    }

    /// Members of a consumer group that a broker group sees (203).
    ///
    /// # Errors
    /// As [`Client::group_list`]; 206 when nobody is there.
    pub async fn consumer_connections(
        &self,
        broker_name: &str,
        group: &str,
    ) -> Result<ConsumerConnection, ClientError> {
        let header = ConsumerGroupHeader { consumer_group: group.to_owned() };
        let request = RemotingCommand::request(RequestCode::GET_CONSUMER_CONNECTION_LIST).with_header(&header);
        self.ask_body(broker_name, request).await
    }

    async fn ask_body<B: JsonBody>(&self, broker_name: &str, request: RemotingCommand) -> Result<B, ClientError> {
        let response = self.call_broker(broker_name, request).await?;
        B::from_json(&response.body).map_err(|error| ClientError::garbled(broker_name, error))
    }
}

fn put_topic_request(topic: &str, settings: &TopicSettings) -> Result<RemotingCommand, ClientError> {
    let number = |number: u32| i32::try_from(number).map_err(|_| ClientError::refused("a number is too large"));
    let attributes = settings.attributes.join(",");
    let header = CreateTopicHeader {
        topic: topic.to_owned(),
        default_topic: "TBW102".to_owned(),
        read_queue_nums: number(settings.read_queues)?,
        write_queue_nums: number(settings.write_queues)?,
        perm: number(settings.perm)?,
        topic_filter_type: "SINGLE_TAG".to_owned(),
        topic_sys_flag: Some(0),
        order: settings.order,
        attributes: (!attributes.is_empty()).then_some(attributes),
        force: None,
    };
    Ok(RemotingCommand::request(RequestCode::UPDATE_AND_CREATE_TOPIC).with_header(&header))
}
