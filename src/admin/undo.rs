//! What is kept to be brought back: losers of concurrent writes, what soft delete keeps.

use crate::engine::{Error, Kept, ListBuckets, Side};
use crate::limits;
use crate::types::action::{Action, Target};
use crate::types::kept::{Keeping, Why};
use crate::types::name::{BucketName, ObjectKey};
use crate::types::stamp::Stamp;

use super::api::Api;
use super::model::{KeepingBody, Kept as KeptOut, KeptList, KeptSide, KeptWhy, Restore, Restored};
use super::route::{Call, Route, argument, optional, required, route};

pub(super) const ROUTES: &[Route] = &[
    route!(
        GET "kept", Key, kept, () => KeptList,
        [
            optional("bucket", "Only of this bucket; else of all buckets of an admin key."),
            optional("prefix", "Only keys that begin so."),
            optional("why", "`lost`: losers of concurrent writes; `replaced`: what was overwritten \
                             or deleted."),
            optional("after", "The last page's `next`.")
        ],
        "What can be brought back, and until when."
    ),
    route!(
        DELETE "kept", Key, purge, () => (),
        [
            required("bucket", "Its bucket."),
            required("key", "Its key."),
            required("version", "The version that ends at once.")
        ],
        "Ends a kept version before its time."
    ),
    route!(
        POST "restore", Key, restore, Restore => Restored, [],
        "Brings a kept version back, as a new write. Without a version it is the newest one, where \
         the key has no object."
    ),
    route!(
        GET "keeping", Key, keeping, () => KeepingBody, [required("bucket", "Which one.")],
        "How long a bucket keeps what writes end."
    ),
    route!(
        PUT "keeping", Key, put_keeping, KeepingBody => (), [required("bucket", "Which one.")],
        "Sets how long a bucket keeps what is written over from now on."
    ),
];

fn bucket(call: &Call<'_>) -> Result<BucketName, Error> {
    BucketName::parse(call.parameter("bucket")?).map_err(argument)
}

fn version(text: &str) -> Result<Stamp, Error> {
    text.parse().map_err(|why| argument(format!("a version is {why}")))
}

async fn allowed(
    api: &Api,
    call: &Call<'_>,
    target: &Target,
    actions: &[Action],
) -> Result<(), Error> {
    for action in actions {
        api.engine.authorize(call.caller, *action, target, call.around).await?;
    }
    Ok(())
}

async fn kept(api: &Api, call: &Call<'_>, (): ()) -> Result<KeptList, Error> {
    let why = match call.query.get("why") {
        None => None,
        Some("lost") => Some(Why::Lost),
        Some("replaced") => Some(Why::Replaced),
        Some(other) => return Err(argument(format!("`why={other}`: it is lost or replaced"))),
    };
    let prefix = call.query.get("prefix").unwrap_or_default();
    let mut list = KeptList { kept: Vec::new(), next: None };
    if call.query.get("bucket").is_some() {
        let bucket = bucket(call)?;
        let target = Target::Bucket(bucket.clone());
        allowed(api, call, &target, &[Action::ListBucketVersions]).await?;
        let after = call.query.get("after").map(after).transpose()?;
        let page = api.engine.kept(&bucket, prefix, after, limits::LIST_KEYS_MAX).await?;
        list.next = page.next.map(|(key, stamp)| format!("{stamp}{key}"));
        extend(&mut list, &bucket, page.kept, why);
        return Ok(list);
    }
    let owner = call.account()?.clone();
    let (max, mut from) = (limits::LIST_KEYS_MAX, None);
    loop {
        let asked = ListBuckets { owner: owner.clone(), prefix: String::new(), after: from, max };
        let buckets = api.engine.list_buckets(asked).await?;
        for bucket in buckets.buckets {
            let page = api.engine.kept(&bucket.name, prefix, None, max).await?;
            extend(&mut list, &bucket.name, page.kept, why);
        }
        from = buckets.next;
        if from.is_none() || list.kept.len() >= max {
            return Ok(list);
        }
    }
}

/// Twenty digits of the version, then the key.
fn after(text: &str) -> Result<(ObjectKey, Stamp), Error> {
    let (stamp, key) = text
        .split_at_checked(2 * Stamp::BYTES)
        .ok_or_else(|| argument("`after` is not what a page gave as `next`"))?;
    Ok((ObjectKey::parse(key).map_err(argument)?, version(stamp)?))
}

fn extend(list: &mut KeptList, bucket: &BucketName, kept: Vec<Kept>, why: Option<Why>) {
    let wanted = kept.into_iter().filter(|kept| why.is_none_or(|why| kept.why == why));
    list.kept.extend(wanted.map(|kept| KeptOut {
        bucket: bucket.to_string(),
        key: kept.key.to_string(),
        why: match kept.why {
            Why::Lost => KeptWhy::Lost,
            Why::Replaced => KeptWhy::Replaced,
        },
        until_ms: kept.until_ms,
        version: side(kept.version),
        current: kept.current.map(side),
    }));
}

fn side(side: Side) -> KeptSide {
    KeptSide {
        version: side.stamp.to_string(),
        region: side.stamp.region,
        made_ms: side.made_ms,
        size: side.meta.as_ref().map(|meta| meta.size),
        etag: side.meta.map(|meta| meta.etag.0.to_string()),
    }
}

async fn purge(api: &Api, call: &Call<'_>, (): ()) -> Result<(), Error> {
    let (bucket, key) = (bucket(call)?, ObjectKey::parse(call.parameter("key")?));
    let (key, version) = (key.map_err(argument)?, version(call.parameter("version")?)?);
    let target = Target::Object(bucket.clone(), key.clone());
    allowed(api, call, &target, &[Action::DeleteObjectVersion]).await?;
    api.engine.purge(&bucket, key, version).await
}

async fn restore(api: &Api, call: &Call<'_>, asked: Restore) -> Result<Restored, Error> {
    let bucket = BucketName::parse(&asked.bucket).map_err(argument)?;
    let key = ObjectKey::parse(&asked.key).map_err(argument)?;
    let version = asked.version.as_deref().map(version).transpose()?;
    let target = Target::Object(bucket.clone(), key.clone());
    allowed(api, call, &target, &[Action::GetObjectVersion, Action::PutObject]).await?;
    let stored = api.engine.restore(&bucket, key.clone(), version, false).await?;
    Ok(Restored {
        bucket: bucket.to_string(),
        key: key.to_string(),
        size: stored.size,
        etag: stored.etag.0.to_string(),
        version: stored.version.to_string(),
    })
}

async fn keeping(api: &Api, call: &Call<'_>, (): ()) -> Result<KeepingBody, Error> {
    let bucket = bucket(call)?;
    let target = Target::Bucket(bucket.clone());
    allowed(api, call, &target, &[Action::GetLifecycleConfiguration]).await?;
    let Keeping { undo_ms, soft_delete_days } = api.engine.keeping(&bucket).await?;
    Ok(KeepingBody { undo_minutes: undo_ms / 60_000, soft_delete_days })
}

async fn put_keeping(api: &Api, call: &Call<'_>, asked: KeepingBody) -> Result<(), Error> {
    let bucket = bucket(call)?;
    let target = Target::Bucket(bucket.clone());
    allowed(api, call, &target, &[Action::PutLifecycleConfiguration]).await?;
    let undo_ms = asked.undo_minutes.saturating_mul(60_000);
    let keeping = Keeping { undo_ms, soft_delete_days: asked.soft_delete_days };
    api.engine.put_keeping(&bucket, keeping).await
}
