//! What is stored of an object.

use crate::common::server::Server;

const ALL: &str = "ETag,Checksum,ObjectParts,StorageClass,ObjectSize";

#[tokio::test]
async fn an_object_of_one_piece_has_its_attributes_and_no_parts() {
    let server = Server::with_bucket("bucket").await;
    let put = server.client.call("PUT", "/bucket/k").body("hello");
    put.header("x-amz-sdk-checksum-algorithm", "CRC32")
        .header("x-amz-checksum-crc32", "NhCmhg==")
        .send()
        .await
        .expect(200);
    let get = |names: &str| {
        server.client.call("GET", "/bucket/k?attributes").header("x-amz-object-attributes", names)
    };
    let got = get(ALL).send().await.expect(200);
    assert_eq!(got.one("ETag"), "5d41402abc4b2a76b9719d911017c592");
    assert_eq!((got.one("ObjectSize"), got.one("StorageClass")), ("5", "STANDARD"));
    assert_eq!((got.one("ChecksumCRC32"), got.one("ChecksumType")), ("NhCmhg==", "FULL_OBJECT"));
    assert!(!got.text().contains("ObjectParts"));
    assert!(got.header("last-modified").is_some());
    let some = get("ObjectSize").send().await.expect(200);
    assert!(some.text().contains("ObjectSize") && !some.text().contains("ETag"));
    assert_eq!(get("Colour").send().await.code(), (400, "InvalidArgument"));
    let none = server.client.get("/bucket/k?attributes").await;
    assert_eq!(none.code(), (400, "InvalidArgument"));
}

#[tokio::test]
async fn parts_come_page_by_page() {
    let server = Server::with_bucket("bucket").await;
    let upload = server.client.post("/bucket/k?uploads", "").await.expect(200);
    let id = upload.one("UploadId").to_owned();
    let mut complete = String::from("<CompleteMultipartUpload>");
    for (number, len) in [(1, 5 << 20), (2, 5 << 20), (3, 7)] {
        let path = format!("/bucket/k?partNumber={number}&uploadId={id}");
        let part = server.client.put(&path, vec![1_u8; len]).await.expect(200);
        let etag = part.header("etag").unwrap();
        complete += &format!("<Part><PartNumber>{number}</PartNumber><ETag>{etag}</ETag></Part>");
    }
    complete += "</CompleteMultipartUpload>";
    server.client.post(&format!("/bucket/k?uploadId={id}"), complete).await.expect(200);
    let get = |max: &str, marker: &str| {
        let call = server.client.call("GET", "/bucket/k?attributes");
        let call = call.header("x-amz-object-attributes", ALL).header("x-amz-max-parts", max);
        call.header("x-amz-part-number-marker", marker)
    };
    let page = get("1", "1").send().await.expect(200);
    assert_eq!((page.one("PartsCount"), page.all("PartNumber")), ("3", vec!["2"]));
    assert_eq!((page.one("IsTruncated"), page.one("NextPartNumberMarker")), ("true", "2"));
    let last = get("10", "2").send().await.expect(200);
    assert_eq!((last.one("IsTruncated"), last.one("Size")), ("false", "7"));
    assert_eq!(get("x", "0").send().await.code(), (400, "InvalidArgument"));
}
