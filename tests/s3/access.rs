//! Who may do what: access control lists, ownership, public access.

use bytes::Bytes;
use http::Request;
use http_body_util::Full;

use crate::common::client::{Answer, Client, exchange};
use crate::common::server::Server;

const EVERYONE: &str = "http://acs.amazonaws.com/groups/global/AllUsers";

async fn put_with(client: &Client, path: &str, header: &str, value: &str) -> Answer {
    client.call("PUT", path).header(header, value).body("x").send().await
}

async fn anonymous(client: &Client, method: &str, path: &str) -> Answer {
    client.call(method, path).anonymous().send().await
}

/// The canonical id of a client's account.
async fn id_of(client: &Client) -> String {
    client.get("/").await.expect(200).one("ID").to_owned()
}

fn document(owner: &str, grants: &[(&str, &str)]) -> String {
    let grant = |(grantee, permission): &(&str, &str)| {
        let (kind, element) = match grantee.starts_with("http") {
            true => ("Group", "URI"),
            false => ("CanonicalUser", "ID"),
        };
        format!(
            "<Grant><Grantee xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\" \
             xsi:type=\"{kind}\"><{element}>{grantee}</{element}></Grantee>\
             <Permission>{permission}</Permission></Grant>"
        )
    };
    let grants: String = grants.iter().map(grant).collect();
    format!(
        "<AccessControlPolicy xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><Owner>\
         <ID>{owner}</ID></Owner><AccessControlList>{grants}</AccessControlList>\
         </AccessControlPolicy>"
    )
}

#[tokio::test]
async fn a_public_object_is_read_without_a_key_and_a_private_one_is_not() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    put_with(client, "/bucket/public", "x-amz-acl", "public-read").await.expect(200);
    client.put("/bucket/private", "x").await.expect(200);
    let acl = client.get("/bucket/public?acl").await.expect(200);
    assert_eq!(acl.all("Permission"), ["READ", "FULL_CONTROL"], "groups are shown first");
    assert_eq!(anonymous(client, "GET", "/bucket/public").await.expect(200).text(), "x");
    anonymous(client, "HEAD", "/bucket/public").await.expect(200);
    let hosted = Request::get("/public").header("host", "bucket.localhost");
    let hosted = hosted.body(Full::new(Bytes::new())).unwrap();
    assert_eq!(exchange(server.address, hosted).await.expect(200).text(), "x");
    let denied = (403, "AccessDenied");
    assert_eq!(anonymous(client, "GET", "/bucket/private").await.code(), denied);
    // Whether a key is there is not shown to those who may not list.
    assert_eq!(anonymous(client, "GET", "/bucket/none").await.code(), denied);
    assert_eq!(anonymous(client, "GET", "/bucket").await.code(), denied);
    assert_eq!(anonymous(client, "PUT", "/bucket/new").await.code(), denied);
    assert_eq!(anonymous(client, "DELETE", "/bucket/public").await.code(), denied);
    assert_eq!(anonymous(client, "GET", "/bucket/public?acl").await.code(), denied);
    client.put("/bucket/public", "y").await.expect(200);
    assert_eq!(anonymous(client, "GET", "/bucket/public").await.code(), denied);
}

#[tokio::test]
async fn a_public_bucket_is_listed_and_written_and_its_objects_stay_private() {
    let server = Server::start().await;
    let client = &server.client;
    let made = client.call("PUT", "/open").header("x-amz-acl", "public-read-write");
    made.send().await.expect(200);
    client.put("/open/private", "x").await.expect(200);
    assert_eq!(anonymous(client, "GET", "/open").await.expect(200).all("Key"), ["private"]);
    assert_eq!(anonymous(client, "GET", "/open/private").await.code(), (403, "AccessDenied"));
    assert_eq!(anonymous(client, "GET", "/open/none").await.code(), (404, "NoSuchKey"));
    let stranger = server.stranger().await;
    stranger.put("/open/theirs", "y").await.expect(200);
    assert_eq!(stranger.get("/open/theirs").await.expect(200).text(), "y");
    let acl = stranger.get("/open/theirs?acl").await.expect(200);
    let id = id_of(&stranger).await;
    assert_eq!(acl.all("ID"), [id.as_str(), id.as_str()]);
    let batch = "<Delete><Object><Key>theirs</Key></Object></Delete>";
    let deleted = client.call("POST", "/open?delete").anonymous().body(batch).send().await;
    assert_eq!(deleted.expect(200).all("Deleted").len(), 1);
    client.call("PUT", "/open?acl").header("x-amz-acl", "private").send().await.expect(200);
    let refused = client.call("POST", "/open?delete").anonymous().body(batch).send().await;
    assert_eq!(refused.expect(200).one("Code"), "AccessDenied");
    assert_eq!(anonymous(client, "GET", "/open").await.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn a_grant_is_for_its_account_and_its_permission_alone() {
    let server = Server::with_bucket("bucket").await;
    let (client, friend, other) =
        (&server.client, server.stranger().await, server.stranger().await);
    let (own, id) = (id_of(client).await, id_of(&friend).await);
    client.put("/bucket/a", "x").await.expect(200);
    let full = (own.as_str(), "FULL_CONTROL");
    let acl = document(&own, &[full, (&id, "READ"), (&id, "READ_ACP")]);
    client.put("/bucket/a?acl", acl).await.expect(200);
    friend.get("/bucket/a").await.expect(200);
    let shown = friend.get("/bucket/a?acl").await.expect(200);
    assert_eq!(shown.all("Permission"), ["FULL_CONTROL", "READ", "READ_ACP"]);
    assert_eq!(shown.all("ID"), [&own, &own, &id, &id]);
    assert!(shown.text().contains("xsi:type=\"CanonicalUser\""), "{}", shown.text());
    assert_eq!(other.get("/bucket/a").await.code(), (403, "AccessDenied"));
    assert_eq!(friend.get("/bucket").await.code(), (403, "AccessDenied"));
    let grab = friend.put("/bucket/a?acl", document(&own, &[(&id, "FULL_CONTROL")])).await;
    assert_eq!(grab.code(), (403, "AccessDenied"));
    let header = put_with(client, "/bucket/b", "x-amz-grant-read", &format!("id=\"{id}\"")).await;
    header.expect(200);
    friend.get("/bucket/b").await.expect(200);
    assert_eq!(other.get("/bucket/b").await.code(), (403, "AccessDenied"));
    // Grants to the bucket: list with READ, write with WRITE.
    let lists = document(&own, &[full, (&id, "READ")]);
    client.put("/bucket?acl", lists).await.expect(200);
    assert_eq!(friend.get("/bucket").await.expect(200).all("Key"), ["a", "b"]);
    assert_eq!(friend.put("/bucket/c", "x").await.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn an_acl_of_a_multipart_upload_and_of_a_copy_is_the_objects() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let create = client.call("POST", "/bucket/m?uploads").header("x-amz-acl", "public-read");
    let upload = create.send().await.expect(200).one("UploadId").to_owned();
    let part = client.put(&format!("/bucket/m?partNumber=1&uploadId={upload}"), "part").await;
    let etag = part.header("etag").unwrap().to_owned();
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    client.post(&format!("/bucket/m?uploadId={upload}"), list).await.expect(200);
    assert_eq!(anonymous(client, "GET", "/bucket/m").await.expect(200).text(), "part");
    let copy = |to: &str| client.call("PUT", to).header("x-amz-copy-source", "/bucket/m");
    copy("/bucket/private").send().await.expect(200);
    assert_eq!(anonymous(client, "GET", "/bucket/private").await.code(), (403, "AccessDenied"));
    copy("/bucket/public").header("x-amz-acl", "public-read").send().await.expect(200);
    anonymous(client, "GET", "/bucket/public").await.expect(200);
    // The source of a copy is read with the rights of who copies.
    let stranger = server.stranger().await;
    stranger.put("/theirs", "").await.expect(200);
    let taken = stranger.call("PUT", "/theirs/a").header("x-amz-copy-source", "/bucket/private");
    assert_eq!(taken.send().await.code(), (403, "AccessDenied"));
    let taken = stranger.call("PUT", "/theirs/a").header("x-amz-copy-source", "/bucket/m");
    taken.send().await.expect(200);
}

#[tokio::test]
async fn what_is_no_acl_is_refused() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let own = id_of(client).await;
    client.put("/bucket/a", "x").await.expect(200);
    let call = |name: &str, value: &str| client.call("PUT", "/bucket/a?acl").header(name, value);
    let table = [
        ("x-amz-acl", "public", "InvalidArgument"),
        ("x-amz-grant-read", "emailAddress=\"a@b\"", "UnresolvableGrantByEmailAddress"),
        ("x-amz-grant-read", "uri=\"http://nobody\"", "InvalidArgument"),
        ("x-amz-grant-read", "id=\"nobody\"", "InvalidArgument"),
        ("x-amz-grant-read", "nobody", "InvalidArgument"),
    ];
    for (name, value, code) in table {
        assert_eq!(call(name, value).send().await.code(), (400, code), "{name}: {value}");
    }
    let both = call("x-amz-acl", "private").header("x-amz-grant-read", &format!("id={own}"));
    assert_eq!(both.send().await.code(), (400, "InvalidRequest"));
    let twice = call("x-amz-acl", "private").body(document(&own, &[]));
    assert_eq!(twice.send().await.code(), (400, "UnexpectedContent"));
    let nothing = client.put("/bucket/a?acl", "").await;
    assert_eq!(nothing.code(), (400, "MissingSecurityHeader"));
    let text = client.put("/bucket/a?acl", "<AccessControlPolicy/>").await;
    assert_eq!(text.code(), (400, "MalformedACLError"));
    let given_away = client.put("/bucket/a?acl", document("another", &[])).await;
    assert_eq!(given_away.code(), (403, "AccessDenied"));
    let many = vec![(own.as_str(), "READ"); 101];
    let many = client.put("/bucket/a?acl", document(&own, &many)).await;
    assert_eq!(many.code(), (400, "MalformedACLError"));
    let missing = client.call("PUT", "/bucket/none?acl").header("x-amz-acl", "private");
    assert_eq!(missing.send().await.code(), (404, "NoSuchKey"));
}

#[tokio::test]
async fn a_bucket_of_its_owner_alone_takes_no_acls_and_looks_at_none() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    put_with(client, "/bucket/a", "x-amz-acl", "public-read").await.expect(200);
    let controls = |ownership: &str| {
        format!(
            "<OwnershipControls><Rule><ObjectOwnership>{ownership}</ObjectOwnership></Rule>\
             </OwnershipControls>"
        )
    };
    let bad = client.put("/bucket?ownershipControls", controls("Nobody")).await;
    assert_eq!(bad.code(), (400, "MalformedXML"));
    let enforced = controls("BucketOwnerEnforced");
    client.put("/bucket?ownershipControls", enforced.clone()).await.expect(200);
    let shown = client.get("/bucket?ownershipControls").await.expect(200);
    assert_eq!(shown.one("ObjectOwnership"), "BucketOwnerEnforced");
    assert_eq!(anonymous(client, "GET", "/bucket/a").await.code(), (403, "AccessDenied"));
    let refused = (400, "AccessControlListNotSupported");
    assert_eq!(put_with(client, "/bucket/b", "x-amz-acl", "public-read").await.code(), refused);
    let set = client.call("PUT", "/bucket?acl").header("x-amz-acl", "public-read").send().await;
    assert_eq!(set.code(), refused);
    assert_eq!(put_with(client, "/bucket/b", "x-amz-acl", "private").await.code(), refused);
    for path in ["/bucket?acl", "/bucket/a?acl"] {
        let set = client.call("PUT", path).header("x-amz-acl", "private").send().await;
        assert_eq!(set.code(), refused, "{path}");
    }
    let full = format!("id=\"{}\"", id_of(client).await);
    put_with(client, "/bucket/b", "x-amz-grant-full-control", &full).await.expect(200);
    assert_eq!(put_with(client, "/bucket/b", "x-amz-grant-read", &full).await.code(), refused);
    put_with(client, "/bucket/b", "x-amz-acl", "bucket-owner-full-control").await.expect(200);
    client.delete("/bucket?ownershipControls").await.expect(204);
    anonymous(client, "GET", "/bucket/a").await.expect(200);
    client.call("PUT", "/bucket?acl").header("x-amz-acl", "public-read").send().await.expect(200);
    let shared = client.put("/bucket?ownershipControls", enforced).await;
    assert_eq!(shared.code(), (400, "InvalidBucketAclWithObjectOwnership"));
}

#[tokio::test]
async fn a_bucket_that_prefers_its_owner_gets_what_is_handed_over() {
    let server = Server::start().await;
    let (client, writer) = (&server.client, server.stranger().await);
    let made =
        client.call("PUT", "/shared").header("x-amz-object-ownership", "BucketOwnerPreferred");
    let grant = format!("uri=\"{EVERYONE}\"");
    made.header("x-amz-grant-write", &grant).send().await.expect(200);
    let handed = "bucket-owner-full-control";
    put_with(&writer, "/shared/given", "x-amz-acl", handed).await.expect(200);
    writer.put("/shared/kept", "x").await.expect(200);
    let owner = |acl: Answer| acl.expect(200).all("ID")[0].to_owned();
    assert_eq!(owner(client.get("/shared/given?acl").await), id_of(client).await);
    assert_eq!(owner(writer.get("/shared/kept?acl").await), id_of(&writer).await);
}

#[tokio::test]
async fn the_list_of_an_object_is_its_writers_and_not_the_bucket_owners() {
    let server = Server::start().await;
    let (client, writer) = (&server.client, server.stranger().await);
    let made = client.call("PUT", "/open").header("x-amz-acl", "public-read-write");
    made.send().await.expect(200);
    writer.put("/open/a", "x").await.expect(200);
    let denied = (403, "AccessDenied");
    assert_eq!(client.get("/open/a?acl").await.code(), denied);
    let opened = |client: &Client| {
        client.call("PUT", "/open/a?acl").header("x-amz-acl", "bucket-owner-full-control").send()
    };
    assert_eq!(opened(client).await.code(), denied);
    opened(&writer).await.expect(200);
    client.get("/open/a?acl").await.expect(200);
    assert_eq!(client.get("/open/none?acl").await.code(), (404, "NoSuchKey"));
}

#[tokio::test]
async fn a_public_access_block_refuses_and_ignores_public_acls() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    put_with(client, "/bucket/a", "x-amz-acl", "public-read").await.expect(200);
    let block = |acls: bool, ignore: bool| {
        format!(
            "<PublicAccessBlockConfiguration><BlockPublicAcls>{acls}</BlockPublicAcls>\
             <IgnorePublicAcls>{ignore}</IgnorePublicAcls></PublicAccessBlockConfiguration>"
        )
    };
    client.put("/bucket?publicAccessBlock", block(true, false)).await.expect(200);
    let shown = client.get("/bucket?publicAccessBlock").await.expect(200);
    let flags = (shown.one("BlockPublicAcls"), shown.one("RestrictPublicBuckets"));
    assert_eq!(flags, ("true", "false"));
    let denied = (403, "AccessDenied");
    assert_eq!(put_with(client, "/bucket/b", "x-amz-acl", "public-read").await.code(), denied);
    assert_eq!(put_with(client, "/bucket?acl", "x-amz-acl", "public-read").await.code().0, 400);
    let set = client.call("PUT", "/bucket?acl").header("x-amz-acl", "public-read").send().await;
    assert_eq!(set.code(), denied);
    anonymous(client, "GET", "/bucket/a").await.expect(200);
    client.put("/bucket?publicAccessBlock", block(false, true)).await.expect(200);
    assert_eq!(anonymous(client, "GET", "/bucket/a").await.code(), denied);
    client.delete("/bucket?publicAccessBlock").await.expect(204);
    anonymous(client, "GET", "/bucket/a").await.expect(200);
    let gone = client.get("/bucket?publicAccessBlock").await;
    assert_eq!(gone.code(), (404, "NoSuchPublicAccessBlockConfiguration"));
}
