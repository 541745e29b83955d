//! The tables of the index: what is stored under which key, and for how long.
//!
//! Invariant: the numbers of [`Space`] and the key layouts are on disk; they never change their
//! meaning. Keys sort as their parts do. Values of records and of callers begin with a version
//! byte. What is derived from other tables is never in a frame of the log: replay derives it again.

use std::sync::Arc;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::types::id::{BlobId, BucketId, Hash, Incarnation, UploadId};
use crate::types::name::{AccessKeyId, BucketName, ObjectKey};
use crate::types::object::BlobRef;
use crate::types::record::RecordId;
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::codec::{ALIGN, HEADER_BYTES, MUTATION_HEAD_BYTES};
use super::error::Error;

/// Version of the data directory as a whole, and the oldest that is read. 1 did not count the bodies
/// of a segment, and its entries had no checksums; 2 had every entry once.
pub(crate) const FORMAT: u32 = 3;
pub(crate) const FORMAT_OF_TWINS: u32 = 3;
pub(crate) const FORMAT_OLDEST: u32 = 1;

/// Version byte of values.
const VALUE_VERSION: u8 = 1;

/// Manifests up to this many chunks are in the blob's own entry, larger ones in a row of theirs,
/// so that entries stay small.
pub(crate) const ENTRY_CHUNKS_MAX: usize = 8;

/// Tables with keys and values of the caller's own making (postcard values).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Table {
    /// How far a log was applied here.
    Cursor,
    /// Events that wait for their delivery to a destination.
    Event,
    /// How many of them wait, by destination and in all.
    Lane,
    /// Small documents of this node alone.
    Local,
    /// Who is a member.
    Member,
    /// Facts about the cluster.
    Meta,
    /// Writes that wait for their acknowledgements.
    Pending,
    /// Changes that could not be applied.
    Quarantine,
    /// Acceptor state of registers.
    Register,
}

impl Table {
    pub(crate) fn space(self) -> Space {
        match self {
            Self::Cursor => Space::Cursor,
            Self::Event => Space::Event,
            Self::Lane => Space::Lane,
            Self::Local => Space::Local,
            Self::Member => Space::Member,
            Self::Meta => Space::Meta,
            Self::Pending => Space::Pending,
            Self::Quarantine => Space::Quarantine,
            Self::Register => Space::Register,
        }
    }
}

/// Every table of the index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Space {
    /// Record id -> record. Until forgotten.
    Records = 1,
    /// Blob id -> [`BlobEntry`]: what is held here. Until the grace after the last reference.
    Blobs = 2,
    /// Blob id -> chunk hashes, of larger blobs. As long as its entry.
    Manifests = 3,
    /// Origin, incarnation, number -> record id. Until trimmed.
    Log = 4,
    /// Origin, incarnation -> last trimmed number.
    Horizon = 5,
    /// Table and key of a caller's entry -> blobs that it keeps.
    Holding = 6,
    /// Due time, blob id -> nothing: blobs that nothing named when this was written.
    Garbage = 7,
    /// Blob id -> nothing: held, but failed a checksum.
    Damaged = 8,
    Cursor = 20,
    Local = 21,
    Member = 22,
    Meta = 23,
    Pending = 24,
    Quarantine = 25,
    Register = 26,
    Event = 27,
    Lane = 28,
    /// Derived: blob id, namer -> nothing.
    Refs = 60,
    /// Derived: leaf, record id -> digest.
    Leaves = 61,
    /// Derived: origin, incarnation -> last number.
    Heads = 62,
    /// Derived: bucket id -> [`Usage`](crate::types::usage::Usage).
    Usage = 63,
    /// Derived: record id of a row that keeps something to be brought back -> nothing.
    Kept = 64,
    /// Derived: table, key -> the same value ([`twin`](super::twin)).
    Twin = 65,
    /// Written at checkpoints: format, incarnation, boots, log position.
    Own = 80,
    /// Written at checkpoints: group -> the sums of its 256 leaves.
    Sums = 81,
    /// Written at checkpoints: segment -> [`SegmentInfo`].
    Segments = 82,
}

impl Space {
    pub(crate) const ALL: [Self; 26] = [
        Self::Records,
        Self::Blobs,
        Self::Manifests,
        Self::Log,
        Self::Horizon,
        Self::Holding,
        Self::Garbage,
        Self::Damaged,
        Self::Cursor,
        Self::Local,
        Self::Member,
        Self::Meta,
        Self::Pending,
        Self::Quarantine,
        Self::Register,
        Self::Event,
        Self::Lane,
        Self::Refs,
        Self::Leaves,
        Self::Heads,
        Self::Usage,
        Self::Kept,
        Self::Twin,
        Self::Own,
        Self::Sums,
        Self::Segments,
    ];

    /// Name of the redb table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Records => "records",
            Self::Blobs => "blobs",
            Self::Manifests => "manifests",
            Self::Log => "log",
            Self::Horizon => "horizon",
            Self::Holding => "holding",
            Self::Garbage => "garbage",
            Self::Damaged => "damaged",
            Self::Cursor => "cursor",
            Self::Local => "local",
            Self::Member => "member",
            Self::Meta => "meta",
            Self::Pending => "pending",
            Self::Quarantine => "quarantine",
            Self::Register => "register",
            Self::Event => "event",
            Self::Lane => "lane",
            Self::Refs => "refs",
            Self::Leaves => "leaves",
            Self::Heads => "heads",
            Self::Usage => "usage",
            Self::Kept => "kept",
            Self::Twin => "twin",
            Self::Own => "own",
            Self::Sums => "sums",
            Self::Segments => "segments",
        }
    }

    /// Its number in frames.
    pub(crate) const fn number(self) -> u8 {
        self as u8
    }

    /// The table of a number that may stand in a frame.
    pub(crate) fn logged(number: u8) -> Option<Self> {
        let space = Self::ALL.into_iter().find(|space| space.number() == number)?;
        (number < Self::Refs.number()).then_some(space)
    }

    /// Its entries stand twice: they are few or change seldom, and nothing else says what they were.
    pub(crate) fn is_twinned(self) -> bool {
        match self {
            Self::Cursor
            | Self::Event
            | Self::Heads
            | Self::Horizon
            | Self::Lane
            | Self::Local
            | Self::Member
            | Self::Meta
            | Self::Own
            | Self::Quarantine
            | Self::Register
            | Self::Segments
            | Self::Sums
            | Self::Usage => true,
            Self::Blobs
            | Self::Damaged
            | Self::Garbage
            | Self::Holding
            | Self::Kept
            | Self::Leaves
            | Self::Log
            | Self::Manifests
            | Self::Pending
            | Self::Records
            | Self::Refs
            | Self::Twin => false,
        }
    }

    /// Work to be done: what is left out is found otherwise (records by their digests).
    pub(crate) fn is_agenda(self) -> bool {
        matches!(self, Self::Log | Self::Garbage)
    }

    /// A walk of a snapshot goes on past what decayed: what is left out waits until it is mended, and
    /// nothing is given up because of it (bytes to be checked and to be mended, who names them).
    pub(crate) fn is_passed_over(self) -> bool {
        matches!(self, Self::Blobs | Self::Damaged | Self::Refs) || self.is_agenda()
    }

    /// Place in [`Space::ALL`].
    pub(crate) fn slot(self) -> usize {
        Self::ALL.iter().position(|space| *space == self).expect("ALL has every table")
    }
}

/// A value with its version.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_extend(value, vec![VALUE_VERSION])
        .expect("stored values have known lengths, which is all that postcard asks")
}

/// The inverse of [`encode`].
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Error> {
    match bytes.split_first() {
        Some((&VALUE_VERSION, rest)) => {
            postcard::from_bytes(rest).map_err(|e| Error::corrupt(format!("a stored value: {e}")))
        }
        Some((found, _)) if *found > VALUE_VERSION => {
            Err(Error::Newer { found: u32::from(*found), known: u32::from(VALUE_VERSION) })
        }
        Some(_) | None => Err(Error::corrupt("a stored value without a version")),
    }
}

const ROW: u8 = 1;
const BUCKET: u8 = 2;
const NAME: u8 = 3;
const ACCESS_KEY: u8 = 4;
const UPLOAD: u8 = 5;
const PART: u8 = 6;
const MEMBERS: u8 = 7;

/// Rows of one bucket share this prefix.
pub(crate) fn row_prefix(bucket: BucketId) -> Vec<u8> {
    let mut key = vec![ROW];
    key.extend_from_slice(&bucket.0);
    key
}

/// The key of a row.
pub(crate) fn row_key(bucket: BucketId, key: &ObjectKey) -> Vec<u8> {
    let mut out = row_prefix(bucket);
    out.extend_from_slice(key.as_bytes());
    out
}

/// The id of the bucket that a row's key begins with; `None` for other records.
pub(crate) fn bucket_of_row(key: &[u8]) -> Option<&[u8]> {
    key.strip_prefix(&[ROW])?.get(..size_of::<BucketId>())
}

/// The key of a record.
pub(crate) fn record_key(id: &RecordId) -> Vec<u8> {
    match id {
        RecordId::Row(bucket, key) => row_key(*bucket, key),
        RecordId::Bucket(bucket) => [&[BUCKET], bucket.0.as_slice()].concat(),
        RecordId::Name(name) => [&[NAME], name.as_str().as_bytes()].concat(),
        RecordId::AccessKey(key) => [&[ACCESS_KEY], key.0.as_bytes()].concat(),
        RecordId::Upload(upload) => [&[UPLOAD], upload.0.to_bytes().as_slice()].concat(),
        RecordId::Part(upload, number) => {
            [&[PART], upload.0.to_bytes().as_slice(), &number.to_be_bytes()].concat()
        }
        RecordId::Members => vec![MEMBERS],
    }
}

/// The inverse of [`record_key`].
pub(crate) fn record_id(key: &[u8]) -> Result<RecordId, Error> {
    parse_record_id(key).ok_or_else(|| Error::corrupt("a stored record id"))
}

fn parse_record_id(key: &[u8]) -> Option<RecordId> {
    let (kind, rest) = key.split_first()?;
    match *kind {
        ROW => {
            let (bucket, key) = rest.split_at_checked(16)?;
            let bucket = BucketId(bucket.try_into().ok()?);
            Some(RecordId::Row(bucket, ObjectKey::from_utf8(key).ok()?))
        }
        BUCKET => Some(RecordId::Bucket(BucketId(rest.try_into().ok()?))),
        NAME => Some(RecordId::Name(BucketName::parse(std::str::from_utf8(rest).ok()?).ok()?)),
        ACCESS_KEY => {
            Some(RecordId::AccessKey(AccessKeyId(Arc::from(std::str::from_utf8(rest).ok()?))))
        }
        UPLOAD => Some(RecordId::Upload(UploadId(Stamp::from_bytes(rest)?))),
        PART => {
            let (upload, number) = rest.split_at_checked(Stamp::BYTES)?;
            let number = u16::from_be_bytes(number.try_into().ok()?);
            Some(RecordId::Part(UploadId(Stamp::from_bytes(upload)?), number))
        }
        MEMBERS => rest.is_empty().then_some(RecordId::Members),
        _ => None,
    }
}

pub(crate) fn blob_key(id: &BlobId) -> [u8; Stamp::BYTES] {
    id.0.to_bytes()
}

pub(crate) fn blob_id(key: &[u8]) -> Result<BlobId, Error> {
    Stamp::from_bytes(key).map(BlobId).ok_or_else(|| Error::corrupt("a stored blob id"))
}

/// Origin and incarnation: the key of heads and horizons, and the prefix of log keys.
pub(crate) fn origin_key(origin: RegionId, incarnation: Incarnation) -> Vec<u8> {
    let mut key = origin.to_u16().to_be_bytes().to_vec();
    key.extend_from_slice(&incarnation.0.to_be_bytes());
    key
}

/// Length of [`origin_key`].
pub(crate) const ORIGIN_KEY_BYTES: usize = 10;

pub(crate) fn parse_origin(key: &[u8]) -> Result<(RegionId, Incarnation), Error> {
    let parse = || {
        let (origin, incarnation) = key.split_at_checked(2)?;
        let origin = RegionId::from_u16(u16::from_be_bytes(origin.try_into().ok()?))?;
        Some((origin, Incarnation(u64::from_be_bytes(incarnation.try_into().ok()?))))
    };
    parse().ok_or_else(|| Error::corrupt("a stored log origin"))
}

pub(crate) fn log_key(origin: RegionId, incarnation: Incarnation, seq: u64) -> Vec<u8> {
    let mut key = origin_key(origin, incarnation);
    key.extend_from_slice(&seq.to_be_bytes());
    key
}

/// A big-endian number that fills `bytes`.
pub(crate) fn number(bytes: &[u8]) -> Result<u64, Error> {
    let bytes = bytes.try_into().map_err(|_| Error::corrupt("a stored number"))?;
    Ok(u64::from_be_bytes(bytes))
}

pub(crate) fn garbage_key(due_ms: u64, id: &BlobId) -> Vec<u8> {
    let mut key = due_ms.to_be_bytes().to_vec();
    key.extend_from_slice(&blob_key(id));
    key
}

/// The key of a reference: the blob, then the namer's table and key.
pub(crate) fn ref_key(id: &BlobId, namer: Space, key: &[u8]) -> Vec<u8> {
    let mut out = blob_key(id).to_vec();
    out.push(namer.number());
    out.extend_from_slice(key);
    out
}

pub(crate) fn leaf_key(leaf: u16, record_key: &[u8]) -> Vec<u8> {
    [&leaf.to_be_bytes(), record_key].concat()
}

/// The record's key in the key of its digest.
pub(crate) fn record_of_leaf(leaf_key: &[u8]) -> &[u8] {
    leaf_key.get(size_of::<u16>()..).unwrap_or_default()
}

/// Where a held blob's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// A file of its own; the nonce makes its name unique for ever.
    File { nonce: u64 },
    /// In a segment, at this position.
    Segment { segment: u64, position: u64 },
}

/// A held blob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BlobEntry {
    pub len: u64,
    pub root: Hash,
    pub place: Place,
    /// Empty when the manifest has a row of its own.
    pub hashes: Vec<Hash>,
}

const PLACE_FILE: u8 = 1;
const PLACE_SEGMENT: u8 = 2;
const ENTRY_BYTES: usize = 1 + 8 + 32 + 1 + 8 + 8;

impl BlobEntry {
    pub(crate) fn blob(&self, id: BlobId) -> BlobRef {
        BlobRef { id, len: self.len, root: self.root }
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        assert!(self.hashes.len() <= ENTRY_CHUNKS_MAX);
        let (kind, a, b) = match self.place {
            Place::File { nonce } => (PLACE_FILE, nonce, 0),
            Place::Segment { segment, position } => (PLACE_SEGMENT, segment, position),
        };
        let mut out = Vec::with_capacity(ENTRY_BYTES + 32 * self.hashes.len());
        out.push(VALUE_VERSION);
        out.extend_from_slice(&self.len.to_be_bytes());
        out.extend_from_slice(&self.root.0);
        out.push(kind);
        out.extend_from_slice(&a.to_be_bytes());
        out.extend_from_slice(&b.to_be_bytes());
        out.extend_from_slice(&encode_hashes(&self.hashes));
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        Self::parse(bytes).ok_or_else(|| Error::corrupt("a stored blob entry"))
    }

    fn parse(bytes: &[u8]) -> Option<Self> {
        let (head, hashes) = bytes.split_at_checked(ENTRY_BYTES)?;
        let word = |at: usize| Some(u64::from_be_bytes(head[at..at + 8].try_into().ok()?));
        let place = match head[41] {
            PLACE_FILE => Place::File { nonce: word(42)? },
            PLACE_SEGMENT => Place::Segment { segment: word(42)?, position: word(50)? },
            _ => return None,
        };
        let root = Hash(head[9..41].try_into().ok()?);
        let hashes = decode_hashes(hashes)?;
        (head[0] == VALUE_VERSION).then_some(Self { len: word(1)?, root, place, hashes })
    }
}

pub(crate) fn encode_hashes(hashes: &[Hash]) -> Vec<u8> {
    hashes.iter().flat_map(|hash| hash.0).collect()
}

pub(crate) fn decode_hashes(bytes: &[u8]) -> Option<Vec<Hash>> {
    let (hashes, rest) = bytes.as_chunks::<32>();
    rest.is_empty().then(|| hashes.iter().map(|hash| Hash(*hash)).collect())
}

/// What is known of a segment file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct SegmentInfo {
    /// End of its frames.
    pub len: u64,
    /// Bytes of held blobs in it.
    pub live: u64,
    /// How many those are; too few where some came before they were counted.
    pub bodies: u64,
}

/// What a body of one chunk takes in the log besides its bytes once it was moved there: at most its
/// chunk frame and the entry that says where it is.
const PACKED_BODY_BYTES: u64 =
    (HEADER_BYTES + Stamp::BYTES + ALIGN + MUTATION_HEAD_BYTES + Stamp::BYTES + ENTRY_BYTES + 32)
        as u64;

impl SegmentInfo {
    /// What the live bodies take where nothing else is.
    pub(crate) fn packed(&self) -> u64 {
        self.live + self.bodies * PACKED_BODY_BYTES
    }

    /// What moving the live bodies away would give back.
    pub(crate) fn dead(&self) -> u64 {
        self.len.saturating_sub(self.packed())
    }

    pub(crate) fn encode(self) -> [u8; 24] {
        let mut out = [0; 24];
        out[..8].copy_from_slice(&self.len.to_be_bytes());
        out[8..16].copy_from_slice(&self.live.to_be_bytes());
        out[16..].copy_from_slice(&self.bodies.to_be_bytes());
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, Error> {
        let (words, rest) = bytes.as_chunks::<8>();
        let word = |at: usize| words.get(at).map(|word| u64::from_be_bytes(*word));
        match (word(0), word(1), words.len()) {
            (Some(len), Some(live), 2 | 3) if rest.is_empty() => {
                Ok(Self { len, live, bodies: word(2).unwrap_or(0) })
            }
            _ => Err(Error::corrupt("a stored segment entry")),
        }
    }
}

/// The first key after every key that begins with `prefix`; `None` when there is none.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let keep = prefix.iter().rposition(|byte| *byte != u8::MAX)?;
    let mut end = prefix[..=keep].to_vec();
    end[keep] += 1;
    Some(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stamp(ms: u64) -> Stamp {
        Stamp {
            hlc: crate::types::stamp::Hlc::from_ms(ms),
            region: RegionId::parse("fra").unwrap(),
        }
    }

    #[test]
    fn record_keys_round_trip_and_rows_sort_by_object_key() {
        let bucket = BucketId([7; 16]);
        let row = |key: &str| RecordId::Row(bucket, ObjectKey::parse(key).unwrap());
        let ids = [
            row("a"),
            row("a/b"),
            row("b"),
            RecordId::Bucket(bucket),
            RecordId::Name(BucketName::parse("some-bucket").unwrap()),
            RecordId::AccessKey(AccessKeyId("AK".into())),
            RecordId::Upload(UploadId(stamp(3))),
            RecordId::Part(UploadId(stamp(3)), 10_000),
            RecordId::Members,
        ];
        let keys: Vec<Vec<u8>> = ids.iter().map(record_key).collect();
        assert!(keys.is_sorted());
        for (id, key) in ids.iter().zip(&keys) {
            assert_eq!(&record_id(key).unwrap(), id);
        }
        assert!(record_id(&[9, 9]).is_err());
        assert!(record_id(&[ROW, 1]).is_err());
    }

    #[test]
    fn blob_entries_round_trip_and_reject_garbage() {
        for place in [Place::File { nonce: 9 }, Place::Segment { segment: 3, position: 1 << 33 }] {
            let entry = BlobEntry {
                len: 5 << 30,
                root: Hash::of(b"r"),
                place,
                hashes: vec![Hash::of(b"a"), Hash::of(b"b")],
            };
            let bytes = entry.encode();
            assert_eq!(BlobEntry::decode(&bytes).unwrap(), entry);
            assert!(BlobEntry::decode(&bytes[..bytes.len() - 1]).is_err());
        }
        assert!(BlobEntry::decode(&[0; ENTRY_BYTES]).is_err());
    }

    #[test]
    fn entries_of_segments_round_trip_and_yesterdays_are_read() {
        let info = SegmentInfo { len: 1000, live: 300, bodies: 2 };
        assert_eq!(SegmentInfo::decode(&info.encode()).unwrap(), info);
        let of_format_1 = &info.encode()[..16];
        let read = SegmentInfo::decode(of_format_1).unwrap();
        assert_eq!(read, SegmentInfo { bodies: 0, ..info });
        assert!(SegmentInfo::decode(&of_format_1[..15]).is_err());
        assert!(SegmentInfo::decode(&[0; 32]).is_err());
        assert_eq!(info.dead(), 1000 - 300 - 2 * PACKED_BODY_BYTES);
    }

    #[test]
    fn numbers_of_tables_are_unique_and_derived_ones_never_stand_in_a_frame() {
        let mut numbers: Vec<u8> = Space::ALL.iter().map(|s| s.number()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), Space::ALL.len());
        assert_eq!(Space::logged(Space::Records.number()), Some(Space::Records));
        assert_eq!(Space::logged(Space::Refs.number()), None);
        assert_eq!(Space::logged(200), None);
    }

    #[test]
    fn the_end_of_a_prefix_is_above_all_its_keys() {
        assert_eq!(prefix_end(&[1, 2]), Some(vec![1, 3]));
        assert_eq!(prefix_end(&[1, 255]), Some(vec![2]));
        assert_eq!(prefix_end(&[255, 255]), None);
        assert_eq!(prefix_end(&[]), None);
    }

    #[test]
    fn a_value_of_a_newer_version_is_refused() {
        let bytes = encode(&7_u32);
        assert_eq!(decode::<u32>(&bytes).unwrap(), 7);
        let newer = [&[VALUE_VERSION + 1], &bytes[1..]].concat();
        assert!(matches!(decode::<u32>(&newer), Err(Error::Newer { .. })));
        assert!(matches!(decode::<u32>(&[]), Err(Error::Corrupt(_))));
    }
}
