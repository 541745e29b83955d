//! Soft delete, in the forms of Tigris.

use serde_json::{Value, json};

use crate::common::client::Answer;
use crate::common::server::Server;

const SOFT: (&str, &str) = ("x-tigris-soft-delete", "true");
const RESTORE: (&str, &str) = ("x-tigris-restore-type", "soft-delete");

async fn soft() -> Server {
    let server = Server::with_bucket("bucket").await;
    let made = server.client.call("PUT", "/soft").header("x-tigris-soft-delete", "30");
    made.send().await.expect(200);
    server
}

async fn with(server: &Server, verb: &str, path: &str, (name, value): (&str, &str)) -> Answer {
    server.client.call(verb, path).header(name, value).send().await
}

async fn setting(server: &Server, bucket: &str) -> Value {
    let answer = server.client.get(&format!("/{bucket}?metadata")).await.expect(200);
    let shown: Value = serde_json::from_slice(&answer.body).unwrap();
    shown["soft_delete"].clone()
}

async fn versions(server: &Server, more: &str) -> Answer {
    with(server, "GET", &format!("/soft?versions{more}"), SOFT).await.expect(200)
}

#[tokio::test]
async fn soft_delete_is_set_with_the_bucket_and_by_its_document() {
    let server = soft().await;
    assert_eq!(setting(&server, "soft").await, json!({"enabled": true, "retention_days": 30}));
    assert_eq!(setting(&server, "bucket").await["enabled"], false);
    let document = json!({"soft_delete": {"enabled": true, "retention_days": 9}}).to_string();
    server.client.call("PATCH", "/bucket").body(document).send().await.expect(200);
    assert_eq!(setting(&server, "bucket").await, json!({"enabled": true, "retention_days": 9}));
    let off = json!({"soft_delete": {"enabled": false}}).to_string();
    server.client.call("PATCH", "/bucket").body(off).send().await.expect(200);
    assert_eq!(setting(&server, "bucket").await["enabled"], false);
    for days in ["6", "91", "soon"] {
        let refused = with(&server, "PUT", "/other", ("x-tigris-soft-delete", days)).await;
        assert_eq!(refused.code(), (400, "InvalidArgument"), "{days}");
    }
    let long = json!({"soft_delete": {"enabled": true, "retention_days": 91}}).to_string();
    let refused = server.client.call("PATCH", "/bucket").body(long).send().await;
    assert_eq!(refused.code(), (400, "InvalidArgument"));
}

async fn deleted(server: &Server) -> Vec<Value> {
    let call = server.client.call("GET", "/?OnlyDeleted=true").header("accept", "application/json");
    let shown: Value = serde_json::from_slice(&call.send().await.expect(200).body).unwrap();
    shown["Buckets"]["Bucket"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_deleted_bucket_keeps_its_name_and_comes_back_with_its_settings_and_objects() {
    let server = soft().await;
    server.client.put("/soft/a", "one").await.expect(200);
    assert_eq!(server.client.delete("/soft").await.code(), (409, "BucketNotEmpty"));
    server.client.delete("/soft/a").await.expect(204);
    server.client.delete("/soft").await.expect(204);
    assert_eq!(server.client.get("/soft").await.code(), (404, "NoSuchBucket"));
    assert_eq!(server.client.put("/soft/b", "x").await.code(), (404, "NoSuchBucket"));
    assert_eq!(server.client.put("/soft", "").await.code(), (409, "BucketAlreadyExists"));
    let kept = deleted(&server).await;
    assert_eq!((kept.len(), &kept[0]["Name"]), (1, &json!("soft")));
    let server = server.restart().await;
    server.client.call("POST", "/soft?restore").send().await.expect(200);
    assert!(deleted(&server).await.is_empty());
    assert_eq!(setting(&server, "soft").await, json!({"enabled": true, "retention_days": 30}));
    with(&server, "POST", "/soft/a?restore", RESTORE).await.expect(200);
    assert_eq!(server.client.get("/soft/a").await.expect(200).text(), "one");
    let again = server.client.call("POST", "/soft?restore").send().await;
    assert_eq!(again.code(), (404, "NoSuchBucket"));
}

#[tokio::test]
async fn a_deleted_bucket_is_its_owners_alone_and_can_be_ended_early() {
    let server = soft().await;
    server.client.delete("/soft").await.expect(204);
    let other = server.stranger().await;
    assert_eq!(other.put("/soft", "").await.code(), (409, "BucketAlreadyExists"));
    let theirs = other.call("POST", "/soft?restore").send().await;
    assert_eq!(theirs.code(), (404, "NoSuchBucket"));
    let theirs = other.call("DELETE", "/soft").header(SOFT.0, SOFT.1).send().await;
    assert_eq!(theirs.code(), (404, "NoSuchBucket"));
    with(&server, "DELETE", "/soft", SOFT).await.expect(204);
    assert!(deleted(&server).await.is_empty());
    other.put("/soft", "").await.expect(200);
    let late = server.client.call("POST", "/soft?restore").send().await;
    assert_eq!(late.code(), (404, "NoSuchBucket"));
}

#[tokio::test]
async fn what_was_deleted_is_listed_and_comes_back() {
    let server = soft().await;
    for body in ["one", "two", "three"] {
        server.client.put("/soft/a", body).await.expect(200);
    }
    server.client.put("/soft/live", "x").await.expect(200);
    server.client.delete("/soft/a").await.expect(204);
    assert_eq!(server.client.get("/soft/a").await.code(), (404, "NoSuchKey"));
    assert_eq!(server.client.get("/soft").await.expect(200).all("Key"), ["live"]);
    assert_eq!(server.client.get("/soft?versions").await.expect(200).all("Key"), ["live"]);
    let keys = with(&server, "GET", "/soft?list-type=2", SOFT).await.expect(200);
    assert_eq!((keys.all("Key"), keys.all("Size")), (vec!["a"], vec!["5"]));
    let all = versions(&server, "").await;
    assert_eq!(all.all("Size"), ["5", "3", "3"]);
    let ids: Vec<String> = all.all("VersionId").iter().map(|id| (*id).to_owned()).collect();
    let first = versions(&server, "&max-keys=2").await;
    assert_eq!((first.all("VersionId").len(), first.one("IsTruncated")), (2, "true"));
    let marker = format!("&key-marker=a&version-id-marker={}", first.one("NextVersionIdMarker"));
    assert_eq!(versions(&server, &marker).await.all("VersionId"), [ids[2].as_str()]);
    with(&server, "POST", "/soft/a?restore", RESTORE).await.expect(200);
    assert_eq!(server.client.get("/soft/a").await.expect(200).text(), "three");
    let exact = server.client.call("POST", "/soft/a?restore").header(RESTORE.0, RESTORE.1);
    exact.header("x-tigris-restore-version", &ids[2]).send().await.expect(200);
    assert_eq!(server.client.get("/soft/a").await.expect(200).text(), "one");
    let server = server.restart().await;
    assert_eq!(server.client.get("/soft/a").await.expect(200).text(), "one");
    assert_eq!(versions(&server, "").await.all("Size"), ["5", "5", "3", "3"]);
    let none = with(&server, "POST", "/soft/never?restore", RESTORE).await;
    assert_eq!(none.code(), (404, "NoSuchKey"));
}

#[tokio::test]
async fn a_kept_version_is_ended_early_and_only_by_who_may() {
    let server = soft().await;
    server.client.put("/soft/a", "secret").await.expect(200);
    server.client.delete("/soft/a").await.expect(204);
    let id = versions(&server, "").await.one("VersionId").to_owned();
    let path = format!("/soft/a?versionId={id}");
    assert_eq!(server.client.get(&path).await.code(), (404, "NoSuchVersion"));
    let stranger = server.stranger().await;
    for (verb, path, header) in [
        ("DELETE", path.as_str(), SOFT),
        ("GET", "/soft?versions", SOFT),
        ("POST", "/soft/a?restore", RESTORE),
    ] {
        let refused = stranger.call(verb, path).header(header.0, header.1).send().await;
        assert_eq!(refused.code(), (403, "AccessDenied"), "{verb} {path}");
    }
    with(&server, "DELETE", &path, SOFT).await.expect(204);
    assert!(versions(&server, "").await.all("VersionId").is_empty());
    assert_eq!(with(&server, "DELETE", &path, SOFT).await.code(), (404, "NoSuchVersion"));
    let gone = with(&server, "POST", "/soft/a?restore", RESTORE).await;
    assert_eq!(gone.code(), (404, "NoSuchKey"));
    server.client.delete("/soft").await.expect(204);
}
