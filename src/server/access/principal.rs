//! Somebody who has proven who they are.

use std::fmt;

use crate::rights::Right;

/// Somebody who has proven who they are, by what, and what they may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// By what.
    pub means: Means,
    /// The token's name, the user's, or the one in the certificate.
    pub name: String,
    /// What they may do.
    pub right: Right,
}

/// By what somebody proves who they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Means {
    /// A bearer token.
    Token,
    /// A name and a password.
    User,
    /// A client certificate.
    Certificate,
}

impl fmt::Display for Principal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let means = match self.means {
            Means::Token => "token",
            Means::User => "user",
            Means::Certificate => "certificate",
        };
        write!(f, "{means} {}", self.name)
    }
}
