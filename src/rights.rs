//! Who may ask our own server, and what: plain types that the configuration and the server share.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// Who may ask our own server, and what. Nothing of it: everybody may read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// A file in exporter-toolkit's format: TLS, and users.
    pub web_config: Option<PathBuf>,
    /// Bearer tokens by name.
    pub tokens: BTreeMap<String, TokenSettings>,
    /// Rights of users of the web config file; those of the others are [`Right::Read`].
    pub users: BTreeMap<String, Right>,
    /// Rights of certificates by a subject alternative name.
    pub certificates: BTreeMap<String, Right>,
}

/// One bearer token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenSettings {
    /// The file that it is the only line of.
    pub file: PathBuf,
    /// What it lets do.
    pub rights: Right,
}

/// What somebody may do. Each includes the ones before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Right {
    /// To ask everything.
    Read,
    /// To take, renew and give back leases.
    Lease,
    /// To break leases, hold, lift, retire and reload.
    Admin,
}

impl Right {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Read, Self::Lease, Self::Admin];

    /// The word in the configuration.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Lease => "lease",
            Self::Admin => "admin",
        }
    }
}

impl fmt::Display for Right {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Whether a name can stand in the history in parentheses.
pub fn is_principal(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_graphic() && !matches!(b, b'(' | b')');
    (1..=128).contains(&name.len()) && name.bytes().all(allowed)
}
