//! Renames: another key for the same object, in one change.
//!
//! Invariant: no bytes move, and no reader here sees both keys or neither, except where each key
//! has its place in the one order of all regions: there the old one goes just after the new one
//! came. Only in buckets that never had versions: there a name can be given up.

use std::sync::Arc;

use crate::cluster::{View, Write};
use crate::logic::precondition::{Conditions, Refusal};
use crate::types::access::Circumstances;
use crate::types::action::{Action, Target};
use crate::types::bucket::Versioning;
use crate::types::caller::Caller;
use crate::types::event::Cause;
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::{Marks, ObjectMeta, Row};
use crate::types::record::Record;
use crate::types::region::RegionId;
use crate::types::stamp::Stamp;

use super::{Engine, Error, Place, Stored, above, current, judge};

/// Gives an object another key in its bucket.
#[derive(Clone, Debug)]
pub struct RenameObject {
    pub bucket: BucketName,
    pub source: ObjectKey,
    pub target: ObjectKey,
    /// On what has the source's key now.
    pub source_conditions: Conditions,
    /// On what has the target's key now.
    pub conditions: Conditions,
    /// Of the request that renames.
    pub around: Circumstances,
}

impl Engine {
    pub async fn rename_object(
        &self,
        caller: &Caller,
        rename: RenameObject,
    ) -> Result<Stored, Error> {
        let RenameObject { bucket, source, target, .. } = &rename;
        if source == target {
            return Err(Error::InvalidRequest("an object cannot be renamed to itself".into()));
        }
        let object = Target::Object(bucket.clone(), source.clone());
        for action in [Action::GetObject, Action::DeleteObject] {
            self.authorize(caller, action, &object, &rename.around).await?;
        }
        let place = self.place(bucket).await?;
        if place.config.versioning != Versioning::Off {
            let why = "objects of a bucket with versions are not renamed; copy and delete them";
            return Err(Error::InvalidRequest(why.into()));
        }
        let keys = [source.clone(), target.clone()];
        let is_conditional = !rename.conditions.is_empty();
        let config = place.config.clone();
        // A condition on the target is decided by the target's register.
        let subject = match is_conditional || self.is_linearizable(&config) {
            true => place.row_id(target),
            false => self.newest(&place, &keys).await?,
        };
        // Each key has its own register: the source is learnt first, and goes afterwards.
        let in_order = match self.is_linearizable(&config) {
            true => Some((place.clone(), made_of(&self.row(&config, source).await?))),
            false => None,
        };
        let learnt = in_order.as_ref().map(|(_, stamp)| *stamp);
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            let RenameObject { source, target, source_conditions, conditions, .. } = &rename;
            let (from, to) = (place.row(view, source)?, place.row(view, target)?);
            let made = taken(&from, source, source_conditions)?;
            judge(conditions, &to)?;
            above(stamp, &from)?;
            above(stamp, &to)?;
            let made = (place.row_id(target), Record::Row(place.put(&to, stamp, made)));
            if let Some(learnt) = learnt {
                if made_of(&from) != learnt {
                    return Err(Error::Conflict("the source is changed at the same time".into()));
                }
                return Ok(vec![made]);
            }
            Ok(vec![made, (place.row_id(source), Record::Row(place.delete(&from, stamp)))])
        });
        let renaming = self.caused_by(Cause::Rename);
        let write = Write { subject, bodies: Vec::new(), decide };
        let written = renaming.write_if(&config, write, is_conditional).await?;
        if let Some((place, learnt)) = in_order {
            renaming.leave_key(place, keys[0].clone(), learnt).await?;
        }
        let row = self.row(&config, &keys[1]).await?;
        let made = row.versions.iter().find(|v| v.stamp == written.stamp).and_then(|v| v.object());
        let meta = made.ok_or_else(|| Error::Conflict("the target was changed since".into()))?;
        Ok(Stored {
            version: written.stamp,
            version_id: None,
            etag: meta.etag.clone(),
            size: meta.size,
            modified_ms: meta.modified_ms,
            checksum: meta.checksum.clone(),
            sse: meta.encryption.as_ref().map(|e| e.sse.clone()),
        })
    }
}

impl Engine {
    /// Deletes what another key has taken over, unless the key has something else by now.
    async fn leave_key(&self, place: Place, key: ObjectKey, taken: Stamp) -> Result<(), Error> {
        let (config, subject) = (place.config.clone(), place.row_id(&key));
        let decide = Box::new(move |view: &View<'_>, stamp: Stamp| {
            let row = place.row(view, &key)?;
            if made_of(&row) != taken {
                return Ok(Vec::new());
            }
            above(stamp, &row)?;
            Ok(vec![(place.row_id(&key), Record::Row(place.delete(&row, stamp)))])
        });
        self.write(&config, Write { subject, bodies: Vec::new(), decide }).await?;
        Ok(())
    }
}

/// The stamp of what readers see; [`Stamp::ZERO`] where they see nothing.
fn made_of(row: &Row) -> Stamp {
    row.object().map_or(Stamp::ZERO, |(version, _)| version.stamp)
}

/// What the new key gets of the source: all but its placement; its bytes are where they are.
fn taken(
    row: &Row,
    key: &ObjectKey,
    conditions: &Conditions,
) -> Result<(ObjectMeta, Marks), Error> {
    let none = || Error::NoSuchSource(key.clone());
    let (version, meta) = row.object().ok_or_else(none)?;
    conditions.copy_source(current(meta)).map_err(|refusal| match refusal {
        Refusal::Failed(header) => {
            Error::PreconditionFailed(format!("x-amz-rename-source-{}", header.to_lowercase()))
        }
        Refusal::NoSuchKey => none(),
    })?;
    let held: Vec<RegionId> = version.placement.held().collect();
    let mut meta = Arc::unwrap_or_clone(meta.clone());
    if !held.is_empty() {
        meta.parts.iter_mut().for_each(|part| part.held_by.clone_from(&held));
    }
    Ok((meta, version.marks.clone().as_made()))
}
