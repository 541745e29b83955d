//! What an access key may touch: roles by bucket, and a policy that is attached to the key.
//!
//! Invariant: a key never allows what its account may not; its scope is a bound that is looked at
//! first. A deny of the attached policy wins over every role.

use std::sync::Arc;

use crate::limits;
use crate::logic::policy::{Asked, Policy, Verdict};
use crate::logic::roles;
use crate::types::access::Circumstances;
use crate::types::action::{Action, Target};
use crate::types::caller::Caller;
use crate::types::name::{AccessKeyId, BucketName, ObjectKey};
use crate::types::record::{BucketRole, Grants, KeyScope};

use super::access::{asked_version, denied};
use super::{Engine, Error};

/// Policies of keys that were read, so that a request does not read them again.
#[derive(Clone)]
pub(super) struct Policies(moka::sync::Cache<AccessKeyId, Arc<Parsed>>);

struct Parsed {
    text: String,
    policy: Arc<Policy>,
}

impl Default for Policies {
    fn default() -> Self {
        Self(moka::sync::Cache::new(limits::POLICIES_CACHED_MAX))
    }
}

impl Policies {
    /// The policy of this text, read at most once while its key keeps it.
    pub(super) fn get(&self, of: &AccessKeyId, text: &str) -> Result<Arc<Policy>, Error> {
        if let Some(known) = self.0.get(of).filter(|known| known.text == text) {
            return Ok(known.policy.clone());
        }
        let policy = Policy::parse_attached(text);
        let policy = policy.map_err(|why| Error::Internal(format!("a policy: {why}")))?;
        let policy = Arc::new(policy);
        self.0
            .insert(of.clone(), Arc::new(Parsed { text: text.to_owned(), policy: policy.clone() }));
        Ok(policy)
    }
}

impl Engine {
    /// Refuses what the caller's key may not touch, whatever its account may.
    pub(super) async fn within_scope(
        &self,
        caller: &Caller,
        action: Action,
        target: &Target,
        around: &Circumstances,
    ) -> Result<(), Error> {
        let Caller::Key { access_key, scope, .. } = caller else { return Ok(()) };
        let covered = match scope {
            KeyScope::Admin => true,
            KeyScope::Buckets(buckets) => target.bucket().is_none_or(|bucket| {
                buckets.contains(bucket) && roles::covers(BucketRole::Editor, action)
            }),
            KeyScope::Granted(grants) => {
                let policy = grants.policy.as_deref();
                let policy = policy.map(|text| self.policies.get(access_key, text)).transpose()?;
                let verdict = match &policy {
                    Some(policy) => self.attached(caller, policy, action, target, around).await?,
                    None => Verdict::Silent,
                };
                match verdict {
                    Verdict::Deny => return Err(denied("the access key's policy denies this")),
                    Verdict::Allow => true,
                    Verdict::Silent => by_role(grants, action, target.bucket()),
                }
            }
        };
        covered.then_some(()).ok_or_else(|| denied("the access key's scope does not cover this"))
    }

    /// What the policy that is attached to the caller's key says.
    async fn attached(
        &self,
        caller: &Caller,
        policy: &Policy,
        action: Action,
        target: &Target,
        around: &Circumstances,
    ) -> Result<Verdict, Error> {
        let tags = match target {
            Target::Object(bucket, key) if policy.asks_for_tags() => {
                let config = self.bucket(bucket).await?;
                let row = self.row(&config, key).await?;
                let object = asked_version(around).object(&row).ok();
                object.map(|(version, _)| version.marks.tags.val.clone()).unwrap_or_default()
            }
            Target::Service | Target::Bucket(_) | Target::Object(..) => Vec::new(),
        };
        Ok(policy.judge(&Asked {
            account: caller.account(),
            user: caller.access_key().map(|key| &*key.0),
            action: action.as_str(),
            bucket: target.bucket().map_or("", BucketName::as_str),
            key: target.key().map(ObjectKey::as_str),
            around,
            tags: &tags,
        }))
    }
}

/// What the roles of a key say. A key with any sees which buckets its account has.
fn by_role(grants: &Grants, action: Action, bucket: Option<&BucketName>) -> bool {
    match bucket {
        None => !grants.roles.is_empty(),
        Some(bucket) => {
            let mut roles = grants.roles.iter().filter(|(name, _)| name == bucket);
            roles.any(|(_, role)| roles::covers(*role, action))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_policy_is_read_once_until_its_text_changes() {
        let policies = Policies::default();
        let text = |action: &str| {
            format!(
                "{{\"Statement\": {{\"Effect\": \"Allow\", \"Action\": \"s3:{action}\", \
                 \"Resource\": \"*\"}}}}"
            )
        };
        let of = AccessKeyId::parse("GWKEY").unwrap();
        let first = policies.get(&of, &text("GetObject")).unwrap();
        assert!(Arc::ptr_eq(&first, &policies.get(&of, &text("GetObject")).unwrap()));
        assert_ne!(first, policies.get(&of, &text("PutObject")).unwrap());
    }
}
