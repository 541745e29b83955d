//! Buckets whose requesters pay: nobody is billed here, but those who would be must say so, as on
//! S3, so that a bucket is not read by mistake.
//! Source: S3 user guide, "Using Requester Pays buckets for storage transfers and usage".
//!
//! Invariant: such a bucket answers its owner, and with an account those who say that they pay.

use crate::types::access::Circumstances;
use crate::types::bucket::{BucketConfig, SettingKind};
use crate::types::caller::Caller;
use crate::types::name::BucketName;

use super::{Engine, Error};

impl Engine {
    /// Whether the caller's account is the one that a request to this bucket is charged to.
    pub async fn charges(&self, caller: &Caller, bucket: &BucketName) -> Result<bool, Error> {
        let config = self.bucket(bucket).await?;
        let other = caller.account().is_some_and(|account| *account != config.owner);
        Ok(other && self.requesters_pay(&config).await?)
    }

    /// Refuses those who would have to pay and do not say that they do. Not asked for owners.
    pub(super) async fn paid(
        &self,
        config: &BucketConfig,
        caller: &Caller,
        around: &Circumstances,
    ) -> Result<(), Error> {
        if around.pays && caller.account().is_some() || !self.requesters_pay(config).await? {
            return Ok(());
        }
        let why = "requesters pay for this bucket; sign the request and say so";
        Err(Error::AccessDenied(why.to_owned()))
    }

    pub(super) async fn requesters_pay(&self, config: &BucketConfig) -> Result<bool, Error> {
        let record = self.bucket_record(config).await?;
        let Some(document) = record.setting(SettingKind::RequestPayment) else { return Ok(false) };
        postcard::from_bytes(document).map_err(|why| Error::Internal(format!("payment: {why}")))
    }
}
