//! Buckets whose requesters pay: nobody is billed here, but those who would be must say so, as on
//! S3, so that a bucket is not read by mistake.
//! Source: S3 user guide, "Using Requester Pays buckets for storage transfers and usage".
//!
//! Invariant: such a bucket answers its owner, and with an account those who say that they pay.

use crate::types::access::Circumstances;
use crate::types::bucket::SettingKind;
use crate::types::caller::Caller;
use crate::types::name::BucketName;

use super::known::{Known, decode};
use super::{Engine, Error};

impl Engine {
    /// Whether the caller's account is the one that a request to this bucket is charged to.
    pub async fn charges(&self, caller: &Caller, bucket: &BucketName) -> Result<bool, Error> {
        let known = self.known_or_asked(bucket).await?;
        let other = caller.account().is_some_and(|account| *account != known.config.owner);
        Ok(other && self.requesters_pay(&known).await?)
    }

    /// Refuses those who would have to pay and do not say that they do. Not asked for owners.
    pub(super) async fn paid(
        &self,
        known: &Known,
        caller: &Caller,
        around: &Circumstances,
    ) -> Result<(), Error> {
        if around.pays && caller.account().is_some() || !self.requesters_pay(known).await? {
            return Ok(());
        }
        let why = "requesters pay for this bucket; sign the request and say so";
        Err(Error::AccessDenied(why.to_owned()))
    }

    /// Where no setting has arrived here, the voters are asked.
    pub(super) async fn requesters_pay(&self, known: &Known) -> Result<bool, Error> {
        let pays = match &known.record {
            Some(_) => known.requesters_pay()?,
            None => {
                let record = self.bucket_record(&known.config).await?;
                decode(Some(&record), SettingKind::RequestPayment)?
            }
        };
        Ok(pays.is_some_and(|pays| *pays))
    }
}
