//! What a request wants to do and to what: the words of access decisions.

use super::name::{BucketName, ObjectKey};

/// What a request is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// The account's whole space (`ListBuckets`).
    Service,
    Bucket(BucketName),
    Object(BucketName, ObjectKey),
}

impl Target {
    pub fn bucket(&self) -> Option<&BucketName> {
        match self {
            Self::Service => None,
            Self::Bucket(bucket) | Self::Object(bucket, _) => Some(bucket),
        }
    }

    pub fn key(&self) -> Option<&ObjectKey> {
        match self {
            Self::Service | Self::Bucket(_) => None,
            Self::Object(_, key) => Some(key),
        }
    }
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Service => f.write_str("/"),
            Self::Bucket(bucket) => write!(f, "/{bucket}"),
            Self::Object(bucket, key) => write!(f, "/{bucket}/{key}"),
        }
    }
}

/// One list: the variants and their names in policies.
macro_rules! actions {
    ($($name:ident),* $(,)?) => {
        /// An action of S3's policy vocabulary.
        /// Source: S3 service authorization reference.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Action { $($name),* }

        impl Action {
            pub const ALL: &[Self] = &[$(Self::$name),*];

            /// As policies write it: `s3:GetObject`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => concat!("s3:", stringify!($name))),* }
            }
        }
    };
}

actions! {
    AbortMultipartUpload,
    BypassGovernanceRetention,
    CreateBucket,
    CreateBucketMetadataTableConfiguration,
    CreateSession,
    DeleteBucket,
    DeleteBucketMetadataTableConfiguration,
    DeleteBucketPolicy,
    DeleteBucketWebsite,
    DeleteObject,
    DeleteObjectTagging,
    DeleteObjectVersion,
    DeleteObjectVersionTagging,
    GetAccelerateConfiguration,
    GetAnalyticsConfiguration,
    GetBucketAbac,
    GetBucketAcl,
    GetBucketCORS,
    GetBucketLocation,
    GetBucketLogging,
    GetBucketMetadataTableConfiguration,
    GetBucketNotification,
    GetBucketObjectLockConfiguration,
    GetBucketOwnershipControls,
    GetBucketPolicy,
    GetBucketPolicyStatus,
    GetBucketPublicAccessBlock,
    GetBucketRequestPayment,
    GetBucketTagging,
    GetBucketVersioning,
    GetBucketWebsite,
    GetEncryptionConfiguration,
    GetIntelligentTieringConfiguration,
    GetInventoryConfiguration,
    GetLifecycleConfiguration,
    GetMetricsConfiguration,
    GetObject,
    GetObjectAcl,
    GetObjectAttributes,
    GetObjectLegalHold,
    GetObjectRetention,
    GetObjectTagging,
    GetObjectTorrent,
    GetObjectVersion,
    GetObjectVersionAcl,
    GetObjectVersionAttributes,
    GetObjectVersionTagging,
    GetReplicationConfiguration,
    ListAllMyBuckets,
    ListBucket,
    ListBucketMultipartUploads,
    ListBucketVersions,
    ListMultipartUploadParts,
    PutAccelerateConfiguration,
    PutAnalyticsConfiguration,
    PutBucketAbac,
    PutBucketAcl,
    PutBucketCORS,
    PutBucketLogging,
    PutBucketNotification,
    PutBucketObjectLockConfiguration,
    PutBucketOwnershipControls,
    PutBucketPolicy,
    PutBucketPublicAccessBlock,
    PutBucketRequestPayment,
    PutBucketTagging,
    PutBucketVersioning,
    PutBucketWebsite,
    PutEncryptionConfiguration,
    PutIntelligentTieringConfiguration,
    PutInventoryConfiguration,
    PutLifecycleConfiguration,
    PutMetricsConfiguration,
    PutObject,
    PutObjectAcl,
    PutObjectLegalHold,
    PutObjectRetention,
    PutObjectTagging,
    PutObjectVersionAcl,
    PutObjectVersionTagging,
    PutReplicationConfiguration,
    RestoreObject,
    UpdateBucketMetadataInventoryTableConfiguration,
    UpdateBucketMetadataJournalTableConfiguration,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn actions_have_their_policy_names() {
        assert_eq!(Action::GetObject.as_str(), "s3:GetObject");
        assert!(Action::ALL.windows(2).all(|w| w[0].as_str() < w[1].as_str()));
    }
}
