//! Encryption at rest: which keys an object is made with, and that whoever reads it has them.
//!
//! Invariant: bytes that are to be encrypted are so before they reach the cluster layer, so that
//! neither a disk, a cache nor another region has them in the clear; a customer's key is in memory
//! for one request only.

use bytes::Bytes;

use crate::cluster::{Body, BodySink, Unavailable};
use crate::logic::encryption::{BrokenSeal, DataKey, Opener, Sealer};
use crate::logic::parts::plain_etag;
use crate::types::bucket::SettingKind;
use crate::types::encryption::{
    BucketEncryption, Encryption, KeyName, Seal, SecretBytes, Sse, SseAsked,
};
use crate::types::name::BucketName;
use crate::types::object::{ETag, ObjectMeta};

use super::{Engine, Error};

const KEY_NEEDED: &str = "The object was stored using a form of Server Side Encryption. The \
                          correct parameters must be provided to retrieve the object.";
const KEY_NOT_NEEDED: &str = "The encryption parameters are not applicable to this object.";
const KEY_WRONG: &str =
    "The provided encryption parameters did not match the ones used originally.";

/// The encryption of a new object: what its record keeps, and the key in the clear.
pub(super) struct Encrypting {
    pub(super) record: Encryption,
    pub(super) key: DataKey,
}

impl Engine {
    /// The encryption of an object that is made now: as asked, else the bucket's default.
    pub(super) fn encrypting(
        &self,
        bucket: &BucketName,
        asked: &SseAsked,
    ) -> Result<Option<Encrypting>, Error> {
        let sse = match asked {
            SseAsked::Customer(_) => Some(Sse::Customer),
            SseAsked::Kms(name) => Some(Sse::Kms(name.clone())),
            SseAsked::S3 => Some(self.sse_s3()?),
            SseAsked::Default => match self.default_encryption(bucket)? {
                Some(BucketEncryption { kms: Some(name), .. }) => Some(Sse::Kms(name)),
                Some(BucketEncryption { kms: None, .. }) => Some(self.sse_s3()?),
                None => None,
            },
        };
        let key = || DataKey::new(self.env().random());
        sse.map(|sse| self.encrypting_with(sse, asked.customer_key(), key())).transpose()
    }

    /// The same with a data key that is there already: its bytes stay as they are.
    pub(super) fn encrypting_with(
        &self,
        sse: Sse,
        customer_key: Option<&SecretBytes>,
        key: DataKey,
    ) -> Result<Encrypting, Error> {
        let wrapping = match &sse {
            Sse::Customer => {
                customer_key.ok_or_else(|| Error::InvalidRequest(KEY_NEEDED.into()))?
            }
            Sse::Kms(name) | Sse::S3(name) => {
                self.keyring.find(name).ok_or_else(|| self.no_such_key(name))?
            }
        };
        let wrapped = key.wrap(wrapping, &sse, self.env().random());
        Ok(Encrypting { record: Encryption { sse, wrapped }, key })
    }

    fn sse_s3(&self) -> Result<Sse, Error> {
        match self.keyring.first() {
            Some((name, _)) => Ok(Sse::S3(name.clone())),
            None => Err(Error::NoKeyring),
        }
    }

    fn no_such_key(&self, name: &KeyName) -> Error {
        if self.keyring.is_empty() {
            return Error::NoKeyring;
        }
        Error::NoSuchEncryptionKey(name.to_string())
    }

    /// The data key of an object (or upload) that is there, for who has the right to it: a
    /// customer's key must be the one that it was made with, and given only where it was made with
    /// one.
    pub(super) fn data_key(
        &self,
        encryption: Option<&Encryption>,
        customer_key: Option<&SecretBytes>,
    ) -> Result<Option<DataKey>, Error> {
        let refused = |why: &str| Err(Error::InvalidRequest(why.into()));
        let Some(Encryption { sse, wrapped }) = encryption else {
            return if customer_key.is_some() { refused(KEY_NOT_NEEDED) } else { Ok(None) };
        };
        match (sse, customer_key) {
            (Sse::Customer, None) => refused(KEY_NEEDED),
            (Sse::Customer, Some(key)) => match DataKey::unwrap(wrapped, key, sse) {
                Some(key) => Ok(Some(key)),
                None => refused(KEY_WRONG),
            },
            (Sse::Kms(_) | Sse::S3(_), Some(_)) => refused(KEY_NOT_NEEDED),
            (Sse::Kms(name) | Sse::S3(name), None) => {
                let region = self.region();
                let Some(wrapping) = self.keyring.find(name) else {
                    let why = format!("the keyring of {region} has no key `{name}`");
                    return Err(Error::Internal(why));
                };
                let key = DataKey::unwrap(wrapped, wrapping, sse);
                key.map(Some).ok_or_else(|| {
                    let why = format!("the key `{name}` in the keyring of {region} is another one");
                    Error::Internal(why)
                })
            }
        }
    }

    /// A bucket's default encryption.
    pub async fn bucket_encryption(
        &self,
        bucket: &BucketName,
    ) -> Result<Option<BucketEncryption>, Error> {
        self.document(bucket, SettingKind::Encryption).await
    }

    /// Sets it. The key must be one that this region has.
    pub async fn put_bucket_encryption(
        &self,
        bucket: &BucketName,
        default: &BucketEncryption,
    ) -> Result<(), Error> {
        match &default.kms {
            Some(name) if self.keyring.find(name).is_none() => return Err(self.no_such_key(name)),
            Some(_) => {}
            None => {
                self.sse_s3()?;
            }
        }
        self.put_document(bucket, SettingKind::Encryption, default).await
    }

    /// As far as this region knows; nobody is asked.
    fn default_encryption(&self, bucket: &BucketName) -> Result<Option<BucketEncryption>, Error> {
        let Some(known) = self.known(bucket)? else { return Ok(None) };
        Ok(known.encryption()?.map(|default| BucketEncryption::clone(&default)))
    }

    /// A sink that encrypts, where there is a key.
    pub(super) fn sealing(&self, sink: BodySink, key: Option<&DataKey>) -> SealingSink {
        let sealer = key.map(|key| Sealer::new(key, self.env().random()));
        SealingSink { sink, sealer }
    }
}

/// Takes a body in, and encrypts it on the way where it is to be.
pub(super) struct SealingSink {
    sink: BodySink,
    sealer: Option<Sealer>,
}

impl SealingSink {
    pub(super) async fn write(&mut self, bytes: Bytes) -> Result<(), Unavailable> {
        let bytes = match &mut self.sealer {
            Some(sealer) => sealer.encrypt(bytes),
            None => bytes,
        };
        self.sink.write(bytes).await
    }

    pub(super) async fn finish(self) -> Result<Run, Unavailable> {
        let body = self.sink.finish().await?;
        // No bytes, no seal.
        let seal = self.sealer.zip(body.blob.as_ref()).map(|(sealer, blob)| sealer.seal(blob));
        Ok(Run { body, seal })
    }
}

/// One run of bytes that came in and that no record names yet.
pub(super) struct Run {
    pub(super) body: Body,
    pub(super) seal: Option<Seal>,
}

/// What decrypts `range` of an object; `None` where it is stored as it came.
pub(super) fn opener(
    key: Option<&DataKey>,
    meta: &ObjectMeta,
    range: std::ops::Range<u64>,
) -> Result<Option<Opener>, Error> {
    let opened = key.map(|key| Opener::new(key, &meta.parts, range)).transpose();
    opened.map_err(|BrokenSeal| {
        Error::Internal("a run of an encrypted object is not what was written".into())
    })
}

/// The ETag of one body: its MD5, except where S3's is something else: an MD5 would tell who has
/// the disk what the bytes are. Source: S3 API reference, "Object", ETag.
pub(super) fn etag(md5: [u8; 16], encrypting: Option<(&Sse, &DataKey)>) -> ETag {
    plain_etag(shown_md5(md5, encrypting))
}

/// The digest that stands for a body in its ETag.
pub(super) fn shown_md5(md5: [u8; 16], encrypting: Option<(&Sse, &DataKey)>) -> [u8; 16] {
    match encrypting {
        Some((Sse::Customer | Sse::Kms(_), key)) => key.hide_md5(md5),
        Some((Sse::S3(_), _)) | None => md5,
    }
}
