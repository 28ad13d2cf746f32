//! Operators who change what is configured, and read it back.

use timbermq_check::history::{Action, ConfigKind, Outcome};
use timbermq_client::{Client, ClientError, RemotingCommand, RequestCode};
use timbermq_remoting::ResponseCode;
use timbermq_remoting::body::{JsonBody, SubscriptionGroupConfig, TopicConfig};
use timbermq_remoting::header::{CreateTopicHeader, DeleteSubscriptionGroupHeader, GroupHeader, TopicHeader};

use super::{Worker, outcome_of};
use crate::node::GROUP;

/// Operations on one name. Few of them keep the search for an explanation small.
const ROUNDS: u64 = 40;

impl Worker {
    /// Starts this worker as one of two operators, the `nth`, who set and read the same groups and topics.
    pub fn configure(self, nth: u64) {
        self.spawn("client.configure", self.clone().configuring(nth));
    }

    async fn configuring(self, nth: u64) {
        let client = self.client("readers");
        let mut rng = self.rng();
        let mut round = 0;
        // Never the value of a change before, the other operator's included.
        let mut value = nth;
        while !self.stopped() {
            let block = round / ROUNDS;
            let kind = if block.is_multiple_of(2) { ConfigKind::Group } else { ConfigKind::Topic };
            let name = format!("settings-{block}");
            round += 1;
            let outcome = if rng.chance(400) {
                value += 2;
                // The name of a deleted topic is not used again.
                let is_gone = kind == ConfigKind::Group && rng.chance(150);
                self.put_config(&client, kind, name, (!is_gone).then_some(value)).await
            } else {
                self.get_config(&client, kind, name).await
            };
            if outcome == Outcome::Unknown {
                round = (block + 1) * ROUNDS;
            }
            self.env.sleep(std::time::Duration::from_millis(rng.below(self.options.pause_ms * 10))).await;
        }
    }

    async fn put_config(&self, client: &Client, kind: ConfigKind, name: String, value: Option<u64>) -> Outcome {
        let number = value.and_then(|value| i32::try_from(value).ok());
        let request = match (kind, number) {
            (ConfigKind::Group, None) => {
                let header = DeleteSubscriptionGroupHeader { group_name: name.clone(), clean_offset: false };
                RemotingCommand::request(RequestCode::DELETE_SUBSCRIPTIONGROUP).with_header(&header)
            }
            (ConfigKind::Group, Some(retry_max_times)) => {
                let body = SubscriptionGroupConfig { group_name: name.clone(), retry_max_times, ..Default::default() };
                RemotingCommand::request(RequestCode::UPDATE_AND_CREATE_SUBSCRIPTIONGROUP).with_body(body.to_json())
            }
            (ConfigKind::Topic, number) => {
                let header = CreateTopicHeader {
                    topic: name.clone(),
                    default_topic: "TBW102".into(),
                    read_queue_nums: 1,
                    write_queue_nums: 1,
                    perm: 6,
                    topic_filter_type: "SINGLE_TAG".into(),
                    // The broker keeps this number without a meaning of its own.
                    topic_sys_flag: number,
                    order: false,
                    attributes: None,
                    force: None,
                };
                RemotingCommand::request(RequestCode::UPDATE_AND_CREATE_TOPIC).with_header(&header)
            }
        };
        let invoke = self.recorder.now();
        // Sent again, the first might take effect after the second was answered.
        let answer = client.call_broker_once(GROUP, request).await;
        let outcome = answer.as_ref().map_or_else(outcome_of, |_| Outcome::Ok);
        let action = Action::PutConfig { kind, name, value: value.map(|value| value.to_string()) };
        self.recorder.done(&self.name, invoke, outcome, action);
        outcome
    }

    async fn get_config(&self, client: &Client, kind: ConfigKind, name: String) -> Outcome {
        let request = match kind {
            ConfigKind::Group => RemotingCommand::request(RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG)
                .with_header(&GroupHeader { group: name.clone() }),
            ConfigKind::Topic => RemotingCommand::request(RequestCode::GET_TOPIC_CONFIG)
                .with_header(&TopicHeader { topic: name.clone() }),
        };
        let invoke = self.recorder.now();
        let answer = client.call_broker(GROUP, request).await;
        let value = match (kind, &answer) {
            (ConfigKind::Group, Ok(answer)) => {
                SubscriptionGroupConfig::from_json(&answer.body).ok().map(|config| config.retry_max_times.to_string())
            }
            (ConfigKind::Topic, Ok(answer)) => {
                TopicConfig::from_json(&answer.body).ok().map(|config| config.topic_sys_flag.to_string())
            }
            (_, Err(_)) => None,
        };
        let is_missing = |error: &ClientError| {
            let code = error.code();
            code == Some(ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST) || code == Some(ResponseCode::TOPIC_NOT_EXIST)
        };
        let outcome = match &answer {
            Err(error) if !is_missing(error) => outcome_of(error),
            _ => Outcome::Ok,
        };
        self.recorder.done(&self.name, invoke, outcome, Action::GetConfig { kind, name, value });
        // A look that failed changed nothing.
        Outcome::Ok
    }
}
