//! Which requests of S3 the audit log hears of, and what it is told.

use std::net::IpAddr;

use crate::env::Env;
use crate::obs::audit::{Audit, Door, Entry};
use crate::types::action::Action;
use crate::types::caller::Caller;
use crate::types::region::RegionId;

use super::op::{Op, Verb};
use super::respond::Trail;

/// What happens to objects all day: told only where it was asked for.
const OF_OBJECTS: [Action; 10] = [
    Action::AbortMultipartUpload,
    Action::DeleteObject,
    Action::DeleteObjectTagging,
    Action::DeleteObjectVersion,
    Action::DeleteObjectVersionTagging,
    Action::GetObject,
    Action::PutObject,
    Action::PutObjectTagging,
    Action::PutObjectVersionTagging,
    Action::RestoreObject,
];

/// Whether a request of this row is told.
pub(super) fn hears(audit: &Audit, op: &Op) -> bool {
    let changes = !matches!(op.verb, Verb::Get | Verb::Head | Verb::Options);
    audit.is_on() && changes && (audit.hears_objects() || !OF_OBJECTS.contains(&op.action))
}

/// Tells a request that is over.
pub(super) fn tell(audit: &Audit, env: &Env, region: RegionId, trail: &Trail, status: u16) {
    let target = trail.target.as_ref();
    let (caller, account) = match &trail.caller {
        Caller::Anonymous => ("anonymous", None),
        Caller::Key { access_key, account, .. } => (&*access_key.0, Some(&*account.0)),
    };
    audit.tell(&Entry {
        at_ms: env.now_ms(),
        region,
        door: Door::S3,
        id: &trail.id,
        op: trail.op,
        caller,
        account,
        source: trail.source.map(|ip: IpAddr| ip.to_canonical()),
        bucket: target.and_then(|target| target.bucket()).map(|bucket| bucket.as_str()),
        key: target.and_then(|target| target.key()).map(|key| key.as_str()),
        access_key: None,
        status,
        error: trail.error.map(super::error::Code::as_str),
    });
}

#[cfg(test)]
mod tests {
    use super::super::op;
    use super::*;
    use crate::obs::audit::AuditMetrics;

    #[test]
    fn what_changes_settings_is_told_and_what_reads_is_not() {
        let (settings, _lines) = Audit::new(false, AuditMetrics::default());
        let (objects, _lines) = Audit::new(true, AuditMetrics::default());
        let mut told = Vec::new();
        for row in op::all() {
            assert!(!hears(&Audit::default(), row), "{}", row.name);
            let reads = matches!(row.verb, Verb::Get | Verb::Head | Verb::Options);
            assert_eq!(hears(&objects, row), !reads, "{}", row.name);
            told.extend(hears(&settings, row).then_some(row.name));
        }
        for name in ["CreateBucket", "DeleteBucket", "PutBucketPolicy", "PutObjectLegalHold"] {
            assert!(told.contains(&name), "{name}: {told:?}");
        }
        for name in ["PutObject", "DeleteObjects", "CopyObject", "UploadPart", "PostObject"] {
            assert!(!told.contains(&name), "{name} is told only where it was asked for");
        }
    }
}
