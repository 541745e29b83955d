//! The requests of a node as they end.
//!
//! Invariant: a caller sees what keys of its own account did, and what anybody did with buckets of
//! its account, and nothing else.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream;

use crate::engine::{Engine, Error};
use crate::limits;
use crate::s3::feed::{Feed, Heard, Listener, Told};
use crate::s3::reply::ByteStream;
use crate::s3::request::Query;
use crate::types::caller::Caller;
use crate::types::name::AccountId;
use crate::types::region::RegionId;

use super::api::Api;
use super::elsewhere::{self, Asker};
use super::model::TraceLine;
use super::route::{Call, Route, argument, optional, route};

pub(super) const ROUTES: &[Route] = &[route!(
    GET "trace", Admin, trace, () => lines TraceLine,
    [
        optional("op", "Only this operation, as `GetObject`."),
        optional("status", "Only this status: `404`, or `5xx` for all of a class."),
        optional("bucket", "Only this bucket."),
        optional("prefix", "Only keys that begin so."),
        optional("min_ms", "Only requests that took at least so long."),
        optional("errors", "`true`: only requests that were refused or failed."),
        optional("region", "Those of this region, or `all`; without it of the node that answers.")
    ],
    "The requests of the node that answers, or of all, as they end. A blank line is sent now and \
     then, so that a client that went away is noticed."
)];

/// So often an idle stream says something.
const PULSE: Duration = Duration::from_secs(10);

/// What a listener wants to hear.
#[derive(Default)]
struct Filter {
    op: Option<String>,
    /// The least and the largest.
    status: Option<(u16, u16)>,
    bucket: Option<String>,
    prefix: Option<String>,
    min_ms: u64,
    errors: bool,
}

impl Filter {
    fn of(query: &Query) -> Result<Self, Error> {
        let text = |name: &str| query.get(name).map(str::to_owned);
        let bad = |name: &str| argument(format!("`{name}` is not valid"));
        let min_ms = query.get("min_ms").map(|ms| ms.parse().map_err(|_| bad("min_ms")));
        let errors = query.get("errors").map(|errors| errors.parse().map_err(|_| bad("errors")));
        Ok(Self {
            op: text("op"),
            status: query.get("status").map(statuses).transpose()?,
            bucket: text("bucket"),
            prefix: text("prefix"),
            min_ms: min_ms.transpose()?.unwrap_or(0),
            errors: errors.transpose()?.unwrap_or(false),
        })
    }

    fn takes(&self, told: &Told) -> bool {
        let bucket = told.bucket.as_ref().map(|bucket| bucket.as_str());
        let key = told.key.as_ref().map(|key| key.as_str());
        self.op.as_ref().is_none_or(|op| op.eq_ignore_ascii_case(told.op))
            && self.status.is_none_or(|(min, max)| (min..=max).contains(&told.status))
            && self.bucket.as_ref().is_none_or(|asked| bucket == Some(asked))
            && self.prefix.as_ref().is_none_or(|p| key.is_some_and(|key| key.starts_with(p)))
            && told.ms >= self.min_ms
            && (!self.errors || told.status >= 400)
    }
}

/// `404` or `5xx`.
fn statuses(text: &str) -> Result<(u16, u16), Error> {
    let bad = || argument(format!("`status={text}` is neither like 404 nor like 5xx"));
    if let Some(class) = text.strip_suffix("xx") {
        let class: u16 = class.parse().map_err(|_| bad())?;
        let first = class.checked_mul(100).ok_or_else(bad)?;
        return Ok((first, first.saturating_add(99)));
    }
    let one = text.parse().map_err(|_| bad())?;
    Ok((one, one))
}

/// What one listener hears of this node's requests.
pub(super) struct Trace {
    engine: Engine,
    account: AccountId,
    filter: Filter,
    listener: Listener,
    missed: u64,
    /// Heard, and not judged yet: who waits for a line may stop to at any moment.
    heard: Option<Arc<Told>>,
}

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn trace(api: &Api, call: &Call<'_>, (): ()) -> Result<ByteStream, Error> {
    let (all, own) = (call.query.get("region") == Some("all"), api.engine.region());
    let elsewhere = if all { None } else { elsewhere::region_of(api, call)? };
    let members = api.engine.cluster().members();
    let regions: Vec<RegionId> = members.regions().map(|info| info.id).collect();
    let asked = regions.into_iter().filter(|region| match elsewhere {
        Some(one) => *region == one,
        None => all && *region != own,
    });
    let mut sources: Vec<ByteStream> = Vec::new();
    for region in asked {
        sources.push(Elsewhere::of(api, call, region)?.stream());
    }
    if elsewhere.is_none() {
        let trace = Trace::new(api, call.account()?.clone(), call.query)?;
        sources.push(Box::pin(stream::unfold(trace, |mut trace| async move {
            let line = trace.next().await?;
            Some((Ok(line), trace))
        })));
    }
    // The first bytes are sent at once: a client knows then that it hears everything from now on.
    let first = stream::iter([Ok(Bytes::from_static(b"\n"))]);
    Ok(Box::pin(first.chain(stream::select_all(sources))))
}

/// The requests of another region, asked for again and again.
struct Elsewhere {
    engine: Engine,
    feed: Feed,
    region: RegionId,
    listener: u64,
    query: Vec<(String, String)>,
    by: Asker,
}

impl Elsewhere {
    fn of(api: &Api, call: &Call<'_>, region: RegionId) -> Result<Self, Error> {
        // What is wrong with the filters is told at once.
        Filter::of(call.query)?;
        Ok(Self {
            engine: api.engine.clone(),
            feed: api.feed.clone(),
            region,
            listener: u64::from_be_bytes(api.engine.env().random()),
            query: elsewhere::parameters(call),
            by: Asker::of(call)?,
        })
    }

    fn stream(self) -> ByteStream {
        Box::pin(stream::unfold(self, |this| async move {
            let lines = this.next().await?;
            Some((Ok(lines), this))
        }))
    }

    /// The next lines, or a blank one; `None` when this node stops. A region that cannot be reached
    /// is asked again.
    async fn next(&self) -> Option<Bytes> {
        if self.feed.is_closed() {
            return None;
        }
        let of = (&self.query[..], &self.by);
        match elsewhere::ask_requests(&self.engine, self.region, self.listener, of).await {
            Ok(lines) => Some((lines.join("\n") + "\n").into()),
            Err(why) => {
                tracing::debug!(region = %self.region, %why, "its requests cannot be heard");
                self.engine.env().sleep(limits::TRACE_WAIT).await;
                Some(Bytes::from_static(b"\n"))
            }
        }
    }
}

impl Trace {
    pub(super) fn new(api: &Api, account: AccountId, query: &Query) -> Result<Self, Error> {
        let (filter, listener) = (Filter::of(query)?, api.feed.listen());
        Ok(Self { engine: api.engine.clone(), account, filter, listener, missed: 0, heard: None })
    }

    /// The next bytes; `None` when the node stops.
    async fn next(&mut self) -> Option<Bytes> {
        let env = self.engine.env().clone();
        match env.timeout(PULSE, self.line()).await {
            Ok(line) => Some((line? + "\n").into()),
            Err(_) => Some(Bytes::from_static(b"\n")),
        }
    }

    /// The next line, without its end. Nothing is lost when it is not waited for to the end.
    pub(super) async fn line(&mut self) -> Option<String> {
        loop {
            let told = match self.heard.clone() {
                Some(told) => told,
                None => match self.listener.next().await? {
                    Heard::Missed(count) => {
                        self.missed += count;
                        continue;
                    }
                    Heard::Request(told) => self.heard.insert(told).clone(),
                },
            };
            let seen = self.filter.takes(&told) && Box::pin(self.may_see(&told)).await;
            self.heard = None;
            if seen {
                let missed = std::mem::take(&mut self.missed);
                return serde_json::to_string(&line(&told, self.engine.region(), missed)).ok();
            }
        }
    }

    async fn may_see(&self, told: &Told) -> bool {
        if told.caller.account() == Some(&self.account) {
            return true;
        }
        let Some(bucket) = &told.bucket else { return false };
        let config = self.engine.bucket_config(bucket).await;
        config.is_ok_and(|config| config.owner == self.account)
    }
}

fn line(told: &Told, region: RegionId, missed: u64) -> TraceLine {
    let caller = match &told.caller {
        Caller::Anonymous => "anonymous".to_owned(),
        Caller::Key { access_key, .. } => access_key.to_string(),
    };
    TraceLine {
        at_ms: told.at_ms,
        region,
        id: told.id.clone(),
        op: told.op.to_owned(),
        caller,
        bucket: told.bucket.as_ref().map(ToString::to_string),
        key: told.key.as_ref().map(ToString::to_string),
        status: told.status,
        error: told.error.map(str::to_owned),
        bytes: told.bytes,
        ms: told.ms,
        source: told.source.clone(),
        missed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(status: u16, ms: u64) -> Told {
        Told {
            at_ms: 1,
            id: "1".to_owned(),
            op: "GetObject",
            caller: Caller::Anonymous,
            bucket: Some("photos".parse().unwrap()),
            key: None,
            status,
            error: None,
            bytes: 0,
            ms,
            source: None,
        }
    }

    #[test]
    fn a_filter_takes_what_fits_in_all_its_parts() {
        let filter = |change: fn(&mut Filter)| {
            let mut filter = Filter::default();
            change(&mut filter);
            filter
        };
        assert!(Filter::default().takes(&told(200, 0)));
        assert!(filter(|f| f.status = statuses("5xx").ok()).takes(&told(503, 0)));
        assert!(!filter(|f| f.status = statuses("5xx").ok()).takes(&told(404, 0)));
        assert!(filter(|f| f.op = Some("getobject".into())).takes(&told(200, 0)));
        assert!(!filter(|f| f.bucket = Some("other".into())).takes(&told(200, 0)));
        assert!(!filter(|f| f.prefix = Some("a".into())).takes(&told(200, 0)));
        assert!(!filter(|f| f.min_ms = 5).takes(&told(200, 4)));
        assert!(!filter(|f| f.errors = true).takes(&told(304, 9)));
        for bad in ["", "xx", "5x", "999999xx", "ok"] {
            assert!(statuses(bad).is_err(), "{bad}");
        }
    }
}
