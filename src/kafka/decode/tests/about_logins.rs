//! SaslHandshake, SaslAuthenticate.

use kafka_protocol::messages::{SaslAuthenticateResponse, SaslHandshakeResponse};

use super::*;
use crate::kafka::decode::sasl::{Authenticated, Handshake, decode_authenticate, decode_handshake};

proptest! {
    #[test]
    fn handshake(
        version in 0..=1i16,
        error in prop_oneof![Just(0i16), Just(33)],
        mechanisms in vec(word(), 0..5),
        noise in noise(),
    ) {
        let response = SaslHandshakeResponse::default()
            .with_error_code(error)
            .with_mechanisms(mechanisms.iter().map(|name| text(name)).collect());
        let expected = Handshake { error, mechanisms };
        check(decode_handshake, version, &response, &expected, &noise);
    }

    #[test]
    fn authenticate(
        version in 0..=2i16,
        error in prop_oneof![Just(0i16), Just(58)],
        message in maybe_word(),
        bytes in vec(any::<u8>(), 0..40),
        session_ms in any::<i64>(),
        noise in noise(),
    ) {
        let mut response = SaslAuthenticateResponse::default()
            .with_error_code(error)
            .with_error_message(maybe_text(message.as_ref()))
            .with_auth_bytes(Bytes::from(bytes.clone()));
        if version >= 1 {
            response = response.with_session_lifetime_ms(session_ms);
        }
        if version >= 2 {
            response = response.with_unknown_tagged_fields(tag());
        }
        let expected = Authenticated {
            error,
            message,
            bytes,
            session_ms: if version >= 1 { session_ms } else { 0 },
        };
        check(decode_authenticate, version, &response, &expected, &noise);
    }
}
