//! Lifecycle decisions: S3's examples, and a naive model that is asked the same.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::types::lifecycle::{Form, Noncurrent};
use crate::types::name::AccountId;
use crate::types::object::{ETag, Mark, Marks, ObjectMeta, Placement, StoredHeaders};
use crate::types::stamp::Hlc;

const DAY_MS: u64 = 86_400_000;
const DAY: Day = Day { ms: DAY_MS };

fn rule(id: &str, prefix: &str) -> Rule {
    Rule {
        id: id.to_owned(),
        enabled: true,
        scope: Scope { form: Form::And, prefix: Some(prefix.to_owned()), ..Scope::default() },
        expiration: None,
        noncurrent: None,
        abort_days: None,
    }
}

fn expires(id: &str, prefix: &str, expiration: Expiration) -> Rule {
    Rule { expiration: Some(expiration), ..rule(id, prefix) }
}

fn rules(rules: &[Rule]) -> Lifecycle {
    Lifecycle { rules: rules.to_vec(), ..Lifecycle::default() }
}

fn stamp(ms: u64) -> Stamp {
    Stamp { hlc: Hlc::from_ms(ms), ..Stamp::ZERO }
}

fn version(made_ms: u64, content: Content, tags: &[(String, String)]) -> Version {
    let marks =
        Marks { tags: Mark { val: tags.to_vec(), marker: Stamp::ZERO }, ..Marks::default() };
    let (null, placement) = (false, Placement::default());
    Version { stamp: stamp(made_ms), replaces: Stamp::ZERO, null, content, marks, placement }
}

fn of_size(made_ms: u64, size: u64, tags: &[(String, String)]) -> Version {
    let meta = ObjectMeta {
        size,
        etag: ETag("e".into()),
        modified_ms: made_ms,
        headers: StoredHeaders::default(),
        user_meta: Vec::new(),
        checksum: None,
        parts: Vec::new(),
        rides: true,
        owner: AccountId("a".into()),
        encryption: None,
    };
    version(made_ms, Content::Object(Arc::new(meta)), tags)
}

fn put(made_ms: u64) -> Version {
    of_size(made_ms, 1, &[])
}

fn marker(made_ms: u64) -> Version {
    version(made_ms, Content::Marker, &[])
}

/// A row of these, given newest first.
fn row(versions: &[Version]) -> Row {
    Row { versions: versions.to_vec(), ..Row::default() }
}

fn tag(key: &str, value: &str) -> (String, String) {
    (key.to_owned(), value.to_owned())
}

#[test]
fn times_are_rounded_up_to_the_next_midnight_as_in_s3s_example() {
    // Made on 2014-01-15 at 10:30 with three days: 2014-01-19 at midnight.
    let made_ms = 1_389_781_800_000;
    assert_eq!(DAY.after(made_ms, 3), 1_390_089_600_000);
    let midnight_ms = 1_390_089_600_000;
    assert_eq!(DAY.after(midnight_ms, 3), midnight_ms + 3 * DAY_MS);
    assert_eq!(DAY.after(midnight_ms + 1, 0), midnight_ms + DAY_MS);
    assert_eq!(Day::of_ms(0).after(5, 2), 7, "a day of no length does not divide by zero");
    assert!(DAY.after(u64::MAX, u32::MAX) > u64::MAX - DAY_MS);
}

#[test]
fn the_earliest_rule_that_is_enabled_and_matches_says_when_an_object_expires() {
    let disabled = Rule { enabled: false, ..expires("off", "", Expiration::Days(1)) };
    let mut large = expires("large", "logs/", Expiration::Days(2));
    large.scope.larger = Some(100);
    let mut tagged = expires("tagged", "", Expiration::Days(3));
    tagged.scope.tags = vec![tag("k", "v"), tag("l", "w")];
    let late = expires("late", "logs/", Expiration::Days(9));
    let markers = expires("markers", "", Expiration::Markers(true));
    let lifecycle = rules(&[disabled, markers, late, tagged, large]);
    let due = |key: &str, size: u64, tags: &[(String, String)]| {
        let due = expiry(&lifecycle, DAY, &Object { key, tags, size, made_ms: DAY_MS })?;
        Some((due.rule, due.at_ms / DAY_MS))
    };
    let both = [tag("l", "w"), tag("k", "v"), tag("m", "x")];
    assert_eq!(due("a", 101, &[]), None);
    assert_eq!(due("a", 101, &both[..1]), None);
    assert_eq!(due("a", 101, &both), Some(("tagged".to_owned(), 4)));
    assert_eq!(due("logs/a", 100, &[]), Some(("late".to_owned(), 10)));
    assert_eq!(due("logs/a", 101, &both), Some(("large".to_owned(), 3)));
    let dated = rules(&[expires("date", "", Expiration::Date(5 * DAY_MS))]);
    let object = Object { key: "a", tags: &[], size: 0, made_ms: 9 * DAY_MS };
    let due = expiry(&dated, DAY, &object).unwrap();
    assert_eq!((due.at_ms, due.rule.as_str()), (5 * DAY_MS, "date"));
}

#[test]
fn uploads_are_aborted_by_the_earliest_rule() {
    let abort = |id: &str, prefix: &str, days| Rule { abort_days: Some(days), ..rule(id, prefix) };
    let lifecycle = rules(&[abort("a", "", 5), abort("b", "x/", 2), rule("c", "")]);
    let due = |key: &str| abortion(&lifecycle, DAY, key, 1).map(|due| (due.rule, due.at_ms));
    assert_eq!(due("x/y"), Some(("b".to_owned(), 3 * DAY_MS)));
    assert_eq!(due("y"), Some(("a".to_owned(), 6 * DAY_MS)));
}

#[test]
fn a_marker_goes_when_nothing_is_under_it_and_not_before_the_next_midnight() {
    let lifecycle = rules(&[expires("m", "", Expiration::Markers(true))]);
    let now_ms = 2 * DAY_MS;
    let alone = row(&[marker(DAY_MS + 1)]);
    assert_eq!(judge(&lifecycle, DAY, "a", &alone, now_ms - 1), []);
    let deeds = judge(&lifecycle, DAY, "a", &alone, now_ms);
    assert_eq!(deeds, [Deed::Unmark(stamp(DAY_MS + 1))]);
    let hiding = row(&[marker(DAY_MS + 1), put(DAY_MS)]);
    assert_eq!(judge(&lifecycle, DAY, "a", &hiding, now_ms), []);
    let kept = rules(&[expires("m", "", Expiration::Markers(false))]);
    assert_eq!(judge(&kept, DAY, "a", &alone, now_ms), []);
}

#[test]
fn a_marker_ages_as_an_object_where_a_rule_gives_days() {
    let lifecycle = rules(&[expires("d", "", Expiration::Days(3))]);
    let alone = row(&[marker(DAY_MS)]);
    assert_eq!(judge(&lifecycle, DAY, "a", &alone, 4 * DAY_MS - 1), []);
    assert_eq!(judge(&lifecycle, DAY, "a", &alone, 4 * DAY_MS), [Deed::Unmark(stamp(DAY_MS))]);
    let mut tagged = expires("t", "", Expiration::Days(3));
    tagged.scope.tags = vec![tag("k", "v")];
    assert_eq!(judge(&rules(&[tagged]), DAY, "a", &alone, 9 * DAY_MS), []);
}

#[test]
fn noncurrent_versions_age_from_their_successor_and_the_newest_are_kept() {
    let mut lifecycle = rules(&[rule("n", "")]);
    lifecycle.rules[0].noncurrent = Some(Noncurrent { days: 1, keep: Some(1) });
    // The marker below the top one keeps nothing and is no kept version.
    let versions =
        [marker(5 * DAY_MS), put(4 * DAY_MS), marker(3 * DAY_MS), put(2 * DAY_MS), put(DAY_MS)];
    let at = |now_ms| judge(&lifecycle, DAY, "a", &row(&versions), now_ms);
    let erased = |day: u64| Deed::Erase(stamp(day * DAY_MS));
    assert_eq!(at(3 * DAY_MS), [erased(1)], "its successor came on day 2");
    assert_eq!(at(4 * DAY_MS), [erased(2), erased(1)], "the marker of day 3 hid it");
    assert_eq!(at(9 * DAY_MS), [erased(3), erased(2), erased(1)], "day 4 is kept");
}

#[test]
fn what_a_deletion_hides_ages_from_when_it_was_made_not_from_its_stamp() {
    let mut lifecycle = rules(&[rule("n", "")]);
    lifecycle.rules[0].noncurrent = Some(Noncurrent { days: 2, keep: None });
    let object = put(DAY_MS);
    let mut over = marker(DAY_MS);
    over.stamp.hlc = object.stamp.hlc.next();
    over.marks.tags.marker = stamp(30 * DAY_MS);
    let versions = row(&[over, object]);
    assert_eq!(judge(&lifecycle, DAY, "a", &versions, 32 * DAY_MS - 1), []);
    let deeds = judge(&lifecycle, DAY, "a", &versions, 32 * DAY_MS);
    assert_eq!(deeds, [Deed::Erase(stamp(DAY_MS))]);
}

#[test]
fn only_the_widest_prefixes_are_walked() {
    let off = Rule { enabled: false, ..rule("off", "") };
    let some = [off, rule("1", "b/c"), rule("2", "a"), rule("3", "b/"), rule("4", "ab"), {
        rule("5", "c")
    }];
    assert_eq!(prefixes(&rules(&some)), ["a", "b/", "c"]);
    assert_eq!(prefixes(&rules(&some[..1])), Vec::<&str>::new());
    assert_eq!(prefixes(&rules(&[rule("1", "a"), rule("2", "")])), [""]);
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let expiration = prop_oneof![
        Just(None),
        (1..6_u32).prop_map(|days| Some(Expiration::Days(days))),
        (0..12_u64).prop_map(|day| Some(Expiration::Date(day * DAY_MS))),
        any::<bool>().prop_map(|markers| Some(Expiration::Markers(markers))),
    ];
    let noncurrent = prop::option::of((1..5_u32, prop::option::of(1..4_u32)));
    let tags = prop::collection::vec(Just(tag("k", "v")), 0..2);
    let sizes = (prop::option::weighted(0.2, 0..4_u64), prop::option::weighted(0.2, 1..5_u64));
    let prefix = prop_oneof![Just(None), Just(Some("a")), Just(Some("b"))];
    (any::<bool>(), prefix, expiration, noncurrent, tags, sizes).prop_map(
        |(enabled, prefix, expiration, noncurrent, tags, (larger, smaller))| Rule {
            enabled,
            scope: Scope {
                form: Form::And,
                prefix: prefix.map(str::to_owned),
                tags,
                larger,
                smaller,
            },
            expiration,
            noncurrent: noncurrent.map(|(days, keep)| Noncurrent { days, keep }),
            ..rule("r", "")
        },
    )
}

/// Versions newest first, each with the hours between it and the one before.
fn any_row() -> impl Strategy<Value = Row> {
    let one = (1..80_u64, prop::option::weighted(0.7, (0..5_u64, any::<bool>())));
    prop::collection::vec(one, 0..7).prop_map(|steps| {
        let mut made_ms = 0;
        let mut versions = Vec::new();
        for (hours, object) in steps {
            made_ms += hours * 3_600_000;
            versions.insert(
                0,
                match object {
                    Some((size, true)) => of_size(made_ms, size, &[tag("k", "v")]),
                    Some((size, false)) => of_size(made_ms, size, &[]),
                    None => marker(made_ms),
                },
            );
        }
        row(&versions)
    })
}

/// The same judgement in the words of the user guide, rule by rule and version by version.
fn model(rules: &[Rule], row: &Row, now_ms: u64) -> Vec<Deed> {
    let last_midnight = now_ms - now_ms % DAY_MS;
    let passed = |from_ms: u64, days: u32| from_ms + u64::from(days) * DAY_MS <= last_midnight;
    let matches = |rule: &Rule, version: &Version| {
        let (tagged, size) = match &version.content {
            Content::Object(meta) => (!version.marks.tags.val.is_empty(), Some(meta.size)),
            Content::Marker | Content::Tombstone => (false, None),
        };
        let from = rule.scope.larger.map_or(0, |bytes| bytes + 1);
        let to = rule.scope.smaller.unwrap_or(u64::MAX);
        let any_size = rule.scope.larger.is_none() && rule.scope.smaller.is_none();
        let sized = any_size || size.is_some_and(|size| (from..to).contains(&size));
        rule.enabled
            && rule.scope.prefix.as_deref() != Some("b")
            && (rule.scope.tags.is_empty() || tagged)
            && sized
    };
    let versions = &row.versions;
    let mut deeds = Vec::new();
    for (place, version) in versions.iter().enumerate() {
        let is_marker = matches!(version.content, Content::Marker);
        let (made_ms, at) = (version.stamp.hlc.ms(), version.stamp);
        let mut due = None;
        for rule in rules.iter().filter(|rule| matches(rule, version)) {
            if place > 0 {
                let kept_before = versions[1..place]
                    .iter()
                    .filter(|v| matches!(v.content, Content::Object(_)))
                    .count();
                if let Some(noncurrent) = rule.noncurrent
                    && passed(versions[place - 1].stamp.hlc.ms(), noncurrent.days)
                    && kept_before >= noncurrent.keep.map_or(0, |keep| keep as usize)
                {
                    due = Some(Deed::Erase(at));
                }
                continue;
            }
            let old = match rule.expiration {
                Some(Expiration::Days(days)) => passed(made_ms, days),
                Some(Expiration::Date(date_ms)) => now_ms >= date_ms,
                Some(Expiration::Markers(on)) => on && is_marker && passed(made_ms, 0),
                None => false,
            };
            if old && !is_marker {
                due = Some(Deed::Expire(at));
            } else if old && versions.len() == 1 {
                due = Some(Deed::Unmark(at));
            }
        }
        deeds.extend(due);
    }
    deeds
}

proptest! {
    #[test]
    fn judgements_are_those_of_the_naive_model(
        some in prop::collection::vec(any_rule(), 0..4),
        row in any_row(),
        hours in 0..400_u64,
    ) {
        let now_ms = hours * 3_600_000;
        let judged = judge(&rules(&some), DAY, "a", &row, now_ms);
        prop_assert_eq!(judged, model(&some, &row, now_ms));
    }

    #[test]
    fn what_is_due_stays_due(
        some in prop::collection::vec(any_rule(), 0..4),
        row in any_row(),
        hours in 0..400_u64,
        later in 0..400_u64,
    ) {
        let lifecycle = rules(&some);
        let at = |hours: u64| judge(&lifecycle, DAY, "a", &row, hours * 3_600_000);
        let then = at(hours + later);
        for deed in at(hours) {
            prop_assert!(then.contains(&deed), "{:?} is forgotten", deed);
        }
    }

    #[test]
    fn an_object_expires_exactly_from_the_time_that_its_header_says(
        some in prop::collection::vec(any_rule(), 1..4),
        size in 0..5_u64,
        made_hours in 0..200_u64,
    ) {
        let (lifecycle, made_ms) = (rules(&some), made_hours * 3_600_000);
        let current = of_size(made_ms, size, &[]);
        let object = Object { key: "a", tags: &[], size, made_ms };
        let row = row(&[current]);
        let judged = |now_ms| judge(&lifecycle, DAY, "a", &row, now_ms);
        match expiry(&lifecycle, DAY, &object) {
            None => prop_assert!(judged(u64::MAX / 2).is_empty()),
            Some(due) => {
                prop_assert_eq!(judged(due.at_ms), [Deed::Expire(stamp(made_ms))]);
                prop_assert!(due.at_ms == 0 || judged(due.at_ms - 1).is_empty());
            }
        }
    }
}
