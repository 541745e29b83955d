//! Access control lists: the canned ones, grants from headers, and what a list allows.
//! Source: S3 user guide, "Access control list (ACL) overview".
//!
//! Invariant: a list allows what its grants say and nothing else, but that an owner may always read
//! and write the list itself.

use std::sync::LazyLock;

use crate::types::acl::{Acl, Grant, Grantee, Permission};
use crate::types::action::Action;
use crate::types::name::AccountId;

/// Grants of one list.
pub const GRANTS_MAX: usize = 100;

const ALL_USERS: &str = "http://acs.amazonaws.com/groups/global/AllUsers";
const AUTHENTICATED_USERS: &str = "http://acs.amazonaws.com/groups/global/AuthenticatedUsers";
const LOG_DELIVERY: &str = "http://acs.amazonaws.com/groups/s3/LogDelivery";

/// Who `aws-exec-read` is for: Amazon EC2's canonical id, which no key has here.
const EC2: &str = "6aa5a366c34c1cbe25dc49211496e913e0351eb0e8c37aa3477e40942ec6b97c";

/// The owner of what anonymous callers write, as in S3.
pub static ANONYMOUS: LazyLock<AccountId> =
    LazyLock::new(|| AccountId("65a011a29cdf8ec533ec3d1ccaae921c".into()));

/// Accounts that are known without a key.
pub fn is_well_known(account: &AccountId) -> bool {
    *account == *ANONYMOUS || *account.0 == *EC2
}

/// The lists that have a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Canned {
    AuthenticatedRead,
    AwsExecRead,
    BucketOwnerFullControl,
    BucketOwnerRead,
    LogDeliveryWrite,
    Private,
    PublicRead,
    PublicReadWrite,
}

impl Canned {
    pub fn parse(name: &str) -> Option<Self> {
        Some(match name {
            "authenticated-read" => Self::AuthenticatedRead,
            "aws-exec-read" => Self::AwsExecRead,
            "bucket-owner-full-control" => Self::BucketOwnerFullControl,
            "bucket-owner-read" => Self::BucketOwnerRead,
            "log-delivery-write" => Self::LogDeliveryWrite,
            "private" => Self::Private,
            "public-read" => Self::PublicRead,
            "public-read-write" => Self::PublicReadWrite,
            _ => return None,
        })
    }

    /// The list for what this account owns, in a bucket of `bucket_owner`.
    pub fn list(self, owner: &AccountId, bucket_owner: &AccountId) -> Acl {
        use Permission as P;
        let bucket_owner_gets = |permission| {
            let other = owner != bucket_owner;
            other.then(|| (Grantee::Account(bucket_owner.clone()), permission))
        };
        let more: Vec<(Grantee, Permission)> = match self {
            Self::Private => Vec::new(),
            Self::PublicRead => vec![(Grantee::AllUsers, P::Read)],
            Self::PublicReadWrite => {
                vec![(Grantee::AllUsers, P::Read), (Grantee::AllUsers, P::Write)]
            }
            Self::AuthenticatedRead => vec![(Grantee::AuthenticatedUsers, P::Read)],
            Self::AwsExecRead => vec![(Grantee::Account(AccountId(EC2.into())), P::Read)],
            Self::LogDeliveryWrite => {
                vec![(Grantee::LogDelivery, P::Write), (Grantee::LogDelivery, P::ReadAcp)]
            }
            Self::BucketOwnerRead => bucket_owner_gets(P::Read).into_iter().collect(),
            Self::BucketOwnerFullControl => bucket_owner_gets(P::FullControl).into_iter().collect(),
        };
        let mut acl = Acl::private(owner.clone());
        let grants = more.into_iter().map(|(grantee, permission)| Grant { grantee, permission });
        acl.grants.extend(grants);
        acl
    }
}

/// Why a grant is none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// Nobody is known by an email address.
    Email(String),
    /// A group that S3 does not have.
    Group(String),
    /// Not of the form `id="..."`.
    Malformed(String),
}

/// The grantees of an `x-amz-grant-*` header: `id="...", uri="..."`.
pub fn grantees(header: &str) -> Result<Vec<Grantee>, Refusal> {
    header.split(',').map(str::trim).filter(|text| !text.is_empty()).map(grantee).collect()
}

fn grantee(text: &str) -> Result<Grantee, Refusal> {
    let malformed = || Refusal::Malformed(text.to_owned());
    let (kind, value) = text.split_once('=').ok_or_else(malformed)?;
    let value = value.trim().trim_matches('"');
    match kind.trim().to_ascii_lowercase().as_str() {
        "id" if !value.is_empty() => Ok(Grantee::Account(AccountId(value.into()))),
        "uri" => group(value).ok_or_else(|| Refusal::Group(value.to_owned())),
        "emailaddress" => Err(Refusal::Email(value.to_owned())),
        _ => Err(malformed()),
    }
}

/// The group that a URI names.
pub fn group(uri: &str) -> Option<Grantee> {
    match uri {
        ALL_USERS => Some(Grantee::AllUsers),
        AUTHENTICATED_USERS => Some(Grantee::AuthenticatedUsers),
        LOG_DELIVERY => Some(Grantee::LogDelivery),
        _ => None,
    }
}

/// The URI of a group; `None` for an account.
pub fn uri(grantee: &Grantee) -> Option<&'static str> {
    match grantee {
        Grantee::Account(_) => None,
        Grantee::AllUsers => Some(ALL_USERS),
        Grantee::AuthenticatedUsers => Some(AUTHENTICATED_USERS),
        Grantee::LogDelivery => Some(LOG_DELIVERY),
    }
}

/// The name of a permission in headers and documents.
pub fn permission_name(permission: Permission) -> &'static str {
    match permission {
        Permission::FullControl => "FULL_CONTROL",
        Permission::Read => "READ",
        Permission::ReadAcp => "READ_ACP",
        Permission::Write => "WRITE",
        Permission::WriteAcp => "WRITE_ACP",
    }
}

pub fn permission(name: &str) -> Option<Permission> {
    use Permission as P;
    let all = [P::FullControl, P::Read, P::ReadAcp, P::Write, P::WriteAcp];
    all.into_iter().find(|permission| permission_name(*permission) == name)
}

/// Whether a grant is for everybody, or for everybody with a key.
fn for_public(grant: &Grant) -> bool {
    match grant.grantee {
        Grantee::AllUsers | Grantee::AuthenticatedUsers => true,
        Grantee::Account(_) | Grantee::LogDelivery => false,
    }
}

/// Whether a list gives the public anything.
pub fn is_public(acl: &Acl) -> bool {
    acl.grants.iter().any(for_public)
}

/// Whether a list gives nothing to anybody but these accounts: what a bucket without lists takes.
pub fn is_only_for(acl: &Acl, accounts: [&AccountId; 2]) -> bool {
    acl.grants.iter().all(|grant| match &grant.grantee {
        Grantee::Account(id) => accounts.contains(&id),
        Grantee::AllUsers | Grantee::AuthenticatedUsers | Grantee::LogDelivery => false,
    })
}

/// Whether the list allows this to the account (`None`: to someone without a key). Grants to the
/// public are not looked at where the bucket ignores them.
pub fn allows(
    acl: &Acl,
    account: Option<&AccountId>,
    wanted: Permission,
    ignore_public: bool,
) -> bool {
    let own = account == Some(&acl.owner);
    if own && matches!(wanted, Permission::ReadAcp | Permission::WriteAcp) {
        return true;
    }
    acl.grants.iter().any(|grant| {
        let permits = grant.permission == Permission::FullControl || grant.permission == wanted;
        let meant = match &grant.grantee {
            Grantee::Account(id) => account == Some(id),
            Grantee::AllUsers => true,
            Grantee::AuthenticatedUsers => account.is_some(),
            Grantee::LogDelivery => false,
        };
        permits && meant && !(ignore_public && for_public(grant))
    })
}

/// Whose list decides about an action, and what it must grant. `None`: no list allows it.
/// Source: S3 user guide, "Mapping of ACL permissions and access policy permissions".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needs {
    OfBucket(Permission),
    OfObject(Permission),
}

pub fn needs(action: Action) -> Option<Needs> {
    use Action as A;
    use Needs::{OfBucket, OfObject};
    const TABLE: [(Action, Needs); 15] = [
        (A::AbortMultipartUpload, OfBucket(Permission::Write)),
        (A::DeleteObject, OfBucket(Permission::Write)),
        (A::GetBucketAcl, OfBucket(Permission::ReadAcp)),
        (A::GetObject, OfObject(Permission::Read)),
        (A::GetObjectAcl, OfObject(Permission::ReadAcp)),
        (A::GetObjectVersion, OfObject(Permission::Read)),
        (A::GetObjectVersionAcl, OfObject(Permission::ReadAcp)),
        (A::ListBucket, OfBucket(Permission::Read)),
        (A::ListBucketMultipartUploads, OfBucket(Permission::Read)),
        (A::ListBucketVersions, OfBucket(Permission::Read)),
        (A::ListMultipartUploadParts, OfBucket(Permission::Write)),
        (A::PutBucketAcl, OfBucket(Permission::WriteAcp)),
        (A::PutObject, OfBucket(Permission::Write)),
        (A::PutObjectAcl, OfObject(Permission::WriteAcp)),
        (A::PutObjectVersionAcl, OfObject(Permission::WriteAcp)),
    ];
    TABLE.iter().find(|(of, _)| *of == action).map(|(_, needs)| *needs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn account(name: &str) -> AccountId {
        AccountId(name.into())
    }

    #[test]
    fn canned_lists_say_what_their_names_say() {
        use Permission as P;
        let (owner, bucket, other) = (account("owner"), account("bucket"), account("other"));
        // Name; what others with a key, without one, and the bucket's owner may.
        type Row = (&'static str, &'static [P], &'static [P], &'static [P]);
        let table: [Row; 8] = [
            ("private", &[], &[], &[]),
            ("public-read", &[P::Read], &[P::Read], &[P::Read]),
            ("public-read-write", &[P::Read, P::Write], &[P::Read, P::Write], &[P::Read, P::Write]),
            ("authenticated-read", &[P::Read], &[], &[P::Read]),
            ("aws-exec-read", &[], &[], &[]),
            ("bucket-owner-read", &[], &[], &[P::Read]),
            (
                "bucket-owner-full-control",
                &[],
                &[],
                &[P::FullControl, P::Read, P::ReadAcp, P::Write, P::WriteAcp],
            ),
            ("log-delivery-write", &[], &[], &[]),
        ];
        let all = [P::FullControl, P::Read, P::ReadAcp, P::Write, P::WriteAcp];
        for (name, others, nobody, of_bucket) in table {
            let acl = Canned::parse(name).unwrap().list(&owner, &bucket);
            let may = |who: Option<&AccountId>| -> Vec<P> {
                all.into_iter().filter(|p| allows(&acl, who, *p, false)).collect()
            };
            assert_eq!(may(Some(&owner)), all, "{name}");
            assert_eq!(may(Some(&other)), others, "{name}");
            assert_eq!(may(None), nobody, "{name}");
            assert_eq!(may(Some(&bucket)), of_bucket, "{name}");
            let public = !others.is_empty();
            assert_eq!(is_public(&acl), public, "{name}");
            assert!(!all.into_iter().any(|p| allows(&acl, Some(&other), p, true)), "{name}");
        }
        assert_eq!(Canned::parse("public"), None);
    }

    #[test]
    fn an_owner_without_grants_keeps_the_list() {
        let acl = Acl { owner: account("owner"), grants: Vec::new() };
        let may = |p| allows(&acl, Some(&acl.owner), p, false);
        assert!(may(Permission::ReadAcp) && may(Permission::WriteAcp));
        assert!(!may(Permission::Read) && !may(Permission::Write));
    }

    #[test]
    fn grantees_come_as_ids_and_groups_and_never_by_email() {
        let header = format!("id=\"a\", uri=\"{ALL_USERS}\",id=b");
        let expected =
            [Grantee::Account(account("a")), Grantee::AllUsers, Grantee::Account(account("b"))];
        assert_eq!(grantees(&header).unwrap(), expected);
        assert_eq!(grantees("emailAddress=\"x@y\""), Err(Refusal::Email("x@y".into())));
        assert_eq!(grantees("uri=\"http://x\""), Err(Refusal::Group("http://x".into())));
        for bad in ["a", "id=", "name=\"x\""] {
            assert_eq!(grantees(bad), Err(Refusal::Malformed(bad.into())));
        }
    }
}
