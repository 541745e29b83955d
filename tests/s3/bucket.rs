//! Buckets and the service.

use godwit::types::name::BucketName;
use godwit::types::record::KeyScope;

use crate::common::server::Server;

#[tokio::test]
async fn a_bucket_is_made_found_listed_and_deleted() {
    let server = Server::start().await;
    let client = &server.client;
    let made = client.put("/first", "").await.expect(200);
    assert_eq!(made.header("location"), Some("/first"));
    client.put("/second", "").await.expect(200);
    let head = client.head("/first").await.expect(200);
    assert_eq!(head.header("x-amz-bucket-region"), Some("auto"));
    assert_eq!(head.header("x-godwit-served-from"), Some("fra"));
    let list = client.get("/").await.expect(200);
    assert_eq!(list.all("Name"), ["first", "second"]);
    assert_eq!(list.one("ID").len(), 64);
    client.delete("/first").await.expect(204);
    assert_eq!(client.get("/").await.all("Name"), ["second"]);
    client.head("/first").await.expect(404);
    assert_eq!(client.delete("/first").await.code(), (404, "NoSuchBucket"));
}

#[tokio::test]
async fn the_list_of_buckets_goes_on_page_by_page() {
    let server = Server::start().await;
    for name in ["aaa", "bbb-1", "bbb-2", "ccc"] {
        server.client.put(&format!("/{name}"), "").await.expect(200);
    }
    let first = server.client.get("/?max-buckets=2").await.expect(200);
    assert_eq!(first.all("Name"), ["aaa", "bbb-1"]);
    let token = first.one("ContinuationToken");
    let rest = server.client.get(&format!("/?continuation-token={token}")).await.expect(200);
    assert_eq!(rest.all("Name"), ["bbb-2", "ccc"]);
    assert!(rest.all("ContinuationToken").is_empty());
    let prefixed = server.client.get("/?prefix=bbb").await.expect(200);
    assert_eq!(prefixed.all("Name"), ["bbb-1", "bbb-2"]);
    assert_eq!(server.client.get("/?max-buckets=0").await.code(), (400, "InvalidArgument"));
}

#[tokio::test]
async fn a_name_is_taken_once() {
    let server = Server::with_bucket("taken").await;
    server.client.put("/taken/a", "x").await.expect(200);
    server.client.put("/taken", "").await.expect(200);
    server.client.get("/taken/a").await.expect(200);
    let public = server.client.call("PUT", "/taken").header("x-amz-acl", "public-read");
    assert_eq!(public.send().await.code(), (409, "BucketAlreadyExists"));
    let elsewhere = server.client.call("PUT", "/taken").header("x-godwit-regions", "fra");
    assert_eq!(elsewhere.send().await.code(), (409, "BucketAlreadyOwnedByYou"));
    let stranger = server.stranger().await;
    assert_eq!(stranger.put("/taken", "").await.code(), (409, "BucketAlreadyExists"));
    assert_eq!(stranger.get("/taken").await.code(), (403, "AccessDenied"));
    assert!(stranger.get("/").await.expect(200).all("Name").is_empty());
}

#[tokio::test]
async fn a_bucket_with_objects_is_not_deleted() {
    let server = Server::with_bucket("full").await;
    server.client.put("/full/a", "x").await.expect(200);
    assert_eq!(server.client.delete("/full").await.code(), (409, "BucketNotEmpty"));
    server.client.delete("/full/a").await.expect(204);
    server.client.delete("/full").await.expect(204);
}

#[tokio::test]
async fn a_location_is_a_region_a_geography_or_nothing() {
    let server = Server::start().await;
    let document = |place: &str| {
        format!(
            "<CreateBucketConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\
             <LocationConstraint>{place}</LocationConstraint></CreateBucketConfiguration>"
        )
    };
    for (name, place, shown) in
        [("in-fra", "fra", "fra"), ("in-eu", "eur", "fra"), ("anywhere", "auto", "auto")]
    {
        server.client.put(&format!("/{name}"), document(place)).await.expect(200);
        let location = server.client.get(&format!("/{name}?location")).await.expect(200);
        assert!(
            location.text().ends_with(&format!(">{shown}</LocationConstraint>")),
            "{location:?}"
        );
    }
    let call = server.client.call("PUT", "/by-header").header("x-tigris-regions", "fra");
    call.send().await.expect(200);
    let head = server.client.head("/by-header").await.expect(200);
    assert_eq!(head.header("x-amz-bucket-region"), Some("fra"));
    let bad = server.client.put("/nowhere", document("mars")).await;
    assert_eq!(bad.code(), (400, "InvalidLocationConstraint"));
    let bad = server.client.put("/nowhere", "<CreateBucketConfiguration>").await;
    assert_eq!(bad.code(), (400, "MalformedXML"));
}

#[tokio::test]
async fn a_key_with_a_scope_touches_its_buckets_only() {
    let server = Server::with_bucket("mine").await;
    server.client.put("/other", "").await.expect(200);
    let scope = KeyScope::Buckets(vec![BucketName::parse("mine").unwrap()]);
    let narrow = server.key_with(scope).await;
    narrow.put("/mine/a", "x").await.expect(200);
    narrow.get("/mine/a").await.expect(200);
    narrow.get("/mine").await.expect(200);
    assert_eq!(narrow.get("/other").await.code(), (403, "AccessDenied"));
    assert_eq!(narrow.put("/third", "").await.code(), (403, "AccessDenied"));
    assert_eq!(narrow.delete("/mine").await.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn a_bucket_of_another_owner_than_expected_is_not_touched() {
    let server = Server::with_bucket("bucket").await;
    let list = server.client.get("/").await.expect(200);
    let (owner, other) = (list.one("ID").to_owned(), "0".repeat(64));
    let call = |method: &'static str, path: &'static str, header: &'static str, owner: &str| {
        server.client.call(method, path).header(header, owner).body("x")
    };
    let expected = "x-amz-expected-bucket-owner";
    let refused = call("PUT", "/bucket/a", expected, &other).send().await;
    assert_eq!(refused.code(), (403, "AccessDenied"));
    server.client.head("/bucket/a").await.expect(404);
    call("PUT", "/bucket/a", expected, &owner).send().await.expect(200);
    let get = server.client.call("GET", "/bucket/a").header(expected, &other).send().await;
    assert_eq!(get.code(), (403, "AccessDenied"));
    let source = "x-amz-source-expected-bucket-owner";
    let copy = |owner: &str| {
        let copy = server.client.call("PUT", "/bucket/b");
        copy.header("x-amz-copy-source", "/bucket/a").header(source, owner)
    };
    assert_eq!(copy(&other).send().await.code(), (403, "AccessDenied"));
    copy(&owner).send().await.expect(200);
}
