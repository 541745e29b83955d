//! Other regions for a bucket, asked of an engine: what is refused, what is told, what goes.

use godwit::engine::{Attributes, CreateBucket, Error, Placed, PutObject, body};
use godwit::types::bucket::Location;
use godwit::types::object::StoredHeaders;
use godwit::types::region::RegionId;

use crate::common::node::{Node, eventually};
use crate::user::*;

const CODES: [&str; 3] = ["fra", "iad", "nrt"];

fn codes(text: &[&str]) -> Vec<String> {
    text.iter().map(|code| (*code).to_owned()).collect()
}

fn region(code: &str) -> RegionId {
    code.parse().unwrap()
}

fn refusal<T: std::fmt::Debug>(outcome: Result<T, Error>) -> String {
    match outcome {
        Err(Error::InvalidBucketState(why) | Error::Conflict(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_is_not_narrowed_over_what_could_not_follow_it() {
    let nodes = Node::cluster(&CODES).await;
    let engine = &nodes[0].engine;
    make_bucket(engine).await;
    put(engine, "small", "x").await.unwrap();
    let why = refusal(engine.relocate(&bucket(), &codes(&["iad", "nrt"]), false).await);
    assert!(why.contains("1 small objects"), "{why}");
    delete(engine, "small").await;
    let location = Location::Only(vec![region("fra")]);
    let headers = StoredHeaders { location, ..StoredHeaders::default() };
    let attributes = Attributes { headers, ..Attributes::default() };
    let own = PutObject { attributes, ..put_of("own") };
    engine.put_object(own, &mut body::WholeBody::new("mine".into())).await.unwrap();
    let why = refusal(engine.relocate(&bucket(), &codes(&["iad", "nrt"]), true).await);
    assert!(why.contains("own has regions of its own"), "{why}");
    assert_eq!(engine.bucket_config(&bucket()).await.unwrap().location, Location::Everywhere);
    let nowhere = engine.relocate(&bucket(), &codes(&["mars"]), true).await;
    assert_eq!(nowhere, Err(Error::InvalidLocation("mars".into())));
    let locked = CreateBucket {
        name: godwit::types::name::BucketName::parse("locked").unwrap(),
        owner: account(),
        location: vec![],
        lock: true,
    };
    engine.create_bucket(locked.clone()).await.unwrap();
    let why = refusal(engine.relocate(&locked.name, &codes(&["fra"]), true).await);
    assert!(why.contains("object lock"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_was_moved_is_read_everywhere_and_lies_where_it_was_moved_to() {
    let nodes = Node::cluster(&CODES).await;
    let (fra, nrt) = (&nodes[0].engine, &nodes[2].engine);
    make_bucket(fra).await;
    let whole = vec![7_u8; 300_000];
    put(fra, "large", whole.clone()).await.unwrap();
    put(fra, "small", "x").await.unwrap();
    let two = vec![region("iad"), region("nrt")];
    let location = fra.relocate(&bucket(), &codes(&["iad", "nrt"]), true).await.unwrap();
    assert_eq!(location, Location::Only(two.clone()));
    for node in &nodes {
        let known = node.engine.bucket_config(&bucket()).await.unwrap();
        assert_eq!(known.location, location, "every region writes by it at once");
    }
    put(fra, "later", "y").await.unwrap();
    eventually(&nodes[0].env, "the copies are there", || async {
        // Not in the half minute that placement takes its time for.
        nodes.iter().for_each(|node| node.cluster.start_repair());
        let picture = nrt.picture(&bucket()).await.unwrap();
        picture.held.keys().copied().collect::<Vec<_>>() == two && picture.outside == 1
    })
    .await;
    let picture = nrt.picture(&bucket()).await.unwrap();
    assert_eq!((picture.versions, picture.riding, picture.cut), (3, 1, false));
    for node in &nodes {
        assert_eq!(get(&node.engine, "large").await.unwrap(), whole);
        assert_eq!(get(&node.engine, "small").await.unwrap(), b"x");
    }
    let to = *two.iter().find(|to| !picture.primaries.contains_key(to)).unwrap_or(&two[0]);
    // Asked of a region that does not have it.
    let begun = fra.place_primary(&bucket(), &key("large"), to).await.unwrap();
    assert_eq!(begun == Placed::Begun, !picture.primaries.contains_key(&to));
    let why = refusal(fra.place_primary(&bucket(), &key("large"), region("fra")).await);
    assert!(why.contains("none of the regions"), "{why}");
    let why = refusal(fra.place_primary(&bucket(), &key("small"), to).await);
    assert!(why.contains("rides"), "{why}");
    let none = fra.place_primary(&bucket(), &key("nothing"), to).await;
    assert_eq!(none, Err(Error::NoSuchKey));
}

#[tokio::test(flavor = "multi_thread")]
async fn cached_copies_go_in_the_regions_that_are_named() {
    let nodes = Node::cluster(&CODES).await;
    let fra = &nodes[0].engine;
    let narrow = CreateBucket { name: bucket(), owner: account(), location: vec![], lock: false };
    fra.create_bucket(narrow).await.unwrap();
    let two = godwit::engine::Promises { copies: Some(2), ..Default::default() };
    fra.promise(&bucket(), two).await.unwrap();
    put(fra, "photos/1", vec![7_u8; 300_000]).await.unwrap();
    let cached = async || {
        let dropped = fra.drop_cached(&bucket(), "photos/", None).await.unwrap();
        dropped.into_iter().map(|(_, gone)| gone.unwrap().copies).sum::<u64>()
    };
    eventually(&nodes[0].env, "who has no copy keeps a cached one, which goes", || async {
        for node in &nodes {
            get(&node.engine, "photos/1").await.unwrap();
        }
        let picture = fra.picture(&bucket()).await.unwrap();
        picture.held.len() == 2 && cached().await == 1
    })
    .await;
    assert_eq!(cached().await, 0);
    let one = fra.drop_cached(&bucket(), "", Some(region("nrt"))).await.unwrap();
    assert_eq!(one.len(), 1);
    let nowhere = fra.drop_cached(&bucket(), "", Some(region("lhr"))).await;
    assert_eq!(nowhere.err(), Some(Error::InvalidLocation("lhr".into())));
}
