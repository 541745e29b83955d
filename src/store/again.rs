//! Making again what decayed in the index: entries that follow from others are derived from them,
//! bytes of which nothing says any more where they are are found on the disk (`found`).
//!
//! Invariant: each step can be done again, and adds only what is missing. Nothing is taken off a blob
//! before every reference that follows from what is sound is there again: as long as the table of
//! references is in doubt, no bytes go.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::sync::Arc;

use crate::logic::undo;
use crate::types::id::BlobId;
use crate::types::record::Record;

use super::digest::{self, Leaf};
use super::entries::{Decayed, MENDED};
use super::error::Error;
use super::index::View;
use super::layer::{blobs_of, row_of};
use super::schema::{self, Space};
use super::shared::Shared;
use super::tx::Tx;
use super::{Store, lock, read_lock, write_lock};

/// Entries that one change takes out or makes again.
const BATCH: usize = 256;

/// What one walk gathers at most; more are gathered by the next.
const WALK_MAX: usize = 100_000;

/// What was mended in one table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableMended {
    /// Entries that were not whole.
    pub taken_out: u64,
    /// Entries that are there again.
    pub made_again: u64,
    /// Bytes that are not on this disk any more, and changes that wait for no outcome any more.
    pub given_up: u64,
}

/// What mending the entries came to, by the name of the table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EntriesMended {
    pub tables: BTreeMap<&'static str, TableMended>,
}

impl EntriesMended {
    pub(crate) fn of(&mut self, space: Space) -> &mut TableMended {
        self.tables.entry(space.name()).or_default()
    }
}

impl Store {
    /// Mends the entries of objects, blobs and changes that decayed; at once when none is known. An
    /// entry of which one bit flipped is corrected. Else references, digests and what is kept follow
    /// from the records, what a change holds from the references; garbage is found again; bytes are
    /// found on this disk, or noted as damaged, so that they are fetched from another region. Dropped
    /// are entries of logs, which digests make up for, notes of damage, which scrub makes again, and
    /// changes that wait for their outcome: one is answered only after its record was merged and its
    /// entry ended, so nothing that was answered hangs on such an entry alone.
    pub async fn mend_entries(&self) -> Result<EntriesMended, Error> {
        let shared = Arc::clone(&self.shared);
        let times_anew = self.shared.index.decay().times_anew();
        let noted = self.shared.env.blocking(move || shared.noted()).await?;
        let mut mended = EntriesMended::default();
        if noted.is_empty() {
            self.settle_missed().await?;
            return Ok(mended);
        }
        // Where bytes are is looked for while the entries that say so are still there.
        let found = match noted.contains(&Space::Blobs) {
            true => Some(self.find_bytes().await?),
            false => None,
        };
        for space in &noted {
            self.take_out_decayed(*space, &mut mended).await?;
        }
        self.derive_again(&noted, &mut mended).await?;
        self.mend_holding(&mut mended).await?;
        if let Some(found) = found {
            self.attach_found(found, &mut mended).await?;
        }
        if noted.contains(&Space::Manifests) {
            self.mend_manifests(&mut mended).await?;
        }
        if noted.contains(&Space::Leaves) {
            self.sum_up_again().await?;
        }
        // In the writer, which alone writes the index anew: then all of it is to be done again.
        let shared = Arc::clone(&self.shared);
        let forget = move |_: &mut Tx<'_>| {
            let decay = shared.index.decay();
            let is_same = decay.times_anew() == times_anew;
            if is_same {
                decay.tables().retain(|space| !noted.contains(space));
            }
            Ok::<_, Error>(is_same)
        };
        if !self.write(forget).await? {
            return Ok(mended);
        }
        self.note_garbage_again(&mut mended).await?;
        lock(&self.shared.sweep).stuck.clear();
        self.settle_missed().await?;
        self.checkpoint().await?;
        Ok(mended)
    }

    async fn take_out_decayed(
        &self,
        space: Space,
        mended: &mut EntriesMended,
    ) -> Result<(), Error> {
        loop {
            let shared = Arc::clone(&self.shared);
            let decayed = self.shared.env.blocking(move || shared.decayed(space, BATCH)).await?;
            if decayed.is_empty() {
                return Ok(());
            }
            for Decayed { spot, .. } in decayed.iter().filter(|one| one.was.is_none()) {
                let (table, key) = (space.name(), spot.key.escape_ascii());
                tracing::error!(table, %key, "an entry of the index decayed beyond one bit");
            }
            let shared = Arc::clone(&self.shared);
            let taken = self.write(move |tx| shared.take_out(tx, space, decayed)).await?;
            let tally = mended.of(space);
            tally.taken_out += taken.0;
            tally.made_again += taken.1;
            if space == Space::Pending {
                tally.given_up += taken.0 - taken.1;
            }
            if taken.0 == 0 {
                return Err(Error::corrupt("an entry of the index that cannot be taken out"));
            }
        }
    }

    /// What follows from records.
    async fn derive_again(
        &self,
        noted: &BTreeSet<Space>,
        mended: &mut EntriesMended,
    ) -> Result<(), Error> {
        let follows = [Space::Refs, Space::Kept, Space::Leaves];
        let Some(first) = follows.into_iter().find(|space| noted.contains(space)) else {
            return Ok(());
        };
        loop {
            let shared = Arc::clone(&self.shared);
            let keys = self.shared.env.blocking(move || shared.underived()).await?;
            let mut again = 0;
            for batch in keys.chunks(BATCH) {
                let batch = batch.to_vec();
                let derive = move |tx: &mut Tx<'_>| {
                    let mut again = 0;
                    for key in &batch {
                        again += tx.layer.derive_again(key)?;
                    }
                    Ok::<_, Error>(again)
                };
                again += self.write(derive).await?;
            }
            mended.of(first).made_again += again;
            if again == 0 || keys.len() < WALK_MAX {
                break;
            }
        }
        let shared = Arc::clone(&self.shared);
        self.shared.env.blocking(move || shared.forget_whole_records()).await
    }

    /// What a caller's entry keeps follows from the references, and the other way round.
    async fn mend_holding(&self, mended: &mut EntriesMended) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let torn = self.shared.env.blocking(move || shared.torn_holding()).await?;
        let torn: Vec<(Vec<u8>, BTreeSet<BlobId>)> = torn.into_iter().collect();
        for batch in torn.chunks(BATCH) {
            let batch = batch.to_vec();
            let put = move |tx: &mut Tx<'_>| {
                let mut again = 0;
                for (key, named) in batch {
                    again += hold_again(tx, &key, &named)?;
                }
                Ok::<_, Error>(again)
            };
            let again = self.write(put).await?;
            mended.of(Space::Holding).made_again += again;
        }
        Ok(())
    }

    /// Blobs that nothing names are garbage, from now on.
    async fn note_garbage_again(&self, mended: &mut EntriesMended) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let unnamed = self.shared.env.blocking(move || shared.unnoted_garbage()).await?;
        for batch in unnamed.chunks(BATCH) {
            let batch = batch.to_vec();
            mended.of(Space::Garbage).made_again += batch.len() as u64;
            // What is touched is looked at when the change is kept.
            let touch = move |tx: &mut Tx<'_>| {
                tx.layer.touched.extend(batch);
                Ok::<_, Error>(())
            };
            self.write(touch).await?;
        }
        Ok(())
    }

    /// Makes the sums of the digests those of what is there. They are taken with the entries that they
    /// are of, and what differs is a difference later too.
    async fn sum_up_again(&self) -> Result<(), Error> {
        let shared = Arc::clone(&self.shared);
        let as_of = move |_: &mut Tx<'_>| {
            Ok::<_, Error>((shared.index.view()?, read_lock(&shared.sums).leaves().to_vec()))
        };
        let (view, known) = self.write(as_of).await?;
        let sums = self.shared.env.blocking(move || digest::summed_up(&view)).await?;
        let differs = (0..=u16::MAX).zip(known).zip(sums.leaves());
        let differs: Vec<(u16, Leaf, Leaf)> = differs
            .filter(|((_, known), sum)| known != *sum)
            .map(|((leaf, known), sum)| (leaf, known, *sum))
            .collect();
        if differs.is_empty() {
            return Ok(());
        }
        tracing::warn!(leaves = differs.len(), "sums of digests were wrong and are made anew");
        let shared = Arc::clone(&self.shared);
        let correct = move |_: &mut Tx<'_>| {
            let mut sums = write_lock(&shared.sums);
            for (leaf, known, sum) in differs {
                sums.apply(leaf, Some(&known), Some(&sum));
            }
            Ok::<_, Error>(())
        };
        self.write(correct).await
    }
}

/// Puts right what a caller's entry keeps: `named` is what the references say.
fn hold_again(tx: &mut Tx<'_>, key: &[u8], named: &BTreeSet<BlobId>) -> Result<u64, Error> {
    let Some((space, of)) = holder_of(key) else { return Ok(0) };
    let kept: Option<BTreeSet<BlobId>> = match tx.layer.get(Space::Holding, key, schema::decode) {
        Err(Error::Corrupt(_)) => None,
        kept => kept?.transpose()?,
    };
    let there = tx.layer.may_contain(space, of)? || !tx.layer.view.has_none(space, of)?;
    let mut again = 0;
    match kept {
        Some(kept) if there => {
            for id in &kept {
                let key = schema::ref_key(id, Space::Holding, key);
                again += tx.layer.put_missing(Space::Refs, key, Vec::new())?;
            }
            unname(tx, key, named.difference(&kept));
        }
        Some(_) => tx.layer.change(Space::Holding, key, None)?,
        None if there && !named.is_empty() => {
            tx.layer.change(Space::Holding, key, Some(schema::encode(named)))?;
            again += 1;
        }
        None => unname(tx, key, named.iter()),
    }
    Ok(again)
}

/// What nothing that is there says any more.
fn unname<'a>(tx: &mut Tx<'_>, key: &[u8], ids: impl Iterator<Item = &'a BlobId>) {
    for id in ids {
        tx.layer.top.put(Space::Refs, schema::ref_key(id, Space::Holding, key), None);
        tx.layer.touched.insert(*id);
    }
}

/// The table and the key of the caller's entry that keeps blobs.
fn holder_of(key: &[u8]) -> Option<(Space, &[u8])> {
    let (number, of) = key.split_first()?;
    Some((Space::logged(*number)?, of))
}

impl View {
    fn has(&self, space: Space, key: &[u8]) -> Result<bool, Error> {
        Ok(self.get_raw(space, key, |_| ())?.is_some())
    }

    /// Every entry of a table that is sound.
    pub(crate) fn walk(
        &self,
        space: Space,
        mut each: impl FnMut(&[u8], &[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let rows = self.range_raw(space, Bound::Unbounded, Bound::Unbounded)?;
        for row in rows.into_iter().flatten() {
            let row = row?;
            if row.is_sound() {
                each(row.key(), row.value())?;
            }
        }
        Ok(())
    }
}

impl Shared {
    /// Tables to be mended. Where a record is sound, what does not fit is its digest.
    fn noted(&self) -> Result<BTreeSet<Space>, Error> {
        let decay = self.index.decay();
        let mut noted = decay.tables().clone();
        noted.retain(|space| MENDED.contains(space));
        let bad: Vec<Vec<u8>> = decay.records().iter().cloned().collect();
        let view = self.index.view()?;
        for key in bad {
            match view.get(Space::Records, &key, |_| ()) {
                Ok(Some(())) => noted.insert(Space::Leaves),
                Ok(None) | Err(Error::Corrupt(_)) => false,
                Err(error) => return Err(error),
            };
        }
        Ok(noted)
    }

    /// Records that fit their digests again are sound.
    fn forget_whole_records(&self) -> Result<(), Error> {
        let bad: Vec<Vec<u8>> = self.index.decay().records().iter().cloned().collect();
        let view = self.index.view()?;
        for key in bad {
            match view.record(&key) {
                Ok(Some(_)) => {
                    self.index.decay().records().remove(&key);
                }
                Ok(None) | Err(Error::Corrupt(_)) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Records of which something that follows is not there.
    fn underived(&self) -> Result<Vec<Vec<u8>>, Error> {
        let view = self.index.view()?;
        let mut out = Vec::new();
        view.walk(Space::Records, |key, value| {
            let record: Record = schema::decode(value)?;
            let leaf_key = schema::leaf_key(digest::leaf_of(key), key);
            let mut whole = view.has(Space::Leaves, &leaf_key)?;
            if row_of(&record).is_some_and(undo::is_watched) {
                whole = whole && view.has(Space::Kept, key)?;
            }
            for id in blobs_of(&record) {
                whole =
                    whole && view.has(Space::Refs, &schema::ref_key(&id, Space::Records, key))?;
            }
            if !whole && out.len() < WALK_MAX {
                out.push(key.to_vec());
            }
            Ok(())
        })?;
        Ok(out)
    }

    /// Keys of what is held of which the references, or the caller's entry, say something else; with
    /// what the references say.
    fn torn_holding(&self) -> Result<BTreeMap<Vec<u8>, BTreeSet<BlobId>>, Error> {
        let view = self.index.view()?;
        let mut named: BTreeMap<Vec<u8>, BTreeSet<BlobId>> = BTreeMap::new();
        view.walk(Space::Refs, |key, _| {
            let id_bytes = crate::types::stamp::Stamp::BYTES;
            if let Some((id, namer)) = key.split_at_checked(id_bytes)
                && let Some((number, of)) = namer.split_first()
                && *number == Space::Holding.number()
            {
                named.entry(of.to_vec()).or_default().insert(schema::blob_id(id)?);
            }
            Ok(())
        })?;
        view.walk(Space::Holding, |key, value| {
            let kept: BTreeSet<BlobId> = schema::decode(value)?;
            let there = match holder_of(key) {
                Some((space, of)) => view.has(space, of)?,
                None => true,
            };
            if there && named.get(key).map_or(kept.is_empty(), |named| *named == kept) {
                named.remove(key);
            } else {
                named.entry(key.to_vec()).or_default();
            }
            Ok(())
        })?;
        Ok(named)
    }

    /// Held blobs that nothing names and that are not noted as garbage.
    fn unnoted_garbage(&self) -> Result<Vec<BlobId>, Error> {
        let view = self.index.view()?;
        let mut noted = BTreeSet::new();
        view.walk(Space::Garbage, |key, _| {
            noted.insert(schema::blob_id(key.get(size_of::<u64>()..).unwrap_or_default())?);
            Ok(())
        })?;
        let mut out = Vec::new();
        view.walk(Space::Blobs, |key, _| {
            let id = schema::blob_id(key)?;
            if noted.contains(&id) {
                return Ok(());
            }
            let refs = view.range_raw(Space::Refs, Bound::Included(key), Bound::Unbounded)?;
            let first = refs.and_then(|mut rows| rows.next()).transpose()?;
            if first.is_none_or(|row| !row.key().starts_with(key)) {
                out.push(id);
            }
            Ok(())
        })?;
        Ok(out)
    }
}
