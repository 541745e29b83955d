//! A user of one account, who speaks to whatever node is given.

use bytes::Bytes;

use godwit::engine::body::{BodyError, BodySource, Digests, WholeBody};
use godwit::engine::{
    Attributes, CompleteUpload, CreateBucket, CreateUpload, Engine, Error, GetObject, ListObjects,
    Part, PutObject, Stored, UploadPart, VersionRef,
};
use godwit::env::BoxFuture;
use godwit::logic::listing::Query;
use godwit::logic::parts::Listed;
use godwit::logic::precondition::Conditions;
use godwit::types::id::UploadId;
use godwit::types::name::{AccountId, BucketName, ObjectKey};

pub fn account() -> AccountId {
    AccountId("a".repeat(64).into())
}

pub fn bucket() -> BucketName {
    BucketName::parse("bucket").unwrap()
}

pub fn key(text: &str) -> ObjectKey {
    ObjectKey::parse(text).unwrap()
}

pub async fn make_bucket(engine: &Engine) {
    let create = CreateBucket { name: bucket(), owner: account(), location: vec![], lock: false };
    engine.create_bucket(create).await.unwrap();
}

pub fn put_of(name: &str) -> PutObject {
    PutObject {
        bucket: bucket(),
        key: key(name),
        owner: account(),
        attributes: Attributes::default(),
        conditions: Conditions::default(),
    }
}

pub async fn put(engine: &Engine, name: &str, body: impl Into<Bytes>) -> Result<Stored, Error> {
    engine.put_object(put_of(name), &mut WholeBody::new(body.into())).await
}

pub fn get_of(name: &str) -> GetObject {
    let conditions = Conditions::default();
    let if_range = Conditions::default();
    GetObject {
        bucket: bucket(),
        key: key(name),
        conditions,
        range: None,
        if_range,
        part: None,
        version: VersionRef::Current,
        customer_key: None,
        seen: None,
    }
}

pub async fn get(engine: &Engine, name: &str) -> Result<Vec<u8>, Error> {
    get_with(engine, &get_of(name)).await
}

pub async fn get_with(engine: &Engine, get: &GetObject) -> Result<Vec<u8>, Error> {
    let mut read = engine.get_object(get).await?;
    let mut whole = Vec::new();
    while let Some(bytes) = read.body.next().await {
        whole.extend_from_slice(&bytes?);
    }
    Ok(whole)
}

pub async fn delete(engine: &Engine, name: &str) {
    let (version, conditions) = (VersionRef::Current, Conditions::default());
    engine.delete_object(&bucket(), &key(name), version, conditions, false).await.unwrap();
}

pub async fn keys(engine: &Engine) -> Vec<String> {
    let query = Query { max: 1000, ..Query::default() };
    let page = engine.list_objects(ListObjects { bucket: bucket(), query }).await.unwrap();
    page.entries.iter().map(|entry| entry.name().to_owned()).collect()
}

pub async fn begin(engine: &Engine, name: &str) -> UploadId {
    begin_with(engine, name, Attributes::default()).await
}

pub async fn begin_with(engine: &Engine, name: &str, attributes: Attributes) -> UploadId {
    let create = CreateUpload {
        bucket: bucket(),
        key: key(name),
        owner: account(),
        attributes,
        checksum: None,
    };
    engine.create_upload(create).await.unwrap().upload
}

pub async fn part(
    engine: &Engine,
    name: &str,
    upload: UploadId,
    number: u16,
    body: impl Into<Bytes>,
) -> Result<Part, Error> {
    let part = UploadPart { bucket: bucket(), key: key(name), upload, number, customer_key: None };
    engine.upload_part(part, &mut WholeBody::new(body.into())).await
}

pub async fn complete(
    engine: &Engine,
    name: &str,
    upload: UploadId,
    parts: &[(u16, &Part)],
) -> Result<Stored, Error> {
    let listed = |(number, part): &(u16, &Part)| Listed {
        number: *number,
        etag: part.etag.0.to_string(),
        checksum: None,
    };
    let complete = CompleteUpload {
        bucket: bucket(),
        key: key(name),
        upload,
        parts: parts.iter().map(listed).collect(),
        conditions: Conditions::default(),
        checksum: None,
        size: None,
        customer_key: None,
    };
    engine.complete_upload(complete).await
}

/// A body that breaks in the middle.
pub struct Broken {
    pub pieces: Vec<Bytes>,
}

impl BodySource for Broken {
    fn next(&mut self) -> BoxFuture<'_, Result<Option<Bytes>, BodyError>> {
        let piece = self.pieces.pop();
        Box::pin(async move { piece.map(Some).ok_or_else(|| BodyError::Broken("cut".into())) })
    }

    fn digests(&self) -> Digests {
        Digests { md5: [0; 16], len: 0, checksum: None }
    }

    fn len(&self) -> Option<u64> {
        None
    }
}
