//! A request as the operations see it: typed, decoded once, authenticated.

use std::str::FromStr;

use bytes::Bytes;
use http::HeaderMap;
use percent_encoding::percent_decode_str;
use serde::de::DeserializeOwned;

use crate::types::access::Circumstances;
use crate::types::action::Target;
use crate::types::caller::Caller;
use crate::types::name::{BucketName, ObjectKey};
use crate::types::object::Row;

use super::body::Body;
use super::error::{Code, S3Error};
use super::form::Fields;
use super::xml;

/// The query, decoded once, in the order it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Query(Vec<(String, String)>);

impl Query {
    /// Of pairs that were decoded before.
    pub(crate) fn of(pairs: Vec<(String, String)>) -> Self {
        Self(pairs)
    }

    /// Decodes percent escapes, and `+` as a blank. Not UTF-8: `InvalidURI`.
    pub(crate) fn parse(raw: &str) -> Result<Self, S3Error> {
        let mut pairs = Vec::new();
        for pair in raw.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            pairs.push((decode(name)?, decode(value)?));
        }
        Ok(Self(pairs))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(n, _)| n == name)
    }

    /// The first value of a parameter; empty where it stands without one.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    /// All pairs in order.
    pub fn pairs(&self) -> &[(String, String)] {
        &self.0
    }
}

fn decode(text: &str) -> Result<String, S3Error> {
    let blank;
    let text = if text.contains('+') {
        blank = text.replace('+', " ");
        blank.as_str()
    } else {
        text
    };
    match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(S3Error::new(Code::InvalidURI)),
    }
}

/// One request, after signature and access decision.
pub struct Req {
    pub caller: Caller,
    /// What further access decisions look at.
    pub around: Circumstances,
    /// The key's row, where the access decision looked at it: what was decided on is answered.
    pub seen: Option<Row>,
    pub target: Target,
    pub query: Query,
    pub headers: HeaderMap,
    /// The fields of a form, those that became headers too.
    pub form: Option<Fields>,
    /// The streamed body of a `Stream` operation; at its end for all others.
    pub body: Body,
    /// The whole verified body of an `Xml` operation, else empty.
    pub document: Bytes,
    /// The id that the answer carries.
    pub id: String,
    /// The host that the client asked.
    pub host: String,
    /// It names the bucket.
    pub virtual_host: bool,
    /// HEAD: the body is not sent.
    pub head: bool,
}

impl Req {
    /// The bucket of an operation on a bucket or an object.
    pub fn bucket(&self) -> Result<&BucketName, S3Error> {
        self.target.bucket().ok_or_else(|| S3Error::internal("a row without its bucket"))
    }

    /// The key of an operation on an object.
    pub fn key(&self) -> Result<&ObjectKey, S3Error> {
        self.target.key().ok_or_else(|| S3Error::internal("a row without its key"))
    }

    /// A query parameter as text; empty where it stands without a value.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.get(name)
    }

    /// A query parameter as a value; text that is none is `InvalidArgument`.
    pub fn query_as<T: FromStr>(&self, name: &str) -> Result<Option<T>, S3Error> {
        let Some(text) = self.query.get(name) else { return Ok(None) };
        match text.parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(S3Error::argument(name, text, format!("`{name}` is not valid"))),
        }
    }

    /// A query parameter that must be there.
    pub fn query_required<T: FromStr>(&self, name: &str) -> Result<T, S3Error> {
        self.query_as(name)?.ok_or_else(|| {
            S3Error::argument(name, "", format!("the query parameter `{name}` is missing"))
        })
    }

    /// A header as text; `None` where it is missing, `InvalidArgument` where it is not UTF-8.
    pub fn header(&self, name: &str) -> Result<Option<&str>, S3Error> {
        let Some(value) = self.headers.get(name) else { return Ok(None) };
        match std::str::from_utf8(value.as_bytes()) {
            Ok(text) => Ok(Some(text)),
            Err(_) => Err(S3Error::argument(name, "", "a header is not UTF-8")),
        }
    }

    /// A header as a value; text that is none is `InvalidArgument`.
    pub fn header_as<T: FromStr>(&self, name: &str) -> Result<Option<T>, S3Error> {
        let Some(text) = self.header(name)? else { return Ok(None) };
        match text.trim().parse() {
            Ok(value) => Ok(Some(value)),
            Err(_) => Err(S3Error::argument(name, text, format!("`{name}` is not valid"))),
        }
    }

    /// The document of an `Xml` operation, whose root must have this name.
    pub fn xml<T: DeserializeOwned>(&self, root: &str) -> Result<T, S3Error> {
        xml::parse(&self.document, root)
    }
}
