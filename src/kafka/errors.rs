//! Kafka's error codes: their names, and which class of failure each is.

use std::fmt::Display;

use kafka_protocol::error::ResponseError;

use crate::evidence::known::{Known, Why};
use crate::evidence::report::{FailureClass, SourceFailure};

/// 3: a topic that was deleted since it was listed, or a replica this broker does not host.
pub const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
/// 29: no right on this topic.
pub const TOPIC_AUTHORIZATION_FAILED: i16 = 29;
/// 30: no right on this group.
pub const GROUP_AUTHORIZATION_FAILED: i16 = 30;
/// 31: no right on the cluster.
pub const CLUSTER_AUTHORIZATION_FAILED: i16 = 31;
/// 35: the node does not know this version of the request.
pub const UNSUPPORTED_VERSION: i16 = 35;
/// 42: among others, a broker asked for another broker's configuration.
pub const INVALID_REQUEST: i16 = 42;
/// 75: the replica has not yet been told of the leader epoch that was asked for.
pub const UNKNOWN_LEADER_EPOCH: i16 = 75;

/// Kafka's own name of an error code, such as `NOT_LEADER_OR_FOLLOWER`.
pub fn name(code: i16) -> String {
    match ResponseError::try_from_code(code) {
        None => String::from("NONE"),
        Some(ResponseError::Unknown(code)) => format!("error {code}"),
        Some(error) => upper_snake(&error.to_string()),
    }
}

fn upper_snake(camel: &str) -> String {
    let mut out = String::with_capacity(camel.len().saturating_add(8));
    for letter in camel.chars() {
        if letter.is_ascii_uppercase() && !out.is_empty() {
            out.push('_');
        }
        out.push(letter.to_ascii_uppercase());
    }
    out
}

/// The class of failure an error code stands for; `None` for 0.
pub const fn class(code: i16) -> Option<FailureClass> {
    match code {
        0 => None,
        TOPIC_AUTHORIZATION_FAILED
        | GROUP_AUTHORIZATION_FAILED
        | CLUSTER_AUTHORIZATION_FAILED
        | 53 // TRANSACTIONAL_ID_AUTHORIZATION_FAILED
        | 65 => Some(FailureClass::Authorization), // DELEGATION_TOKEN_AUTHORIZATION_FAILED
        UNSUPPORTED_VERSION => Some(FailureClass::Unsupported),
        33 | 34 | 58 => Some(FailureClass::Authentication), // SASL mechanism, state, failed
        89 => Some(FailureClass::Throttled), // THROTTLING_QUOTA_EXCEEDED
        other => Some(FailureClass::Kafka(other)),
    }
}

/// Ok for code 0; else the failure, in words: "describe quorum at 10.0.0.1:9092: NOT_CONTROLLER
/// (message)".
pub fn check(code: i16, message: Option<&str>, what: impl Display) -> Result<(), SourceFailure> {
    let Some(class) = class(code) else {
        return Ok(());
    };
    let name = name(code);
    let detail = match message {
        Some(message) if !message.is_empty() => format!("{what}: {name} ({message})"),
        Some(_) | None => format!("{what}: {name}"),
    };
    Err(SourceFailure::new(class, detail))
}

/// An offset as a fact: an error code or a negative number is never a value.
pub fn offset(code: i16, offset: i64) -> Known<i64> {
    match code {
        0 if offset >= 0 => Known::Is(offset),
        0 => Known::Failed(Why(format!("no offset ({offset})"))),
        TOPIC_AUTHORIZATION_FAILED | GROUP_AUTHORIZATION_FAILED | CLUSTER_AUTHORIZATION_FAILED => {
            Known::Hidden
        }
        code => Known::Failed(Why(name(code))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kafkas_own() {
        assert_eq!(name(6), "NOT_LEADER_OR_FOLLOWER");
        assert_eq!(name(35), "UNSUPPORTED_VERSION");
        assert_eq!(name(-1), "UNKNOWN_SERVER_ERROR");
        assert_eq!(name(9999), "error 9999");
    }

    #[test]
    fn a_negative_offset_is_never_a_value() {
        assert_eq!(offset(0, 0), Known::Is(0));
        assert!(offset(0, -1).value().is_none());
        assert!(offset(6, 7).value().is_none());
        assert_eq!(offset(29, -1), Known::Hidden);
    }
}
