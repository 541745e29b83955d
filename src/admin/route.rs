//! What a row of the admin API is: its method and path, who may use it, what it takes and gives.
//!
//! Routing, the OpenAPI document and `docs/admin-api.md` all come from these rows, so a row says
//! everything that a caller must know. To add one: a function of the shape
//! `async fn(&Api, &Call<'_>, Request) -> Result<Answer, Error>` (`()` where no body is taken), the
//! types in [`super::model`], and a line `route!(...)` in a `ROUTES` that [`super::routes`] lists.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::engine::Error;
use crate::env::BoxFuture;
use crate::s3::reply::ByteStream;
use crate::s3::request::Query;
use crate::types::access::Circumstances;
use crate::types::caller::Caller;
use crate::types::name::AccountId;
use crate::types::record::KeyScope;

use super::api::Api;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Whoever has a key; the route itself asks what the key may do.
    Key,
    /// Keys with the scope of their whole account, and tokens made with one.
    Admin,
    /// Such a key of the account that the cluster was made with: it sees and does what is not one
    /// account's.
    Operator,
}

impl Role {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "any key",
            Self::Admin => "admin",
            Self::Operator => "operator",
        }
    }
}

/// The verbs that there are. `GET` changes nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::upper_case_acronyms, reason = "as they go over the wire")]
pub enum Verb {
    GET,
    PUT,
    POST,
    DELETE,
}

impl Verb {
    pub fn as_str(self) -> &'static str {
        match self {
            Self::GET => "GET",
            Self::PUT => "PUT",
            Self::POST => "POST",
            Self::DELETE => "DELETE",
        }
    }
}

/// A parameter of the query.
#[derive(Clone, Copy, Debug)]
pub struct Param {
    pub name: &'static str,
    pub required: bool,
    pub what: &'static str,
}

pub(super) const fn required(name: &'static str, what: &'static str) -> Param {
    Param { name, required: true, what }
}

pub(super) const fn optional(name: &'static str, what: &'static str) -> Param {
    Param { name, required: false, what }
}

/// What an answer looks like on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One JSON document.
    Json,
    /// JSON documents, one a line, until the client goes away.
    Lines,
    /// OpenMetrics text.
    Metrics,
}

/// What a route gives back.
pub(crate) enum Answer {
    Json(Value),
    Lines(ByteStream),
    Metrics(String),
}

type Run = for<'a> fn(&'a Api, &'a Call<'a>) -> BoxFuture<'a, Result<Answer, Error>>;

/// One row.
pub struct Route {
    pub verb: Verb,
    /// Below the prefix, without a slash at its beginning.
    pub path: &'static str,
    pub role: Role,
    pub query: &'static [Param],
    pub what: &'static str,
    pub shape: Shape,
    /// The schema of the body; that of `()` where none is taken.
    pub request: fn(&mut SchemaGenerator) -> Schema,
    /// The schema of the answer, or of one of its lines.
    pub response: fn(&mut SchemaGenerator) -> Schema,
    pub(super) run: Run,
}

/// A row: verb, path, role, function, types, parameters, and what it does.
macro_rules! route {
    (@shape lines) => { $crate::admin::route::Shape::Lines };
    (@shape metrics) => { $crate::admin::route::Shape::Metrics };
    (@answer lines $given:expr) => { $crate::admin::route::Answer::Lines($given) };
    (@answer metrics $given:expr) => { $crate::admin::route::Answer::Metrics($given) };
    (
        $verb:ident $path:literal, $role:ident, $run:path,
        $request:ty => $response:ty, [$($query:expr),*], $what:literal
    ) => {
        $crate::admin::route::Route {
            verb: $crate::admin::route::Verb::$verb,
            path: $path,
            role: $crate::admin::route::Role::$role,
            query: &[$($query),*],
            what: $what,
            shape: $crate::admin::route::Shape::Json,
            request: $crate::admin::route::schema::<$request>,
            response: $crate::admin::route::schema::<$response>,
            run: |api, call| Box::pin(async move {
                let request: $request = $crate::admin::route::parse(call.body)?;
                let response: $response = $run(api, call, request).await?;
                $crate::admin::route::json(&response)
            }),
        }
    };
    (
        $verb:ident $path:literal, $role:ident, $run:path,
        $request:ty => $shape:ident $line:ty, [$($query:expr),*], $what:literal
    ) => {
        $crate::admin::route::Route {
            verb: $crate::admin::route::Verb::$verb,
            path: $path,
            role: $crate::admin::route::Role::$role,
            query: &[$($query),*],
            what: $what,
            shape: route!(@shape $shape),
            request: $crate::admin::route::schema::<$request>,
            response: $crate::admin::route::schema::<$line>,
            run: |api, call| Box::pin(async move {
                let request: $request = $crate::admin::route::parse(call.body)?;
                let given = $run(api, call, request).await?;
                Ok(route!(@answer $shape given))
            }),
        }
    };
}
pub(super) use route;

pub(super) fn schema<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// One request below the prefix, after it was authenticated.
pub(crate) struct Call<'a> {
    pub(crate) caller: &'a Caller,
    /// It came with a token of a key, not with the key's signature.
    pub(crate) by_token: bool,
    pub(crate) around: &'a Circumstances,
    pub(crate) method: &'a str,
    /// Without prefix and slash: `where`.
    pub(crate) path: &'a str,
    pub(crate) query: &'a Query,
    pub(crate) body: &'a [u8],
}

impl Call<'_> {
    /// The account of a caller whose key has the scope `Admin`.
    pub(super) fn account(&self) -> Result<&AccountId, Error> {
        match self.caller {
            Caller::Key { account, scope: KeyScope::Admin, .. } => Ok(account),
            Caller::Key { scope: KeyScope::Buckets(_) | KeyScope::Granted(_), .. } => {
                Err(Error::AccessDenied("this needs an admin key, not one with less".to_owned()))
            }
            Caller::Anonymous => Err(Error::AccessDenied("sign the request".to_owned())),
        }
    }

    /// A parameter that must be there.
    pub(super) fn parameter(&self, name: &str) -> Result<&str, Error> {
        self.query.get(name).ok_or_else(|| argument(format!("the parameter `{name}` is missing")))
    }

    /// A parameter as a value, where it is there.
    pub(super) fn parsed<T: std::str::FromStr>(&self, name: &str) -> Result<Option<T>, Error> {
        let Some(text) = self.query.get(name) else { return Ok(None) };
        let value = text.parse().map_err(|_| argument(format!("`{name}={text}` is not valid")))?;
        Ok(Some(value))
    }
}

/// A body as its type; nothing where a type may be nothing.
pub(super) fn parse<T: DeserializeOwned>(body: &[u8]) -> Result<T, Error> {
    let body = if body.is_empty() { b"null" } else { body };
    serde_json::from_slice(body).map_err(|why| argument(format!("the body: {why}")))
}

pub(super) fn json(value: &impl Serialize) -> Result<Answer, Error> {
    let value = serde_json::to_value(value).map_err(|error| Error::Internal(error.to_string()))?;
    Ok(Answer::Json(value))
}

pub(super) fn argument(error: impl std::fmt::Display) -> Error {
    Error::InvalidArgument(error.to_string())
}
