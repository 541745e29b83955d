//! Checksums of the index's entries: every value ends with one over its table, its key and itself.
//!
//! Invariant: what is read through [`open`] is what was put there. redb compares its own checksums
//! only after a crash, and a flipped bit would otherwise be another key or another value. An index of
//! format 1 has entries without them: those are read as they are until they are written again.

use crc_fast::crc32_iscsi;

use super::schema::Space;

/// Bytes of the checksum.
pub(super) const BYTES: usize = 4;

/// The key of the directory's format, which programs of format 1 read too: it has no checksum.
pub(super) const FORMAT_KEY: &[u8] = b"format";

/// The same with a checksum, which stands twice: where it is there, it is what counts.
pub(super) const FORMAT_COPY_KEY: &[u8] = b"format-copy";

/// In an index that has only sealed entries.
pub(super) const SEALED_KEY: &[u8] = b"sealed";

/// Whether an entry has a checksum.
pub(super) fn applies(space: Space, key: &[u8]) -> bool {
    space != Space::Own || key != FORMAT_KEY
}

/// The checksum of an entry: CRC32C of its value and, turned so that neither stands for the other, of
/// its key, with the number of its table. Two calls over whole slices: a list checks thousands.
pub(super) fn of(space: Space, key: &[u8], value: &[u8]) -> [u8; BYTES] {
    let turned = crc32_iscsi(key).rotate_left(7) ^ u32::from(space.number()).rotate_left(24);
    (crc32_iscsi(value) ^ turned).to_le_bytes()
}

/// A value as it is stored, with its checksum where it has one.
pub(super) fn sealed(space: Space, key: &[u8], value: &[u8]) -> Vec<u8> {
    let sum = of(space, key, value);
    [value, if applies(space, key) { &sum[..] } else { &[] }].concat()
}

/// The value without its checksum; `None` when that does not fit. Where entries without one are
/// about (`mixed`), one that does not fit is taken for such.
pub(super) fn open<'a>(
    space: Space,
    key: &[u8],
    stored: &'a [u8],
    mixed: bool,
) -> Option<&'a [u8]> {
    if !applies(space, key) {
        return Some(stored);
    }
    match stored.split_last_chunk::<BYTES>() {
        Some((value, found)) if of(space, key, value) == *found => Some(value),
        Some(_) | None => mixed.then_some(stored),
    }
}

/// The value without its checksum, whether or not that fits: for what is compared with something
/// else, and for mending.
pub(super) fn strip<'a>(space: Space, key: &[u8], stored: &'a [u8], mixed: bool) -> &'a [u8] {
    match open(space, key, stored, mixed) {
        Some(value) => value,
        None => stored.split_last_chunk::<BYTES>().map_or(stored, |(value, _)| value),
    }
}

/// What one byte does to a CRC32C of zeros (RFC 3720, B.4: reflected polynomial 0x82f63b78).
const TABLE: [u32; 256] = {
    let mut table = [0; 256];
    let mut byte = 0_u32;
    while byte < 256 {
        let (mut crc, mut bit) = (byte, 0);
        while bit < 8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
};

/// Where in `len` bytes one flipped bit changes their CRC32C by `change`.
fn flips(len: usize, change: u32) -> impl Iterator<Item = (usize, u8)> {
    (0..8).flat_map(move |bit| {
        let mut crc = TABLE[1 << bit];
        (0..len).rev().filter_map(move |at| {
            let found = (crc == change).then_some((at, bit));
            crc = (crc >> 8) ^ TABLE[usize::from(crc.to_le_bytes()[0])];
            found
        })
    })
}

/// Key and value of an entry of which one bit flipped, in either or in the checksum: as they were.
/// `None` where no flipped bit explains the checksum, or more than one does: of entries below 600
/// bytes other damage up to four bits never looks like one flipped bit, and what is wholly different
/// does once in a million.
pub(super) fn corrected(space: Space, key: &[u8], stored: &[u8]) -> Option<(Vec<u8>, Vec<u8>)> {
    let (value, sum) = stored.split_last_chunk::<BYTES>()?;
    let change = u32::from_le_bytes(of(space, key, value)) ^ u32::from_le_bytes(*sum);
    let flipped = |bytes: &[u8], (at, bit): (usize, u8)| {
        let mut out = bytes.to_vec();
        out[at] ^= 1 << bit;
        out
    };
    let sums = (change.count_ones() == 1).then(|| (key.to_vec(), value.to_vec()));
    let values = flips(value.len(), change).map(|at| (key.to_vec(), flipped(value, at)));
    let turned = change.rotate_right(7);
    let keys = flips(key.len(), turned).map(|at| (flipped(key, at), value.to_vec()));
    let mut found = sums.into_iter().chain(values).chain(keys);
    found.next().filter(|_| found.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_flipped_bit_is_found_wherever_it_is_and_more_of_them_are_not_taken_for_one() {
        let (key, value) = (b"some/key".to_vec(), (0..90).collect::<Vec<u8>>());
        let stored = [&value[..], &of(Space::Pending, &key, &value)].concat();
        let whole = Some((key.clone(), value.clone()));
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(corrected(Space::Pending, &key, &flipped), whole, "bit {bit}");
            for other in (0..bit).step_by(7) {
                let mut twice = flipped.clone();
                twice[other / 8] ^= 1 << (other % 8);
                assert_eq!(corrected(Space::Pending, &key, &twice), None, "{bit} and {other}");
            }
        }
        for bit in 0..key.len() * 8 {
            let mut flipped = key.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(corrected(Space::Pending, &flipped, &stored), whole, "bit {bit} of the key");
        }
    }

    #[test]
    fn every_flipped_bit_of_key_value_and_checksum_is_seen_and_another_table_is_too() {
        let (key, value) = (b"a key".to_vec(), b"a value".to_vec());
        let stored = [&value[..], &of(Space::Register, &key, &value)].concat();
        assert_eq!(open(Space::Register, &key, &stored, false), Some(&value[..]));
        assert_eq!(open(Space::Cursor, &key, &stored, false), None);
        for bit in 0..stored.len() * 8 {
            let mut flipped = stored.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(Space::Register, &key, &flipped, false), None, "bit {bit}");
        }
        for bit in 0..key.len() * 8 {
            let mut flipped = key.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(open(Space::Register, &flipped, &stored, false), None, "bit {bit}");
        }
    }

    #[test]
    fn values_without_a_checksum_are_read_where_there_may_be_such() {
        for value in [&b"value"[..], b"abc", b""] {
            assert_eq!(open(Space::Cursor, b"k", value, true), Some(value));
            assert_eq!(open(Space::Cursor, b"k", value, false), None);
        }
        let format = 2_u32.to_be_bytes();
        assert_eq!(open(Space::Own, FORMAT_KEY, &format, false), Some(&format[..]));
    }
}
