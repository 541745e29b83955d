//! Tags of objects and buckets, and the small settings of a bucket.

use crate::common::client::Answer;
use crate::common::server::Server;

fn document(tags: &[(&str, &str)]) -> String {
    let tag =
        |(key, value): &(&str, &str)| format!("<Tag><Key>{key}</Key><Value>{value}</Value></Tag>");
    let tags: String = tags.iter().map(tag).collect();
    format!(
        "<Tagging xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><TagSet>{tags}</TagSet>\
         </Tagging>"
    )
}

fn many(n: usize) -> String {
    let names: Vec<String> = (0..n).map(|i| format!("k{i}")).collect();
    let tags: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "v")).collect();
    document(&tags)
}

fn pairs(answer: &Answer) -> Vec<(&str, &str)> {
    answer.all("Key").into_iter().zip(answer.all("Value")).collect()
}

#[tokio::test]
async fn tags_of_an_object_are_put_shown_and_deleted_without_a_new_object() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let put = client.call("PUT", "/bucket/a").header("x-amz-tagging", "old=1").body("x");
    put.send().await.expect(200);
    let before = client.head("/bucket/a").await.expect(200);
    let tags = document(&[("b", "2 &amp; 3"), ("a", "")]);
    assert_eq!(client.put("/bucket/a?tagging", tags).await.code(), (400, "InvalidTag"));
    client.put("/bucket/a?tagging", document(&[("b", "2"), ("a", "")])).await.expect(200);
    let shown = client.get("/bucket/a?tagging").await.expect(200);
    assert_eq!(pairs(&shown), [("a", ""), ("b", "2")]);
    let after = client.head("/bucket/a").await.expect(200);
    assert_eq!(after.header("x-amz-tagging-count"), Some("2"));
    for same in ["etag", "last-modified"] {
        assert_eq!(before.header(same), after.header(same));
    }
    client.delete("/bucket/a?tagging").await.expect(204);
    assert!(client.get("/bucket/a?tagging").await.expect(200).all("Tag").is_empty());
    assert_eq!(client.get("/bucket/a").await.expect(200).text(), "x");
}

#[tokio::test]
async fn tags_stay_over_a_restart_and_go_with_the_object() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/a", "x").await.expect(200);
    server.client.put("/bucket/a?tagging", document(&[("k", "v")])).await.expect(200);
    let server = server.restart().await;
    let shown = server.client.get("/bucket/a?tagging").await.expect(200);
    assert_eq!(pairs(&shown), [("k", "v")]);
    server.client.put("/bucket/a", "y").await.expect(200);
    let shown = server.client.get("/bucket/a?tagging").await.expect(200);
    assert!(shown.all("Key").is_empty());
}

#[tokio::test]
async fn each_version_has_its_own_tags() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.put("/bucket?versioning", on).await.expect(200);
    let first = client.put("/bucket/a", "x").await.expect(200);
    let first = first.header("x-amz-version-id").unwrap().to_owned();
    client.put("/bucket/a", "y").await.expect(200);
    let path = format!("/bucket/a?tagging&versionId={first}");
    let put = client.put(&path, document(&[("k", "1")])).await.expect(200);
    assert_eq!(put.header("x-amz-version-id"), Some(first.as_str()));
    client.put("/bucket/a?tagging", document(&[("k", "2")])).await.expect(200);
    assert_eq!(pairs(&client.get(&path).await.expect(200)), [("k", "1")]);
    client.delete("/bucket/a?tagging").await.expect(204);
    assert_eq!(pairs(&client.get(&path).await.expect(200)), [("k", "1")]);
    assert!(client.get("/bucket/a?tagging").await.expect(200).all("Key").is_empty());
    client.delete("/bucket/a").await.expect(204);
    let marker = client.put("/bucket/a?tagging", document(&[("k", "3")])).await;
    assert!(marker.status.is_client_error(), "{marker:?}");
    client.delete(&path).await.expect(204);
    assert!(client.get(&path).await.expect(200).all("Key").is_empty());
}

#[tokio::test]
async fn tags_that_are_none_are_refused_and_change_nothing() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    client.put("/bucket/a", "x").await.expect(200);
    client.put("/bucket/a?tagging", many(10)).await.expect(200);
    let (long_key, long_value) = ("k".repeat(129), "v".repeat(257));
    let bad = [
        (many(11), "InvalidTag"),
        (document(&[("", "v")]), "InvalidTag"),
        (document(&[(&long_key, "v")]), "InvalidTag"),
        (document(&[("k", &long_value)]), "InvalidTag"),
        (document(&[("k", "1"), ("k", "2")]), "InvalidTag"),
        (document(&[("aws:k", "1")]), "InvalidTag"),
        ("<Tagging></Tagging>".to_owned(), "MalformedXML"),
        ("<Tagging><TagSet><Tag><Key>k</Key></Tag></TagSet></Tagging>".to_owned(), "MalformedXML"),
        ("<Tags/>".to_owned(), "MalformedXML"),
        (String::new(), "MalformedXML"),
    ];
    for (document, code) in bad {
        let answer = client.put("/bucket/a?tagging", document.clone()).await;
        assert_eq!(answer.code(), (400, code), "{document}");
    }
    assert_eq!(client.get("/bucket/a?tagging").await.all("Key").len(), 10);
    let missing = client.put("/bucket/none?tagging", many(1)).await;
    assert_eq!(missing.code(), (404, "NoSuchKey"));
    assert_eq!(client.delete("/bucket/none?tagging").await.code(), (404, "NoSuchKey"));
    let stranger = server.stranger().await;
    let refused = stranger.put("/bucket/a?tagging", many(1)).await;
    assert_eq!(refused.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn tags_of_a_bucket_are_put_shown_and_deleted() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    assert_eq!(client.get("/bucket?tagging").await.code(), (404, "NoSuchTagSet"));
    client.put("/bucket?tagging", many(50)).await.expect(204);
    assert_eq!(client.put("/bucket?tagging", many(51)).await.code(), (400, "InvalidTag"));
    assert_eq!(client.get("/bucket?tagging").await.expect(200).all("Key").len(), 50);
    let server = server.restart().await;
    let client = &server.client;
    client.put("/bucket?tagging", document(&[("k", "v")])).await.expect(204);
    assert_eq!(pairs(&client.get("/bucket?tagging").await.expect(200)), [("k", "v")]);
    client.delete("/bucket?tagging").await.expect(204);
    assert_eq!(client.get("/bucket?tagging").await.code(), (404, "NoSuchTagSet"));
    assert_eq!(client.get("/none?tagging").await.code(), (404, "NoSuchBucket"));
}

#[tokio::test]
async fn acceleration_is_kept_and_shown() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    assert!(client.get("/bucket?accelerate").await.expect(200).all("Status").is_empty());
    let document = |status: &str| {
        format!("<AccelerateConfiguration><Status>{status}</Status></AccelerateConfiguration>")
    };
    for status in ["Enabled", "Suspended"] {
        client.put("/bucket?accelerate", document(status)).await.expect(200);
        assert_eq!(client.get("/bucket?accelerate").await.expect(200).one("Status"), status);
    }
    let bad = client.put("/bucket?accelerate", document("On")).await;
    assert_eq!(bad.code(), (400, "MalformedXML"));
    client.put("/with.dot", "").await.expect(200);
    let dotted = client.put("/with.dot?accelerate", document("Enabled")).await;
    assert_eq!(dotted.code(), (400, "InvalidRequest"));
}

#[tokio::test]
async fn settings_that_promise_what_is_not_there_are_refused_and_empty_ones_are_not() {
    let server = Server::with_bucket("bucket").await;
    let cases = [
        ("logging", "<BucketLoggingStatus/>", 200),
        (
            "logging",
            "<BucketLoggingStatus><LoggingEnabled><TargetBucket>b</TargetBucket>\
             <TargetPrefix>p</TargetPrefix></LoggingEnabled></BucketLoggingStatus>",
            400,
        ),
        ("logging", "<Other/>", 400),
        (
            "requestPayment",
            "<RequestPaymentConfiguration><Payer>BucketOwner</Payer></RequestPaymentConfiguration>",
            200,
        ),
        (
            "requestPayment",
            "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>",
            200,
        ),
        (
            "requestPayment",
            "<RequestPaymentConfiguration><Payer>Me</Payer></RequestPaymentConfiguration>",
            400,
        ),
        ("replication", "<ReplicationConfiguration/>", 501),
    ];
    for (query, document, status) in cases {
        let answer = server.client.put(&format!("/bucket?{query}"), document).await;
        assert_eq!(answer.status.as_u16(), status, "{document}");
    }
    for query in ["lifecycle", "replication", "website"] {
        server.client.delete(&format!("/bucket?{query}")).await.expect(204);
        let none = server.client.delete(&format!("/none?{query}")).await;
        assert_eq!(none.code(), (404, "NoSuchBucket"));
    }
}
