//! The S3 front: HTTP in, typed engine calls, HTTP out.
//!
//! Invariant: every request takes the path of [`Service::call`]; no operation skips or reorders a
//! step, and special cases are flags of its row in the table.

mod access_log;
mod around;
mod audited;
pub mod auth;
pub mod body;
mod chunked;
mod cors;
pub mod digest;
pub mod error;
pub mod feed;
pub mod form;
mod gate;
mod intake;
mod metrics;
pub mod op;
pub mod ops;
mod outgoing;
pub mod reply;
pub mod request;
mod respond;
mod slow;
pub mod target;
mod website;
pub mod xml;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, Version};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::engine;
use crate::env::{BoxFuture, Env};
use crate::limits;
use crate::obs::audit::Audit;
use crate::obs::flow::{self, Stage, Tracer};
use crate::types::access::Circumstances;
use crate::types::action::{Action, Target};
use crate::types::caller::Caller;
use crate::types::name::{AccessKeyId, BucketName};
use crate::types::object::Row;
use crate::types::record::AccessKeyRecord;
use crate::types::region::RegionId;

pub use access_log::AccessLogOptions;
use access_log::{Logs, Seen};
pub use auth::AuthOptions;
use auth::{Claim, Identity, SigningKeys};
use body::Expect;
use cors::Crossing;
use error::{Code, S3Error};
use intake::Head;
pub use metrics::S3Metrics;
use op::Auth;
pub use outgoing::Outgoing;
use reply::Reply;
use request::Query;
use respond::Trail;
use target::Route;

/// Stands among the extensions of a request that came over this node's own TLS.
#[derive(Clone, Copy, Debug)]
pub struct OverTls;

/// What operations work with.
pub struct Ctx {
    pub env: Env,
    pub options: Options,
    keys: SigningKeys,
    room: Arc<Semaphore>,
    metrics: S3Metrics,
    own: Own,
    gate: Arc<dyn Gate>,
    logs: Arc<Logs>,
    table: op::Table,
}

/// What the pipeline itself asks of the engine.
pub trait Gate: Send + Sync {
    /// The key, unless it does not exist or is revoked.
    fn access_key<'a>(
        &'a self,
        id: &'a AccessKeyId,
    ) -> BoxFuture<'a, Result<Option<AccessKeyRecord>, engine::Error>>;

    /// Says whether the caller may do this to that; the key's row, where it was looked at.
    fn authorize<'a>(
        &'a self,
        caller: &'a Caller,
        action: Action,
        target: &'a Target,
        around: &'a Circumstances,
    ) -> BoxFuture<'a, Result<Option<Row>, engine::Error>>;

    /// Waits until what a token names is known here.
    fn reach<'a>(&'a self, _token: &'a str) -> BoxFuture<'a, Result<(), engine::Error>> {
        Box::pin(std::future::ready(Ok(())))
    }

    /// What is known here now; a gate without an engine knows nothing.
    fn token(&self) -> Option<Arc<str>> {
        None
    }

    /// What S3's operations call; a gate without one serves other tables only.
    fn engine(&self) -> Option<&engine::Engine> {
        None
    }
}

/// How this node's S3 port behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// The region that answers.
    pub region: RegionId,
    /// Domains whose sub-domains are buckets, besides `localhost`.
    pub domains: Vec<String>,
    /// Domains whose sub-domains are websites of buckets, besides `web.localhost`.
    pub sites: Vec<String>,
    /// A host that is the name of a bucket with a website is that website's.
    pub own_hosts: bool,
    pub auth: AuthOptions,
    /// Weight of the requests that are served at the same time, see [`Op::weight`].
    pub room: usize,
    pub access_log: AccessLogOptions,
    /// Hears what requests did.
    pub feed: feed::Feed,
    /// Hears what was changed, and by whom.
    pub audit: Audit,
    /// Takes spans.
    pub tracer: Tracer,
    /// Requests that take longer leave a line that says where the time went; zero: none does.
    pub slow: Duration,
}

impl Options {
    /// The usual settings of a region.
    pub fn new(region: RegionId) -> Self {
        let auth = AuthOptions { regions: vec![region.to_string()], signature_v2: true };
        Self {
            region,
            domains: Vec::new(),
            sites: Vec::new(),
            own_hosts: false,
            auth,
            room: limits::REQUESTS_WEIGHT_MAX,
            access_log: AccessLogOptions::default(),
            feed: feed::Feed::default(),
            audit: Audit::default(),
            tracer: Tracer::default(),
            slow: limits::SLOW_DEFAULT,
        }
    }
}

/// Answers what is below `/-/`: not S3, so it comes from the wiring. The service is there to verify
/// signatures, see [`Service::verify`].
pub type Own = Arc<
    dyn Fn(
            Service,
            Request<hyper::body::Incoming>,
            SocketAddr,
        ) -> BoxFuture<'static, Response<Outgoing>>
        + Send
        + Sync,
>;

/// A request that is not S3 but signed like one.
#[derive(Debug)]
pub struct Signed {
    pub caller: Caller,
    pub method: Method,
    /// As it came, not decoded.
    pub path: String,
    pub query: Query,
    /// Whole, and verified.
    pub body: Bytes,
}

/// The S3 front of one node. Cheap to clone.
#[derive(Clone)]
pub struct Service(Arc<Ctx>);

impl Service {
    pub fn new(env: Env, gate: Arc<dyn Gate>, options: Options, own: Own) -> Self {
        Self::with_table(env, gate, options, own, ops::GROUPS)
    }

    fn with_table(
        env: Env,
        gate: Arc<dyn Gate>,
        mut options: Options,
        own: Own,
        table: op::Table,
    ) -> Self {
        options.domains = options.domains.iter().map(|d| d.to_ascii_lowercase()).collect();
        options.domains.push("localhost".to_owned());
        options.sites = options.sites.iter().map(|d| d.to_ascii_lowercase()).collect();
        options.sites.push("web.localhost".to_owned());
        let metrics = S3Metrics::default();
        let logs = Logs::new(env.clone(), options.access_log, options.region, metrics.clone());
        Self(Arc::new(Ctx {
            env,
            gate,
            table,
            keys: SigningKeys::new(),
            room: Arc::new(Semaphore::new(options.room)),
            metrics,
            logs: Arc::new(logs),
            options,
            own,
        }))
    }

    /// What it counts, for the node's registry.
    pub fn metrics(&self) -> &S3Metrics {
        &self.0.metrics
    }

    /// Answers one request of a client at `peer`.
    pub async fn call(
        &self,
        request: Request<hyper::body::Incoming>,
        peer: SocketAddr,
    ) -> Response<Outgoing> {
        if let Some(site) = website::route(&self.0, &request) {
            return Box::pin(self.visit(request, site, peer)).await;
        }
        let ctx = &self.0;
        let expect = Expect::of(request.headers()).filter(|_| request.version() < Version::HTTP_2);
        let mut response = match intake::route(&request, &ctx.options.domains) {
            Ok(Route::Own) => (ctx.own)(self.clone(), request, peer).await,
            Ok(Route::S3 { target, virtual_host }) => {
                let expect = expect.clone();
                let mut trail = Trail::new(ctx, request.method(), Some(&target));
                trail.seen = Seen::of(ctx, &request, &target, peer, false);
                trail.source = Some(peer.ip());
                trail.follow(ctx, request.headers());
                let crossing = Crossing::of(request.method(), request.headers(), &target);
                let head = intake::split(ctx, request, target, virtual_host, expect);
                let result = match head {
                    Ok(head) => {
                        let flow = trail.flow.clone();
                        flow::within(flow, Box::pin(answer(ctx, head, peer, &mut trail))).await
                    }
                    Err(error) => Err(error),
                };
                let mut response = trail.finish(ctx, result).await;
                if let Some(crossing) = crossing {
                    crossing.mark(ctx, response.headers_mut()).await;
                }
                response
            }
            Err(error) => Trail::new(ctx, request.method(), None).finish(ctx, Err(error)).await,
        };
        if expect.is_some_and(|expect| expect.is_waiting()) {
            let close = HeaderValue::from_static("close");
            response.headers_mut().insert(http::header::CONNECTION, close);
        }
        response
    }
}

impl Service {
    /// Answers a request on a website's host.
    async fn visit(
        &self,
        request: Request<hyper::body::Incoming>,
        site: Result<(BucketName, String), S3Error>,
        peer: SocketAddr,
    ) -> Response<Outgoing> {
        let ctx = &self.0;
        let site = match site {
            Ok(site) => site,
            Err(error) => {
                return Trail::new(ctx, request.method(), None).finish(ctx, Err(error)).await;
            }
        };
        let target = website::target_of(&site);
        let mut trail = Trail::new(ctx, request.method(), Some(&target));
        trail.seen = Seen::of(ctx, &request, &target, peer, true);
        let crossing = Crossing::of(request.method(), request.headers(), &target);
        let result = website::answer(ctx, request, site, peer, &mut trail).await;
        let mut response = trail.finish(ctx, result).await;
        if let Some(crossing) = crossing {
            crossing.mark(ctx, response.headers_mut()).await;
        }
        response
    }

    /// Delivers the access logs that are due, or all that wait.
    pub async fn deliver_logs(&self, all: bool) {
        if let Some(engine) = self.0.gate.engine() {
            Box::pin(self.0.logs.deliver(engine, all)).await;
        }
    }

    /// Verifies a request of the wiring's own (`/-/...`) as S3's are verified, and reads its body
    /// of at most `max` bytes. Without a signature it is `AccessDenied`.
    pub async fn verify(
        &self,
        request: Request<hyper::body::Incoming>,
        max: usize,
    ) -> Result<Signed, S3Error> {
        let ctx = &self.0;
        let head = intake::split(ctx, request, Target::Service, false, None)?;
        let identity = identify(ctx, Auth::Signed, &head).await?;
        if identity.caller == Caller::Anonymous {
            return Err(S3Error::new(Code::AccessDenied));
        }
        head.into_signed(identity, max).await
    }
}

/// The path of every S3 request.
async fn answer(
    ctx: &Ctx,
    mut head: Head,
    peer: SocketAddr,
    trail: &mut Trail,
) -> Result<Reply, S3Error> {
    let op = op::find(ctx.table, &head.target, &head.parts.method, &head.query, head.headers())?;
    trail.op = op.name;
    trail.audited = audited::hears(&ctx.options.audit, op);
    trail.permit = Some(admit(ctx, op.weight())?);
    if op.auth == Auth::Form {
        head.unfold().await?;
        trail.unfold(&head);
    }
    let began = ctx.env.monotonic();
    let identity = identify(ctx, op.auth, &head).await?;
    trail.caller = identity.caller.clone();
    head.check_policy(ctx.env.now_ms())?;
    if let Some(token) = head.text(gate::TOKEN) {
        ctx.gate.reach(token).await?;
    }
    let around = around::of(&head, peer, ctx.env.now_ms());
    let mut seen = None;
    if matches!(op.auth, Auth::Form | Auth::Signed) {
        let action = around::action(op.action, &head.query);
        seen = ctx.gate.authorize(&identity.caller, action, &head.target, &around).await?;
    }
    flow::count(Stage::Access, ctx.env.monotonic().saturating_sub(began));
    gate::expected_owner(ctx, op, &head).await?;
    let charged = gate::is_charged(ctx, &identity.caller, &head).await?;
    let mut req = head.into_request(op, identity, around, trail.id.clone()).await?;
    req.seen = seen;
    let reply = (op.run)(ctx, req).await?;
    Ok(if charged { reply.with(gate::CHARGED, gate::REQUESTER) } else { reply })
}

fn admit(ctx: &Ctx, weight: u32) -> Result<OwnedSemaphorePermit, S3Error> {
    ctx.room.clone().try_acquire_many_owned(weight).map_err(|_| {
        ctx.metrics.shed.inc();
        S3Error::new(Code::SlowDown).retry_after(Duration::from_secs(1))
    })
}

async fn identify(ctx: &Ctx, auth: Auth, head: &Head) -> Result<Identity, S3Error> {
    let look = head.look(ctx.env.now_ms());
    let claim = match auth {
        Auth::Signed | Auth::PerKey => Claim::parse(&look, &ctx.options.auth)?,
        Auth::Form => head.form_claim(&look, &ctx.options.auth)?,
        Auth::Public => Claim::Anonymous,
    };
    let record = match claim.access_key() {
        Some(id) => ctx.gate.access_key(id).await?,
        None => None,
    };
    claim.verify(&look, record.as_ref(), &ctx.keys)
}

#[cfg(test)]
mod tests;
