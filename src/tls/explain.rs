//! What a failed handshake means, and what to do about it.

use std::io;

use rustls::pki_types::UnixTime;
use rustls::{AlertDescription, CertificateError, Error};

/// What the settings are called, so that an explanation can name the one to change.
#[derive(Clone, Copy, Debug)]
pub struct Names {
    /// The CAs that are trusted.
    pub ca: &'static str,
    /// Our own certificate.
    pub certificate: &'static str,
    /// How far names are looked at.
    pub name: &'static str,
    /// What makes it TLS at all.
    pub protocol: &'static str,
}

/// The TLS error inside an I/O error, where there is one.
pub fn in_io(error: &io::Error) -> Option<&Error> {
    cause(error)
}

/// The first of an error and its causes that is of this type.
pub fn cause<'e, E: std::error::Error + 'static>(
    error: &'e (dyn std::error::Error + 'static),
) -> Option<&'e E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        // `source` of an I/O error skips the error that it wraps.
        next = match error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::get_ref)
        {
            Some(wrapped) => Some(wrapped),
            None => error.source(),
        };
    }
    None
}

/// What the innermost cause says; the outer ones only say that there is one.
pub fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut root = error;
    while let Some(source) = root.source() {
        root = source;
    }
    root.to_string()
}

/// Whether four bytes begin a TLS record instead of the length of a Kafka frame: whoever asks a TLS
/// listener in plaintext gets an alert (0x15) back, or a part of a handshake (0x16).
pub const fn is_tls(start: [u8; 4]) -> bool {
    matches!(start, [0x15 | 0x16, 3, 0..=4, _])
}

/// What went wrong and what to do. `shows_identity`: whether we have a certificate of our own.
pub fn explain(error: &Error, names: Names, shows_identity: bool) -> String {
    match error {
        Error::InvalidCertificate(why) => certificate(why, names),
        Error::AlertReceived(alert) => alert_received(*alert, names, shows_identity),
        Error::InvalidMessage(_) => format!(
            "it does not speak TLS: is this a plaintext listener? (see {})",
            names.protocol
        ),
        // Kafka 2.8 on Java 17, measured: a refusal of a client's certificate comes under keys that
        // are no longer in use.
        Error::DecryptError if shows_identity => format!(
            "it broke off unreadably, as old Kafka releases do where the listener refuses our \
             certificate: its dates, its CA or its use; see {}",
            names.certificate
        ),
        Error::DecryptError => format!(
            "it broke off unreadably, as old Kafka releases do where the listener wants a client \
             certificate: set {}",
            names.certificate
        ),
        Error::PeerIncompatible(why) => {
            format!("it speaks no TLS that is safe (1.2 or 1.3): {why:?}")
        }
        other => other.to_string(),
    }
}

fn certificate(why: &CertificateError, names: Names) -> String {
    let Names { ca, name, .. } = names;
    match why {
        CertificateError::Expired => String::from("its certificate has expired: renew it there"),
        CertificateError::ExpiredContext { not_after, .. } => format!(
            "its certificate has expired at {}: renew it there",
            moment(*not_after)
        ),
        CertificateError::NotValidYet => String::from("its certificate is not valid yet"),
        CertificateError::NotValidYetContext { not_before, .. } => format!(
            "its certificate is not valid before {}: compare the clocks",
            moment(*not_before)
        ),
        CertificateError::UnknownIssuer => {
            format!("its certificate is not from a trusted CA: name the CA's file as {ca}")
        }
        CertificateError::BadSignature => format!(
            "its certificate bears the name of a trusted CA and not its signature: is {ca} an old \
             one?"
        ),
        CertificateError::NotValidForName => {
            format!("its certificate is for another host (see {name})")
        }
        CertificateError::NotValidForNameContext {
            expected,
            presented,
        } => format!(
            "its certificate is not for {}, only for {} (see {name})",
            expected.to_str(),
            bare(presented)
        ),
        CertificateError::Revoked => String::from("its certificate was revoked"),
        other => format!("its certificate is no good: {other}"),
    }
}

/// `DnsName("kafka")`, as rustls has it, without the wrapping.
fn bare(presented: &[String]) -> String {
    let names = presented.iter().map(|name| {
        let inner = name
            .split_once('(')
            .map_or(name.as_str(), |(_, inner)| inner);
        inner.trim_end_matches(')').trim_matches('"')
    });
    names.collect::<Vec<_>>().join(", ")
}

/// What the other side says of us. Java says `bad_certificate` when it wants one and gets none, and
/// `certificate_unknown` of nearly everything it does not like in one.
fn alert_received(alert: AlertDescription, names: Names, shows_identity: bool) -> String {
    let Names {
        certificate: ours,
        protocol,
        ..
    } = names;
    match alert {
        AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::HandshakeFailure
            if !shows_identity =>
        {
            format!("it refuses us, most likely for want of a client certificate: set {ours}")
        }
        AlertDescription::CertificateExpired => {
            format!("it says that our certificate has expired: renew {ours}")
        }
        AlertDescription::UnknownCA => {
            format!("it does not trust the CA of our certificate ({ours})")
        }
        AlertDescription::CertificateRequired
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateRevoked
        | AlertDescription::UnsupportedCertificate
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => {
            format!(
                "it refuses our certificate ({alert:?}): its dates, its CA or its use; see {ours}"
            )
        }
        AlertDescription::ProtocolVersion | AlertDescription::HandshakeFailure => {
            format!("it knows no TLS version or cipher in common with us ({alert:?})")
        }
        AlertDescription::UnrecognisedName => {
            String::from("it does not know itself by the name that is asked for")
        }
        alert => format!("it broke off with the alert {alert:?} (see {protocol})"),
    }
}

fn moment(at: UnixTime) -> String {
    i64::try_from(at.as_secs())
        .ok()
        .and_then(|seconds| jiff::Timestamp::from_second(seconds).ok())
        .map_or_else(|| String::from("some time"), |at| at.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: Names = Names {
        ca: "the-ca",
        certificate: "our-own",
        name: "the-name",
        protocol: "the-protocol",
    };

    #[test]
    fn a_refusal_of_our_certificate_is_told_from_the_want_of_one() {
        let alert = Error::AlertReceived;
        for (error, with, without) in [
            (
                alert(AlertDescription::BadCertificate),
                "refuses our certificate",
                "want of a client certificate",
            ),
            (
                Error::DecryptError,
                "refuses our certificate",
                "wants a client certificate",
            ),
            (
                alert(AlertDescription::CertificateExpired),
                "our certificate has expired",
                "our certificate has expired",
            ),
        ] {
            for (shows, words) in [(true, with), (false, without)] {
                let said = explain(&error, NAMES, shows);
                assert!(said.contains(words) && said.contains("our-own"), "{said}");
            }
        }
    }

    #[test]
    fn only_tls_looks_like_tls() {
        assert!(is_tls([0x15, 3, 3, 0]) && is_tls([0x16, 3, 1, 2]));
        for length in [10_u32, 64 << 20, 0x1503_0500, 0x1404_0000] {
            assert!(!is_tls(length.to_be_bytes()), "{length:#x}");
        }
    }
}
