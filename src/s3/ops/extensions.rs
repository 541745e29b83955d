//! Extensions of S3 that other global stores have, and what S3 itself has for directory buckets
//! alone, and this program does not (yet): refused.
//!
//! Invariant: a header that promises something (a fresh read, a snapshot, a place for the bytes) is
//! never ignored, because the answer would look as if the promise were kept.

use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When};
use crate::types::action::Action;

const APPEND: &str = "Objects are not appended to: a write makes a whole new object, and a long one \
                      is made of parts.";
const DIRECTORY: &str = "A condition of directory buckets; If-Match asks for an entity tag.";
const BUNDLES: &str = "Archives of several objects are not implemented.";
const FORKS: &str = "Forks of buckets are not implemented.";
const FIELD: &str = "A form names the regions of its object in a field of this name, which its policy \
                     covers.";
const QUERY: &str = "Queries over metadata are not implemented.";
const SNAPSHOTS: &str = "Snapshots of buckets are not implemented.";
const V2: When = When::QueryIs("list-type", "2");

/// One row: a name of our own, how it is recognised, and why it is refused.
macro_rules! refused {
    ($($name:literal $verb:ident $on:ident [$($when:expr),*] $action:ident $why:ident;)*) => {
        pub(super) static OPS: &[Op] = &[$(Op {
            name: $name,
            on: On::$on,
            verb: Verb::$verb,
            when: &[$($when),*],
            action: Action::$action,
            body: refused!(@body $verb),
            auth: Auth::Signed,
            run: |_, _| Box::pin(async { Err(S3Error::with(Code::NotImplemented, $why)) }),
        }),*];

        /// Why each is refused, for the documentation.
        pub(super) static REASONS: &[(&str, &str)] = &[$(($name, $why)),*];
    };
    // A body that nobody wants is not read: the refusal is the answer.
    (@body Put) => { BodyKind::Stream };
    (@body Post) => { BodyKind::Stream };
    (@body $verb:ident) => { BodyKind::None };
}

refused! {
    "CreateBucket with X-Tigris-Enable-Snapshot" Put Bucket
        [When::Header("x-tigris-enable-snapshot")] CreateBucket SNAPSHOTS;
    "CreateBucket with X-Tigris-Fork-Source-Bucket" Put Bucket
        [When::Header("x-tigris-fork-source-bucket")] CreateBucket FORKS;
    "CreateBucket with X-Tigris-Snapshot" Put Bucket
        [When::Header("x-tigris-snapshot")] CreateBucket SNAPSHOTS;
    "DeleteObject with x-amz-if-match-last-modified-time" Delete Object
        [When::Header("x-amz-if-match-last-modified-time")] DeleteObject DIRECTORY;
    "DeleteObject with x-amz-if-match-size" Delete Object
        [When::Header("x-amz-if-match-size")] DeleteObject DIRECTORY;
    "GetObject with X-Tigris-Snapshot-Version" Get Object
        [When::Header("x-tigris-snapshot-version")] GetObject SNAPSHOTS;
    "HeadObject with X-Tigris-Snapshot-Version" Head Object
        [When::Header("x-tigris-snapshot-version")] GetObject SNAPSHOTS;
    "ListBuckets with X-Tigris-Fork" Get Service
        [When::Header("x-tigris-fork")] ListAllMyBuckets FORKS;
    "ListBuckets with X-Tigris-Snapshot" Get Service
        [When::Header("x-tigris-snapshot")] ListAllMyBuckets SNAPSHOTS;
    "ListObjectsV2 with X-Tigris-Query" Get Bucket
        [V2, When::Header("x-tigris-query")] ListBucket QUERY;
    "ListObjectsV2 with X-Tigris-Snapshot-Version" Get Bucket
        [V2, When::Header("x-tigris-snapshot-version")] ListBucket SNAPSHOTS;
    "PostObject with X-Godwit-Regions" Post Bucket
        [When::Header("x-godwit-regions")] PutObject FIELD;
    "PostObject with X-Tigris-Regions" Post Bucket
        [When::Header("x-tigris-regions")] PutObject FIELD;
    "PostObject with a bundle" Post Bucket [When::Query("bundle")] GetObject BUNDLES;
    "PutObject with x-amz-write-offset-bytes" Put Object
        [When::Header("x-amz-write-offset-bytes")] PutObject APPEND;
}
