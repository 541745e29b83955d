//! Websites of buckets: what browsers get on a site's host.
//! Source: S3 user guide, "Hosting a static website using Amazon S3".
//!
//! Invariant: a site shows what anyone may read, decided key by key as for GetObject; credentials,
//! versions and parameters of a request mean nothing here.

use std::net::SocketAddr;

use http::header::{ALLOW, CONTENT_TYPE, LOCATION};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode, Uri};
use hyper::body::Incoming;

use crate::logic::website::{self, First, Moved, Pages, Protocol, Website};
use crate::types::access::Circumstances;
use crate::types::action::{Action, Target};
use crate::types::bucket::SettingKind;
use crate::types::caller::Caller;
use crate::types::name::{BucketName, ObjectKey};

use super::Ctx;
use super::body::Body;
use super::error::{Code, S3Error};
use super::intake;
use super::ops;
use super::reply::{Reply, ReplyBody};
use super::request::{Query, Req};
use super::respond::Trail;
use super::target;
use super::xml::escape;

/// Where an object's redirect stands in its head.
const REDIRECT: HeaderName = HeaderName::from_static("x-amz-website-redirect-location");

/// The bucket and the key of a request, where its host is a site's.
pub(super) fn route<B>(
    ctx: &Ctx,
    request: &Request<B>,
) -> Option<Result<(BucketName, String), S3Error>> {
    let host = intake::host(request.headers(), request.uri());
    let bucket = match target::bucket_of_host(&host, &ctx.options.sites) {
        Some(bucket) => bucket,
        None if ctx.options.own_hosts => own_host(ctx, &host)?,
        None => return None,
    };
    Some(target::site(&bucket, request.uri().path()))
}

/// A host that is the name of a bucket with a site. A name without a dot is more likely that of
/// this machine or container.
fn own_host(ctx: &Ctx, host: &str) -> Option<String> {
    let name = target::without_port(host).to_ascii_lowercase();
    let bases = &ctx.options.domains;
    let known = bases.contains(&name) || target::bucket_of_host(&name, bases).is_some();
    let bucket = BucketName::parse(&name).ok().filter(|_| !known && name.contains('.'))?;
    match ctx.gate.engine()?.known_setting(&bucket, SettingKind::Website) {
        Ok(site) => site.map(|_| name),
        Err(error) => {
            tracing::warn!(%bucket, %error, "whether a host is a site cannot be read");
            None
        }
    }
}

/// What the log says that a request is about.
pub(super) fn target_of((bucket, key): &(BucketName, String)) -> Target {
    match ObjectKey::parse(key) {
        Ok(key) => Target::Object(bucket.clone(), key),
        Err(_) => Target::Bucket(bucket.clone()),
    }
}

/// One browser's request.
struct Visit<'a> {
    ctx: &'a Ctx,
    bucket: BucketName,
    key: String,
    query: Option<String>,
    head: bool,
    headers: HeaderMap,
    around: Circumstances,
    host: String,
    id: String,
}

/// Answers a request on a site's host; errors are pages.
pub(super) async fn answer(
    ctx: &Ctx,
    request: Request<Incoming>,
    (bucket, key): (BucketName, String),
    peer: SocketAddr,
    trail: &mut Trail,
) -> Result<Reply, S3Error> {
    trail.op = "Website";
    let page =
        Page { head: *request.method() == Method::HEAD, key: key.clone(), id: trail.id.clone() };
    let answer = match Visit::of(ctx, request, (bucket, key), peer, trail) {
        Ok(visit) => visit.answer(trail).await,
        Err(error) => Err(error),
    };
    match answer {
        Ok(reply) => Ok(reply),
        // What a client has already needs no page.
        Err(error) if error.code() == Code::NotModified => Err(error),
        Err(error) => {
            trail.error = Some(error.code());
            Ok(page.of(&error))
        }
    }
}

impl<'a> Visit<'a> {
    fn of(
        ctx: &'a Ctx,
        mut request: Request<Incoming>,
        (bucket, key): (BucketName, String),
        peer: SocketAddr,
        trail: &mut Trail,
    ) -> Result<Self, S3Error> {
        if ![Method::GET, Method::HEAD].contains(request.method()) {
            return Err(S3Error::new(Code::MethodNotAllowed)
                .extra("Method", request.method().as_str())
                .extra("ResourceType", "OBJECT")
                .header(ALLOW, HeaderValue::from_static("GET, HEAD")));
        }
        trail.permit = Some(super::admit(ctx, 1)?);
        let query = request.uri().query().map(str::to_owned);
        let host = intake::host(request.headers(), request.uri());
        *request.uri_mut() = Uri::try_from(request.uri().path()).map_err(S3Error::internal)?;
        request.headers_mut().remove(http::header::AUTHORIZATION);
        let target = Target::Bucket(bucket.clone());
        let head = intake::split(ctx, request, target, true, None)?;
        let around = super::around::of(&head, peer, ctx.env.now_ms());
        let (id, headers) = (trail.id.clone(), head.parts.headers);
        let head = head.parts.method == Method::HEAD;
        Ok(Self { ctx, bucket, key, query, head, headers, around, host, id })
    }

    async fn answer(&self, trail: &mut Trail) -> Result<Reply, S3Error> {
        let site: Option<Website> =
            self.ctx.engine().document(&self.bucket, SettingKind::Website).await?;
        let site = site.ok_or_else(|| {
            S3Error::new(Code::NoSuchWebsiteConfiguration).extra("BucketName", self.bucket.as_str())
        })?;
        let key = match website::first(&site, &self.key, self.query.as_deref()) {
            First::Moved(moved) => return self.moved(&moved),
            First::Key(key) => key,
        };
        let Website::Pages(pages) = &site else {
            return Err(S3Error::internal("a site elsewhere serves no key"));
        };
        match self.object(&key, &self.headers, self.head).await {
            Ok(reply) => redirected(reply),
            Err(error) if error.code() == Code::NotModified => Err(error),
            Err(error) => self.failed(pages, error, trail).await,
        }
    }

    /// A folder without its slash, a rule for the error, the site's own page, or none of them.
    async fn failed(
        &self,
        pages: &Pages,
        error: S3Error,
        trail: &mut Trail,
    ) -> Result<Reply, S3Error> {
        // Whether a key is missing is not shown to all, but an index that all may read is.
        let missing = [Code::NoSuchKey, Code::AccessDenied].contains(&error.code());
        if let Some((index, location)) = pages.folder(&self.key).filter(|_| missing)
            && self.is_readable(&index).await?
        {
            return to(StatusCode::FOUND, &location);
        }
        if let Some(moved) = website::after_error(pages, &self.key, error.status().as_u16()) {
            return self.moved(&moved);
        }
        let Some(key) = pages.error.as_ref().filter(|_| error.status().is_client_error()) else {
            return Err(error);
        };
        // The page whole, whatever part or change of the missing one was asked for.
        match self.object(key, &HeaderMap::new(), self.head).await {
            Ok(mut reply) => {
                trail.error = Some(error.code());
                reply.status = error.status();
                mark(&mut reply.headers, &error);
                Ok(reply)
            }
            Err(second) => {
                let why = "An Error Occurred While Attempting to Retrieve a Custom Error Document";
                Err(error.extra(why, second.code().as_str()))
            }
        }
    }

    /// An object as GetObject gives it to anyone.
    async fn object(&self, key: &str, headers: &HeaderMap, head: bool) -> Result<Reply, S3Error> {
        let target = self.target(key)?;
        let caller = Caller::Anonymous;
        let gate = &self.ctx.gate;
        let seen = gate.authorize(&caller, Action::GetObject, &target, &self.around).await?;
        let req = Req {
            caller,
            around: self.around.clone(),
            seen,
            target,
            query: Query::default(),
            headers: headers.clone(),
            form: None,
            body: Body::empty(),
            document: bytes::Bytes::new(),
            id: self.id.clone(),
            host: self.host.clone(),
            virtual_host: true,
            head,
        };
        ops::read_object(self.ctx, req).await
    }

    async fn is_readable(&self, key: &str) -> Result<bool, S3Error> {
        match self.object(key, &HeaderMap::new(), true).await {
            Ok(_) => Ok(true),
            Err(error) if error.status().is_client_error() => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn target(&self, key: &str) -> Result<Target, S3Error> {
        let key = ObjectKey::parse(key).map_err(|why| {
            S3Error::with(Code::InvalidArgument, why.to_string()).extra("Key", key)
        })?;
        Ok(Target::Object(self.bucket.clone(), key))
    }

    fn moved(&self, moved: &Moved) -> Result<Reply, S3Error> {
        let protocol = if self.around.secure { Protocol::Https } else { Protocol::Http };
        let status = StatusCode::from_u16(moved.status).map_err(S3Error::internal)?;
        to(status, &moved.location(protocol, &self.host))
    }
}

/// An object that stands for another address.
fn redirected(reply: Reply) -> Result<Reply, S3Error> {
    match reply.headers.get(REDIRECT) {
        None => Ok(reply),
        Some(location) => {
            Ok(Reply::empty(StatusCode::MOVED_PERMANENTLY).with(LOCATION, location.clone()))
        }
    }
}

fn to(status: StatusCode, location: &str) -> Result<Reply, S3Error> {
    let location = HeaderValue::try_from(location).map_err(S3Error::internal)?;
    Ok(Reply::empty(status).with(LOCATION, location))
}

/// What scripts read of an error, whose body may be any page.
fn mark(headers: &mut HeaderMap, error: &S3Error) {
    let message = HeaderValue::try_from(error.message());
    let code = HeaderValue::from_static(error.code().as_str());
    headers.insert(HeaderName::from_static("x-amz-error-code"), code);
    if let Ok(message) = message {
        headers.insert(HeaderName::from_static("x-amz-error-message"), message);
    }
}

/// A page of this program's own.
struct Page {
    head: bool,
    key: String,
    id: String,
}

impl Page {
    fn of(&self, error: &S3Error) -> Reply {
        let mut reply = Reply::empty(error.status());
        reply.headers.clone_from(error.headers());
        mark(&mut reply.headers, error);
        reply.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        if !self.head {
            reply.body = ReplyBody::Bytes(self.html(error).into());
        }
        reply
    }

    fn html(&self, error: &S3Error) -> String {
        let status = error.status().to_string();
        let key = (error.code() == Code::NoSuchKey).then_some(("Key", self.key.as_str()));
        let extras = error.extras().iter().map(|(name, value)| (*name, value.as_str()));
        let rows = [("Code", error.code().as_str()), ("Message", error.message())];
        let ids = [("RequestId", self.id.as_str()), ("HostId", self.id.as_str())];
        let mut page = format!(
            "<html>\n<head><title>{status}</title></head>\n<body>\n<h1>{status}</h1>\n<ul>\n"
        );
        for (name, value) in rows.into_iter().chain(key).chain(extras).chain(ids) {
            page.push_str("<li>");
            page.push_str(name);
            page.push_str(": ");
            escape(value, &mut page);
            page.push_str("</li>\n");
        }
        page.push_str("</ul>\n<hr/>\n</body>\n</html>\n");
        page
    }
}
