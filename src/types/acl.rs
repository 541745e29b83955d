//! Access control lists of buckets and objects.
//! Source: S3 user guide, "Access control list (ACL) overview".

use serde::{Deserialize, Serialize};

use super::name::AccountId;

/// Who owns something, and what others may do with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acl {
    pub owner: AccountId,
    /// In the order they were given; the owner may always read and write the list itself.
    pub grants: Vec<Grant>,
}

/// One permission for one grantee.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    pub grantee: Grantee,
    pub permission: Permission,
}

/// Whom a grant is for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Grantee {
    Account(AccountId),
    /// Anyone, signed or not.
    AllUsers,
    /// Anyone with an access key of any account.
    AuthenticatedUsers,
    LogDelivery,
}

/// What a grant allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Permission {
    FullControl,
    Read,
    ReadAcp,
    Write,
    WriteAcp,
}

impl Acl {
    /// What everything starts with: the owner has all, others nothing.
    pub fn private(owner: AccountId) -> Self {
        let grantee = Grantee::Account(owner.clone());
        Self { owner, grants: vec![Grant { grantee, permission: Permission::FullControl }] }
    }
}

/// Who owns new objects of a bucket, and whether its access control lists count.
/// Source: S3 user guide, "Controlling ownership of objects and disabling ACLs".
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Ownership {
    BucketOwnerEnforced,
    BucketOwnerPreferred,
    /// What a bucket starts with here, because clients as old as `s3cmd` set lists.
    #[default]
    ObjectWriter,
}

impl Ownership {
    pub fn parse(name: &str) -> Option<Self> {
        let all = [Self::BucketOwnerEnforced, Self::BucketOwnerPreferred, Self::ObjectWriter];
        all.into_iter().find(|ownership| ownership.as_str() == name)
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::BucketOwnerEnforced => "BucketOwnerEnforced",
            Self::BucketOwnerPreferred => "BucketOwnerPreferred",
            Self::ObjectWriter => "ObjectWriter",
        }
    }
}
