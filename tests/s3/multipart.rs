//! Multipart uploads.

use crate::common::server::Server;

const MIN: usize = 5 << 20;

async fn begin(server: &Server, key: &str) -> String {
    let answer = server.client.post(&format!("/bucket/{key}?uploads"), "").await.expect(200);
    answer.one("UploadId").to_owned()
}

fn document(parts: &[(u16, &str)]) -> String {
    let part = |(number, etag): &(u16, &str)| {
        format!("<Part><PartNumber>{number}</PartNumber><ETag>\"{etag}\"</ETag></Part>")
    };
    let parts: String = parts.iter().map(part).collect();
    format!("<CompleteMultipartUpload>{parts}</CompleteMultipartUpload>")
}

async fn upload(server: &Server, key: &str, id: &str, number: u16, body: &[u8]) -> String {
    let path = format!("/bucket/{key}?partNumber={number}&uploadId={id}");
    let answer = server.client.put(&path, body.to_vec()).await.expect(200);
    answer.header("etag").unwrap().trim_matches('"').to_owned()
}

#[tokio::test]
async fn parts_become_one_object() {
    let server = Server::with_bucket("bucket").await;
    let begun = server.client.call("POST", "/bucket/big?uploads").header("x-amz-meta-a", "b");
    let begun = begun.header("content-type", "video/mp4").send().await.expect(200);
    let id = begun.one("UploadId");
    let (first, second) = (vec![1_u8; MIN], vec![2_u8; 10]);
    let two = upload(&server, "big", id, 2, &second).await;
    let one = upload(&server, "big", id, 1, &first).await;
    server.client.head("/bucket/big").await.expect(404);
    let parts = server.client.get(&format!("/bucket/big?uploadId={id}")).await.expect(200);
    assert_eq!(
        (parts.all("PartNumber"), parts.all("Size")),
        (vec!["1", "2"], vec!["5242880", "10"])
    );
    let uploads = server.client.get("/bucket?uploads").await.expect(200);
    assert_eq!((uploads.all("Key"), uploads.all("UploadId")), (vec!["big"], vec![id]));
    let list = document(&[(1, &one), (2, &two)]);
    let path = format!("/bucket/big?uploadId={id}");
    let done = server.client.post(&path, list.clone()).await.expect(200);
    assert!(done.one("ETag").ends_with("-2&quot;"), "{}", done.text());
    assert!(done.one("Location").ends_with("/bucket/big"));
    let get = server.client.get("/bucket/big").await.expect(200);
    assert_eq!(get.body, [first, second.clone()].concat());
    assert_eq!(
        (get.header("x-amz-meta-a"), get.header("content-type")),
        (Some("b"), Some("video/mp4"))
    );
    let part = server.client.get("/bucket/big?partNumber=2").await.expect(206);
    assert_eq!((part.body.as_ref(), part.header("x-amz-mp-parts-count")), (&second[..], Some("2")));
    let again = server.client.post(&path, list).await.expect(200);
    assert_eq!(again.one("ETag"), done.one("ETag"));
    assert!(server.client.get("/bucket?uploads").await.all("UploadId").is_empty());
    let parts = server.client.get(&format!("/bucket/big?uploadId={id}")).await;
    assert_eq!(parts.code(), (404, "NoSuchUpload"));
}

#[tokio::test]
async fn an_aborted_upload_leaves_nothing() {
    let server = Server::with_bucket("bucket").await;
    let id = begin(&server, "gone").await;
    let one = upload(&server, "gone", &id, 1, b"x").await;
    server.client.delete(&format!("/bucket/gone?uploadId={id}")).await.expect(204);
    let path = format!("/bucket/gone?uploadId={id}");
    let complete = server.client.post(&path, document(&[(1, &one)])).await;
    assert_eq!(complete.code(), (404, "NoSuchUpload"));
    let part = server.client.put(&format!("{path}&partNumber=1"), "y").await;
    assert_eq!(part.code(), (404, "NoSuchUpload"));
    server.client.head("/bucket/gone").await.expect(404);
    server.client.delete("/bucket").await.expect(204);
}

#[tokio::test]
async fn lists_of_parts_that_break_the_rules_are_refused() {
    let server = Server::with_bucket("bucket").await;
    let id = begin(&server, "k").await;
    let one = upload(&server, "k", &id, 1, b"small").await;
    let two = upload(&server, "k", &id, 2, b"last").await;
    let path = format!("/bucket/k?uploadId={id}");
    let zero = "0".repeat(32);
    let cases = [
        (document(&[(1, &one), (2, &two)]), "EntityTooSmall"),
        (document(&[(2, &two), (1, &one)]), "InvalidPartOrder"),
        (document(&[(1, &zero)]), "InvalidPart"),
        (document(&[(3, &one)]), "InvalidPart"),
        (document(&[]), "MalformedXML"),
        ("<CompleteMultipartUpload>".to_owned(), "MalformedXML"),
    ];
    for (list, code) in cases {
        assert_eq!(server.client.post(&path, list).await.code(), (400, code));
    }
    let call = server.client.call("POST", &path).header("x-amz-checksum-sha256", "none");
    let no_checksum = call.body(document(&[(2, &two)])).send().await;
    assert_eq!(no_checksum.code(), (400, "BadDigest"));
    server.client.head("/bucket/k").await.expect(404);
    server.client.post(&path, document(&[(2, &two)])).await.expect(200);
    assert_eq!(server.client.get("/bucket/k").await.text(), "last");
}

#[tokio::test]
async fn of_a_part_listed_twice_the_last_counts() {
    let server = Server::with_bucket("bucket").await;
    let id = begin(&server, "k").await;
    let old = upload(&server, "k", &id, 1, b"old").await;
    let new = upload(&server, "k", &id, 1, b"new").await;
    let path = format!("/bucket/k?uploadId={id}");
    let stale = server.client.post(&path, document(&[(1, &new), (1, &old)])).await;
    assert_eq!(stale.code(), (400, "InvalidPart"));
    let made = server.client.post(&path, document(&[(1, &old), (1, &new)])).await.expect(200);
    assert!(made.one("ETag").ends_with("-1&quot;"), "{}", made.text());
    assert_eq!(server.client.get("/bucket/k").await.text(), "new");
}

#[tokio::test]
async fn a_part_is_not_copied_from_beyond_its_source() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/source", "12345").await.expect(200);
    let id = begin(&server, "k").await;
    let copy = |range: &'static str| {
        let path = format!("/bucket/k?uploadId={id}&partNumber=1");
        let call = server.client.call("PUT", &path).header("x-amz-copy-source", "/bucket/source");
        call.header("x-amz-copy-source-range", range)
    };
    assert_eq!(copy("bytes=0-5").send().await.code(), (416, "InvalidRange"));
    assert_eq!(copy("bytes=5-6").send().await.code(), (416, "InvalidRange"));
    copy("bytes=1-4").send().await.expect(200);
}

#[tokio::test]
async fn a_part_sent_again_replaces_the_former() {
    let server = Server::with_bucket("bucket").await;
    let id = begin(&server, "k").await;
    let old = upload(&server, "k", &id, 1, b"old").await;
    let new = upload(&server, "k", &id, 1, b"new").await;
    let path = format!("/bucket/k?uploadId={id}");
    assert_eq!(
        server.client.post(&path, document(&[(1, &old)])).await.code(),
        (400, "InvalidPart")
    );
    server.client.post(&path, document(&[(1, &new)])).await.expect(200);
    assert_eq!(server.client.get("/bucket/k").await.text(), "new");
}

#[tokio::test]
async fn parts_are_copied_from_objects_and_ranges_of_them() {
    let server = Server::with_bucket("bucket").await;
    let source: Vec<u8> = (0..MIN + 1000).map(|i| u8::try_from(i % 249).unwrap()).collect();
    server.client.put("/bucket/source", source.clone()).await.expect(200);
    let id = begin(&server, "k").await;
    let copy = |number: u16, range: Option<&'static str>| {
        let path = format!("/bucket/k?partNumber={number}&uploadId={id}");
        let call = server.client.call("PUT", &path).header("x-amz-copy-source", "/bucket/source");
        match range {
            Some(range) => call.header("x-amz-copy-source-range", range).send(),
            None => call.send(),
        }
    };
    let etag = |answer: &crate::common::client::Answer| {
        answer.one("ETag").trim_matches(|c: char| !c.is_ascii_hexdigit()).to_owned()
    };
    let one = etag(&copy(1, None).await.expect(200));
    let two = etag(&copy(2, Some("bytes=10-19")).await.expect(200));
    assert_eq!(copy(3, Some("bytes=9-")).await.code(), (400, "InvalidArgument"));
    assert_eq!(copy(3, Some("bytes=99999999-99999999")).await.code(), (416, "InvalidRange"));
    let path = format!("/bucket/k?uploadId={id}");
    let one = one.trim_start_matches("quot").to_owned();
    let two = two.trim_start_matches("quot").to_owned();
    server.client.post(&path, document(&[(1, &one), (2, &two)])).await.expect(200);
    server.client.delete("/bucket/source").await.expect(204);
    let whole = [&source[..], &source[10..20]].concat();
    assert_eq!(server.client.get("/bucket/k").await.expect(200).body, whole);
}

#[tokio::test]
async fn a_completion_takes_conditions() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/k", "there").await.expect(200);
    let id = begin(&server, "k").await;
    let one = upload(&server, "k", &id, 1, b"new").await;
    let path = format!("/bucket/k?uploadId={id}");
    let list = document(&[(1, &one)]);
    let call = server.client.call("POST", &path).header("if-none-match", "*").body(list.clone());
    assert_eq!(call.send().await.code(), (412, "PreconditionFailed"));
    assert_eq!(server.client.get("/bucket/k").await.text(), "there");
    server.client.delete("/bucket/k").await.expect(204);
    let call = server.client.call("POST", &path).header("if-none-match", "*").body(list);
    call.send().await.expect(200);
    assert_eq!(server.client.get("/bucket/k").await.text(), "new");
}

#[tokio::test]
async fn a_checksum_of_the_whole_object_comes_from_its_parts() {
    let server = Server::with_bucket("bucket").await;
    let begun = server.client.call("POST", "/bucket/k?uploads");
    let begun = begun.header("x-amz-checksum-algorithm", "CRC64NVME").send().await.expect(200);
    assert_eq!(begun.header("x-amz-checksum-type"), Some("FULL_OBJECT"));
    let id = begun.one("UploadId");
    let path = format!("/bucket/k?partNumber=1&uploadId={id}");
    let part = server.client.call("PUT", &path).header("x-amz-checksum-crc64nvme", "rosUhgp5mIg=");
    let part = part.body("123456789").send().await.expect(200);
    let etag = part.header("etag").unwrap().trim_matches('"').to_owned();
    let path = format!("/bucket/k?uploadId={id}");
    let done = server.client.post(&path, document(&[(1, &etag)])).await.expect(200);
    assert_eq!(done.one("ChecksumCRC64NVME"), "rosUhgp5mIg=");
    assert_eq!(done.one("ChecksumType"), "FULL_OBJECT");
    let head = server.client.call("HEAD", "/bucket/k").header("x-amz-checksum-mode", "ENABLED");
    let head = head.send().await.expect(200);
    assert_eq!(head.header("x-amz-checksum-crc64nvme"), Some("rosUhgp5mIg="));
}

#[tokio::test]
async fn a_part_without_the_checksum_of_its_upload_gets_one() {
    let server = Server::with_bucket("bucket").await;
    let begun = server.client.call("POST", "/bucket/k?uploads");
    let begun = begun.header("x-amz-checksum-algorithm", "CRC32C").send().await.expect(200);
    let id = begun.one("UploadId");
    let path = format!("/bucket/k?partNumber=1&uploadId={id}");
    let part = server.client.put(&path, "123456789").await.expect(200);
    assert_eq!(part.header("x-amz-checksum-crc32c"), Some("4waSgw=="));
    let etag = part.header("etag").unwrap().trim_matches('"').to_owned();
    let path = format!("/bucket/k?uploadId={id}");
    let done = server.client.post(&path, document(&[(1, &etag)])).await.expect(200);
    assert_eq!(done.one("ChecksumType"), "COMPOSITE");
    assert!(done.one("ChecksumCRC32C").ends_with("-1"));
    // One part is shown with its own checksum and the type of the object.
    let part = server.client.call("GET", "/bucket/k?partNumber=1");
    let part = part.header("x-amz-checksum-mode", "ENABLED").send().await.expect(206);
    assert_eq!(part.header("x-amz-checksum-crc32c"), Some("4waSgw=="));
    assert_eq!(part.header("x-amz-checksum-type"), Some("COMPOSITE"));
}

#[tokio::test]
async fn unknown_uploads_and_part_numbers_are_refused() {
    let server = Server::with_bucket("bucket").await;
    let id = begin(&server, "k").await;
    for unknown in ["nonsense", "00000000000000000000", ""] {
        let path = format!("/bucket/k?partNumber=1&uploadId={unknown}");
        let part = server.client.put(&path, "x").await;
        assert_eq!(part.code(), (404, "NoSuchUpload"), "{unknown}");
    }
    let other = server.client.put(&format!("/bucket/other?partNumber=1&uploadId={id}"), "x").await;
    assert_eq!(other.code(), (404, "NoSuchUpload"));
    for number in ["0", "10001", "x", ""] {
        let path = format!("/bucket/k?partNumber={number}&uploadId={id}");
        let part = server.client.put(&path, "x").await;
        assert_eq!(part.code(), (400, "InvalidArgument"), "{number}");
    }
    let none = server.client.put(&format!("/bucket/k?uploadId={id}"), "x").await;
    assert_eq!(none.code(), (400, "InvalidArgument"));
    server.client.head("/bucket/k").await.expect(404);
}

#[tokio::test]
async fn a_part_that_is_copied_has_the_checksum_of_its_upload() {
    const NINE: &str = "98O8HYCOBHMq32eZZczDTKeuNEE=";
    const ALL: &str = "cOyhozoQvj9L3I5onjNC6lCx6xA=";
    let server = Server::with_bucket("bucket").await;
    let all = "123456789".repeat(10_000);
    server.client.put("/bucket/rides", "123456789").await.expect(200);
    server.client.put("/bucket/other-checksum", all.clone()).await.expect(200);
    let known = server.client.call("PUT", "/bucket/known").header("x-amz-checksum-sha1", ALL);
    known.body(all).send().await.expect(200);
    let begun = server.client.call("POST", "/bucket/k?uploads");
    let begun = begun.header("x-amz-checksum-algorithm", "SHA1").send().await.expect(200);
    let upload = format!("/bucket/k?uploadId={}", begun.one("UploadId"));
    let cases = [
        ("/bucket/rides", None, NINE),
        ("/bucket/known", Some("bytes=9-17"), NINE),
        ("/bucket/known", None, ALL),
        ("/bucket/other-checksum", None, ALL),
    ];
    let mut etag = String::new();
    for (source, range, checksum) in cases {
        let call = server.client.call("PUT", &format!("{upload}&partNumber=1"));
        let mut call = call.header("x-amz-copy-source", source);
        if let Some(range) = range {
            call = call.header("x-amz-copy-source-range", range);
        }
        let part = call.send().await.expect(200);
        assert_eq!(part.one("ChecksumSHA1"), checksum, "{source} {range:?}");
        let listed = server.client.get(&upload).await.expect(200);
        assert_eq!(listed.one("ChecksumSHA1"), checksum, "{source} {range:?}");
        etag = part.one("ETag").trim_matches('"').to_owned();
    }
    let document = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag>\
         <ChecksumSHA1>{ALL}</ChecksumSHA1></Part></CompleteMultipartUpload>"
    );
    let done = server.client.post(&upload, document).await.expect(200);
    assert_eq!(done.one("ChecksumType"), "COMPOSITE");
}

#[tokio::test]
async fn an_object_of_another_size_than_announced_is_not_made() {
    let server = Server::with_bucket("bucket").await;
    let id = begin(&server, "k").await;
    let etag = upload(&server, "k", &id, 1, b"0123456789").await;
    let complete = |size: &str| {
        let call = server.client.call("POST", &format!("/bucket/k?uploadId={id}"));
        call.header("x-amz-mp-object-size", size).body(document(&[(1, &etag)])).send()
    };
    assert_eq!(complete("11").await.code(), (400, "InvalidRequest"));
    assert_eq!(complete("ten").await.code(), (400, "InvalidArgument"));
    server.client.head("/bucket/k").await.expect(404);
    complete("10").await.expect(200);
}
