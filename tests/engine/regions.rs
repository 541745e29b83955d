//! Three nodes: what was written at one is read at the others.

use godwit::engine::{CopyState, Engine, Error, ListObjects};
use godwit::logic::listing::{Entry, Query};
use godwit::logic::precondition::Conditions;
use godwit::types::region::RegionId;

use crate::common::node::{Node, eventually};
use crate::user::*;

const CODES: [&str; 3] = ["fra", "iad", "nrt"];
const MIN: usize = 5 << 20;

async fn three() -> Vec<Node> {
    let nodes = Node::cluster(&CODES).await;
    make_bucket(&nodes[0].engine).await;
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_put_at_one_region_is_read_listed_and_deleted_at_the_others() {
    let nodes = three().await;
    let big = vec![5_u8; 2_500_000];
    put(&nodes[0].engine, "big", big.clone()).await.unwrap();
    put(&nodes[1].engine, "small", "s").await.unwrap();
    for node in &nodes {
        assert_eq!(get(&node.engine, "big").await.unwrap(), big);
        assert_eq!(get(&node.engine, "small").await.unwrap(), b"s");
        eventually(&node.env, "the list is whole", || async {
            keys(&node.engine).await == ["big", "small"]
        })
        .await;
    }
    delete(&nodes[2].engine, "big").await;
    assert_eq!(keys(&nodes[2].engine).await, ["small"]);
    for node in &nodes {
        eventually(&node.env, "the object is gone", || async {
            get(&node.engine, "big").await == Err(Error::NoSuchKey)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_region_comes_to_the_same_usage_of_a_bucket() {
    let nodes = three().await;
    put(&nodes[0].engine, "k", vec![1; 70_000]).await.unwrap();
    for (n, node) in nodes.iter().enumerate() {
        put(&node.engine, "k", vec![1; 10 + n]).await.unwrap();
        put(&node.engine, &format!("own{n}"), "abc").await.unwrap();
    }
    delete(&nodes[1].engine, "own1").await;
    for node in &nodes {
        eventually(&node.env, "the last write is there", || async {
            keys(&node.engine).await == ["k", "own0", "own2"]
                && get(&node.engine, "k").await.is_ok_and(|body| body.len() == 12)
        })
        .await;
        let usage = node.engine.usage(&bucket()).await.unwrap();
        assert_eq!((usage.objects, usage.versions, usage.bytes), (3, 3, 12 + 6));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_begun_at_one_region_takes_parts_and_its_end_at_others() {
    let nodes = three().await;
    let (fra, iad, nrt) = (&nodes[0].engine, &nodes[1].engine, &nodes[2].engine);
    let upload = begin(fra, "k").await;
    let one = part(iad, "k", upload, 1, vec![1_u8; MIN]).await.unwrap();
    let two = part(nrt, "k", upload, 2, "end").await.unwrap();
    let made = complete(iad, "k", upload, &[(1, &one), (2, &two)]).await.unwrap();
    let whole = [vec![1_u8; MIN], b"end".to_vec()].concat();
    assert_eq!(get(iad, "k").await.unwrap(), whole, "what was written here is read here at once");
    for node in &nodes {
        eventually(&node.env, "the object is there", || async {
            get(&node.engine, "k").await.is_ok_and(|body| body == whole)
        })
        .await;
    }
    assert_eq!(complete(nrt, "k", upload, &[(1, &one), (2, &two)]).await, Ok(made));
    let upload = begin(fra, "gone").await;
    part(nrt, "gone", upload, 1, "x").await.unwrap();
    nrt.abort_upload(&bucket(), &key("gone"), upload).await.unwrap();
    assert_eq!(part(nrt, "gone", upload, 2, "x").await, Err(Error::NoSuchUpload));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_whose_region_is_away_waits_and_says_so() {
    let nodes = three().await;
    let upload = begin(&nodes[0].engine, "k").await;
    let one = part(&nodes[1].engine, "k", upload, 1, "x").await.unwrap();
    let fra = nodes[0].engine.region();
    nodes[0].wires.set_away(fra, true);
    let refused = complete(&nodes[1].engine, "k", upload, &[(1, &one)]).await;
    let Err(Error::Unavailable { reason, .. }) = refused else { panic!("{refused:?}") };
    assert!(reason.contains("fra"), "{reason}");
    nodes[0].wires.set_away(fra, false);
    complete(&nodes[1].engine, "k", upload, &[(1, &one)]).await.unwrap();
    assert_eq!(get(&nodes[1].engine, "k").await.unwrap(), b"x");
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_of_a_region_that_was_removed_are_ended_by_another_one() {
    let nodes = three().await;
    let (fra, iad, nrt) = (&nodes[0], &nodes[1].engine, &nodes[2].engine);
    let (kept, left) = (begin(&fra.engine, "kept").await, begin(&fra.engine, "left").await);
    let one = part(iad, "kept", kept, 1, vec![1_u8; MIN]).await.unwrap();
    let two = part(nrt, "kept", kept, 2, "end").await.unwrap();
    part(nrt, "left", left, 1, "x").await.unwrap();
    let gone = fra.engine.region();
    fra.wires.set_away(gone, true);
    nodes[1].cluster.remove_region(gone, true).await.unwrap();
    for node in &nodes[1..] {
        eventually(&node.env, "the region is removed", || async {
            !node.cluster.members().regions().any(|info| info.id == gone)
        })
        .await;
    }
    let made = complete(nrt, "kept", kept, &[(1, &one), (2, &two)]).await.unwrap();
    assert_eq!(complete(iad, "kept", kept, &[(1, &one), (2, &two)]).await, Ok(made));
    let whole = [vec![1_u8; MIN], b"end".to_vec()].concat();
    for engine in [iad, nrt] {
        assert_eq!(get(engine, "kept").await.unwrap(), whole);
    }
    iad.abort_upload(&bucket(), &key("left"), left).await.unwrap();
    assert_eq!(part(nrt, "left", left, 2, "x").await, Err(Error::NoSuchUpload));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_too_few_regions_take_is_refused_and_invisible() {
    let nodes = three().await;
    for node in &nodes[1..] {
        nodes[0].wires.set_away(node.engine.region(), true);
    }
    let refused = put(&nodes[0].engine, "k", vec![1_u8; 100_000]).await;
    assert!(matches!(refused, Err(Error::Unavailable { .. })), "{refused:?}");
    assert_eq!(get(&nodes[0].engine, "k").await, Err(Error::NoSuchKey));
    assert!(keys(&nodes[0].engine).await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_read_everywhere_after_its_source_is_gone() {
    let nodes = three().await;
    let body = vec![9_u8; 1_500_000];
    put(&nodes[0].engine, "source", body.clone()).await.unwrap();
    let source = godwit::engine::CopySource {
        around: Default::default(),
        bucket: bucket(),
        key: key("source"),
        version: godwit::engine::VersionRef::Current,
        conditions: Conditions::default(),
        customer_key: None,
    };
    let copy = godwit::engine::CopyObject {
        acl: None,
        source,
        bucket: bucket(),
        key: key("copy"),
        owner: account(),
        replace: None,
        replace_tags: None,
        storage_class: None,
        location: None,
        website_redirect: None,
        lock: godwit::types::lock::LockAsked::default(),
        conditions: Conditions::default(),
        encryption: godwit::types::encryption::SseAsked::Default,
    };
    let caller = godwit::types::caller::Caller::Key {
        access_key: godwit::types::name::AccessKeyId::parse("k").unwrap(),
        account: account(),
        scope: godwit::types::record::KeyScope::Admin,
    };
    nodes[1].engine.copy_object(&caller, copy).await.unwrap();
    delete(&nodes[1].engine, "source").await;
    for node in &nodes {
        eventually(&node.env, "the copy is there", || async {
            get(&node.engine, "copy").await.is_ok_and(|b| b == body)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plain_writes_of_one_key_from_everywhere_are_all_taken_and_converge() {
    let nodes = three().await;
    for round in 0..5_u8 {
        let writes = (0..9_u8).map(|i| {
            let engine = nodes[usize::from(i) % 3].engine.clone();
            let body = vec![round * 16 + i; if i < 3 { 100 } else { 300_000 }];
            async move { put(&engine, "k", body).await }
        });
        let answers = futures_util::future::join_all(writes).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        let newest = answers.iter().map(|a| a.as_ref().unwrap()).max_by_key(|s| s.version);
        let etag = &newest.unwrap().etag;
        for node in &nodes {
            eventually(&node.env, "the newest write is what is read", || async {
                let read = node.engine.head_object(&get_of("k")).await;
                read.is_ok_and(|info| info.meta.etag == *etag)
            })
            .await;
            let body = get(&node.engine, "k").await.unwrap();
            assert!(body.iter().all(|b| *b == body[0]), "bytes of two versions");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_objects_of_a_list_are_fetched_ahead_of_their_readers() {
    let nodes = three().await;
    let body = vec![3_u8; 2_000_000];
    for name in ["one", "two"] {
        put(&nodes[0].engine, name, body.clone()).await.unwrap();
    }
    put(&nodes[0].engine, "small", "rides with its row").await.unwrap();
    let list = || ListObjects { bucket: bucket(), query: Query { max: 9, ..Query::default() } };
    for node in &nodes {
        eventually(&node.env, "the list is whole", || async {
            keys(&node.engine).await.len() == 3
        })
        .await;
        let page = node.engine.list_objects(list()).await.unwrap();
        let blobs: Vec<_> = page
            .entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Key(_, meta) if !meta.rides => Some(meta.parts[0].blob),
                Entry::Key(..) | Entry::Prefix(_) => None,
            })
            .collect();
        assert_eq!(blobs.len(), 2);
        assert!(node.engine.prefetch(&bucket(), &page));
        eventually(&node.env, "every chunk is here, and nobody read it", || async {
            let mut here = true;
            for (blob, chunk) in blobs.iter().flat_map(|blob| [(blob, 0), (blob, 1)]) {
                here &= node.cluster.store().chunk(blob, chunk).await.unwrap().is_some();
            }
            here
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_a_version_is_held_is_told_by_region() {
    let nodes = three().await;
    put(&nodes[0].engine, "small", "rides with its row").await.unwrap();
    put(&nodes[0].engine, "large", vec![3_u8; 2_000_000]).await.unwrap();
    let states = async |name: &str| {
        let info = nodes[0].engine.head_object(&get_of(name)).await.unwrap();
        nodes[0].engine.replication_of(&bucket(), &info).await.unwrap()
    };
    let held = |states: &[(RegionId, CopyState)]| {
        states.iter().filter(|(_, state)| *state == CopyState::Held).count()
    };
    assert!(held(&states("large").await) >= 2, "as many as acknowledged it");
    assert_eq!(states("large").await.len(), 3);
    eventually(&nodes[0].env, "the small one is everywhere", || async {
        held(&states("small").await) == 3
    })
    .await;
    assert!(nodes[0].cluster.bucket_lag().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_in_one_order_shows_what_was_just_answered_elsewhere_page_by_page() {
    let nodes = three().await;
    let there = nodes[0].engine.clone().linearizable();
    let here = nodes[2].engine.clone().linearizable();
    let names = ["a/1", "a/2", "b", "c/1", "d", "e"];
    for round in 0..4 {
        for name in names {
            put(&there, name, format!("{round}")).await.unwrap();
        }
        assert_eq!(keys(&here).await, names);
        assert_eq!(pages(&here, Some("/")).await, ["a/", "b", "c/", "d", "e"]);
        // The pages before end earlier than they seem to, because their keys are gone.
        for name in ["a/1", "a/2", "b"] {
            delete(&there, name).await;
        }
        assert_eq!(pages(&here, Some("/")).await, ["c/", "d", "e"]);
        assert_eq!(pages(&here, None).await, ["c/1", "d", "e"]);
    }
    drop(nodes);
}

/// A whole list, two entries a page.
async fn pages(engine: &Engine, delimiter: Option<&str>) -> Vec<String> {
    let (mut names, mut after) = (Vec::new(), None);
    loop {
        let delimiter = delimiter.map(str::to_owned);
        let query = Query { delimiter, after, max: 2, ..Query::default() };
        let page = engine.list_objects(ListObjects { bucket: bucket(), query }).await.unwrap();
        names.extend(page.entries.iter().map(|entry| entry.name().to_owned()));
        after = page.next;
        if after.is_none() {
            return names;
        }
    }
}
