//! Where things shall be: a primary, the regions of a bucket; and cached copies that go.
//!
//! S3 has no word for it: whoever may say how often a bucket is kept may say where.

use crate::engine::{Error, Placed};
use crate::types::action::{Action, Target};
use crate::types::bucket::Location;
use crate::types::name::{BucketName, ObjectKey};

use super::api::Api;
use super::model::{
    BucketLocation, Held, PlacePrimary, PlacedPrimary, Purge, Purged, PurgedAt, PutLocation,
};
use super::route::{Call, Route, argument, required, route};

pub(super) const ROUTES: &[Route] = &[
    route!(
        POST "place", Key, place, PlacePrimary => PlacedPrimary, [],
        "Moves an object's primary to another region. It follows its readers again after a while."
    ),
    route!(
        GET "location", Key, location, () => BucketLocation, [required("bucket", "Which one.")],
        "The regions of a bucket, and where its versions lie."
    ),
    route!(
        PUT "location", Key, put_location, PutLocation => BucketLocation,
        [required("bucket", "Which one.")],
        "Changes the regions of a bucket: copies follow by themselves, and regions that are none of \
         its own any more drop theirs when enough others have them."
    ),
    route!(
        POST "purge", Key, purge, Purge => Purged, [],
        "Drops cached copies, in one region or in all. What regions hold stays."
    ),
];

async fn may_place(api: &Api, call: &Call<'_>, bucket: &BucketName) -> Result<(), Error> {
    let target = Target::Bucket(bucket.clone());
    let action = Action::PutReplicationConfiguration;
    api.engine.authorize(call.caller, action, &target, call.around).await?;
    Ok(())
}

async fn place(api: &Api, call: &Call<'_>, asked: PlacePrimary) -> Result<PlacedPrimary, Error> {
    let bucket = BucketName::parse(&asked.bucket).map_err(argument)?;
    let key = ObjectKey::parse(&asked.key).map_err(argument)?;
    may_place(api, call, &bucket).await?;
    let placed = api.engine.place_primary(&bucket, &key, asked.region).await?;
    Ok(PlacedPrimary { moving: placed == Placed::Begun })
}

async fn location(api: &Api, call: &Call<'_>, (): ()) -> Result<BucketLocation, Error> {
    let bucket = BucketName::parse(call.parameter("bucket")?).map_err(argument)?;
    let target = Target::Bucket(bucket.clone());
    api.engine.authorize(call.caller, Action::GetBucketLocation, &target, call.around).await?;
    shown(api, bucket).await
}

async fn shown(api: &Api, bucket: BucketName) -> Result<BucketLocation, Error> {
    let config = api.engine.bucket_config(&bucket).await?;
    let picture = api.engine.picture(&bucket).await?;
    let held = picture.held.into_iter();
    Ok(BucketLocation {
        bucket: bucket.to_string(),
        regions: match &config.location {
            Location::Everywhere => Vec::new(),
            Location::Only(regions) => regions.clone(),
        },
        versions: picture.versions,
        riding: picture.riding,
        primaries: picture.primaries,
        held: held.map(|(at, (versions, bytes))| (at, Held { versions, bytes })).collect(),
        outside: picture.outside,
        cut: picture.cut,
    })
}

async fn put_location(
    api: &Api,
    call: &Call<'_>,
    asked: PutLocation,
) -> Result<BucketLocation, Error> {
    let bucket = BucketName::parse(call.parameter("bucket")?).map_err(argument)?;
    may_place(api, call, &bucket).await?;
    api.engine.relocate(&bucket, &asked.regions, asked.leave_small).await?;
    shown(api, bucket).await
}

async fn purge(api: &Api, call: &Call<'_>, asked: Purge) -> Result<Purged, Error> {
    let bucket = BucketName::parse(&asked.bucket).map_err(argument)?;
    may_place(api, call, &bucket).await?;
    let dropped = api.engine.drop_cached(&bucket, &asked.prefix, asked.region).await?;
    let regions = dropped.into_iter().map(|(region, outcome)| match outcome {
        Ok(gone) => PurgedAt { region, copies: gone.copies, bytes: gone.bytes, error: None },
        Err(why) => PurgedAt { region, copies: 0, bytes: 0, error: Some(why.reason) },
    });
    Ok(Purged { regions: regions.collect() })
}
