//! What is told to others of a change: the events of bucket notifications.
//! Source: S3 user guide, "Supported event types for SQS, SNS, and Lambda" and "Event message
//! structure"; Tigris, "Object notifications".

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::name::{AccountId, BucketName, ObjectKey};
use super::object::ETag;
use super::stamp::Stamp;

/// One list: the kinds, S3's name without `s3:`, the version of the message that has it, and
/// Tigris' name where there is one.
macro_rules! kinds {
    ($($kind:ident $name:literal $version:literal $tigris:expr;)*) => {
        /// What happened to an object.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum EventKind { $($kind),* }

        impl EventKind {
            pub const ALL: &[Self] = &[$(Self::$kind),*];

            /// As the message names it: `ObjectCreated:Put`.
            pub fn name(self) -> &'static str {
                match self { $(Self::$kind => $name),* }
            }

            /// `eventVersion` of the message.
            pub fn version(self) -> &'static str {
                match self { $(Self::$kind => $version),* }
            }

            /// As Tigris names it, where Tigris knows such an event.
            pub fn tigris(self) -> Option<&'static str> {
                match self { $(Self::$kind => $tigris),* }
            }
        }
    };
}

kinds! {
    AclPut "ObjectAcl:Put" "2.3" None;
    Completed "ObjectCreated:CompleteMultipartUpload" "2.1" Some("OBJECT_CREATED_MULTIPART");
    Copied "ObjectCreated:Copy" "2.1" Some("OBJECT_CREATED_COPY");
    Deleted "ObjectRemoved:Delete" "2.1" Some("OBJECT_DELETED");
    Expired "LifecycleExpiration:Delete" "2.3" Some("OBJECT_DELETED");
    ExpiredByMarker "LifecycleExpiration:DeleteMarkerCreated" "2.3" Some("OBJECT_DELETED");
    MarkerMade "ObjectRemoved:DeleteMarkerCreated" "2.1" Some("OBJECT_DELETED");
    Posted "ObjectCreated:Post" "2.1" Some("OBJECT_CREATED_PUT");
    Put "ObjectCreated:Put" "2.1" Some("OBJECT_CREATED_PUT");
    // S3 has no event for it in such buckets; there it is a copy and a deletion.
    Renamed "ObjectCreated:Copy" "2.1" Some("OBJECT_RENAME");
    TagsDeleted "ObjectTagging:Delete" "2.3" None;
    TagsPut "ObjectTagging:Put" "2.3" None;
}

/// Whether a destination of events can be called so.
pub fn is_destination(name: &str) -> bool {
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    (1..=64).contains(&name.len()) && name.bytes().all(allowed)
}

/// What a change came from, where its records do not show it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Cause {
    Copy,
    /// A lifecycle rule.
    Expiration,
    /// An HTML form.
    Form,
    #[default]
    Plain,
    Rename,
}

/// Who asked for a change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct By {
    /// The account, or `Anonymous`.
    pub principal: String,
    /// The client's address.
    pub address: Option<String>,
    /// The id that the answer carried.
    pub request: String,
}

/// Why a change is made, for those who are told of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Because {
    pub cause: Cause,
    /// `None` where the node itself makes it.
    pub by: Option<Arc<By>>,
}

/// One event as it waits for its delivery.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    pub kind: EventKind,
    /// Of the change: its time, and the order of events of one key.
    pub stamp: Stamp,
    pub bucket: BucketName,
    /// Who owns the bucket.
    pub owner: AccountId,
    pub key: ObjectKey,
    /// The id of the rule that asked for it.
    pub rule: String,
    /// Of an object that was made.
    pub size: Option<u64>,
    pub etag: Option<ETag>,
    /// Where the bucket has or had versions.
    pub version_id: Option<String>,
    pub by: Option<Arc<By>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_events_are_s3s_and_each_has_its_type_and_its_verb() {
        for kind in EventKind::ALL {
            let (family, verb) = kind.name().split_once(':').unwrap();
            assert!(!family.is_empty() && !verb.is_empty(), "{kind:?}");
            assert!(["2.1", "2.3"].contains(&kind.version()), "{kind:?}");
        }
        assert_eq!(EventKind::Put.name(), "ObjectCreated:Put");
    }
}
