//! At which step a source failed, in one word that a program can tell apart: the description of a
//! failure is for people.

use std::fmt;

use super::report::{Cap, FailureClass};

/// The steps from a name to a usable answer, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// Our own files, before anything is asked.
    Files,
    /// The name of the host.
    Dns,
    /// The connection.
    Connect,
    /// TLS.
    Tls,
    /// The login at a Kafka listener, a token for it included.
    Sasl,
    /// The login at an exporter.
    HttpLogin,
    /// Who it is that answers.
    Identity,
    /// What we may see.
    Authorization,
    /// An answer at all, in time.
    Answer,
    /// What is answered.
    Protocol,
}

impl Step {
    /// All of them, in their order.
    pub const ALL: [Self; 10] = [
        Self::Files,
        Self::Dns,
        Self::Connect,
        Self::Tls,
        Self::Sasl,
        Self::HttpLogin,
        Self::Identity,
        Self::Authorization,
        Self::Answer,
        Self::Protocol,
    ];

    /// The word in the API and the docs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Files => "files",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Sasl => "sasl",
            Self::HttpLogin => "http_login",
            Self::Identity => "identity",
            Self::Authorization => "authorization",
            Self::Answer => "answer",
            Self::Protocol => "protocol",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FailureClass {
    /// The step that it stopped at.
    pub const fn step(self) -> Step {
        match self {
            Self::OwnFile => Step::Files,
            Self::Resolve => Step::Dns,
            Self::Refused | Self::ConnectTimeout => Step::Connect,
            Self::Tls => Step::Tls,
            Self::Authentication
            | Self::TooLarge(Cap::LoginBytes | Cap::TokenBytes | Cap::LoginIterations) => {
                Step::Sasl
            }
            // 401: who are you; 407: the same, by a proxy.
            Self::HttpStatus(401 | 407) => Step::HttpLogin,
            Self::WrongNode | Self::WrongCluster => Step::Identity,
            Self::Authorization | Self::HttpStatus(403) => Step::Authorization,
            Self::Closed | Self::Timeout | Self::Throttled => Step::Answer,
            Self::Malformed
            | Self::Kafka(_)
            | Self::HttpStatus(_)
            | Self::NotKafkaMetrics
            | Self::Cut
            | Self::TooLarge(
                Cap::FrameBytes | Cap::Nodes | Cap::PageBytes | Cap::PageSamples | Cap::PageBrokers,
            )
            | Self::Unsupported => Step::Protocol,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// What a wrong setting of ours ends in is another word for each setting.
    #[test]
    fn each_step_has_its_word() {
        for (class, word) in [
            (FailureClass::OwnFile, "files"),
            (FailureClass::Resolve, "dns"),
            (FailureClass::Refused, "connect"),
            (FailureClass::Tls, "tls"),
            (FailureClass::Authentication, "sasl"),
            (FailureClass::TooLarge(Cap::TokenBytes), "sasl"),
            (FailureClass::HttpStatus(401), "http_login"),
            (FailureClass::HttpStatus(403), "authorization"),
            (FailureClass::HttpStatus(500), "protocol"),
            (FailureClass::Authorization, "authorization"),
            (FailureClass::WrongCluster, "identity"),
            (FailureClass::Closed, "answer"),
            (FailureClass::TooLarge(Cap::FrameBytes), "protocol"),
        ] {
            assert_eq!(class.step().as_str(), word, "{class:?}");
        }
        let words: BTreeSet<_> = Step::ALL.iter().map(|step| step.as_str()).collect();
        assert_eq!(words.len(), Step::ALL.len());
    }
}
