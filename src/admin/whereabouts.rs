//! Where an object lives and why.

use crate::engine::{Error, GetObject, VersionRef};
use crate::logic::precondition::Conditions;
use crate::types::action::{Action, Target};
use crate::types::name::{BucketName, ObjectKey};

use super::api::Api;
use super::model::{Move, Where};
use super::route::{Call, Route, argument, required, route};

pub(super) const ROUTES: &[Route] = &[route!(
    GET "where", Key, whereabouts, () => Where,
    [required("bucket", "Its bucket."), required("key", "Its key.")],
    "Where an object lives, who reads it, and why it moved. It needs the right to read the object."
)];

async fn whereabouts(api: &Api, call: &Call<'_>, (): ()) -> Result<Where, Error> {
    let bucket = BucketName::parse(call.parameter("bucket")?).map_err(argument)?;
    let key = ObjectKey::parse(call.parameter("key")?).map_err(argument)?;
    let target = Target::Object(bucket.clone(), key.clone());
    api.engine.authorize(call.caller, Action::GetObject, &target, call.around).await?;
    let get = GetObject {
        bucket: bucket.clone(),
        key: key.clone(),
        conditions: Conditions::default(),
        range: None,
        if_range: Conditions::default(),
        part: None,
        version: VersionRef::Current,
        customer_key: None,
        seen: None,
    };
    let info = api.engine.object_info(&get).await?;
    let found = api.engine.whereabouts(&bucket, &key).await?;
    let moves = found.moves.into_iter().map(|moved| Move {
        at_ms: moved.at_ms,
        from: moved.from,
        to: moved.to,
        reason: moved.reason,
    });
    Ok(Where {
        bucket: bucket.to_string(),
        key: key.to_string(),
        size: info.meta.size,
        etag: info.meta.etag.0.to_string(),
        primary: found.primary.map(|primary| primary.region),
        holders: found.holders,
        cached: found.cached,
        heat: found.heat.into_iter().collect(),
        moves: moves.collect(),
        note: if found.rides {
            Some("rides in its row: every allowed region has it".to_owned())
        } else {
            found.verdict
        },
    })
}
