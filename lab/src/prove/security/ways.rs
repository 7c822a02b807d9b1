//! The ways in, and what can be wrong with each.

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
