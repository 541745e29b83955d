//! Websites of buckets: the setting. What it does is in `s3/website.rs`.

use serde::Deserialize;

use crate::limits;
use crate::logic::website::{
    self, NewKey, Pages, Protocol, Redirect, Refusal, Rule, Website, When,
};
use crate::s3::Ctx;
use crate::s3::error::{Code, S3Error};
use crate::s3::op::{BodyKind, Op, sub_resource};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::bucket::SettingKind;

pub(super) static OPS: &[Op] = &[
    sub_resource!(
        "DeleteBucketWebsite",
        Delete,
        Bucket,
        "website",
        DeleteBucketWebsite,
        BodyKind::None,
        delete
    ),
    sub_resource!(
        "GetBucketWebsite",
        Get,
        Bucket,
        "website",
        GetBucketWebsite,
        BodyKind::None,
        get
    ),
    sub_resource!(
        "PutBucketWebsite",
        Put,
        Bucket,
        "website",
        PutBucketWebsite,
        BodyKind::Xml(limits::XML_BYTES_MAX),
        put
    ),
];

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct WebsiteConfiguration {
    index_document: Option<IndexElement>,
    error_document: Option<ErrorElement>,
    redirect_all_requests_to: Option<AllElement>,
    routing_rules: Option<RulesElement>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct IndexElement {
    #[serde(default)]
    suffix: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ErrorElement {
    key: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct AllElement {
    host_name: String,
    protocol: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RulesElement {
    #[serde(default)]
    routing_rule: Vec<RuleElement>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RuleElement {
    condition: Option<ConditionElement>,
    redirect: RedirectElement,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct ConditionElement {
    key_prefix_equals: Option<String>,
    http_error_code_returned_equals: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct RedirectElement {
    host_name: Option<String>,
    protocol: Option<String>,
    replace_key_prefix_with: Option<String>,
    replace_key_with: Option<String>,
    http_redirect_code: Option<String>,
}

fn invalid(why: impl Into<std::borrow::Cow<'static, str>>) -> S3Error {
    S3Error::with(Code::InvalidRequest, why)
}

impl WebsiteConfiguration {
    fn site(self) -> Result<Website, S3Error> {
        let rules = self.routing_rules.map(|rules| rules.routing_rule).unwrap_or_default();
        if let Some(all) = self.redirect_all_requests_to {
            if self.index_document.is_some() || self.error_document.is_some() || !rules.is_empty() {
                let why = "RedirectAllRequestsTo cannot be provided in conjunction with other \
                           Routing Rules.";
                return Err(invalid(why));
            }
            let protocol = protocol(all.protocol)?;
            return Ok(Website::Elsewhere { host: all.host_name, protocol });
        }
        let Some(index) = self.index_document else {
            let why = "A value for IndexDocument Suffix must be provided if RedirectAllRequestsTo \
                       is empty";
            return Err(S3Error::argument("IndexDocument", "null", why));
        };
        let rules: Result<Vec<Rule>, S3Error> = rules.into_iter().map(RuleElement::rule).collect();
        Ok(Website::Pages(Pages {
            index: index.suffix,
            error: self.error_document.map(|error| error.key),
            rules: rules?,
        }))
    }
}

impl RuleElement {
    fn rule(self) -> Result<Rule, S3Error> {
        let when = self.condition.map_or(Ok(When::default()), ConditionElement::when)?;
        let to = self.redirect;
        let key = match (to.replace_key_with, to.replace_key_prefix_with) {
            (None, None) => None,
            (Some(key), None) => Some(NewKey::Whole(key)),
            (None, Some(prefix)) => Some(NewKey::Prefix(prefix)),
            (Some(_), Some(_)) => {
                let why = "You can only define ReplaceKeyPrefix or ReplaceKey but not both.";
                return Err(invalid(why));
            }
        };
        let redirect = Redirect {
            host: to.host_name.filter(|host| !host.is_empty()),
            protocol: protocol(to.protocol)?,
            key,
            status: to.http_redirect_code.as_deref().map(status).transpose()?,
        };
        Ok(Rule { when, redirect })
    }
}

impl ConditionElement {
    fn when(self) -> Result<When, S3Error> {
        let error = self.http_error_code_returned_equals.as_deref().map(status).transpose()?;
        if self.key_prefix_equals.is_none() && error.is_none() {
            let why = "Condition cannot be empty. To redirect all requests without a condition, \
                       the condition element shouldn't be present.";
            return Err(invalid(why));
        }
        Ok(When { prefix: self.key_prefix_equals, error })
    }
}

fn status(text: &str) -> Result<u16, S3Error> {
    text.parse().map_err(|_| S3Error::new(Code::MalformedXML))
}

fn protocol(name: Option<String>) -> Result<Option<Protocol>, S3Error> {
    let Some(name) = name.filter(|name| !name.is_empty()) else { return Ok(None) };
    let why = "Invalid protocol, protocol can be http or https. If not defined the protocol will \
               be selected automatically.";
    Protocol::parse(&name).map(Some).ok_or_else(|| invalid(why))
}

async fn put(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let document: WebsiteConfiguration = req.xml("WebsiteConfiguration")?;
    let site = document.site()?;
    website::check(&site).map_err(|why| match why {
        Refusal::Shape => S3Error::new(Code::MalformedXML),
        Refusal::Index(why) => S3Error::argument("IndexDocument", "", why),
        Refusal::Invalid(why) => invalid(why),
    })?;
    ctx.engine().put_document(req.bucket()?, SettingKind::Website, &site).await?;
    Ok(Reply::ok())
}

async fn delete(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    ctx.engine().put_setting(req.bucket()?, SettingKind::Website, None).await?;
    Ok(Reply::no_content())
}

async fn get(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let bucket = req.bucket()?;
    let site: Option<Website> = ctx.engine().document(bucket, SettingKind::Website).await?;
    let missing = Code::NoSuchWebsiteConfiguration;
    let site = site.ok_or_else(|| S3Error::new(missing).extra("BucketName", bucket.as_str()))?;
    let mut out = Writer::new("WebsiteConfiguration");
    match site {
        Website::Elsewhere { host, protocol } => {
            out.open("RedirectAllRequestsTo").text("HostName", &host);
            out.text_some("Protocol", protocol.map(Protocol::as_str));
        }
        Website::Pages(pages) => {
            out.open("IndexDocument").text("Suffix", &pages.index).close();
            if let Some(error) = &pages.error {
                out.open("ErrorDocument").text("Key", error).close();
            }
            if !pages.rules.is_empty() {
                out.open("RoutingRules");
                pages.rules.iter().for_each(|rule| write_rule(&mut out, rule));
            }
        }
    }
    Ok(Reply::xml(out))
}

fn write_rule(out: &mut Writer, Rule { when, redirect }: &Rule) {
    out.open("RoutingRule");
    if *when != When::default() {
        out.open("Condition").text_some("KeyPrefixEquals", when.prefix.as_deref());
        let error = when.error.map(|code| code.to_string());
        out.text_some("HttpErrorCodeReturnedEquals", error.as_deref()).close();
    }
    out.open("Redirect").text_some("HostName", redirect.host.as_deref());
    out.text_some("Protocol", redirect.protocol.map(Protocol::as_str));
    match &redirect.key {
        None => {}
        Some(NewKey::Whole(key)) => {
            out.text("ReplaceKeyWith", key);
        }
        Some(NewKey::Prefix(prefix)) => {
            out.text("ReplaceKeyPrefixWith", prefix);
        }
    }
    let status = redirect.status.map(|code| code.to_string());
    out.text_some("HttpRedirectCode", status.as_deref()).close().close();
}
