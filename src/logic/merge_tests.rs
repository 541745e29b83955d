//! The laws of merging, for every kind of record: order and repetition do not matter, and nothing
//! that was known is lost again.
#![allow(clippy::cast_possible_truncation, reason = "small numbers of a test")]

use std::sync::Arc;

use crdts::CmRDT;
use proptest::prelude::*;
use proptest::sample::Index;

use super::*;
use crate::logic::trim;
use crate::types::bucket::{Ack, BucketConfig, BucketRecord, Consistency, Location, Versioning};
use crate::types::bucket::{NameRecord, NameState, SettingKind, SoftDeleted};
use crate::types::id::{BlobId, BucketId, Hash, OpId};
use crate::types::kept::{Spared, Why};
use crate::types::name::{AccountId, ObjectKey, SecretKey};
use crate::types::object::{
    BlobRef, Content, Erased, HoldState, Holding, Mark, Marks, PartRef, Primary, StoredHeaders,
};
use crate::types::record::{AccessKeyRecord, KeyScope, PartRecord, UploadRecord, UploadState};
use crate::types::region::RegionId;
use crate::types::stamp::{Hlc, Stamp};

const CODES: [&str; 3] = ["fra", "iad", "nrt"];

fn region(n: usize) -> RegionId {
    RegionId::parse(CODES[n % 3]).unwrap()
}

fn stamp(ms: u64, n: usize) -> Stamp {
    Stamp { hlc: Hlc::from_ms(ms), region: region(n) }
}

fn stamps() -> impl Strategy<Value = Stamp> {
    (1..12_u64, 0..3_usize).prop_map(|(ms, n)| stamp(ms, n))
}

/// What is immutable under a stamp is computed from it, `seed` being the history at hand.
fn draw(seed: u64, of: Stamp) -> u64 {
    let hash = blake3::keyed_hash(&[7; 32], &[&seed.to_be_bytes()[..], &of.to_bytes()].concat());
    u64::from_be_bytes(hash.as_bytes()[..8].try_into().unwrap())
}

fn version(seed: u64, made: Stamp, placement: Placement) -> Version {
    let draw = draw(seed, made);
    let replaces = match draw % 3 {
        0 => Stamp::ZERO,
        _ => stamp(draw / 3 % made.hlc.ms(), (draw / 64) as usize),
    };
    let content = if draw.is_multiple_of(2) { Content::Tombstone } else { Content::Marker };
    // A tombstone is always null; every other version in three was made with versions.
    let null = draw.is_multiple_of(2) || !draw.is_multiple_of(3);
    let replaces = if null { replaces } else { Stamp::ZERO };
    let marks = Marks::default();
    Version { stamp: made, replaces, null, content, marks, placement }
}

fn placement() -> impl Strategy<Value = Placement> {
    let holding = (0..3_usize, 0..4_u32, any::<bool>());
    let primary = prop::option::of((0..3_u32, 0..3_usize));
    (prop::collection::vec(holding, 0..4), primary).prop_map(|(holdings, primary)| Placement {
        holders: holdings
            .into_iter()
            .map(|(n, counter, held)| {
                let state = if held { HoldState::Held } else { HoldState::Absent };
                (region(n), Holding { counter, state })
            })
            .collect(),
        primary: primary.map(|(epoch, n)| Primary { epoch, region: region(n) }),
    })
}

/// Rows of one history, each of which has learnt some of its versions in some order.
fn rows_of(seed: u64) -> impl Strategy<Value = Record> {
    let learnt = (stamps(), placement(), marks(seed));
    let learnt = prop::collection::vec(learnt, 1..8);
    let erased = prop::collection::btree_map(stamps(), stamps(), 0..3);
    (learnt, erased, covers()).prop_map(move |(learnt, erased, cover)| {
        let versions = learnt
            .into_iter()
            .map(|(made, placement, marks)| Version { marks, ..version(seed, made, placement) });
        let learnt = versions
            .map(|version| Record::Row(Row::of(version)))
            .reduce(|row, next| join(&row, &next))
            .unwrap();
        let erased = erased
            .into_iter()
            .map(|(made, at)| {
                let replaces = version(seed, made, Placement::default()).replaces;
                (made, Erased { at, replaces })
            })
            .collect();
        let row = join(&learnt, &Record::Row(Row { erased, ..Row::default() }));
        join(&row, &Record::Row(Row { cover, ..Row::default() }))
    })
}

/// What a writer or the end of an undo window says; half of the rows have nothing of it.
fn covers() -> impl Strategy<Value = Cover> {
    let keep = (0..9_u64, any::<bool>()).prop_map(|(until_ms, lost)| Spared {
        until_ms,
        why: if lost { Why::Lost } else { Why::Replaced },
    });
    let spared = prop::collection::btree_map(stamps(), keep, 0..4);
    let seen = prop::collection::vec(stamps(), 0..3);
    let cover = (stamps(), seen, spared).prop_map(|(floor, seen, mut spared)| {
        let mut cover = Cover::up_to(floor);
        seen.into_iter().for_each(|stamp| cover.see(stamp));
        spared.retain(|stamp, _| cover.reaches(*stamp));
        Cover { spared, ..cover }
    });
    prop_oneof![Just(Cover::default()), cover]
}

/// Marks whose values belong to their stamps; the end of a compliance retention only grows.
fn marks(seed: u64) -> impl Strategy<Value = Marks> {
    (stamps(), stamps(), 0..5_u64).prop_map(move |(tagged, held, compliance_until_ms)| Marks {
        tags: Mark { val: vec![(draw(seed, tagged).to_string(), String::new())], marker: tagged },
        legal_hold: Mark { val: draw(seed, held).is_multiple_of(2), marker: held },
        compliance_until_ms,
        ..Marks::default()
    })
}

fn config(n: u8) -> BucketConfig {
    BucketConfig {
        id: BucketId([n; 16]),
        owner: AccountId("owner".into()),
        created_ms: u64::from(n),
        location: Location::Everywhere,
        ack: Ack::Default,
        copies: 3,
        riding_bytes_max: 0,
        versioning: Versioning::Off,
        lock: None,
        policy: None,
        access_block: None,
        consistency: Consistency::Eventual,
    }
}

fn name(seed: u64, made: Stamp) -> Record {
    let n = draw(seed, made);
    let state = match n % 4 {
        0 => NameState::Free,
        1 => NameState::Active(config(n as u8)),
        2 => NameState::SoftDeleted(SoftDeleted {
            config: config(n as u8),
            deleted_ms: n,
            until_ms: n + 1,
        }),
        _ => NameState::Deleting(config(n as u8)),
    };
    Record::Name(NameRecord { stamp: made, op: OpId(u128::from(n)), state })
}

fn access_key(seed: u64, made: Stamp) -> Record {
    let n = draw(seed, made);
    Record::AccessKey(AccessKeyRecord {
        stamp: made,
        account: AccountId("owner".into()),
        secret: SecretKey(Arc::from(format!("{n:040}"))),
        scope: KeyScope::Admin,
        revoked: n.is_multiple_of(2),
        created_ms: n,
    })
}

fn upload(seed: u64, made: Stamp) -> Record {
    let state = match draw(seed, made) % 3 {
        0 => UploadState::Open,
        1 => UploadState::Aborted,
        _ => UploadState::Completed(made),
    };
    Record::Upload(Box::new(UploadRecord {
        stamp: made,
        bucket: BucketId([1; 16]),
        key: ObjectKey::parse("k").unwrap(),
        owner: AccountId("owner".into()),
        headers: StoredHeaders::default(),
        user_meta: Vec::new(),
        acl: None,
        tags: Vec::new(),
        lock: crate::types::lock::LockAsked::default(),
        checksum: None,
        encryption: None,
        started_ms: 1,
        state,
    }))
}

fn part(seed: u64, made: Stamp) -> Record {
    let n = draw(seed, made);
    let blob = BlobRef { id: BlobId(made), len: n, root: Hash([n as u8; 32]) };
    Record::Part(Box::new(PartRecord {
        stamp: made,
        md5: [n as u8; 16],
        part: PartRef { number: 1, blob, checksum: None, held_by: Vec::new(), seal: None },
        checksum: None,
        modified_ms: n,
        ended: n.is_multiple_of(2),
    }))
}

/// One step at one of three replicas of a bucket's record.
#[derive(Clone, Debug)]
enum Step {
    Set(u8),
    Pin(usize),
    Unpin(usize),
    Hear(usize),
}

fn step() -> impl Strategy<Value = (usize, Step)> {
    let step = prop_oneof![
        (0..3_u8).prop_map(Step::Set),
        (0..3_usize).prop_map(Step::Pin),
        (0..3_usize).prop_map(Step::Unpin),
        (0..3_usize).prop_map(Step::Hear),
    ];
    (0..3_usize, step)
}

/// Three replicas after some steps; each counts and pins in its own name.
fn buckets() -> impl Strategy<Value = [Record; 3]> {
    prop::collection::vec(step(), 0..24).prop_map(|steps| {
        let mut replicas: [BucketRecord; 3] = Default::default();
        for (at, (n, step)) in steps.into_iter().enumerate() {
            let heard =
                if let Step::Hear(from) = step { Some(replicas[from].clone()) } else { None };
            let (record, actor) = (&mut replicas[n], stamp(0, n));
            match step {
                Step::Set(kind) => {
                    let kinds = [SettingKind::Acl, SettingKind::Cors, SettingKind::Tagging];
                    let now = stamp(1 + at as u64, n);
                    record.set(kinds[usize::from(kind)], Some(vec![at as u8]), now);
                }
                Step::Pin(which) => {
                    let context = record.pins.read_ctx().derive_add_ctx(actor);
                    record.pins.apply(record.pins.add(region(which), context));
                }
                Step::Unpin(which) => {
                    let context = record.pins.contains(&region(which)).derive_rm_ctx();
                    record.pins.apply(record.pins.rm(region(which), context));
                }
                Step::Hear(_) => record.merge(heard.expect("made above")),
            }
        }
        replicas.map(|replica| Record::Bucket(Box::new(replica)))
    })
}

fn join(a: &Record, b: &Record) -> Record {
    merge(Some(a.clone()), b.clone()).record
}

fn obey_the_laws(a: &Record, b: &Record, c: &Record) -> Result<(), TestCaseError> {
    prop_assert_eq!(&join(a, b), &join(b, a), "commutative");
    prop_assert_eq!(&join(&join(a, b), c), &join(a, &join(b, c)), "associative");
    prop_assert_eq!(&join(a, a), a, "idempotent");
    let both = merge(Some(a.clone()), b.clone());
    prop_assert_eq!(both.changed, both.record != *a, "says truly whether it changed");
    for (known, of) in [(a, "local"), (b, "incoming")] {
        let again = merge(Some(both.record.clone()), known.clone());
        prop_assert!(!again.changed, "the {} state is forgotten: {:?}", of, again.record);
    }
    let fresh = merge(None, a.clone());
    prop_assert!(fresh.changed && fresh.record == *a, "the first state is taken as it is");
    Ok(())
}

/// What people would notice if it went back.
fn never_goes_back(before: &Row, after: &Row) -> Result<(), TestCaseError> {
    // A change of marks goes with its version, so that only what was ever made is compared.
    let made = |row: &Row| {
        let versions = row.versions.iter().map(|version| version.stamp);
        versions.chain(row.erased.keys().copied()).chain([row.covered().top()]).max()
    };
    prop_assert!(made(after) >= made(before));
    prop_assert!(before.erased.iter().all(|(version, at)| after.erased[version].at >= at.at));
    prop_assert!(after.versions.windows(2).all(|pair| pair[0].stamp > pair[1].stamp));
    let (was, is) = (before.covered(), after.covered());
    prop_assert!(is.floor >= was.floor);
    prop_assert!(was.stamps_seen().all(|stamp| is.reaches(stamp)));
    prop_assert!(is.stamps_seen().all(|stamp| stamp > is.floor));
    let spared_again = |kept: &Stamp| was.covers(*kept);
    prop_assert!(!is.spared.keys().any(spared_again), "what was over is kept again");
    for version in &before.versions {
        let Some(kept) = after.versions.iter().find(|v| v.stamp == version.stamp) else {
            let replaced = version.null && is.covers(version.stamp);
            let dropped = replaced || after.erased.contains_key(&version.stamp);
            prop_assert!(dropped, "gone without being replaced or erased");
            continue;
        };
        prop_assert!(kept.placement.primary >= version.placement.primary);
        prop_assert!(kept.marks.stamp() >= version.marks.stamp());
        prop_assert!(kept.marks.compliance_until_ms >= version.marks.compliance_until_ms);
        for (region, holding) in &version.placement.holders {
            prop_assert!(kept.placement.holders[region].counter >= holding.counter);
        }
    }
    Ok(())
}

type Kind = fn(u64, Stamp) -> Record;

/// Kinds of which the larger one wins.
const REGISTERS: [Kind; 4] = [name, access_key, upload, part];

fn three_rows() -> impl Strategy<Value = (Record, Record, Record)> {
    any::<u64>().prop_flat_map(|seed| (rows_of(seed), rows_of(seed), rows_of(seed)))
}

proptest! {
    #[test]
    fn rows_obey_the_laws((a, b, c) in three_rows()) {
        obey_the_laws(&a, &b, &c)?;
        let both = join(&a, &b);
        let (Record::Row(before), Record::Row(after)) = (&a, &both) else { unreachable!() };
        never_goes_back(before, after)?;
    }

    /// `whole` is what every region has applied; some drop notes of it and others do not yet.
    #[test]
    fn dropped_notes_change_nothing_that_is_seen_in_whatever_order_regions_drop_them(
        (a, b, c) in three_rows(),
        drops in any::<[bool; 2]>(),
    ) {
        let whole = join(&join(&a, &b), &c);
        let Record::Row(row) = &whole else { unreachable!() };
        let old = |at: Stamp| drops[0] || at.hlc.ms() < 6;
        let spent = trim::spent(row, old);
        let short = trim::without(row.clone(), &spent);
        prop_assert_eq!(&short.versions, &row.versions);
        prop_assert_eq!(short.covered(), row.covered());
        prop_assert_eq!((short.stamp(), short.made_stamp()), (row.stamp(), row.made_stamp()));
        prop_assert!(spent.iter().all(|version| !short.erased.contains_key(version)));
        let again = join(&Record::Row(short.clone()), &whole);
        prop_assert_eq!(&again, &whole, "a peer's notes come back whole");
        let taken = trim::incoming(&short, row.clone(), old);
        let joined = join(&Record::Row(short.clone()), &Record::Row(taken));
        prop_assert_eq!(joined, Record::Row(short.clone()), "but are not taken in again");
        // Who has not heard of a deletion yet is told of it.
        let Record::Row(behind) = &a else { unreachable!() };
        let told = trim::incoming(behind, row.clone(), old);
        let Record::Row(told) = join(&a, &Record::Row(told)) else { unreachable!() };
        prop_assert_eq!(&told.versions, &row.versions);
        let (one, other) = if drops[1] { (&short, &told) } else { (&told, &short) };
        let Record::Row(both) = join(&Record::Row(one.clone()), &Record::Row(other.clone())) else {
            unreachable!()
        };
        prop_assert_eq!(&both.versions, &row.versions);
    }

    #[test]
    fn bucket_records_obey_the_laws([a, b, c] in buckets()) {
        obey_the_laws(&a, &b, &c)?;
    }

    #[test]
    fn names_keys_uploads_and_parts_obey_the_laws(
        kind in any::<Index>(),
        seed in any::<u64>(),
        (a, b, c) in (stamps(), stamps(), stamps()),
    ) {
        let make = kind.get(&REGISTERS);
        obey_the_laws(&make(seed, a), &make(seed, b), &make(seed, c))?;
    }

    #[test]
    fn a_row_from_elsewhere_is_put_in_order(
        seed in any::<u64>(),
        made in prop::collection::vec(stamps(), 1..8),
    ) {
        let versions: Vec<Version> =
            made.iter().map(|made| version(seed, *made, Placement::default())).collect();
        let as_it_came = Record::Row(Row { versions: versions.clone(), ..Row::default() });
        let one_by_one = versions
            .into_iter()
            .map(|version| Record::Row(Row::of(version)))
            .reduce(|row, next| join(&row, &next))
            .unwrap();
        prop_assert_eq!(merge(None, as_it_came).record, one_by_one);
    }
}

#[test]
fn an_ended_upload_is_never_open_again_and_a_revoked_key_stays_revoked() {
    let with_state = |state: UploadState, ms| {
        let Record::Upload(upload) = upload(0, stamp(ms, 0)) else { unreachable!() };
        Record::Upload(Box::new(UploadRecord { state, ..*upload }))
    };
    let ended = with_state(UploadState::Aborted, 1);
    assert_eq!(join(&ended, &with_state(UploadState::Open, 9)), ended);
    let revoked = |revoked, ms| {
        let Record::AccessKey(key) = access_key(0, stamp(ms, 0)) else { unreachable!() };
        Record::AccessKey(AccessKeyRecord { revoked, ..key })
    };
    assert_eq!(join(&revoked(true, 2), &revoked(false, 1)), revoked(true, 2));
    assert_eq!(join(&revoked(false, 1), &revoked(true, 2)), revoked(true, 2));
}

#[test]
fn concurrent_writes_keep_the_loser_and_the_next_write_covers_both() {
    let version = |made, replaces| {
        let (content, placement) = (Content::Tombstone, Placement::default());
        let (null, marks) = (true, Marks::default());
        Record::Row(Row::of(Version { stamp: made, replaces, null, content, marks, placement }))
    };
    let (fra, iad) = (version(stamp(2, 0), stamp(1, 0)), version(stamp(2, 1), stamp(1, 0)));
    let both = join(&fra, &iad);
    let Record::Row(row) = &both else { unreachable!() };
    assert_eq!(row.versions.len(), 2);
    let next = version(stamp(3, 0), row.stamp());
    assert_eq!(join(&both, &next), next);
    assert_eq!(join(&next, &fra), next, "a covered version does not come back");
}

#[test]
fn a_kept_version_stays_until_somebody_ends_it_and_never_comes_back() {
    let version = |made, replaces| {
        let (null, content, marks) = (true, Content::Marker, Marks::default());
        Version { stamp: made, replaces, null, content, marks, placement: Placement::default() }
    };
    let row = |versions: Vec<Version>, floor, spared: &[Stamp]| {
        let keep = Spared { until_ms: 9, why: Why::Lost };
        let spared = spared.iter().map(|kept| (*kept, keep)).collect();
        let cover = Cover { spared, ..Cover::up_to(floor) };
        Record::Row(Row { versions, cover, ..Row::default() })
    };
    let (first, second, third) = (stamp(1, 0), stamp(2, 0), stamp(3, 0));
    let old = Record::Row(Row::of(version(first, Stamp::ZERO)));
    let new = row(vec![version(second, Stamp::ZERO)], first, &[first]);
    let both = join(&old, &new);
    let next = row(vec![version(third, Stamp::ZERO)], second, &[first]);
    let after = join(&next, &both);
    let stamps = |record: &Record| -> Vec<Stamp> {
        let Record::Row(row) = record else { unreachable!() };
        row.versions.iter().map(|v| v.stamp).collect()
    };
    assert_eq!((stamps(&both), stamps(&after)), (vec![second, first], vec![third, first]));
    let ended = join(&after, &row(Vec::new(), second, &[]));
    assert_eq!(stamps(&ended), [third]);
    for late in [&old, &new, &both, &next, &after] {
        assert_eq!(join(&ended, late), ended);
    }
    let marks = join(&after, &Record::Row(Row::of(version(third, Stamp::ZERO))));
    assert_eq!(marks, after, "a change of the visible version's marks leaves the others");
}

#[test]
fn records_of_different_kinds_never_mix() {
    let (row, part) = (Record::Row(Row::default()), part(0, stamp(1, 0)));
    let merged = merge(Some(row.clone()), part);
    assert!(!merged.changed && merged.record == row);
}

#[test]
fn what_an_erased_version_replaced_does_not_come_back() {
    let version = |made, replaces| {
        let (null, content, marks) = (true, Content::Marker, Marks::default());
        Version { stamp: made, replaces, null, content, marks, placement: Placement::default() }
    };
    let old = Record::Row(Row::of(version(stamp(1, 0), Stamp::ZERO)));
    let new = Record::Row(Row::of(version(stamp(2, 0), stamp(1, 0))));
    let erased = Erased { at: stamp(3, 0), replaces: stamp(1, 0) };
    let erased = Row { erased: [(stamp(2, 0), erased)].into(), ..Row::default() };
    let erased = Record::Row(erased);
    let expected = join(&join(&old, &new), &erased);
    assert_eq!(join(&old, &join(&new, &erased)), expected);
    assert_eq!(join(&join(&erased, &old), &new), expected);
    let Record::Row(row) = expected else { unreachable!() };
    assert_eq!(row.versions, []);
}
