//! Where an object lives and why, and who may show it without asking.

use futures_util::future::join_all;

use crate::engine::{Error, GetObject, VersionRef};
use crate::logic::precondition::Conditions;
use crate::s3::request::Query;
use crate::types::action::{Action, Target};
use crate::types::bucket::BucketConfig;
use crate::types::name::{BucketName, ObjectKey};
use crate::types::record::RecordId;

use super::api::Api;
use super::elsewhere;
use super::model::{HeldLease, Lease, Move, Where};
use super::route::{Answer, Call, Route, argument, required, route};

pub(super) const ROUTES: &[Route] = &[
    route!(
        GET "where", Key, whereabouts, () => Where,
        [required("bucket", "Its bucket."), required("key", "Its key.")],
        "Where an object lives, who reads it, and why it moved. It needs the right to read the \
         object."
    ),
    route!(
        GET "lease", Key, lease, () => Lease,
        [required("bucket", "Its bucket."), required("key", "Its key."), elsewhere::REGION],
        "Whether a region holds a read lease of an object, and for how long. It needs the right to \
         read the object."
    ),
];

/// What is asked about, where the caller may read it.
async fn asked(api: &Api, call: &Call<'_>) -> Result<(BucketName, ObjectKey), Error> {
    let bucket = BucketName::parse(call.parameter("bucket")?).map_err(argument)?;
    let key = ObjectKey::parse(call.parameter("key")?).map_err(argument)?;
    let target = Target::Object(bucket.clone(), key.clone());
    api.engine.authorize(call.caller, Action::GetObject, &target, call.around).await?;
    Ok((bucket, key))
}

async fn lease(api: &Api, call: &Call<'_>, (): ()) -> Result<Lease, Error> {
    let (bucket, key) = asked(api, call).await?;
    let config = api.engine.bucket_config(&bucket).await?;
    Ok(Lease { held: held(api, &config, &key) })
}

/// What this region holds.
fn held(api: &Api, config: &BucketConfig, key: &ObjectKey) -> Option<HeldLease> {
    let id = RecordId::Row(config.id, key.clone());
    let left = api.engine.cluster().lease_left(&id)?;
    let left_ms = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
    Some(HeldLease { region: api.engine.region(), left_ms })
}

/// What all regions hold; one that cannot be asked does not hold any for long.
async fn all_held(
    api: &Api,
    call: &Call<'_>,
    key: &ObjectKey,
    config: &BucketConfig,
) -> Vec<HeldLease> {
    let name = |name: &str| call.query.get(name).unwrap_or_default().to_owned();
    let pair = |of: &str| (of.to_owned(), name(of));
    let query = Query::of(vec![pair("bucket"), pair("key")]);
    let question = Call { path: "lease", query: &query, ..*call };
    let own = api.engine.region();
    let members = api.engine.cluster().members();
    let others = members.regions().map(|info| info.id).filter(|region| *region != own);
    let answers = join_all(others.map(|region| elsewhere::ask(api, &question, region))).await;
    let told = answers.into_iter().filter_map(|answer| match answer {
        Ok(Answer::Json(value)) => serde_json::from_value::<Lease>(value).ok()?.held,
        Ok(Answer::Lines(_) | Answer::Metrics(_)) | Err(_) => None,
    });
    let mut all: Vec<HeldLease> = held(api, config, key).into_iter().chain(told).collect();
    all.sort_by_key(|lease| lease.region);
    all
}

async fn whereabouts(api: &Api, call: &Call<'_>, (): ()) -> Result<Where, Error> {
    let (bucket, key) = asked(api, call).await?;
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
    let config = api.engine.bucket_config(&bucket).await?;
    let leases = match config.consistency.has_leases() {
        true => all_held(api, call, &key, &config).await,
        false => Vec::new(),
    };
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
        leases,
    })
}
