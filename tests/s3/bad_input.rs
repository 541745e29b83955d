//! Input that is wrong gets S3's own code, and leaves nothing behind.

use std::time::{Duration, SystemTime};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::client::{Answer, Client};
use crate::common::server::Server;

#[tokio::test]
async fn a_wrong_signature_or_key_or_none_is_refused() {
    let server = Server::with_bucket("bucket").await;
    let wrong = Client { secret_key: "wrong".into(), ..server.client.clone() };
    assert_eq!(wrong.put("/bucket/a", "x").await.code(), (403, "SignatureDoesNotMatch"));
    let unknown = Client { access_key: "GWNOBODY".into(), ..server.client.clone() };
    assert_eq!(unknown.put("/bucket/a", "x").await.code(), (403, "InvalidAccessKeyId"));
    let anonymous = server.client.call("PUT", "/bucket/a").body("x").anonymous().send().await;
    assert_eq!(anonymous.code(), (403, "AccessDenied"));
    server.client.head("/bucket/a").await.expect(404);
}

#[tokio::test]
async fn a_revoked_key_is_unknown() {
    let server = Server::with_bucket("bucket").await;
    let id = godwit::types::name::AccessKeyId::parse(&server.client.access_key).unwrap();
    server.node.engine.revoke_access_key(&id).await.unwrap();
    assert_eq!(server.client.get("/bucket").await.code(), (403, "InvalidAccessKeyId"));
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a client has a clock of its own")]
async fn a_skewed_clock_and_an_expired_link_are_refused() {
    let server = Server::with_bucket("bucket").await;
    let hour = Duration::from_secs(3600);
    for at in [SystemTime::now() - hour, SystemTime::now() + hour] {
        let answer = server.client.call("GET", "/bucket").at(at).send().await;
        assert_eq!(answer.code(), (403, "RequestTimeTooSkewed"));
    }
    let link = server.client.call("GET", "/bucket").at(SystemTime::now() - hour);
    let link = link.presigned(Duration::from_secs(60)).send().await;
    assert_eq!(link.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn a_body_that_is_not_what_was_said_is_not_stored() {
    let server = Server::with_bucket("bucket").await;
    let put = |name: &'static str, value: &'static str| {
        server.client.call("PUT", "/bucket/a").header(name, value).body("hello").send()
    };
    let md5 = put("content-md5", "1B2M2Y8AsgTpgAmY7PhCfg==").await;
    assert_eq!(md5.code(), (400, "BadDigest"));
    assert_eq!(put("content-md5", "nonsense").await.code(), (400, "InvalidDigest"));
    assert_eq!(put("x-amz-checksum-sha1", "AAAA").await.code(), (400, "BadDigest"));
    server.client.head("/bucket/a").await.expect(404);
}

#[tokio::test]
async fn a_body_that_ends_early_is_not_stored() {
    let server = Server::with_bucket("bucket").await;
    let path = "/bucket/cut";
    let put = server.client.call("PUT", path).presigned(Duration::from_secs(60));
    let head = put.wire_head(&[("content-length", "100")]);
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&[1; 40]).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    assert!(answer.is_empty() || answer.contains("IncompleteBody"), "{answer}");
    server.client.head(path).await.expect(404);
}

#[tokio::test]
async fn names_and_keys_that_cannot_be_are_refused() {
    let server = Server::with_bucket("bucket").await;
    for name in ["Upper", "ab", "a..b", "192.168.1.1", "xn--abc"] {
        let answer = server.client.put(&format!("/{name}"), "").await;
        assert_eq!(answer.code(), (400, "InvalidBucketName"), "{name}");
    }
    let long = format!("/bucket/{}", "k".repeat(1025));
    assert_eq!(server.client.put(&long, "x").await.code(), (400, "KeyTooLongError"));
    server.client.put(&long[..long.len() - 1], "x").await.expect(200);
}

#[tokio::test]
async fn too_much_metadata_too_many_tags_and_strange_classes_are_refused() {
    let server = Server::with_bucket("bucket").await;
    let put = |name: &'static str, value: String| {
        server.client.call("PUT", "/bucket/a").header(name, &value).body("x").send()
    };
    assert_eq!(put("x-amz-meta-a", "v".repeat(2048)).await.code(), (400, "MetadataTooLarge"));
    let tags: Vec<String> = (0..11).map(|i| format!("k{i}=v")).collect();
    assert_eq!(put("x-amz-tagging", tags.join("&")).await.code(), (400, "BadRequest"));
    assert_eq!(put("x-amz-tagging", "a=1&a=2".into()).await.code(), (400, "InvalidTag"));
    let class = put("x-amz-storage-class", "COLD".into()).await;
    assert_eq!(class.code(), (400, "InvalidStorageClass"));
    server.client.head("/bucket/a").await.expect(404);
}

#[tokio::test]
async fn documents_that_are_too_large_or_wrong_are_refused() {
    let server = Server::with_bucket("bucket").await;
    let key = "k".repeat(1000);
    let many =
        format!("<Delete>{}</Delete>", format!("<Object><Key>{key}</Key></Object>").repeat(1001));
    assert_eq!(server.client.post("/bucket?delete", many).await.code(), (400, "MalformedXML"));
    let huge = " ".repeat(5 << 20);
    let (status, code) = {
        let answer = server.client.post("/bucket?delete", huge).await;
        let (status, code) = answer.code();
        (status, code.to_owned())
    };
    assert_eq!(status, 400, "{code}");
    let bomb = "<!DOCTYPE d [<!ENTITY e 'x'>]><Delete><Object><Key>&e;</Key></Object></Delete>";
    assert_eq!(server.client.post("/bucket?delete", bomb).await.code(), (400, "MalformedXML"));
}

#[tokio::test]
async fn headers_that_promise_something_are_not_ignored() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/a", "x").await.expect(200);
    let calls = [
        ("GET", "/bucket?list-type=2", "x-tigris-query", "WHERE 1"),
        ("POST", "/bucket?bundle", "x-tigris-bundle-format", "tar"),
        ("POST", "/bucket", "x-tigris-regions", "fra"),
        ("PUT", "/snapped", "x-tigris-enable-snapshot", "true"),
    ];
    for (method, path, name, value) in calls {
        let answer = server.client.call(method, path).header(name, value).send().await;
        assert_eq!(answer.code(), (501, "NotImplemented"), "{method} {path} {name}");
    }
    let eventual = server.client.call("GET", "/bucket/a").header("x-tigris-consistent", "false");
    assert_eq!(eventual.send().await.expect(200).text(), "x");
    server.client.head("/bucket/b").await.expect(404);
}

#[tokio::test]
async fn refused_operations_say_why() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/a", "x").await.expect(200);
    for (method, path) in
        [("POST", "/bucket/a?select&select-type=2"), ("PUT", "/bucket?replication")]
    {
        let answer = server.client.call(method, path).body("<X/>").send().await;
        assert_eq!(answer.code(), (501, "NotImplemented"), "{method} {path}");
        assert!(answer.one("Message").len() > 20);
    }
    assert_eq!(server.client.get("/bucket/a").await.text(), "x");
}

#[tokio::test]
async fn conditions_and_appends_that_only_directory_buckets_have_change_nothing() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/k", "text").await.expect(200);
    let append = server.client.call("PUT", "/bucket/k").header("x-amz-write-offset-bytes", "4");
    assert_eq!(append.body("more").send().await.code(), (501, "NotImplemented"));
    for (name, value) in [
        ("x-amz-if-match-size", "99"),
        ("x-amz-if-match-last-modified-time", "Sat, 21 Nov 2026 12:00:00 GMT"),
    ] {
        let delete = server.client.call("DELETE", "/bucket/k").header(name, value);
        assert_eq!(delete.send().await.code(), (501, "NotImplemented"), "{name}");
    }
    let fresh = server.client.call("GET", "/bucket/k").header("x-tigris-consistent", "perhaps");
    assert_eq!(fresh.send().await.code(), (400, "InvalidArgument"));
    let batch = "<Delete><Object><Key>k</Key><Size>99</Size></Object></Delete>";
    let answer = server.client.post("/bucket?delete", batch).await.expect(200);
    assert_eq!((answer.one("Key"), answer.one("Code")), ("k", "NotImplemented"));
    assert_eq!(server.client.get("/bucket/k").await.expect(200).text(), "text");
}

#[tokio::test]
async fn every_answer_has_a_token_and_one_that_says_more_than_is_known_is_not_served() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let token = |answer: &Answer| answer.header("x-godwit-token").unwrap().to_owned();
    let put = client.put("/bucket/k", "text").await.expect(200);
    let (before, missing) = (token(&put), client.get("/bucket/none").await.expect(404));
    assert_eq!(token(&missing), before, "nothing was changed");
    let handed = client.call("GET", "/bucket/k").header("x-godwit-token", &before);
    assert_eq!(handed.send().await.expect(200).text(), "text");
    for bad in ["", "x", "AA", "AQ"] {
        let answer = client.call("GET", "/bucket/k").header("x-godwit-token", bad).send().await;
        assert_eq!(answer.code(), (400, "InvalidArgument"), "{bad}");
    }
    let mut known = godwit::logic::token::parse(&before).unwrap();
    known.values_mut().for_each(|position| *position += 1);
    let beyond = godwit::logic::token::encode(&known);
    let ahead = client.call("GET", "/bucket?list-type=2").header("x-godwit-token", &beyond);
    let answer = ahead.send().await;
    assert_eq!(answer.code(), (503, "ServiceUnavailable"), "{}", answer.text());
    assert!(answer.header("retry-after").is_some());
    client.put("/bucket/k", "newer").await.expect(200);
    let handed = client.call("GET", "/bucket/k").header("x-godwit-token", &beyond);
    assert_eq!(handed.send().await.expect(200).text(), "newer");
}
