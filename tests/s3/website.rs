//! Websites of buckets: the setting, and what browsers get on a site's host.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::common::client::{Answer, Client, exchange};
use crate::common::server::Server;

const HOST: &str = "bucket.web.localhost:9000";

fn document(inner: &str) -> String {
    format!("<WebsiteConfiguration>{inner}</WebsiteConfiguration>")
}

fn pages(more: &str) -> String {
    document(&format!("<IndexDocument><Suffix>index.html</Suffix></IndexDocument>{more}"))
}

const ERROR: &str = "<ErrorDocument><Key>error.html</Key></ErrorDocument>";

fn rules(rules: &[&str]) -> String {
    let rules: Vec<String> =
        rules.iter().map(|rule| format!("<RoutingRule>{rule}</RoutingRule>")).collect();
    format!("<RoutingRules>{}</RoutingRules>", rules.concat())
}

fn public(bucket: &str, actions: &[&str]) -> String {
    let resources = [format!("arn:aws:s3:::{bucket}"), format!("arn:aws:s3:::{bucket}/*")];
    json!({"Statement": [
        {"Effect": "Allow", "Principal": "*", "Action": actions, "Resource": resources},
    ]})
    .to_string()
}

/// What a browser asks: no signature, and a host.
async fn ask(server: &Server, method: &str, host: &str, path: &str) -> Answer {
    ask_with(server, method, (host, path), &[]).await
}

async fn ask_with(
    server: &Server,
    method: &str,
    (host, path): (&str, &str),
    headers: &[(&str, &str)],
) -> Answer {
    let mut request = Request::builder().method(method).uri(path).header("host", host);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    exchange(server.address, request.body(Full::new(Bytes::new())).unwrap()).await
}

async fn see(server: &Server, path: &str) -> Answer {
    ask(server, "GET", HOST, path).await
}

/// A bucket whose objects anyone reads, and nobody else lists, with a site and some pages.
async fn site(more: &str) -> Server {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    client.put("/bucket?policy", public("bucket", &["s3:GetObject"])).await.expect(204);
    client.put("/bucket?website", pages(more)).await.expect(200);
    for key in ["index.html", "about.html", "dir/index.html", "error.html"] {
        page(client, key).await;
    }
    server
}

async fn page(client: &Client, key: &str) {
    let put = client.call("PUT", &format!("/bucket/{key}")).header("content-type", "text/html");
    put.body(format!("page {key}")).send().await.expect(200);
}

#[tokio::test]
async fn what_was_set_is_shown_and_taken_away() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let none = client.get("/bucket?website").await;
    assert_eq!(none.code(), (404, "NoSuchWebsiteConfiguration"));
    let rule = "<Condition><KeyPrefixEquals>a/</KeyPrefixEquals><HttpErrorCodeReturnedEquals>404\
                </HttpErrorCodeReturnedEquals></Condition><Redirect><HostName>h</HostName>\
                <Protocol>https</Protocol><ReplaceKeyPrefixWith>b/</ReplaceKeyPrefixWith>\
                <HttpRedirectCode>302</HttpRedirectCode></Redirect>";
    let whole = "<Redirect><ReplaceKeyWith>x</ReplaceKeyWith></Redirect>";
    let rules = rules(&[rule, whole]);
    let all = "<RedirectAllRequestsTo><HostName>h</HostName><Protocol>https</Protocol>\
               </RedirectAllRequestsTo>";
    for wanted in [pages(""), pages(ERROR), pages(&format!("{ERROR}{rules}")), document(all)] {
        client.put("/bucket?website", wanted.clone()).await.expect(200);
        let shown = client.get("/bucket?website").await.expect(200);
        let inner = shown.text().split_once("2006-03-01/\">").unwrap().1;
        assert_eq!(format!("<WebsiteConfiguration>{inner}"), wanted);
    }
    client.delete("/bucket?website").await.expect(204);
    let none = client.get("/bucket?website").await;
    assert_eq!(none.code(), (404, "NoSuchWebsiteConfiguration"));
    let stranger = server.stranger().await;
    let refused = stranger.put("/bucket?website", pages("")).await;
    assert_eq!(refused.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn what_is_no_site_is_refused() {
    let server = Server::with_bucket("bucket").await;
    let redirect = |inner: &str| rules(&[&format!("<Redirect>{inner}</Redirect>")]);
    let when = |inner: &str| {
        let to = "<Redirect><HostName>h</HostName></Redirect>";
        rules(&[&format!("<Condition>{inner}</Condition>{to}")])
    };
    let all = "<RedirectAllRequestsTo><HostName>h</HostName></RedirectAllRequestsTo>";
    let bad = [
        (document(""), "InvalidArgument"),
        (document("<IndexDocument><Suffix>a/b</Suffix></IndexDocument>"), "InvalidArgument"),
        (document("<IndexDocument><Suffix></Suffix></IndexDocument>"), "InvalidArgument"),
        (pages(all), "InvalidRequest"),
        (pages(&redirect("")), "MalformedXML"),
        (pages(&redirect("<Protocol>ftp</Protocol>")), "InvalidRequest"),
        (pages(&redirect("<HttpRedirectCode>200</HttpRedirectCode>")), "InvalidRequest"),
        (
            pages(&redirect(
                "<ReplaceKeyWith>a</ReplaceKeyWith><ReplaceKeyPrefixWith>a</ReplaceKeyPrefixWith>",
            )),
            "InvalidRequest",
        ),
        (pages(&when("")), "InvalidRequest"),
        (
            pages(&when("<HttpErrorCodeReturnedEquals>200</HttpErrorCodeReturnedEquals>")),
            "InvalidRequest",
        ),
    ];
    for (document, code) in bad {
        let answer = server.client.put("/bucket?website", document.clone()).await;
        assert_eq!(answer.code(), (400, code), "{document}");
    }
}

#[tokio::test]
async fn folders_are_their_index_and_a_missing_slash_is_added() {
    let server = site("").await;
    for (path, page) in [
        ("/", "index.html"),
        ("/index.html", "index.html"),
        ("/about.html?versionId=x&acl", "about.html"),
        ("/dir/", "dir/index.html"),
    ] {
        let answer = see(&server, path).await.expect(200);
        assert_eq!(answer.text(), format!("page {page}"));
        assert_eq!(answer.header("content-type"), Some("text/html"));
    }
    let moved = see(&server, "/dir").await.expect(302);
    assert_eq!((moved.header("location"), moved.text()), (Some("/dir/"), ""));
    let head = ask(&server, "HEAD", HOST, "/").await.expect(200);
    assert_eq!((head.header("content-length"), head.text()), (Some("15"), ""));
    assert_eq!(head.header("etag"), see(&server, "/").await.header("etag"));
}

#[tokio::test]
async fn parts_and_conditions_are_those_of_objects() {
    let server = site(ERROR).await;
    let etag = see(&server, "/").await.header("etag").unwrap().to_owned();
    let with = async |name: &str, value: &str| {
        ask_with(&server, "GET", (HOST, "/"), &[(name, value)]).await
    };
    let part = with("range", "bytes=0-3").await.expect(206);
    assert_eq!((part.text(), part.header("content-range")), ("page", Some("bytes 0-3/15")));
    let same = with("if-none-match", &etag).await.expect(304);
    assert_eq!((same.header("etag"), same.text()), (Some(etag.as_str()), ""));
    with("if-match", &etag).await.expect(200);
    with("if-match", "\"other\"").await.expect(412);
    with("range", "bytes=99-").await.expect(416);
    let missing = [("if-none-match", "*"), ("range", "bytes=0-3")];
    let missing = ask_with(&server, "GET", (HOST, "/none"), &missing).await;
    assert_eq!(missing.expect(403).text(), "page error.html", "the page whole");
}

#[tokio::test]
async fn errors_are_pages_and_tell_no_more_than_the_policy_allows() {
    let server = site("").await;
    let hidden = see(&server, "/none").await.expect(403);
    assert_eq!(hidden.header("content-type"), Some("text/html; charset=utf-8"));
    assert_eq!(hidden.header("x-amz-error-code"), Some("AccessDenied"));
    assert!(hidden.text().contains("<h1>403 Forbidden</h1>"), "{}", hidden.text());
    let listed = public("bucket", &["s3:GetObject", "s3:ListBucket"]);
    server.client.put("/bucket?policy", listed).await.expect(204);
    let missing = see(&server, "/no%3Cne").await.expect(404);
    assert!(missing.text().contains("<li>Key: no&lt;ne</li>"), "{}", missing.text());
    assert_eq!(missing.header("x-amz-error-code"), Some("NoSuchKey"));
    let head = ask(&server, "HEAD", HOST, "/none").await.expect(404);
    assert_eq!(head.text(), "");
    server.client.put("/bucket?website", pages(ERROR)).await.expect(200);
    let own = see(&server, "/none").await.expect(404);
    assert_eq!((own.text(), own.header("content-type")), ("page error.html", Some("text/html")));
    server.client.delete("/bucket/error.html").await.expect(204);
    let twice = see(&server, "/none").await.expect(404);
    assert!(twice.text().contains("Retrieve a Custom Error Document: NoSuchKey"), "{twice:?}");
    server.client.delete("/bucket?policy").await.expect(204);
    see(&server, "/").await.expect(403);
    let acl = server.client.call("PUT", "/bucket/index.html?acl");
    acl.header("x-amz-acl", "public-read").send().await.expect(200);
    see(&server, "/").await.expect(200);
    server.client.delete("/bucket?website").await.expect(204);
    let off = see(&server, "/").await.expect(404);
    assert!(off.text().contains("NoSuchWebsiteConfiguration"));
    let none = ask(&server, "GET", "nobody.web.localhost", "/").await.expect(404);
    assert!(none.text().contains("NoSuchBucket"));
}

#[tokio::test]
async fn credentials_mean_nothing_and_nothing_but_reading_is_there() {
    let server = site("").await;
    for method in ["PUT", "POST", "DELETE", "OPTIONS", "PATCH"] {
        let answer = ask(&server, method, HOST, "/about.html").await.expect(405);
        assert_eq!(answer.header("allow"), Some("GET, HEAD"), "{method}");
        assert_eq!(answer.header("x-amz-error-code"), Some("MethodNotAllowed"));
    }
    server.client.delete("/bucket?policy").await.expect(204);
    let signed = [("authorization", "AWS4-HMAC-SHA256 Credential=x, nonsense")];
    ask_with(&server, "GET", (HOST, "/"), &signed).await.expect(403);
    let old = server.client.call("PUT", "/bucket?versioning");
    let enabled = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    old.body(enabled).send().await.expect(200);
    let public = server.client.call("PUT", "/bucket/v").header("x-amz-acl", "public-read");
    let public = public.body("public").send().await.expect(200);
    let id = public.header("x-amz-version-id").unwrap().to_owned();
    server.client.put("/bucket/v", "private").await.expect(200);
    see(&server, "/v").await.expect(403);
    see(&server, &format!("/v?versionId={id}")).await.expect(403);
}

#[tokio::test]
async fn rules_lead_elsewhere_before_and_after_looking() {
    let prefix = "<Condition><KeyPrefixEquals>docs/</KeyPrefixEquals></Condition><Redirect>\
                  <ReplaceKeyPrefixWith>documents/</ReplaceKeyPrefixWith></Redirect>";
    let error = "<Condition><HttpErrorCodeReturnedEquals>403</HttpErrorCodeReturnedEquals>\
                 </Condition><Redirect><HostName>other.example</HostName><Protocol>https\
                 </Protocol><ReplaceKeyPrefixWith>#!/</ReplaceKeyPrefixWith><HttpRedirectCode>302\
                 </HttpRedirectCode></Redirect>";
    let server = site(&format!("{ERROR}{}", rules(&[prefix, error]))).await;
    let moved = see(&server, "/docs/a%20b?x").await.expect(301);
    let location = format!("http://{HOST}/documents/a%20b");
    assert_eq!(moved.header("location"), Some(location.as_str()));
    let moved = see(&server, "/none/x").await.expect(302);
    assert_eq!(moved.header("location"), Some("https://other.example/#!/none/x"));
    see(&server, "/about.html").await.expect(200);
    see(&server, "/dir").await.expect(302);
    let all = "<RedirectAllRequestsTo><HostName>new.example</HostName></RedirectAllRequestsTo>";
    server.client.put("/bucket?website", document(all)).await.expect(200);
    let moved = see(&server, "/about.html?a=b").await.expect(301);
    assert_eq!(moved.header("location"), Some("http://new.example/about.html?a=b"));
}

#[tokio::test]
async fn an_object_can_lead_elsewhere() {
    let server = site("").await;
    let client = &server.client;
    let redirect = "x-amz-website-redirect-location";
    let put =
        |key: &str, to: &str| client.call("PUT", &format!("/bucket/{key}")).header(redirect, to);
    put("old", "/about.html").send().await.expect(200);
    let moved = see(&server, "/old").await.expect(301);
    assert_eq!((moved.header("location"), moved.text()), (Some("/about.html"), ""));
    let plain = client.get("/bucket/old").await.expect(200);
    assert_eq!(plain.header(redirect), Some("/about.html"), "elsewhere it is a header");
    for bad in ["about.html", "ftp://a/", &format!("/{}", "x".repeat(2048))] {
        let answer = put("bad", bad).send().await;
        assert_eq!(answer.code(), (400, "InvalidRedirectLocation"), "{bad}");
    }
    let copy = |key: &str| {
        let copy = client.call("PUT", &format!("/bucket/{key}"));
        copy.header("x-amz-copy-source", "/bucket/old")
    };
    copy("copied").send().await.expect(200);
    see(&server, "/copied").await.expect(200);
    copy("led").header(redirect, "https://a.example/b").send().await.expect(200);
    let moved = see(&server, "/led").await.expect(301);
    assert_eq!(moved.header("location"), Some("https://a.example/b"));
}

#[tokio::test]
async fn a_bucket_named_like_a_host_is_its_site() {
    let server = Server::with_bucket("www.example.com").await;
    let client = &server.client;
    let bucket = "/www.example.com";
    client.put(&format!("{bucket}/index.html"), "own").await.expect(200);
    client.put(&format!("{bucket}/-/healthz"), "mine").await.expect(200);
    let policy = public("www.example.com", &["s3:GetObject"]);
    client.put(&format!("{bucket}?policy"), policy).await.expect(204);
    let host = "WWW.example.com:80";
    let before = ask(&server, "GET", host, "/").await;
    assert_ne!(before.text(), "own", "it has no site yet");
    client.put(&format!("{bucket}?website"), pages("")).await.expect(200);
    assert_eq!(ask(&server, "GET", host, "/").await.expect(200).text(), "own");
    assert_eq!(ask(&server, "GET", host, "/-/healthz").await.expect(200).text(), "mine");
    let below = "www.example.com.web.localhost";
    assert_eq!(ask(&server, "GET", below, "/").await.expect(200).text(), "own");
    client.get(bucket).await.expect(200);
}

#[tokio::test]
async fn pages_of_other_origins_and_logs_know_the_site_too() {
    let server = site("").await;
    let client = &server.client;
    let rule = "<CORSConfiguration><CORSRule><AllowedOrigin>*</AllowedOrigin><AllowedMethod>GET\
                </AllowedMethod></CORSRule></CORSConfiguration>";
    client.put("/bucket?cors", rule).await.expect(200);
    let answer = ask_with(&server, "GET", (HOST, "/"), &[("origin", "http://a")]).await;
    assert_eq!(answer.header("access-control-allow-origin"), Some("*"));
    client.put("/logs", "").await.expect(200);
    let acl = client.call("PUT", "/logs?acl").header("x-amz-acl", "log-delivery-write");
    acl.send().await.expect(200);
    let logging = "<BucketLoggingStatus><LoggingEnabled><TargetBucket>logs</TargetBucket>\
                   <TargetPrefix/></LoggingEnabled></BucketLoggingStatus>";
    client.put("/bucket?logging", logging).await.expect(200);
    see(&server, "/none").await.expect(403);
    see(&server, "/dir/").await.expect(200);
    server.service.deliver_logs(true).await;
    let key = client.get("/logs").await.expect(200).one("Key").to_owned();
    let log = client.get(&format!("/logs/{key}")).await.expect(200);
    let lines: Vec<&str> = log.text().lines().collect();
    assert!(lines[0].contains(" WEBSITE.GET.OBJECT none \"GET /none HTTP/1.1\" 403 AccessDenied "));
    assert!(lines[1].contains(" WEBSITE.GET.OBJECT dir/ \"GET /dir/ HTTP/1.1\" 200 - 19 19 "));
}
