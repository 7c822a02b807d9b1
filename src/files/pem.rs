//! Certificates and keys in PEM files.

use std::path::Path;

use rustls::pki_types::pem::{Error, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::BadFile;

/// Every certificate of a file, at least one: a chain with the leaf first, or a bundle of CAs.
///
/// # Errors
/// A file that cannot be read, is not PEM, or has no certificate.
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, BadFile> {
    let found = CertificateDer::pem_file_iter(path).map_err(|error| bad(path, &error))?;
    let found: Result<Vec<_>, _> = found.collect();
    let found = found.map_err(|error| bad(path, &error))?;
    if found.is_empty() {
        return Err(BadFile::new(
            path,
            "has no certificate in PEM (BEGIN CERTIFICATE)",
        ));
    }
    Ok(found)
}

/// The private key of a file, not encrypted.
///
/// # Errors
/// A file that cannot be read, is not PEM, or has no key that can be used as it is.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, BadFile> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        Error::NoItemsFound => BadFile::new(
            path,
            "has no private key in PEM (BEGIN PRIVATE KEY); an encrypted one has to be decrypted \
             first: openssl pkey -in FILE -out NEW",
        ),
        error => bad(path, &error),
    })
}

/// Never says what stands in the file: it may be a key.
fn bad(path: &Path, error: &Error) -> BadFile {
    match error {
        Error::Io(error) => BadFile::new(path, error.to_string()),
        _ => BadFile::new(path, "is not a PEM file"),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_wrong_with_a_file_is_said_without_its_content() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file.pem");
        for (content, certificate, key) in [
            ("", "no certificate", "no private key"),
            ("canary", "no certificate", "no private key"),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nY2FuYXJ5\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "no certificate",
                "encrypted one",
            ),
            (
                "-----BEGIN CERTIFICATE-----\n!canary!\n-----END CERTIFICATE-----\n",
                "not a PEM file",
                "not a PEM file",
            ),
        ] {
            fs::write(&path, content).unwrap();
            let said = [
                (certificates(&path).unwrap_err(), certificate),
                (private_key(&path).unwrap_err(), key),
            ];
            for (error, wanted) in said {
                let text = error.to_string();
                assert!(text.contains(wanted), "{content:?}: {text}");
                assert!(!text.contains("canary"), "{text}");
            }
        }
        let missing = certificates(&folder.path().join("none.pem")).unwrap_err();
        assert!(missing.why.contains("No such file"), "{missing}");
    }

    #[test]
    fn a_chain_and_a_key_are_read() {
        let made = rcgen::generate_simple_self_signed([String::from("localhost")]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("both.pem");
        let pem = made.cert.pem();
        fs::write(
            &path,
            format!("{pem}{pem}{}", made.signing_key.serialize_pem()),
        )
        .unwrap();
        assert_eq!(certificates(&path).unwrap().len(), 2);
        assert!(matches!(private_key(&path), Ok(PrivateKeyDer::Pkcs8(_))));
    }
}
