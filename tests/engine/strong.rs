//! Buckets in which everything has its place in one order for all regions.

use godwit::engine::{CreateBucket, Deletion, Engine, Error, Promises, RenameObject, VersionRef};
use godwit::logic::precondition::Conditions;
use godwit::types::bucket::Consistency;

use crate::common::node::Node;
use crate::object_regions::{caller, copying};
use crate::user::*;

const CODES: [&str; 3] = ["fra", "iad", "nrt"];
const MIN: usize = 5 << 20;

fn strong() -> Promises {
    Promises { consistency: Some(Consistency::Strong), ..Promises::default() }
}

async fn three() -> Vec<Node> {
    let nodes = Node::cluster(&CODES).await;
    let create = CreateBucket { name: bucket(), owner: account(), location: vec![], lock: false };
    nodes[0].engine.create_bucket_with(create, strong()).await.unwrap();
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_read_and_listed_everywhere_at_once() {
    let nodes = three().await;
    let (fra, iad, nrt) = (&nodes[0].engine, &nodes[1].engine, &nodes[2].engine);
    for round in 0..5 {
        let body = format!("{round}");
        put(fra, "k", body.clone()).await.unwrap();
        assert_eq!(get(nrt, "k").await.unwrap(), body.as_bytes());
        assert_eq!(keys(iad).await, ["k"]);
        delete(iad, "k").await;
        assert_eq!(get(fra, "k").await, Err(Error::NoSuchKey));
        assert_eq!(keys(nrt).await, [""; 0]);
    }
    let big = vec![7_u8; 300_000];
    put(nrt, "big", big.clone()).await.unwrap();
    assert_eq!(get(fra, "big").await.unwrap(), big);
    iad.copy_object(&caller(), copying("big", "copy", None)).await.unwrap();
    assert_eq!(keys(fra).await, ["big", "copy"]);
    let deletion = |name: &str| Deletion {
        key: key(name),
        version: VersionRef::Current,
        etag: None,
        bypass: false,
    };
    let both = vec![deletion("big"), deletion("copy")];
    let outcomes = fra.delete_objects(&bucket(), both).await.unwrap();
    assert!(outcomes.iter().all(|outcome| outcome.result.is_ok()), "{outcomes:?}");
    assert_eq!(keys(nrt).await, [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_tags_and_renames_are_in_that_order_too() {
    let nodes = three().await;
    let (fra, iad, nrt) = (&nodes[0].engine, &nodes[1].engine, &nodes[2].engine);
    let upload = begin(fra, "k").await;
    let one = part(iad, "k", upload, 1, vec![1_u8; MIN]).await.unwrap();
    let made = complete(nrt, "k", upload, &[(1, &one)]).await.unwrap();
    assert_eq!(complete(nrt, "k", upload, &[(1, &one)]).await, Ok(made));
    assert_eq!(get(iad, "k").await.unwrap().len(), MIN);
    let tags = vec![("colour".to_owned(), "red".to_owned())];
    iad.put_object_tags(&bucket(), &key("k"), VersionRef::Current, tags.clone()).await.unwrap();
    assert_eq!(fra.object_tags(&bucket(), &key("k"), VersionRef::Current).await, Ok(tags));
    put(fra, "old", "text").await.unwrap();
    let rename = RenameObject {
        bucket: bucket(),
        source: key("old"),
        target: key("new"),
        source_conditions: Conditions::default(),
        conditions: Conditions::default(),
        around: Default::default(),
    };
    iad.rename_object(&caller(), rename).await.unwrap();
    assert_eq!(keys(nrt).await, ["k", "new"]);
    assert_eq!(get(fra, "old").await, Err(Error::NoSuchKey));
    assert_eq!(get(nrt, "new").await.unwrap(), b"text");
}

async fn consistency(engine: &Engine) -> Consistency {
    engine.bucket_config(&bucket()).await.unwrap().consistency
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_becomes_strong_in_every_region_before_that_is_answered() {
    let nodes = Node::cluster(&CODES).await;
    make_bucket(&nodes[0].engine).await;
    let (fra, iad, nrt) = (&nodes[0].engine, &nodes[1].engine, &nodes[2].engine);
    // What was plain before is known to all as well.
    put(nrt, "before", "x").await.unwrap();
    fra.promise(&bucket(), strong()).await.unwrap();
    for engine in [fra, iad, nrt] {
        assert_eq!(consistency(engine).await, Consistency::Strong);
        assert_eq!(keys(engine).await, ["before"]);
    }
    delete(iad, "before").await;
    assert_eq!(keys(nrt).await, [""; 0]);
    // A region that is away may still take plain writes: it is not said to be done.
    nodes[2].wires.set_away("nrt".parse().unwrap(), true);
    let eventual = Promises { consistency: Some(Consistency::Eventual), ..Promises::default() };
    assert!(matches!(fra.promise(&bucket(), eventual).await, Err(Error::Unavailable { .. })));
    nodes[2].wires.set_away("nrt".parse().unwrap(), false);
    fra.promise(&bucket(), eventual).await.unwrap();
    assert_eq!(consistency(nrt).await, Consistency::Eventual);
}
