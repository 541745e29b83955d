//! Who may do what, and the access keys.
//!
//! Invariant: what is not allowed is denied. The owner of a bucket without a policy is known from
//! the bucket's configuration alone, so that the usual read costs nothing more.

use std::sync::Arc;

use crate::cluster::Unavailable;
use crate::logic::policy::{Asked, Policy, Verdict};
use crate::types::access::{Circumstances, VERSION_ID};
use crate::types::action::{Action, Target};
use crate::types::bucket::BucketConfig;
use crate::types::caller::Caller;
use crate::types::name::{AccessKeyId, AccountId, ObjectKey, SecretKey};
use crate::types::object::Row;
use crate::types::record::{AccessKeyRecord, KeyScope};
use crate::types::stamp::Stamp;

use super::acl::acl_of;
use super::known::Known;
use super::version::VersionRef;
use super::{Engine, Error};

/// A key that was just made; the only time that its secret is shown.
#[derive(Clone, Debug)]
pub struct NewAccessKey {
    pub id: AccessKeyId,
    pub record: AccessKeyRecord,
}

/// Letters of a secret: base64's without the two that need escaping in URLs and files.
const SECRET_LETTERS: &[u8; 64] =
    b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const ID_LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

impl Engine {
    /// The key, unless it does not exist or is revoked. Refused where [`Options::keys_heard_within`]
    /// asks for news of keys that this region does not have.
    pub async fn access_key(&self, id: &AccessKeyId) -> Result<Option<AccessKeyRecord>, Error> {
        if let Some(most) = self.options.keys_heard_within
            && self.cluster.keys_heard().is_none_or(|heard| heard > most)
        {
            let reason = "this region has lost touch with those who know which access keys were \
                          revoked, and takes none until it is back";
            return Err(Unavailable::new(reason.to_owned()).into());
        }
        Ok(self.cluster.access_key(id).await?.filter(|record| !record.revoked))
    }

    /// Makes a key, of a new account where none is given. Every region that reaches a majority of
    /// the voters finds it when this returns.
    pub async fn create_access_key(
        &self,
        account: Option<AccountId>,
        scope: KeyScope,
    ) -> Result<NewAccessKey, Error> {
        let env = self.env();
        let id = format!("GW{}", letters(&env.random::<18>(), ID_LETTERS));
        let record = AccessKeyRecord {
            stamp: Stamp::ZERO,
            account: account.unwrap_or_else(|| AccountId(hex::encode(env.random::<32>()).into())),
            secret: SecretKey(letters(&env.random::<40>(), SECRET_LETTERS).into()),
            scope,
            revoked: false,
            created_ms: env.now_ms(),
        };
        let id = AccessKeyId(id.into());
        self.adopt_access_key(&id, record.clone()).await?;
        Ok(NewAccessKey { id, record })
    }

    /// Writes a key that was made elsewhere (the first one of a cluster), unless it is there or was
    /// revoked.
    pub async fn adopt_access_key(
        &self,
        id: &AccessKeyId,
        record: AccessKeyRecord,
    ) -> Result<(), Error> {
        let adopt = move |current: Option<&AccessKeyRecord>| match current {
            None => Some(record.clone()),
            Some(_) => None,
        };
        self.cluster.change_access_key(id, Arc::new(adopt)).await?;
        Ok(())
    }

    /// Ends a key for good. Within [`crate::limits::KEYS_HEARD_MAX`] no region that is in touch with
    /// the voters takes it any more.
    pub async fn revoke_access_key(&self, id: &AccessKeyId) -> Result<(), Error> {
        self.change_living_key(id, |record| record.revoked = true).await
    }

    /// Gives a key another scope.
    pub async fn put_key_scope(&self, id: &AccessKeyId, scope: KeyScope) -> Result<(), Error> {
        self.change_living_key(id, move |record| record.scope = scope.clone()).await
    }

    async fn change_living_key(
        &self,
        id: &AccessKeyId,
        change: impl Fn(&mut AccessKeyRecord) + Send + Sync + 'static,
    ) -> Result<(), Error> {
        let change = move |current: Option<&AccessKeyRecord>| {
            let mut record = current.filter(|record| !record.revoked)?.clone();
            change(&mut record);
            Some(record)
        };
        match self.cluster.change_access_key(id, Arc::new(change)).await? {
            Some(_) => Ok(()),
            None => Err(Error::InvalidArgument("no such access key".into())),
        }
    }

    /// Says whether the caller may do this to that. `NoSuchBucket` comes from here, so that no
    /// operation is reached for a bucket that is not there. The order: the key's scope, an explicit
    /// deny of the policy, the bucket's owner, an allow of the policy, a grant; else denied. Gives
    /// the key's row where that had to be looked at, so that it is not read again.
    pub async fn authorize(
        &self,
        caller: &Caller,
        action: Action,
        target: &Target,
        around: &Circumstances,
    ) -> Result<Option<Row>, Error> {
        self.within_scope(caller, action, target, around).await?;
        let anonymous = || denied("anonymous requests are not allowed here; sign the request");
        let Some(bucket) = target.bucket() else {
            return caller.account().map(|_| None).ok_or_else(anonymous);
        };
        if action == Action::CreateBucket {
            return caller.account().map(|_| None).ok_or_else(anonymous);
        }
        let known = self.known_or_asked(bucket).await?;
        self.decide(&known, caller, action, target, around).await
    }

    async fn decide(
        &self,
        known: &Known,
        caller: &Caller,
        action: Action,
        target: &Target,
        around: &Circumstances,
    ) -> Result<Option<Row>, Error> {
        let config = &*known.config;
        let account = caller.account();
        let owner = account == Some(&config.owner);
        // An owner cannot be locked out of the policy itself, but a key with less than all can.
        let root = owner && matches!(caller, Caller::Key { scope: KeyScope::Admin, .. });
        let kept = root && on_policy(action);
        if owner && !on_list(action) && (config.policy.is_none() || kept) {
            return Ok(None);
        }
        if !owner {
            self.paid(known, caller, around).await?;
        }
        let policy = known.policy()?;
        let tagged = policy.as_ref().is_some_and(|policy| policy.asks_for_tags());
        let version = asked_version(around);
        let row = match target.key() {
            Some(key) if tagged || (on_existing(action) && (!owner || on_list(action))) => {
                Some(self.row_with(config, key, version).await?)
            }
            Some(_) | None => None,
        };
        let object = row.as_ref().and_then(|row| version.object(row).ok());
        let missing = target.key().is_some() && on_existing(action) && object.is_none();
        // The list of an object is its own owner's, and of those to whom it says so.
        let foreign = on_list(action) && object.is_some_and(|(_, meta)| meta.owner != config.owner);
        let judged = Judged { config, policy, caller, around };
        let tags = object.map_or(&[][..], |(version, _)| &version.marks.tags.val);
        match judged.verdict(action, target, tags) {
            Verdict::Deny => return Err(denied("the bucket's policy denies this")),
            Verdict::Allow | Verdict::Silent if owner && !foreign => return Ok(row),
            Verdict::Allow | Verdict::Silent if on_policy(action) => {
                return Err(denied("only its owner has to do with a bucket's policy"));
            }
            Verdict::Allow if !missing => return Ok(row),
            Verdict::Allow | Verdict::Silent => {}
        }
        let rules = self.rules_of(known).await?;
        if missing {
            // Whether a key is there is shown to those who may list.
            let list = target.bucket().cloned().map_or(Target::Service, Target::Bucket);
            let around = around.of_prefix(target.key().map_or("", ObjectKey::as_str));
            let judged = Judged { around: &around, ..judged };
            granted(match judged.verdict(Action::ListBucket, &list, &[]) {
                Verdict::Allow => true,
                Verdict::Deny => false,
                Verdict::Silent => rules.grants(Action::ListBucket, account, None),
            })?;
            return Ok(row);
        }
        let acl = object.map(|(version, meta)| acl_of(version, meta));
        granted(owner && rules.enforced() || rules.grants(action, account, acl.as_ref()))?;
        Ok(row)
    }
}

/// The version that the request names: what is granted on one says nothing of another.
pub(super) fn asked_version(around: &Circumstances) -> VersionRef {
    let id = around.values.iter().find(|(name, _)| name == VERSION_ID);
    id.map_or(VersionRef::Current, |(_, id)| id.parse().map_or(VersionRef::Null, VersionRef::Exact))
}

/// One caller before one bucket's policy.
struct Judged<'a> {
    config: &'a BucketConfig,
    policy: Option<Arc<Policy>>,
    caller: &'a Caller,
    around: &'a Circumstances,
}

impl Judged<'_> {
    /// What the policy says; an allow to others counts for nothing where a public policy is shut
    /// off.
    fn verdict(&self, action: Action, target: &Target, tags: &[(String, String)]) -> Verdict {
        let (Some(policy), Some(bucket)) = (&self.policy, target.bucket()) else {
            return Verdict::Silent;
        };
        let user = self.caller.access_key().map(|key| &*key.0);
        let verdict = policy.judge(&Asked {
            account: self.caller.account(),
            user,
            action: action.as_str(),
            bucket: bucket.as_str(),
            key: target.key().map(ObjectKey::as_str),
            around: self.around,
            tags,
        });
        let block = self.config.access_block.unwrap_or_default();
        let shut = verdict == Verdict::Allow && block.restrict_public_buckets && policy.is_public();
        if shut { Verdict::Silent } else { verdict }
    }
}

/// What only a bucket's owner may do, and always may.
fn on_policy(action: Action) -> bool {
    [Action::DeleteBucketPolicy, Action::GetBucketPolicy, Action::PutBucketPolicy].contains(&action)
}

/// What is done with the list of an object.
fn on_list(action: Action) -> bool {
    let lists = [
        Action::GetObjectAcl,
        Action::GetObjectVersionAcl,
        Action::PutObjectAcl,
        Action::PutObjectVersionAcl,
    ];
    lists.contains(&action)
}

fn granted(allowed: bool) -> Result<(), Error> {
    allowed.then_some(()).ok_or_else(|| denied("no policy and no grant allows this"))
}

/// Whether an action on an object is about one that is there.
fn on_existing(action: Action) -> bool {
    let made = [
        Action::AbortMultipartUpload,
        Action::DeleteObject,
        Action::DeleteObjectVersion,
        Action::ListMultipartUploadParts,
        Action::PutObject,
    ];
    !made.contains(&action)
}

pub(super) fn denied(why: &str) -> Error {
    Error::AccessDenied(why.to_owned())
}

/// Random bytes as letters; a power of two of letters keeps them equally likely.
fn letters(random: &[u8], letters: &[u8]) -> String {
    assert!(letters.len().is_power_of_two(), "every letter is equally likely");
    random.iter().map(|byte| char::from(letters[usize::from(*byte) % letters.len()])).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_have_only_their_letters() {
        let all: Vec<u8> = (0..=255).collect();
        let text = letters(&all, SECRET_LETTERS);
        assert_eq!(text.len(), 256);
        assert!(text.bytes().all(|b| SECRET_LETTERS.contains(&b)));
    }
}
