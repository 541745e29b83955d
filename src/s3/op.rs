//! The table of operations: what matches a request, what it needs, who runs it.
//!
//! Invariant: an operation is one row and one function in one file of `ops/`; route, access
//! decision, log name and documentation are read from the row. No row does anything by itself.

use http::{HeaderMap, HeaderValue, Method};

use crate::env::BoxFuture;
use crate::types::action::{Action, Target};

use super::Ctx;
use super::error::{Code, S3Error};
use super::ops;
use super::reply::Reply;
use super::request::{Query, Req};

/// What an operation is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Service,
    Bucket,
    Object,
}

impl On {
    fn of(target: &Target) -> Self {
        match target {
            Target::Service => Self::Service,
            Target::Bucket(_) => Self::Bucket,
            Target::Object(..) => Self::Object,
        }
    }
}

/// The methods that S3 uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Delete,
    Get,
    Head,
    Options,
    Patch,
    Post,
    Put,
}

impl Verb {
    fn of(method: &Method) -> Option<Self> {
        Some(match *method {
            Method::DELETE => Self::Delete,
            Method::GET => Self::Get,
            Method::HEAD => Self::Head,
            Method::OPTIONS => Self::Options,
            Method::PATCH => Self::Patch,
            Method::POST => Self::Post,
            Method::PUT => Self::Put,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Delete => "DELETE",
            Self::Get => "GET",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
            Self::Patch => "PATCH",
            Self::Post => "POST",
            Self::Put => "PUT",
        }
    }
}

/// A condition of a row. All must hold; the row with the most conditions wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    /// The query has this parameter.
    Query(&'static str),
    /// The query has this parameter with this value.
    QueryIs(&'static str, &'static str),
    /// The header (lower case) is present.
    Header(&'static str),
    /// The header is present and begins with this text.
    HeaderStarts(&'static str, &'static str),
}

impl When {
    fn holds(&self, query: &Query, headers: &HeaderMap) -> bool {
        match *self {
            Self::Query(name) => query.has(name),
            Self::QueryIs(name, value) => query.get(name) == Some(value),
            Self::Header(name) => headers.contains_key(name),
            Self::HeaderStarts(name, start) => headers
                .get(name)
                .is_some_and(|value| value.as_bytes().starts_with(start.as_bytes())),
        }
    }
}

/// What the operation does with the request's body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyKind {
    /// There is none to look at; one that comes is refused when it is longer than nothing.
    None,
    /// Read whole before the operation runs (verified), at most this many bytes.
    Xml(usize),
    /// The same, but its `x-amz-checksum-*` headers are those of the object that it makes.
    ObjectXml(usize),
    /// Handed on as it comes in.
    Stream,
}

/// How the caller is found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Auth {
    /// By signature (header or query), else anonymous; then the access decision of `action`.
    Signed,
    /// By signature, else anonymous; the operation itself asks for the decision, key by key.
    PerKey,
    /// By a signature among the fields of the form in the body, else anonymous; then the access
    /// decision of `action` on the object that the form names.
    Form,
    /// Anyone (preflight); no access decision.
    Public,
}

/// What an operation's function is.
pub type Run = for<'a> fn(&'a Ctx, Req) -> BoxFuture<'a, Result<Reply, S3Error>>;

/// One operation of S3.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    /// S3's name, also the label in logs and metrics.
    pub name: &'static str,
    pub on: On,
    pub verb: Verb,
    pub when: &'static [When],
    pub action: Action,
    pub body: BodyKind,
    pub auth: Auth,
    pub run: Run,
}

/// Boxes the future of `async fn f(ctx: &Ctx, req: Req) -> Result<Reply, S3Error>`.
macro_rules! run {
    ($f:path) => {
        |ctx, req| Box::pin($f(ctx, req))
    };
}
pub(crate) use run;

/// The row of an operation on a sub-resource: a signed request with one query parameter.
macro_rules! sub_resource {
    ($name:literal, $verb:ident, $on:ident, $query:literal, $action:ident, $body:expr, $run:path) => {
        $crate::s3::op::Op {
            name: $name,
            on: $crate::s3::op::On::$on,
            verb: $crate::s3::op::Verb::$verb,
            when: &[$crate::s3::op::When::Query($query)],
            action: $crate::types::action::Action::$action,
            body: $body,
            auth: $crate::s3::op::Auth::Signed,
            run: $crate::s3::op::run!($run),
        }
    };
}
pub(crate) use sub_resource;

impl Op {
    fn asks_for(&self, name: &str) -> bool {
        self.when.iter().any(|when| match when {
            When::Query(query) | When::QueryIs(query, _) => *query == name,
            When::Header(_) | When::HeaderStarts(..) => false,
        })
    }

    /// How much of the node's attention it takes, for admission.
    pub fn weight(&self) -> u32 {
        match self.body {
            BodyKind::None => 1,
            BodyKind::Xml(_) | BodyKind::ObjectXml(_) => 2,
            BodyKind::Stream => 4,
        }
    }
}

/// The table: rows by group.
pub(crate) type Table = &'static [&'static [Op]];

/// All rows.
pub fn all() -> impl Iterator<Item = &'static Op> {
    rows(ops::GROUPS)
}

fn rows(table: Table) -> impl Iterator<Item = &'static Op> {
    table.iter().copied().flatten()
}

/// Query parameters that make a request about something else than the object or the bucket's list.
/// A row that does not ask for one of them must not answer for it.
const SUB_RESOURCES: [&str; 32] = [
    "abac",
    "accelerate",
    "acl",
    "analytics",
    "attributes",
    "cors",
    "encryption",
    "intelligent-tiering",
    "inventory",
    "legal-hold",
    "lifecycle",
    "logging",
    "metadataConfiguration",
    "metadataTable",
    "metrics",
    "notification",
    "object-lock",
    "ownershipControls",
    "policy",
    "policyStatus",
    "publicAccessBlock",
    "renameObject",
    "replication",
    "requestPayment",
    "restore",
    "retention",
    "select",
    "session",
    "tagging",
    "torrent",
    "versioning",
    "website",
];

/// The row of a request: most conditions first. A method that no row of this target has is
/// `MethodNotAllowed`, with the methods that exist.
pub(crate) fn find(
    table: Table,
    target: &Target,
    method: &Method,
    query: &Query,
    headers: &HeaderMap,
) -> Result<&'static Op, S3Error> {
    let on = On::of(target);
    let verb = Verb::of(method);
    let op = rows(table)
        .filter(|op| op.on == on && Some(op.verb) == verb)
        .filter(|op| op.when.iter().all(|when| when.holds(query, headers)))
        .max_by_key(|op| op.when.len())
        .ok_or_else(|| method_not_allowed(table, on, method))?;
    // A preflight asks about any request.
    let others = SUB_RESOURCES.iter().filter(|_| op.verb != Verb::Options);
    match others.into_iter().find(|name| query.has(name) && !op.asks_for(name)) {
        None => Ok(op),
        Some(name) => {
            Err(S3Error::with(Code::NotImplemented, format!("`?{name}` is not implemented."))
                .extra("Method", method.as_str())
                .extra("ResourceType", *name))
        }
    }
}

fn method_not_allowed(table: Table, on: On, method: &Method) -> S3Error {
    let mut verbs: Vec<&str> =
        rows(table).filter(|op| op.on == on).map(|op| op.verb.as_str()).collect();
    verbs.sort_unstable();
    verbs.dedup();
    let error = S3Error::new(Code::MethodNotAllowed)
        .extra("Method", method.as_str())
        .extra("ResourceType", format!("{on:?}").to_uppercase());
    match HeaderValue::try_from(verbs.join(", ")) {
        Ok(allow) => error.header(http::header::ALLOW, allow),
        Err(_) => error,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_of_operations_are_unique() {
        let mut seen = BTreeSet::new();
        for op in all() {
            assert!(seen.insert(op.name), "{} is there twice", op.name);
        }
    }

    /// Two rows are rivals when they have the same number of conditions and one request can meet
    /// both. Conditions exclude each other only where they ask one parameter for two values, so a
    /// rival is any pair with as many conditions of which neither set has such an opposite.
    #[test]
    fn equally_specific_rows_ask_for_different_things() {
        let rows: Vec<&Op> = all().collect();
        for (i, a) in rows.iter().enumerate() {
            for b in &rows[i + 1..] {
                if a.on == b.on && a.verb == b.verb && a.when.len() == b.when.len() {
                    let differs = a.when.iter().any(|when| !b.when.contains(when));
                    assert!(differs, "{} and {} match the same requests", a.name, b.name);
                }
            }
        }
    }

    #[test]
    fn header_conditions_are_lower_case() {
        for op in all() {
            for when in op.when {
                if let When::Header(name) | When::HeaderStarts(name, _) = when {
                    assert_eq!(*name, name.to_lowercase(), "{}", op.name);
                }
            }
        }
    }
}
