//! Copies.

use crate::common::server::Server;

#[tokio::test]
async fn a_copy_has_the_bytes_and_the_metadata_of_its_source() {
    let server = Server::with_bucket("bucket").await;
    let body = vec![3_u8; 1_200_000];
    let put = server.client.call("PUT", "/bucket/a%20b").header("x-amz-meta-k", "v");
    let etag = put.header("content-type", "text/plain").body(body.clone()).send().await;
    let etag = etag.expect(200).header("etag").unwrap().trim_matches('"').to_owned();
    let copy = |to: &'static str, from: &'static str| {
        server.client.call("PUT", to).header("x-amz-copy-source", from)
    };
    let answer = copy("/bucket/copy", "/bucket/a%20b").send().await.expect(200);
    assert_eq!(answer.one("ETag"), format!("&quot;{etag}&quot;"));
    let get = server.client.get("/bucket/copy").await.expect(200);
    assert_eq!(get.body, body);
    assert_eq!(
        (get.header("x-amz-meta-k"), get.header("content-type")),
        (Some("v"), Some("text/plain"))
    );
    server.client.delete("/bucket/a%20b").await.expect(204);
    assert_eq!(server.client.get("/bucket/copy").await.expect(200).body, body);
    let replaced = copy("/bucket/copy", "bucket/copy")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("x-amz-meta-new", "1");
    replaced.send().await.expect(200);
    let head = server.client.head("/bucket/copy").await.expect(200);
    assert_eq!((head.header("x-amz-meta-k"), head.header("x-amz-meta-new")), (None, Some("1")));
    assert_eq!(head.header("content-type"), Some("binary/octet-stream"));
}

#[tokio::test]
async fn copies_to_another_location_move_the_bytes() {
    let server = Server::with_bucket("anywhere").await;
    let restricted = server.client.call("PUT", "/only-fra").header("x-godwit-regions", "fra");
    restricted.send().await.expect(200);
    for (key, body) in [("big", vec![5_u8; 1_100_000]), ("small", b"s".to_vec()), ("none", vec![])]
    {
        server.client.put(&format!("/anywhere/{key}"), body.clone()).await.expect(200);
        let copy = server.client.call("PUT", &format!("/only-fra/{key}"));
        copy.header("x-amz-copy-source", &format!("/anywhere/{key}")).send().await.expect(200);
        server.client.delete(&format!("/anywhere/{key}")).await.expect(204);
        assert_eq!(server.client.get(&format!("/only-fra/{key}")).await.expect(200).body, body);
    }
}

#[tokio::test]
async fn copies_that_make_no_sense_are_refused() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/a", "x").await.expect(200);
    let copy = |to: &'static str, from: &'static str| {
        server.client.call("PUT", to).header("x-amz-copy-source", from)
    };
    let same = copy("/bucket/a", "/bucket/a").send().await;
    assert_eq!(same.code(), (400, "InvalidRequest"));
    let missing = copy("/bucket/b", "/bucket/no").send().await;
    assert_eq!((missing.code(), missing.one("Key")), ((404, "NoSuchKey"), "no"));
    assert_eq!(copy("/bucket/b", "/nobucket/no").send().await.code(), (404, "NoSuchBucket"));
    assert_eq!(copy("/bucket/b", "nonsense").send().await.code(), (400, "InvalidArgument"));
    let directive = copy("/bucket/b", "/bucket/a").header("x-amz-metadata-directive", "KEEP");
    assert_eq!(directive.send().await.code(), (400, "InvalidArgument"));
    let changed = copy("/bucket/b", "/bucket/a").header("x-amz-copy-source-if-match", "\"0\"");
    assert_eq!(changed.send().await.code(), (412, "PreconditionFailed"));
    let create = copy("/bucket/a", "/bucket/a")
        .header("x-amz-metadata-directive", "REPLACE")
        .header("if-none-match", "*");
    assert_eq!(create.send().await.code(), (412, "PreconditionFailed"));
    server.client.head("/bucket/b").await.expect(404);
}

#[tokio::test]
async fn a_source_of_another_account_is_not_copied() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/secret", "x").await.expect(200);
    let stranger = server.stranger().await;
    stranger.put("/theirs", "").await.expect(200);
    let copy = stranger.call("PUT", "/theirs/a").header("x-amz-copy-source", "/bucket/secret");
    assert_eq!(copy.send().await.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn a_rename_moves_the_key_and_nothing_else() {
    let server = Server::with_bucket("bucket").await;
    let body = vec![9_u8; 1_300_000];
    let put = server.client.call("PUT", "/bucket/old%20name").header("x-amz-meta-k", "v");
    put.header("x-amz-tagging", "a=b").body(body.clone()).send().await.expect(200);
    let rename = |to: &str, from: &'static str| {
        let call = server.client.call("PUT", &format!("/bucket/{to}?renameObject"));
        call.header("x-amz-rename-source", from)
    };
    rename("new", "old%20name").send().await.expect(200);
    assert_eq!(server.client.get("/bucket/old%20name").await.code(), (404, "NoSuchKey"));
    let got = server.client.get("/bucket/new").await.expect(200);
    assert_eq!(got.body, body);
    assert_eq!(
        (got.header("x-amz-meta-k"), got.header("x-amz-tagging-count")),
        (Some("v"), Some("1"))
    );
    let by_copy = server.client.call("PUT", "/bucket/third").header("x-tigris-rename", "true");
    let answer = by_copy.header("x-amz-copy-source", "/bucket/new").send().await.expect(200);
    assert!(answer.text().contains("CopyObjectResult"), "{}", answer.text());
    assert_eq!(server.client.get("/bucket/new").await.code(), (404, "NoSuchKey"));
    assert_eq!(server.client.get("/bucket/third").await.expect(200).body, body);
    server.client.put("/bucket/taken", "x").await.expect(200);
    let only_new = rename("taken", "third").header("if-none-match", "*").send().await;
    assert_eq!(only_new.code(), (412, "PreconditionFailed"));
    let other = rename("fourth", "third").header("x-amz-rename-source-if-match", "\"0\"");
    assert_eq!(other.send().await.code(), (412, "PreconditionFailed"));
    let missing = rename("fourth", "missing").send().await;
    assert_eq!((missing.code(), missing.one("Key")), ((404, "NoSuchKey"), "missing"));
    assert_eq!(rename("third", "third").send().await.code(), (400, "InvalidRequest"));
    assert_eq!(server.client.get("/bucket/third").await.expect(200).body, body);
}
