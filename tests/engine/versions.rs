//! Versions in several regions.

use std::sync::Arc;

use godwit::engine::{CreateBucket, Deleted, Engine, Error, GetObject, ListVersions, VersionRef};
use godwit::logic::listing::Query;
use godwit::logic::precondition::Conditions;
use godwit::logic::versions::Entry;
use godwit::types::bucket::Versioning;
use godwit::types::lock::{LockMode, Retention};
use godwit::types::stamp::Stamp;

use crate::common::node::{Node, eventually};
use crate::user::*;

const CODES: [&str; 3] = ["fra", "iad", "nrt"];

/// Three nodes that all know that the bucket keeps versions.
async fn three() -> Vec<Node> {
    let nodes = Node::cluster(&CODES).await;
    make_bucket(&nodes[0].engine).await;
    let enable = |config: &mut godwit::types::bucket::BucketConfig| {
        config.versioning = Versioning::Enabled;
    };
    nodes[0].engine.change_bucket(&bucket(), Arc::new(enable)).await.unwrap();
    for node in &nodes {
        eventually(&node.env, "versioning is known", || async {
            let config = node.cluster.bucket(&bucket()).await.unwrap();
            config.is_some_and(|config| config.versioning == Versioning::Enabled)
        })
        .await;
    }
    nodes
}

async fn get_version(engine: &Engine, name: &str, version: Stamp) -> Result<Vec<u8>, Error> {
    let version = VersionRef::Exact(version);
    get_with(engine, &GetObject { version, ..get_of(name) }).await
}

async fn erase(engine: &Engine, name: &str, version: Stamp) -> Result<Deleted, Error> {
    let (version, conditions) = (VersionRef::Exact(version), Conditions::default());
    engine.delete_object(&bucket(), &key(name), version, conditions, false).await
}

/// The stamps of all versions and markers, newest first.
async fn versions(engine: &Engine) -> Vec<Stamp> {
    let query = Query { max: 1000, ..Query::default() };
    let list = ListVersions { bucket: bucket(), query, within: None };
    let entries = engine.list_versions(list).await.unwrap().page.entries;
    let stamp = |entry| match entry {
        Entry::Version { version, .. } => Some(version.stamp),
        Entry::Prefix(_) => None,
    };
    entries.into_iter().filter_map(stamp).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answered_version_of_writes_at_once_is_listed_everywhere_in_one_order() {
    let nodes = three().await;
    let mut answered = Vec::new();
    for round in 0..8_u8 {
        let puts = nodes.iter().map(|node| put(&node.engine, "k", vec![round; 10_000]));
        for stored in futures_util::future::join_all(puts).await {
            answered.push(stored.unwrap().version);
        }
    }
    answered.sort_unstable_by(|a, b| b.cmp(a));
    for node in &nodes {
        eventually(&node.env, "all versions are listed, newest first", || async {
            versions(&node.engine).await == answered
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_a_versions_id_can_use_it_everywhere_at_once() {
    let nodes = three().await;
    let (fra, nrt) = (&nodes[0], &nodes[2]);
    let far = nrt.engine.region();
    for round in 0..5 {
        let (one, two) = (format!("one {round}"), format!("two {round}"));
        fra.wires.set_away(far, true);
        let first = put(&fra.engine, "k", one.clone()).await.unwrap().version;
        put(&fra.engine, "k", two).await.unwrap();
        fra.wires.set_away(far, false);
        let read = get_version(&nrt.engine, "k", first).await;
        assert_eq!(read, Ok(one.into_bytes()), "its log has had no time to arrive");
    }
    let before = versions(&fra.engine).await;
    fra.wires.set_away(far, true);
    let unwanted = put(&fra.engine, "k", "unwanted").await.unwrap().version;
    let away = get_version(&nrt.engine, "k", unwanted).await;
    assert!(matches!(away, Err(Error::Unavailable { .. })), "nobody here can know: {away:?}");
    fra.wires.set_away(far, false);
    erase(&nrt.engine, "k", unwanted).await.unwrap();
    for node in &nodes {
        eventually(&node.env, "the version is gone", || async {
            versions(&node.engine).await == before
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_version_that_nobody_made_is_missing() {
    let nodes = three().await;
    let made = put(&nodes[0].engine, "k", "text").await.unwrap().version;
    let never = Stamp { hlc: made.hlc.next(), ..made };
    let missing = get_version(&nodes[1].engine, "k", never).await;
    assert_eq!(missing, Err(Error::NoSuchVersion));
    let strange = Stamp { region: "syd".parse().unwrap(), ..made };
    let missing = get_version(&nodes[1].engine, "k", strange).await;
    assert_eq!(missing, Err(Error::NoSuchVersion), "no such region, nobody to ask");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lock_that_was_answered_anywhere_keeps_its_version_everywhere_at_once() {
    let nodes = Node::cluster(&CODES).await;
    let create = CreateBucket { name: bucket(), owner: account(), location: vec![], lock: true };
    nodes[0].engine.create_bucket(create).await.unwrap();
    let (fra, nrt) = (&nodes[0], &nodes[2]);
    let (near, far) = (nodes[1].engine.region(), nrt.engine.region());
    for round in 0..5_u64 {
        let made = put(&fra.engine, "k", format!("round {round}")).await.unwrap().version;
        assert!(get_version(&nrt.engine, "k", made).await.is_ok(), "known where it is erased");
        fra.wires.set_away(far, true);
        let until_ms = fra.env.now_ms() + 3_600_000;
        let retention = Some(Retention { mode: LockMode::Compliance, until_ms });
        let version = VersionRef::Exact(made);
        let (bucket, key) = (bucket(), key("k"));
        let set = fra.engine.put_retention(&bucket, &key, version, retention, false);
        set.await.unwrap();
        let alone = erase(&nrt.engine, "k", made).await;
        assert!(matches!(alone, Err(Error::Unavailable { .. })), "it cannot know: {alone:?}");
        fra.wires.set_away(far, false);
        fra.wires.set_away(near, true);
        let refused = erase(&nrt.engine, "k", made).await;
        assert!(matches!(refused, Err(Error::AccessDenied(_))), "{refused:?}");
        fra.wires.set_away(near, false);
        assert!(get_version(&nrt.engine, "k", made).await.is_ok());
    }
}
