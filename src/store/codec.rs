//! Frames: how changes and bytes lie in a segment.
//!
//! A frame is a header of 40 bytes, its payload, and zeros up to a multiple of 8:
//!
//! ```text
//! 0 magic 4 | 4 CRC32C of 8.. 4 | 8 kind 1 | 9 version 1 | 10 zero 2 | 12 payload length 4
//! 16 segment generation 8 | 24 own position 8 | 32 position known synced when written 8 | payload
//! ```
//!
//! Invariant: a frame that decodes is one that this store wrote at this position of this generation
//! of the file, whole. Numbers are little-endian. What a tear or damage means is decided in
//! `replay`.

use crc_fast::{CrcAlgorithm, Digest};

use crate::types::id::BlobId;
use crate::types::stamp::Stamp;

use super::error::Error;
use super::schema::{self, Space};

const MAGIC: [u8; 4] = *b"gdwt";

/// Version of frames. What a header says of length, place and checksum stays as it is in all of them,
/// so that a newer frame is told from damage.
pub(crate) const VERSION: u8 = 1;

/// Length of a frame's header.
pub(crate) const HEADER_BYTES: usize = 40;

/// Frames begin at multiples of this.
pub(crate) const ALIGN: usize = 8;

/// Payloads are at most this long; more is damage or a caller's mistake.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Bodies and mutations of one atomic change.
    Change = 1,
    /// The bytes of one small blob, named by the change after it.
    Chunk = 2,
    /// Nothing follows in this segment.
    Seal = 3,
}

/// The header of a frame, decoded; its checksum is not yet checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Above [`VERSION`] the kind means nothing.
    pub version: u8,
    pub kind: Kind,
    pub payload_len: usize,
    pub generation: u64,
    pub position: u64,
    pub synced: u64,
    crc: u32,
}

impl Header {
    /// Makes the header for a payload that is given in parts.
    pub(crate) fn seal(
        kind: Kind,
        at: (u64, u64),
        synced: u64,
        payload: &[&[u8]],
    ) -> [u8; HEADER_BYTES] {
        let (generation, position) = at;
        let len: usize = payload.iter().map(|part| part.len()).sum();
        assert!(
            len <= PAYLOAD_BYTES_MAX && position.is_multiple_of(ALIGN as u64) && synced <= position
        );
        let len = u32::try_from(len).expect("asserted above");
        let mut out = [0; HEADER_BYTES];
        out[..4].copy_from_slice(&MAGIC);
        out[8] = kind as u8;
        out[9] = VERSION;
        out[12..16].copy_from_slice(&len.to_le_bytes());
        out[16..24].copy_from_slice(&generation.to_le_bytes());
        out[24..32].copy_from_slice(&position.to_le_bytes());
        out[32..40].copy_from_slice(&synced.to_le_bytes());
        let crc = crc_of(&out, payload);
        out[4..8].copy_from_slice(&crc.to_le_bytes());
        out
    }

    /// `None` when these bytes are no header.
    pub(crate) fn parse(bytes: &[u8; HEADER_BYTES]) -> Option<Self> {
        let word32 = |at: usize| Some(u32::from_le_bytes(bytes[at..at + 4].try_into().ok()?));
        let word64 = |at: usize| Some(u64::from_le_bytes(bytes[at..at + 8].try_into().ok()?));
        let version = bytes[9];
        if bytes[..4] != MAGIC || version < VERSION {
            return None;
        }
        let kind = match bytes[8] {
            1 => Kind::Change,
            2 => Kind::Chunk,
            3 => Kind::Seal,
            _ if version > VERSION => Kind::Change,
            _ => return None,
        };
        let payload_len = usize::try_from(word32(12)?).ok()?;
        (payload_len <= PAYLOAD_BYTES_MAX).then_some(Self {
            version,
            kind,
            payload_len,
            generation: word64(16)?,
            position: word64(24)?,
            synced: word64(32)?,
            crc: word32(4)?,
        })
    }

    /// The checksum fits header and payload.
    pub(crate) fn verifies(&self, header: &[u8; HEADER_BYTES], payload: &[u8]) -> bool {
        payload.len() == self.payload_len && crc_of(header, &[payload]) == self.crc
    }

    /// Header, payload and padding.
    pub(crate) fn frame_len(&self) -> u64 {
        frame_len(self.payload_len)
    }
}

/// Length of a frame with its padding.
pub(crate) fn frame_len(payload_len: usize) -> u64 {
    let len = (HEADER_BYTES + payload_len).next_multiple_of(ALIGN);
    u64::try_from(len).expect("payloads are bounded")
}

fn crc_of(header: &[u8; HEADER_BYTES], payload: &[&[u8]]) -> u32 {
    let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
    digest.update(&header[8..]);
    for part in payload {
        digest.update(part);
    }
    u32::try_from(digest.finalize()).expect("a CRC32 has 32 bits")
}

/// A change's payload begins with a table of the bodies that it carries: their count, then id and
/// length of each; then the bodies; then the mutations.
pub(crate) fn body_table(bodies: &[(BlobId, usize)]) -> Vec<u8> {
    let count = u32::try_from(bodies.len()).expect("a change carries fewer than 2^32 bodies");
    let mut out = Vec::with_capacity(body_table_len(bodies.len()));
    out.extend_from_slice(&count.to_le_bytes());
    for (id, len) in bodies {
        out.extend_from_slice(&schema::blob_key(id));
        let len = u32::try_from(*len).expect("bodies in a change are small");
        out.extend_from_slice(&len.to_le_bytes());
    }
    out
}

const BODY_ROW_BYTES: usize = Stamp::BYTES + 4;

/// Length of [`body_table`].
pub(crate) const fn body_table_len(bodies: usize) -> usize {
    4 + bodies * BODY_ROW_BYTES
}

/// A body inside a frame: its blob and where it is in the payload.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BodyAt {
    pub id: BlobId,
    pub offset: usize,
    pub len: usize,
}

/// The bodies of a change's payload, and where the mutations begin.
pub(crate) fn bodies(payload: &[u8]) -> Result<(Vec<BodyAt>, usize), Error> {
    let bad = || Error::corrupt("the body table of a change");
    let count =
        u32::from_le_bytes(payload.get(..4).and_then(|b| b.try_into().ok()).ok_or_else(bad)?);
    let count = usize::try_from(count).map_err(|_| bad())?;
    if count > payload.len() / BODY_ROW_BYTES {
        return Err(bad());
    }
    let mut offset = body_table_len(count);
    let table = payload.get(4..offset).ok_or_else(bad)?;
    let mut out = Vec::with_capacity(count);
    for row in table.chunks_exact(BODY_ROW_BYTES) {
        let id = schema::blob_id(&row[..Stamp::BYTES])?;
        let len = u32::from_le_bytes(row[Stamp::BYTES..].try_into().map_err(|_| bad())?);
        let len = usize::try_from(len).map_err(|_| bad())?;
        out.push(BodyAt { id, offset, len });
        offset = offset.checked_add(len).filter(|end| *end <= payload.len()).ok_or_else(bad)?;
    }
    Ok((out, offset))
}

/// The payload of a chunk frame: the blob's id, then its bytes.
pub(crate) fn chunk_body(payload: &[u8]) -> Result<BodyAt, Error> {
    let id = payload.get(..Stamp::BYTES).ok_or_else(|| Error::corrupt("a chunk frame"))?;
    let len = payload.len() - Stamp::BYTES;
    Ok(BodyAt { id: schema::blob_id(id)?, offset: Stamp::BYTES, len })
}

/// One key set or removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Mutation<'a> {
    pub space: Space,
    pub key: &'a [u8],
    pub value: Option<&'a [u8]>,
}

/// Appends a mutation: table, whether there is a value, lengths, key, value.
pub(crate) fn push_mutation(out: &mut Vec<u8>, space: Space, key: &[u8], value: Option<&[u8]>) {
    let key_len = u16::try_from(key.len()).expect("keys are bounded where they are made");
    let value_len = u32::try_from(value.map_or(0, <[u8]>::len)).expect("values are bounded");
    out.push(space.number());
    out.push(u8::from(value.is_some()));
    out.extend_from_slice(&key_len.to_le_bytes());
    out.extend_from_slice(&value_len.to_le_bytes());
    out.extend_from_slice(key);
    out.extend_from_slice(value.unwrap_or_default());
}

pub(crate) const MUTATION_HEAD_BYTES: usize = 8;

/// Takes the first mutation off `bytes`; `None` at the end.
pub(crate) fn take_mutation<'a>(bytes: &mut &'a [u8]) -> Result<Option<Mutation<'a>>, Error> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let bad = || Error::corrupt("a mutation in a change");
    let (head, rest) = bytes.split_at_checked(MUTATION_HEAD_BYTES).ok_or_else(bad)?;
    let key_len = usize::from(u16::from_le_bytes([head[2], head[3]]));
    let value_len = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let value_len = usize::try_from(value_len).map_err(|_| bad())?;
    let (key, rest) = rest.split_at_checked(key_len).ok_or_else(bad)?;
    let (value, rest) = rest.split_at_checked(value_len).ok_or_else(bad)?;
    // The frame is whole: a table that is not known is one of a newer program.
    let newer = Error::Newer { found: schema::FORMAT + 1, known: schema::FORMAT };
    let space = Space::logged(head[0]).ok_or(newer)?;
    *bytes = rest;
    Ok(Some(Mutation { space, key, value: (head[1] == 1).then_some(value) }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::region::RegionId;
    use crate::types::stamp::Hlc;

    fn id(ms: u64) -> BlobId {
        BlobId(Stamp { hlc: Hlc::from_ms(ms), region: RegionId::parse("fra").unwrap() })
    }

    #[test]
    fn a_header_verifies_only_its_own_payload_and_place() {
        let header = Header::seal(Kind::Change, (3, 64), 8, &[b"ab", b"cde"]);
        let parsed = Header::parse(&header).unwrap();
        assert_eq!((parsed.generation, parsed.position, parsed.synced), (3, 64, 8));
        assert_eq!(parsed.payload_len, 5);
        assert_eq!(parsed.frame_len(), 48);
        assert!(parsed.verifies(&header, b"abcde"));
        assert!(!parsed.verifies(&header, b"abcdf"));
        for bit in 0..HEADER_BYTES * 8 {
            let mut flipped = header;
            flipped[bit / 8] ^= 1 << (bit % 8);
            let accepted = Header::parse(&flipped).is_some_and(|h| h.verifies(&flipped, b"abcde"));
            assert!(!accepted, "bit {bit}");
        }
    }

    #[test]
    fn bodies_and_mutations_round_trip() {
        let mut payload = body_table(&[(id(1), 3), (id(2), 0)]);
        payload.extend_from_slice(b"xyz");
        push_mutation(&mut payload, Space::Records, b"k", Some(b"value"));
        push_mutation(&mut payload, Space::Blobs, b"gone", None);
        let (found, start) = bodies(&payload).unwrap();
        assert_eq!(found.len(), 2);
        assert_eq!(&payload[found[0].offset..found[0].offset + found[0].len], b"xyz");
        let mut rest = &payload[start..];
        let first = take_mutation(&mut rest).unwrap().unwrap();
        assert_eq!(first, Mutation { space: Space::Records, key: b"k", value: Some(b"value") });
        let second = take_mutation(&mut rest).unwrap().unwrap();
        assert_eq!(second, Mutation { space: Space::Blobs, key: b"gone", value: None });
        assert_eq!(take_mutation(&mut rest).unwrap(), None);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_decoders_panic(bytes: Vec<u8>) {
            let _ = bodies(&bytes);
            let _ = chunk_body(&bytes);
            let mut rest = bytes.as_slice();
            while let Ok(Some(_)) = take_mutation(&mut rest) {}
        }
    }
}
