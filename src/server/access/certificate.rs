//! The names in a caller's certificate.

use std::net::IpAddr;
use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};
use webpki::EndEntityCert;

use crate::rights::is_principal;

/// A certificate that a caller has proven to have.
#[derive(Debug)]
pub(in crate::server) struct Client(CertificateDer<'static>);

impl Client {
    pub(in crate::server) const fn new(certificate: CertificateDer<'static>) -> Self {
        Self(certificate)
    }

    /// Whether this is one of its subject alternative names.
    pub(super) fn is_named(&self, san: &str) -> bool {
        EndEntityCert::try_from(&self.0).is_ok_and(|certificate| is_named(&certificate, san))
    }

    /// What to call it: its first DNS name or URI, else its serial number.
    pub(super) fn name(&self) -> String {
        let Ok(certificate) = EndEntityCert::try_from(&self.0) else {
            return String::from("unreadable");
        };
        let mut names = certificate.valid_dns_names();
        let name = names
            .next()
            .or_else(|| certificate.valid_uri_names().next());
        name.filter(|name| is_principal(name)).map_or_else(
            || {
                let digits = certificate.serial().iter().take(20);
                let digits: Vec<_> = digits.map(|byte| format!("{byte:02x}")).collect();
                format!("serial-{}", digits.concat())
            },
            String::from,
        )
    }
}

/// Whether a name is of a kind that is looked for.
pub(super) fn can_be_listed(san: &str) -> bool {
    !san.is_empty() && !san.contains('@') && san.bytes().all(|b| b.is_ascii_graphic())
}

/// Exactly this name, as exporter-toolkit compares it.
fn is_named(certificate: &EndEntityCert<'_>, san: &str) -> bool {
    if let Ok(address) = san.parse::<IpAddr>() {
        let name = ServerName::IpAddress(address.into());
        return certificate.verify_is_valid_for_subject_name(&name).is_ok();
    }
    let mut names = certificate
        .valid_dns_names()
        .chain(certificate.valid_uri_names());
    names.any(|name| name == san)
}

/// Verifies as rustls does, and then takes only certificates with a name of a list; an empty list
/// takes all.
#[derive(Debug)]
pub(super) struct OnlyListed {
    verifies: Arc<dyn ClientCertVerifier>,
    sans: Vec<String>,
}

impl OnlyListed {
    pub(super) fn new(verifies: Arc<dyn ClientCertVerifier>, sans: Vec<String>) -> Self {
        Self { verifies, sans }
    }
}

impl ClientCertVerifier for OnlyListed {
    fn offer_client_auth(&self) -> bool {
        self.verifies.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.verifies.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.verifies.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .verifies
            .verify_client_cert(end_entity, intermediates, now)?;
        let certificate = EndEntityCert::try_from(end_entity)
            .map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        if self.sans.is_empty() || self.sans.iter().any(|san| is_named(&certificate, san)) {
            Ok(verified)
        } else {
            let refused = CertificateError::ApplicationVerificationFailure;
            Err(Error::InvalidCertificate(refused))
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifies.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.verifies.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.verifies.supported_verify_schemes()
    }
}
