//! What clients ask on their way.

use crate::common::server::Server;

#[tokio::test]
async fn a_bucket_without_settings_says_so() {
    let server = Server::with_bucket("bucket").await;
    let unset = [
        ("cors", "NoSuchCORSConfiguration"),
        ("encryption", "ServerSideEncryptionConfigurationNotFoundError"),
        ("lifecycle", "NoSuchLifecycleConfiguration"),
        ("object-lock", "ObjectLockConfigurationNotFoundError"),
        ("ownershipControls", "OwnershipControlsNotFoundError"),
        ("policy", "NoSuchBucketPolicy"),
        ("publicAccessBlock", "NoSuchPublicAccessBlockConfiguration"),
        ("replication", "ReplicationConfigurationNotFoundError"),
        ("tagging", "NoSuchTagSet"),
        ("website", "NoSuchWebsiteConfiguration"),
    ];
    for (query, code) in unset {
        let answer = server.client.get(&format!("/bucket?{query}")).await;
        assert_eq!(answer.code(), (404, code), "{query}");
    }
    for query in ["accelerate", "logging", "notification", "versioning"] {
        server.client.get(&format!("/bucket?{query}")).await.expect(200);
    }
    let payer = server.client.get("/bucket?requestPayment").await.expect(200);
    assert_eq!(payer.one("Payer"), "BucketOwner");
}

#[tokio::test]
async fn acls_show_the_owner_in_full_control() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/a", "x").await.expect(200);
    for path in ["/bucket?acl", "/bucket/a?acl"] {
        let acl = server.client.get(path).await.expect(200);
        assert_eq!(acl.one("Permission"), "FULL_CONTROL");
        assert_eq!(acl.all("ID")[0], acl.all("ID")[1]);
    }
    assert_eq!(server.client.get("/bucket/none?acl").await.code(), (404, "NoSuchKey"));
}
