//! What is told beside a token: SASL extensions (KIP-342, RFC 7628 section 3.1).

use std::fmt;
use std::str::FromStr;

/// The name that a token has in the same message.
const TAKEN: &str = "auth";

/// Names with values, each name once, in the order given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions(Vec<(String, String)>);

/// A text that is no list of extensions. It does not repeat the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadExtensions {
    /// A part without a value.
    #[error("wants key=value, or several of them with commas in between")]
    Form,
    /// A name that does not fit.
    #[error("wants names of the letters A to Z and a to z alone")]
    Name,
    /// The token's own name.
    #[error("wants other names than 'auth', which is the token's")]
    Taken,
    /// A name that comes again.
    #[error("wants every name once")]
    Twice,
    /// A value that does not fit.
    #[error("wants values of printable ASCII characters, and not none of them")]
    Value,
}

impl FromStr for Extensions {
    type Err = BadExtensions;

    /// Reads librdkafka's form: `key=value,key2=value2`. No value has a comma; the first `=` ends
    /// the name.
    fn from_str(text: &str) -> Result<Self, BadExtensions> {
        let mut all: Vec<(String, String)> = Vec::new();
        for part in text.split(',') {
            let (name, value) = part.split_once('=').ok_or(BadExtensions::Form)?;
            let (name, value) = (name.trim(), value.trim());
            if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphabetic()) {
                return Err(BadExtensions::Name);
            }
            if name == TAKEN {
                return Err(BadExtensions::Taken);
            }
            if all.iter().any(|(known, _)| known == name) {
                return Err(BadExtensions::Twice);
            }
            // RFC 7628 has white space and line ends as well; nobody means them in a file.
            let fits = |byte: u8| byte == b' ' || byte.is_ascii_graphic();
            if value.is_empty() || !value.bytes().all(fits) {
                return Err(BadExtensions::Value);
            }
            all.push((name.to_owned(), value.to_owned()));
        }
        Ok(Self(all))
    }
}

impl Extensions {
    /// The client's first message with this token.
    pub(super) fn message(&self, token: &str) -> String {
        let mut message = format!("n,,\x01auth=Bearer {token}\x01");
        for (name, value) in &self.0 {
            for part in [name, "=", value, "\x01"] {
                message.push_str(part);
            }
        }
        message.push('\x01');
        message
    }
}

impl fmt::Display for Extensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, value)) in self.0.iter().enumerate() {
            let comma = if index == 0 { "" } else { "," };
            write!(f, "{comma}{name}={value}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn extensions_stand_after_the_token_each_with_its_end() {
        let message = |text: &str| text.parse::<Extensions>().unwrap().message("t0k");
        assert_eq!(
            Extensions::default().message("t0k"),
            "n,,\x01auth=Bearer t0k\x01\x01"
        );
        assert_eq!(
            message("traceId=123"),
            "n,,\x01auth=Bearer t0k\x01traceId=123\x01\x01"
        );
        assert_eq!(
            message("logicalCluster=lkc-1, identityPoolId = pool a/b=c"),
            "n,,\x01auth=Bearer t0k\x01logicalCluster=lkc-1\x01identityPoolId=pool a/b=c\x01\x01"
        );
    }

    #[test]
    fn what_kafka_would_refuse_is_refused_first() {
        use BadExtensions::{Form, Name, Taken, Twice, Value};
        for (text, why) in [
            ("", Form),
            ("a", Form),
            ("a=b,", Form),
            ("a=b,,c=d", Form),
            ("=b", Name),
            ("a1=b", Name),
            ("a-b=c", Name),
            ("ä=b", Name),
            ("auth=Bearer x", Taken),
            ("a=b,auth=x", Taken),
            ("a=b,a=c", Twice),
            ("a=", Value),
            ("a= ", Value),
            ("a=b\x01c", Value),
            ("a=b\nc", Value),
            ("a=ü", Value),
        ] {
            assert_eq!(text.parse::<Extensions>(), Err(why), "{text:?}");
        }
        let shown = "a=b, Auth=x=y".parse::<Extensions>().unwrap().to_string();
        assert_eq!(shown, "a=b,Auth=x=y");
    }
}
