//! Which null versions of a row are over, and which of those are kept to be brought back: losers of
//! concurrent writes, and what was replaced or deleted in a bucket with soft delete.
//!
//! Invariant: what is over only grows. A version that was kept and is no more is never kept again.
//! A row without kept versions is stored as it was before there were any.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error as _, SeqAccess, Visitor};
use serde::ser::SerializeStruct;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::limits;

use super::object::{Content, Erased, Marks, Placement, Row, Version};
use super::region::RegionId;
use super::stamp::{Hlc, Stamp};

/// A set of stamps of null versions: all up to and with a floor, and above it those that the writers
/// of later ones had seen; but some.
///
/// A region writes a key one version after the other, each knowing those before: who has seen one of
/// a region's versions stands for the earlier ones too. So a version of a region that was cut off is
/// not over because others wrote later, but only when somebody who saw it wrote over it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cover {
    /// Null versions up to this stamp are over, whoever made them.
    pub floor: Stamp,
    /// Those of a region up to this one are over as well; each is above the floor.
    pub seen: BTreeMap<RegionId, Hlc>,
    /// These are kept though: each is one of those above.
    pub spared: BTreeMap<Stamp, Spared>,
}

/// Why a version is kept, and how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Spared {
    /// Milliseconds since 1970.
    pub until_ms: u64,
    pub why: Why,
}

/// How a kept version came to be one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Why {
    /// Overwritten or deleted by somebody who saw it.
    Replaced,
    /// By a write elsewhere at the same time.
    Lost,
}

/// How long a bucket keeps what writes end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Keeping {
    /// Losers of concurrent writes; zero: not at all.
    pub undo_ms: u64,
    /// What is overwritten or deleted; `None`: not at all.
    pub soft_delete_days: Option<u16>,
}

impl Default for Keeping {
    fn default() -> Self {
        let undo_ms = limits::UNDO_WINDOW.as_secs() * 1000;
        Self { undo_ms, soft_delete_days: None }
    }
}

impl Keeping {
    /// How long what is overwritten or deleted is kept.
    pub fn soft_ms(&self) -> Option<u64> {
        self.soft_delete_days.map(|days| u64::from(days) * DAY_MS)
    }

    /// How long a loser is kept: no shorter than what is overwritten.
    pub fn lost_ms(&self) -> u64 {
        self.undo_ms.max(self.soft_ms().unwrap_or(0))
    }
}

const DAY_MS: u64 = 24 * 3600 * 1000;

impl Cover {
    /// Everything up to a stamp.
    pub fn up_to(floor: Stamp) -> Self {
        Self { floor, ..Self::default() }
    }

    /// This null version is over and not kept.
    pub fn covers(&self, stamp: Stamp) -> bool {
        self.reaches(stamp) && !self.spared.contains_key(&stamp)
    }

    /// This null version is over, kept or not.
    pub fn reaches(&self, stamp: Stamp) -> bool {
        stamp <= self.floor || self.seen.get(&stamp.region).is_some_and(|hlc| stamp.hlc <= *hlc)
    }

    /// The last one that is over.
    pub fn top(&self) -> Stamp {
        self.stamps_seen().fold(self.floor, Stamp::max)
    }

    /// What of each region was seen above the floor.
    pub fn stamps_seen(&self) -> impl Iterator<Item = Stamp> + '_ {
        self.seen.iter().map(|(region, hlc)| Stamp { hlc: *hlc, region: *region })
    }

    /// A version was seen, and what its region had written before.
    pub fn see(&mut self, stamp: Stamp) {
        if !self.reaches(stamp) {
            self.seen.insert(stamp.region, stamp.hlc);
        }
    }

    /// Everything up to a stamp is over from now on, as far as it is not kept.
    pub fn raise(&mut self, floor: Stamp) {
        self.floor = self.floor.max(floor);
        let floor = self.floor;
        self.seen.retain(|region, hlc| Stamp { hlc: *hlc, region: *region } > floor);
    }

    /// What either of both covers. A version that both keep is kept for the longer time.
    #[must_use]
    pub fn union(&self, other: &Self) -> Self {
        let mut both = Self::up_to(self.floor.max(other.floor));
        self.stamps_seen().chain(other.stamps_seen()).for_each(|stamp| both.see(stamp));
        for (one, two) in [(self, other), (other, self)] {
            for (stamp, keep) in &one.spared {
                let known = two.spared.get(stamp);
                if !two.reaches(*stamp) || known.is_some() {
                    both.spared.insert(*stamp, known.map_or(*keep, |known| *keep.max(known)));
                }
            }
        }
        both
    }
}

/// One entry of the stored list of a row: a version, or after the last one the row's cover. The
/// third field tells: 0 and 1 are what stood there for `null` before there were covers. Of a cover
/// that knows what was seen above its floor that follows what it spares.
const COVER: u8 = 2;
const COVER_SEEN: u8 = 3;

const FIELDS: &[&str] = &["stamp", "replaces", "null", "content", "marks", "placement"];

enum Line<'a> {
    Version(&'a Version),
    Cover(&'a Cover),
}

impl Serialize for Line<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Version(version) => version.serialize(serializer),
            Self::Cover(Cover { floor, seen, spared }) => {
                let (kind, fields) = if seen.is_empty() { (COVER, 4) } else { (COVER_SEEN, 5) };
                let mut line = serializer.serialize_struct("Version", fields)?;
                line.serialize_field("stamp", floor)?;
                line.serialize_field("replaces", &Stamp::ZERO)?;
                line.serialize_field("null", &kind)?;
                line.serialize_field("content", spared)?;
                if kind == COVER_SEEN {
                    line.serialize_field("marks", seen)?;
                }
                line.end()
            }
        }
    }
}

enum ReadLine {
    Version(Version),
    Cover(Cover),
}

impl<'de> Deserialize<'de> for ReadLine {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields;

        impl<'de> Visitor<'de> for Fields {
            type Value = ReadLine;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a version of a row, or its cover")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<ReadLine, A::Error> {
                let stamp: Stamp = next(&mut fields)?;
                let replaces: Stamp = next(&mut fields)?;
                let null = match next::<u8, A>(&mut fields)? {
                    0 => false,
                    1 => true,
                    kind @ (COVER | COVER_SEEN) => {
                        let spared = next(&mut fields)?;
                        let seen = match kind {
                            COVER => BTreeMap::new(),
                            _ => next(&mut fields)?,
                        };
                        return Ok(ReadLine::Cover(Cover { floor: stamp, seen, spared }));
                    }
                    other => {
                        let newer = "this row was written by a newer version of the program";
                        return Err(A::Error::custom(format!("{newer} (kind {other})")));
                    }
                };
                let content: Content = next(&mut fields)?;
                let marks: Marks = next(&mut fields)?;
                let placement: Placement = next(&mut fields)?;
                Ok(ReadLine::Version(Version { stamp, replaces, null, content, marks, placement }))
            }
        }

        deserializer.deserialize_struct("Version", FIELDS, Fields)
    }
}

fn next<'de, T: Deserialize<'de>, A: SeqAccess<'de>>(fields: &mut A) -> Result<T, A::Error> {
    fields.next_element()?.ok_or_else(|| A::Error::custom("a version ends early"))
}

struct Lines<'a>(&'a Row);

impl Serialize for Lines<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Row { versions, cover, .. } = self.0;
        let cover = (*cover != Cover::default()).then_some(cover);
        serializer
            .collect_seq(LinesOf { versions: versions.iter(), cover }.collect::<Vec<_>>().iter())
    }
}

struct LinesOf<'a> {
    versions: std::slice::Iter<'a, Version>,
    cover: Option<&'a Cover>,
}

impl<'a> Iterator for LinesOf<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        let version = self.versions.next().map(Line::Version);
        version.or_else(|| self.cover.take().map(Line::Cover))
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut row = serializer.serialize_struct("Row", 2)?;
        row.serialize_field("versions", &Lines(self))?;
        row.serialize_field("erased", &self.erased)?;
        row.end()
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(rename = "Row")]
        struct Stored {
            versions: Vec<ReadLine>,
            erased: BTreeMap<Stamp, Erased>,
        }

        let Stored { versions: lines, erased } = Stored::deserialize(deserializer)?;
        let versions = Vec::with_capacity(lines.len());
        let mut row = Self { versions, erased, ..Self::default() };
        for line in lines {
            match line {
                ReadLine::Version(version) => row.versions.push(version),
                ReadLine::Cover(cover) => row.cover = cover,
            }
        }
        Ok(row)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A row as it was stored before there were covers.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Before {
        versions: Vec<Version>,
        erased: BTreeMap<Stamp, Erased>,
    }

    fn stamp(n: u64) -> Stamp {
        Stamp { hlc: Hlc(n), ..Stamp::ZERO }
    }

    fn of(region: &str, n: u64) -> Stamp {
        Stamp { hlc: Hlc(n), region: RegionId::parse(region).unwrap() }
    }

    fn version(n: u64, null: bool) -> Version {
        let content = if null { Content::Tombstone } else { Content::Marker };
        let (marks, placement) = (Marks::default(), Placement::default());
        Version { stamp: stamp(n), replaces: stamp(n - 1), null, content, marks, placement }
    }

    #[test]
    fn a_row_without_a_cover_is_stored_as_it_was_before_there_were_any() {
        let versions = vec![version(9, true), version(7, false)];
        let erased = [(stamp(3), Erased { at: stamp(8), replaces: stamp(2) })].into();
        let old = Before { versions, erased };
        let bytes = postcard::to_allocvec(&old).unwrap();
        let row: Row = postcard::from_bytes(&bytes).unwrap();
        assert_eq!((&row.versions, &row.erased), (&old.versions, &old.erased));
        assert_eq!(row.cover, Cover::default());
        assert_eq!(postcard::to_allocvec(&row).unwrap(), bytes);
    }

    #[test]
    fn a_cover_comes_back_and_an_older_program_refuses_the_row() {
        let keep = Spared { until_ms: 77, why: Why::Lost };
        let floor = Cover { spared: [(stamp(5), keep)].into(), ..Cover::up_to(stamp(6)) };
        let mut seen = floor.clone();
        seen.see(of("iad", 8));
        for cover in [floor, seen] {
            let row = Row { versions: vec![version(9, true)], erased: BTreeMap::new(), cover };
            let bytes = postcard::to_allocvec(&(&row, 7_u8)).unwrap();
            let (back, after): (Row, u8) = postcard::from_bytes(&bytes).unwrap();
            assert_eq!((back, after), (row, 7));
            assert!(postcard::from_bytes::<(Before, u8)>(&bytes).is_err());
        }
    }

    #[test]
    fn a_line_of_a_later_kind_is_refused() {
        let row = Row { versions: vec![version(1, true)], ..Row::default() };
        let mut bytes = postcard::to_allocvec(&row).unwrap();
        let at = bytes.iter().rposition(|b| *b == 1).unwrap();
        bytes[at] = 4;
        let flags: Vec<usize> = (0..bytes.len()).filter(|i| bytes[*i] == 4).collect();
        assert_eq!(flags.len(), 1);
        assert!(postcard::from_bytes::<Row>(&bytes).is_err());
    }

    #[test]
    fn the_union_keeps_what_both_keep_and_what_the_other_does_not_reach() {
        let keep = |until_ms| Spared { until_ms, why: Why::Replaced };
        let cover = |floor, spared: &[(Stamp, Spared)]| Cover {
            spared: spared.iter().copied().collect(),
            ..Cover::up_to(stamp(floor))
        };
        let one = cover(6, &[(stamp(4), keep(1)), (stamp(6), keep(2))]);
        let two = cover(5, &[(stamp(4), keep(3)), (stamp(5), keep(4))]);
        let both = one.union(&two);
        assert_eq!(both, two.union(&one));
        assert_eq!(both, cover(6, &[(stamp(4), keep(3)), (stamp(6), keep(2))]));
        assert!(both.covers(stamp(5)) && !both.covers(stamp(4)) && !both.covers(stamp(7)));
    }

    #[test]
    fn what_was_seen_of_one_region_says_nothing_of_another() {
        let mut cover = Cover::up_to(of("fra", 3));
        cover.see(of("fra", 7));
        cover.see(of("fra", 6));
        cover.see(of("iad", 2));
        assert!(cover.covers(of("fra", 5)) && !cover.covers(of("iad", 5)));
        assert_eq!((cover.seen.len(), cover.top()), (1, of("fra", 7)));
        let mut other = Cover::default();
        other.see(of("iad", 5));
        let mut both = cover.union(&other);
        assert_eq!(both, other.union(&cover));
        assert!(both.covers(of("iad", 5)) && !both.covers(of("nrt", 4)));
        both.raise(of("iad", 5));
        assert!(both.covers(of("nrt", 4)) && both.covers(of("fra", 7)) && both.seen.len() == 1);
    }
}
