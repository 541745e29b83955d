//! Rules against brute force over short keys, the events of changes, and the two messages.

use std::sync::Arc;

use proptest::prelude::*;

use super::events::{Change, of};
use super::message::{Form, render};
use super::*;
use crate::types::event::{By, Cause, Event};
use crate::types::name::{AccountId, ObjectKey};
use crate::types::object::{
    Content, ETag, Erased, Marks, ObjectMeta, Placement, Row, StoredHeaders, Version,
};
use crate::types::region::RegionId;
use crate::types::stamp::{Hlc, Stamp};

const ARN: &str = "arn:godwit:sqs::hook:webhook";

fn rule(id: &str, events: &[&str], prefix: Option<&str>, suffix: Option<&str>) -> Rule {
    Rule {
        id: id.to_owned(),
        receiver: Receiver::Queue,
        arn: ARN.to_owned(),
        events: events.iter().map(|event| (*event).to_owned()).collect(),
        prefix: prefix.map(str::to_owned),
        suffix: suffix.map(str::to_owned),
        enabled: true,
    }
}

fn checked(rules: &[Rule]) -> Result<(), Refusal> {
    check(rules, &|name| name == "hook")
}

const SELECTORS: [&str; 6] = [
    "s3:ObjectCreated:*",
    "s3:ObjectCreated:Put",
    "s3:ObjectCreated:Copy",
    "s3:ObjectRemoved:*",
    "s3:ObjectRemoved:Delete",
    "s3:ObjectTagging:*",
];

/// The events of a selector, written out.
fn naive_events(selector: &str) -> &'static [&'static str] {
    match selector {
        "s3:ObjectCreated:*" => &[
            "ObjectCreated:Put",
            "ObjectCreated:Post",
            "ObjectCreated:Copy",
            "ObjectCreated:CompleteMultipartUpload",
        ],
        "s3:ObjectCreated:Put" => &["ObjectCreated:Put"],
        "s3:ObjectCreated:Copy" => &["ObjectCreated:Copy"],
        "s3:ObjectRemoved:*" => &["ObjectRemoved:Delete", "ObjectRemoved:DeleteMarkerCreated"],
        "s3:ObjectRemoved:Delete" => &["ObjectRemoved:Delete"],
        "s3:ObjectTagging:*" => &["ObjectTagging:Put", "ObjectTagging:Delete"],
        other => panic!("{other}"),
    }
}

fn naive_takes(rule: &Rule, event: &str, key: &str) -> bool {
    let (prefix, suffix) = (rule.prefix.clone(), rule.suffix.clone());
    let (prefix, suffix) = (prefix.unwrap_or_default(), suffix.unwrap_or_default());
    let named = rule.events.iter().flat_map(|s| naive_events(s)).any(|name| *name == event);
    let begins = key.len() >= prefix.len() && key[..prefix.len()] == *prefix;
    let ends = key.len() >= suffix.len() && key[key.len() - suffix.len()..] == *suffix;
    rule.enabled && named && begins && ends
}

/// Every key of `a` and `b` that is long enough to begin and end with what the filters have.
fn keys() -> Vec<String> {
    let mut keys = vec![String::new()];
    let mut last = keys.clone();
    for _ in 0..4 {
        last = last.iter().flat_map(|key| [format!("{key}a"), format!("{key}b")]).collect();
        keys.extend(last.clone());
    }
    keys
}

fn any_rule() -> impl Strategy<Value = Rule> {
    let part = || proptest::option::of("[ab]{0,2}");
    let events = proptest::collection::vec(0..SELECTORS.len(), 1..3);
    let enabled = proptest::bool::weighted(0.9);
    (events, part(), part(), enabled).prop_map(|(events, prefix, suffix, enabled)| {
        let events: Vec<&str> = events.into_iter().map(|i| SELECTORS[i]).collect();
        Rule { enabled, ..rule("", &events, prefix.as_deref(), suffix.as_deref()) }
    })
}

proptest! {
    #[test]
    fn rules_are_refused_exactly_where_one_event_of_one_key_is_for_two(
        rules in proptest::collection::vec(any_rule(), 1..4),
    ) {
        let rules: Vec<Rule> = rules
            .into_iter()
            .enumerate()
            .map(|(i, rule)| Rule { id: i.to_string(), ..rule })
            .collect();
        let both = |event: &str, key: &str| {
            rules.iter().filter(|rule| naive_takes(rule, event, key)).count() > 1
        };
        let ambiguous = keys()
            .iter()
            .any(|key| EventKind::ALL.iter().any(|kind| both(kind.name(), key)));
        prop_assert_eq!(checked(&rules).is_err(), ambiguous);
    }

    #[test]
    fn the_rule_that_is_found_is_the_one_that_a_plain_search_finds(
        rules in proptest::collection::vec(any_rule(), 0..4),
        key in "[ab]{0,4}",
    ) {
        for kind in EventKind::ALL {
            let naive = rules.iter().find(|rule| naive_takes(rule, kind.name(), &key));
            prop_assert_eq!(find(&rules, *kind, &key), naive);
        }
    }
}

#[test]
fn destinations_are_named_by_arns_of_several_makes() {
    for (arn, name) in [
        ("arn:godwit:sqs::hook:webhook", Some("hook")),
        ("arn:minio:sqs:eu:my_Hook-1:webhook", Some("my_Hook-1")),
        ("arn:aws:sqs:us-east-1:000000000000:hook", Some("hook")),
        ("arn:aws:sns:us-east-1:000000000000:hook", Some("hook")),
        ("arn:aws:lambda:us-east-1:000000000000:function:hook", None),
        ("arn:godwit:sqs::hook:kafka", None),
        ("arn:godwit:sqs:::webhook", None),
        ("arn:godwit:sqs::a b:webhook", None),
        ("hook", None),
        ("", None),
    ] {
        assert_eq!(destination(arn), name, "{arn}");
    }
}

#[test]
fn what_cannot_be_kept_is_refused_with_what_is_wrong() {
    let put = ["s3:ObjectCreated:Put"];
    assert_eq!(checked(&[]), Ok(()));
    assert_eq!(checked(&[rule("a", &put, Some("in/"), Some(".jpg"))]), Ok(()));
    assert_eq!(checked(&[rule("a", &[], None, None)]), Err(Refusal::Shape));
    let long = "x".repeat(1025);
    let far = Rule { arn: "arn:godwit:sqs::other:webhook".into(), ..rule("a", &put, None, None) };
    let cases = [
        (vec![rule(&"i".repeat(256), &put, None, None)], "Id"),
        (vec![rule("a", &["s3:ObjectEaten:*"], None, None)], "Event"),
        (vec![rule("a", &["ObjectCreated:Put"], None, None)], "Event"),
        (vec![rule("a", &["s3:*"], None, None)], "Event"),
        (vec![rule("a", &["s3:ObjectRestore:*"], None, None)], "Event"),
        (vec![rule("a", &put, Some(&long), None)], "FilterRule"),
        (vec![far], "Queue"),
        (vec![rule("a", &put, Some("x"), None), rule("a", &put, Some("y"), None)], "Id"),
        (vec![rule("a", &put, None, None), rule("b", &put, None, None)], "Id"),
    ];
    for (rules, wrong) in cases {
        match checked(&rules) {
            Err(Refusal::Invalid { name, .. }) => assert_eq!(name, wrong, "{rules:?}"),
            other => panic!("{rules:?}: {other:?}"),
        }
    }
    let many: Vec<Rule> = (0..=RULES_MAX)
        .map(|i| rule(&i.to_string(), &put, Some(&format!("{i:03}")), None))
        .collect();
    assert!(checked(&many).is_err());
    assert_eq!(checked(&many[1..]), Ok(()));
}

fn stamp(ms: u64) -> Stamp {
    Stamp { hlc: Hlc::from_ms(ms), region: RegionId::parse("fra").unwrap() }
}

fn version(ms: u64, null: bool, content: Content) -> Version {
    let (marks, placement) = (Marks::default(), Placement::default());
    Version { stamp: stamp(ms), replaces: Stamp::ZERO, null, content, marks, placement }
}

fn object() -> Content {
    Content::Object(Arc::new(ObjectMeta {
        size: 5,
        etag: ETag("e".into()),
        modified_ms: 0,
        headers: StoredHeaders::default(),
        user_meta: Vec::new(),
        checksum: None,
        parts: Vec::new(),
        rides: true,
        owner: AccountId("me".into()),
        encryption: None,
    }))
}

fn kinds(ms: u64, cause: Cause, before: Option<&Row>, made: &Row) -> Vec<EventKind> {
    let change = Change { stamp: stamp(ms), cause, completes: false };
    of(change, before, made).into_iter().map(|happened| happened.kind).collect()
}

#[test]
fn what_is_made_is_named_by_its_cause() {
    let made = Row::of(version(2, true, object()));
    for (cause, kind) in [
        (Cause::Plain, EventKind::Put),
        (Cause::Copy, EventKind::Copied),
        (Cause::Form, EventKind::Posted),
        (Cause::Rename, EventKind::Renamed),
    ] {
        assert_eq!(kinds(2, cause, None, &made), [kind]);
    }
    let change = Change { stamp: stamp(2), cause: Cause::Plain, completes: true };
    let happened = of(change, None, &made);
    assert_eq!(happened[0].kind, EventKind::Completed);
    assert_eq!((happened[0].size, happened[0].version), (Some(5), None));
    // Applied a second time it tells nothing.
    assert_eq!(of(change, Some(&made), &made), []);
}

#[test]
fn a_deletion_is_an_event_where_there_was_an_object() {
    let before = Row::of(version(1, true, object()));
    let gone = Row::of(version(2, true, Content::Tombstone));
    assert_eq!(kinds(2, Cause::Plain, Some(&before), &gone), [EventKind::Deleted]);
    assert_eq!(kinds(2, Cause::Expiration, Some(&before), &gone), [EventKind::Expired]);
    assert_eq!(kinds(2, Cause::Plain, None, &gone), []);
    let again = Row::of(version(3, true, Content::Tombstone));
    assert_eq!(kinds(3, Cause::Plain, Some(&gone), &again), []);
    let marker = Row::of(version(2, false, Content::Marker));
    assert_eq!(kinds(2, Cause::Plain, Some(&before), &marker), [EventKind::MarkerMade]);
    assert_eq!(kinds(2, Cause::Expiration, None, &marker), [EventKind::ExpiredByMarker]);
}

#[test]
fn a_version_that_goes_for_good_is_one_event_with_its_id() {
    let erase = |stamps: &[u64]| Row {
        erased: stamps
            .iter()
            .map(|ms| (stamp(*ms), Erased { at: stamp(9), replaces: Stamp::ZERO }))
            .collect(),
        ..Row::default()
    };
    let change = Change { stamp: stamp(9), cause: Cause::Plain, completes: false };
    let named = Row::of(version(3, false, object()));
    let happened = of(change, Some(&named), &erase(&[3]));
    assert_eq!(happened.len(), 1);
    assert_eq!((happened[0].kind, happened[0].version), (EventKind::Deleted, Some(stamp(3))));
    let nulls = Row {
        versions: vec![version(4, true, object()), version(3, true, object())],
        ..Row::default()
    };
    let happened = of(change, Some(&nulls), &erase(&[3, 4]));
    assert_eq!(happened.len(), 1);
    assert_eq!(happened[0].version, None);
}

#[test]
fn marks_are_events_when_they_change() {
    let before = Row::of(version(1, true, object()));
    let mut tagged = before.clone();
    let marks = &mut tagged.versions[0].marks;
    (marks.tags.val, marks.tags.marker) = (vec![("k".into(), "v".into())], stamp(2));
    assert_eq!(kinds(2, Cause::Plain, Some(&before), &tagged), [EventKind::TagsPut]);
    let mut cleared = tagged.clone();
    let marks = &mut cleared.versions[0].marks;
    (marks.tags.val, marks.tags.marker) = (Vec::new(), stamp(3));
    assert_eq!(kinds(3, Cause::Plain, Some(&tagged), &cleared), [EventKind::TagsDeleted]);
    let mut shared = cleared.clone();
    shared.versions[0].marks.acl.marker = stamp(4);
    assert_eq!(kinds(4, Cause::Plain, Some(&cleared), &shared), [EventKind::AclPut]);
    assert_eq!(kinds(4, Cause::Plain, Some(&shared), &shared), []);
    // Locks are no events of S3.
    let mut held = shared.clone();
    held.versions[0].marks.legal_hold.marker = stamp(5);
    assert_eq!(kinds(5, Cause::Plain, Some(&shared), &held), []);
}

fn event(kind: EventKind) -> Event {
    Event {
        kind,
        stamp: stamp(1_700_000_000_123),
        bucket: BucketName::parse("birds").unwrap(),
        owner: AccountId("owner".into()),
        key: ObjectKey::parse("red flower/ü+1.jpg").unwrap(),
        rule: "rule".into(),
        size: Some(7),
        etag: Some(ETag("abc-2".into())),
        version_id: Some("v1".into()),
        by: Some(Arc::new(By {
            principal: "me".into(),
            address: Some("192.0.2.1".into()),
            request: "R1".into(),
        })),
    }
}

fn rendered(form: Form, events: &[Event]) -> serde_json::Value {
    let region = RegionId::parse("fra").unwrap();
    serde_json::from_str(&render(form, region, events).unwrap()).unwrap()
}

#[test]
fn the_message_of_s3_has_its_fields() {
    let message = rendered(Form::S3, &[event(EventKind::Put), event(EventKind::TagsPut)]);
    assert_eq!(message["Records"].as_array().unwrap().len(), 2);
    assert_eq!(message["Records"][1]["eventVersion"], "2.3");
    let sequencer = stamp(1_700_000_000_123).to_string().to_uppercase();
    let expected = serde_json::json!({
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "fra",
        "eventTime": "2023-11-14T22:13:20.123Z",
        "eventName": "ObjectCreated:Put",
        "userIdentity": { "principalId": "me" },
        "requestParameters": { "sourceIPAddress": "192.0.2.1" },
        "responseElements": { "x-amz-request-id": "R1", "x-amz-id-2": "fra" },
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "rule",
            "bucket": {
                "name": "birds",
                "ownerIdentity": { "principalId": "owner" },
                "arn": "arn:aws:s3:::birds",
            },
            "object": {
                "key": "red+flower/%C3%BC%2B1.jpg",
                "size": 7,
                "eTag": "abc-2",
                "versionId": "v1",
                "sequencer": sequencer,
            },
        },
    });
    assert_eq!(message["Records"][0], expected);
}

#[test]
fn the_message_of_tigris_has_its_fields_and_only_the_events_that_it_names() {
    let message = rendered(Form::Tigris, &[event(EventKind::Completed), event(EventKind::AclPut)]);
    let expected = serde_json::json!({
        "events": [{
            "eventVersion": "1",
            "eventSource": "tigris",
            "eventName": "OBJECT_CREATED_MULTIPART",
            "eventTime": "2023-11-14T22:13:20.123Z",
            "bucket": "birds",
            "object": { "key": "red flower/ü+1.jpg", "size": 7, "eTag": "abc-2" },
        }],
    });
    assert_eq!(message, expected);
    let region = RegionId::parse("fra").unwrap();
    assert_eq!(render(Form::Tigris, region, &[event(EventKind::TagsPut)]), None);
}

#[test]
fn sequencers_of_one_key_sort_as_its_changes_did() {
    let of = |ms| rendered(Form::S3, &[Event { stamp: stamp(ms), ..event(EventKind::Put) }]);
    let text = |ms| of(ms)["Records"][0]["s3"]["object"]["sequencer"].as_str().unwrap().to_owned();
    assert!(text(9) < text(10) && text(10) < text(1_700_000_000_123));
}
