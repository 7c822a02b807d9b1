//! Every decoder against the `kafka-protocol` crate's encoder over random values at every
//! version; and every decoder on cut, mutated and hostile bytes.
#![expect(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test that goes out of range has failed"
)]

use std::fmt::Debug;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::BrokerId;
use kafka_protocol::protocol::{Encodable, StrBytes};
use proptest::collection::vec;
use proptest::prelude::*;

use crate::evidence::ids::NodeId;
use crate::kafka::reader::DecodeError;

mod about_cluster;
mod about_logins;
mod about_topics;

/// The oracle: what the crate writes.
fn encoded(response: &impl Encodable, version: i16) -> Vec<u8> {
    let mut out = BytesMut::new();
    response.encode(&mut out, version).unwrap();
    out.to_vec()
}

/// The decoder reads what the oracle wrote; no shorter and no longer message is accepted, and
/// no mutated one makes it panic.
fn check<T: PartialEq + Debug>(
    decode: fn(&[u8], i16) -> Result<T, DecodeError>,
    version: i16,
    response: &impl Encodable,
    expected: &T,
    noise: &[(usize, u8)],
) {
    let bytes = encoded(response, version);
    assert_eq!(decode(&bytes, version).as_ref(), Ok(expected), "v{version}");
    for cut in (0..bytes.len()).rev().take(64).chain([0, bytes.len() / 2]) {
        let error = decode(&bytes[..cut], version);
        assert!(error.is_err(), "v{version} cut to {cut} of {}", bytes.len());
    }
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(
        decode(&longer, version).as_ref(),
        Err(&DecodeError::LeftOver(1))
    );
    for (place, byte) in noise {
        let mut mutated = bytes.clone();
        let place = place % mutated.len();
        mutated[place] = *byte;
        let _ = decode(&mutated, version);
    }
}

fn noise() -> impl Strategy<Value = Vec<(usize, u8)>> {
    let byte = prop_oneof![Just(0xff), Just(0x7f), Just(0x80), Just(0), any::<u8>()];
    vec((any::<usize>(), byte), 0..32)
}

fn word() -> impl Strategy<Value = String> {
    "[a-z._é-]{0,9}"
}

fn maybe_word() -> impl Strategy<Value = Option<String>> {
    proptest::option::of(word())
}

fn text(value: &str) -> StrBytes {
    StrBytes::from_string(value.to_owned())
}

fn maybe_text(value: Option<&String>) -> Option<StrBytes> {
    value.map(|value| text(value))
}

fn ids() -> impl Strategy<Value = Vec<NodeId>> {
    vec((0..1000).prop_map(NodeId), 0..5)
}

fn brokers(ids: &[NodeId]) -> Vec<BrokerId> {
    ids.iter().map(|id| BrokerId(id.0)).collect()
}

/// A tagged field from the future.
fn tag() -> std::collections::BTreeMap<i32, Bytes> {
    [(77, Bytes::from_static(b"later"))].into()
}

type Decoder = (&'static str, i16, i16, fn(&[u8], i16) -> bool);

/// Every decoder with its versions; true when the bytes were accepted.
const DECODERS: [Decoder; 12] = [
    ("SaslHandshake", 0, 1, |b, v| {
        super::sasl::decode_handshake(b, v).is_ok()
    }),
    ("SaslAuthenticate", 0, 2, |b, v| {
        super::sasl::decode_authenticate(b, v).is_ok()
    }),
    ("ApiVersions", 0, 4, |b, v| {
        super::api_versions::decode(b, v).is_ok()
    }),
    ("DescribeCluster", 0, 2, |b, v| {
        super::cluster::decode(b, v).is_ok()
    }),
    ("Metadata", 1, 13, |b, v| {
        super::metadata::decode(b, v).is_ok()
    }),
    ("DescribeQuorum", 0, 2, |b, v| {
        super::quorum::decode(b, v).is_ok()
    }),
    ("ListPartitionReassignments", 0, 0, |b, v| {
        super::moves::decode(b, v).is_ok()
    }),
    ("DescribeConfigs", 1, 4, |b, v| {
        super::configs::decode(b, v).is_ok()
    }),
    ("DescribeLogDirs", 1, 4, |b, v| {
        super::log_dirs::decode(b, v).is_ok()
    }),
    ("ListOffsets", 1, 10, |b, v| {
        super::list_offsets::decode(b, v).is_ok()
    }),
    ("FindCoordinator", 0, 6, |b, v| {
        super::groups::decode_coordinators(b, v).is_ok()
    }),
    ("OffsetFetch", 5, 9, |b, v| {
        super::groups::decode_commits(b, v).is_ok()
    }),
];

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in vec(any::<u8>(), 0..300)) {
        for (_, lowest, best, decode) in DECODERS {
            for version in lowest..=best {
                decode(&bytes, version);
            }
        }
    }
}

/// Measured on the crate's own decoders: this reserves 412 GB and aborts the process.
#[test]
fn a_huge_count_in_thirteen_bytes_is_refused() {
    let frame = [0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0x0f, 0, 0, 0, 0];
    assert_eq!(
        super::metadata::decode(&frame, 12),
        Err(DecodeError::Count {
            count: 0xffff_fffe,
            left: 4
        })
    );
    for (name, lowest, best, decode) in DECODERS {
        for version in lowest..=best {
            for filler in [0x7f, 0xff] {
                // A huge count wherever this version has its first array.
                for at in 0..9 {
                    let mut bytes = [0; 13];
                    bytes[at..at + 4].fill(filler);
                    bytes[at + 4] = 0x0f;
                    assert!(!decode(&bytes, version), "{name} v{version} at {at}");
                }
            }
        }
    }
}

#[test]
fn versions_that_no_decoder_knows_are_refused() {
    for (name, lowest, best, decode) in DECODERS {
        for version in [lowest - 1, best + 1] {
            assert!(!decode(&[0; 64], version), "{name} v{version}");
        }
    }
}
