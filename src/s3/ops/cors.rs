//! Rules for requests of other origins: the setting, and the preflight that asks them.

use http::Method;
use serde::Deserialize;

use crate::limits;
use crate::logic::cors::{self, Refusal, Rule};
use crate::s3::Ctx;
use crate::s3::cors::marks;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, run, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::action::Action;
use crate::types::bucket::SettingKind;

/// A preflight: a browser asks before the request that it is about.
macro_rules! preflight {
    ($name:literal, $on:ident) => {
        Op {
            name: $name,
            on: On::$on,
            verb: Verb::Options,
            when: &[],
            action: Action::GetBucketCORS,
            body: BodyKind::None,
            auth: Auth::Public,
            run: run!(preflight),
        }
    };
}

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "DeleteBucketCors",
        Delete,
        Bucket,
        "cors",
        PutBucketCORS,
        BodyKind::None,
        delete
    ),
    sub_resource!("GetBucketCors", Get, Bucket, "cors", GetBucketCORS, BodyKind::None, get),
    sub_resource!(
        "PutBucketCors",
        Put,
        Bucket,
        "cors",
        PutBucketCORS,
        BodyKind::Xml(limits::XML_BYTES_MAX),
        put
    ),
    preflight!("Preflight of a bucket", Bucket),
    preflight!("Preflight of an object", Object),
];

#[derive(Debug, Deserialize)]
struct CorsConfiguration {
    #[serde(rename = "CORSRule", default)]
    rules: Vec<RuleElement>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RuleElement {
    #[serde(rename = "ID")]
    id: Option<String>,
    #[serde(default)]
    allowed_header: Vec<String>,
    #[serde(default)]
    allowed_method: Vec<String>,
    #[serde(default)]
    allowed_origin: Vec<String>,
    #[serde(default)]
    expose_header: Vec<String>,
    max_age_seconds: Option<u32>,
}

impl From<RuleElement> for Rule {
    fn from(element: RuleElement) -> Self {
        Self {
            id: element.id,
            headers: element.allowed_header,
            methods: element.allowed_method,
            origins: element.allowed_origin,
            expose: element.expose_header,
            max_age_seconds: element.max_age_seconds,
        }
    }
}

async fn put(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let document: CorsConfiguration = req.xml("CORSConfiguration")?;
    let rules: Vec<Rule> = document.rules.into_iter().map(Rule::from).collect();
    check(&rules)?;
    ctx.engine().put_document(req.bucket()?, SettingKind::Cors, &rules).await?;
    Ok(Reply::ok())
}

pub(super) fn check(rules: &[Rule]) -> Result<(), S3Error> {
    cors::check(rules).map_err(|why| match why {
        Refusal::Shape => S3Error::new(Code::MalformedXML),
        Refusal::Invalid(why) => S3Error::with(Code::InvalidRequest, why),
    })
}

async fn get(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let rules = rules(ctx, &req).await?.ok_or_else(|| {
        let bucket = req.target.bucket().map(ToString::to_string).unwrap_or_default();
        S3Error::new(Code::NoSuchCORSConfiguration).extra("BucketName", bucket)
    })?;
    let mut out = Writer::new("CORSConfiguration");
    for rule in &rules {
        out.open("CORSRule").text_some("ID", rule.id.as_deref());
        let lists = [
            ("AllowedHeader", &rule.headers),
            ("AllowedMethod", &rule.methods),
            ("AllowedOrigin", &rule.origins),
            ("ExposeHeader", &rule.expose),
        ];
        for (name, texts) in lists {
            for text in texts {
                out.text(name, text);
            }
        }
        if let Some(seconds) = rule.max_age_seconds {
            out.value("MaxAgeSeconds", seconds);
        }
        out.close();
    }
    Ok(Reply::xml(out))
}

async fn delete(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    ctx.engine().put_setting(req.bucket()?, SettingKind::Cors, None).await?;
    Ok(Reply::no_content())
}

async fn rules(ctx: &Ctx, req: &Req) -> Result<Option<Vec<Rule>>, S3Error> {
    Ok(ctx.engine().document(req.bucket()?, SettingKind::Cors).await?)
}

async fn preflight(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let bad = |why: String| S3Error::with(Code::BadRequest, why);
    let Some(origin) = req.header("origin")? else {
        return Err(bad("Insufficient information. Origin request header needed.".to_owned()));
    };
    let method = req.header("access-control-request-method")?.unwrap_or("null");
    let known = [Method::GET, Method::PUT, Method::HEAD, Method::POST, Method::DELETE];
    if !known.iter().any(|known| known.as_str() == method) {
        return Err(bad(format!("Invalid Access-Control-Request-Method: {method}")));
    }
    let list = req.header("access-control-request-headers")?.unwrap_or_default();
    let names: Vec<&str> = list.split(',').map(str::trim).filter(|n| !n.is_empty()).collect();
    let refused = |why: &'static str| {
        S3Error::with(Code::AccessForbidden, why)
            .extra("Method", method)
            .extra("ResourceType", if req.target.key().is_some() { "OBJECT" } else { "BUCKET" })
    };
    let Some(rules) = rules(ctx, &req).await? else {
        return Err(refused("CORSResponse: CORS is not enabled for this bucket."));
    };
    let asked = cors::Asked { origin, method, headers: &names };
    let allowed = cors::find(&rules, &asked).ok_or_else(|| {
        refused(
            "CORSResponse: This CORS request is not allowed. This is usually because the \
             evalution of Origin, request method / Access-Control-Request-Method or \
             Access-Control-Request-Headers are not whitelisted by the resource's CORS spec.",
        )
    })?;
    let mut reply = Reply::ok();
    reply.headers = marks(&allowed, origin, &names)?;
    Ok(reply)
}
