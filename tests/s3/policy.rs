//! Bucket policies: set, shown, and what they allow and deny.

use serde_json::{Value, json};

use crate::common::client::{Answer, Client};
use crate::common::server::Server;

async fn anonymous(client: &Client, method: &str, path: &str) -> Answer {
    client.call(method, path).anonymous().send().await
}

async fn id_of(client: &Client) -> String {
    client.get("/").await.expect(200).one("ID").to_owned()
}

async fn set(client: &Client, statement: Value) -> Answer {
    let policy = json!({"Version": "2012-10-17", "Statement": statement});
    client.put("/bucket?policy", policy.to_string()).await
}

fn statement(effect: &str, principal: &Value, actions: &[&str]) -> Value {
    json!({
        "Effect": effect, "Principal": principal, "Action": actions,
        "Resource": ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*"],
    })
}

const DENIED: (u16, &str) = (403, "AccessDenied");

#[tokio::test]
async fn a_policy_is_set_shown_and_deleted() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let text = json!({"Statement": statement("Allow", &json!("*"), &["s3:GetObject"])}).to_string();
    client.put("/bucket?policy", text.clone()).await.expect(204);
    let shown = client.get("/bucket?policy").await.expect(200);
    assert_eq!((shown.text(), shown.header("content-type")), (&*text, Some("application/json")));
    assert_eq!(client.get("/bucket?policyStatus").await.expect(200).one("IsPublic"), "true");
    client.delete("/bucket?policy").await.expect(204);
    assert_eq!(client.get("/bucket?policy").await.code(), (404, "NoSuchBucketPolicy"));
    for bad in ["", "{}", "{\"Statement\": {}}", &text.replace("bucket/*", "other/*")] {
        let answer = client.put("/bucket?policy", bad.to_owned()).await;
        assert_eq!(answer.code(), (400, "MalformedPolicy"), "{bad}");
    }
    let long = format!("{text}{}", " ".repeat(20 << 10));
    let long = client.put("/bucket?policy", long).await;
    assert_eq!(long.code(), (400, "MalformedPolicy"));
}

#[tokio::test]
async fn a_policy_opens_a_bucket_to_everyone() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    client.put("/bucket/a", "x").await.expect(200);
    set(client, statement("Allow", &json!("*"), &["s3:GetObject"])).await.expect(204);
    assert_eq!(anonymous(client, "GET", "/bucket/a").await.expect(200).text(), "x");
    assert_eq!(anonymous(client, "GET", "/bucket/none").await.code(), DENIED);
    assert_eq!(anonymous(client, "GET", "/bucket").await.code(), DENIED);
    assert_eq!(anonymous(client, "PUT", "/bucket/b").await.code(), DENIED);
    let more = ["s3:GetObject", "s3:ListBucket"];
    set(client, statement("Allow", &json!("*"), &more)).await.expect(204);
    assert_eq!(anonymous(client, "GET", "/bucket/none").await.code(), (404, "NoSuchKey"));
    assert_eq!(anonymous(client, "GET", "/bucket").await.expect(200).all("Key"), ["a"]);
}

#[tokio::test]
async fn a_policy_is_for_the_accounts_that_it_names() {
    let server = Server::with_bucket("bucket").await;
    let (client, friend, other) =
        (&server.client, server.stranger().await, server.stranger().await);
    client.put("/bucket/a", "x").await.expect(200);
    let id = id_of(&friend).await;
    for principal in [json!({"AWS": id}), json!({"CanonicalUser": id})] {
        let actions = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"];
        set(client, statement("Allow", &principal, &actions)).await.expect(204);
        friend.get("/bucket/a").await.expect(200);
        friend.put("/bucket/b", "y").await.expect(200);
        friend.delete("/bucket/b").await.expect(204);
        assert_eq!(other.get("/bucket/a").await.code(), DENIED);
        assert_eq!(friend.get("/bucket?policy").await.code(), DENIED);
        assert_eq!(friend.delete("/bucket?policy").await.code(), DENIED);
    }
}

#[tokio::test]
async fn a_deny_wins_over_the_owner_who_keeps_the_policy() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    client.put("/bucket/a", "x").await.expect(200);
    let denies = statement("Deny", &json!("*"), &["s3:*"]);
    let allows = statement("Allow", &json!("*"), &["s3:*"]);
    set(client, json!([allows, denies])).await.expect(204);
    assert_eq!(client.get("/bucket/a").await.code(), DENIED);
    assert_eq!(client.get("/bucket").await.code(), DENIED);
    client.get("/bucket?policy").await.expect(200);
    client.delete("/bucket?policy").await.expect(204);
    client.get("/bucket/a").await.expect(200);
}

#[tokio::test]
async fn conditions_look_at_the_request_and_at_the_object() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let with = |effect: &str, action: &str, condition: Value| {
        let mut statement = statement(effect, &json!("*"), &[action]);
        statement["Condition"] = condition;
        statement
    };
    let put = |key: &str, tags: &str| {
        client.call("PUT", key).header("x-amz-tagging", tags).body("x").send()
    };
    put("/bucket/red", "colour=red").await.expect(200);
    put("/bucket/blue", "colour=blue").await.expect(200);
    let red = json!({"StringEquals": {"s3:ExistingObjectTag/colour": "red"}});
    set(client, with("Allow", "s3:GetObject", red)).await.expect(204);
    anonymous(client, "GET", "/bucket/red").await.expect(200);
    assert_eq!(anonymous(client, "GET", "/bucket/blue").await.code(), DENIED);
    let here = json!({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}});
    set(client, with("Allow", "s3:GetObject", here)).await.expect(204);
    anonymous(client, "GET", "/bucket/blue").await.expect(200);
    assert_eq!(client.get("/bucket?policyStatus").await.expect(200).one("IsPublic"), "false");
    let home = json!({"StringEquals": {"s3:prefix": "home/"}});
    set(client, with("Allow", "s3:ListBucket", home)).await.expect(204);
    anonymous(client, "GET", "/bucket?prefix=home/").await.expect(200);
    assert_eq!(anonymous(client, "GET", "/bucket").await.code(), DENIED);
    let public = json!({"StringLike": {"s3:x-amz-acl": "public*"}});
    set(client, with("Deny", "s3:PutObject", public)).await.expect(204);
    let open = client.call("PUT", "/bucket/c").header("x-amz-acl", "public-read").body("x");
    assert_eq!(open.send().await.code(), DENIED);
    client.put("/bucket/c", "x").await.expect(200);
}

#[tokio::test]
async fn a_batch_is_judged_key_by_key_and_a_copy_by_its_source() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    for key in ["/bucket/a", "/bucket/kept/b"] {
        client.put(key, "x").await.expect(200);
    }
    let mut keep = statement("Deny", &json!("*"), &["s3:DeleteObject", "s3:GetObject"]);
    keep["Resource"] = json!("arn:aws:s3:::bucket/kept/*");
    set(client, keep).await.expect(204);
    let batch = "<Delete><Object><Key>a</Key></Object><Object><Key>kept/b</Key></Object></Delete>";
    let done = client.post("/bucket?delete", batch).await.expect(200);
    assert_eq!(done.all("Key"), ["kept/b", "a"]);
    assert_eq!(done.one("Code"), "AccessDenied");
    let copy = client.call("PUT", "/bucket/c").header("x-amz-copy-source", "/bucket/kept/b");
    assert_eq!(copy.send().await.code(), DENIED);
    client.delete("/bucket?policy").await.expect(204);
    assert_eq!(client.get("/bucket").await.expect(200).all("Key"), ["kept/b"]);
}

#[tokio::test]
async fn a_public_access_block_refuses_and_shuts_off_public_policies() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    client.put("/bucket/a", "x").await.expect(200);
    let block = |name: &str| {
        format!(
            "<PublicAccessBlockConfiguration><{name}>true</{name}></PublicAccessBlockConfiguration>"
        )
    };
    let public = statement("Allow", &json!("*"), &["s3:GetObject"]);
    let policy = block("BlockPublicPolicy");
    client.put("/bucket?publicAccessBlock", policy).await.expect(200);
    assert_eq!(set(client, public.clone()).await.code(), DENIED);
    client.delete("/bucket?publicAccessBlock").await.expect(204);
    set(client, public).await.expect(204);
    anonymous(client, "GET", "/bucket/a").await.expect(200);
    let shut = block("RestrictPublicBuckets");
    client.put("/bucket?publicAccessBlock", shut).await.expect(200);
    assert_eq!(anonymous(client, "GET", "/bucket/a").await.code(), DENIED);
    client.get("/bucket/a").await.expect(200);
}

#[tokio::test]
async fn a_bucket_is_public_by_its_grants_too() {
    let server = Server::with_bucket("bucket").await;
    let status = || async { server.client.get("/bucket?policyStatus").await.expect(200) };
    assert_eq!(status().await.one("IsPublic"), "false");
    let grant = server.client.call("PUT", "/bucket?acl").header("x-amz-acl", "public-read");
    grant.send().await.expect(200);
    assert_eq!(status().await.one("IsPublic"), "true");
}

#[tokio::test]
async fn an_allow_to_all_but_some_is_no_policy() {
    let server = Server::with_bucket("bucket").await;
    let id = id_of(&server.client).await;
    let mut but = statement("Allow", &json!("*"), &["s3:GetObject"]);
    but.as_object_mut().unwrap().remove("Principal");
    but["NotPrincipal"] = json!({"AWS": id});
    let answer = set(&server.client, but.clone()).await;
    assert_eq!(answer.code(), (400, "MalformedPolicy"));
    but["Effect"] = json!("Deny");
    set(&server.client, but).await.expect(204);
}

#[tokio::test]
async fn a_missing_key_is_shown_to_those_who_may_list_its_prefix() {
    let server = Server::with_bucket("bucket").await;
    let mut list = statement("Allow", &json!("*"), &["s3:ListBucket"]);
    list["Condition"] = json!({"StringLike": {"s3:prefix": "public/*"}});
    set(&server.client, list).await.expect(204);
    let stranger = server.stranger().await;
    assert_eq!(stranger.get("/bucket/public/none").await.code(), (404, "NoSuchKey"));
    assert_eq!(stranger.get("/bucket/private/none").await.code(), DENIED);
}

#[tokio::test]
async fn grants_and_tags_of_a_request_meet_conditions() {
    let server = Server::with_bucket("bucket").await;
    let (client, writer) = (&server.client, server.stranger().await);
    let owner = format!("id={}", id_of(client).await);
    let mut grant = statement("Allow", &json!("*"), &["s3:PutObject"]);
    grant["Condition"] = json!({"StringEquals": {"s3:x-amz-grant-full-control": owner}});
    let mut tags = statement("Allow", &json!("*"), &["s3:PutObjectTagging"]);
    tags["Condition"] = json!({"StringEquals": {"s3:RequestObjectTag/security": "public"}});
    set(client, json!([grant, tags])).await.expect(204);
    assert_eq!(writer.put("/bucket/a", "x").await.code(), DENIED);
    let put = writer.call("PUT", "/bucket/a").header("x-amz-grant-full-control", &owner);
    put.body("x").send().await.expect(200);
    assert_eq!(client.get("/bucket/a?acl").await.expect(200).one("Permission"), "FULL_CONTROL");
    let tagging = |value: &str| {
        let tag = format!("<Tag><Key>security</Key><Value>{value}</Value></Tag>");
        format!("<Tagging><TagSet>{tag}</TagSet></Tagging>")
    };
    writer.put("/bucket/a?tagging", tagging("public")).await.expect(200);
    assert_eq!(writer.put("/bucket/a?tagging", tagging("secret")).await.code(), DENIED);
    assert_eq!(writer.put("/bucket/a?tagging", "<nonsense/>").await.code(), DENIED);
    assert_eq!(client.put("/bucket/a?tagging", "<nonsense/>").await.code(), (400, "MalformedXML"));
    let shown = client.get("/bucket/a?tagging").await.expect(200);
    assert_eq!(shown.one("Value"), "public");
}

#[tokio::test]
async fn objects_have_no_torrents() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/a", "x").await.expect(200);
    assert_eq!(server.client.get("/bucket/a?torrent").await.code(), (404, "NoSuchKey"));
}
