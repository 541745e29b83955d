//! Headers, queries and keys, each signed.

use crate::common::client::Client;
use crate::common::server::Server;
use crate::{LANES, Run};

/// Headers that have a syntax of their own: target, method, path, header.
const HEADERS: [(&str, &str, &str, &str); 7] = [
    ("copy-range", "PUT", "UPLOAD", "x-amz-copy-source-range"),
    ("copy-source", "PUT", "/bucket/copy", "x-amz-copy-source"),
    ("date", "GET", "/bucket/key", "if-modified-since"),
    ("etags", "GET", "/bucket/key", "if-none-match"),
    ("grant", "PUT", "/bucket/granted", "x-amz-grant-read"),
    ("range", "GET", "/bucket/key", "range"),
    ("tags", "PUT", "/bucket/tagged", "x-amz-tagging"),
];

const BODY: &str = "0123456789";

/// What may stand in a header; an SDK trims it.
fn header(input: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(input).ok()?;
    (text.bytes().all(|b| (32..127).contains(&b)) && text.trim() == text).then_some(text)
}

async fn upload(client: &Client) -> String {
    let begun = client.post("/bucket/parts?uploads", "").await.expect(200);
    format!("/bucket/parts?partNumber=1&uploadId={}", begun.one("UploadId"))
}

#[tokio::test]
async fn a_header_is_read_or_refused() {
    for (target, method, path, name) in HEADERS {
        let Some(run) = Run::of(target) else { continue };
        let server = Server::with_bucket("bucket").await;
        let (run, client) = (&run, &server.client);
        client.put("/bucket/key", BODY).await.expect(200);
        let path = if path == "UPLOAD" { upload(client).await } else { path.to_owned() };
        let path = &path;
        run.each(|_, input| async move {
            let Some(text) = header(&input) else { return };
            let mut call = client.call(method, path).header(name, text);
            if target == "copy-range" {
                call = call.header("x-amz-copy-source", "/bucket/key");
            }
            let answer = run.send(&input, call).await;
            let Some(answer) = answer.filter(|_| target == "range") else { return };
            if answer.body != within(answer.header("content-range")) {
                run.fail(&input, "the bytes are not those of Content-Range");
            }
        })
        .await;
    }
}

/// The bytes that `bytes 2-5/10` says; all of them where nothing is said.
fn within(range: Option<&str>) -> &'static [u8] {
    let Some(range) = range else { return BODY.as_bytes() };
    let (first, rest) = range.strip_prefix("bytes ").unwrap().split_once('-').unwrap();
    let last: usize = rest.split_once('/').unwrap().0.parse().unwrap();
    &BODY.as_bytes()[first.parse().unwrap()..=last]
}

/// A path or query that a client can send.
fn sendable(text: &str) -> bool {
    let plain = text.bytes().all(|b| b.is_ascii_graphic() && !b"#\"<>\\^`{|}[]".contains(&b));
    plain && format!("http://127.0.0.1:1{text}").parse::<http::Uri>().is_ok()
}

#[tokio::test]
async fn a_query_is_signed_as_the_sdk_signs_it_and_answered() {
    let Some(run) = Run::of("query") else { return };
    let server = Server::with_bucket("bucket").await;
    let (run, client) = (&run, &server.client);
    for key in ["a", "a%2Fb", "%C3%A9", "%00"] {
        client.put(&format!("/bucket/{key}"), "x").await.expect(200);
    }
    run.each(|_, input| async move {
        let path = format!("/bucket?{}", String::from_utf8_lossy(&input));
        if sendable(&path) {
            run.send(&input, client.call("GET", &path)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn a_key_is_signed_as_the_sdk_signs_it_and_comes_back_as_it_went_in() {
    let Some(run) = Run::of("key") else { return };
    let server = Server::start().await;
    let (run, client) = (&run, &server.client);
    for lane in 0..LANES {
        client.put(&format!("/bucket{lane}"), "").await.expect(200);
    }
    run.each(|lane, input| async move {
        let path = format!("/bucket{lane}/{}", String::from_utf8_lossy(&input));
        // Without a key it is the bucket.
        if !sendable(&path) || path.contains('?') || input.is_empty() {
            return;
        }
        let call = client.call("PUT", &path).body(input.clone());
        if run.send(&input, call).await.is_none() {
            return;
        }
        let back = client.get(&path).await;
        if back.status != 200 || back.body != input {
            run.fail(&input, &format!("it came back as {} {:?}", back.status, back.body));
        }
        client.delete(&path).await.expect(204);
    })
    .await;
}
