//! Lifecycle rules that are run: days pass by the nodes' clock.

use std::time::Duration;

use godwit::engine::body::WholeBody;
use godwit::engine::{
    Engine, Error, Expirer, ListVersions, Options, Passed, PutObject, Stored, VersionRef,
};
use godwit::logic::listing::Query;
use godwit::logic::versions::Entry;
use godwit::types::bucket::{Ack, BucketConfig, SettingKind, Versioning};
use godwit::types::lifecycle::{Expiration, Lifecycle, Noncurrent, Rule, Scope};
use godwit::types::lock::{LockMode, Retention};
use godwit::types::object::Content;

use crate::common::node::{Node, eventually, pass_time};
use crate::user::*;

const DAY: Duration = Duration::from_secs(86_400);

fn rule(prefix: &str) -> Rule {
    Rule {
        id: format!("rule of {prefix}"),
        enabled: true,
        scope: Scope { prefix: Some(prefix.to_owned()), ..Scope::default() },
        expiration: None,
        noncurrent: None,
        abort_days: None,
    }
}

fn expires(prefix: &str, days: u32) -> Rule {
    Rule { expiration: Some(Expiration::Days(days)), ..rule(prefix) }
}

fn noncurrent(days: u32, keep: Option<u32>) -> Rule {
    Rule { noncurrent: Some(Noncurrent { days, keep }), ..rule("") }
}

async fn set_rules(engine: &Engine, rules: &[Rule]) {
    let lifecycle = Lifecycle { rules: rules.to_vec(), ..Lifecycle::default() };
    engine.put_document(&bucket(), SettingKind::Lifecycle, &lifecycle).await.unwrap();
}

async fn set_versioning(engine: &Engine, versioning: Versioning) {
    let change = move |config: &mut BucketConfig| config.versioning = versioning;
    engine.change_bucket(&bucket(), std::sync::Arc::new(change)).await.unwrap();
}

/// One node with a bucket with these rules.
async fn with_rules(rules: &[Rule]) -> Node {
    let node = Node::start().await;
    make_bucket(&node.engine).await;
    set_rules(&node.engine, rules).await;
    node
}

/// What a walk does after so many days. It does all of it: the next one finds nothing.
async fn after_days(node: &Node, days: u32) -> Passed {
    node.pass_time(DAY * days).await;
    let passed = run(node).await;
    let again = run(node).await;
    assert_eq!(done(&again), [0; 4], "{again:?}");
    passed
}

async fn run(node: &Node) -> Passed {
    Expirer::new(&node.engine).pass().await.unwrap()
}

/// Expired, erased, unmarked, aborted.
fn done(passed: &Passed) -> [u64; 4] {
    assert_eq!(passed.errors, 0);
    [passed.expired, passed.erased, passed.unmarked, passed.aborted]
}

async fn put_tagged(engine: &Engine, name: &str, tag: &str, bytes: usize) {
    let mut put: PutObject = put_of(name);
    put.attributes.tags = vec![("k".to_owned(), tag.to_owned())];
    engine.put_object(put, &mut WholeBody::new(vec![0_u8; bytes].into())).await.unwrap();
}

/// The versions of all keys, newest first: whether it is an object, and its id.
async fn versions(engine: &Engine) -> Vec<(bool, String)> {
    let query = Query { max: 1000, ..Query::default() };
    let list = ListVersions { bucket: bucket(), query, within: None };
    let page = engine.list_versions(list).await.unwrap().page;
    let version = |entry: &Entry| match entry {
        Entry::Version { version, .. } => {
            let is_object = matches!(version.content, Content::Object(_));
            (is_object, godwit::engine::id_of(version))
        }
        Entry::Prefix(prefix) => panic!("{prefix}"),
    };
    page.entries.iter().map(version).collect()
}

fn id(stored: &Stored) -> (bool, String) {
    (true, stored.version_id.clone().unwrap())
}

#[tokio::test]
async fn an_object_is_deleted_at_the_midnight_after_its_days_and_others_stay() {
    let node = with_rules(&[expires("logs/", 3), Rule { enabled: false, ..expires("", 1) }]).await;
    put(&node.engine, "logs/a", "x").await.unwrap();
    put(&node.engine, "logs/big", vec![1_u8; 300_000]).await.unwrap();
    put(&node.engine, "keep", "x").await.unwrap();
    assert_eq!(done(&after_days(&node, 2).await), [0; 4]);
    let expiry = node.engine.head_object(&get_of("logs/a")).await.unwrap();
    let due = node.engine.expiry(&bucket(), &key("logs/a"), &expiry).unwrap().unwrap();
    let left_ms = due.at_ms - node.env.now_ms();
    node.pass_time(Duration::from_millis(left_ms - 60_000)).await;
    assert_eq!(done(&run(&node).await), [0; 4], "a minute before midnight");
    node.pass_time(Duration::from_secs(61)).await;
    assert_eq!(done(&run(&node).await), [2, 0, 0, 0]);
    assert_eq!(keys(&node.engine).await, ["keep"]);
    let node = node.restart().await;
    assert_eq!(keys(&node.engine).await, ["keep"]);
}

#[tokio::test]
async fn a_date_tags_and_sizes_choose_what_expires() {
    let node = Node::start().await;
    make_bucket(&node.engine).await;
    let day_ms = 86_400_000;
    let midnight_ms = (node.env.now_ms() / day_ms + 5) * day_ms;
    let mut dated = Rule { expiration: Some(Expiration::Date(midnight_ms)), ..rule("dated") };
    dated.id = "dated".to_owned();
    let mut tagged = expires("t/", 1);
    tagged.scope.tags = vec![("k".to_owned(), "v".to_owned())];
    let mut sized = expires("s/", 1);
    (sized.scope.larger, sized.scope.smaller) = (Some(10), Some(20));
    set_rules(&node.engine, &[dated, tagged, sized]).await;
    put(&node.engine, "dated", "x").await.unwrap();
    put_tagged(&node.engine, "t/other", "w", 1).await;
    put_tagged(&node.engine, "t/chosen", "v", 1).await;
    for bytes in [10, 11, 19, 20] {
        put_tagged(&node.engine, &format!("s/{bytes}"), "v", bytes).await;
    }
    assert_eq!(done(&after_days(&node, 2).await), [3, 0, 0, 0]);
    assert_eq!(keys(&node.engine).await, ["dated", "s/10", "s/20", "t/other"]);
    assert_eq!(done(&after_days(&node, 4).await), [1, 0, 0, 0]);
    assert_eq!(keys(&node.engine).await, ["s/10", "s/20", "t/other"]);
}

#[tokio::test]
async fn more_keys_than_a_slice_takes_all_expire() {
    let node = with_rules(&[expires("a/", 1), expires("b/", 1)]).await;
    for i in 0..130 {
        for prefix in ["a", "aa", "b"] {
            put(&node.engine, &format!("{prefix}/{i:03}"), "x").await.unwrap();
        }
    }
    let passed = after_days(&node, 2).await;
    assert_eq!(done(&passed), [260, 0, 0, 0]);
    assert_eq!((passed.buckets, passed.keys), (1, 260), "other keys are not looked at");
    assert_eq!(keys(&node.engine).await.len(), 130);
}

#[tokio::test]
async fn a_version_is_hidden_then_erased_then_its_marker_goes() {
    let node = with_rules(&[expires("", 10), noncurrent(5, None)]).await;
    set_versioning(&node.engine, Versioning::Enabled).await;
    let stored = put(&node.engine, "k", "x").await.unwrap();
    assert_eq!(done(&after_days(&node, 12).await), [1, 0, 0, 0]);
    let shown = versions(&node.engine).await;
    assert_eq!((shown[0].0, &shown[1]), (false, &id(&stored)));
    let hidden = get(&node.engine, "k").await.unwrap_err();
    let Error::DeleteMarker { modified_ms, .. } = hidden else { panic!("{hidden:?}") };
    assert!(node.env.now_ms() - modified_ms < 60_000, "the marker is as old as it is");
    assert_eq!(done(&after_days(&node, 4).await), [0; 4], "its days begin with the marker");
    assert_eq!(done(&after_days(&node, 2).await), [0, 1, 0, 0]);
    assert_eq!(versions(&node.engine).await, [shown[0].clone()]);
    assert_eq!(done(&after_days(&node, 5).await), [0, 0, 1, 0]);
    assert_eq!(versions(&node.engine).await, []);
}

#[tokio::test]
async fn a_marker_that_hides_nothing_goes_by_its_own_rule_too() {
    let markers = Rule { expiration: Some(Expiration::Markers(true)), ..rule("") };
    let node = with_rules(&[markers]).await;
    set_versioning(&node.engine, Versioning::Enabled).await;
    let stored = put(&node.engine, "hiding", "x").await.unwrap();
    delete(&node.engine, "hiding").await;
    delete(&node.engine, "alone").await;
    assert_eq!(done(&after_days(&node, 1).await), [0, 0, 1, 0]);
    let shown = versions(&node.engine).await;
    assert_eq!((shown.len(), &shown[1]), (2, &id(&stored)));
}

#[tokio::test]
async fn the_newest_noncurrent_versions_are_kept() {
    let node = with_rules(&[noncurrent(1, Some(2))]).await;
    let before = put(&node.engine, "k", "null").await.unwrap();
    assert_eq!(before.version_id, None);
    set_versioning(&node.engine, Versioning::Enabled).await;
    let mut stored = Vec::new();
    for i in 0..4_u8 {
        stored.push(put(&node.engine, "k", vec![i]).await.unwrap());
    }
    assert_eq!(done(&after_days(&node, 3).await), [0, 2, 0, 0], "the null version is the oldest");
    let kept: Vec<_> = stored[1..].iter().rev().map(id).collect();
    assert_eq!(versions(&node.engine).await, kept);
}

#[tokio::test]
async fn a_null_version_is_replaced_by_a_null_marker_while_versioning_is_suspended() {
    let node = with_rules(&[expires("", 1)]).await;
    set_versioning(&node.engine, Versioning::Enabled).await;
    let kept = put(&node.engine, "k", "x").await.unwrap();
    set_versioning(&node.engine, Versioning::Suspended).await;
    put(&node.engine, "k", "null").await.unwrap();
    assert_eq!(done(&after_days(&node, 2).await), [1, 0, 0, 0]);
    assert_eq!(versions(&node.engine).await, [(false, "null".to_owned()), id(&kept)]);
}

#[tokio::test]
async fn an_object_that_was_brought_back_expires_again() {
    let node = with_rules(&[expires("", 1)]).await;
    set_versioning(&node.engine, Versioning::Enabled).await;
    let stored = put(&node.engine, "k", "x").await.unwrap();
    for _ in 0..3 {
        assert_eq!(done(&after_days(&node, 2).await), [1, 0, 0, 0]);
        let Err(Error::DeleteMarker { version_id, .. }) = get(&node.engine, "k").await else {
            panic!("there is no marker")
        };
        let marker = VersionRef::Exact(version_id.parse().unwrap());
        let conditions = Default::default();
        let (bucket, key) = (bucket(), key("k"));
        node.engine.delete_object(&bucket, &key, marker, conditions, false).await.unwrap();
        assert_eq!(get(&node.engine, "k").await.unwrap(), b"x");
    }
    assert_eq!(versions(&node.engine).await, [id(&stored)]);
}

#[tokio::test]
async fn a_locked_version_stays_until_its_lock_ends() {
    let node = Node::start().await;
    let create = godwit::engine::CreateBucket {
        name: bucket(),
        owner: account(),
        location: vec![],
        lock: true,
    };
    node.engine.create_bucket(create).await.unwrap();
    set_rules(&node.engine, &[noncurrent(1, None)]).await;
    let (until_ms, held) = (node.env.now_ms() + 10 * 86_400_000, key("held"));
    for name in ["retained", "held", "free"] {
        let stored = put(&node.engine, name, "old").await.unwrap();
        put(&node.engine, name, "new").await.unwrap();
        let version = VersionRef::Exact(stored.version);
        let retention = Some(Retention { mode: LockMode::Governance, until_ms });
        let (bucket, key) = (bucket(), key(name));
        match name {
            "retained" => {
                let set = node.engine.put_retention(&bucket, &key, version, retention, false);
                set.await.unwrap();
            }
            "held" => node.engine.put_legal_hold(&bucket, &key, version, true).await.unwrap(),
            _ => {}
        }
    }
    assert_eq!(done(&after_days(&node, 3).await), [0, 1, 0, 0]);
    assert_eq!(done(&after_days(&node, 8).await), [0, 1, 0, 0], "the retention is over");
    let old = versions(&node.engine).await;
    assert_eq!(old.len(), 4, "a legal hold does not end by itself");
    let version = VersionRef::Exact(old[2].1.parse().unwrap());
    node.engine.put_legal_hold(&bucket(), &held, version, false).await.unwrap();
    assert_eq!(done(&after_days(&node, 0).await), [0, 1, 0, 0]);
}

#[tokio::test]
async fn old_uploads_are_aborted_and_young_and_other_ones_stay() {
    let abort = Rule { abort_days: Some(2), ..rule("a/") };
    let node = with_rules(&[abort]).await;
    let old = begin(&node.engine, "a/old").await;
    part(&node.engine, "a/old", old, 1, "x").await.unwrap();
    let other = begin(&node.engine, "b").await;
    assert_eq!(done(&after_days(&node, 1).await), [0; 4]);
    let young = begin(&node.engine, "a/young").await;
    assert_eq!(done(&after_days(&node, 2).await), [0, 0, 0, 1]);
    assert_eq!(part(&node.engine, "a/old", old, 2, "x").await, Err(Error::NoSuchUpload));
    part(&node.engine, "a/young", young, 1, "x").await.unwrap();
    part(&node.engine, "b", other, 1, "x").await.unwrap();
}

#[tokio::test]
async fn rules_that_were_taken_away_or_turned_off_do_nothing() {
    let node = with_rules(&[expires("", 1)]).await;
    put(&node.engine, "k", "x").await.unwrap();
    set_rules(&node.engine, &[Rule { enabled: false, ..expires("", 1) }]).await;
    assert_eq!(done(&after_days(&node, 3).await), [0; 4]);
    node.engine.put_setting(&bucket(), SettingKind::Lifecycle, None).await.unwrap();
    let passed = after_days(&node, 3).await;
    assert_eq!((done(&passed), passed.buckets), ([0; 4], 0));
    assert_eq!(keys(&node.engine).await, ["k"]);
}

/// Two or three regions; a write is answered by the region that took it alone.
async fn regions(codes: &[&str], rules: &[Rule]) -> Vec<Node> {
    let mut nodes = Node::cluster(codes).await;
    for node in &mut nodes {
        let options = Options { ack: Ack::Count(1), copies: 2, ..Options::default() };
        node.engine = Engine::new(node.cluster.clone(), options);
    }
    make_bucket(&nodes[0].engine).await;
    set_rules(&nodes[0].engine, rules).await;
    for node in &nodes {
        eventually(&node.env, "the rules are known", || async {
            let known = node.engine.setting(&bucket(), SettingKind::Lifecycle).await;
            known.is_ok_and(|known| known.is_some())
        })
        .await;
    }
    nodes
}

async fn everywhere(nodes: &[Node], name: &str, body: &[u8]) {
    for node in nodes {
        eventually(&node.env, "the object is everywhere", || async {
            get(&node.engine, name).await.is_ok_and(|found| found == body)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_object_is_expired_by_one_of_three_regions() {
    let nodes = regions(&["fra", "iad", "nrt"], &[expires("", 1)]).await;
    for (node, name) in nodes.iter().zip(["a", "b", "c"]) {
        put(&node.engine, name, "x").await.unwrap();
        put(&node.engine, &format!("big {name}"), vec![1_u8; 200_000]).await.unwrap();
    }
    for name in ["a", "b", "c"] {
        everywhere(&nodes, name, b"x").await;
        everywhere(&nodes, &format!("big {name}"), &vec![1_u8; 200_000]).await;
    }
    pass_time(&nodes, DAY * 3).await;
    for node in &nodes {
        let passed = run(node).await;
        assert_eq!((done(&passed), passed.waiting), ([2, 0, 0, 0], 0), "what it is the primary of");
    }
    for node in &nodes {
        eventually(&node.env, "all is gone", || async { keys(&node.engine).await.is_empty() })
            .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_that_was_written_elsewhere_meanwhile_stays() {
    for versioning in [Versioning::Off, Versioning::Enabled] {
        let nodes = regions(&["fra", "iad"], &[expires("", 1)]).await;
        let (fra, iad) = (&nodes[0], &nodes[1]);
        if versioning != Versioning::Off {
            set_versioning(&fra.engine, versioning).await;
        }
        eventually(&iad.env, "iad knows the bucket", || async {
            let config = iad.engine.bucket_config(&bucket()).await;
            config.is_ok_and(|config| config.versioning == versioning)
        })
        .await;
        put(&fra.engine, "k", "old").await.unwrap();
        everywhere(&nodes, "k", b"old").await;
        pass_time(&nodes, DAY * 3).await;
        fra.wires.set_away(iad.engine.region(), true);
        put(&iad.engine, "k", "new").await.unwrap();
        assert_eq!(done(&run(fra).await), [1, 0, 0, 0], "fra does not know of it");
        assert!(get(&fra.engine, "k").await.is_err());
        fra.wires.set_away(iad.engine.region(), false);
        everywhere(&nodes, "k", b"new").await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_region_waits_for_the_primary_for_a_while_and_both_may_do_it() {
    let nodes = regions(&["fra", "iad"], &[expires("", 1)]).await;
    let (fra, iad) = (&nodes[0], &nodes[1]);
    put(&fra.engine, "k", "x").await.unwrap();
    everywhere(&nodes, "k", b"x").await;
    pass_time(&nodes, DAY * 3).await;
    // They must have heard of each other since the days passed.
    put(&fra.engine, "later", "y").await.unwrap();
    put(&iad.engine, "later still", "z").await.unwrap();
    everywhere(&nodes, "later", b"y").await;
    everywhere(&nodes, "later still", b"z").await;
    fra.wires.set_away(fra.engine.region(), true);
    let passed = run(iad).await;
    assert_eq!((done(&passed), passed.waiting), ([0; 4], 1));
    assert_eq!(passed.away.iter().map(ToString::to_string).collect::<Vec<_>>(), ["fra"]);
    pass_time(&nodes, Duration::from_secs(3600)).await;
    assert_eq!(done(&run(iad).await), [1, 0, 0, 0], "fra is away for too long");
    assert_eq!(done(&run(fra).await), [1, 0, 0, 0], "fra does it as well");
    fra.wires.set_away(fra.engine.region(), false);
    for node in &nodes {
        eventually(&node.env, "both agree", || async {
            keys(&node.engine).await == ["later", "later still"]
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_marker_stays_while_a_region_is_away_that_may_have_a_version_under_it() {
    let markers = Rule { expiration: Some(Expiration::Markers(true)), ..rule("") };
    let nodes = regions(&["fra", "iad"], &[markers]).await;
    let (fra, iad) = (&nodes[0], &nodes[1]);
    set_versioning(&fra.engine, Versioning::Enabled).await;
    eventually(&iad.env, "iad knows of versions", || async {
        let config = iad.engine.bucket_config(&bucket()).await;
        config.is_ok_and(|config| config.versioning == Versioning::Enabled)
    })
    .await;
    fra.wires.set_away(iad.engine.region(), true);
    put(&iad.engine, "k", "hidden").await.unwrap();
    pass_time(&nodes, Duration::from_secs(1)).await;
    delete(&fra.engine, "k").await;
    pass_time(&nodes, DAY * 2).await;
    let passed = run(fra).await;
    assert_eq!((done(&passed), passed.waiting), ([0; 4], 1), "it looks as if nothing were there");
    assert_eq!(passed.away.iter().map(ToString::to_string).collect::<Vec<_>>(), ["iad"]);
    fra.wires.set_away(iad.engine.region(), false);
    eventually(&fra.env, "the version came", || async { versions(&fra.engine).await.len() == 2 })
        .await;
    delete(&fra.engine, "alone").await;
    pass_time(&nodes, DAY * 2).await;
    eventually(&fra.env, "the marker that is alone goes", || async {
        done(&run(fra).await) == [0, 0, 1, 0]
    })
    .await;
    for node in &nodes {
        eventually(&node.env, "the other marker stays", || async {
            let kinds: Vec<bool> = versions(&node.engine).await.iter().map(|v| v.0).collect();
            kinds == [false, true]
        })
        .await;
        assert!(matches!(get(&node.engine, "k").await, Err(Error::DeleteMarker { .. })));
    }
}
