//! What the roles of access keys may do in a bucket.
//!
//! Invariant: each role may all that the one before it may: read-only, editor, admin.

use crate::types::action::Action;
use crate::types::record::BucketRole;

/// Whether a role has an action on its bucket or on what is in it.
pub fn covers(role: BucketRole, action: Action) -> bool {
    match role {
        BucketRole::Admin => true,
        BucketRole::Editor => on_objects(action),
        BucketRole::ReadOnly => {
            let name = action.as_str();
            on_objects(action) && (name.starts_with("s3:Get") || name.starts_with("s3:List"))
        }
    }
}

/// What reads and writes objects, and what clients ask of a bucket on the way.
fn on_objects(action: Action) -> bool {
    let settings = ["s3:PutBucket", "s3:DeleteBucket", "s3:PutLifecycle", "s3:PutReplication"];
    let others = [
        Action::BypassGovernanceRetention,
        Action::CreateBucket,
        Action::PutAccelerateConfiguration,
        Action::PutEncryptionConfiguration,
    ];
    !others.contains(&action) && !settings.iter().any(|s| action.as_str().starts_with(s))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_editor_changes_objects_and_no_settings() {
        let allowed = [
            Action::GetObject,
            Action::PutObject,
            Action::DeleteObject,
            Action::ListBucket,
            Action::GetBucketLocation,
            Action::AbortMultipartUpload,
        ];
        let denied = [
            Action::CreateBucket,
            Action::DeleteBucket,
            Action::DeleteBucketPolicy,
            Action::PutBucketAcl,
            Action::PutLifecycleConfiguration,
        ];
        for action in allowed {
            assert!(covers(BucketRole::Editor, action), "{action:?}");
        }
        for action in denied {
            assert!(!covers(BucketRole::Editor, action), "{action:?}");
            assert!(covers(BucketRole::Admin, action), "{action:?}");
        }
    }

    #[test]
    fn a_reader_changes_nothing() {
        for action in Action::ALL {
            let name = action.as_str();
            if covers(BucketRole::ReadOnly, *action) {
                assert!(covers(BucketRole::Editor, *action), "{name}");
            }
            let changes = ["Put", "Delete", "Create", "Abort", "Bypass", "Restore", "Update"];
            if changes.iter().any(|verb| name["s3:".len()..].starts_with(verb)) {
                assert!(!covers(BucketRole::ReadOnly, *action), "{name}");
            }
        }
        for action in [Action::GetObject, Action::ListBucket, Action::GetObjectVersion] {
            assert!(covers(BucketRole::ReadOnly, action), "{action:?}");
        }
    }
}
