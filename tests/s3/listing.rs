//! Lists of objects.

use crate::common::server::Server;

async fn filled() -> Server {
    let server = Server::with_bucket("bucket").await;
    for key in ["a", "d/1", "d/2", "d/e/3", "f", "z%20+%C3%A9"] {
        server.client.put(&format!("/bucket/{key}"), "x").await.expect(200);
    }
    server
}

#[tokio::test]
async fn v2_folds_pages_and_continues() {
    let server = filled().await;
    let mut keys: Vec<String> = Vec::new();
    let mut prefixes: Vec<String> = Vec::new();
    let mut token = String::new();
    for pages in 1.. {
        let path = format!("/bucket?list-type=2&delimiter=%2F&max-keys=2{token}");
        let page = server.client.get(&path).await.expect(200);
        keys.extend(page.all("Key").iter().map(|k| (*k).to_owned()));
        prefixes.extend(page.all("CommonPrefixes").iter().map(|p| (*p).to_owned()));
        assert_eq!(page.one("MaxKeys"), "2");
        if page.one("IsTruncated") == "false" {
            assert_eq!((pages, page.one("KeyCount")), (2, "2"));
            break;
        }
        token = format!("&continuation-token={}", page.one("NextContinuationToken"));
    }
    assert_eq!(keys, ["a", "f", "z +é"]);
    assert_eq!(prefixes, ["<Prefix>d/</Prefix>"]);
}

#[tokio::test]
async fn v1_continues_from_its_marker() {
    let server = filled().await;
    let first = server.client.get("/bucket?max-keys=3").await.expect(200);
    assert_eq!(first.all("Key"), ["a", "d/1", "d/2"]);
    assert_eq!((first.one("IsTruncated"), first.one("NextMarker")), ("true", "d/2"));
    assert_eq!(first.all("DisplayName").len(), 3);
    let rest = server.client.get("/bucket?marker=d%2F2&prefix=d%2F").await.expect(200);
    assert_eq!(rest.all("Key"), ["d/e/3"]);
    assert_eq!(rest.one("IsTruncated"), "false");
    let none = server.client.get("/bucket?max-keys=0").await.expect(200);
    assert_eq!((none.all("Key").len(), none.one("IsTruncated")), (0, "false"));
}

#[tokio::test]
async fn names_are_escaped_when_asked() {
    let server = filled().await;
    let page = server.client.get("/bucket?encoding-type=url&start-after=f&list-type=2").await;
    let page = page.expect(200);
    assert_eq!(page.all("Key"), ["z%20%2B%C3%A9"]);
    assert_eq!((page.one("EncodingType"), page.one("StartAfter")), ("url", "f"));
    assert!(page.all("Owner").is_empty());
    let escaped = server.client.get("/bucket?encoding-type=url&list-type=2&prefix=z%20").await;
    assert_eq!(escaped.expect(200).one("Prefix"), "z%20");
    let v1 = server.client.get("/bucket?encoding-type=url&prefix=z%20").await.expect(200);
    assert_eq!((v1.one("Prefix"), v1.one("Key")), ("z ", "z%20%2B%C3%A9"));
    let owned = server.client.get("/bucket?list-type=2&fetch-owner=true&prefix=a").await;
    assert_eq!(owned.expect(200).all("ID").len(), 1);
}

#[tokio::test]
async fn what_is_deleted_or_replaced_is_listed_as_it_is() {
    let server = filled().await;
    server.client.delete("/bucket/a").await.expect(204);
    server.client.put("/bucket/f", "longer").await.expect(200);
    let page = server.client.get("/bucket?list-type=2&delimiter=/").await.expect(200);
    assert_eq!(page.all("Key"), ["f", "z +é"]);
    assert_eq!(page.all("Size"), ["6", "1"]);
    assert_eq!(page.all("StorageClass"), ["STANDARD", "STANDARD"]);
}

#[tokio::test]
async fn an_empty_continuation_token_is_the_first_page() {
    let server = filled().await;
    let all = server.client.get("/bucket?list-type=2").await.expect(200);
    let page = server.client.get("/bucket?list-type=2&continuation-token=").await.expect(200);
    assert_eq!(page.all("Key"), all.all("Key"));
    assert_eq!(page.one("ContinuationToken"), "");
    assert!(all.all("ContinuationToken").is_empty());
}

#[tokio::test]
async fn wrong_parameters_are_refused() {
    let server = filled().await;
    for query in ["max-keys=-1", "max-keys=x", "encoding-type=base64", "max-keys=99999999999"] {
        let answer = server.client.get(&format!("/bucket?{query}")).await;
        assert_eq!(answer.code(), (400, "InvalidArgument"), "{query}");
    }
    let token = server.client.get("/bucket?list-type=2&continuation-token=nonsense!").await;
    assert_eq!(token.code(), (400, "InvalidArgument"));
    let many = server.client.get("/bucket?max-keys=5000").await.expect(200);
    assert_eq!(many.one("MaxKeys"), "1000");
}

#[tokio::test]
async fn names_that_xml_has_no_room_for_are_listed_whole_and_break_no_other_answer() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/a%01b", "x").await.expect(200);
    let whole = server.client.get("/bucket?max-keys=1").await.expect(200);
    assert_eq!(whole.one("Key"), "a&#x1;b");
    let url = server.client.get("/bucket?encoding-type=url&prefix=a%01").await.expect(200);
    assert_eq!((url.one("Prefix"), url.one("Key")), ("a%01", "a%01b"));
    let upload = server.client.post("/bucket/a%01b?uploads", "").await.expect(200);
    assert_eq!(upload.one("Key"), "a\u{fffd}b");
    let missing = server.client.get("/bucket/%EF%BF%BF").await.expect(404);
    assert_eq!((missing.one("Code"), missing.one("Key")), ("NoSuchKey", "\u{fffd}"));
    let delete = "<Delete><Object><Key>a&#x1;b</Key></Object></Delete>";
    let deleted = server.client.post("/bucket?delete", delete).await.expect(200);
    assert_eq!(deleted.one("Key"), "a\u{fffd}b");
    server.client.head("/bucket/a%01b").await.expect(404);
}
