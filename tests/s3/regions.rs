//! Regions of single objects, in the header of Tigris and of our own.

use crate::common::client::{Answer, Call, Client};
use crate::common::server::Server;

const NAMES: [&str; 2] = ["x-tigris-regions", "x-godwit-regions"];
const CODES: [&str; 3] = ["fra", "iad", "nrt"];

fn put(client: &Client, path: &str, regions: &str) -> Call {
    client.call("PUT", path).header("x-tigris-regions", regions)
}

/// The regions that HEAD tells, by both names.
async fn told(client: &Client, path: &str) -> Option<String> {
    let head = client.head(path).await.expect(200);
    let [one, two] = NAMES.map(|name| head.header(name).map(str::to_owned));
    assert_eq!(one, two);
    one
}

#[tokio::test]
async fn a_put_names_regions_and_head_and_get_tell_them() {
    let (server, _others) = Server::among(&CODES).await;
    let client = &server.client;
    client.put("/bucket", "").await.expect(200);
    for (name, asked, regions) in [
        (NAMES[0], "nrt", Some("nrt")),
        (NAMES[1], "nrt, fra,nrt", Some("fra,nrt")),
        (NAMES[0], "eur", Some("fra,iad,nrt")),
        (NAMES[0], "auto", None),
    ] {
        let put = client.call("PUT", "/bucket/k").header(name, asked).body("text");
        put.send().await.expect(200);
        assert_eq!(told(client, "/bucket/k").await.as_deref(), regions, "{asked}");
        let get = client.get("/bucket/k").await.expect(200);
        assert_eq!((get.header(name), get.text()), (regions, "text"));
    }
    client.put("/bucket/k", "everywhere").await.expect(200);
    assert_eq!(told(client, "/bucket/k").await, None, "a new version has its own");
}

#[tokio::test]
async fn regions_that_are_not_there_or_not_the_buckets_are_refused() {
    let (server, _others) = Server::among(&CODES).await;
    let client = &server.client;
    put(client, "/bucket", "fra,iad").send().await.expect(200);
    let refused = |answer: Answer, word: &str| {
        assert_eq!(answer.code(), (400, "InvalidArgument"));
        assert!(answer.one("Message").contains(word), "{}", answer.text());
    };
    refused(put(client, "/bucket/k", "fra,mars").body("x").send().await, "Region codes");
    refused(put(client, "/bucket/k", "fra,nrt").body("x").send().await, "egion nrt");
    let begin = client.call("POST", "/bucket/k?uploads").header(NAMES[0], "nrt");
    refused(begin.send().await, "egion nrt");
    client.head("/bucket/k").await.expect(404);
    put(client, "/bucket/k", "iad").body("x").send().await.expect(200);
    assert_eq!(told(client, "/bucket/k").await.as_deref(), Some("iad"));
}

#[tokio::test]
async fn an_upload_in_parts_names_regions_when_it_begins() {
    let (server, _others) = Server::among(&CODES).await;
    let client = &server.client;
    client.put("/bucket", "").await.expect(200);
    client.put("/bucket/source", "source").await.expect(200);
    let begun = client.call("POST", "/bucket/k?uploads").header(NAMES[1], "iad").send().await;
    let id = begun.expect(200).one("UploadId").to_owned();
    let path = format!("/bucket/k?uploadId={id}");
    let copy = client.call("PUT", &format!("{path}&partNumber=1"));
    let copy = copy.header("x-amz-copy-source", "/bucket/source").send().await.expect(200);
    let etag = copy.one("ETag").replace("&quot;", "");
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    client.post(&path, list).await.expect(200);
    assert_eq!(told(client, "/bucket/k").await.as_deref(), Some("iad"));
    assert_eq!(client.get("/bucket/k").await.expect(200).text(), "source");
}

#[tokio::test]
async fn a_copy_keeps_the_regions_changes_them_or_drops_them() {
    let (server, _others) = Server::among(&CODES).await;
    let client = &server.client;
    client.put("/bucket", "").await.expect(200);
    put(client, "/narrow", "fra").send().await.expect(200);
    put(client, "/bucket/k", "iad").body("text").send().await.expect(200);
    let copy = |to: &str| client.call("PUT", to).header("x-amz-copy-source", "/bucket/k");
    copy("/bucket/kept").send().await.expect(200);
    assert_eq!(told(client, "/bucket/kept").await.as_deref(), Some("iad"));
    copy("/bucket/moved").header(NAMES[0], "nrt").send().await.expect(200);
    assert_eq!(told(client, "/bucket/moved").await.as_deref(), Some("nrt"));
    copy("/bucket/free").header(NAMES[0], "global").send().await.expect(200);
    assert_eq!(told(client, "/bucket/free").await, None);
    let replaced = copy("/bucket/replaced").header("x-amz-metadata-directive", "REPLACE");
    replaced.send().await.expect(200);
    assert_eq!(told(client, "/bucket/replaced").await, None);
    let outside = copy("/narrow/k").send().await;
    assert_eq!(outside.code(), (400, "InvalidArgument"), "the object may not leave its regions");
    copy("/narrow/k").header(NAMES[0], "fra").send().await.expect(200);
    copy("/bucket/k").header(NAMES[0], "fra").send().await.expect(200);
    assert_eq!(told(client, "/bucket/k").await.as_deref(), Some("fra"), "copied to itself");
    for path in ["/bucket/kept", "/bucket/moved", "/bucket/free", "/narrow/k", "/bucket/k"] {
        assert_eq!(client.get(path).await.expect(200).text(), "text", "{path}");
    }
}

#[tokio::test]
async fn a_rename_keeps_the_regions_and_takes_no_others() {
    let (server, _others) = Server::among(&CODES).await;
    let client = &server.client;
    client.put("/bucket", "").await.expect(200);
    put(client, "/bucket/old", "iad").body("text").send().await.expect(200);
    let rename = || {
        let call = client.call("PUT", "/bucket/new").header("x-tigris-rename", "true");
        call.header("x-amz-copy-source", "/bucket/old")
    };
    let moving = rename().header(NAMES[0], "fra").send().await;
    assert_eq!(moving.code(), (400, "InvalidArgument"));
    rename().send().await.expect(200);
    assert_eq!(told(client, "/bucket/new").await.as_deref(), Some("iad"));
    assert_eq!(client.get("/bucket/new").await.expect(200).text(), "text");
}
