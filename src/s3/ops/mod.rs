//! The operations, one file a group. A new group is one file and one line in [`GROUPS`].

mod absent;
mod acl;
mod answers;
mod attributes;
mod bucket;
mod copy;
mod cors;
mod encryption;
mod extensions;
mod form;
mod lifecycle;
mod listing;
mod lock;
mod logging;
mod manage;
mod multipart;
mod notification;
mod object;
mod ownership;
mod params;
mod payment;
mod plain;
mod policy;
mod probe;
mod rename;
mod service;
mod tagging;
mod versioning;
mod website;

use std::fmt::Write as _;

use super::op::{Op, all};
pub(super) use object::read as read_object;
pub(super) use params::copy_source_bucket;
pub(super) use tagging::tags_as_header;

/// Every group's rows.
pub(super) static GROUPS: &[&[Op]] = &[
    absent::OPS,
    acl::OPS,
    attributes::OPS,
    bucket::OPS,
    copy::OPS,
    cors::OPS,
    encryption::OPS,
    extensions::OPS,
    form::OPS,
    lifecycle::OPS,
    listing::OPS,
    lock::OPS,
    logging::OPS,
    manage::OPS,
    multipart::OPS,
    notification::OPS,
    object::OPS,
    ownership::OPS,
    payment::OPS,
    plain::OPS,
    policy::OPS,
    probe::OPS,
    rename::OPS,
    service::OPS,
    tagging::OPS,
    versioning::OPS,
    website::OPS,
];

/// The table as a page of the documentation.
pub fn compatibility() -> String {
    let mut page = String::from(
        "# S3 compatibility\n\n\
         Every operation of the S3 API and what this endpoint does with it. This page is made from \
         the table of operations; a test compares it.\n\n\
         | Operation | State | Remark |\n|---|---|---|\n",
    );
    let mut rows: Vec<&Op> = all().collect();
    rows.sort_by_key(|op| op.name);
    for op in rows {
        let mut reasons = absent::REASONS.iter().chain(extensions::REASONS);
        let refused = reasons.find(|(name, _)| *name == op.name);
        let (state, remark) = match refused {
            Some((_, why)) => ("refused", *why),
            None => ("yes", remark(op.name)),
        };
        writeln!(page, "| {} | {state} | {remark} |", op.name).expect("a string takes all text");
    }
    page
}

/// What a user should know of an operation that is there.
fn remark(name: &str) -> &'static str {
    if let Some((_, remark)) = manage::REMARKS.iter().find(|(of, _)| *of == name) {
        return remark;
    }
    match name {
        "CopyObject" => "Moves no bytes where both buckets have the same location.",
        "RenameObject" => "Any bucket that never had versions; moves no bytes.",
        "CreateBucket" => {
            "A bucket of one's own made again stays as it is: 200 where no location is asked for, \
             else BucketAlreadyOwnedByYou. LocationConstraint is empty, `auto`, a region or regions \
             with commas; `X-Godwit-Regions` (or `X-Tigris-Regions`) says the same."
        }
        "CompleteMultipartUpload" | "AbortMultipartUpload" => {
            "Decided by the region that began the upload, asked by the others; while it is away, \
             ServiceUnavailable with its name."
        }
        "DeleteObject" | "PutObject" => {
            "If-Match, If-None-Match and the dates are judged in the region that the request \
             enters."
        }
        "GetBucketAcl" | "GetObjectAcl" | "PutBucketAcl" | "PutObjectAcl" => {
            "Grants by canonical id and group; no account has an email address. The bucket's owner \
             reads every object in it, whoever owns it."
        }
        "GetBucketOwnershipControls" | "PutBucketOwnershipControls" => {
            "A new bucket is ObjectWriter, so that ACLs work, and has no controls to show."
        }
        "PutBucketPolicy" => {
            "Principals are accounts; variables are refused; `aws:username` is the access key's \
             id; `aws:SecureTransport` is true behind a TLS proxy on the same machine that sends \
             `X-Forwarded-Proto: https`."
        }
        "PostObject" => {
            "Signatures 4 and 2 or none. A field that is missing counts as empty in conditions; \
             `x-amz-checksum-*` needs no condition; fields that are there twice are refused."
        }
        "PutBucketEncryption" => {
            "SSE-S3 and SSE-KMS with the keys of the nodes' keyring. SSE-C, SSE-S3 and SSE-KMS in \
             every operation on objects, without encryption contexts and DSSE."
        }
        "GetObject" => "One range a request; `partNumber`; all four conditions; `response-*`.",
        "PutBucketAccelerateConfiguration" => {
            "Kept and shown; every bucket is answered by the nearest region without it."
        }
        "PutBucketLogging" => {
            "Delivered every five minutes or MiB of a bucket, best effort. The target may be another \
             account's where its policy lets `logging.s3.amazonaws.com` write."
        }
        "PutBucketNotificationConfiguration" => {
            "Queues and topics whose ARN names a webhook of the node's settings: \
             `arn:godwit:sqs::NAME:webhook`, or `arn:aws:sqs:REGION:ACCOUNT:NAME`. No test event is \
             sent; functions and the event bus are refused."
        }
        "GetObjectTorrent" => "NoSuchKey: no object has a torrent.",
        "Preflight of a bucket" | "Preflight of an object" => {
            "What OPTIONS is for: it asks the rules of PutBucketCors."
        }
        "PutBucketWebsite" => {
            "Served anonymously below `GODWIT_WEBSITE_DOMAINS` and `web.localhost`, and by the \
             bucket's name as a host where `GODWIT_WEBSITE_OWN_HOSTS` is set."
        }
        "PutBucketRequestPayment" => {
            "With Requester others than the owner must send `x-amz-request-payer`; nobody is billed."
        }
        "DeleteBucketReplication" => "No bucket has one, so that it always succeeds.",
        "PutBucketLifecycleConfiguration" => {
            "Both forms of rules; they are kept and shown in answers, and not run yet. Transitions are \
             InvalidStorageClass: there is one storage tier."
        }
        _ if probe::OPS.iter().any(|op| op.name == name) => {
            "What a bucket without this setting has."
        }
        _ => "",
    }
}
