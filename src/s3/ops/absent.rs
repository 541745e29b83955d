//! Every other operation of S3, refused on purpose and with the reason.
//!
//! Invariant: an operation of S3 is either a row elsewhere or a row here, so that a request for it
//! is never taken for another one. Operations of other hosts (directory buckets, object lambda) are
//! not on this endpoint at all.

use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, When};
use crate::types::action::Action;

const ACCESS: &str = "Access by policies and by attributes is not implemented.";
const DIRECTORY: &str = "An operation of directory buckets, which are another kind of bucket.";
const ENCRYPTION: &str = "Copy the object to itself with the new encryption.";
const METADATA: &str = "Metadata tables are not implemented.";
pub(super) const REPLICATION: &str =
    "Replication is automatic: a bucket's copies and regions are properties of the bucket.";
const REPORTS: &str = "Analytics, inventory and request metrics are not implemented; the node's \
                       own metrics are on its operations port.";
const SELECT: &str = "Queries inside objects are not implemented.";
const TIERS: &str = "There is one storage tier, so that nothing is archived or restored.";

/// One row: an operation, how it is recognised, and why it is refused.
macro_rules! absent {
    ($($name:ident $verb:ident $on:ident [$($query:literal),*] $action:ident $why:ident;)*) => {
        pub(super) static OPS: &[Op] = &[$(Op {
            name: stringify!($name),
            on: On::$on,
            verb: Verb::$verb,
            when: &[$(When::Query($query)),*],
            action: Action::$action,
            body: absent!(@body $verb),
            auth: Auth::Signed,
            run: |_, _| Box::pin(async { Err(S3Error::with(Code::NotImplemented, $why)) }),
        }),*];

        /// Why each is refused, for the documentation.
        pub(super) static REASONS: &[(&str, &str)] = &[$((stringify!($name), $why)),*];
    };
    // A body that nobody wants is not read: the refusal is the answer.
    (@body Put) => { BodyKind::Stream };
    (@body Post) => { BodyKind::Stream };
    (@body Get) => { BodyKind::None };
    (@body Delete) => { BodyKind::None };
}

absent! {
    CreateBucketMetadataConfiguration Post Bucket ["metadataConfiguration"]
        CreateBucketMetadataTableConfiguration METADATA;
    CreateBucketMetadataTableConfiguration Post Bucket ["metadataTable"]
        CreateBucketMetadataTableConfiguration METADATA;
    CreateSession Get Bucket ["session"] CreateSession DIRECTORY;
    DeleteBucketAnalyticsConfiguration Delete Bucket ["analytics"]
        PutAnalyticsConfiguration REPORTS;
    DeleteBucketIntelligentTieringConfiguration Delete Bucket ["intelligent-tiering"]
        PutIntelligentTieringConfiguration TIERS;
    DeleteBucketInventoryConfiguration Delete Bucket ["inventory"]
        PutInventoryConfiguration REPORTS;
    DeleteBucketMetadataConfiguration Delete Bucket ["metadataConfiguration"]
        DeleteBucketMetadataTableConfiguration METADATA;
    DeleteBucketMetadataTableConfiguration Delete Bucket ["metadataTable"]
        DeleteBucketMetadataTableConfiguration METADATA;
    DeleteBucketMetricsConfiguration Delete Bucket ["metrics"] PutMetricsConfiguration REPORTS;
    GetBucketAbac Get Bucket ["abac"] GetBucketAbac ACCESS;
    GetBucketAnalyticsConfiguration Get Bucket ["analytics", "id"]
        GetAnalyticsConfiguration REPORTS;
    GetBucketIntelligentTieringConfiguration Get Bucket ["intelligent-tiering", "id"]
        GetIntelligentTieringConfiguration TIERS;
    GetBucketInventoryConfiguration Get Bucket ["inventory", "id"]
        GetInventoryConfiguration REPORTS;
    GetBucketMetadataConfiguration Get Bucket ["metadataConfiguration"]
        GetBucketMetadataTableConfiguration METADATA;
    GetBucketMetadataTableConfiguration Get Bucket ["metadataTable"]
        GetBucketMetadataTableConfiguration METADATA;
    GetBucketMetricsConfiguration Get Bucket ["metrics", "id"] GetMetricsConfiguration REPORTS;
    ListBucketAnalyticsConfigurations Get Bucket ["analytics"] GetAnalyticsConfiguration REPORTS;
    ListBucketIntelligentTieringConfigurations Get Bucket ["intelligent-tiering"]
        GetIntelligentTieringConfiguration TIERS;
    ListBucketInventoryConfigurations Get Bucket ["inventory"] GetInventoryConfiguration REPORTS;
    ListBucketMetricsConfigurations Get Bucket ["metrics"] GetMetricsConfiguration REPORTS;
    PutBucketAbac Put Bucket ["abac"] PutBucketAbac ACCESS;
    PutBucketAnalyticsConfiguration Put Bucket ["analytics"] PutAnalyticsConfiguration REPORTS;
    PutBucketIntelligentTieringConfiguration Put Bucket ["intelligent-tiering"]
        PutIntelligentTieringConfiguration TIERS;
    PutBucketInventoryConfiguration Put Bucket ["inventory"] PutInventoryConfiguration REPORTS;
    PutBucketMetricsConfiguration Put Bucket ["metrics"] PutMetricsConfiguration REPORTS;
    PutBucketReplication Put Bucket ["replication"] PutReplicationConfiguration REPLICATION;
    RestoreObject Post Object ["restore"] RestoreObject TIERS;
    SelectObjectContent Post Object ["select"] GetObject SELECT;
    UpdateBucketMetadataInventoryTableConfiguration Put Bucket ["metadataInventoryTable"]
        UpdateBucketMetadataInventoryTableConfiguration METADATA;
    UpdateBucketMetadataJournalTableConfiguration Put Bucket ["metadataJournalTable"]
        UpdateBucketMetadataJournalTableConfiguration METADATA;
    UpdateObjectEncryption Put Object ["encryption"] PutObject ENCRYPTION;
}
