//! The admin API of another region, asked through this node: figures of one node, steering of one
//! node, and the requests of all.
//!
//! Invariant: who asks is compared with the row by both nodes; of the mesh only members ask. What is
//! kept for a listener elsewhere is bounded, and goes when he does not ask again.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::engine::{Engine, Error};
use crate::limits;
use crate::s3::error::S3Error;
use crate::s3::request::Query;
use crate::types::access::Circumstances;
use crate::types::caller::Caller;
use crate::types::name::{AccessKeyId, AccountId};
use crate::types::record::KeyScope;
use crate::types::region::RegionId;

use super::api::Api;
use super::route::{Answer, Call, Param, Shape, argument, optional};
use super::routes;
use super::trace::Trace;

/// Rows that have it can be asked of any region's node.
pub(super) const REGION: Param =
    optional("region", "The node of this region; without it the one that answers.");

/// Who asks; he has all rights of his account.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Asker {
    access_key: AccessKeyId,
    account: AccountId,
}

#[derive(Debug, Serialize, Deserialize)]
enum Question {
    Row {
        method: String,
        path: String,
        query: Vec<(String, String)>,
        by: Asker,
        /// A document, or nothing.
        #[serde(default)]
        body: String,
    },
    /// The next requests that end there, for a listener with this number.
    Requests { listener: u64, query: Vec<(String, String)>, by: Asker },
}

#[derive(Debug, Serialize, Deserialize)]
enum Told {
    /// A document.
    Json(String),
    Text(String),
    /// Lines of JSON.
    Lines(Vec<String>),
    Refused(Error),
}

/// A listener in another region, between two of its questions.
struct Kept {
    trace: Trace,
    asked: Duration,
}

/// Listeners in other regions, by the number that they chose.
#[derive(Default)]
pub(super) struct Listeners(Mutex<BTreeMap<u64, Kept>>);

impl Listeners {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<u64, Kept>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, number: u64, now: Duration) -> Option<Trace> {
        let mut all = self.lock();
        all.retain(|_, kept| now.saturating_sub(kept.asked) < limits::TRACE_KEPT);
        all.remove(&number).map(|kept| kept.trace)
    }

    fn keep(&self, number: u64, trace: Trace, now: Duration) -> bool {
        let mut all = self.lock();
        let room = all.len() < limits::TRACES_KEPT_MAX;
        if room {
            all.insert(number, Kept { trace, asked: now });
        }
        room
    }
}

impl Asker {
    pub(super) fn of(call: &Call<'_>) -> Result<Self, Error> {
        let account = call.account()?.clone();
        match call.caller.access_key() {
            Some(access_key) => Ok(Self { access_key: access_key.clone(), account }),
            None => Err(Error::AccessDenied("sign the request".to_owned())),
        }
    }

    fn caller(self) -> Caller {
        let Self { access_key, account } = self;
        Caller::Key { access_key, account, scope: KeyScope::Admin }
    }
}

/// Where a call is to be answered; `None`: here.
pub(super) fn region_of(api: &Api, call: &Call<'_>) -> Result<Option<RegionId>, Error> {
    let Some(region) = call.parsed::<RegionId>(REGION.name)? else { return Ok(None) };
    if !api.engine.cluster().members().contains(region) {
        return Err(argument(format!("`region={region}` is no region of this cluster")));
    }
    Ok((region != api.engine.region()).then_some(region))
}

/// The parameters of a call without the region and the signature.
pub(super) fn parameters(call: &Call<'_>) -> Vec<(String, String)> {
    let pairs = call.query.pairs().iter().filter(|(name, _)| {
        name != REGION.name && !name.to_ascii_lowercase().starts_with("x-amz-")
    });
    pairs.cloned().collect()
}

/// A row, answered by another region's node.
pub(super) async fn ask(api: &Api, call: &Call<'_>, region: RegionId) -> Result<Answer, Error> {
    let mut query = parameters(call);
    // It is asked for itself alone.
    query.push((REGION.name.to_owned(), region.to_string()));
    let question = Question::Row {
        method: call.method.to_owned(),
        path: call.path.to_owned(),
        query,
        by: Asker::of(call)?,
        body: String::from_utf8(call.body.to_vec()).map_err(|_| argument("the body is no text"))?,
    };
    match send(&api.engine, region, &question).await? {
        Told::Json(text) => serde_json::from_str(&text).map(Answer::Json).map_err(odd),
        Told::Text(text) => Ok(Answer::Metrics(text)),
        Told::Refused(why) => Err(why),
        Told::Lines(_) => Err(odd("it gave lines")),
    }
}

/// The next requests that ended in another region; none where none did for a while.
pub(super) async fn ask_requests(
    engine: &Engine,
    region: RegionId,
    listener: u64,
    (query, by): (&[(String, String)], &Asker),
) -> Result<Vec<String>, Error> {
    let question = Question::Requests { listener, query: query.to_vec(), by: by.clone() };
    match send(engine, region, &question).await? {
        Told::Lines(lines) => Ok(lines),
        Told::Refused(why) => Err(why),
        Told::Json(_) | Told::Text(_) => Err(odd("it gave a document")),
    }
}

async fn send(engine: &Engine, region: RegionId, question: &Question) -> Result<Told, Error> {
    let question = serde_json::to_vec(question).map_err(odd)?;
    let asked = engine.cluster().ask_admin(region, question.into(), limits::ADMIN_ASK_TIMEOUT);
    serde_json::from_slice(&asked.await?).map_err(odd)
}

fn odd(why: impl std::fmt::Display) -> Error {
    Error::Internal(format!("a region's answer: {why}"))
}

/// Answers another region's node.
pub(super) async fn answer(api: Arc<Api>, question: Bytes) -> Result<Bytes, String> {
    let question = serde_json::from_slice(&question).map_err(|why| why.to_string())?;
    let told = match question {
        Question::Row { method, path, query, by, body } => {
            let row = of_row(&api, (&method, &path), query, (by.caller(), &body)).await;
            row.unwrap_or_else(Told::Refused)
        }
        Question::Requests { listener, query, by } => {
            let lines = requests(&api, listener, query, by).await;
            lines.map_or_else(Told::Refused, Told::Lines)
        }
    };
    serde_json::to_vec(&told).map(Bytes::from).map_err(|why| why.to_string())
}

async fn of_row(
    api: &Api,
    (method, path): (&str, &str),
    query: Vec<(String, String)>,
    (caller, body): (Caller, &str),
) -> Result<Told, Error> {
    let (query, around) = (Query::of(query), Circumstances::default());
    let call = Call {
        caller: &caller,
        by_token: false,
        around: &around,
        method,
        path,
        query: &query,
        body: body.as_bytes(),
    };
    let route = routes::find(&call).map_err(refused)?;
    if !route.query.iter().any(|param| param.name == REGION.name) || route.shape == Shape::Lines {
        return Err(Error::AccessDenied(format!("`{path}` is not answered for another region")));
    }
    match Box::pin(routes::answer(api, &call)).await.map_err(refused)? {
        Answer::Json(value) => Ok(Told::Json(value.to_string())),
        Answer::Metrics(text) => Ok(Told::Text(text)),
        Answer::Lines(_) => Err(odd("lines are not one answer")),
    }
}

fn refused(error: S3Error) -> Error {
    match error.status().as_u16() {
        400 | 405 => Error::InvalidArgument(error.message().to_owned()),
        401 | 403 => Error::AccessDenied(error.message().to_owned()),
        409 => Error::Conflict(error.message().to_owned()),
        503 => crate::cluster::Unavailable::new(error.message().to_owned()).into(),
        _ => Error::Internal(error.message().to_owned()),
    }
}

async fn requests(
    api: &Api,
    listener: u64,
    query: Vec<(String, String)>,
    by: Asker,
) -> Result<Vec<String>, Error> {
    let env = api.engine.env();
    let mut trace = match api.listeners.take(listener, env.monotonic()) {
        Some(trace) => trace,
        None => Trace::new(api, by.account, &Query::of(query))?,
    };
    let mut lines = Vec::new();
    let mut patience = limits::TRACE_WAIT;
    while lines.len() < limits::TRACE_LINES_MAX {
        match env.timeout(patience, trace.line()).await {
            Ok(Some(line)) => lines.push(line),
            Ok(None) | Err(_) => break,
        }
        // What is there already, and no longer.
        patience = Duration::from_millis(1);
    }
    if !api.listeners.keep(listener, trace, env.monotonic()) {
        let why = format!("{} others listen to this region", limits::TRACES_KEPT_MAX);
        return Err(crate::cluster::Unavailable::new(why).into());
    }
    Ok(lines)
}
