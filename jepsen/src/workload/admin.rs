//! Topics and consumer groups as registers.

use timbermq_check::history::{Action, ConfigKind, Outcome};
use timbermq_client::{ClientError, RemotingCommand, RequestCode};
use timbermq_remoting::ResponseCode;
use timbermq_remoting::body::{JsonBody, SubscriptionGroupConfig, TopicConfig};
use timbermq_remoting::header::{CreateTopicHeader, DeleteSubscriptionGroupHeader, GroupHeader, TopicHeader};

use super::{Bench, Rotation, Until, Worker, Workload};
use crate::recorder::outcome;

/// Operators who set and read the same topics and groups.
pub(super) struct Admin;

/// Operations on one name.
const PER_NAME: u64 = 60;
/// Operators on the same names.
const RIVALS: u32 = 3;

impl Workload for Admin {
    fn name(&self) -> &'static str {
        "admin"
    }

    fn about(&self) -> &'static str {
        "topic and group settings as registers: linearizable through the leader"
    }

    fn required(&self) -> &'static [u8] {
        &[1, 2, 3, 23]
    }

    fn only_for_product(&self) -> Option<&'static str> {
        Some("elsewhere settings are no registers: a replica answers with what it has")
    }

    fn start(&self, bench: &Bench) {
        bench.spawn(Until::Stop, super::queue::produce(bench.worker("producer-0")));
        for set in 0..bench.clients.div_ceil(RIVALS) {
            let rotation = Rotation::new(PER_NAME);
            for n in 0..RIVALS {
                let worker = bench.worker(&format!("operator-{set}-{n}"));
                bench.spawn(Until::Stop, configure(worker, (set, u64::from(n)), rotation.clone()));
            }
        }
    }
}

async fn configure(mut worker: Worker, (set, nth): (u32, u64), rotation: Rotation) {
    // Never the value of a change before, another operator's included.
    let mut value = nth;
    while !worker.bench.stopped() {
        let block = rotation.next();
        let kind = if block.is_multiple_of(2) { ConfigKind::Group } else { ConfigKind::Topic };
        let name = format!("{}-settings-{set}-{block}", worker.bench.topic);
        if worker.dice.percent(40) {
            value += u64::from(RIVALS);
            // The name of a deleted topic is not used again.
            let is_gone = kind == ConfigKind::Group && worker.dice.percent(15);
            if put(&worker, kind, name, (!is_gone).then_some(value)).await == Outcome::Unknown {
                rotation.leave(block);
            }
        } else {
            get(&worker, kind, name).await;
        }
        worker.pause().await;
    }
}

async fn put(worker: &Worker, kind: ConfigKind, name: String, value: Option<u64>) -> Outcome {
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
    let invoke = worker.now();
    // Sent again, the first might take effect after the second was answered.
    let answer = worker.client.call_broker_once(&worker.bench.target.group, request).await;
    worker.done(
        invoke,
        outcome(&answer),
        Action::PutConfig { kind, name, value: value.map(|value| value.to_string()) },
    );
    outcome(&answer)
}

async fn get(worker: &Worker, kind: ConfigKind, name: String) {
    let request = match kind {
        ConfigKind::Group => RemotingCommand::request(RequestCode::GET_SUBSCRIPTIONGROUP_CONFIG)
            .with_header(&GroupHeader { group: name.clone() }),
        ConfigKind::Topic => {
            RemotingCommand::request(RequestCode::GET_TOPIC_CONFIG).with_header(&TopicHeader { topic: name.clone() })
        }
    };
    let invoke = worker.now();
    let answer = worker.client.call_broker(&worker.bench.target.group, request).await;
    let value = answer.as_ref().ok().and_then(|answer| match kind {
        ConfigKind::Group => {
            SubscriptionGroupConfig::from_json(&answer.body).ok().map(|config| config.retry_max_times.to_string())
        }
        ConfigKind::Topic => TopicConfig::from_json(&answer.body).ok().map(|config| config.topic_sys_flag.to_string()),
    });
    let is_missing = |error: &ClientError| {
        let missing = [ResponseCode::SUBSCRIPTION_GROUP_NOT_EXIST, ResponseCode::TOPIC_NOT_EXIST];
        error.code().is_some_and(|code| missing.contains(&code))
    };
    let outcome = match &answer {
        Err(error) if is_missing(error) => Outcome::Ok,
        answer => outcome(answer),
    };
    worker.done(invoke, outcome, Action::GetConfig { kind, name, value });
}
