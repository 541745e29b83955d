//! Objects with regions of their own: their bytes are nowhere else, in no file of any other node.

use std::path::Path;

use godwit::engine::{
    Attributes, CopyObject, CopySource, Engine, Error, ListObjects, PutObject, RenameObject,
    VersionRef,
};
use godwit::logic::listing::Query;
use godwit::logic::precondition::Conditions;
use godwit::types::bucket::Location;
use godwit::types::caller::Caller;
use godwit::types::encryption::SseAsked;
use godwit::types::lock::LockAsked;
use godwit::types::name::AccessKeyId;
use godwit::types::object::{Content, StoredHeaders};
use godwit::types::record::KeyScope;

use crate::common::node::{Node, eventually};
use crate::user::*;

const CODES: [&str; 3] = ["fra", "iad", "nrt"];
const MIN: usize = 5 << 20;

fn only(codes: &[&str]) -> Location {
    Location::Only(codes.iter().map(|code| code.parse().unwrap()).collect())
}

fn attributes(location: Location) -> Attributes {
    let headers = StoredHeaders { location, ..StoredHeaders::default() };
    Attributes { headers, ..Attributes::default() }
}

async fn put_in(engine: &Engine, name: &str, location: Location, body: Vec<u8>) {
    let put = PutObject { attributes: attributes(location), ..put_of(name) };
    engine.put_object(put, &mut godwit::engine::body::WholeBody::new(body.into())).await.unwrap();
}

pub fn copying(from: &str, to: &str, location: Option<Location>) -> CopyObject {
    let source = CopySource {
        around: Default::default(),
        bucket: bucket(),
        key: key(from),
        version: VersionRef::Current,
        conditions: Conditions::default(),
        customer_key: None,
    };
    CopyObject {
        source,
        bucket: bucket(),
        key: key(to),
        owner: account(),
        acl: None,
        replace: None,
        replace_tags: None,
        storage_class: None,
        location,
        website_redirect: None,
        lock: LockAsked::default(),
        conditions: Conditions::default(),
        encryption: SseAsked::Default,
    }
}

pub fn caller() -> Caller {
    let access_key = AccessKeyId::parse("k").unwrap();
    Caller::Key { access_key, account: account(), scope: KeyScope::Admin }
}

/// So many bytes that say `mark` over and over.
fn body(mark: &str, len: usize) -> Vec<u8> {
    mark.bytes().cycle().take(len).collect()
}

/// Whether any file of a node's data has these bytes in it.
#[allow(clippy::disallowed_methods, reason = "a test looks at the disk")]
fn on_disk(dir: &Path, mark: &str) -> bool {
    std::fs::read_dir(dir).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return on_disk(&path, mark);
        }
        // A file that goes while it is looked for has nothing in it.
        let bytes = std::fs::read(&path).unwrap_or_default();
        memchr::memmem::find(&bytes, mark.as_bytes()).is_some()
    })
}

/// Every node reads the object, and again; then only the nodes of `codes` have any of its bytes.
async fn lies_only_in(nodes: &[Node], codes: &[&str], name: &str, mark: &str, whole: &[u8]) {
    for node in nodes {
        for _ in 0..2 {
            eventually(&node.env, "the object is read", || async {
                get(&node.engine, name).await.is_ok_and(|read| read == whole)
            })
            .await;
        }
        let query = Query { max: 1000, ..Query::default() };
        let list = ListObjects { bucket: bucket(), query };
        let page = node.engine.list_objects(list).await.unwrap();
        node.engine.prefetch(&bucket(), &page);
    }
    for node in nodes.iter().filter(|node| codes.contains(&code(node).as_str())) {
        eventually(&node.env, "it has the bytes", || async { on_disk(node.dir(), mark) }).await;
    }
    for node in nodes.iter().filter(|node| !codes.contains(&code(node).as_str())) {
        assert!(!on_disk(node.dir(), mark), "bytes of {name} lie in {}", code(node));
        let row = node.cluster.store().read().unwrap();
        let config = node.engine.bucket_config(&bucket()).await.unwrap();
        let row = row.row(config.id, &key(name)).unwrap().unwrap();
        for version in &row.versions {
            let Content::Object(meta) = &version.content else { continue };
            assert!(!meta.rides, "{name} rides in its row");
            for part in &meta.parts {
                let blob = part.blob;
                let kept = node.cluster.store().chunk(&blob, 0).await.unwrap();
                assert!(kept.is_none(), "a chunk of {name} is kept in {}", code(node));
            }
        }
    }
}

fn code(node: &Node) -> String {
    node.engine.region().to_string()
}

async fn three() -> Vec<Node> {
    let nodes = Node::cluster(&CODES).await;
    make_bucket(&nodes[0].engine).await;
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_lies_in_its_regions_alone_wherever_it_is_put_and_read() {
    let nodes = three().await;
    for (at, len) in [(0, 90), (1, 70), (0, 1_500_000), (2, 1_500_000)] {
        let (name, mark) = (format!("k{at}-{len}"), format!("<one of {len} put at {at}>"));
        let whole = body(&mark, len);
        put_in(&nodes[at].engine, &name, only(&["iad"]), whole.clone()).await;
        assert_eq!(get(&nodes[at].engine, &name).await.unwrap(), whole, "read where it was put");
        lies_only_in(&nodes, &["iad"], &name, &mark, &whole).await;
    }
    let (mark, len) = ("<in two regions>", 800_000);
    put_in(&nodes[0].engine, "two", only(&["iad", "nrt"]), body(mark, len)).await;
    lies_only_in(&nodes, &["iad", "nrt"], "two", mark, &body(mark, len)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_enter_elsewhere_lie_in_the_regions_of_their_upload() {
    let nodes = three().await;
    let (fra, nrt) = (&nodes[0].engine, &nodes[2].engine);
    let upload = begin_with(fra, "k", attributes(only(&["iad", "nrt"]))).await;
    let first = body("<the first part>", MIN);
    let second = body("<the second part>", 1000);
    let one = part(fra, "k", upload, 1, first.clone()).await.unwrap();
    let two = part(nrt, "k", upload, 2, second.clone()).await.unwrap();
    complete(nrt, "k", upload, &[(1, &one), (2, &two)]).await.unwrap();
    let whole = [first, second].concat();
    for mark in ["<the first part>", "<the second part>"] {
        lies_only_in(&nodes, &["iad", "nrt"], "k", mark, &whole).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn copies_and_renames_leave_no_byte_outside_the_regions_of_what_they_make() {
    let nodes = three().await;
    let fra = &nodes[0].engine;
    for (name, len) in [("small", 100), ("large", 1_200_000)] {
        let mark = format!("<{name} for iad alone>");
        let whole = body(&mark, len);
        let named = |what: &str| format!("{name}-{what}");
        put_in(fra, &named("source"), only(&["iad"]), whole.clone()).await;
        let same = copying(&named("source"), &named("copy"), None);
        fra.copy_object(&caller(), same).await.unwrap();
        let rename = RenameObject {
            bucket: bucket(),
            source: key(&named("copy")),
            target: key(&named("renamed")),
            source_conditions: Conditions::default(),
            conditions: Conditions::default(),
            around: Default::default(),
        };
        fra.rename_object(&caller(), rename).await.unwrap();
        for what in ["source", "renamed"] {
            lies_only_in(&nodes, &["iad"], &named(what), &mark, &whole).await;
        }
        let everywhere = copying(&named("source"), &named("free"), Some(Location::Everywhere));
        fra.copy_object(&caller(), everywhere).await.unwrap();
        eventually(&nodes[0].env, "the copy lies here", || async {
            on_disk(nodes[0].dir(), &mark)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_takes_no_region_that_its_bucket_does_not_have() {
    let nodes = Node::cluster(&CODES).await;
    let create = godwit::engine::CreateBucket {
        name: bucket(),
        owner: account(),
        location: vec!["fra".into(), "iad".into()],
        lock: false,
    };
    nodes[0].engine.create_bucket(create).await.unwrap();
    let put = PutObject { attributes: attributes(only(&["iad", "nrt"])), ..put_of("k") };
    let mut source = godwit::engine::body::WholeBody::new("x".into());
    let refused = nodes[0].engine.put_object(put, &mut source).await;
    assert!(
        matches!(&refused, Err(Error::InvalidArgument(why)) if why.contains("nrt")),
        "{refused:?}"
    );
    assert_eq!(get(&nodes[0].engine, "k").await, Err(Error::NoSuchKey));
}
