//! Access logs: whether a bucket takes them, and their delivery as objects.
//! Source: S3 user guide, "Permissions for server access log delivery".
//!
//! Invariant: the service that delivers is judged like a caller, when logging is set and again at
//! each delivery: by the target's policy, or by a grant to the log delivery group.

use std::sync::Arc;

use bytes::Bytes;

use crate::logic::access_log::{Logging, SERVICE};
use crate::logic::policy::{Asked, Verdict};
use crate::logic::precondition::Conditions;
use crate::types::access::Circumstances;
use crate::types::acl::{Acl, Grant, Grantee, Permission};
use crate::types::action::Action;
use crate::types::bucket::BucketConfig;
use crate::types::name::{AccountId, BucketName, ObjectKey};
use crate::types::object::StoredHeaders;

use super::body::WholeBody;
use super::known::parse_policy;
use super::object::{Attributes, PutObject};
use super::{Engine, Error};

/// Why a bucket takes no log of another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogRefusal {
    /// Nothing lets the service write there.
    Denied,
    /// New objects get a retention there, which S3 does not give logs.
    Locked,
    Missing,
    /// A grant lets the service write there, but only for its owner's own buckets.
    OtherOwner,
    /// Requesters pay for the target, which S3 does not have for logs.
    RequestersPay,
}

/// A bucket whose requests are logged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logged {
    pub owner: AccountId,
    pub logging: Arc<Logging>,
}

impl Engine {
    /// Where the log of a bucket goes, as far as this region knows. Nobody is asked.
    pub fn known_logging(&self, bucket: &BucketName) -> Result<Option<Logged>, Error> {
        let Some(known) = self.known(bucket)? else { return Ok(None) };
        let owner = || known.config.owner.clone();
        Ok(known.logging()?.map(|logging| Logged { owner: owner(), logging }))
    }

    /// Whether the target takes the log of `source`: `None` if it does. Keys are judged by the
    /// prefix, and where there is one already by the key too.
    pub async fn log_refusal(
        &self,
        source: &BucketName,
        logging: &Logging,
        key: Option<&str>,
    ) -> Result<Option<LogRefusal>, Error> {
        let source_config = self.bucket(source).await?;
        let known = match self.known_or_asked(&logging.target).await {
            Ok(known) => known,
            Err(Error::NoSuchBucket) => return Ok(Some(LogRefusal::Missing)),
            Err(error) => return Err(error),
        };
        let target = &known.config;
        if target.lock.as_ref().is_some_and(|lock| lock.default.is_some()) {
            return Ok(Some(LogRefusal::Locked));
        }
        if self.requesters_pay(&known).await? {
            return Ok(Some(LogRefusal::RequestersPay));
        }
        let around = self.log_circumstances(source, &source_config);
        let keys = [Some(logging.prefix.as_str()), key];
        let verdicts = keys.into_iter().flatten().map(|key| judged(logging, target, key, &around));
        let verdicts: Vec<Verdict> = verdicts.collect::<Result<_, _>>()?;
        if verdicts.contains(&Verdict::Deny) {
            return Ok(Some(LogRefusal::Denied));
        }
        if verdicts.contains(&Verdict::Allow) {
            return Ok(None);
        }
        let rules = self.rules_of(&known).await?;
        let granted = !rules.enforced() && rules.acl.grants.iter().any(lets_write);
        Ok(match granted {
            false => Some(LogRefusal::Denied),
            true if target.owner != source_config.owner => Some(LogRefusal::OtherOwner),
            true => None,
        })
    }

    /// What policies can ask of a delivery.
    fn log_circumstances(&self, source: &BucketName, config: &BucketConfig) -> Circumstances {
        let values = vec![
            ("aws:sourcearn".into(), format!("arn:aws:s3:::{source}").into()),
            ("aws:sourceaccount".into(), config.owner.to_string().into()),
        ];
        // It crosses no network that is not the cluster's own.
        let now_ms = self.env().now_ms();
        Circumstances { secure: true, now_ms, values, ..Circumstances::default() }
    }

    /// Writes one log object; `AccessDenied` where the target does not take it any more.
    pub async fn deliver_log(
        &self,
        source: &BucketName,
        logging: &Logging,
        key: &str,
        text: Bytes,
    ) -> Result<(), Error> {
        if let Some(refusal) = self.log_refusal(source, logging, Some(key)).await? {
            return Err(Error::AccessDenied(format!("the target takes no logs: {refusal:?}")));
        }
        let rules = self.bucket_rules(&logging.target).await?;
        let mut acl = Acl::private(rules.owner.clone());
        acl.grants.extend(logging.grants.iter().cloned());
        let headers = StoredHeaders {
            content_type: Some("text/plain".to_owned()),
            ..StoredHeaders::default()
        };
        let put = PutObject {
            bucket: logging.target.clone(),
            key: ObjectKey::parse(key).map_err(|why| Error::InvalidArgument(why.to_string()))?,
            owner: rules.owner.clone(),
            attributes: Attributes {
                headers,
                acl: (!rules.enforced() && acl.grants.len() > 1).then_some(acl),
                ..Attributes::default()
            },
            conditions: Conditions::default(),
        };
        self.put_object(put, &mut WholeBody::new(text)).await?;
        Ok(())
    }
}

fn judged(
    logging: &Logging,
    target: &BucketConfig,
    key: &str,
    around: &Circumstances,
) -> Result<Verdict, Error> {
    let Some(policy) = parse_policy(target.policy.as_deref())? else {
        return Ok(Verdict::Silent);
    };
    Ok(policy.judge_service(
        SERVICE,
        &Asked {
            account: None,
            user: None,
            action: Action::PutObject.as_str(),
            bucket: logging.target.as_str(),
            key: Some(key),
            around,
            tags: &[],
        },
    ))
}

fn lets_write(grant: &Grant) -> bool {
    grant.grantee == Grantee::LogDelivery
        && matches!(grant.permission, Permission::FullControl | Permission::Write)
}
