//! A bucket with an access key of its own, in one step.

use crate::engine::{CreateBucket, Error};
use crate::types::name::{AccountId, BucketName};
use crate::types::record::KeyScope;

use super::api::Api;
use super::model::{Storage, StorageRequest};
use super::names;
use super::route::{Call, Route, argument, route};

pub(super) const ROUTES: &[Route] = &[route!(
    POST "storage", Admin, create, StorageRequest => Storage, [],
    "Make a bucket and an access key that may read and write it; its secret is told this once."
)];

/// How often a made-up name is tried when it is taken.
const NAME_TRIES: usize = 8;

async fn create(api: &Api, call: &Call<'_>, request: StorageRequest) -> Result<Storage, Error> {
    let owner = call.account()?;
    let bucket = match request.name {
        Some(name) => {
            let name = BucketName::parse(&name).map_err(argument)?;
            bucket(api, name, owner).await?
        }
        None => any_bucket(api, owner).await?,
    };
    let scope = KeyScope::Buckets(vec![bucket.clone()]);
    let key = api.engine.create_access_key(Some(owner.clone()), scope).await?;
    Ok(Storage {
        bucket: bucket.to_string(),
        endpoint: api.endpoint.clone(),
        region: "auto".to_owned(),
        access_key: key.id.to_string(),
        secret_key: key.record.secret.0.to_string(),
    })
}

async fn bucket(api: &Api, name: BucketName, owner: &AccountId) -> Result<BucketName, Error> {
    let create = CreateBucket { name, owner: owner.clone(), location: Vec::new(), lock: false };
    Ok(api.engine.create_bucket(create).await?.name)
}

async fn any_bucket(api: &Api, owner: &AccountId) -> Result<BucketName, Error> {
    for _ in 0..NAME_TRIES {
        let name = names::bucket_name(api.engine.env());
        match bucket(api, name, owner).await {
            Err(Error::BucketAlreadyExists | Error::BucketAlreadyOwnedByYou) => {}
            done => return done,
        }
    }
    Err(Error::Conflict("every name that was made up is taken; give one".to_owned()))
}
