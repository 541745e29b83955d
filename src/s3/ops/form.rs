//! Uploads from forms: a PutObject with another answer.
//! Source: S3 API reference, "POST Object".

use http::header::{ETAG, LOCATION};
use http::{StatusCode, Uri};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

use crate::s3::Ctx;
use crate::s3::error::S3Error;
use crate::s3::form::Fields;
use crate::s3::op::{Auth, BodyKind, On, Op, Verb, run};
use crate::s3::reply::Reply;
use crate::s3::request::Req;
use crate::s3::xml::Writer;
use crate::types::action::Action;

use super::answers::location;
use super::object::put;

pub(super) static OPS: &[Op] = &[Op {
    name: "PostObject",
    on: On::Bucket,
    verb: Verb::Post,
    when: &[],
    action: Action::PutObject,
    body: BodyKind::Stream,
    auth: Auth::Form,
    run: run!(post),
}];

/// What stays as it is in the query of a redirect.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

async fn post(ctx: &Ctx, req: Req) -> Result<Reply, S3Error> {
    let form = req.form.clone().unwrap_or_default();
    let (bucket, key) = (req.bucket()?.clone(), req.key()?.clone());
    let location = location(&req)?;
    let reply = put(ctx, req).await?;
    let etag = reply.headers.get(ETAG).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let etag = etag.to_owned();
    if let Some(url) = redirect(&form) {
        let pairs = [("bucket", bucket.as_str()), ("key", key.as_str()), ("etag", &etag)];
        let reply = reply.with_status(StatusCode::SEE_OTHER);
        return reply.text(LOCATION.as_str(), &with_query(url, &pairs));
    }
    let reply = reply.text(LOCATION.as_str(), &location)?;
    match form.get("success_action_status") {
        Some("200") => Ok(reply),
        Some("201") => {
            let mut out = Writer::bare("PostResponse");
            out.text("Location", &location).text("Bucket", bucket.as_str());
            out.text("Key", key.as_str()).text("ETag", &etag);
            let Reply { headers, body, .. } = Reply::xml(out);
            let mut reply = reply.with_status(StatusCode::CREATED).with_body(body);
            reply.headers.extend(headers);
            Ok(reply)
        }
        Some(_) | None => Ok(reply.with_status(StatusCode::NO_CONTENT)),
    }
}

/// Where the form sends the browser. What is no web address is as if it were not there.
fn redirect(form: &Fields) -> Option<&str> {
    let url = form.get("success_action_redirect").or_else(|| form.get("redirect"))?;
    let parsed: Uri = url.parse().ok()?;
    let web = matches!(parsed.scheme_str(), Some("http" | "https")) && parsed.authority().is_some();
    web.then_some(url)
}

fn with_query(url: &str, pairs: &[(&str, &str)]) -> String {
    let (url, fragment) = url.split_at(url.find('#').unwrap_or(url.len()));
    let mut out = url.to_owned();
    let mut sign = if url.contains('?') { '&' } else { '?' };
    for (name, value) in pairs {
        out.push(sign);
        out.extend([name, "="]);
        out.extend(utf8_percent_encode(value, QUERY));
        sign = '&';
    }
    out + fragment
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_of_a_redirect_keeps_its_query_and_its_fragment() {
        let pairs = [("key", "a/b &é"), ("etag", "\"e\"")];
        let query = "key=a%2Fb%20%26%C3%A9&etag=%22e%22";
        assert_eq!(with_query("http://a", &pairs), format!("http://a?{query}"));
        assert_eq!(with_query("http://a/?b=c", &pairs), format!("http://a/?b=c&{query}"));
        assert_eq!(with_query("http://a/#top", &pairs), format!("http://a/?{query}#top"));
    }
}
