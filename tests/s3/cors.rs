//! Requests of pages of other origins.

use std::time::Duration;

use crate::common::client::{Answer, Client};
use crate::common::server::Server;

const ORIGIN: &str = "access-control-allow-origin";

fn rule(origin: &str, method: &str, more: &str) -> String {
    format!(
        "<CORSRule><AllowedOrigin>{origin}</AllowedOrigin><AllowedMethod>{method}</AllowedMethod>\
         {more}</CORSRule>"
    )
}

fn document(rules: &[String]) -> String {
    let rules = rules.concat();
    format!(
        "<CORSConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rules}\
         </CORSConfiguration>"
    )
}

async fn with_rules(rules: &[String]) -> Server {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket?cors", document(rules)).await.expect(200);
    server
}

async fn preflight(client: &Client, path: &str, headers: &[(&str, &str)]) -> Answer {
    let call = client.call("OPTIONS", path).anonymous();
    headers.iter().fold(call, |call, (name, value)| call.header(name, value)).send().await
}

#[tokio::test]
async fn rules_are_put_shown_and_deleted() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    assert_eq!(client.get("/bucket?cors").await.code(), (404, "NoSuchCORSConfiguration"));
    let more = "<AllowedMethod>GET</AllowedMethod><AllowedHeader>*</AllowedHeader>\
                <ExposeHeader>ETag</ExposeHeader><MaxAgeSeconds>60</MaxAgeSeconds><ID>one</ID>";
    let rules = [rule("http://a", "PUT", more), rule("*", "GET", "")];
    client.put("/bucket?cors", document(&rules)).await.expect(200);
    let server = server.restart().await;
    let client = &server.client;
    let shown = client.get("/bucket?cors").await.expect(200);
    assert_eq!(shown.all("AllowedOrigin"), ["http://a", "*"]);
    assert_eq!(shown.all("AllowedMethod"), ["PUT", "GET", "GET"]);
    assert_eq!((shown.one("ID"), shown.one("MaxAgeSeconds")), ("one", "60"));
    assert_eq!((shown.one("AllowedHeader"), shown.one("ExposeHeader")), ("*", "ETag"));
    client.delete("/bucket?cors").await.expect(204);
    assert_eq!(client.get("/bucket?cors").await.code(), (404, "NoSuchCORSConfiguration"));
    let stranger = server.stranger().await;
    let refused = stranger.put("/bucket?cors", document(&rules)).await;
    assert_eq!(refused.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn rules_that_are_none_are_refused() {
    let server = Server::with_bucket("bucket").await;
    let bad = [
        (document(&[]), "MalformedXML"),
        (document(&["<CORSRule/>".to_owned()]), "MalformedXML"),
        (document(&[rule("*", "GET", "<MaxAgeSeconds>-1</MaxAgeSeconds>")]), "MalformedXML"),
        (document(&[rule("*", "PATCH", "")]), "InvalidRequest"),
        (document(&[rule("http://*.*", "GET", "")]), "InvalidRequest"),
        (document(&[rule("*", "GET", "<ExposeHeader>*</ExposeHeader>")]), "InvalidRequest"),
        (document(&vec![rule("*", "GET", ""); 101]), "InvalidRequest"),
    ];
    for (document, code) in bad {
        let answer = server.client.put("/bucket?cors", document.clone()).await;
        assert_eq!(answer.code(), (400, code), "{document}");
    }
    let none = server.client.get("/bucket?cors").await;
    assert_eq!(none.code(), (404, "NoSuchCORSConfiguration"));
}

#[tokio::test]
async fn a_preflight_is_answered_by_the_first_rule_that_matches() {
    let more = "<AllowedHeader>x-amz-*</AllowedHeader><MaxAgeSeconds>60</MaxAgeSeconds>\
                <ExposeHeader>ETag</ExposeHeader><ExposeHeader>x-amz-id-2</ExposeHeader>";
    let server = with_rules(&[rule("http://*.a", "PUT", more), rule("*", "GET", "")]).await;
    let client = &server.client;
    let (origin, method) = ("origin", "access-control-request-method");
    let names = ("access-control-request-headers", "X-Amz-Date, x-amz-acl");
    for path in ["/bucket", "/bucket/key", "/bucket/key?uploads", "/bucket/key?tagging"] {
        let put = [(origin, "http://b.a"), (method, "PUT"), names];
        let answer = preflight(client, path, &put).await.expect(200);
        for (name, value) in [
            (ORIGIN, "http://b.a"),
            ("access-control-allow-methods", "PUT"),
            ("access-control-allow-headers", "x-amz-date, x-amz-acl"),
            ("access-control-allow-credentials", "true"),
            ("access-control-expose-headers", "ETag, x-amz-id-2"),
            ("access-control-max-age", "60"),
        ] {
            assert_eq!(answer.header(name), Some(value), "{path} {name}");
        }
        assert!(answer.header("vary").unwrap().contains("Origin"));
    }
    let get = preflight(client, "/bucket/key", &[(origin, "http://c"), (method, "GET")]).await;
    let get = get.expect(200);
    assert_eq!(get.header(ORIGIN), Some("*"));
    assert_eq!(get.header("access-control-allow-credentials"), None);
}

#[tokio::test]
async fn a_preflight_that_no_rule_allows_is_forbidden() {
    let server = with_rules(&[rule("http://a", "PUT", "")]).await;
    let client = &server.client;
    let (origin, method) = ("origin", "access-control-request-method");
    let forbidden: [&[(&str, &str)]; 3] = [
        &[(origin, "http://b"), (method, "PUT")],
        &[(origin, "http://a"), (method, "GET")],
        &[(origin, "http://a"), (method, "PUT"), ("access-control-request-headers", "x-a")],
    ];
    for headers in forbidden {
        let answer = preflight(client, "/bucket/key", headers).await;
        assert_eq!(answer.code(), (403, "AccessForbidden"), "{headers:?}");
        assert_eq!(answer.header(ORIGIN), None);
    }
    let bad: [&[(&str, &str)]; 3] =
        [&[], &[(origin, "http://a")], &[(origin, "http://a"), (method, "BREW")]];
    for headers in bad {
        let answer = preflight(client, "/bucket/key", headers).await;
        assert_eq!(answer.code(), (400, "BadRequest"), "{headers:?}");
    }
    let put = [(origin, "http://a"), (method, "PUT")];
    assert_eq!(preflight(client, "/none/key", &put).await.code(), (404, "NoSuchBucket"));
    client.delete("/bucket?cors").await.expect(204);
    let off = preflight(client, "/bucket/key", &put).await;
    assert_eq!(off.code(), (403, "AccessForbidden"));
}

#[tokio::test]
async fn answers_are_marked_whatever_they_are_and_however_they_were_signed() {
    let more = "<ExposeHeader>ETag</ExposeHeader>";
    let server = with_rules(&[rule("http://a", "GET", more), rule("*", "PUT", "")]).await;
    let client = &server.client;
    let put = client.call("PUT", "/bucket/key").header("origin", "http://b").body("x");
    assert_eq!(put.send().await.expect(200).header(ORIGIN), Some("*"));
    let get = |path: &str| client.call("GET", path).header("origin", "http://a");
    let calls = [
        (get("/bucket/key"), 200),
        (get("/bucket/key").presigned(Duration::from_secs(60)), 200),
        (get("/bucket/key").anonymous(), 403),
        (get("/bucket/none"), 404),
        (get("/bucket"), 200),
    ];
    for (call, status) in calls {
        let answer = call.send().await.expect(status);
        assert_eq!(answer.header(ORIGIN), Some("http://a"), "{status}");
        assert_eq!(answer.header("access-control-expose-headers"), Some("ETag"));
        assert_eq!(answer.header("access-control-allow-credentials"), Some("true"));
        assert!(answer.header("vary").unwrap().contains("Origin"));
    }
    let other = client.call("GET", "/bucket/key").header("origin", "http://b");
    let other = other.send().await.expect(200);
    assert_eq!((other.header(ORIGIN), other.text()), (None, "x"));
    let plain = client.get("/bucket/key").await.expect(200);
    assert_eq!((plain.header(ORIGIN), plain.header("vary")), (None, None));
}
