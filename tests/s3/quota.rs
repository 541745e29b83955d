//! What a bucket may grow to.

use serde_json::json;

use crate::common::client::Client;
use crate::common::server::Server;

async fn allow(client: &Client, quota: serde_json::Value) {
    client.call("PATCH", "/bucket").body(quota.to_string()).send().await.expect(200);
}

#[tokio::test]
async fn a_bucket_does_not_grow_beyond_its_quota() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    allow(client, json!({"quota_bytes": 1000})).await;
    client.put("/bucket/a", "x".repeat(600)).await.expect(200);
    let over = client.put("/bucket/b", "x".repeat(401)).await;
    assert_eq!(over.code(), (403, "QuotaExceeded"));
    client.head("/bucket/b").await.expect(404);
    client.put("/bucket/b", "x".repeat(400)).await.expect(200);
    // What goes away makes room, also by being written over.
    client.put("/bucket/a", "y".repeat(600)).await.expect(200);
    client.put("/bucket/a", "y".repeat(10)).await.expect(200);
    client.put("/bucket/c", "x".repeat(590)).await.expect(200);
    let copy = client.call("PUT", "/bucket/d").header("x-amz-copy-source", "/bucket/a");
    assert_eq!(copy.send().await.code(), (403, "QuotaExceeded"));
    client.delete("/bucket/c").await.expect(204);
    let copy = client.call("PUT", "/bucket/d").header("x-amz-copy-source", "/bucket/a");
    copy.send().await.expect(200);
    allow(client, json!({"quota_bytes": null})).await;
    client.put("/bucket/e", "x".repeat(5000)).await.expect(200);
}

#[tokio::test]
async fn an_upload_ends_within_the_quota_or_not_at_all() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    allow(client, json!({"quota_bytes": 6 << 20})).await;
    let begun = client.call("POST", "/bucket/large?uploads").send().await.expect(200);
    let upload = begun.one("UploadId").to_owned();
    let path = |number: u32| format!("/bucket/large?partNumber={number}&uploadId={upload}");
    let part = |number: u32, len: usize| client.call("PUT", &path(number)).body("x".repeat(len));
    let too_large = part(1, 7 << 20).send().await;
    assert_eq!(too_large.code(), (403, "QuotaExceeded"));
    let mut tags = String::new();
    for number in [1, 2] {
        let stored = part(number, 5 << 20).send().await.expect(200);
        let etag = stored.header("etag").unwrap();
        tags += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    let document = format!("<CompleteMultipartUpload>{tags}</CompleteMultipartUpload>");
    let complete = client.call("POST", &format!("/bucket/large?uploadId={upload}"));
    let ended = complete.clone().body(document.clone()).send().await;
    assert_eq!(ended.code(), (403, "QuotaExceeded"));
    allow(client, json!({"quota_bytes": 10 << 20})).await;
    complete.body(document).send().await.expect(200);
    client.head("/bucket/large").await.expect(200);
}

#[tokio::test]
async fn a_bucket_has_no_more_objects_than_its_quota_says_and_its_owner_sees_it() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    allow(client, json!({"quota_objects": 2})).await;
    client.put("/bucket/a", "x").await.expect(200);
    client.put("/bucket/b", "x").await.expect(200);
    assert_eq!(client.put("/bucket/c", "x").await.code(), (403, "QuotaExceeded"));
    client.put("/bucket/a", "longer").await.expect(200);
    let shown = client.get("/bucket?metadata").await.expect(200);
    let shown: serde_json::Value = serde_json::from_str(shown.text()).unwrap();
    assert_eq!((&shown["quota_objects"], &shown["quota_bytes"]), (&json!(2), &json!(null)));
    for bad in [json!({"quota_objects": -1}), json!({"quota_bytes": "much"})] {
        let answer = client.call("PATCH", "/bucket").body(bad.to_string()).send().await;
        assert_eq!(answer.code(), (400, "InvalidArgument"), "{bad}");
    }
    let stranger = server.stranger().await;
    let raised = stranger.call("PATCH", "/bucket").body(json!({"quota_objects": 9}).to_string());
    assert_eq!(raised.send().await.code(), (403, "AccessDenied"));
}
