//! Multipart rules: which parts make an object, and what its ETag and checksum are.
//!
//! Invariant: an object is made only of parts that were uploaded whole, in ascending order, each
//! but the last at least [`limits::PART_BYTES_MIN`] long. It moves no bytes.

use std::collections::BTreeMap;
use std::ops::Range;

use crc_fast::CrcAlgorithm;
use md5::{Digest, Md5};
use serde::{Deserialize, Serialize};

use crate::limits;
use crate::types::object::{Checksum, ChecksumAlgorithm, ChecksumKind, ETag, ObjectMeta, PartRef};
use crate::types::record::PartRecord;

/// A part as the client lists it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    pub number: u16,
    /// Without quotes.
    pub etag: String,
    /// Raw bytes of the part's additional checksum, where the client repeats it.
    pub checksum: Option<(ChecksumAlgorithm, Vec<u8>)>,
}

/// An object made of parts.
#[derive(Clone, Debug, PartialEq)]
pub struct Assembled {
    pub parts: Vec<PartRef>,
    pub size: u64,
    pub etag: ETag,
    pub checksum: Option<Checksum>,
}

/// Why the list makes no object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// No part is listed.
    Empty,
    /// The part's checksum is not the one that it was uploaded with.
    Checksum { number: u16 },
    /// The part's ETag is not the one that it was uploaded with.
    ETag { number: u16 },
    /// Numbers do not ascend.
    Order,
    /// More than [`limits::OBJECT_BYTES_MAX`].
    TooLarge,
    /// Not the last and below [`limits::PART_BYTES_MIN`].
    TooSmall { number: u16, bytes: u64 },
    /// The part was not uploaded.
    Unknown { number: u16 },
}

/// A part that was sent again may stand in the list once for each time; what was sent last counts.
pub fn last_of_each(listed: Vec<Listed>) -> Vec<Listed> {
    let mut kept: Vec<Listed> = Vec::with_capacity(listed.len());
    for part in listed {
        match kept.last_mut() {
            Some(last) if last.number == part.number => *last = part,
            Some(_) | None => kept.push(part),
        }
    }
    kept
}

/// Puts an object together. `checksum` is what the upload was started with.
pub fn assemble(
    listed: &[Listed],
    stored: &BTreeMap<u16, PartRecord>,
    checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
) -> Result<Assembled, Refusal> {
    if listed.is_empty() {
        return Err(Refusal::Empty);
    }
    if !listed.windows(2).all(|pair| pair[0].number < pair[1].number) {
        return Err(Refusal::Order);
    }
    let chosen = listed.iter().map(|l| choose(l, stored)).collect::<Result<Vec<_>, _>>()?;
    for record in &chosen[..chosen.len() - 1] {
        let (number, bytes) = (record.part.number, record.part.blob.len);
        if bytes < limits::PART_BYTES_MIN {
            return Err(Refusal::TooSmall { number, bytes });
        }
    }
    let size = chosen.iter().map(|r| r.part.blob.len).sum();
    if size > limits::OBJECT_BYTES_MAX {
        return Err(Refusal::TooLarge);
    }
    let md5s: Vec<[u8; 16]> = chosen.iter().map(|r| r.md5).collect();
    let assembled = Assembled {
        size,
        etag: multipart_etag(&md5s),
        checksum: checksum.and_then(|(algorithm, kind)| whole_checksum(algorithm, kind, &chosen)),
        // An empty part, which only the last can be, is no run of bytes.
        parts: chosen.iter().filter(|r| r.part.blob.len > 0).map(|r| r.part.clone()).collect(),
    };
    assert!(assembled.parts.len() + 1 >= listed.len(), "only the last part may be empty");
    Ok(assembled)
}

fn choose<'a>(
    listed: &Listed,
    stored: &'a BTreeMap<u16, PartRecord>,
) -> Result<&'a PartRecord, Refusal> {
    let number = listed.number;
    let record = stored.get(&number).filter(|r| !r.ended).ok_or(Refusal::Unknown { number })?;
    if !hex::encode(record.md5).eq_ignore_ascii_case(&listed.etag) {
        return Err(Refusal::ETag { number });
    }
    if let (Some((algorithm, value)), Some(stored)) = (&listed.checksum, &record.checksum)
        && (*algorithm != stored.algorithm || *value != stored.value)
    {
        return Err(Refusal::Checksum { number });
    }
    Ok(record)
}

/// The ETag of a body that came in one piece.
pub fn plain_etag(md5: [u8; 16]) -> ETag {
    ETag(hex::encode(md5).into())
}

/// MD5 over the parts' MD5s, and their number. Source: what S3 does; not documented by it, relied
/// upon by clients.
pub fn multipart_etag(md5s: &[[u8; 16]]) -> ETag {
    let mut digest = Md5::new();
    md5s.iter().for_each(|md5| digest.update(md5));
    let whole: [u8; 16] = digest.finalize().into();
    ETag(format!("{}-{}", hex::encode(whole), md5s.len()).into())
}

/// How many parts the object was uploaded in; `None` for one that came in one piece.
pub fn parts_count(meta: &ObjectMeta) -> Option<usize> {
    meta.etag.0.split_once('-')?.1.parse().ok()
}

/// The bytes of the `number`th part, counted from 1 in the object's order; the whole object is the
/// first part of one that came in one piece. `None` when there is no such part.
pub fn part_range(meta: &ObjectMeta, number: u16) -> Option<Range<u64>> {
    let index = usize::from(number).checked_sub(1)?;
    let count = parts_count(meta);
    if index >= count.unwrap_or(1) {
        return None;
    }
    if count.is_none() {
        return Some(0..meta.size);
    }
    let start: u64 = meta.parts.iter().take(index).map(|p| p.blob.len).sum();
    // An empty last part has no run of bytes.
    let len = meta.parts.get(index).map_or(0, |p| p.blob.len);
    let end = start.checked_add(len).filter(|end| *end <= meta.size)?;
    Some(start..end)
}

/// S3's default when an upload names the algorithm only.
/// Source: S3 user guide, "Checking object integrity for data uploads".
pub fn default_kind(algorithm: ChecksumAlgorithm) -> ChecksumKind {
    match algorithm {
        ChecksumAlgorithm::Crc64Nvme => ChecksumKind::FullObject,
        ChecksumAlgorithm::Crc32
        | ChecksumAlgorithm::Crc32c
        | ChecksumAlgorithm::Sha1
        | ChecksumAlgorithm::Sha256 => ChecksumKind::Composite,
    }
}

/// Whether S3 has this pair: hashes cannot be combined, CRC64NVME is never a composite.
pub fn kind_allowed(algorithm: ChecksumAlgorithm, kind: ChecksumKind) -> bool {
    match algorithm {
        ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c => true,
        ChecksumAlgorithm::Crc64Nvme => kind == ChecksumKind::FullObject,
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => kind == ChecksumKind::Composite,
    }
}

/// The object's checksum from those of its parts; `None` when a part came without one.
fn whole_checksum(
    algorithm: ChecksumAlgorithm,
    kind: ChecksumKind,
    parts: &[&PartRecord],
) -> Option<Checksum> {
    let values = parts
        .iter()
        .map(|r| r.checksum.as_ref().filter(|c| c.algorithm == algorithm).map(|c| &c.value[..]))
        .collect::<Option<Vec<_>>>()?;
    let value = match kind {
        ChecksumKind::Composite => checksum_of(algorithm, &values.concat()),
        ChecksumKind::FullObject => {
            let crc = crc_of(algorithm)?;
            let lens = parts.iter().map(|r| r.part.blob.len);
            combine(crc, values.into_iter().zip(lens))?
        }
    };
    Some(Checksum { algorithm, kind, value })
}

fn combine<'a>(crc: Crc, parts: impl Iterator<Item = (&'a [u8], u64)>) -> Option<Vec<u8>> {
    let mut whole = None;
    for (value, len) in parts {
        let value = crc.decode(value)?;
        whole = Some(match whole {
            None => value,
            Some(before) => crc_fast::checksum_combine(crc.algorithm, before, value, len),
        });
    }
    whole.map(|value| crc.encode(value))
}

/// A CRC and how many bytes of the register it has on the wire.
#[derive(Clone, Copy)]
struct Crc {
    algorithm: CrcAlgorithm,
    bytes: usize,
}

impl Crc {
    fn encode(self, value: u64) -> Vec<u8> {
        value.to_be_bytes()[8 - self.bytes..].to_vec()
    }

    fn decode(self, value: &[u8]) -> Option<u64> {
        let mut wide = [0; 8];
        wide[8 - self.bytes..].copy_from_slice((value.len() == self.bytes).then_some(value)?);
        Some(u64::from_be_bytes(wide))
    }
}

fn crc_of(algorithm: ChecksumAlgorithm) -> Option<Crc> {
    match algorithm {
        ChecksumAlgorithm::Crc32 => Some(Crc { algorithm: CrcAlgorithm::Crc32IsoHdlc, bytes: 4 }),
        ChecksumAlgorithm::Crc32c => Some(Crc { algorithm: CrcAlgorithm::Crc32Iscsi, bytes: 4 }),
        ChecksumAlgorithm::Crc64Nvme => Some(Crc { algorithm: CrcAlgorithm::Crc64Nvme, bytes: 8 }),
        ChecksumAlgorithm::Sha1 | ChecksumAlgorithm::Sha256 => None,
    }
}

/// An additional checksum of bytes in memory, raw as it is stored.
pub fn checksum_of(algorithm: ChecksumAlgorithm, bytes: &[u8]) -> Vec<u8> {
    use aws_lc_rs::digest;
    let hash = match algorithm {
        ChecksumAlgorithm::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
        ChecksumAlgorithm::Sha256 => &digest::SHA256,
        ChecksumAlgorithm::Crc32 | ChecksumAlgorithm::Crc32c | ChecksumAlgorithm::Crc64Nvme => {
            let crc = crc_of(algorithm).expect("the arms here are the CRCs");
            return crc.encode(crc_fast::checksum(crc.algorithm, bytes));
        }
    };
    digest::digest(hash, bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::id::{BlobId, Hash};
    use crate::types::name::AccountId;
    use crate::types::object::{BlobRef, StoredHeaders};
    use crate::types::stamp::{Hlc, Stamp};

    const MIN: u64 = limits::PART_BYTES_MIN;

    fn record(number: u16, len: u64) -> PartRecord {
        let stamp = Stamp { hlc: Hlc(u64::from(number)), region: Stamp::ZERO.region };
        let blob = BlobRef { id: BlobId(stamp), len, root: Hash::of(&[]) };
        PartRecord {
            stamp,
            md5: Md5::digest(number.to_be_bytes()).into(),
            part: PartRef { number, blob, checksum: None, held_by: vec![], seal: None },
            checksum: None,
            modified_ms: 0,
            ended: false,
        }
    }

    fn store(parts: &[(u16, u64)]) -> BTreeMap<u16, PartRecord> {
        parts.iter().map(|(number, len)| (*number, record(*number, *len))).collect()
    }

    fn list(stored: &BTreeMap<u16, PartRecord>, numbers: &[u16]) -> Vec<Listed> {
        let etag = |n: &u16| stored.get(n).map_or_else(|| "0".repeat(32), |r| hex::encode(r.md5));
        let listed = |n: &u16| Listed { number: *n, etag: etag(n), checksum: None };
        numbers.iter().map(listed).collect()
    }

    fn meta(assembled: &Assembled) -> ObjectMeta {
        ObjectMeta {
            size: assembled.size,
            etag: assembled.etag.clone(),
            modified_ms: 0,
            headers: StoredHeaders::default(),
            user_meta: vec![],
            checksum: None,
            parts: assembled.parts.clone(),
            rides: false,
            owner: AccountId("a".into()),
            encryption: None,
        }
    }

    #[test]
    fn listed_parts_make_the_object_and_others_do_not() {
        let stored = store(&[(1, MIN), (3, MIN), (7, 1), (9, 5)]);
        let whole = assemble(&list(&stored, &[1, 3, 7]), &stored, None).unwrap();
        assert_eq!(whole.size, 2 * MIN + 1);
        assert_eq!(whole.parts.iter().map(|p| p.number).collect::<Vec<_>>(), [1, 3, 7]);
        assert!(whole.etag.0.ends_with("-3"), "{:?}", whole.etag);
        let meta = meta(&whole);
        assert_eq!(parts_count(&meta), Some(3));
        assert_eq!(part_range(&meta, 2), Some(MIN..2 * MIN));
        assert_eq!(part_range(&meta, 3), Some(2 * MIN..2 * MIN + 1));
        assert_eq!((part_range(&meta, 0), part_range(&meta, 4)), (None, None));
    }

    #[test]
    fn what_breaks_the_rules_is_refused() {
        let stored = store(&[(1, MIN), (2, MIN - 1), (3, 1)]);
        let refusal = |numbers: &[u16]| assemble(&list(&stored, numbers), &stored, None);
        assert_eq!(refusal(&[]), Err(Refusal::Empty));
        assert_eq!(refusal(&[2, 1]), Err(Refusal::Order));
        assert_eq!(refusal(&[1, 1]), Err(Refusal::Order));
        assert_eq!(refusal(&[1, 4]), Err(Refusal::Unknown { number: 4 }));
        assert_eq!(refusal(&[1, 2, 3]), Err(Refusal::TooSmall { number: 2, bytes: MIN - 1 }));
        let mut wrong = list(&stored, &[1]);
        wrong[0].etag = "f".repeat(32);
        assert_eq!(assemble(&wrong, &stored, None), Err(Refusal::ETag { number: 1 }));
        let mut ended = stored.clone();
        ended.get_mut(&1).unwrap().ended = true;
        let listed = list(&ended, &[1]);
        assert_eq!(assemble(&listed, &ended, None), Err(Refusal::Unknown { number: 1 }));
    }

    #[test]
    fn an_empty_only_part_makes_an_empty_object() {
        let stored = store(&[(1, 0)]);
        let whole = assemble(&list(&stored, &[1]), &stored, None).unwrap();
        assert_eq!((whole.size, whole.parts.len()), (0, 0));
        assert_eq!(part_range(&meta(&whole), 1), Some(0..0));
    }

    fn with_checksums(algorithm: ChecksumAlgorithm) -> (Vec<u8>, BTreeMap<u16, PartRecord>) {
        let mut stored = BTreeMap::new();
        let mut whole = Vec::new();
        for number in 1..=3_u16 {
            let len = if number == 3 { 1000 } else { usize::try_from(MIN).unwrap() };
            let bytes: Vec<u8> = (0..len)
                .map(|i| u8::try_from((i * 7 + usize::from(number)) % 251).unwrap())
                .collect();
            let mut record = record(number, bytes.len() as u64);
            let value = checksum_of(algorithm, &bytes);
            let kind = ChecksumKind::FullObject;
            record.checksum = Some(Checksum { algorithm, kind, value });
            stored.insert(number, record);
            whole.extend(bytes);
        }
        (whole, stored)
    }

    #[test]
    fn full_object_checksums_are_those_of_the_bytes() {
        let kind = ChecksumKind::FullObject;
        for algorithm in
            [ChecksumAlgorithm::Crc32, ChecksumAlgorithm::Crc32c, ChecksumAlgorithm::Crc64Nvme]
        {
            let (bytes, stored) = with_checksums(algorithm);
            let listed = list(&stored, &[1, 2, 3]);
            let whole = assemble(&listed, &stored, Some((algorithm, kind))).unwrap();
            assert_eq!(whole.checksum.unwrap().value, checksum_of(algorithm, &bytes));
        }
    }

    #[test]
    fn composite_checksums_are_over_the_checksums_of_the_parts() {
        let algorithm = ChecksumAlgorithm::Sha256;
        let (_, stored) = with_checksums(algorithm);
        let listed = list(&stored, &[1, 2, 3]);
        let kind = ChecksumKind::Composite;
        let whole = assemble(&listed, &stored, Some((algorithm, kind))).unwrap();
        let values: Vec<u8> =
            stored.values().flat_map(|r| r.checksum.clone().unwrap().value).collect();
        assert_eq!(whole.checksum.unwrap().value, checksum_of(algorithm, &values));
        let mut wrong = listed.clone();
        wrong[1].checksum = Some((algorithm, vec![0; 32]));
        let refusal = assemble(&wrong, &stored, Some((algorithm, kind)));
        assert_eq!(refusal, Err(Refusal::Checksum { number: 2 }));
        let mut lacking = stored.clone();
        lacking.get_mut(&2).unwrap().checksum = None;
        let whole = assemble(&listed, &lacking, Some((algorithm, kind))).unwrap();
        assert_eq!(whole.checksum, None);
    }

    /// A part that was sent: its number, its length around the least, whether it was ended.
    fn any_store() -> impl Strategy<Value = BTreeMap<u16, PartRecord>> {
        let len = prop::sample::select(vec![0, 1, MIN - 1, MIN, MIN + 1, 5 << 30]);
        let parts = prop::collection::btree_map(1..6_u16, (len, prop::bool::weighted(0.1)), 0..6);
        parts.prop_map(|parts| {
            let made = parts.into_iter().map(|(number, (len, ended))| {
                (number, PartRecord { ended, ..record(number, len) })
            });
            made.collect()
        })
    }

    proptest! {
        #[test]
        fn an_object_is_made_exactly_where_no_rule_is_broken(
            stored in any_store(),
            numbers in prop_oneof![
                prop::collection::vec(1..6_u16, 0..5),
                prop::collection::btree_set(1..6_u16, 0..5).prop_map(|set| set.into_iter().collect()),
            ],
            wrong in prop::option::weighted(0.2, 0..4_usize),
        ) {
            let mut listed = list(&stored, &numbers);
            if let Some(part) = wrong.and_then(|at| listed.get_mut(at)) {
                part.etag = "0".repeat(32);
            }
            let made = assemble(&listed, &stored, None);
            // The rules, each by itself.
            let known = |l: &Listed| stored.get(&l.number).filter(|r| !r.ended);
            let len = |l: &Listed| stored.get(&l.number).map_or(0, |r| r.part.blob.len);
            let rules = [
                !listed.is_empty(),
                numbers.iter().zip(numbers.iter().skip(1)).all(|(a, b)| a < b),
                listed.iter().all(|l| known(l).is_some()),
                listed.iter().all(|l| known(l).is_none_or(|r| hex::encode(r.md5) == l.etag)),
                listed.iter().rev().skip(1).all(|l| len(l) >= MIN),
                listed.iter().map(len).sum::<u64>() <= limits::OBJECT_BYTES_MAX,
            ];
            prop_assert_eq!(made.is_ok(), rules.iter().all(|kept| *kept), "{:?} {:?}", rules, made);
            let Ok(made) = made else { return Ok(()) };
            prop_assert_eq!(made.size, listed.iter().map(len).sum::<u64>());
            // Its parts follow each other and are all of it.
            let meta = meta(&made);
            let mut at = 0;
            for (number, part) in (1..).zip(&listed) {
                prop_assert_eq!(part_range(&meta, number), Some(at..at + len(part)));
                at += len(part);
            }
            prop_assert_eq!(part_range(&meta, u16::try_from(listed.len() + 1).unwrap()), None);
        }

        #[test]
        fn of_parts_that_were_listed_again_the_last_counts(
            numbers in prop::collection::vec(1..4_u16, 0..8),
        ) {
            let listed: Vec<Listed> = (0..).zip(&numbers).map(|(at, number): (u32, _)| Listed {
                number: *number, etag: at.to_string(), checksum: None,
            }).collect();
            let kept = last_of_each(listed.clone());
            let expected: Vec<Listed> = (0..listed.len())
                .filter(|at| numbers.get(at + 1) != Some(&numbers[*at]))
                .map(|at| listed[at].clone())
                .collect();
            prop_assert_eq!(kept, expected);
        }
    }

    #[test]
    fn known_answers() {
        let hello = |algorithm| hex::encode(checksum_of(algorithm, b"123456789"));
        assert_eq!(hello(ChecksumAlgorithm::Crc32), "cbf43926");
        assert_eq!(hello(ChecksumAlgorithm::Crc32c), "e3069283");
        assert_eq!(hello(ChecksumAlgorithm::Crc64Nvme), "ae8b14860a799888");
        let one = multipart_etag(&[Md5::digest(b"").into()]);
        assert_eq!(&*one.0, "59adb24ef3cdbe0297f05b395827453f-1");
    }
}
