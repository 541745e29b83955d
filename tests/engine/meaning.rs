//! One node: what operations mean, and that a failed one leaves nothing.

use bytes::Bytes;

use godwit::engine::body::{BodyError, WholeBody};
use godwit::engine::{Deletion, Error, GetObject, VersionRef};
use godwit::logic::precondition::{Conditions, ETagMatch};
use godwit::types::access::Circumstances;
use godwit::types::acl::{Acl, Grant, Grantee, Permission};
use godwit::types::action::{Action, Target};
use godwit::types::caller::Caller;
use godwit::types::record::KeyScope;

use crate::common::node::Node;
use crate::user::*;

#[tokio::test]
async fn a_broken_upload_leaves_the_object_as_it_was() {
    let node = Node::start().await;
    make_bucket(&node.engine).await;
    put(&node.engine, "k", "before").await.unwrap();
    for piece in [10, 100_000, 3 << 20] {
        let mut body = Broken { pieces: vec![Bytes::from(vec![1; piece])] };
        let refused = node.engine.put_object(put_of("k"), &mut body).await;
        assert_eq!(refused, Err(Error::Body(BodyError::Broken("cut".into()))));
    }
    assert_eq!(get(&node.engine, "k").await.unwrap(), b"before");
    assert_eq!(keys(&node.engine).await, ["k"]);
}

#[tokio::test]
async fn of_many_creates_at_once_one_wins() {
    let node = Node::start().await;
    make_bucket(&node.engine).await;
    let conditions = Conditions { if_none_match: Some(ETagMatch::Any), ..Conditions::default() };
    let tries = (0..16).map(|i| {
        let (engine, conditions) = (node.engine.clone(), conditions.clone());
        async move {
            let put = godwit::engine::PutObject { conditions, ..put_of("k") };
            let body = format!("writer {i}");
            (body.clone(), engine.put_object(put, &mut WholeBody::new(body.into())).await)
        }
    });
    let results = futures_util::future::join_all(tries).await;
    let won: Vec<&String> = results.iter().filter(|r| r.1.is_ok()).map(|r| &r.0).collect();
    assert_eq!(won.len(), 1, "{results:?}");
    let lost = Error::PreconditionFailed("If-None-Match".into());
    assert!(results.iter().all(|r| r.1.is_ok() || r.1.as_ref().err() == Some(&lost)));
    assert_eq!(get(&node.engine, "k").await.unwrap(), won[0].as_bytes());
}

#[tokio::test]
async fn a_batch_is_deleted_as_one_change() {
    let node = Node::start().await;
    make_bucket(&node.engine).await;
    for name in ["a", "b", "c"] {
        put(&node.engine, name, name).await.unwrap();
    }
    let deletion = |name: &str| Deletion {
        key: key(name),
        version: VersionRef::Current,
        etag: None,
        bypass: false,
    };
    let batch = vec![deletion("a"), deletion("a"), deletion("none"), deletion("c")];
    let outcomes = node.engine.delete_objects(&bucket(), batch).await.unwrap();
    assert!(outcomes.iter().all(|o| o.result.is_ok()), "{outcomes:?}");
    assert_eq!(keys(&node.engine).await, ["b"]);
    let too_many = vec![deletion("b"); 1001];
    assert!(node.engine.delete_objects(&bucket(), too_many).await.is_err());
}

#[tokio::test]
async fn a_part_that_came_too_late_is_ended() {
    let node = Node::start().await;
    make_bucket(&node.engine).await;
    let upload = begin(&node.engine, "k").await;
    let one = part(&node.engine, "k", upload, 1, "x").await.unwrap();
    complete(&node.engine, "k", upload, &[(1, &one)]).await.unwrap();
    assert_eq!(node.engine.end_late_parts().await, Ok(0));
    // As another region's log would bring it: a part that does not know of the end.
    let id = godwit::types::record::RecordId::Part(upload, 2);
    let first = node.cluster.record(&godwit::types::record::RecordId::Part(upload, 1)).await;
    let Some(godwit::types::record::Record::Part(mut late)) = first.unwrap() else { panic!() };
    assert!(late.ended);
    late.ended = false;
    late.part.number = 2;
    let late = godwit::types::record::Record::Part(late);
    node.cluster.write_records(1, vec![(id, late)]).await.unwrap();
    assert_eq!(node.engine.end_late_parts().await, Ok(1));
    assert_eq!(node.engine.end_late_parts().await, Ok(0));
}

#[tokio::test]
async fn completing_again_gives_the_same_answer_even_after_an_overwrite() {
    let node = Node::start().await;
    make_bucket(&node.engine).await;
    let upload = begin(&node.engine, "k").await;
    let one = part(&node.engine, "k", upload, 1, "x").await.unwrap();
    let first = complete(&node.engine, "k", upload, &[(1, &one)]).await.unwrap();
    assert_eq!(complete(&node.engine, "k", upload, &[(1, &one)]).await.as_ref(), Ok(&first));
    put(&node.engine, "k", "other").await.unwrap();
    let again = complete(&node.engine, "k", upload, &[(1, &one)]).await.unwrap();
    assert_eq!((again.etag, again.version), (first.etag, first.version));
    assert_eq!(get(&node.engine, "k").await.unwrap(), b"other");
}

#[tokio::test]
async fn what_is_not_allowed_is_denied() {
    let node = Node::start().await;
    make_bucket(&node.engine).await;
    let key = node.engine.create_access_key(Some(account()), KeyScope::Admin).await.unwrap();
    let other = node.engine.create_access_key(None, KeyScope::Admin).await.unwrap();
    let caller = |made: &godwit::engine::NewAccessKey| Caller::Key {
        access_key: made.id.clone(),
        account: made.record.account.clone(),
        scope: made.record.scope.clone(),
    };
    let target = Target::Object(bucket(), crate::user::key("k"));
    let may = |caller: Caller| {
        let (engine, target) = (node.engine.clone(), target.clone());
        let around = Circumstances::default();
        async move { engine.authorize(&caller, Action::GetObject, &target, &around).await }
    };
    assert_eq!(may(caller(&key)).await, Ok(None), "an owner is known without a look at the key");
    assert!(matches!(may(caller(&other)).await, Err(Error::AccessDenied(_))));
    assert!(matches!(may(Caller::Anonymous).await, Err(Error::AccessDenied(_))));
    node.engine.revoke_access_key(&key.id).await.unwrap();
    assert_eq!(node.engine.access_key(&key.id).await, Ok(None));
}

#[tokio::test]
async fn a_reader_who_is_no_owner_gets_the_version_that_was_decided_on() {
    let node = Node::start().await;
    make_bucket(&node.engine).await;
    let put = |body: &'static str| {
        let mut put = put_of("k");
        let mut acl = Acl::private(account());
        acl.grants.push(Grant { grantee: Grantee::AllUsers, permission: Permission::Read });
        put.attributes.acl = Some(acl);
        let engine = node.engine.clone();
        async move { engine.put_object(put, &mut WholeBody::new(body.into())).await.unwrap() }
    };
    let first = put("first").await;
    let target = Target::Object(bucket(), key("k"));
    let around = Circumstances::default();
    let decided = node.engine.authorize(&Caller::Anonymous, Action::GetObject, &target, &around);
    let seen = decided.await.unwrap();
    assert!(seen.is_some(), "its list was looked at");
    let second = put("second").await;
    let head = |seen| GetObject { seen, ..get_of("k") };
    let info = node.engine.head_object(&head(seen)).await.unwrap();
    assert_eq!(info.version, first.version);
    let info = node.engine.head_object(&head(None)).await.unwrap();
    assert_eq!(info.version, second.version);
}
