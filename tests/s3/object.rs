//! One object at a time, and many deletes.

use std::time::Duration;

use crate::common::server::Server;

#[tokio::test]
async fn what_was_put_is_got_whole_with_its_headers() {
    let server = Server::with_bucket("bucket").await;
    let body: Vec<u8> = (0..3_000_000_u32).map(|i| u8::try_from(i % 251).unwrap()).collect();
    let put = server
        .client
        .call("PUT", "/bucket/dir/a%20b")
        .header("content-type", "text/plain")
        .header("cache-control", "no-cache")
        .header("x-amz-meta-colour", "grün")
        .header("x-amz-tagging", "x=1&team=red")
        .body(body.clone());
    let put = put.send().await.expect(200);
    let get = server.client.get("/bucket/dir/a%20b").await.expect(200);
    assert_eq!(get.body, body);
    assert_eq!(get.header("etag"), put.header("etag"));
    assert_eq!(get.header("content-type"), Some("text/plain"));
    assert_eq!(get.header("cache-control"), Some("no-cache"));
    assert_eq!(get.headers["x-amz-meta-colour"].as_bytes(), "grün".as_bytes());
    assert_eq!(get.header("x-amz-tagging-count"), Some("2"));
    assert_eq!(get.header("accept-ranges"), Some("bytes"));
    assert!(["memory", "disk"].contains(&get.header("x-godwit-source").unwrap()));
    assert!(get.header("server-timing").unwrap().starts_with("total;dur="));
    let head = server.client.head("/bucket/dir/a%20b").await.expect(200);
    assert_eq!(head.header("content-length"), Some("3000000"));
    assert_eq!(head.header("last-modified"), get.header("last-modified"));
    assert!(head.body.is_empty());
    let tags = server.client.get("/bucket/dir/a%20b?tagging").await.expect(200);
    assert_eq!(tags.all("Key"), ["team", "x"]);
    assert_eq!(tags.all("Value"), ["red", "1"]);
}

#[tokio::test]
async fn small_and_empty_objects_are_objects() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/empty", "").await.expect(200);
    let get = server.client.get("/bucket/empty").await.expect(200);
    assert_eq!(get.header("etag"), Some("\"d41d8cd98f00b204e9800998ecf8427e\""));
    assert_eq!((get.body.len(), get.header("content-length")), (0, Some("0")));
    server.client.put("/bucket/small", "hello").await.expect(200);
    assert_eq!(server.client.get("/bucket/small").await.text(), "hello");
    server.client.put("/bucket/small", "again").await.expect(200);
    assert_eq!(server.client.get("/bucket/small").await.text(), "again");
}

#[tokio::test]
async fn keys_are_any_text() {
    let server = Server::with_bucket("bucket").await;
    let keys = ["a//b", "%2E/%2E%2E", "%C3%A9", "a%2Bb", "%25", "-", "a%2F%2Fc", "%E2%82%AC/"];
    for key in keys {
        server.client.put(&format!("/bucket/{key}"), key).await.expect(200);
    }
    for key in keys {
        assert_eq!(server.client.get(&format!("/bucket/{key}")).await.text(), key);
    }
    assert_eq!(server.client.get("/bucket").await.all("Key").len(), keys.len());
}

#[tokio::test]
async fn what_is_not_there_is_404() {
    let server = Server::with_bucket("bucket").await;
    let get = server.client.get("/bucket/none").await;
    assert_eq!(get.code(), (404, "NoSuchKey"));
    assert_eq!(get.one("Key"), "none");
    server.client.head("/bucket/none").await.expect(404);
    assert_eq!(server.client.get("/nobucket/none").await.code(), (404, "NoSuchBucket"));
    let old = server.client.get("/bucket/none?versionId=abc").await;
    assert_eq!(old.code(), (400, "InvalidArgument"));
    let old = server.client.get("/bucket/none?versionId=00000000000000000022").await;
    assert_eq!(old.code(), (404, "NoSuchVersion"));
}

#[tokio::test]
async fn ranges_are_answered_206_and_impossible_ones_416() {
    let server = Server::with_bucket("bucket").await;
    let body: Vec<u8> = (0..2_500_000_u32).map(|i| u8::try_from(i % 253).unwrap()).collect();
    server.client.put("/bucket/big", body.clone()).await.expect(200);
    let cases = [("bytes=0-9", 0, 10), ("bytes=-5", 2_499_995, 2_500_000)];
    let across = ("bytes=1048000-1049999", 1_048_000, 1_050_000);
    let open = ("bytes=2499000-", 2_499_000, 2_500_000);
    for (range, from, to) in cases.into_iter().chain([across, open]) {
        let get = server.client.call("GET", "/bucket/big").header("range", range).send().await;
        let get = get.expect(206);
        assert_eq!(get.body, body[from..to], "{range}");
        let content_range = format!("bytes {from}-{}/2500000", to - 1);
        assert_eq!(get.header("content-range"), Some(content_range.as_str()));
    }
    let head = server.client.call("HEAD", "/bucket/big").header("range", "bytes=0-9").send().await;
    assert_eq!(head.expect(206).header("content-length"), Some("10"));
    let none = server.client.call("GET", "/bucket/big").header("range", "bytes=2500000-");
    let none = none.send().await;
    assert_eq!(none.code(), (416, "InvalidRange"));
    assert_eq!(none.one("ActualObjectSize"), "2500000");
    for (if_range, status) in [("\"other\"", 200), ("Fri, 01 Jan 2100 00:00:00 GMT", 206)] {
        let get = server.client.call("GET", "/bucket/big").header("range", "bytes=0-9");
        get.header("if-range", if_range).send().await.expect(status);
    }
    let odd = server.client.call("GET", "/bucket/big").header("range", "lines=1-2").send().await;
    assert_eq!(odd.expect(200).body.len(), body.len());
    let first = server.client.get("/bucket/big?partNumber=1").await.expect(206);
    assert_eq!(first.body.len(), body.len());
    let second = server.client.get("/bucket/big?partNumber=2").await;
    assert_eq!(second.code(), (400, "InvalidPart"));
}

#[tokio::test]
async fn reads_with_conditions_are_304_or_412() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/a", "hello").await.expect(200);
    let etag = "\"5d41402abc4b2a76b9719d911017c592\"";
    let get = |name: &'static str, value: &'static str| {
        server.client.call("GET", "/bucket/a").header(name, value).send()
    };
    let same = get("if-none-match", etag).await.expect(304);
    assert_eq!(same.header("etag"), Some(etag));
    assert!(same.body.is_empty());
    get("if-none-match", "\"x\"").await.expect(200);
    get("if-match", etag).await.expect(200);
    assert_eq!(get("if-match", "\"x\"").await.code(), (412, "PreconditionFailed"));
    get("if-modified-since", "Fri, 01 Jan 2100 00:00:00 GMT").await.expect(304);
    get("if-modified-since", "Fri, 01 Jan 1999 00:00:00 GMT").await.expect(200);
    let old = get("if-unmodified-since", "Fri, 01 Jan 1999 00:00:00 GMT").await;
    assert_eq!(old.code(), (412, "PreconditionFailed"));
    let head = server.client.call("HEAD", "/bucket/a").header("if-none-match", etag).send().await;
    head.expect(304);
}

#[tokio::test]
async fn writes_with_conditions_create_only_or_replace_only() {
    let server = Server::with_bucket("bucket").await;
    let put = |body: &'static str, name: &'static str, value: String| {
        server.client.call("PUT", "/bucket/a").header(name, &value).body(body).send()
    };
    let etag = put("one", "if-none-match", "*".into()).await.expect(200);
    let etag = etag.header("etag").unwrap().to_owned();
    let second = put("two", "if-none-match", "*".into()).await;
    assert_eq!(second.code(), (412, "PreconditionFailed"));
    assert_eq!(second.one("Condition"), "If-None-Match");
    put("two", "if-match", etag.clone()).await.expect(200);
    let stale = put("three", "if-match", etag.clone()).await;
    assert_eq!(stale.code(), (412, "PreconditionFailed"));
    let delete = server.client.call("DELETE", "/bucket/a").header("if-match", &etag).send().await;
    assert_eq!(delete.code(), (412, "PreconditionFailed"));
    assert_eq!(server.client.get("/bucket/a").await.text(), "two");
    let any = server.client.call("PUT", "/bucket/b").header("if-match", "*").body("x");
    assert_eq!(any.send().await.code(), (404, "NoSuchKey"));
    let absent = server.client.call("PUT", "/bucket/b").header("if-match", &etag).body("x");
    assert_eq!(absent.send().await.code(), (404, "NoSuchKey"));
}

#[tokio::test]
async fn deletes_are_idempotent() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/a", "x").await.expect(200);
    server.client.delete("/bucket/a").await.expect(204);
    server.client.head("/bucket/a").await.expect(404);
    server.client.delete("/bucket/a").await.expect(204);
    server.client.delete("/bucket/never").await.expect(204);
}

#[tokio::test]
async fn many_keys_are_deleted_at_once() {
    let server = Server::with_bucket("bucket").await;
    for key in ["a", "b", "c", "d"] {
        server.client.put(&format!("/bucket/{key}"), key).await.expect(200);
    }
    let document = "<Delete><Object><Key>a</Key></Object><Object><Key>never</Key></Object>\
                    <Object><Key>b</Key><VersionId>abc</VersionId></Object>\
                    <Object><Key>c</Key><ETag>\"00\"</ETag></Object></Delete>";
    let answer = server.client.post("/bucket?delete", document).await.expect(200);
    assert_eq!(answer.all("Code"), ["InvalidArgument", "PreconditionFailed"]);
    assert_eq!(answer.all("Deleted").len(), 2);
    assert_eq!(server.client.get("/bucket").await.all("Key"), ["b", "c", "d"]);
    let quiet = "<Delete><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>";
    let answer = server.client.post("/bucket?delete", quiet).await.expect(200);
    assert!(answer.all("Deleted").is_empty());
    assert_eq!(server.client.get("/bucket").await.all("Key"), ["c", "d"]);
    let empty = server.client.post("/bucket?delete", "<Delete></Delete>").await;
    assert_eq!(empty.code(), (400, "MalformedXML"));
}

#[tokio::test]
async fn presigned_requests_put_and_get() {
    let server = Server::with_bucket("bucket").await;
    let hour = Duration::from_secs(3600);
    let put = server.client.call("PUT", "/bucket/shared").body("by link").presigned(hour);
    put.send().await.expect(200);
    let path = "/bucket/shared?response-content-type=text%2Fcsv&response-expires=never";
    let get = server.client.call("GET", path).presigned(hour).send().await.expect(200);
    assert_eq!(get.text(), "by link");
    assert_eq!(get.header("content-type"), Some("text/csv"));
    assert_eq!(get.header("expires"), Some("never"));
    let path = "/bucket/moved?x-amz-meta-k=v%20w&x-amz-storage-class=STANDARD_IA";
    server.client.call("PUT", path).body("x").presigned(hour).send().await.expect(200);
    let head = server.client.head("/bucket/moved").await.expect(200);
    assert_eq!(head.header("x-amz-meta-k"), Some("v w"));
    assert_eq!(head.header("x-amz-storage-class"), Some("STANDARD_IA"));
}

#[tokio::test]
async fn checksums_are_verified_kept_and_given_back_when_asked() {
    let server = Server::with_bucket("bucket").await;
    let put = |value: &'static str| {
        let call = server.client.call("PUT", "/bucket/a").body("123456789");
        call.header("x-amz-checksum-crc32c", value).send()
    };
    let stored = put("4waSgw==").await.expect(200);
    assert_eq!(stored.header("x-amz-checksum-crc32c"), Some("4waSgw=="));
    assert_eq!(put("AAAAAA==").await.code(), (400, "BadDigest"));
    let plain = server.client.get("/bucket/a").await.expect(200);
    assert_eq!(plain.header("x-amz-checksum-crc32c"), None);
    let asked = server.client.call("GET", "/bucket/a").header("x-amz-checksum-mode", "ENABLED");
    let asked = asked.send().await.expect(200);
    assert_eq!(asked.header("x-amz-checksum-crc32c"), Some("4waSgw=="));
    assert_eq!(asked.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    let part = server.client.call("GET", "/bucket/a").header("x-amz-checksum-mode", "ENABLED");
    let part = part.header("range", "bytes=0-3").send().await.expect(206);
    assert_eq!(part.header("x-amz-checksum-crc32c"), None);
}

#[tokio::test]
async fn everything_is_there_after_a_restart() {
    let server = Server::with_bucket("bucket").await;
    let big = vec![7_u8; 1_500_000];
    server.client.put("/bucket/big", big.clone()).await.expect(200);
    server.client.put("/bucket/small", "s").await.expect(200);
    let server = server.restart().await;
    assert_eq!(server.client.get("/bucket/big").await.expect(200).body, big);
    assert_eq!(server.client.get("/bucket/small").await.text(), "s");
    assert_eq!(server.client.get("/bucket").await.all("Key"), ["big", "small"]);
}
