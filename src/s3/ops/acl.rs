//! Access control lists of buckets and objects.
//!
//! Invariant: every list that is stored passed [`checked`]: it has a known form, known grantees, the
//! right owner, and is not public where the bucket forbids it.

use serde::Deserialize;

use crate::engine::BucketRules;
use crate::limits;
use crate::logic::acl::{self, Canned, Refusal};
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::acl::{Acl, Grant, Grantee, Ownership, Permission};
use crate::types::name::AccountId;

use super::answers::account_element;
use super::params::{account, version};

const DOCUMENT: BodyKind = BodyKind::Xml(limits::XML_BYTES_MAX);

pub(super) static OPS: &[Op] = &[
    sub_resource!("GetBucketAcl", Get, Bucket, "acl", GetBucketAcl, BodyKind::None, get_bucket),
    sub_resource!("GetObjectAcl", Get, Object, "acl", GetObjectAcl, BodyKind::None, get_object),
    sub_resource!("PutBucketAcl", Put, Bucket, "acl", PutBucketAcl, DOCUMENT, put_bucket),
    sub_resource!("PutObjectAcl", Put, Object, "acl", PutObjectAcl, DOCUMENT, put_object),
];

/// Headers that grant.
const GRANTS: [(&str, Permission); 5] = [
    ("x-amz-grant-full-control", Permission::FullControl),
    ("x-amz-grant-read", Permission::Read),
    ("x-amz-grant-read-acp", Permission::ReadAcp),
    ("x-amz-grant-write", Permission::Write),
    ("x-amz-grant-write-acp", Permission::WriteAcp),
];

async fn get_bucket(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let rules = ctx.engine().bucket_rules(req.bucket()?).await?;
    let private = Acl::private(rules.owner.clone());
    Ok(shown(if rules.enforced() { &private } else { &rules.acl }))
}

async fn get_object(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let rules = ctx.engine().bucket_rules(req.bucket()?).await?;
    let acl = ctx.engine().object_acl(req.bucket()?, req.key()?, version(&req)?).await?;
    let private = Acl::private(rules.owner.clone());
    Ok(shown(if rules.enforced() { &private } else { &acl }))
}

fn shown(acl: &Acl) -> Reply {
    let mut out = Writer::new("AccessControlPolicy");
    account_element(&mut out, "Owner", &acl.owner);
    out.open("AccessControlList");
    // Groups first, as other servers show them; readers that compare lists rely on it.
    let mut grants: Vec<&Grant> = acl.grants.iter().collect();
    grants.sort_by_key(|grant| matches!(grant.grantee, Grantee::Account(_)));
    grants.into_iter().for_each(|grant| write_grant(&mut out, grant));
    Reply::xml(out)
}

pub(super) fn write_grant(out: &mut Writer, Grant { grantee, permission }: &Grant) {
    let xsi = "http://www.w3.org/2001/XMLSchema-instance";
    let kind = match grantee {
        Grantee::Account(_) => "CanonicalUser",
        Grantee::AllUsers | Grantee::AuthenticatedUsers | Grantee::LogDelivery => "Group",
    };
    out.open("Grant").open_with("Grantee", &[("xmlns:xsi", xsi), ("xsi:type", kind)]);
    if let Grantee::Account(id) = grantee {
        out.text("ID", &id.0).text("DisplayName", &id.0);
    }
    out.text_some("URI", acl::uri(grantee)).close();
    out.text("Permission", acl::permission_name(*permission)).close();
}

async fn put_bucket(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let rules = ctx.engine().bucket_rules(req.bucket()?).await?;
    refuse_lists(&rules)?;
    let acl = asked(&req, &rules.owner, &rules.owner)?;
    let acl = checked(ctx, &rules, acl).await?;
    ctx.engine().put_bucket_acl(req.bucket()?, &acl).await?;
    Ok(Reply::ok())
}

async fn put_object(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let rules = ctx.engine().bucket_rules(req.bucket()?).await?;
    refuse_lists(&rules)?;
    let version = version(&req)?;
    let owner = ctx.engine().object_acl(req.bucket()?, req.key()?, version).await?.owner;
    let acl = checked(ctx, &rules, asked(&req, &owner, &rules.owner)?).await?;
    ctx.engine_for(&req)?.put_object_acl(req.bucket()?, req.key()?, version, acl).await?;
    Ok(Reply::ok())
}

/// Where everything is the bucket owner's no list is set. Source: S3 user guide, "Controlling
/// ownership of objects and disabling ACLs for your bucket".
pub(super) fn refuse_lists(rules: &BucketRules) -> Result<(), S3Error> {
    match rules.enforced() {
        true => Err(S3Error::new(Code::AccessControlListNotSupported)),
        false => Ok(()),
    }
}

/// The list of a `?acl` request: canned, in headers, or a document; exactly one of them.
fn asked(req: &Req, owner: &AccountId, bucket_owner: &AccountId) -> Result<Acl, S3Error> {
    let written = !req.document.iter().all(u8::is_ascii_whitespace);
    match (from_headers(req, owner, bucket_owner)?, written) {
        (Some(acl), false) => Ok(acl),
        (None, true) => from_document(req, owner),
        (Some(_), true) => Err(S3Error::new(Code::UnexpectedContent)),
        (None, false) => {
            Err(S3Error::new(Code::MissingSecurityHeader).extra("MissingHeaderName", "x-amz-acl"))
        }
    }
}

/// What `x-amz-acl` or `x-amz-grant-*` say; `None` without them.
fn from_headers(
    req: &Req,
    owner: &AccountId,
    bucket_owner: &AccountId,
) -> Result<Option<Acl>, S3Error> {
    let mut grants = Vec::new();
    for (name, permission) in GRANTS {
        let Some(text) = req.header(name)? else { continue };
        let grantees = acl::grantees(text).map_err(|why| refused(name, &why))?;
        grants.extend(grantees.into_iter().map(|grantee| Grant { grantee, permission }));
    }
    match (req.header("x-amz-acl")?, grants.is_empty()) {
        (Some(_), false) => {
            let why = "Specifying both Canned ACLs and Header Grants is not allowed";
            Err(S3Error::with(Code::InvalidRequest, why))
        }
        (Some(name), true) => {
            let canned = Canned::parse(name);
            let canned = canned.ok_or_else(|| S3Error::argument("x-amz-acl", name, ""))?;
            Ok(Some(canned.list(owner, bucket_owner)))
        }
        (None, false) => Ok(Some(Acl { owner: owner.clone(), grants })),
        (None, true) => Ok(None),
    }
}

fn refused(name: &str, why: &Refusal) -> S3Error {
    match why {
        Refusal::Email(email) => {
            S3Error::new(Code::UnresolvableGrantByEmailAddress).extra("EmailAddress", email)
        }
        Refusal::Group(uri) => S3Error::argument(name, uri, "Invalid group uri"),
        Refusal::Malformed(text) => S3Error::argument(name, text, "Argument format not recognized"),
    }
}

#[derive(Debug, Deserialize)]
struct AccessControlPolicy {
    #[serde(rename = "Owner")]
    owner: Option<OwnerElement>,
    #[serde(rename = "AccessControlList")]
    list: ListElement,
}

#[derive(Debug, Deserialize)]
struct OwnerElement {
    #[serde(rename = "ID", default)]
    id: String,
}

#[derive(Debug, Deserialize)]
struct ListElement {
    #[serde(rename = "Grant", default)]
    grants: Vec<GrantElement>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct GrantElement {
    grantee: GranteeElement,
    permission: String,
}

#[derive(Debug, Deserialize)]
struct GranteeElement {
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(rename = "URI")]
    uri: Option<String>,
    #[serde(rename = "EmailAddress")]
    email: Option<String>,
}

/// The list of a document; it cannot give the thing to another owner.
fn from_document(req: &Req, owner: &AccountId) -> Result<Acl, S3Error> {
    let parsed: Result<AccessControlPolicy, S3Error> = req.xml("AccessControlPolicy");
    let parsed = parsed.map_err(|why| S3Error::new(Code::MalformedACLError).source(why))?;
    if parsed.owner.is_some_and(|given| !given.id.is_empty() && given.id != *owner.0) {
        return Err(S3Error::with(Code::AccessDenied, "The owner of an ACL cannot be changed."));
    }
    let grants: Result<Vec<Grant>, S3Error> = parsed.list.grants.iter().map(grant).collect();
    Ok(Acl { owner: owner.clone(), grants: grants? })
}

pub(super) fn grant(element: &GrantElement) -> Result<Grant, S3Error> {
    let malformed = || S3Error::new(Code::MalformedACLError);
    let permission = acl::permission(&element.permission).ok_or_else(malformed)?;
    let GranteeElement { id, uri, email } = &element.grantee;
    let grantee = match (id, uri, email) {
        (_, _, Some(email)) => return Err(refused("Grantee", &Refusal::Email(email.clone()))),
        (Some(id), None, None) if !id.is_empty() => Grantee::Account(AccountId(id.as_str().into())),
        (None, Some(uri), None) => {
            let unknown = || refused("Group/URI", &Refusal::Group(uri.clone()));
            acl::group(uri).ok_or_else(unknown)?
        }
        (Some(_) | None, Some(_) | None, None) => return Err(malformed()),
    };
    Ok(Grant { grantee, permission })
}

/// Refuses a list that the bucket does not take, or of accounts that nobody knows.
pub(super) async fn checked(ctx: &Ctx, rules: &BucketRules, acl: Acl) -> Result<Acl, S3Error> {
    if acl.grants.len() > acl::GRANTS_MAX {
        let why = "An ACL has at most 100 grants.";
        return Err(S3Error::with(Code::MalformedACLError, why));
    }
    if rules.block.block_public_acls && acl::is_public(&acl) {
        return Err(S3Error::with(Code::AccessDenied, "The bucket blocks public ACLs."));
    }
    for Grant { grantee, .. } in &acl.grants {
        let Grantee::Account(id) = grantee else { continue };
        let own = *id == acl.owner || *id == rules.owner || acl::is_well_known(id);
        if !own && !ctx.engine().knows_account(id).await? {
            return Err(S3Error::argument("CanonicalUser/ID", &id.0, "Invalid id"));
        }
    }
    Ok(acl)
}

/// Who owns an object that is about to be made, and its list where it is not private.
pub(super) async fn of_new_object(
    ctx: &Ctx,
    req: &Req,
) -> Result<(AccountId, Option<Acl>), S3Error> {
    let writer = account(req);
    let bucket_owner = ctx.engine().bucket_config(req.bucket()?).await?.owner.clone();
    let given = from_headers(req, &writer, &bucket_owner)?;
    if given.is_none() && writer == bucket_owner {
        return Ok((writer, None));
    }
    let rules = ctx.engine().bucket_rules(req.bucket()?).await?;
    let handed_over = req.header("x-amz-acl")? == Some("bucket-owner-full-control");
    if rules.enforced() {
        return match given {
            Some(acl) if !handed_over && !is_owners(&acl, req, &bucket_owner)? => {
                Err(S3Error::new(Code::AccessControlListNotSupported))
            }
            Some(_) | None => Ok((bucket_owner, None)),
        };
    }
    let given = match given {
        Some(acl) => Some(checked(ctx, &rules, acl).await?),
        None => None,
    };
    match rules.ownership() {
        Ownership::BucketOwnerEnforced => Ok((bucket_owner, None)),
        Ownership::BucketOwnerPreferred if handed_over => Ok((bucket_owner, None)),
        Ownership::BucketOwnerPreferred | Ownership::ObjectWriter => Ok((writer, given)),
    }
}

/// Whether grants in headers say the same as `bucket-owner-full-control`.
fn is_owners(acl: &Acl, req: &Req, bucket_owner: &AccountId) -> Result<bool, S3Error> {
    let full = |grant: &Grant| grant.permission == Permission::FullControl;
    let granted = acl::is_only_for(acl, [bucket_owner, bucket_owner]);
    Ok(req.header("x-amz-acl")?.is_none() && granted && acl.grants.iter().all(full))
}

/// The list that a bucket's request asks for in headers.
pub(super) async fn of_bucket(
    ctx: &Ctx,
    req: &Req,
    rules: &BucketRules,
) -> Result<Option<Acl>, S3Error> {
    match from_headers(req, &rules.owner, &rules.owner)? {
        Some(acl) => checked(ctx, rules, acl).await.map(Some),
        None => Ok(None),
    }
}

/// The list and the ownership that a new bucket shall have, where the request says any.
pub(super) async fn of_new_bucket(
    ctx: &Ctx,
    req: &Req,
) -> Result<(Option<Acl>, Option<Ownership>), S3Error> {
    let owner = account(req);
    let ownership = match req.header("x-amz-object-ownership")? {
        None => None,
        Some(name) => Some(Ownership::parse(name).ok_or_else(|| {
            S3Error::argument("x-amz-object-ownership", name, "Invalid x-amz-object-ownership")
        })?),
    };
    let Some(acl) = from_headers(req, &owner, &owner)? else { return Ok((None, ownership)) };
    let rules = BucketRules {
        owner: owner.clone(),
        set_ownership: None,
        acl: Acl::private(owner.clone()),
        block: crate::types::bucket::AccessBlock::default(),
    };
    let acl = checked(ctx, &rules, acl).await?;
    let enforced = ownership == Some(Ownership::BucketOwnerEnforced);
    if enforced && !acl::is_only_for(&acl, [&owner, &owner]) {
        return Err(S3Error::new(Code::InvalidBucketAclWithObjectOwnership));
    }
    Ok((Some(acl), ownership))
}
