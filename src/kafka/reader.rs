//! A bounded reader over one frame: it never panics and never reserves memory by a count that
//! the frame itself does not carry.
//!
//! Measured reason for not using a general decoder here: a 13-byte frame with a huge array count
//! aborts the process elsewhere (reference `rust-stack-measured.md` 2.3).
#![deny(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::as_conversions
)]

use crate::evidence::ids::{NodeId, Uuid};

/// Why bytes are not the message they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The message goes on where the frame ends.
    #[error("frame ends inside the message")]
    Ended,
    /// Bytes are left over after the message.
    #[error("{0} bytes left over after the message")]
    LeftOver(usize),
    /// An array counts more elements than the rest of the frame can hold.
    #[error("array of {count} elements in {left} bytes")]
    Count {
        /// Elements announced.
        count: i64,
        /// Bytes left in the frame.
        left: usize,
    },
    /// A length is negative where nothing may be absent.
    #[error("absent value where one is required")]
    Absent,
    /// A variable-length number goes on for too long.
    #[error("variable-length number over 32 bits")]
    Varint,
    /// A string is not UTF-8.
    #[error("string that is not UTF-8")]
    Utf8,
    /// A boolean, port or enumeration is out of its range.
    #[error("{what} out of range: {value}")]
    Range {
        /// Which field.
        what: &'static str,
        /// What was there.
        value: i64,
    },
    /// The version is none that this decoder knows.
    #[error("no decoder for version {0}")]
    Version(i16),
}

/// Reads Kafka's primitive types from the front of a slice.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    /// Compact strings and arrays with tagged fields behind every structure.
    flexible: bool,
}

impl<'a> Reader<'a> {
    /// A reader over a message body; `flexible` as the message's version says.
    pub const fn new(body: &'a [u8], flexible: bool) -> Self {
        Self {
            rest: body,
            flexible,
        }
    }

    /// Bytes not read yet.
    pub const fn left(&self) -> usize {
        self.rest.len()
    }

    /// The bytes not read yet.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Checks that everything has been read.
    pub const fn finish(self) -> Result<(), DecodeError> {
        match self.rest.len() {
            0 => Ok(()),
            left => Err(DecodeError::LeftOver(left)),
        }
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self
            .rest
            .split_at_checked(count)
            .ok_or(DecodeError::Ended)?;
        self.rest = tail;
        Ok(head)
    }

    #[inline]
    fn chunk<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or(DecodeError::Ended)?;
        self.rest = tail;
        Ok(*head)
    }

    /// One signed byte.
    pub fn int8(&mut self) -> Result<i8, DecodeError> {
        self.chunk().map(i8::from_be_bytes)
    }

    /// Two bytes, signed.
    pub fn int16(&mut self) -> Result<i16, DecodeError> {
        self.chunk().map(i16::from_be_bytes)
    }

    /// Two bytes, unsigned.
    pub fn uint16(&mut self) -> Result<u16, DecodeError> {
        self.chunk().map(u16::from_be_bytes)
    }

    /// Four bytes, signed.
    pub fn int32(&mut self) -> Result<i32, DecodeError> {
        self.chunk().map(i32::from_be_bytes)
    }

    /// Eight bytes, signed.
    pub fn int64(&mut self) -> Result<i64, DecodeError> {
        self.chunk().map(i64::from_be_bytes)
    }

    /// A boolean. Kafka reads every byte but 0 as true; so do we.
    pub fn boolean(&mut self) -> Result<bool, DecodeError> {
        self.int8().map(|byte| byte != 0)
    }

    /// An id of 16 bytes; `None` for the zero id.
    pub fn uuid(&mut self) -> Result<Option<Uuid>, DecodeError> {
        self.chunk().map(u128::from_be_bytes).map(Uuid::new)
    }

    /// A node id.
    pub fn node(&mut self) -> Result<NodeId, DecodeError> {
        self.int32().map(NodeId)
    }

    /// A node id; `None` for negative numbers, with which Kafka says "none".
    pub fn node_or_none(&mut self) -> Result<Option<NodeId>, DecodeError> {
        self.int32().map(|id| (id >= 0).then_some(NodeId(id)))
    }

    /// A port sent as a 32-bit number.
    pub fn port32(&mut self) -> Result<u16, DecodeError> {
        let value = self.int32()?;
        u16::try_from(value).map_err(|_| DecodeError::Range {
            what: "port",
            value: i64::from(value),
        })
    }

    /// An unsigned number of up to five bytes, low groups first.
    #[inline]
    pub fn uvarint(&mut self) -> Result<u32, DecodeError> {
        // Nearly all of them are lengths below 128.
        match self.rest {
            [byte @ 0..=0x7f, rest @ ..] => {
                self.rest = rest;
                Ok(u32::from(*byte))
            }
            _ => self.long_uvarint(),
        }
    }

    fn long_uvarint(&mut self) -> Result<u32, DecodeError> {
        let mut value: u64 = 0;
        for shift in [0u32, 7, 14, 21, 28] {
            let [byte] = self.chunk::<1>()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return u32::try_from(value).map_err(|_| DecodeError::Varint);
            }
        }
        Err(DecodeError::Varint)
    }

    /// A length or count: compact (plus one) or of the classic width; `None` for null.
    fn compact_length(&mut self) -> Result<Option<usize>, DecodeError> {
        match self.uvarint()?.checked_sub(1) {
            None => Ok(None),
            Some(length) => usize::try_from(length)
                .map(Some)
                .map_err(|_| DecodeError::Ended),
        }
    }

    /// A string that may be null.
    pub fn nullable_string(&mut self) -> Result<Option<&'a str>, DecodeError> {
        let length = if self.flexible {
            self.compact_length()?
        } else {
            usize::try_from(self.int16()?).ok()
        };
        length
            .map(|length| std::str::from_utf8(self.take(length)?).map_err(|_| DecodeError::Utf8))
            .transpose()
    }

    /// A string.
    pub fn string(&mut self) -> Result<&'a str, DecodeError> {
        self.nullable_string()?.ok_or(DecodeError::Absent)
    }

    /// Bytes.
    pub fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let length = if self.flexible {
            self.compact_length()?
        } else {
            usize::try_from(self.int32()?).ok()
        };
        self.take(length.ok_or(DecodeError::Absent)?)
    }

    /// The count of an array that may be null, of elements no smaller than `smallest` bytes.
    #[inline]
    pub fn nullable_array(&mut self, smallest: usize) -> Result<Option<usize>, DecodeError> {
        let count = if self.flexible {
            self.compact_length()?
        } else {
            match self.int32()? {
                -1 => None,
                count => Some(usize::try_from(count).map_err(|_| DecodeError::Count {
                    count: i64::from(count),
                    left: self.left(),
                })?),
            }
        };
        match count {
            Some(count) if count.saturating_mul(smallest.max(1)) > self.left() => {
                Err(DecodeError::Count {
                    count: i64::try_from(count).unwrap_or(i64::MAX),
                    left: self.left(),
                })
            }
            Some(_) | None => Ok(count),
        }
    }

    /// The count of an array, of elements no smaller than `smallest` bytes.
    pub fn array(&mut self, smallest: usize) -> Result<usize, DecodeError> {
        self.nullable_array(smallest)?.ok_or(DecodeError::Absent)
    }

    /// An array of node ids, appended to `into`. A null array counts as empty.
    #[inline]
    pub fn nodes(&mut self, into: &mut Vec<NodeId>) -> Result<(), DecodeError> {
        let count = self.nullable_array(4)?.unwrap_or(0);
        let bytes = self.take(count.saturating_mul(4))?;
        let (chunks, _) = bytes.as_chunks::<4>();
        into.extend(chunks.iter().map(|id| NodeId(i32::from_be_bytes(*id))));
        Ok(())
    }

    /// Skips the tagged fields behind a structure, where the version has them.
    #[inline]
    pub fn tags(&mut self) -> Result<(), DecodeError> {
        match self.rest {
            _ if !self.flexible => Ok(()),
            [0, rest @ ..] => {
                self.rest = rest;
                Ok(())
            }
            _ => self.each_tag(|_, _| Ok(())),
        }
    }

    /// Hands each tagged field to `known`: its tag, and a reader over exactly its bytes.
    pub fn each_tag(
        &mut self,
        mut known: impl FnMut(u32, Self) -> Result<(), DecodeError>,
    ) -> Result<(), DecodeError> {
        for _ in 0..self.uvarint()? {
            let tag = self.uvarint()?;
            let size = usize::try_from(self.uvarint()?).map_err(|_| DecodeError::Ended)?;
            let field = self.take(size)?;
            known(tag, Reader::new(field, self.flexible))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_the_frame_cannot_hold_is_refused() {
        let mut classic = Reader::new(&[0x7f, 0xff, 0xff, 0xff, 1], false);
        assert_eq!(
            classic.array(4),
            Err(DecodeError::Count {
                count: 0x7fff_ffff,
                left: 1
            })
        );
        let mut compact = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f, 1], true);
        assert!(matches!(compact.array(1), Err(DecodeError::Count { .. })));
        let mut negative = Reader::new(&[0xff, 0xff, 0xff, 0xfe], false);
        assert!(matches!(negative.array(1), Err(DecodeError::Count { .. })));
    }

    #[test]
    fn null_is_told_from_empty() {
        assert_eq!(
            Reader::new(&[0xff, 0xff], false).nullable_string(),
            Ok(None)
        );
        assert_eq!(Reader::new(&[0, 0], false).nullable_string(), Ok(Some("")));
        assert_eq!(Reader::new(&[0], true).nullable_string(), Ok(None));
        assert_eq!(Reader::new(&[1], true).nullable_string(), Ok(Some("")));
        assert_eq!(Reader::new(&[0], true).string(), Err(DecodeError::Absent));
        assert_eq!(Reader::new(&[0], true).array(1), Err(DecodeError::Absent));
    }

    #[test]
    fn numbers_of_variable_length_end() {
        let mut max = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f], true);
        assert_eq!(max.uvarint(), Ok(u32::MAX));
        let mut over = Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f], true);
        assert_eq!(over.uvarint(), Err(DecodeError::Varint));
        let mut endless = Reader::new(&[0x80; 9], true);
        assert_eq!(endless.uvarint(), Err(DecodeError::Varint));
        let mut cut = Reader::new(&[0x80], true);
        assert_eq!(cut.uvarint(), Err(DecodeError::Ended));
    }

    #[test]
    fn tagged_fields_are_skipped_whole_and_handed_out_exactly() {
        let bytes = [2, 0, 1, 7, 9, 2, 1, 2, 0x55];
        let mut reader = Reader::new(&bytes, true);
        let mut seen = Vec::new();
        let read = reader.each_tag(|tag, field| {
            seen.push((tag, field.left()));
            Ok(())
        });
        assert_eq!((read, seen), (Ok(()), vec![(0, 1), (9, 2)]));
        assert_eq!(reader.finish(), Err(DecodeError::LeftOver(1)));
    }
}
