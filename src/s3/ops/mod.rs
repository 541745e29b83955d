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
mod promises;
mod quota;
mod remarks;
mod rename;
mod replication;
mod service;
mod tagging;
mod undelete;
mod versioning;
mod website;

use std::fmt::Write as _;

use super::op::{Op, all};
pub(super) use manage::speaks_json;
pub(super) use object::read as read_object;
pub(super) use params::copy_source_bucket;
use remarks::REMARKS;
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
    rename::OPS,
    replication::OPS,
    service::OPS,
    tagging::OPS,
    undelete::OPS,
    versioning::OPS,
    website::OPS,
];

/// The table as a page of the documentation.
pub fn compatibility() -> String {
    let mut page = String::from(
        "# S3 compatibility\n\n\
         Every operation of the S3 API and what this endpoint does with it. This page is made from \
         the table of operations; a test compares it. The cases of ceph/s3-tests that do not pass \
         stand with their reasons in [conformance](conformance.md).\n\n\
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
    let remark = REMARKS.iter().find(|(names, _)| names.contains(&name));
    remark.map_or("", |(_, remark)| *remark)
}
