//! Every decoder of Kafka's answers.
//!
//! The first byte chooses the decoder, the second its version, the rest is the answer's body.

use std::fmt::Debug;
use std::ops::Range;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::{
    ApiVersionsResponse, DescribeClusterResponse, DescribeConfigsResponse, DescribeLogDirsResponse,
    DescribeQuorumResponse, FindCoordinatorResponse, ListOffsetsResponse,
    ListPartitionReassignmentsResponse, MetadataResponse, OffsetFetchResponse,
    SaslAuthenticateResponse, SaslHandshakeResponse,
};
use kafka_protocol::protocol::{Decodable, Encodable};
use upgrade_gate::kafka::decode::{
    api_versions, cluster, configs, groups, list_offsets, log_dirs, metadata, moves, quorum, sasl,
};
use upgrade_gate::kafka::reader::DecodeError;

/// Decodes one answer.
///
/// # Panics
/// When something does not hold.
pub fn run(input: &[u8]) {
    let [choice, version, bytes @ ..] = input else {
        return;
    };
    let choice = choice % 12;
    let body = Body {
        // The crate reads known tags, which only ApiVersions v3 and up have, without regard to
        // their announced sizes (found by fuzzing).
        asked_of_the_crate: if choice == 0 { 0..3 } else { 0..i16::MAX },
        version: *version,
        bytes,
    };
    match choice {
        0 => body.decode::<_, ApiVersionsResponse>(0, 4, api_versions::decode),
        1 => body.decode::<_, DescribeClusterResponse>(0, 2, cluster::decode),
        2 => body.decode::<_, MetadataResponse>(1, 13, metadata::decode),
        3 => body.decode::<_, DescribeQuorumResponse>(0, 2, quorum::decode),
        4 => body.decode::<_, ListPartitionReassignmentsResponse>(0, 0, moves::decode),
        5 => body.decode::<_, DescribeConfigsResponse>(1, 4, configs::decode),
        6 => body.decode::<_, DescribeLogDirsResponse>(1, 4, log_dirs::decode),
        7 => body.decode::<_, ListOffsetsResponse>(1, 10, list_offsets::decode),
        8 => body.decode::<_, FindCoordinatorResponse>(0, 6, groups::decode_coordinators),
        9 => body.decode::<_, OffsetFetchResponse>(5, 9, groups::decode_commits),
        10 => body.decode::<_, SaslHandshakeResponse>(0, 1, sasl::decode_handshake),
        _ => body.decode::<_, SaslAuthenticateResponse>(0, 2, sasl::decode_authenticate),
    }
}

struct Body<'a> {
    version: u8,
    bytes: &'a [u8],
    /// Versions at which the crate is an oracle.
    asked_of_the_crate: Range<i16>,
}

impl Body<'_> {
    /// Our decoder takes no memory that the frame does not pay for, takes the whole frame and
    /// nothing but it, and reads what the `kafka-protocol` crate reads.
    fn decode<T, C>(&self, lowest: u8, best: u8, ours: fn(&[u8], i16) -> Result<T, DecodeError>)
    where
        T: PartialEq + Debug,
        C: Decodable + Encodable + PartialEq,
    {
        let version = i16::from(lowest + self.version % (best - lowest + 1));
        let bytes = self.bytes;
        let decode = || ours(bytes, version);
        let Ok(answer) = super::bounded(4 << 10, 64, bytes.len(), decode) else {
            return;
        };
        if let Some((_, cut)) = bytes.split_last() {
            assert!(ours(cut, version).is_err(), "a cut answer was accepted");
        }
        let longer = [bytes, &[0]].concat();
        assert_eq!(ours(&longer, version), Err(DecodeError::LeftOver(1)));
        if !self.asked_of_the_crate.contains(&version) {
            return;
        }
        // Written anew by the crate, in its own way: other lengths of numbers, other tags.
        let Some((theirs, rewritten)) = rewritten::<C>(bytes, version) else {
            return;
        };
        // The crate drops tags from 2^31 on while it still counts them (found by fuzzing), and then
        // reserves memory by whatever it takes for a count: only what our decoder accepts is given
        // to it. That ours accepts what the crate writes is the property tests' business.
        let Ok(again) = ours(&rewritten, version) else {
            return;
        };
        if read::<C>(&rewritten, version) == Some(theirs) {
            assert_eq!(again, answer, "v{version}: {bytes:?} as {rewritten:?}");
        }
    }
}

/// What the crate makes of a body, and how it writes that. Only for bodies that our decoder has
/// accepted: the crate reserves memory by any count it meets.
fn rewritten<C: Decodable + Encodable>(bytes: &[u8], version: i16) -> Option<(C, Bytes)> {
    let answer: C = read(bytes, version)?;
    let mut out = BytesMut::new();
    answer.encode(&mut out, version).ok()?;
    Some((answer, out.freeze()))
}

/// A whole body as the crate reads it. With a tag that is there twice it does not always read what
/// it wrote itself (found by fuzzing).
fn read<C: Decodable>(bytes: &[u8], version: i16) -> Option<C> {
    let mut rest = Bytes::copy_from_slice(bytes);
    let answer = C::decode(&mut rest, version).ok()?;
    rest.is_empty().then_some(answer)
}
