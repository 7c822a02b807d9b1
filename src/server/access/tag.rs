//! Stands for a secret in a map: made with a key of this process, so that neither the tag nor the
//! time a look-up takes tells anything about the secret.

use std::fmt;

use ring::hmac::{HMAC_SHA256, Key, sign};
use ring::rand::{SecureRandom, SystemRandom};

/// What stands for a secret.
pub(super) type Tag = [u8; 32];

/// Makes tags.
pub(super) struct Tagger(Key);

impl Tagger {
    pub(super) fn new() -> Self {
        let mut key = [0; 32];
        if SystemRandom::new().fill(&mut key).is_err() {
            // Without randomness the tags are those of everybody; they still tell secrets apart.
            tracing::warn!("the system gives no random numbers");
        }
        Self(Key::new(HMAC_SHA256, &key))
    }

    /// The tag of these texts in this order; where one ends matters.
    pub(super) fn tag(&self, texts: &[&str]) -> Tag {
        let mut message = Vec::new();
        for text in texts {
            message.extend_from_slice(&text.len().to_be_bytes());
            message.extend_from_slice(text.as_bytes());
        }
        let mut tag = [0; 32];
        for (to, from) in tag.iter_mut().zip(sign(&self.0, &message).as_ref()) {
            *to = *from;
        }
        tag
    }
}

impl fmt::Debug for Tagger {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Tagger(..)")
    }
}
