//! Object lock.

use crate::common::server::Server;

const FAR: &str = "2099-01-01T00:00:00.000Z";

async fn locked() -> Server {
    let server = Server::start().await;
    let create = server.client.call("PUT", "/bucket");
    create.header("x-amz-bucket-object-lock-enabled", "true").send().await.expect(200);
    server
}

async fn put(server: &Server, mode: &str) -> String {
    let put =
        server.client.call("PUT", "/bucket/k").body("x").header("x-amz-object-lock-mode", mode);
    let answer = put.header("x-amz-object-lock-retain-until-date", FAR).send().await.expect(200);
    answer.header("x-amz-version-id").unwrap().to_owned()
}

#[tokio::test]
async fn a_bucket_with_lock_has_versions_and_keeps_them() {
    let server = locked().await;
    let versioning = server.client.get("/bucket?versioning").await.expect(200);
    assert_eq!(versioning.one("Status"), "Enabled");
    let suspended = "<VersioningConfiguration><Status>Suspended</Status></VersioningConfiguration>";
    let refused = server.client.put("/bucket?versioning", suspended).await;
    assert_eq!(refused.code(), (409, "InvalidBucketState"));
    let rule = "<ObjectLockConfiguration><ObjectLockEnabled>Enabled</ObjectLockEnabled><Rule>\
                <DefaultRetention><Mode>GOVERNANCE</Mode><Days>1</Days></DefaultRetention>\
                </Rule></ObjectLockConfiguration>";
    server.client.put("/bucket?object-lock", rule).await.expect(200);
    let shown = server.client.get("/bucket?object-lock").await.expect(200);
    assert_eq!((shown.one("Mode"), shown.one("Days")), ("GOVERNANCE", "1"));
    server.client.put("/bucket/k", "x").await.expect(200);
    let head = server.client.head("/bucket/k").await.expect(200);
    assert_eq!(head.header("x-amz-object-lock-mode"), Some("GOVERNANCE"));
    server.client.put("/plain", "").await.expect(200);
    assert_eq!(
        server.client.put("/plain?object-lock", rule).await.code(),
        (409, "InvalidBucketState")
    );
    let none = server.client.get("/plain?object-lock").await;
    assert_eq!(none.code(), (404, "ObjectLockConfigurationNotFoundError"));
    let asked = server.client.call("PUT", "/plain/k").body("x");
    let asked = asked.header("x-amz-object-lock-legal-hold", "ON").send().await;
    assert_eq!(asked.code(), (400, "InvalidRequest"));
}

#[tokio::test]
async fn governance_yields_to_those_who_say_so_and_compliance_to_nobody() {
    let server = locked().await;
    let mild = put(&server, "GOVERNANCE").await;
    let path = format!("/bucket/k?versionId={mild}");
    assert_eq!(server.client.delete(&path).await.code(), (403, "AccessDenied"));
    let bypass =
        || server.client.call("DELETE", &path).header("x-amz-bypass-governance-retention", "true");
    bypass().send().await.expect(204);
    let strict = put(&server, "COMPLIANCE").await;
    let path = format!("/bucket/k?versionId={strict}");
    let refused = server.client.call("DELETE", &path);
    let refused = refused.header("x-amz-bypass-governance-retention", "true").send().await;
    assert_eq!(refused.code(), (403, "AccessDenied"));
    let shorter = "<Retention><Mode>COMPLIANCE</Mode>\
                   <RetainUntilDate>2098-01-01T00:00:00Z</RetainUntilDate></Retention>";
    let path = format!("/bucket/k?retention&versionId={strict}");
    assert_eq!(server.client.put(&path, shorter).await.code(), (403, "AccessDenied"));
    let shown = server.client.get(&path).await.expect(200);
    assert_eq!((shown.one("Mode"), shown.one("RetainUntilDate")), ("COMPLIANCE", FAR));
    // A delete without a version makes a marker: nothing is lost by it.
    server.client.delete("/bucket/k").await.expect(204);
    let path = format!("/bucket/k?versionId={strict}");
    assert_eq!(server.client.get(&path).await.expect(200).text(), "x");
}

#[tokio::test]
async fn a_legal_hold_keeps_a_version_until_it_is_taken_off() {
    let server = locked().await;
    let id = server.client.put("/bucket/k", "x").await.expect(200);
    let id = id.header("x-amz-version-id").unwrap().to_owned();
    let hold = |status: &str| format!("<LegalHold><Status>{status}</Status></LegalHold>");
    server.client.put("/bucket/k?legal-hold", hold("ON")).await.expect(200);
    let shown = server.client.get("/bucket/k?legal-hold").await.expect(200);
    assert_eq!(shown.one("Status"), "ON");
    let path = format!("/bucket/k?versionId={id}");
    assert_eq!(server.client.delete(&path).await.code(), (403, "AccessDenied"));
    let batch =
        format!("<Delete><Object><Key>k</Key><VersionId>{id}</VersionId></Object></Delete>");
    let answer = server.client.post("/bucket?delete", batch).await.expect(200);
    assert_eq!((answer.all("Code"), answer.one("VersionId")), (vec!["AccessDenied"], id.as_str()));
    server.client.put("/bucket/k?legal-hold", hold("OFF")).await.expect(200);
    server.client.delete(&path).await.expect(204);
    let none = server.client.get("/bucket/k?legal-hold").await;
    assert_eq!(none.code(), (404, "NoSuchKey"));
}

#[tokio::test]
async fn who_may_lock_and_unlock_is_decided_key_by_key() {
    let server = locked().await;
    let policy = r#"{"Version": "2012-10-17", "Statement": [
        {"Effect": "Deny", "Principal": "*", "Action": "s3:BypassGovernanceRetention",
         "Resource": "arn:aws:s3:::bucket/kept/*"},
        {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObjectRetention",
         "Resource": "arn:aws:s3:::bucket/free/*"}]}"#;
    let put = |key: &str| {
        let put = server.client.call("PUT", &format!("/bucket/{key}")).body("x");
        let put = put.header("x-amz-object-lock-mode", "GOVERNANCE");
        put.header("x-amz-object-lock-retain-until-date", FAR)
    };
    let mut batch = String::from("<Delete>");
    for key in ["kept/k", "other/k"] {
        let id = put(key).send().await.expect(200);
        let id = id.header("x-amz-version-id").unwrap();
        batch += &format!("<Object><Key>{key}</Key><VersionId>{id}</VersionId></Object>");
    }
    batch += "</Delete>";
    server.client.put("/bucket?policy", policy).await.expect(204);
    assert_eq!(put("free/k").send().await.code(), (403, "AccessDenied"));
    let delete = server.client.call("POST", "/bucket?delete").body(batch);
    let answer = delete.header("x-amz-bypass-governance-retention", "true").send().await;
    let answer = answer.expect(200);
    assert_eq!((answer.all("Deleted").len(), answer.all("Code")), (1, vec!["AccessDenied"]));
    server.client.head("/bucket/kept/k").await.expect(200);
    server.client.head("/bucket/other/k").await.expect(404);
}
