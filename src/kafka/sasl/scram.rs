//! SCRAM (RFC 5802, RFC 7677): the client's messages, and what it demands of the server's.
//!
//! The password is neither sent nor trusted to whoever answers: the server proves that it knows it,
//! too. Kafka does not normalise user names and passwords (SASLprep), so neither do we; measured,
//! reference `rust-stack-measured.md` 2.4.

use std::num::NonZeroU32;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::{digest, hmac, pbkdf2};

use crate::files::Secret;

/// Which SCRAM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hash {
    /// SCRAM-SHA-256.
    Sha256,
    /// SCRAM-SHA-512.
    Sha512,
}

impl Hash {
    fn hmac(self) -> hmac::Algorithm {
        match self {
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        }
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    fn pbkdf2(self) -> pbkdf2::Algorithm {
        match self {
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        }
    }
}

/// Fewer would make a stolen proof worth a dictionary (RFC 7677; Kafka's own floor).
pub const FEWEST_ITERATIONS: u32 = 4096;
/// More is work that nobody asks for but to keep us busy. Kafka itself makes 16,384 at most.
pub const MOST_ITERATIONS: u32 = 100_000;

/// No channel binding: Kafka has none.
const HEADER: &str = "n,,";

/// What the server said that it may not say, or did not say.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Not text, or a field is missing or no such thing.
    #[error("its message is not SCRAM's: {0}")]
    Message(&'static str),
    /// A nonce that does not begin with ours was made for somebody else.
    #[error("its nonce does not go on from ours: somebody else's answer is played to us")]
    Nonce,
    /// Too few or too many.
    #[error(
        "it wants {0} iterations, we make {FEWEST_ITERATIONS} to {MOST_ITERATIONS}: is that really \
         the cluster?"
    )]
    Iterations(u64),
    /// The server could not prove that it knows the password.
    #[error("it does not know the password itself: that is not the cluster")]
    Signature,
    /// The server's own word.
    #[error("{0}")]
    Refused(String),
    /// No random numbers.
    #[error("no random numbers on this machine")]
    Random,
}

impl Broken {
    /// Whether it asks for more work than we do.
    pub fn is_too_much(&self) -> bool {
        matches!(self, Self::Iterations(count) if *count > u64::from(MOST_ITERATIONS))
    }
}

/// Before the server's first message.
#[derive(Debug)]
pub struct First {
    hash: Hash,
    nonce: String,
    bare: String,
}

impl First {
    /// As this user, with a nonce of this moment.
    ///
    /// # Errors
    /// No random numbers.
    pub fn new(hash: Hash, user: &str) -> Result<Self, Broken> {
        let mut noise = [0; 24];
        let random = SystemRandom::new();
        random.fill(&mut noise).map_err(|_| Broken::Random)?;
        // Base64 has no comma, which is all that a nonce must not have.
        Ok(Self::with_nonce(hash, user, STANDARD.encode(noise)))
    }

    fn with_nonce(hash: Hash, user: &str, nonce: String) -> Self {
        let user = user.replace('=', "=3D").replace(',', "=2C");
        let bare = format!("n={user},r={nonce}");
        Self { hash, nonce, bare }
    }

    /// The first message.
    pub fn message(&self) -> String {
        format!("{HEADER}{}", self.bare)
    }

    /// Reads the server's first message.
    ///
    /// # Errors
    /// What it says that it may not say, or does not say.
    pub fn challenge<'a>(&self, server: &'a [u8]) -> Result<Challenge<'a>, Broken> {
        Challenge::read(server, &self.nonce)
    }

    /// Reads the server's first message and proves that we know the password. Takes some
    /// milliseconds of one core, up to a tenth of a second.
    ///
    /// # Errors
    /// As [`First::challenge`].
    pub fn answer(&self, server: &[u8], password: &Secret) -> Result<Last, Broken> {
        let challenge = self.challenge(server)?;
        let mut salted = vec![0; self.hash.digest().output_len()];
        pbkdf2::derive(
            self.hash.pbkdf2(),
            challenge.iterations,
            &challenge.salt,
            password.reveal().as_bytes(),
            &mut salted,
        );
        let salted = hmac::Key::new(self.hash.hmac(), &salted);
        let client_key = hmac::sign(&salted, b"Client Key");
        let stored_key = digest::digest(self.hash.digest(), client_key.as_ref());
        let without_proof = format!("c={},r={}", STANDARD.encode(HEADER), challenge.nonce);
        let signed = format!("{},{},{without_proof}", self.bare, challenge.text);
        let stored_key = hmac::Key::new(self.hash.hmac(), stored_key.as_ref());
        let signature = hmac::sign(&stored_key, signed.as_bytes());
        let pairs = client_key.as_ref().iter().zip(signature.as_ref());
        let proof: Vec<u8> = pairs.map(|(key, sign)| key ^ sign).collect();
        let server_key = hmac::sign(&salted, b"Server Key");
        Ok(Last {
            message: format!("{without_proof},p={}", STANDARD.encode(proof)),
            server_key: hmac::Key::new(self.hash.hmac(), server_key.as_ref()),
            signed,
        })
    }
}

/// The server's first message.
#[derive(Debug)]
pub struct Challenge<'a> {
    text: &'a str,
    /// Begins with ours.
    pub nonce: &'a str,
    /// Of the stored password.
    pub salt: Vec<u8>,
    /// From [`FEWEST_ITERATIONS`] to [`MOST_ITERATIONS`].
    pub iterations: NonZeroU32,
}

impl<'a> Challenge<'a> {
    fn read(message: &'a [u8], ours: &str) -> Result<Self, Broken> {
        let text = utf8(message)?;
        if let Some(error) = text.strip_prefix("e=") {
            return Err(Broken::Refused(error.to_owned()));
        }
        let mut fields = text.split(',');
        let mut field = |name: &str| fields.next().and_then(|field| field.strip_prefix(name));
        let nonce = field("r=").ok_or(Broken::Message("no nonce"))?;
        let salt = field("s=").and_then(|salt| STANDARD.decode(salt).ok());
        let salt = salt.ok_or(Broken::Message("no salt"))?;
        let iterations = field("i=").and_then(|number| number.parse::<u64>().ok());
        let iterations = iterations.ok_or(Broken::Message("no iterations"))?;
        if nonce.len() <= ours.len() || !nonce.starts_with(ours) {
            return Err(Broken::Nonce);
        }
        let fits = u32::try_from(iterations)
            .ok()
            .filter(|count| (FEWEST_ITERATIONS..=MOST_ITERATIONS).contains(count))
            .and_then(NonZeroU32::new);
        Ok(Self {
            text,
            nonce,
            salt,
            iterations: fits.ok_or(Broken::Iterations(iterations))?,
        })
    }
}

/// Our proof, and what the server's has to be.
#[derive(Debug)]
pub struct Last {
    /// The last message.
    pub message: String,
    server_key: hmac::Key,
    signed: String,
}

impl Last {
    /// Checks that the server knows the password, too.
    ///
    /// # Errors
    /// It does not, or says something else.
    pub fn check(&self, server: &[u8]) -> Result<(), Broken> {
        let text = utf8(server)?;
        if let Some(error) = text.strip_prefix("e=") {
            return Err(Broken::Refused(error.to_owned()));
        }
        let signature = text.split(',').next().and_then(|f| f.strip_prefix("v="));
        let signature = signature.ok_or(Broken::Message("no signature"))?;
        let signature = STANDARD
            .decode(signature)
            .map_err(|_| Broken::Message("a signature that is not base64"))?;
        hmac::verify(&self.server_key, self.signed.as_bytes(), &signature)
            .map_err(|_| Broken::Signature)
    }
}

fn utf8(message: &[u8]) -> Result<&str, Broken> {
    std::str::from_utf8(message).map_err(|_| Broken::Message("not text"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password() -> Secret {
        Secret::new(String::from("pencil"))
    }

    /// The example of RFC 7677, section 3.
    const SERVER_FIRST: &str = "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    fn example() -> First {
        First::with_nonce(Hash::Sha256, "user", String::from("rOprNGfwEbeRWgbNEkqO"))
    }

    #[test]
    fn the_example_of_the_rfc_is_spoken() {
        let first = example();
        assert_eq!(first.message(), "n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let last = first.answer(SERVER_FIRST.as_bytes(), &password()).unwrap();
        assert_eq!(
            last.message,
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let good = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(last.check(good), Ok(()));
    }

    #[test]
    fn a_server_that_does_not_know_the_password_is_not_believed() {
        let last = example()
            .answer(SERVER_FIRST.as_bytes(), &password())
            .unwrap();
        let other = b"v=7rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=";
        assert_eq!(last.check(other), Err(Broken::Signature));
        assert_eq!(last.check(b"v="), Err(Broken::Signature));
        for empty in [&b""[..], b"x", b"v=!", b"\xff"] {
            assert!(
                matches!(last.check(empty), Err(Broken::Message(_))),
                "{empty:?}"
            );
        }
        let refused = Err(Broken::Refused(String::from("invalid-proof")));
        assert_eq!(last.check(b"e=invalid-proof"), refused);
    }

    #[test]
    fn a_first_message_is_not_taken_as_it_comes() {
        let ask = |text: &str| example().answer(text.as_bytes(), &password()).map(drop);
        let ours = "rOprNGfwEbeRWgbNEkqO";
        for nonce in ["other", "", ours, "xrOprNGfwEbeRWgbNEkqOabc"] {
            let text = format!("r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096");
            assert_eq!(ask(&text), Err(Broken::Nonce), "{nonce}");
        }
        for count in [0, 1, 4095, 100_001, u64::MAX] {
            let text = format!("r={ours}x,s=W22ZaJ0SNY7soEsUEjb6gQ==,i={count}");
            let broken = Broken::Iterations(count);
            assert_eq!(broken.is_too_much(), count > 100_000);
            assert_eq!(ask(&text), Err(broken));
        }
        for text in [
            "",
            "r=x",
            "s=x,r=y,i=1",
            "r=x,s=!,i=4096",
            "r=x,s=eA==,i=-1",
        ] {
            assert!(matches!(ask(text), Err(Broken::Message(_))), "{text}");
        }
        let refused = Err(Broken::Refused(String::from("other-error")));
        assert_eq!(ask("e=other-error"), refused);
    }

    #[test]
    fn names_are_escaped_and_nonces_differ() {
        let first = First::new(Hash::Sha512, "a=b,c").unwrap();
        assert!(first.message().starts_with("n,,n=a=3Db=2Cc,r="));
        assert_ne!(
            First::new(Hash::Sha512, "x").unwrap().message(),
            First::new(Hash::Sha512, "x").unwrap().message()
        );
    }
}
