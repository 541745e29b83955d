//! Buckets with versions.

use crate::common::server::Server;

async fn versioned() -> Server {
    let server = Server::with_bucket("bucket").await;
    set(&server, "Enabled").await;
    server
}

async fn set(server: &Server, status: &str) {
    let document =
        format!("<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>");
    server.client.put("/bucket?versioning", document).await.expect(200);
}

async fn put(server: &Server, key: &str, body: &'static str) -> String {
    let answer = server.client.put(&format!("/bucket/{key}"), body).await.expect(200);
    answer.header("x-amz-version-id").unwrap().to_owned()
}

#[tokio::test]
async fn a_bucket_says_whether_it_keeps_versions() {
    let server = Server::with_bucket("bucket").await;
    let status = async || {
        let answer = server.client.get("/bucket?versioning").await.expect(200);
        answer.all("Status").first().map(|s| (*s).to_owned())
    };
    assert_eq!(status().await, None);
    let none = server.client.put("/bucket/k", "x").await.expect(200);
    assert_eq!(none.header("x-amz-version-id"), None);
    set(&server, "Enabled").await;
    assert_eq!(status().await.as_deref(), Some("Enabled"));
    set(&server, "Suspended").await;
    assert_eq!(status().await.as_deref(), Some("Suspended"));
    let off = "<VersioningConfiguration><Status>Off</Status></VersioningConfiguration>";
    let answer = server.client.put("/bucket?versioning", off).await;
    assert_eq!(answer.code(), (400, "MalformedXML"));
}

#[tokio::test]
async fn every_write_is_a_version_and_can_be_read() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/k", "zero").await.expect(200);
    set(&server, "Enabled").await;
    let (one, two) = (put(&server, "k", "one").await, put(&server, "k", "two").await);
    assert_ne!(one, two);
    for (id, body) in [("null", "zero"), (&one, "one"), (&two, "two")] {
        let got = server.client.get(&format!("/bucket/k?versionId={id}")).await.expect(200);
        assert_eq!((got.text(), got.header("x-amz-version-id")), (body, Some(id)));
    }
    assert_eq!(server.client.get("/bucket/k").await.expect(200).text(), "two");
    let unknown = server.client.get("/bucket/k?versionId=0000000000000000aaaa").await;
    assert_eq!(unknown.code().0 / 100, 4, "{:?}", unknown.code());
    let bad = server.client.get("/bucket/k?versionId=nonsense").await;
    assert_eq!(bad.code(), (400, "InvalidArgument"));
    let source = format!("/bucket/k?versionId={one}");
    let copy = server.client.call("PUT", "/bucket/copy").header("x-amz-copy-source", &source);
    let copied = copy.send().await.expect(200);
    assert_eq!(copied.header("x-amz-copy-source-version-id"), Some(one.as_str()));
    assert_eq!(server.client.get("/bucket/copy").await.expect(200).text(), "one");
}

#[tokio::test]
async fn a_delete_makes_a_marker_and_deleting_the_marker_brings_the_object_back() {
    let server = versioned().await;
    let one = put(&server, "k", "one").await;
    let deleted = server.client.delete("/bucket/k").await.expect(204);
    assert_eq!(deleted.header("x-amz-delete-marker"), Some("true"));
    let marker = deleted.header("x-amz-version-id").unwrap().to_owned();
    let gone = server.client.get("/bucket/k").await;
    assert_eq!(gone.code(), (404, "NoSuchKey"));
    assert_eq!(gone.header("x-amz-delete-marker"), Some("true"));
    let named = server.client.get(&format!("/bucket/k?versionId={marker}")).await;
    assert_eq!(named.code(), (405, "MethodNotAllowed"));
    assert_eq!(server.client.get("/bucket").await.expect(200).all("Key").len(), 0);
    let undeleted = server.client.delete(&format!("/bucket/k?versionId={marker}")).await;
    assert_eq!(undeleted.expect(204).header("x-amz-delete-marker"), Some("true"));
    assert_eq!(server.client.get("/bucket/k").await.expect(200).text(), "one");
    let erased = server.client.delete(&format!("/bucket/k?versionId={one}")).await.expect(204);
    assert_eq!(erased.header("x-amz-delete-marker"), None);
    assert_eq!(server.client.get("/bucket/k").await.code(), (404, "NoSuchKey"));
    assert_eq!(
        server.client.get(&format!("/bucket/k?versionId={one}")).await.code(),
        (404, "NoSuchVersion")
    );
    server.client.delete("/bucket").await.expect(204);
}

#[tokio::test]
async fn suspended_writes_replace_the_null_version_alone() {
    let server = versioned().await;
    let one = put(&server, "k", "one").await;
    set(&server, "Suspended").await;
    for body in ["null one", "null two"] {
        let stored = server.client.put("/bucket/k", body).await.expect(200);
        assert_eq!(stored.header("x-amz-version-id"), None);
    }
    assert_eq!(server.client.get("/bucket/k").await.expect(200).text(), "null two");
    let list = server.client.get("/bucket?versions").await.expect(200);
    assert_eq!(list.all("VersionId"), ["null", one.as_str()]);
    let deleted = server.client.delete("/bucket/k").await.expect(204);
    assert_eq!(deleted.header("x-amz-version-id"), Some("null"));
    let list = server.client.get("/bucket?versions").await.expect(200);
    assert_eq!(list.all("VersionId"), ["null", one.as_str()]);
    assert_eq!(list.all("IsLatest"), ["true", "false"]);
    server.client.delete("/bucket/k?versionId=null").await.expect(204);
    assert_eq!(server.client.get("/bucket/k").await.expect(200).text(), "one");
}

#[tokio::test]
async fn versions_are_listed_page_by_page_and_deleted_in_a_batch() {
    let server = versioned().await;
    let mut expected = Vec::new();
    for key in ["a", "b/1", "b/2", "c"] {
        for body in ["1", "2", "3"] {
            let id = put(&server, key, body).await;
            expected.push((key, id));
        }
    }
    server.client.delete("/bucket/c").await.expect(204);
    let (mut seen, mut markers) = (0, String::new());
    loop {
        let page = format!("/bucket?versions&max-keys=2{markers}");
        let page = server.client.get(&page).await.expect(200);
        seen += page.all("VersionId").len();
        if page.one("IsTruncated") == "false" {
            break;
        }
        let (key, id) = (page.one("NextKeyMarker"), page.one("NextVersionIdMarker"));
        markers = format!("&key-marker={key}&version-id-marker={id}");
    }
    assert_eq!(seen, 13);
    let folded = server.client.get("/bucket?versions&delimiter=/").await.expect(200);
    assert_eq!((folded.all("VersionId").len(), folded.all("CommonPrefixes").len()), (7, 1));
    let objects: String = expected
        .iter()
        .map(|(key, id)| format!("<Object><Key>{key}</Key><VersionId>{id}</VersionId></Object>"))
        .collect();
    let batch = format!("<Delete>{objects}</Delete>");
    let answer = server.client.post("/bucket?delete", batch).await.expect(200);
    assert_eq!(answer.all("Deleted").len(), 12);
    let rest = server.client.get("/bucket?versions").await.expect(200);
    assert_eq!((rest.all("DeleteMarker").len(), rest.all("Version").len()), (1, 0));
}

#[tokio::test]
async fn versions_and_markers_are_there_after_a_restart() {
    let server = versioned().await;
    let one = put(&server, "k", "one").await;
    put(&server, "k", "two").await;
    server.client.delete("/bucket/k").await.expect(204);
    server.client.delete(&format!("/bucket/k?versionId={one}")).await.expect(204);
    let before = server.client.get("/bucket?versions").await.expect(200);
    let server = server.restart().await;
    let after = server.client.get("/bucket?versions").await.expect(200);
    assert_eq!(before.all("VersionId"), after.all("VersionId"));
    assert_eq!(after.all("VersionId").len(), 2);
}
