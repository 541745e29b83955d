//! Buckets whose requesters pay.

use std::time::Duration;

use serde_json::json;

use crate::common::client::{Answer, Call};
use crate::common::server::Server;

const CHARGED: &str = "x-amz-request-charged";

fn payer(payer: &str) -> String {
    format!("<RequestPaymentConfiguration><Payer>{payer}</Payer></RequestPaymentConfiguration>")
}

async fn paying(call: Call) -> Answer {
    call.header("x-amz-request-payer", "requester").send().await
}

/// A bucket that anyone may read and write, for those who pay.
async fn shared() -> Server {
    let server = Server::with_bucket("bucket").await;
    let all = json!({"Statement": [{
        "Effect": "Allow", "Principal": "*",
        "Action": ["s3:GetObject", "s3:PutObject", "s3:ListBucket"],
        "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"],
    }]});
    server.client.put("/bucket?policy", all.to_string()).await.expect(204);
    server.client.put("/bucket/key", "x").await.expect(200);
    server.client.put("/bucket?requestPayment", payer("Requester")).await.expect(200);
    server
}

#[tokio::test]
async fn who_pays_is_set_and_shown() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let shown = async || client.get("/bucket?requestPayment").await.expect(200);
    assert_eq!(shown().await.one("Payer"), "BucketOwner");
    for who in ["Requester", "BucketOwner"] {
        client.put("/bucket?requestPayment", payer(who)).await.expect(200);
        assert_eq!(shown().await.one("Payer"), who);
    }
    let bad = client.put("/bucket?requestPayment", payer("Nobody")).await;
    assert_eq!(bad.code(), (400, "MalformedXML"));
    let stranger = server.stranger().await;
    let refused = stranger.put("/bucket?requestPayment", payer("Requester")).await;
    assert_eq!(refused.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn others_than_the_owner_must_say_that_they_pay() {
    let server = shared().await;
    let stranger = server.stranger().await;
    for path in ["/bucket/key", "/bucket", "/bucket/none"] {
        assert_eq!(stranger.get(path).await.code(), (403, "AccessDenied"), "{path}");
        let signed = stranger.call("GET", path).header("x-amz-request-payer", "owner");
        assert_eq!(signed.send().await.code(), (403, "AccessDenied"), "{path}");
    }
    assert_eq!(stranger.put("/bucket/new", "x").await.code(), (403, "AccessDenied"));
    let get = paying(stranger.call("GET", "/bucket/key")).await.expect(200);
    assert_eq!((get.text(), get.header(CHARGED)), ("x", Some("requester")));
    let put = paying(stranger.call("PUT", "/bucket/new").body("y")).await.expect(200);
    assert_eq!(put.header(CHARGED), Some("requester"));
    paying(stranger.call("GET", "/bucket/none")).await.expect(404);
    let head = paying(stranger.call("HEAD", "/bucket/key")).await.expect(200);
    assert_eq!(head.header(CHARGED), Some("requester"));
    let presigned = stranger.call("GET", "/bucket/key?x-amz-request-payer=requester");
    let presigned = presigned.presigned(Duration::from_secs(60)).send().await.expect(200);
    assert_eq!(presigned.header(CHARGED), Some("requester"));
}

#[tokio::test]
async fn anonymous_callers_cannot_pay_and_owners_need_not() {
    let server = shared().await;
    let anonymous = server.client.call("GET", "/bucket/key").anonymous();
    assert_eq!(anonymous.clone().send().await.code(), (403, "AccessDenied"));
    assert_eq!(paying(anonymous.clone()).await.code(), (403, "AccessDenied"));
    let own = server.client.get("/bucket/key").await.expect(200);
    assert_eq!(own.header(CHARGED), None);
    let own = paying(server.client.call("GET", "/bucket/key")).await.expect(200);
    assert_eq!(own.header(CHARGED), None, "the owner pays anyway");
    server.client.put("/bucket?requestPayment", payer("BucketOwner")).await.expect(200);
    anonymous.send().await.expect(200);
    let stranger = server.stranger().await;
    let free = paying(stranger.call("GET", "/bucket/key")).await.expect(200);
    assert_eq!(free.header(CHARGED), None);
}

#[tokio::test]
async fn a_copy_out_of_such_a_bucket_is_paid_too() {
    let server = shared().await;
    let stranger = server.stranger().await;
    stranger.put("/theirs", "").await.expect(200);
    let copy = stranger.call("PUT", "/theirs/key").header("x-amz-copy-source", "/bucket/key");
    assert_eq!(copy.clone().send().await.code(), (403, "AccessDenied"));
    let paid = paying(copy).await.expect(200);
    assert_eq!(paid.header(CHARGED), Some("requester"));
    assert_eq!(stranger.get("/theirs/key").await.expect(200).text(), "x");
}
