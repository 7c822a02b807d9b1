//! A password or a token.

use std::fmt;
use std::fs;
use std::path::Path;

use super::BadFile;

/// The longest secret that is read, bytes. A JSON web token has a few kB.
const LONGEST: u64 = 64 * 1024;

/// A password or a token. It cannot be printed, compared or written anywhere by accident: who
/// needs it says [`Secret::reveal`].
#[derive(Clone)]
pub struct Secret(String);

impl Secret {
    /// Reads the one line of a file; the line break at its end does not belong to it.
    ///
    /// # Errors
    /// A file that cannot be read, is empty, too large, or has more than one line.
    pub fn read(path: &Path) -> Result<Self, BadFile> {
        let bad = |why: &str| Err(BadFile::new(path, why));
        let known = fs::metadata(path).map_err(|error| BadFile::new(path, error.to_string()))?;
        if known.len() > LONGEST {
            return bad("is too large to hold a secret");
        }
        let text = fs::read(path).map_err(|error| BadFile::new(path, error.to_string()))?;
        Self::parse(text).or_else(bad)
    }

    /// From a file's content.
    ///
    /// # Errors
    /// What is wrong with it; never what stands in it.
    pub fn parse(content: Vec<u8>) -> Result<Self, &'static str> {
        let Ok(text) = String::from_utf8(content) else {
            return Err("is not text (UTF-8)");
        };
        let line = text.strip_suffix('\n').unwrap_or(&text);
        let line = line.strip_suffix('\r').unwrap_or(line);
        if line.is_empty() {
            return Err("is empty; it has to hold the secret, and nothing else");
        }
        if line.contains(['\n', '\r']) {
            return Err("has more than one line; it has to hold the secret, and nothing else");
        }
        Ok(Self(line.to_owned()))
    }

    /// From a text that is at hand, such as a test's.
    pub const fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_is_a_secret_and_anything_else_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("password");
        let read = |content: &[u8]| {
            fs::write(&path, content).unwrap();
            Secret::read(&path).map(|secret| secret.reveal().to_owned())
        };
        for text in ["s3cret", "s3cret\n", "s3cret\r\n"] {
            assert_eq!(read(text.as_bytes()).as_deref(), Ok("s3cret"), "{text:?}");
        }
        assert_eq!(read(b" s p ").as_deref(), Ok(" s p "));
        for (content, why) in [
            (&b""[..], "is empty"),
            (b"\n", "is empty"),
            (b"hidden\nother\n", "more than one line"),
            (b"\xff\xfe", "not text"),
        ] {
            let error = read(content).unwrap_err().to_string();
            assert!(error.contains(why) && !error.contains("hidden"), "{error}");
        }
        assert!(
            read(&b"x".repeat(70_000))
                .unwrap_err()
                .why
                .contains("too large")
        );
        assert!(Secret::read(&folder.path().join("none")).is_err());
    }

    #[test]
    fn it_is_never_printed() {
        let secret = Secret::new(String::from("canary"));
        assert_eq!(format!("{secret:?}"), "Secret(..)");
    }
}
