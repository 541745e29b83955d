//! A change on top of the index: what it sets, and what follows from that.
//!
//! Invariant: references, digest leaves, heads of logs, usage of buckets, what is watched for its end,
//! live bytes of segments and freed files are derived here and nowhere else, from the old and the new
//! value of what was set; so the writer and replay come to the same state.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use crate::logic::undo;
use crate::types::id::BlobId;
use crate::types::object::{Content, Row};
use crate::types::record::Record;

use super::codec;
use super::digest::{self, Leaf};
use super::error::Error;
use super::index::View;
use super::schema::{self, BlobEntry, Place, Space};

/// Log entries that one call forgets at most.
const TRIM_MAX: u64 = 10_000;

/// A key and its value.
pub(crate) type Entry = (Vec<u8>, Vec<u8>);

/// Values set and removed, by table and key.
#[derive(Default)]
pub(crate) struct Overlay {
    spaces: BTreeMap<Space, BTreeMap<Vec<u8>, Option<Vec<u8>>>>,
}

impl Overlay {
    /// `None`: nothing is said of this key here.
    pub(crate) fn get(&self, space: Space, key: &[u8]) -> Option<Option<&[u8]>> {
        Some(self.spaces.get(&space)?.get(key)?.as_deref())
    }

    pub(crate) fn put(&mut self, space: Space, key: Vec<u8>, value: Option<Vec<u8>>) {
        self.spaces.entry(space).or_default().insert(key, value);
    }

    /// Everything that `later` says goes over what is here.
    pub(crate) fn absorb(&mut self, later: Self) {
        for (space, entries) in later.spaces {
            let mine = self.spaces.entry(space).or_default();
            if mine.is_empty() {
                *mine = entries;
            } else {
                mine.extend(entries);
            }
        }
    }

    /// Tables and their entries, in order.
    pub(crate) fn spaces(
        &self,
    ) -> impl Iterator<Item = (Space, &BTreeMap<Vec<u8>, Option<Vec<u8>>>)> {
        self.spaces.iter().map(|(space, entries)| (*space, entries))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.spaces.is_empty()
    }

    /// Number of entries.
    pub(crate) fn len(&self) -> usize {
        self.spaces.values().map(BTreeMap::len).sum()
    }

    fn range<'a>(
        &'a self,
        space: Space,
        from: Bound<&'a [u8]>,
        to: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> {
        let entries = self.spaces.get(&space).into_iter();
        entries
            .flat_map(move |entries| entries.range::<[u8], _>((from, to)))
            .map(|(key, value)| (key.as_slice(), value.as_deref()))
    }
}

/// Bodies that came into a segment, less those that left it.
#[derive(Clone, Copy, Default)]
pub(crate) struct LiveChange {
    pub bytes: i64,
    pub bodies: i64,
}

/// What follows from a change outside of the index's rows.
#[derive(Default)]
pub(crate) struct Effects {
    /// Leaf, digest that leaves, digest that comes.
    pub leaves: Vec<(u16, Option<Leaf>, Option<Leaf>)>,
    /// Change of live bodies by segment.
    pub live: BTreeMap<u64, LiveChange>,
    /// Blob files that nothing needs once this is durable in the index: id, nonce, length.
    pub doomed: Vec<(BlobId, u64, u64)>,
    pub freed_blobs: u64,
    /// Writes that lost against another one made at the same time.
    pub conflicts: u64,
    /// The record of a bucket or of a name is changed.
    pub settings: bool,
}

impl Effects {
    pub(crate) fn absorb(&mut self, later: Self) {
        self.leaves.extend(later.leaves);
        for (segment, delta) in later.live {
            let change = self.live.entry(segment).or_default();
            change.bytes += delta.bytes;
            change.bodies += delta.bodies;
        }
        self.doomed.extend(later.doomed);
        self.freed_blobs += later.freed_blobs;
        self.conflicts += later.conflicts;
        self.settings |= later.settings;
    }
}

/// One change under way: reads see it, then what the batch kept before it, then the index.
pub(crate) struct Layer<'a> {
    pub(super) view: &'a View,
    kept: &'a Overlay,
    pub(crate) top: Overlay,
    pub(crate) effects: Effects,
    /// Blobs that may have lost their last reference, or have none yet.
    pub(crate) touched: BTreeSet<BlobId>,
    /// The mutations so far, as they go into the frame.
    pub(crate) mutations: Vec<u8>,
}

impl<'a> Layer<'a> {
    pub(crate) fn new(view: &'a View, kept: &'a Overlay) -> Self {
        Self {
            view,
            kept,
            top: Overlay::default(),
            effects: Effects::default(),
            touched: BTreeSet::new(),
            mutations: Vec::new(),
        }
    }

    pub(crate) fn get<T>(
        &self,
        space: Space,
        key: &[u8],
        read: impl FnOnce(&[u8]) -> T,
    ) -> Result<Option<T>, Error> {
        match self.top.get(space, key).or_else(|| self.kept.get(space, key)) {
            Some(value) => Ok(value.map(read)),
            None => self.view.get(space, key, read),
        }
    }

    pub(crate) fn contains(&self, space: Space, key: &[u8]) -> Result<bool, Error> {
        Ok(self.get(space, key, |_| ())?.is_some())
    }

    /// Up to `max` entries in key order.
    pub(crate) fn scan(
        &self,
        space: Space,
        from: Bound<&[u8]>,
        to: Bound<&[u8]>,
        max: usize,
    ) -> Result<Vec<Entry>, Error> {
        let mut over: BTreeMap<&[u8], Option<&[u8]>> = self.kept.range(space, from, to).collect();
        over.extend(self.top.range(space, from, to));
        let mut over = over.into_iter().peekable();
        let mut out = Vec::new();
        for row in self.view.range(space, from, to)?.into_iter().flatten() {
            let row = match row {
                Err(Error::Corrupt(_)) if space.is_agenda() => continue,
                row => row?,
            };
            let key = row.key();
            while let Some((above, value)) = over.next_if(|(above, _)| *above < key) {
                out.extend(value.map(|value| (above.to_vec(), value.to_vec())));
            }
            let value = match over.next_if(|(above, _)| *above == key) {
                Some((_, replaced)) => replaced.map(Cow::Borrowed),
                None => Some(Cow::Owned(row.value().to_vec())),
            };
            out.extend(value.map(|value| (key.to_vec(), value.into_owned())));
            if out.len() >= max {
                out.truncate(max);
                return Ok(out);
            }
        }
        out.extend(over.filter_map(|(key, value)| Some((key.to_vec(), value?.to_vec()))));
        out.truncate(max);
        Ok(out)
    }

    /// The same, and true as well where the entry decayed.
    pub(crate) fn may_contain(&self, space: Space, key: &[u8]) -> Result<bool, Error> {
        match self.contains(space, key) {
            Err(Error::Corrupt(_)) => Ok(true),
            found => found,
        }
    }

    /// Whether anything but `but` names a blob. Also where that is in doubt, because a reference
    /// decayed or may have: bytes go only when it is sure that nothing names them.
    pub(crate) fn is_named(&self, id: &BlobId, but: Option<&[u8]>) -> Result<bool, Error> {
        let (space, prefix) = (Space::Refs, schema::blob_key(id));
        if self.view.is_doubted(space) {
            return Ok(true);
        }
        let within = |key: &[u8]| key.starts_with(&prefix) && but.is_none_or(|but| key != but);
        let end = schema::prefix_end(&prefix);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        for over in [&self.top, self.kept] {
            let mut set = over.range(space, Bound::Included(&prefix), to);
            let lasts = |key: &[u8]| self.top.get(space, key).is_none_or(|v| v.is_some());
            if set.any(|(key, value)| value.is_some() && within(key) && lasts(key)) {
                return Ok(true);
            }
        }
        let gone = |key: &[u8]| {
            let over = self.top.get(space, key).or_else(|| self.kept.get(space, key));
            over.is_some_and(|value| value.is_none())
        };
        // To the first one behind: of these, one may be what a reference decayed to.
        let rows = self.view.range_raw(space, Bound::Included(&prefix), Bound::Unbounded)?;
        for row in rows.into_iter().flatten() {
            let row = row?;
            if !row.is_sound() || row.key() < prefix.as_slice() {
                self.view.doubt(space);
                return Ok(true);
            }
            if within(row.key()) && !gone(row.key()) {
                return Ok(true);
            }
            if !row.key().starts_with(&prefix) {
                break;
            }
        }
        let before = self.view.before(space, &prefix)?;
        let in_order = |row: super::rows::Entry| row.is_sound() && row.key() < prefix.as_slice();
        if before.is_none_or(in_order) {
            return Ok(false);
        }
        self.view.doubt(space);
        Ok(true)
    }

    /// Sets or removes a value, logs it, and derives what follows.
    pub(crate) fn change(
        &mut self,
        space: Space,
        key: &[u8],
        value: Option<Vec<u8>>,
    ) -> Result<(), Error> {
        codec::push_mutation(&mut self.mutations, space, key, value.as_deref());
        self.apply(space, key, value)
    }

    /// The same without logging it: what replay does.
    pub(crate) fn apply(
        &mut self,
        space: Space,
        key: &[u8],
        value: Option<Vec<u8>>,
    ) -> Result<(), Error> {
        let mut value = value;
        match space {
            Space::Records => {
                let new = value.as_deref().map(schema::decode).transpose()?;
                match self.record(key) {
                    Ok(old) => self.derive_record(key, old.as_ref(), new.as_ref())?,
                    Err(Error::Corrupt(_)) => self.derive_over_damage(key, new.as_ref())?,
                    Err(error) => return Err(error),
                }
                // An older program's bytes become those that the digest is made of.
                value = new.as_ref().map(schema::encode);
            }
            Space::Blobs => self.derive_blob(key, value.as_deref())?,
            Space::Log => self.derive_head(key, value.is_some())?,
            Space::Horizon => self.derive_trim(key, value.as_deref())?,
            Space::Holding => self.derive_holding(key, value.as_deref())?,
            Space::Manifests
            | Space::Garbage
            | Space::Damaged
            | Space::Cursor
            | Space::Local
            | Space::Member
            | Space::Meta
            | Space::Pending
            | Space::Quarantine
            | Space::Register
            | Space::Event
            | Space::Lane
            | Space::Refs
            | Space::Leaves
            | Space::Heads
            | Space::Usage
            | Space::Kept
            | Space::Twin
            | Space::Own
            | Space::Sums
            | Space::Segments => {}
        }
        self.top.put(space, key.to_vec(), value);
        Ok(())
    }

    /// Sets a record whose old state is known already.
    pub(crate) fn change_record(
        &mut self,
        key: Vec<u8>,
        old: Option<&Record>,
        new: Option<&Record>,
    ) -> Result<(), Error> {
        let value = new.map(schema::encode);
        codec::push_mutation(&mut self.mutations, Space::Records, &key, value.as_deref());
        self.derive_record(&key, old, new)?;
        self.top.put(Space::Records, key, value);
        Ok(())
    }

    pub(crate) fn record(&self, key: &[u8]) -> Result<Option<Record>, Error> {
        let over = self.top.get(Space::Records, key).or_else(|| self.kept.get(Space::Records, key));
        match over {
            Some(value) => value.map(schema::decode).transpose(),
            None => self.view.record(key),
        }
    }

    pub(crate) fn blob_entry(&self, id: &BlobId) -> Result<Option<BlobEntry>, Error> {
        self.get(Space::Blobs, &schema::blob_key(id), BlobEntry::decode)?.transpose()
    }

    /// Last number of a log; 0 for none. One that decayed is found again in the log.
    pub(crate) fn head(&self, origin_key: &[u8]) -> Result<u64, Error> {
        match self.get(Space::Heads, origin_key, schema::number) {
            Err(Error::Corrupt(_)) => self.head_of_log(origin_key),
            head => Ok(head?.transpose()?.unwrap_or(0)),
        }
    }

    fn head_of_log(&self, origin_key: &[u8]) -> Result<u64, Error> {
        let from = Bound::Included(origin_key);
        let end = schema::prefix_end(origin_key);
        let to = end.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let last = self.scan(Space::Log, from, to, usize::MAX)?.pop();
        match last {
            Some((key, _)) => schema::number(&key[schema::ORIGIN_KEY_BYTES..]),
            None => {
                Ok(self.get(Space::Horizon, origin_key, schema::number)?.transpose()?.unwrap_or(0))
            }
        }
    }

    fn derive_record(
        &mut self,
        key: &[u8],
        old: Option<&Record>,
        new: Option<&Record>,
    ) -> Result<(), Error> {
        let blobs = |record: Option<&Record>| record.map(blobs_of).unwrap_or_default();
        self.derive_refs(Space::Records, key, &blobs(old), &blobs(new));
        self.derive_usage(key, old, new)?;
        self.derive_kept(key, old, new);
        self.derive_leaf(key, new)?;
        let settings =
            |record: Option<&Record>| matches!(record, Some(Record::Bucket(_) | Record::Name(_)));
        self.effects.settings |= settings(old) || settings(new);
        Ok(())
    }

    /// A record takes the place of one that cannot be read: what follows from it is new, and what
    /// is in its bucket stays as it was counted. References of the old one that the new one does not
    /// have keep their blobs, which is safe.
    fn derive_over_damage(&mut self, key: &[u8], new: Option<&Record>) -> Result<(), Error> {
        let blobs = new.map(blobs_of).unwrap_or_default();
        self.derive_refs(Space::Records, key, &BTreeSet::new(), &blobs);
        self.derive_leaf(key, new)?;
        self.effects.settings |= matches!(new, Some(Record::Bucket(_) | Record::Name(_)));
        Ok(())
    }

    /// Derives again what follows from a record and is not there; how much. The sums of the digests
    /// stay: they count what was there before it decayed.
    pub(crate) fn derive_again(&mut self, key: &[u8]) -> Result<u64, Error> {
        let stored = match self.get(Space::Records, key, <[u8]>::to_vec) {
            // First it is replaced by another region's.
            Err(Error::Corrupt(_)) => None,
            stored => stored?,
        };
        let Some(stored) = stored else { return Ok(0) };
        let record: Record = schema::decode(&stored)?;
        let mut again = 0;
        for id in blobs_of(&record) {
            let key = schema::ref_key(&id, Space::Records, key);
            again += self.put_missing(Space::Refs, key, Vec::new())?;
        }
        if row_of(&record).is_some_and(undo::is_watched) {
            again += self.put_missing(Space::Kept, key.to_vec(), Vec::new())?;
        }
        let leaf_key = schema::leaf_key(digest::leaf_of(key), key);
        let digest = digest::digest_of_bytes(key, &stored);
        Ok(again + self.put_missing(Space::Leaves, leaf_key, digest.to_vec())?)
    }

    /// Puts what is derived where nothing sound is; how many.
    pub(crate) fn put_missing(
        &mut self,
        space: Space,
        key: Vec<u8>,
        value: Vec<u8>,
    ) -> Result<u64, Error> {
        match self.contains(space, &key) {
            Ok(true) => return Ok(0),
            Ok(false) | Err(Error::Corrupt(_)) => {}
            Err(error) => return Err(error),
        }
        self.top.put(space, key, Some(value));
        Ok(1)
    }

    fn derive_leaf(&mut self, key: &[u8], new: Option<&Record>) -> Result<(), Error> {
        let leaf = digest::leaf_of(key);
        let leaf_key = schema::leaf_key(leaf, key);
        let over = self.top.get(Space::Leaves, &leaf_key);
        let before = match over.or_else(|| self.kept.get(Space::Leaves, &leaf_key)) {
            Some(value) => value.map(Leaf::try_from),
            // Also one that decayed: the record beside it says whether it may be changed.
            None => self.view.get_raw(Space::Leaves, &leaf_key, |bytes| Leaf::try_from(bytes))?,
        };
        let before = before.transpose().map_err(|_| Error::corrupt("a stored digest"))?;
        let after = new.map(|record| digest::digest_of(key, record));
        self.top.put(Space::Leaves, leaf_key, after.map(|digest| digest.to_vec()));
        self.effects.leaves.push((leaf, before, after));
        Ok(())
    }

    fn derive_refs(
        &mut self,
        namer: Space,
        key: &[u8],
        old: &BTreeSet<BlobId>,
        new: &BTreeSet<BlobId>,
    ) {
        for id in new.difference(old) {
            self.top.put(Space::Refs, schema::ref_key(id, namer, key), Some(Vec::new()));
        }
        for id in old.difference(new) {
            self.top.put(Space::Refs, schema::ref_key(id, namer, key), None);
            self.touched.insert(*id);
        }
    }

    fn derive_kept(&mut self, key: &[u8], old: Option<&Record>, new: Option<&Record>) {
        let watched = new.and_then(row_of).is_some_and(undo::is_watched);
        if watched != old.and_then(row_of).is_some_and(undo::is_watched) {
            self.top.put(Space::Kept, key.to_vec(), watched.then(Vec::new));
        }
        if watched {
            let losers = |record: Option<&Record>| {
                record.and_then(row_of).map_or(0, |row| undo::losers(row).count())
            };
            self.effects.conflicts += losers(new).saturating_sub(losers(old)) as u64;
        }
    }

    fn derive_blob(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let id = schema::blob_id(key)?;
        let old = match self.blob_entry(&id) {
            // Where its bytes are is not known: they stay counted until mending counts anew.
            Err(Error::Corrupt(_)) => None,
            old => old?,
        };
        let new = value.map(BlobEntry::decode).transpose()?;
        if let Some(old) = &old {
            match old.place {
                Place::File { nonce } => self.effects.doomed.push((id, nonce, old.len)),
                Place::Segment { segment, .. } => self.count_live(segment, old.len, -1),
            }
        }
        if let Some(BlobEntry { place: Place::Segment { segment, .. }, len, .. }) = new {
            self.count_live(segment, len, 1);
        }
        if old.is_some() && new.is_none() {
            self.effects.freed_blobs += 1;
        }
        Ok(())
    }

    fn count_live(&mut self, segment: u64, len: u64, sign: i64) {
        // Bytes that are none are nowhere: their segment may go.
        if len > 0 {
            let len = i64::try_from(len).expect("bodies in segments are small");
            let change = self.effects.live.entry(segment).or_default();
            change.bytes += sign * len;
            change.bodies += sign;
        }
    }

    fn derive_head(&mut self, key: &[u8], put: bool) -> Result<(), Error> {
        let (origin, seq) = key
            .split_at_checked(schema::ORIGIN_KEY_BYTES)
            .ok_or_else(|| Error::corrupt("a stored log key"))?;
        let seq = schema::number(seq)?;
        if put && self.head(origin)? < seq {
            let head = seq.to_be_bytes().to_vec();
            self.top.put(Space::Heads, origin.to_vec(), Some(head));
        }
        Ok(())
    }

    fn derive_trim(&mut self, origin: &[u8], through: Option<&[u8]>) -> Result<(), Error> {
        let through = through.map_or(Ok(0), schema::number)?;
        let last = [origin, &through.to_be_bytes()].concat();
        let most = usize::try_from(2 * TRIM_MAX).expect("a small constant");
        let to = Bound::Included(last.as_slice());
        for (key, _) in self.scan(Space::Log, Bound::Included(origin), to, most)? {
            self.top.put(Space::Log, key, None);
        }
        Ok(())
    }

    fn derive_holding(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), Error> {
        let old: BTreeSet<BlobId> = match self.get(Space::Holding, key, schema::decode) {
            // What it kept is still kept, until mending takes off what is too much.
            Err(Error::Corrupt(_)) => BTreeSet::new(),
            old => old?.transpose()?.unwrap_or_default(),
        };
        let new = value.map(schema::decode).transpose()?.unwrap_or_default();
        self.derive_refs(Space::Holding, key, &old, &new);
        Ok(())
    }

    /// How far one call may trim a log, given how far it shall be.
    pub(crate) fn trim_step(&self, origin: &[u8], through: u64) -> Result<u64, Error> {
        let last = [origin, &through.to_be_bytes()].concat();
        let to = Bound::Included(last.as_slice());
        let first = self.scan(Space::Log, Bound::Included(origin), to, 1)?;
        let Some((key, _)) = first.first() else {
            return Ok(through);
        };
        let first = schema::number(&key[schema::ORIGIN_KEY_BYTES..])?;
        Ok(through.min(first.saturating_add(TRIM_MAX)))
    }
}

pub(crate) fn row_of(record: &Record) -> Option<&Row> {
    match record {
        Record::Row(row) => Some(row),
        Record::Bucket(_)
        | Record::Name(_)
        | Record::AccessKey(_)
        | Record::Members(_)
        | Record::Upload(_)
        | Record::Part(_) => None,
    }
}

/// The blobs that a record names: of a row those of all its versions, of a part its own until the
/// upload ended.
pub(crate) fn blobs_of(record: &Record) -> BTreeSet<BlobId> {
    match record {
        Record::Row(row) => row
            .versions
            .iter()
            .filter_map(|version| match &version.content {
                Content::Object(meta) => Some(&meta.parts),
                Content::Marker | Content::Tombstone => None,
            })
            .flatten()
            .map(|part| part.blob.id)
            .collect(),
        Record::Part(part) if !part.ended => BTreeSet::from([part.part.blob.id]),
        Record::Part(_)
        | Record::Bucket(_)
        | Record::Name(_)
        | Record::AccessKey(_)
        | Record::Members(_)
        | Record::Upload(_) => BTreeSet::new(),
    }
}
