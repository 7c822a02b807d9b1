//! The web config file, in the format that Prometheus and its exporters share (exporter-toolkit):
//! TLS of our own listener, users with bcrypt hashes, headers of every answer.
//!
//! Unknown keys are errors. What this server does not do is refused and not passed over.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use http::{HeaderMap, HeaderName, HeaderValue};
use serde::Deserialize;
use serde::de::IgnoredAny;

use super::password::Users;
use super::tls::{Tls, TlsFile};
use crate::files::{BadFile, Changed, Watched};

/// The largest file that is read, bytes: a thousand users have 100 kB.
const LARGEST: u64 = 1 << 20;

/// The headers that may be set, as in exporter-toolkit.
const HEADERS: [&str; 5] = [
    "Content-Security-Policy",
    "Strict-Transport-Security",
    "X-Content-Type-Options",
    "X-Frame-Options",
    "X-XSS-Protection",
];

/// What a web config file says.
#[derive(Debug)]
pub(super) struct Web {
    tls: Option<InUse>,
    /// Users; none: no basic authentication.
    pub(super) users: Users,
    /// Headers of every answer.
    pub(super) headers: HeaderMap,
    /// Why what it says of TLS cannot be used: then TLS is what it was before.
    pub(super) trouble: Option<BadFile>,
}

/// TLS, made of more files, and what it was made for.
#[derive(Clone, Debug)]
struct InUse {
    tls: Arc<Watched<Tls>>,
    settings: TlsFile,
    /// Whether there were users: without them a certificate may be worth more by itself.
    with_users: bool,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    tls_server_config: Option<TlsFile>,
    http_server_config: HttpFile,
    basic_auth_users: BTreeMap<String, String>,
    rate_limit: Option<IgnoredAny>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct HttpFile {
    http2: bool,
    headers: BTreeMap<String, String>,
}

/// Whether a file asks for TLS, and whether it says who may come in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) tls: bool,
    pub(super) proves: bool,
}

impl Web {
    /// The file, watched. What it is at the start it stays: a changed file cannot turn TLS or
    /// authentication on or off, least of all by a mistake.
    pub(super) fn watch(path: &Path) -> Result<Watched<Self>, BadFile> {
        let first = Self::read(path, None)?;
        let (shape, from) = (first.shape(), path.to_owned());
        let last = Mutex::new(first.tls);
        Watched::new(vec![path.to_owned()], move || {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            let web = Self::read(&from, last.as_ref())?;
            if web.shape() == shape {
                last.clone_from(&web.tls);
                Ok(web)
            } else {
                let why = "turns TLS or authentication on or off, which needs a restart";
                Err(BadFile::new(&from, why))
            }
        })
    }

    /// `before`: the TLS in use. A certificate that cannot be used must not keep users who are to
    /// come in no more.
    fn read(path: &Path, before: Option<&InUse>) -> Result<Self, BadFile> {
        let bad = |why: String| BadFile::new(path, why);
        let file = parse(path)?;
        if file.rate_limit.is_some() {
            return Err(bad(String::from(
                "rate_limit is not read here: set limits.requests_per_second in the configuration",
            )));
        }
        if file.http_server_config.http2 {
            return Err(bad(String::from(
                "http2: this server speaks HTTP/1.1; leave it out, or say false",
            )));
        }
        let with_users = !file.basic_auth_users.is_empty();
        let tls = file.tls_server_config;
        let tls = tls.map(|tls| InUse::with(tls, with_users, before, path));
        let (tls, trouble) = match (tls.transpose(), before) {
            (Ok(tls), _) => (tls, None),
            (Err(why), Some(before)) => (Some(before.clone()), Some(why)),
            (Err(why), None) => return Err(why),
        };
        Ok(Self {
            tls,
            trouble,
            users: Users::read(file.basic_auth_users).map_err(bad)?,
            headers: headers(file.http_server_config.headers).map_err(bad)?,
        })
    }

    /// Looks at the file again; and where it names a certificate that cannot be used, at that as
    /// well: it may have been written since. Told is only what is another thing than before.
    pub(super) fn refresh(watched: &Watched<Self>) -> Changed {
        let before = watched.get().trouble.clone();
        match watched.refresh() {
            Changed::No if before.is_some() => match watched.again() {
                Changed::Yes if watched.get().trouble != before => Changed::Yes,
                Changed::Yes | Changed::No | Changed::Unusable(_) => Changed::No,
            },
            changed => changed,
        }
    }

    /// TLS, made of more files.
    pub(super) fn tls(&self) -> Option<&Arc<Watched<Tls>>> {
        self.tls.as_ref().map(|in_use| &in_use.tls)
    }

    /// What it asks for.
    pub(super) fn shape(&self) -> Shape {
        let tls = self.tls().map(|tls| tls.get());
        Shape {
            tls: tls.is_some(),
            proves: !self.users.is_empty() || tls.is_some_and(|tls| tls.asks_for_certificates),
        }
    }
}

impl InUse {
    /// The one before where it is of the same settings: connections made with it then go on. Its
    /// files are looked at by themselves.
    fn with(
        settings: TlsFile,
        with_users: bool,
        before: Option<&Self>,
        path: &Path,
    ) -> Result<Self, BadFile> {
        let is_same =
            |before: &&Self| before.settings == settings && before.with_users == with_users;
        if let Some(same) = before.filter(is_same) {
            return Ok(same.clone());
        }
        let folder = path.parent().unwrap_or_else(|| Path::new(""));
        let tls = Tls::watch(settings.clone(), folder, path)?;
        Ok(Self {
            tls: Arc::new(tls),
            settings,
            with_users,
        })
    }
}

fn parse(path: &Path) -> Result<File, BadFile> {
    let unread = |error: std::io::Error| BadFile::new(path, error.to_string());
    if std::fs::metadata(path).map_err(unread)?.len() > LARGEST {
        return Err(BadFile::new(path, "is too large for a web config file"));
    }
    let text = std::fs::read_to_string(path).map_err(unread)?;
    let bad = |error: yaml_serde::Error| BadFile::new(path, said(&error));
    // Into yaml's own value first: it refuses a key that is written twice.
    match yaml_serde::from_str(&text).map_err(bad)? {
        yaml_serde::Value::Null => Ok(File::default()),
        _ => yaml_serde::from_str(&text).map_err(bad),
    }
}

/// What is wrong, without values of the file: they may be hashes.
fn said(error: &yaml_serde::Error) -> String {
    let text = error.to_string();
    let names = ["unknown field", "missing field", "duplicate"];
    if names.iter().any(|name| text.contains(name)) {
        return text.lines().next().unwrap_or_default().to_owned();
    }
    error.location().map_or_else(
        || String::from("is no YAML, or has a value of the wrong kind"),
        |at| {
            let (line, column) = (at.line(), at.column());
            format!("is no YAML, or has a value of the wrong kind, at line {line} column {column}")
        },
    )
}

fn headers(given: BTreeMap<String, String>) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for (name, value) in given {
        let known = HEADERS
            .iter()
            .find(|known| known.eq_ignore_ascii_case(&name));
        let name = known.ok_or_else(|| {
            format!(
                "headers: {name:?} cannot be set; those that can are {}",
                HEADERS.join(", ")
            )
        })?;
        let value = HeaderValue::from_str(&value)
            .map_err(|_| format!("headers: {name}: this is no value of a header"))?;
        if let Ok(name) = HeaderName::from_bytes(name.as_bytes()) {
            headers.insert(name, value);
        }
    }
    Ok(headers)
}

/// A path of the file: relative ones are meant from the file's own folder.
pub(super) fn beside(folder: &Path, path: &Path) -> PathBuf {
    folder.join(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Web, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        std::fs::write(&path, text).unwrap();
        Web::read(&path, None).map_err(|bad| bad.why)
    }

    #[test]
    fn a_file_without_tls_and_users_is_possible() {
        for text in [
            "",
            "{}",
            "# nothing\n",
            "http_server_config:\n  http2: false\n",
        ] {
            let web = read(text).unwrap();
            assert_eq!(
                web.shape(),
                Shape {
                    tls: false,
                    proves: false
                }
            );
        }
    }

    #[test]
    fn what_is_not_done_here_is_refused() {
        let hash = bcrypt::hash("canary", 4).unwrap();
        for (text, says) in [
            ("tls_config: {}", "unknown field `tls_config`"),
            ("tls_server_config: {cert: x}", "unknown field `cert`"),
            ("http_server_config: {http2: true}", "http2"),
            ("rate_limit: {interval: 1s}", "limits.requests_per_second"),
            (
                "http_server_config: {headers: {Server: x}}",
                "cannot be set",
            ),
            ("basic_auth_users: [canary]", "wrong kind, at line 1"),
            ("basic_auth_users: canary", "wrong kind"),
            (
                &format!("basic_auth_users: {{ann: {hash}, ann: x}}"),
                "duplicate",
            ),
            ("basic_auth_users: {ann: canary}", "no bcrypt hash"),
            ("\t:canary", "no YAML"),
        ] {
            let why = read(text).unwrap_err();
            assert!(
                why.contains(says) && !why.contains("canary"),
                "{text}: {why}"
            );
        }
    }

    #[test]
    fn headers_and_users_are_read() {
        let hash = bcrypt::hash("canary", 4).unwrap();
        let web = read(&format!(
            "basic_auth_users:\n  ann: {hash}\n\
             http_server_config:\n  headers:\n    x-frame-options: DENY\n"
        ))
        .unwrap();
        assert!(web.shape().proves);
        assert_eq!(web.headers["x-frame-options"], "DENY");
        assert_eq!(format!("{:?}", web.users), "{\"ann\"}");
    }

    #[test]
    fn a_change_cannot_turn_authentication_off() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("web.yml");
        let hash = bcrypt::hash("canary", 4).unwrap();
        let write = |text: &str| std::fs::write(&path, text).unwrap();
        write(&format!("basic_auth_users: {{ann: {hash}}}"));
        let web = Web::watch(&path).unwrap();
        write("basic_auth_users: {}");
        assert!(matches!(web.refresh(), Changed::Unusable(_)));
        assert!(web.get().shape().proves);
        write(&format!("basic_auth_users: {{bob: {hash}}}"));
        assert_eq!(web.refresh(), Changed::Yes);
        assert_eq!(web.get().users.names().collect::<Vec<_>>(), ["bob"]);
    }

    /// Connections end when their TLS does; they are not to end because a user comes or goes.
    #[test]
    fn tls_stays_what_it_is_until_it_is_changed_itself() {
        let made = rcgen::generate_simple_self_signed([String::from("localhost")]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let hash = bcrypt::hash("canary", 4).unwrap();
        let write = |more: &str, users: &[&str]| {
            let files = "cert_file: cert.pem, key_file: key.pem, client_ca_file: cert.pem, \
                         client_auth_type: VerifyClientCertIfGiven";
            let user = |it: &&str| format!("{it}: {hash}, ");
            let users: String = users.iter().map(user).collect();
            let text =
                format!("tls_server_config: {{{files}{more}}}\nbasic_auth_users: {{{users}}}\n");
            std::fs::write(file("web.yml"), text).unwrap();
        };
        write("", &["ann"]);
        let web = Web::watch(&file("web.yml")).unwrap();
        let mut before = Arc::clone(web.get().tls().unwrap());
        for (more, users, same) in [
            ("", &["ann", "bob"][..], true),
            ("", &["bob"], true),
            (", min_version: TLS13", &["bob"], false),
            (", min_version: TLS13", &["carl"], true),
            // A certificate that is named nowhere may read from now on, and no longer after that.
            (", min_version: TLS13", &[], false),
            (", min_version: TLS13", &["bob"], false),
        ] {
            write(more, users);
            assert_eq!(web.refresh(), Changed::Yes, "{more} {users:?}");
            let now = Arc::clone(web.get().tls().unwrap());
            assert_eq!(Arc::ptr_eq(&before, &now), same, "{more} {users:?}");
            before = now;
        }
    }

    /// A certificate that cannot be used keeps nobody who is to come in no more.
    #[test]
    fn users_change_whatever_becomes_of_the_certificate() {
        let made = rcgen::generate_simple_self_signed([String::from("localhost")]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str| folder.path().join(name);
        std::fs::write(file("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(file("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let hash = bcrypt::hash("canary", 4).unwrap();
        let write = |user: &str, cert: &str| {
            let tls = format!("{{cert_file: {cert}, key_file: key.pem}}");
            let text = format!("tls_server_config: {tls}\nbasic_auth_users: {{{user}: {hash}}}\n");
            std::fs::write(file("web.yml"), text).unwrap();
        };
        write("ann", "cert.pem");
        let web = Web::watch(&file("web.yml")).unwrap();
        let users = || {
            web.get()
                .users
                .names()
                .map(String::from)
                .collect::<Vec<_>>()
        };
        write("bob", "gone.pem");
        assert_eq!(web.refresh(), Changed::Yes);
        assert_eq!(users(), ["bob"]);
        let trouble = web.get().trouble.clone().unwrap();
        assert!(trouble.to_string().contains("gone.pem"), "{trouble}");
        assert!(web.get().tls().is_some());
        // It is there a moment later; the file that names it is as it was.
        assert_eq!(Web::refresh(&web), Changed::No, "said once");
        std::fs::write(file("gone.pem"), made.cert.pem()).unwrap();
        assert_eq!(Web::refresh(&web), Changed::Yes);
        assert_eq!(
            (users(), web.get().trouble.clone()),
            (vec![String::from("bob")], None)
        );
        assert_eq!(Web::refresh(&web), Changed::No);
        write("cid", "cert.pem");
        assert_eq!(web.refresh(), Changed::Yes);
        assert_eq!(
            (users(), web.get().trouble.clone()),
            (vec![String::from("cid")], None)
        );
    }
}
