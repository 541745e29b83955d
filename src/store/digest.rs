//! The digest tree over all records, for anti-entropy: 65,536 leaves in 256 groups.
//!
//! A leaf is the sum modulo 2^256 of the digests of its records, so that a changed record costs one
//! subtraction and one addition. Invariant: the sums in memory are those of the index's rows; they
//! are changed only with a commit, and written at checkpoints.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::{Arc, RwLock};

use crate::limits;
use crate::types::record::{Record, RecordId};

use super::error::Error;
use super::index::View;
use super::schema::{self, Space};
use super::shared::Shared;
use super::{read_lock, write_lock};

/// A sum of digests, little-endian.
pub(crate) type Leaf = [u8; 32];

const GROUP: usize = 256;
const _: () = assert!(GROUP * GROUP == limits::DIGEST_LEAVES);

/// Which leaf a record belongs to, by its key in the index.
pub(crate) fn leaf_of(record_key: &[u8]) -> u16 {
    let hash = blake3::hash(record_key);
    u16::from_be_bytes([hash.as_bytes()[0], hash.as_bytes()[1]])
}

/// The digest of a record and its state; the key keeps others from crafting sums that cancel out.
pub(crate) fn digest_of(record_key: &[u8], record: &Record) -> Leaf {
    digest_of_bytes(record_key, &schema::encode(record))
}

/// The digest of a record by its id.
pub fn digest_of_record(id: &RecordId, record: &Record) -> [u8; 32] {
    digest_of(&schema::record_key(id), record)
}

/// The same of a record as it is stored.
pub(crate) fn digest_of_bytes(record_key: &[u8], stored: &[u8]) -> Leaf {
    const CONTEXT: &str = "godwit 2026 record digest";
    let mut hasher = blake3::Hasher::new_derive_key(CONTEXT);
    let len = u32::try_from(record_key.len()).expect("keys of records are short");
    hasher.update(&len.to_le_bytes());
    hasher.update(record_key);
    hasher.update(stored);
    *hasher.finalize().as_bytes()
}

fn add(sum: &mut Leaf, term: &Leaf) {
    let mut carry = 0;
    for (byte, other) in sum.iter_mut().zip(term) {
        let total = u16::from(*byte) + u16::from(*other) + carry;
        [*byte, _] = total.to_le_bytes();
        carry = total >> 8;
    }
}

fn subtract(sum: &mut Leaf, term: &Leaf) {
    let mut borrow = false;
    for (byte, other) in sum.iter_mut().zip(term) {
        let (low, under) = byte.overflowing_sub(*other);
        let (low, under_again) = low.overflowing_sub(u8::from(borrow));
        *byte = low;
        borrow = under || under_again;
    }
}

/// The sums in memory.
pub(crate) struct Sums {
    leaves: Vec<Leaf>,
    groups: Vec<Leaf>,
    /// Groups changed since they were last written.
    dirty: BTreeSet<u8>,
}

impl Sums {
    pub(crate) fn new() -> Self {
        Self {
            leaves: vec![[0; 32]; limits::DIGEST_LEAVES],
            groups: vec![[0; 32]; GROUP],
            dirty: BTreeSet::new(),
        }
    }

    /// Takes in a group as it was written.
    pub(crate) fn load(&mut self, group: u8, bytes: &[u8]) -> Result<(), Error> {
        let (leaves, rest) = bytes.as_chunks::<32>();
        if leaves.len() != GROUP || !rest.is_empty() {
            return Err(Error::corrupt("stored digest sums"));
        }
        let start = usize::from(group) * GROUP;
        self.leaves[start..start + GROUP].copy_from_slice(leaves);
        for leaf in leaves {
            add(&mut self.groups[usize::from(group)], leaf);
        }
        Ok(())
    }

    pub(crate) fn apply(&mut self, leaf: u16, before: Option<&Leaf>, after: Option<&Leaf>) {
        let [group, _] = leaf.to_be_bytes();
        for sum in [&mut self.leaves[usize::from(leaf)], &mut self.groups[usize::from(group)]] {
            if let Some(before) = before {
                subtract(sum, before);
            }
            if let Some(after) = after {
                add(sum, after);
            }
        }
        self.dirty.insert(group);
    }

    /// What the leaves sum up to.
    pub(crate) fn leaves(&self) -> &[Leaf] {
        &self.leaves
    }

    /// Groups to write, with their leaves; they count as written.
    pub(crate) fn take_dirty(&mut self) -> Vec<(u8, Vec<u8>)> {
        let dirty = std::mem::take(&mut self.dirty);
        dirty.into_iter().map(|group| (group, self.group(group).concat())).collect()
    }

    fn group(&self, group: u8) -> &[Leaf] {
        let start = usize::from(group) * GROUP;
        &self.leaves[start..start + GROUP]
    }
}

/// The digest tree as it stands; each call sees the state of its moment.
pub struct DigestView {
    pub(crate) shared: Arc<Shared>,
}

impl DigestView {
    /// Sum of each group of 256 leaves.
    pub fn groups(&self) -> [[u8; 32]; 256] {
        let sums = self.sums();
        std::array::from_fn(|group| sums.groups[group])
    }

    /// The leaves of one group.
    pub fn leaves(&self, group: u8) -> [[u8; 32]; 256] {
        let sums = self.sums();
        std::array::from_fn(|leaf| sums.group(group)[leaf])
    }

    /// The records of one leaf with their digests, in the order of their ids.
    pub fn records(&self, leaf: u16) -> Result<Vec<(RecordId, [u8; 32])>, Error> {
        let view = self.shared.index.view()?;
        let prefix = leaf.to_be_bytes();
        let end = schema::prefix_end(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut out = Vec::new();
        for row in view.range(Space::Leaves, Bound::Included(&prefix), to)?.into_iter().flatten() {
            // One that decayed differs from every peer's: its record is compared, and replaced.
            let row = match row {
                Err(Error::Corrupt(_)) => continue,
                row => row?,
            };
            let digest = row.value().try_into();
            let digest = digest.map_err(|_| Error::corrupt("a stored digest"))?;
            out.push((schema::record_id(&row.key()[prefix.len()..])?, digest));
        }
        Ok(out)
    }

    fn sums(&self) -> std::sync::RwLockReadGuard<'_, Sums> {
        read_lock(&self.shared.sums)
    }
}

/// The sums of all digests as they are stored. Walks over all records. One that decayed is left out:
/// mending puts it back, and counts anew.
pub(crate) fn summed_up(view: &View) -> Result<Sums, Error> {
    let all = (Bound::Unbounded, Bound::Unbounded);
    let mut sums = Sums::new();
    for row in view.range(Space::Leaves, all.0, all.1)?.into_iter().flatten() {
        let row = match row {
            Err(error) if view.goes_on_past(&error) => continue,
            row => row?,
        };
        let leaf = row.key().first_chunk::<2>().copied().map(u16::from_be_bytes);
        let digest = Leaf::try_from(row.value()).ok();
        let (Some(leaf), Some(digest)) = (leaf, digest) else {
            return Err(Error::corrupt("a stored digest"));
        };
        sums.apply(leaf, None, Some(&digest));
    }
    Ok(sums)
}

/// Changes sums with a commit.
pub(crate) fn publish(sums: &RwLock<Sums>, changes: &[(u16, Option<Leaf>, Option<Leaf>)]) {
    let mut sums = write_lock(sums);
    for (leaf, before, after) in changes {
        sums.apply(*leaf, before.as_ref(), after.as_ref());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    proptest::proptest! {
        #[test]
        fn subtracting_what_was_added_gives_the_sum_before(a: Leaf, b: Leaf, c: Leaf) {
            let mut sum = a;
            add(&mut sum, &b);
            add(&mut sum, &c);
            subtract(&mut sum, &b);
            let mut other = a;
            add(&mut other, &c);
            proptest::prop_assert_eq!(sum, other);
            subtract(&mut sum, &c);
            proptest::prop_assert_eq!(sum, a);
        }
    }

    #[test]
    fn groups_are_the_sums_of_their_leaves_and_load_back() {
        let mut sums = Sums::new();
        let digests = [[1; 32], [255; 32], [7; 32]];
        sums.apply(0x0501, None, Some(&digests[0]));
        sums.apply(0x0502, None, Some(&digests[1]));
        sums.apply(0x0501, Some(&digests[0]), Some(&digests[2]));
        let mut expected = digests[1];
        add(&mut expected, &digests[2]);
        assert_eq!(sums.groups[5], expected);
        let written = sums.take_dirty();
        assert_eq!(written.len(), 1);
        assert!(sums.take_dirty().is_empty());
        let mut loaded = Sums::new();
        loaded.load(5, &written[0].1).unwrap();
        assert_eq!((&loaded.leaves, &loaded.groups), (&sums.leaves, &sums.groups));
        assert!(loaded.load(6, &[0; 31]).is_err());
    }
}
