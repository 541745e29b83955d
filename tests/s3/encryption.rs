//! Encryption at rest: SSE-C, SSE-S3, SSE-KMS, a bucket's default.
#![allow(clippy::disallowed_methods, reason = "looks at the files of a node")]

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use md5::{Digest, Md5};

use crate::common::client::{Answer, Call};
use crate::common::node;
use crate::common::server::Server;

const SSE: &str = "x-amz-server-side-encryption";
const KEY_ID: &str = "x-amz-server-side-encryption-aws-kms-key-id";
const CUSTOMER: &str = "x-amz-server-side-encryption-customer-";
const SOURCE: &str = "x-amz-copy-source-server-side-encryption-customer-";

const MIB: usize = 1 << 20;

fn with_key(call: Call, prefix: &str, key: [u8; 32]) -> Call {
    call.header(&format!("{prefix}algorithm"), "AES256")
        .header(&format!("{prefix}key"), &STANDARD.encode(key))
        .header(&format!("{prefix}key-md5"), &STANDARD.encode(Md5::digest(key)))
}

async fn put_with(server: &Server, path: &str, body: Vec<u8>, headers: &[(&str, &str)]) -> Answer {
    let call = server.client.call("PUT", path).body(body);
    headers.iter().fold(call, |call, (name, value)| call.header(name, value)).send().await
}

/// What is on the disk of a node, every file of it.
fn disk(dir: &Path) -> Vec<u8> {
    let mut bytes = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            bytes.extend(disk(&entry));
        } else {
            bytes.extend(std::fs::read(entry).unwrap());
        }
    }
    bytes
}

fn has(disk: &[u8], what: &[u8]) -> bool {
    disk.windows(what.len()).any(|window| window == what)
}

/// A body in which `word` stands again and again.
fn body(word: &str, len: usize) -> Vec<u8> {
    word.bytes().cycle().take(len).collect()
}

#[tokio::test]
async fn no_byte_of_an_encrypted_object_is_on_the_disk_and_no_key() {
    let server = Server::with_bucket("bucket").await;
    let customer = [77; 32];
    for (name, len) in [("small", 100), ("large", 3 * MIB)] {
        put_with(&server, &format!("/bucket/plain-{name}"), body("inclear.", len), &[]).await;
        let sse_s3 = body("byfirst.", len);
        put_with(&server, &format!("/bucket/s3-{name}"), sse_s3, &[(SSE, "AES256")])
            .await
            .expect(200);
        let kms = [(SSE, "aws:kms"), (KEY_ID, "second")];
        put_with(&server, &format!("/bucket/kms-{name}"), body("bysecond", len), &kms)
            .await
            .expect(200);
        let path = format!("/bucket/c-{name}");
        let call = server.client.call("PUT", &path).body(body("bycustom", len));
        with_key(call, CUSTOMER, customer).send().await.expect(200);
    }
    let disk = disk(server.node.dir());
    assert!(has(&disk, b"inclear.inclear."), "what is not encrypted is there to be found");
    for word in ["byfirst.", "bysecond", "bycustom"] {
        assert!(!has(&disk, word.as_bytes()), "{word}");
    }
    for key in [node::FIRST_KEY, node::SECOND_KEY, customer] {
        assert!(!has(&disk, &key) && !has(&disk, STANDARD.encode(key).as_bytes()));
    }
    // The MD5 of what an SSE-C or SSE-KMS object is would tell who guesses it.
    for word in ["bysecond", "bycustom"] {
        let md5: [u8; 16] = Md5::digest(body(word, 100)).into();
        assert!(!has(&disk, &md5) && !has(&disk, hex::encode(md5).as_bytes()), "{word}");
    }
}

#[tokio::test]
async fn an_object_of_sse_s3_reads_as_any_other_and_says_how_it_is_kept() {
    let server = Server::with_bucket("bucket").await;
    let bytes: Vec<u8> = (0..251_u8).cycle().take(3 * MIB).collect();
    let put = put_with(&server, "/bucket/k", bytes.clone(), &[(SSE, "AES256")]).await.expect(200);
    assert_eq!(put.header(SSE), Some("AES256"));
    let etag = format!("\"{}\"", hex::encode(Md5::digest(&bytes)));
    assert_eq!(put.header("etag"), Some(etag.as_str()), "of SSE-S3 it is the MD5");
    let got = server.client.get("/bucket/k").await.expect(200);
    assert_eq!((got.header(SSE), got.body == bytes), (Some("AES256"), true));
    assert_eq!(server.client.head("/bucket/k").await.expect(200).header(SSE), Some("AES256"));
    for (first, last) in [(0, 0), (1, 17), (MIB - 1, MIB), (2 * MIB + 5, 3 * MIB - 1)] {
        let range = format!("bytes={first}-{last}");
        let part = server.client.call("GET", "/bucket/k").header("range", &range).send().await;
        assert_eq!(part.expect(206).body, bytes[first..=last], "{range}");
    }
    let restarted = server.restart().await;
    assert!(restarted.client.get("/bucket/k").await.expect(200).body == bytes);
    let empty = put_with(&restarted, "/bucket/e", Vec::new(), &[(SSE, "AES256")]).await;
    assert_eq!(empty.expect(200).header(SSE), Some("AES256"));
    assert_eq!(restarted.client.get("/bucket/e").await.expect(200).text(), "");
}

#[tokio::test]
async fn a_customers_object_is_read_with_its_key_and_with_no_other() {
    let server = Server::with_bucket("bucket").await;
    let (key, other) = ([1; 32], [2; 32]);
    let put = |key| {
        with_key(server.client.call("PUT", "/bucket/k").body("secret text"), CUSTOMER, key).send()
    };
    let made = put(key).await.expect(200);
    assert_eq!(made.header(&format!("{CUSTOMER}algorithm")), Some("AES256"));
    let md5 = STANDARD.encode(Md5::digest(key));
    assert_eq!(made.header(&format!("{CUSTOMER}key-md5")), Some(md5.as_str()));
    for method in ["GET", "HEAD"] {
        let call = || server.client.call(method, "/bucket/k");
        assert_eq!(call().send().await.status, 400, "{method} without a key");
        let wrong = with_key(call(), CUSTOMER, other).send().await;
        assert_eq!(wrong.status, 400, "{method} with another key");
        let right = with_key(call(), CUSTOMER, key).send().await.expect(200);
        assert_eq!(right.header(&format!("{CUSTOMER}algorithm")), Some("AES256"));
        assert_eq!(right.text(), if method == "GET" { "secret text" } else { "" });
    }
    let attributes = server.client.call("GET", "/bucket/k?attributes");
    let attributes = attributes.header("x-amz-object-attributes", "ObjectSize");
    assert_eq!(attributes.clone().send().await.code(), (400, "InvalidRequest"));
    with_key(attributes, CUSTOMER, key).send().await.expect(200);
    // An object without a customer's key is not read with one.
    server.client.put("/bucket/plain", "x").await.expect(200);
    let needless = with_key(server.client.call("GET", "/bucket/plain"), CUSTOMER, key);
    assert_eq!(needless.send().await.code(), (400, "InvalidRequest"));
    // Tags, lists and deletions need none.
    server.client.get("/bucket/k?tagging").await.expect(200);
    assert_eq!(server.client.get("/bucket?list-type=2").await.expect(200).all("Key").len(), 2);
    server.client.delete("/bucket/k").await.expect(204);
}

#[tokio::test]
async fn a_request_for_encryption_that_contradicts_itself_is_refused() {
    let server = Server::with_bucket("bucket").await;
    let key = STANDARD.encode([1; 32]);
    let md5 = STANDARD.encode(Md5::digest([1; 32]));
    let customer = |name: &str| format!("{CUSTOMER}{name}");
    let (algorithm, key_name, md5_name) =
        (customer("algorithm"), customer("key"), customer("key-md5"));
    let full = [
        (algorithm.as_str(), "AES256"),
        (key_name.as_str(), key.as_str()),
        (md5_name.as_str(), md5.as_str()),
    ];
    let cases: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (vec![(SSE, "AES128")], "InvalidArgument"),
        (vec![(SSE, "aws:kms")], "InvalidArgument"),
        (vec![(KEY_ID, "first")], "InvalidArgument"),
        (vec![(SSE, "AES256"), (KEY_ID, "first")], "InvalidArgument"),
        (vec![(SSE, "aws:kms"), (KEY_ID, "third")], "KMS.NotFoundException"),
        (full[..1].to_vec(), "InvalidArgument"),
        (full[1..].to_vec(), "InvalidArgument"),
        (full[..2].to_vec(), "InvalidArgument"),
        (vec![(algorithm.as_str(), "AES192"), full[1], full[2]], "InvalidEncryptionAlgorithmError"),
        (vec![full[0], (key_name.as_str(), "AAAA"), full[2]], "InvalidArgument"),
        (vec![full[0], full[1], (md5_name.as_str(), "AAAA")], "InvalidArgument"),
        ([&full[..], &[(SSE, "AES256")]].concat(), "InvalidArgument"),
    ];
    for (headers, code) in cases {
        let answer = put_with(&server, "/bucket/k", b"x".to_vec(), &headers).await;
        assert_eq!(answer.code(), (400, code), "{headers:?}");
        assert!(!answer.text().contains(&key), "a key is in no answer");
    }
    let context = [(SSE, "aws:kms"), (KEY_ID, "first"), (&format!("{SSE}-context"), "e30=")];
    let context = put_with(&server, "/bucket/k", b"x".to_vec(), &context).await;
    assert_eq!(context.code(), (501, "NotImplemented"));
    assert_eq!(server.client.get("/bucket/k").await.status, 404, "nothing was stored");
    server.client.put("/bucket/k", "x").await.expect(200);
    let read = server.client.call("GET", "/bucket/k").header(SSE, "AES256").send().await;
    assert_eq!(read.code(), (400, "InvalidArgument"));
}

#[tokio::test]
async fn a_default_encrypts_what_asks_for_nothing() {
    let server = Server::with_bucket("bucket").await;
    let unset = server.client.get("/bucket?encryption").await;
    assert_eq!(unset.code(), (404, "ServerSideEncryptionConfigurationNotFoundError"));
    let document = |algorithm: &str, key: &str| {
        format!(
            "<ServerSideEncryptionConfiguration><Rule><ApplyServerSideEncryptionByDefault>\
             <SSEAlgorithm>{algorithm}</SSEAlgorithm>{key}</ApplyServerSideEncryptionByDefault>\
             </Rule></ServerSideEncryptionConfiguration>"
        )
    };
    let set = async |algorithm: &str, key: &str| {
        server.client.put("/bucket?encryption", document(algorithm, key)).await
    };
    set("AES256", "").await.expect(200);
    let got = server.client.get("/bucket?encryption").await.expect(200);
    assert_eq!(got.one("SSEAlgorithm"), "AES256");
    let put = server.client.put("/bucket/k", "text").await.expect(200);
    assert_eq!(put.header(SSE), Some("AES256"));
    set("aws:kms", "<KMSMasterKeyID>second</KMSMasterKeyID>").await.expect(200);
    let put = server.client.put("/bucket/l", "text").await.expect(200);
    assert_eq!((put.header(SSE), put.header(KEY_ID)), (Some("aws:kms"), Some("second")));
    let got = server.client.get("/bucket/l").await.expect(200);
    assert_eq!((got.text(), got.header(KEY_ID)), ("text", Some("second")));
    let asked = put_with(&server, "/bucket/m", b"x".to_vec(), &[(SSE, "AES256")]).await;
    assert_eq!(asked.expect(200).header(SSE), Some("AES256"), "what is asked for comes first");
    for (algorithm, key, code) in [
        ("aws:kms", "", "InvalidArgument"),
        ("aws:kms", "<KMSMasterKeyID>third</KMSMasterKeyID>", "KMS.NotFoundException"),
        ("AES256", "<KMSMasterKeyID>first</KMSMasterKeyID>", "InvalidArgument"),
        ("ROT13", "", "MalformedXML"),
    ] {
        assert_eq!(set(algorithm, key).await.code(), (400, code));
    }
    server.client.delete("/bucket?encryption").await.expect(204);
    assert_eq!(server.client.put("/bucket/n", "x").await.expect(200).header(SSE), None);
    assert_eq!(server.client.get("/bucket/k").await.expect(200).text(), "text");
}

#[tokio::test]
async fn every_copy_between_kinds_of_encryption_has_the_same_bytes() {
    let server = Server::with_bucket("bucket").await;
    let kinds = ["none", "s3", "kms", "c"];
    let (from_key, to_key) = ([3; 32], [4; 32]);
    let asking = |call: Call, kind: &str, key: [u8; 32]| match kind {
        "s3" => call.header(SSE, "AES256"),
        "kms" => call.header(SSE, "aws:kms").header(KEY_ID, "second"),
        "c" => with_key(call, CUSTOMER, key),
        _ => call,
    };
    for len in [10, 2 * MIB + 7] {
        for from in kinds {
            let path = format!("/bucket/from-{from}");
            let put = server.client.call("PUT", &path).body(body("some text ", len));
            asking(put, from, from_key).send().await.expect(200);
            for to in kinds {
                let target = format!("/bucket/{from}-to-{to}");
                let copy = server.client.call("PUT", &target).header("x-amz-copy-source", &path);
                let copy = asking(copy, to, to_key);
                if from == "c" {
                    let refused = copy.clone().send().await;
                    assert_eq!(refused.code(), (400, "InvalidRequest"), "without the source's key");
                }
                let copy = if from == "c" { with_key(copy, SOURCE, from_key) } else { copy };
                copy.send().await.expect(200);
                let get = server.client.call("GET", &target);
                let get = if to == "c" { with_key(get, CUSTOMER, to_key) } else { get };
                let got = get.send().await.expect(200);
                assert!(got.body == body("some text ", len), "{from} to {to}");
                let kept = match (from, to) {
                    (_, "s3") | ("s3", "none") => Some("AES256"),
                    (_, "kms") | ("kms", "none") => Some("aws:kms"),
                    _ => None,
                };
                assert_eq!(got.header(SSE), kept, "{from} to {to}");
            }
        }
    }
    // The bytes of a copy between keys of the keyring stay where they are; their key changes.
    let again = server.client.call("PUT", "/bucket/from-s3").header(SSE, "aws:kms");
    let again = again.header(KEY_ID, "first").header("x-amz-copy-source", "/bucket/from-s3");
    assert_eq!(again.send().await.expect(200).header(KEY_ID), Some("first"));
    let got = server.client.get("/bucket/from-s3").await.expect(200);
    assert!(got.body == body("some text ", 2 * MIB + 7));
}

/// Uploads parts of these bodies, and completes.
async fn upload(server: &Server, path: &str, key: Option<[u8; 32]>, parts: &[Vec<u8>]) -> Answer {
    let keyed = |call: Call| match key {
        Some(key) => with_key(call, CUSTOMER, key),
        None => call.header(SSE, "AES256"),
    };
    let begun = keyed(server.client.call("POST", &format!("{path}?uploads"))).send().await;
    let begun = begun.expect(200);
    let id = begun.one("UploadId");
    let mut listed = String::new();
    for (number, part) in (1..).zip(parts) {
        let to = format!("{path}?uploadId={id}&partNumber={number}");
        let call = server.client.call("PUT", &to).body(part.clone());
        if key.is_some() {
            assert_eq!(call.clone().send().await.code(), (400, "InvalidRequest"), "no key");
            let wrong = with_key(call.clone(), CUSTOMER, [99; 32]).send().await;
            assert_eq!(wrong.code(), (400, "InvalidRequest"), "another key");
        }
        let call = if key.is_some() { keyed(call) } else { call };
        let etag = call.send().await.expect(200).header("etag").unwrap().to_owned();
        let (open, close) = ("<Part><PartNumber>", "</ETag></Part>");
        listed += &format!("{open}{number}</PartNumber><ETag>{etag}{close}");
    }
    let document = format!("<CompleteMultipartUpload>{listed}</CompleteMultipartUpload>");
    let call = server.client.call("POST", &format!("{path}?uploadId={id}")).body(document);
    let call = if key.is_some() { keyed(call) } else { call };
    call.send().await
}

#[tokio::test]
async fn parts_are_encrypted_and_read_across_their_borders() {
    let server = Server::with_bucket("bucket").await;
    let parts = [body("first part ", 5 * MIB + 3), body("second ", 5 * MIB), body("end", 17)];
    let whole = parts.concat();
    for key in [None, Some([5; 32])] {
        upload(&server, "/bucket/k", key, &parts).await.expect(200);
        let get = |range: &str| {
            let call = server.client.call("GET", "/bucket/k").header("range", range);
            match key {
                Some(key) => with_key(call, CUSTOMER, key),
                None => call,
            }
        };
        let all = get("bytes=0-").send().await.expect(206);
        assert!(all.body == whole);
        for (first, last) in [
            (5 * MIB, 5 * MIB + 20),
            (5 * MIB + 2, 10 * MIB + 10),
            (10 * MIB + 3, 10 * MIB + 3),
            (10 * MIB + 19, 10 * MIB + 19),
        ] {
            let part = get(&format!("bytes={first}-{last}")).send().await.expect(206);
            assert!(part.body == whole[first..=last], "{first} to {last}");
        }
    }
    let disk = disk(server.node.dir());
    assert!(!has(&disk, b"first part ") && !has(&disk, b"second second"));
}

#[tokio::test]
async fn a_part_copied_into_an_encrypted_upload_is_encrypted() {
    let server = Server::with_bucket("bucket").await;
    let source = [(SSE, "AES256")];
    put_with(&server, "/bucket/from", body("copied part ", 5 * MIB), &source).await.expect(200);
    let key = [6; 32];
    let begun = with_key(server.client.call("POST", "/bucket/k?uploads"), CUSTOMER, key);
    let begun = begun.send().await.expect(200);
    let id = begun.one("UploadId");
    let copy = server
        .client
        .call("PUT", &format!("/bucket/k?uploadId={id}&partNumber=1"))
        .header("x-amz-copy-source", "/bucket/from");
    assert_eq!(copy.clone().send().await.code(), (400, "InvalidRequest"), "the upload's key");
    let copied = with_key(copy, CUSTOMER, key).send().await.expect(200);
    let etag = copied.one("ETag");
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    let complete = server.client.call("POST", &format!("/bucket/k?uploadId={id}")).body(document);
    with_key(complete, CUSTOMER, key).send().await.expect(200);
    let got = with_key(server.client.call("GET", "/bucket/k"), CUSTOMER, key).send().await;
    assert!(got.expect(200).body == body("copied part ", 5 * MIB));
}

#[tokio::test]
async fn a_renamed_object_keeps_its_encryption() {
    let server = Server::with_bucket("bucket").await;
    put_with(&server, "/bucket/a", b"text".to_vec(), &[(SSE, "AES256")]).await.expect(200);
    let rename = server.client.call("PUT", "/bucket/b?renameObject");
    rename.header("x-amz-rename-source", "a").send().await.expect(200);
    let got = server.client.get("/bucket/b").await.expect(200);
    assert_eq!((got.text(), got.header(SSE)), ("text", Some("AES256")));
}

#[tokio::test]
async fn without_a_keyring_only_a_customers_key_encrypts() {
    let server = Server::without_keyring("bucket").await;
    let refused = put_with(&server, "/bucket/k", b"x".to_vec(), &[(SSE, "AES256")]).await;
    assert_eq!(refused.code(), (501, "NotImplemented"));
    assert!(refused.text().contains("GODWIT_KEYRING"), "it says what to do");
    let call = server.client.call("PUT", "/bucket/k").body("x");
    with_key(call, CUSTOMER, [1; 32]).send().await.expect(200);
}
