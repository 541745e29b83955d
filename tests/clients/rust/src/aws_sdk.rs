//! AWS's SDK for Rust with its defaults: checksums in trailers, bodies as aws-chunked.

use std::collections::BTreeSet;

use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_s3::primitives::ByteStream;
use aws_sdk_s3::types::{
    ChecksumAlgorithm, CompletedMultipartUpload, CompletedPart, Delete, ObjectIdentifier,
};
use aws_sdk_s3::{Client, Config};

use crate::{KEYS, variable};

const BUCKET: &str = "aws-sdk-rust";

pub fn client() -> Client {
    let credentials = Credentials::new(
        variable("AWS_ACCESS_KEY_ID"),
        variable("AWS_SECRET_ACCESS_KEY"),
        None,
        None,
        "test",
    );
    let config = Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(variable("AWS_ENDPOINT_URL_S3"))
        .region(Region::new(variable("AWS_REGION")))
        .credentials_provider(credentials)
        .force_path_style(true);
    Client::from_conf(config.build())
}

async fn read(client: &Client, key: &str) -> Vec<u8> {
    let got = client.get_object().bucket(BUCKET).key(key).send().await.unwrap();
    got.body.collect().await.unwrap().to_vec()
}

pub async fn run() {
    let client = client();
    client.create_bucket().bucket(BUCKET).send().await.unwrap();
    odd_keys(&client).await;
    multipart(&client).await;
    let missing = client.get_object().bucket(BUCKET).key("missing").send().await.unwrap_err();
    assert!(missing.into_service_error().is_no_such_key());
    for key in ["large", "sum"] {
        client.delete_object().bucket(BUCKET).key(key).send().await.unwrap();
    }
    client.delete_bucket().bucket(BUCKET).send().await.unwrap();
}

async fn odd_keys(client: &Client) {
    for key in KEYS {
        let body = ByteStream::from(key.as_bytes().to_vec());
        client.put_object().bucket(BUCKET).key(key).body(body).send().await.unwrap();
        assert_eq!(read(client, key).await, key.as_bytes(), "{key:?}");
        let range =
            client.get_object().bucket(BUCKET).key(key).range("bytes=0-0").send().await.unwrap();
        assert_eq!(range.content_length(), Some(1));
        let source = format!("{BUCKET}/{}", escaped(key));
        let copy = format!("copy/{key}");
        client.copy_object().bucket(BUCKET).key(&copy).copy_source(source).send().await.unwrap();
        assert_eq!(read(client, &copy).await, key.as_bytes(), "{key:?}");
    }
    let mut pages = client.list_objects_v2().bucket(BUCKET).max_keys(5).into_paginator().send();
    let mut found = BTreeSet::new();
    while let Some(page) = pages.next().await {
        found.extend(page.unwrap().contents().iter().map(|entry| entry.key().unwrap().to_owned()));
    }
    let wanted: BTreeSet<_> =
        KEYS.iter().flat_map(|key| [(*key).to_owned(), format!("copy/{key}")]).collect();
    assert_eq!(found, wanted);
    let objects = wanted.iter().map(|key| ObjectIdentifier::builder().key(key).build().unwrap());
    let delete = Delete::builder().set_objects(Some(objects.collect())).build().unwrap();
    let deleted = client.delete_objects().bucket(BUCKET).delete(delete).send().await.unwrap();
    assert!(deleted.errors().is_empty(), "{deleted:?}");
    assert_eq!(deleted.deleted().len(), wanted.len());
}

/// As the value of `x-amz-copy-source` has to be.
fn escaped(key: &str) -> String {
    key.bytes()
        .map(|b| {
            if b.is_ascii_alphanumeric() { char::from(b).to_string() } else { format!("%{b:02X}") }
        })
        .collect()
}

async fn multipart(client: &Client) {
    for algorithm in
        [ChecksumAlgorithm::Crc32C, ChecksumAlgorithm::Crc64Nvme, ChecksumAlgorithm::Sha256]
    {
        let put = client.put_object().bucket(BUCKET).key("sum").checksum_algorithm(algorithm);
        put.body(ByteStream::from_static(b"hello")).send().await.unwrap();
        assert_eq!(read(client, "sum").await, b"hello");
    }
    let body: Vec<u8> = (0..11_u32 << 18).flat_map(u32::to_le_bytes).collect();
    let upload = client.create_multipart_upload().bucket(BUCKET).key("large").send().await.unwrap();
    let mut parts = Vec::new();
    for (number, piece) in (1..).zip(body.chunks(5 << 20)) {
        let part =
            client.upload_part().bucket(BUCKET).key("large").upload_id(upload.upload_id().unwrap());
        let part =
            part.part_number(number).body(ByteStream::from(piece.to_vec())).send().await.unwrap();
        let part = CompletedPart::builder()
            .part_number(number)
            .set_e_tag(part.e_tag)
            .set_checksum_crc32(part.checksum_crc32);
        parts.push(part.build());
    }
    let parts = CompletedMultipartUpload::builder().set_parts(Some(parts)).build();
    let complete = client.complete_multipart_upload().bucket(BUCKET).key("large");
    let complete = complete.upload_id(upload.upload_id().unwrap()).multipart_upload(parts);
    assert!(complete.send().await.unwrap().e_tag().unwrap().contains("-3"));
    assert!(read(client, "large").await == body);
}
