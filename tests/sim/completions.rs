//! Completions of uploads that power failures cut short: asked again, they give their own answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use godwit::engine::body::WholeBody;
use godwit::engine::{
    Attributes, CompleteUpload, CreateBucket, CreateUpload, Engine, Error, PutObject, Stored,
    UploadPart, VersionRef,
};
use godwit::logic::parts::Listed;
use godwit::logic::precondition::{Conditions, ETagMatch};
use tokio::time::sleep;

use crate::world::World;
use crate::{REGIONS, bucket, key, owner};

/// Asks until it is answered by more than "not now".
async fn complete(engine: &Engine, complete: &CompleteUpload) -> Result<Stored, Error> {
    for _ in 0..100 {
        match engine.complete_upload(complete.clone()).await {
            Err(Error::Unavailable { .. }) => sleep(Duration::from_secs(1)).await,
            answer => return answer,
        }
    }
    panic!("never answered");
}

/// A completion whose region loses power so long after it began; `overwritten`: another region
/// writes the key before it is asked for again. True where it was cut short after its choice.
async fn cut_after(after_ms: u64, overwritten: bool) -> bool {
    let mut world = World::start(after_ms, &REGIONS).await;
    let (fra, iad) = (world.regions()[0], world.regions()[1]);
    sleep(Duration::from_secs(2)).await;
    let create = CreateBucket { name: bucket(), owner: owner(), location: Vec::new(), lock: false };
    world.engine(fra).create_bucket(create).await.unwrap();
    let attributes = Attributes::default;
    let (owner, checksum) = (owner(), None);
    let begin = CreateUpload {
        bucket: bucket(),
        key: key("a"),
        owner: owner.clone(),
        attributes: attributes(),
        checksum,
    };
    let engine = world.engine(fra);
    let upload = engine.create_upload(begin).await.unwrap().upload;
    let part =
        UploadPart { bucket: bucket(), key: key("a"), upload, number: 1, customer_key: None };
    let mut body = WholeBody::new(Bytes::from(vec![7; 20_000]));
    let part = engine.upload_part(part, &mut body).await.unwrap();
    let absent = Conditions { if_none_match: Some(ETagMatch::Any), ..Conditions::default() };
    let listed = Listed { number: 1, etag: part.etag.0.to_string(), checksum: None };
    let asked = CompleteUpload {
        bucket: bucket(),
        key: key("a"),
        upload,
        parts: vec![listed],
        conditions: absent,
        checksum: None,
        size: None,
        customer_key: None,
    };
    let told = Arc::new(Mutex::new(None));
    let (first, answer) = (asked.clone(), told.clone());
    world.run_on(fra, async move {
        let told = engine.complete_upload(first).await;
        *answer.lock().unwrap() = Some(told);
    });
    sleep(Duration::from_millis(after_ms)).await;
    world.crash(fra);
    // Whoever accepted it brings it to its end.
    sleep(Duration::from_secs(30)).await;
    let strong = world.engine(iad).linearizable();
    let made = strong.object_tags(&bucket(), &key("a"), VersionRef::Current).await.is_ok();
    if overwritten && made {
        let put = PutObject {
            bucket: bucket(),
            key: key("a"),
            owner,
            attributes: attributes(),
            conditions: Conditions::default(),
        };
        let mut body = WholeBody::new(Bytes::from_static(b"later"));
        strong.put_object(put, &mut body).await.unwrap();
    }
    world.boot(fra).await;
    sleep(Duration::from_secs(5)).await;
    let engine = world.engine(fra);
    let stored = complete(&engine, &asked).await;
    let stored = stored.unwrap_or_else(|why| panic!("cut after {after_ms} ms: {why:?}"));
    let told = told.lock().unwrap().take();
    if let Some(Ok(told)) = told {
        assert_eq!((told.version, &told.etag), (stored.version, &stored.etag));
    }
    let again = complete(&engine, &asked).await.unwrap();
    assert_eq!((again.version, &again.etag), (stored.version, &stored.etag));
    let over = engine.abort_upload(&bucket(), &key("a"), upload).await;
    assert_eq!(over, Err(Error::NoSuchUpload), "cut after {after_ms} ms: the upload stays open");
    made
}

#[tokio::test(start_paused = true)]
async fn a_completion_that_a_crash_cut_short_gives_its_own_answer_when_it_is_asked_again() {
    for overwritten in [false, true] {
        let mut made = 0;
        for after_ms in [1, 60, 110, 122, 126, 130, 140, 150, 158, 175] {
            made += usize::from(cut_after(after_ms, overwritten).await);
        }
        assert!((2..10).contains(&made), "{made} of 10 were made before the crash");
    }
}
