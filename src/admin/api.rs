//! The routes of the admin API: a caller and a request in, JSON out. No HTTP, no signatures.
//!
//! Invariant: a caller may do nothing here that is not said for the route: everything needs a key
//! with the scope `Admin`, but `where` only the right to read the object.

use std::time::Duration;

use serde::Serialize;
use serde_json::Value;

use crate::engine::{CreateBucket, Engine, Error, GetObject, RegionView, VersionRef};
use crate::logic::precondition::Conditions;
use crate::s3::request::Query;
use crate::types::access::Circumstances;
use crate::types::action::{Action, Target};
use crate::types::caller::Caller;
use crate::types::name::{AccountId, BucketName, ObjectKey};
use crate::types::record::KeyScope;

use super::model::{Move, PeerState, RegionStatus, Status, Storage, StorageRequest, Where};
use super::names;

/// How often a made-up name is tried when it is taken.
const NAME_TRIES: usize = 8;

/// One request below the prefix.
pub(super) struct Call<'a> {
    pub(super) caller: &'a Caller,
    pub(super) around: &'a Circumstances,
    pub(super) method: &'a http::Method,
    /// Without prefix and slash: `where`.
    pub(super) path: &'a str,
    pub(super) query: &'a Query,
    pub(super) body: &'a [u8],
}

/// What the routes work with.
pub(super) struct Api {
    pub(super) engine: Engine,
    /// What clients are told as endpoint.
    pub(super) endpoint: String,
}

/// No route has this method and path.
pub(super) struct NoRoute;

impl Api {
    pub(super) async fn call(&self, call: &Call<'_>) -> Result<Result<Value, Error>, NoRoute> {
        Ok(match (call.method.as_str(), call.path) {
            ("POST", "keys") => self.create_key(call).await,
            ("GET", "keys") => self.list_keys(call).await,
            ("PUT", "keys") => self.change_key(call).await,
            ("DELETE", "keys") => self.revoke_key(call).await,
            ("GET", "status") => self.status(call),
            ("POST", "storage") => self.create_storage(call).await,
            ("GET", "where") => self.whereabouts(call).await,
            _ => return Err(NoRoute),
        })
    }

    fn status(&self, call: &Call<'_>) -> Result<Value, Error> {
        admin(call.caller)?;
        let regions = self.engine.regions().into_iter().map(region_status).collect();
        let version = env!("CARGO_PKG_VERSION").to_owned();
        json(&Status { version, region: self.engine.region(), regions })
    }

    async fn create_storage(&self, call: &Call<'_>) -> Result<Value, Error> {
        let owner = admin(call.caller)?;
        let request: StorageRequest = parse(call.body)?;
        let bucket = match request.name {
            Some(name) => {
                let name = BucketName::parse(&name).map_err(argument)?;
                self.create_bucket(name, owner).await?
            }
            None => self.create_any_bucket(owner).await?,
        };
        let scope = KeyScope::Buckets(vec![bucket.clone()]);
        let key = self.engine.create_access_key(Some(owner.clone()), scope).await?;
        json(&Storage {
            bucket: bucket.to_string(),
            endpoint: self.endpoint.clone(),
            region: "auto".to_owned(),
            access_key: key.id.to_string(),
            secret_key: key.record.secret.0.to_string(),
        })
    }

    async fn create_bucket(
        &self,
        name: BucketName,
        owner: &AccountId,
    ) -> Result<BucketName, Error> {
        let create = CreateBucket { name, owner: owner.clone(), location: Vec::new(), lock: false };
        Ok(self.engine.create_bucket(create).await?.name)
    }

    async fn create_any_bucket(&self, owner: &AccountId) -> Result<BucketName, Error> {
        for _ in 0..NAME_TRIES {
            let name = names::bucket_name(self.engine.env());
            match self.create_bucket(name, owner).await {
                Err(Error::BucketAlreadyExists | Error::BucketAlreadyOwnedByYou) => {}
                done => return done,
            }
        }
        Err(Error::Conflict("every name that was made up is taken; give one".to_owned()))
    }

    async fn whereabouts(&self, call: &Call<'_>) -> Result<Value, Error> {
        let bucket = BucketName::parse(parameter(call, "bucket")?).map_err(argument)?;
        let key = ObjectKey::parse(parameter(call, "key")?).map_err(argument)?;
        let target = Target::Object(bucket.clone(), key.clone());
        self.engine.authorize(call.caller, Action::GetObject, &target, call.around).await?;
        let get = GetObject {
            bucket: bucket.clone(),
            key: key.clone(),
            conditions: Conditions::default(),
            range: None,
            if_range: Conditions::default(),
            part: None,
            version: VersionRef::Current,
            customer_key: None,
        };
        let info = self.engine.object_info(&get).await?;
        let found = self.engine.whereabouts(&bucket, &key).await?;
        json(&Where {
            bucket: bucket.to_string(),
            key: key.to_string(),
            size: info.meta.size,
            etag: info.meta.etag.0.to_string(),
            primary: found.primary.map(|primary| primary.region),
            holders: found.holders,
            cached: found.cached,
            heat: found.heat.into_iter().collect(),
            moves: found
                .moves
                .into_iter()
                .map(|moved| Move {
                    at_ms: moved.at_ms,
                    from: moved.from,
                    to: moved.to,
                    reason: moved.reason,
                })
                .collect(),
            note: if found.rides {
                Some("rides in its row: every allowed region has it".to_owned())
            } else {
                found.verdict
            },
        })
    }
}

fn region_status(view: RegionView) -> RegionStatus {
    let RegionView { info, voter, peer } = view;
    let state = match peer {
        None => PeerState::Here,
        Some(peer) if peer.connected => PeerState::Connected,
        Some(_) => PeerState::Away,
    };
    let millis = |rtt: Duration| u64::try_from(rtt.as_millis()).unwrap_or(u64::MAX);
    RegionStatus {
        code: info.id,
        city: info.city,
        state,
        rtt_ms: peer.map_or(Some(0), |peer| peer.rtt.map(millis)),
        behind: peer.map_or(0, |peer| peer.ahead),
        queued: peer.map_or(0, |peer| peer.behind),
        voter,
    }
}

/// The account of a caller whose key has the scope `Admin`.
pub(super) fn admin(caller: &Caller) -> Result<&AccountId, Error> {
    match caller {
        Caller::Key { account, scope: KeyScope::Admin, .. } => Ok(account),
        Caller::Key { scope: KeyScope::Buckets(_) | KeyScope::Granted(_), .. } => {
            Err(Error::AccessDenied("this needs an admin key, not one with less".to_owned()))
        }
        Caller::Anonymous => Err(Error::AccessDenied("sign the request".to_owned())),
    }
}

pub(super) fn parameter<'a>(call: &Call<'a>, name: &str) -> Result<&'a str, Error> {
    call.query
        .get(name)
        .ok_or_else(|| Error::InvalidArgument(format!("the parameter `{name}` is missing")))
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    serde_json::from_slice(body).map_err(argument)
}

pub(super) fn argument(error: impl std::fmt::Display) -> Error {
    Error::InvalidArgument(error.to_string())
}

pub(super) fn json(value: &impl Serialize) -> Result<Value, Error> {
    serde_json::to_value(value).map_err(|error| Error::Internal(error.to_string()))
}
