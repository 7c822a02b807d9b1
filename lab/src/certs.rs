//! A CA of the lab's own, and certificates of it, good and bad. Nothing is kept beyond what is made
//! of it; no key is worth anything outside of the lab.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, date_time_ymd,
};

/// A certificate authority.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

/// When a certificate is good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dates {
    /// Now.
    Good,
    /// Until the end of 2019.
    Expired,
    /// From 2090 on.
    Future,
}

/// A certificate and its key, PEM.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The certificate.
    pub certificate: String,
    /// Its key (PKCS#8).
    pub key: String,
}

impl Authority {
    /// A new CA with this name.
    ///
    /// # Errors
    /// When no key can be made.
    pub fn new(name: &str) -> Result<Self> {
        let mut params = CertificateParams::new(Vec::new())?;
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        dated(&mut params, Dates::Good);
        let key = KeyPair::generate()?;
        let pem = params.self_signed(&key)?.pem();
        Ok(Self {
            issuer: Issuer::new(params, key),
            pem,
        })
    }

    /// Its own certificate, PEM.
    pub fn pem(&self) -> &str {
        &self.pem
    }

    /// A certificate for a server or a client: the common name, and the names and addresses it is for.
    ///
    /// # Errors
    /// A name that no certificate can bear.
    pub fn issue(&self, common_name: &str, names: &[&str], dates: Dates) -> Result<Issued> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names)?;
        params
            .distinguished_name
            .push(DnType::CommonName, common_name);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        dated(&mut params, dates);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &self.issuer)?.pem();
        Ok(Issued {
            certificate,
            key: key.serialize_pem(),
        })
    }
}

fn dated(params: &mut CertificateParams, dates: Dates) {
    let (from, to) = match dates {
        Dates::Good => (2020, 2089),
        Dates::Expired => (2018, 2020),
        Dates::Future => (2090, 2095),
    };
    params.not_before = date_time_ymd(from, 1, 1);
    params.not_after = date_time_ymd(to, 1, 1);
}

impl Issued {
    /// Writes `NAME.pem` and `NAME.key` into a folder.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(PathBuf, PathBuf)> {
        let certificate = folder.join(format!("{name}.pem"));
        let key = folder.join(format!("{name}.key"));
        write(&certificate, &self.certificate)?;
        write(&key, &self.key)?;
        Ok((certificate, key))
    }
}

/// The name of the key in a file of [`Issued::write_store`], and the file's password.
pub const STORE_ALIAS: &str = "exporter";
/// See [`STORE_ALIAS`].
pub const STORE_PASSWORD: &str = "changeit";

impl Issued {
    /// Writes `NAME.p12` into a folder, for servers that read no PEM; by the openssl program.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn write_store(&self, folder: &Path, name: &str) -> Result<PathBuf> {
        let (certificate, key) = self.write(folder, name)?;
        let store = folder.join(format!("{name}.p12"));
        let made = Command::new("openssl")
            .args(["pkcs12", "-export", "-name", STORE_ALIAS, "-passout"])
            .arg(format!("pass:{STORE_PASSWORD}"))
            .arg("-in")
            .arg(certificate)
            .arg("-inkey")
            .arg(key)
            .arg("-out")
            .arg(&store)
            .output()
            .context("run openssl")?;
        let said = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "openssl pkcs12: {said}");
        Ok(store)
    }
}

/// Writes a text into a file.
///
/// # Errors
/// When it cannot be written.
pub fn write(path: &Path, text: &str) -> Result<()> {
    std::fs::write(path, text).with_context(|| format!("write {}", path.display()))
}
