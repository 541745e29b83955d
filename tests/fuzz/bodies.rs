//! Documents, forms and chunks.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use md5::{Digest as _, Md5};

use crate::common::client::Call;
use crate::common::server::Server;
use crate::{LANES, Run};

/// Documents that are set, shown, and set again as they were shown: target, and path
/// with the lane for `N`.
const SETTINGS: [(&str, &str); 16] = [
    ("accelerate", "/bucketN?accelerate"),
    ("acl", "/bucketN?acl"),
    ("bucket-tagging", "/bucketN?tagging"),
    ("cors", "/bucketN?cors"),
    ("encryption", "/bucketN?encryption"),
    ("legal-hold", "/lockedN/key?legal-hold"),
    ("lifecycle", "/bucketN?lifecycle"),
    ("logging", "/bucketN?logging"),
    ("object-lock", "/lockedN?object-lock"),
    ("ownership", "/bucketN?ownershipControls"),
    ("policy", "/bucketN?policy"),
    ("public-access-block", "/bucketN?publicAccessBlock"),
    ("request-payment", "/bucketN?requestPayment"),
    ("tagging", "/bucketN/key?tagging"),
    ("versioning", "/bucketN?versioning"),
    ("website", "/bucketN?website"),
];

/// Documents that are not shown again: target, method and path.
const OTHERS: [(&str, &str, &str); 4] = [
    ("create-bucket", "PUT", "/madeN"),
    ("delete", "POST", "/bucketN?delete"),
    ("notification", "PUT", "/bucketN?notification"),
    ("retention", "PUT", "/lockedN/key?retention"),
];

/// A server with a bucket that anyone writes to and one with locks for each lane, and one bucket
/// more.
async fn server() -> Server {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let make = |lane: usize| async move {
        let open = client.call("PUT", &own("/bucketN", lane));
        open.header("x-amz-acl", "public-read-write").send().await.expect(200);
        let locked = client.call("PUT", &own("/lockedN", lane));
        locked.header("x-amz-bucket-object-lock-enabled", "true").send().await.expect(200);
        for key in ["/bucketN/key", "/lockedN/key"] {
            client.put(&own(key, lane), "0123456789").await.expect(200);
        }
    };
    join_all((0..LANES).map(make)).await;
    server
}

/// A path of this lane.
fn own(path: &str, lane: usize) -> String {
    path.replacen('N', &lane.to_string(), 1)
}

/// Sends a document; `Content-MD5` is wanted with some.
async fn sent(run: &Run, call: Call, input: &[u8], body: Vec<u8>) -> bool {
    let digest = STANDARD.encode(Md5::digest(&body));
    run.send(input, call.header("content-md5", &digest).body(body)).await.is_some()
}

#[tokio::test]
async fn a_setting_that_is_accepted_is_shown_and_accepted_again() {
    for (target, path) in SETTINGS {
        let Some(run) = Run::of(target) else { continue };
        let server = server().await;
        let (run, client) = (&run, &server.client);
        run.each(|lane, input| async move {
            let path = &own(path, lane);
            if !sent(run, client.call("PUT", path), &input, input.clone()).await {
                return;
            }
            let shown = client.get(path).await;
            // An empty setting is none.
            if shown.status == 404 {
                return;
            }
            let again = client.call("PUT", path);
            if shown.status != 200 || !sent(run, again, &input, shown.body.to_vec()).await {
                run.fail(&input, &format!("it is shown as {}", shown.text()));
            }
        })
        .await;
    }
}

#[tokio::test]
async fn a_document_is_done_or_refused() {
    for (target, method, path) in OTHERS {
        let Some(run) = Run::of(target) else { continue };
        let server = server().await;
        let (run, client) = (&run, &server.client);
        run.each(|lane, input| async move {
            sent(run, client.call(method, &own(path, lane)), &input, input.clone()).await;
        })
        .await;
    }
}

#[tokio::test]
async fn a_list_of_parts_completes_its_upload_or_is_refused() {
    let Some(run) = Run::of("complete") else { return };
    let server = server().await;
    let (run, client) = (&run, &server.client);
    run.each(|lane, input| async move {
        let path = own("/bucketN/parts", lane);
        let begun = client.post(&format!("{path}?uploads"), "").await.expect(200);
        let upload = format!("{path}?uploadId={}", begun.one("UploadId"));
        client.put(&format!("{upload}&partNumber=1"), "part").await.expect(200);
        let call = client.call("POST", &upload).body(input.clone());
        if run.send(&input, call).await.is_some() {
            let made = client.get(&path).await;
            if &*made.body != b"part" {
                run.fail(&input, "another object was made");
            }
        } else {
            client.delete(&upload).await.expect(204);
        }
    })
    .await;
}

#[tokio::test]
async fn a_form_is_done_or_refused() {
    let Some(run) = Run::of("form") else { return };
    let server = server().await;
    let (run, client) = (&run, &server.client);
    run.each(|lane, input| async move {
        let call = client.call("POST", &own("/bucketN", lane)).anonymous();
        let call = call.header("content-type", "multipart/form-data; boundary=AaB03x");
        run.send(&input, call.body(input.clone())).await;
    })
    .await;
}

/// What chunks say, by their definition; `None` where they are not right. A line may end without
/// its carriage return, as the trailers of S3's own examples do.
pub fn decoded(mut wire: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = wire.iter().position(|b| *b == b'\n')?;
        let size = std::str::from_utf8(&wire[..end]).ok()?.split(';').next()?;
        let size = size.strip_suffix('\r').unwrap_or(size).trim_matches([' ', '\t']);
        let len = usize::from_str_radix(size, 16).ok()?;
        wire = &wire[end + 1..];
        if len == 0 {
            return Some(body);
        }
        body.extend_from_slice(wire.get(..len)?);
        wire = &wire[len..];
        wire = wire.strip_prefix(b"\r\n").or_else(|| wire.strip_prefix(b"\n"))?;
    }
}

#[tokio::test]
async fn chunks_are_decoded_to_what_they_say_or_refused() {
    let Some(run) = Run::of("chunked") else { return };
    let server = server().await;
    let (run, client) = (&run, &server.client);
    run.each(|lane, input| async move {
        let path = own("/bucketN/chunks", lane);
        let expected = decoded(&input);
        let len = expected.as_ref().map_or(9, Vec::len);
        let call = client.call("PUT", &path).anonymous();
        let call = call
            .header("x-amz-acl", "public-read")
            .header("content-encoding", "aws-chunked")
            .header("x-amz-decoded-content-length", &len.to_string())
            .header("x-amz-content-sha256", "STREAMING-UNSIGNED-PAYLOAD-TRAILER")
            .header("x-amz-trailer", "x-amz-checksum-crc32");
        if run.send(&input, call.body(input.clone())).await.is_none() {
            return;
        }
        let stored = client.call("GET", &path).anonymous().send().await;
        if expected.as_deref() != Some(&*stored.body) {
            run.fail(&input, "the body is not what the chunks say");
        }
    })
    .await;
}
