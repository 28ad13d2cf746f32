//! Why a request gets no success, and the code for it.

use timbermq_remoting::body::BodyError;
use timbermq_remoting::{HeaderError, ResponseCode};
use timbermq_route::RegisterError;

/// Every outcome but success; the text is the response's remark.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refusal {
    #[error("{0}")]
    Header(#[from] HeaderError),
    #[error("{0}")]
    Body(#[from] BodyError),
    #[error("crc32 not match")]
    Crc,
    #[error("{0}")]
    Register(#[from] RegisterError),
    #[error("No topic route info in name server for the topic: {topic}")]
    NoRoute { topic: String },
    #[error("No config item, Namespace: {namespace} Key: {key}")]
    NoConfigItem { namespace: String, key: String },
    #[error("No config item, Namespace: {namespace}")]
    NoNamespace { namespace: String },
    #[error("{0}")]
    ConfigItem(String),
    #[error("a running NameServer's configuration cannot be changed; restart it with other settings")]
    ConfigFixed,
    #[error(" request type {0} not supported")]
    Unsupported(i32),
}

impl Refusal {
    pub(crate) fn code(&self) -> ResponseCode {
        match self {
            Refusal::Header(_) | Refusal::Body(_) | Refusal::Crc | Refusal::Register(_) | Refusal::ConfigItem(_) => {
                ResponseCode::SYSTEM_ERROR
            }
            Refusal::NoRoute { .. } => ResponseCode::TOPIC_NOT_EXIST,
            Refusal::NoConfigItem { .. } | Refusal::NoNamespace { .. } => ResponseCode::QUERY_NOT_FOUND,
            Refusal::ConfigFixed => ResponseCode::NO_PERMISSION,
            Refusal::Unsupported(_) => ResponseCode::REQUEST_CODE_NOT_SUPPORTED,
        }
    }
}
