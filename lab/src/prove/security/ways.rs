//! The ways in, and what can be wrong with each.

use crate::prove::gate::Reason;

/// A way to log in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    Certificate,
    Plain,
    Scram256,
    Scram512,
    Bearer,
}

impl Way {
    pub(super) const ALL: [Self; 5] = [
        Self::Certificate,
        Self::Plain,
        Self::Scram256,
        Self::Scram512,
        Self::Bearer,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Certificate => "mTLS",
            Self::Plain => "PLAIN",
            Self::Scram256 => "SCRAM-SHA-256",
            Self::Scram512 => "SCRAM-SHA-512",
            Self::Bearer => "OAUTHBEARER",
        }
    }
}

/// What is wrong, and the words that have to be said of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Case {
    WrongSecret,
    ExpiredToken,
    ExpiredCertificate,
    UnknownCa,
    WrongHost,
}

impl Case {
    pub(super) const ALL: [Self; 5] = [
        Self::WrongSecret,
        Self::ExpiredToken,
        Self::ExpiredCertificate,
        Self::UnknownCa,
        Self::WrongHost,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::WrongSecret => "wrong_secret",
            Self::ExpiredToken => "expired_token",
            Self::ExpiredCertificate => "expired_certificate",
            Self::UnknownCa => "unknown_ca",
            Self::WrongHost => "wrong_host_name",
        }
    }

    /// The step that has to be named: a certificate of ours is refused in the handshake.
    pub(super) const fn step(self, way: Way) -> &'static str {
        match (self, way) {
            (Self::WrongSecret | Self::ExpiredToken, Way::Certificate)
            | (Self::ExpiredCertificate | Self::UnknownCa | Self::WrongHost, _) => "tls",
            (Self::WrongSecret | Self::ExpiredToken, _) => "sasl",
        }
    }

    /// What has to be said; `None` where there is no such case.
    pub(super) const fn words(self, way: Way) -> Option<&'static str> {
        match (self, way) {
            (Self::WrongSecret, Way::Certificate) => Some("refuses our certificate"),
            (Self::WrongSecret, Way::Bearer) => Some("invalid_token"),
            (Self::WrongSecret, _) => Some("SASL_AUTHENTICATION_FAILED"),
            // A certificate is the token of mTLS.
            (Self::ExpiredToken, Way::Certificate) => Some("our certificate"),
            (Self::ExpiredToken, Way::Bearer) => Some("expired"),
            (Self::ExpiredToken, Way::Plain | Way::Scram256 | Way::Scram512) => None,
            (Self::ExpiredCertificate, _) => Some("its certificate has expired"),
            (Self::UnknownCa, _) => Some("not from a trusted CA"),
            (Self::WrongHost, _) => Some("is not for 127.0.0.1"),
        }
    }
}

/// What has to be heard: words, and the step of the reason that has them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub(super) words: &'static str,
    pub(super) step: Option<&'static str>,
}

impl Heard {
    pub(super) const fn of(step: &'static str, words: &'static str) -> Self {
        let step = Some(step);
        Self { words, step }
    }

    pub(super) const fn words(words: &'static str) -> Self {
        Self { words, step: None }
    }

    pub(super) fn is_in(self, reason: &Reason) -> bool {
        let step = self
            .step
            .is_none_or(|step| reason.step.as_deref() == Some(step));
        step && reason.observed.contains(self.words)
    }

    /// What a row expects of a fault.
    pub(super) fn never_open(self) -> String {
        let step = self.step.unwrap_or("any");
        format!("never open; step {step}; says \"{}\"", self.words)
    }
}
