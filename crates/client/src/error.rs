//! What can go wrong, honestly.

use timbermq_remoting::ResponseCode;
use timbermq_transport::CallError;

/// Why an operation has no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// It was certainly not carried out.
    #[error("{}{reason}", code.map(|code| format!("refused{} with {code}: ", at(addr))).unwrap_or_default())]
    Refused {
        /// The response code, if there was a response.
        code: Option<ResponseCode>,
        /// Who refused, `host:port`; empty if nobody was reached.
        addr: String,
        /// In words.
        reason: String,
    },
    /// It may have been carried out, or may yet be.
    #[error("outcome unknown{}: {reason}", at(addr))]
    Unknown {
        /// The response code, if there was a response.
        code: Option<ResponseCode>,
        /// Who was asked, `host:port`.
        addr: String,
        /// In words.
        reason: String,
    },
}

fn at(addr: &str) -> String {
    if addr.is_empty() { String::new() } else { format!(" by {addr}") }
}

impl ClientError {
    /// Whether the operation may have been carried out.
    #[must_use]
    pub fn is_unknown(&self) -> bool {
        matches!(self, ClientError::Unknown { .. })
    }

    /// The response code, if there was a response.
    #[must_use]
    pub fn code(&self) -> Option<ResponseCode> {
        match self {
            ClientError::Refused { code, .. } | ClientError::Unknown { code, .. } => *code,
        }
    }

    pub(crate) fn refused(reason: impl Into<String>) -> Self {
        ClientError::Refused { code: None, addr: String::new(), reason: reason.into() }
    }

    pub(crate) fn from_call(addr: &str, error: &CallError) -> Self {
        let (addr, reason) = (addr.to_owned(), error.to_string());
        if error.is_unknown() {
            ClientError::Unknown { code: None, addr, reason }
        } else {
            ClientError::Refused { code: None, addr, reason }
        }
    }

    /// A response that is no success. SYSTEM_ERROR covers everything that went wrong half-way, and the codes of half
    /// success say that something was stored.
    pub(crate) fn from_response(addr: &str, code: ResponseCode, remark: Option<String>) -> Self {
        let (addr, reason) = (addr.to_owned(), remark.unwrap_or_default());
        let half_done = [
            ResponseCode::SYSTEM_ERROR,
            ResponseCode::FLUSH_DISK_TIMEOUT,
            ResponseCode::SLAVE_NOT_AVAILABLE,
            ResponseCode::FLUSH_SLAVE_TIMEOUT,
        ];
        let code_known = code.name().is_some();
        if half_done.contains(&code) || !code_known {
            ClientError::Unknown { code: Some(code), addr, reason }
        } else {
            ClientError::Refused { code: Some(code), addr, reason }
        }
    }

    /// The same from a broker that may have carried out what it says it could not.
    pub(crate) fn doubted(self) -> Self {
        match self {
            ClientError::Refused { code: code @ Some(refusal), addr, reason } if is_passing(refusal) => {
                ClientError::Unknown { code, addr, reason }
            }
            certain => certain,
        }
    }

    /// A response that says success and cannot be understood.
    pub(crate) fn garbled(addr: &str, reason: impl std::fmt::Display) -> Self {
        ClientError::Unknown { code: None, addr: addr.to_owned(), reason: format!("unreadable response: {reason}") }
    }

    /// Whether another replica, or the same after a moment, may do better.
    pub(crate) fn is_about_route(&self) -> bool {
        match self.code() {
            None => true,
            Some(code) => [
                ResponseCode::SYSTEM_ERROR,
                ResponseCode::SYSTEM_BUSY,
                ResponseCode::SERVICE_NOT_AVAILABLE,
                ResponseCode::TOPIC_NOT_EXIST,
            ]
            .contains(&code),
        }
    }
}

/// Whether a refusal is about the moment: a leader is being elected, or there is too much to do.
pub(crate) fn is_passing(code: ResponseCode) -> bool {
    [ResponseCode::SERVICE_NOT_AVAILABLE, ResponseCode::SYSTEM_BUSY].contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_doubts_refusals_takes_those_of_the_moment_for_unknown_and_no_others() {
        let answered = |code| ClientError::from_response("a:1", code, None);
        for code in [ResponseCode::SERVICE_NOT_AVAILABLE, ResponseCode::SYSTEM_BUSY] {
            assert!(!answered(code).is_unknown());
            assert!(answered(code).doubted().is_unknown(), "{code}");
            assert_eq!(answered(code).doubted().code(), Some(code));
        }
        for code in [ResponseCode::NO_PERMISSION, ResponseCode::TOPIC_NOT_EXIST, ResponseCode::MESSAGE_ILLEGAL] {
            assert!(!answered(code).doubted().is_unknown(), "{code}");
        }
        // Who was never reached did nothing.
        assert!(!ClientError::refused("no connection").doubted().is_unknown());
    }
}
