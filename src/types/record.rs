//! Everything that is replicated by log, gossip and digest, under one name.
//!
//! A new replicated record is a variant here, a merge in `logic::merge` and a table in
//! `store::schema`; the log, the digest tree and the wire carry it without knowing it.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::acl::Acl;
use super::bucket::{BucketRecord, NameRecord};
use super::encryption::Encryption;
use super::id::{BucketId, UploadId};
use super::lock::LockAsked;
use super::members::Members;
use super::name::{AccessKeyId, AccountId, BucketName, ObjectKey, SecretKey};
use super::object::{Checksum, ChecksumAlgorithm, ChecksumKind, PartRef, Row, StoredHeaders};
use super::stamp::Stamp;

/// Which record.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum RecordId {
    Row(BucketId, ObjectKey),
    Bucket(BucketId),
    Name(BucketName),
    AccessKey(AccessKeyId),
    Upload(UploadId),
    Part(UploadId, u16),
    /// Of the cluster; there is one.
    Members,
}

/// A record's state; the variant always agrees with its [`RecordId`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Record {
    Row(Row),
    Bucket(Box<BucketRecord>),
    Name(NameRecord),
    AccessKey(AccessKeyRecord),
    Upload(Box<UploadRecord>),
    Part(Box<PartRecord>),
    Members(Box<Members>),
}

impl Record {
    /// Of its last change.
    pub fn stamp(&self) -> Stamp {
        match self {
            Self::Row(row) => row.stamp(),
            Self::Bucket(bucket) => bucket.stamp(),
            Self::Name(name) => name.stamp,
            Self::AccessKey(key) => key.stamp,
            Self::Upload(upload) => upload.stamp,
            Self::Part(part) => part.stamp,
            Self::Members(members) => members.stamp,
        }
    }
}

/// An access key. Merge: the larger stamp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AccessKeyRecord {
    pub stamp: Stamp,
    pub account: AccountId,
    pub secret: SecretKey,
    pub scope: KeyScope,
    /// Revoked keys stay as records, so that no older copy brings them back.
    pub revoked: bool,
    /// Milliseconds since 1970.
    pub created_ms: u64,
}

/// What an access key may touch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum KeyScope {
    /// Everything of its account, and the admin API.
    Admin,
    /// Objects of these buckets, read and write.
    Buckets(Vec<BucketName>),
    /// What its roles or its policy allow and its policy does not deny.
    Granted(Arc<Grants>),
}

/// What an access key was given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    pub roles: Vec<(BucketName, BucketRole)>,
    /// The text of a policy without principals, in the form that IAM attaches to users.
    pub policy: Option<String>,
}

/// What an access key is in a bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BucketRole {
    /// Everything in it, and its settings.
    Admin,
    /// Reads and writes objects.
    Editor,
    ReadOnly,
}

impl BucketRole {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "admin" => Self::Admin,
            "editor" => Self::Editor,
            "read-only" => Self::ReadOnly,
            _ => return None,
        })
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Editor => "editor",
            Self::ReadOnly => "read-only",
        }
    }
}

/// A multipart upload. Merge: the later state (`Open` < the others), then the larger stamp.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UploadRecord {
    /// Stamp of the last change of state.
    pub stamp: Stamp,
    pub bucket: BucketId,
    pub key: ObjectKey,
    pub owner: AccountId,
    pub headers: StoredHeaders,
    pub user_meta: Vec<(String, String)>,
    pub tags: Vec<(String, String)>,
    pub acl: Option<Acl>,
    pub lock: LockAsked,
    pub checksum: Option<(ChecksumAlgorithm, ChecksumKind)>,
    /// Of every part, and so of the object.
    pub encryption: Option<Encryption>,
    /// Milliseconds since 1970.
    pub started_ms: u64,
    pub state: UploadState,
}

/// How far an upload is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum UploadState {
    Open,
    Aborted,
    /// Complete is idempotent: the version that it made.
    Completed(Stamp),
}

/// One uploaded part. Merge: the larger stamp (a part sent again replaces the former).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PartRecord {
    pub stamp: Stamp,
    /// MD5 of the bytes, the part's ETag.
    pub md5: [u8; 16],
    pub part: PartRef,
    /// Checksum that the client sent for it.
    pub checksum: Option<Checksum>,
    /// Milliseconds since 1970.
    pub modified_ms: u64,
    /// Set when the upload ended: the bytes are no longer named by it.
    pub ended: bool,
}
