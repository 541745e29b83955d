//! Access keys with roles in buckets, and with policies that are attached to them.

use godwit::types::name::BucketName;
use godwit::types::record::{BucketRole, Grants, KeyScope};
use serde_json::{Value, json};

use crate::common::client::Client;
use crate::common::server::Server;

const DENIED: (u16, &str) = (403, "AccessDenied");
const RULES: &str = "<CORSConfiguration><CORSRule><AllowedMethod>GET</AllowedMethod>\
                     <AllowedOrigin>*</AllowedOrigin></CORSRule></CORSConfiguration>";

async fn key(server: &Server, roles: &[(&str, BucketRole)], policy: Option<Value>) -> Client {
    let roles = roles.iter().map(|(name, role)| (BucketName::parse(name).unwrap(), *role));
    let policy = policy.map(|statement| json!({"Statement": statement}).to_string());
    let grants = Grants { roles: roles.collect(), policy };
    server.key_with(KeyScope::Granted(grants.into())).await
}

fn statement(effect: &str, actions: &[&str], resources: &[&str], condition: Value) -> Value {
    json!({"Effect": effect, "Action": actions, "Resource": resources, "Condition": condition})
}

#[tokio::test]
async fn a_role_is_for_its_bucket_alone() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/other", "").await.expect(200);
    server.client.put("/bucket/a", "x").await.expect(200);
    server.client.put("/other/a", "x").await.expect(200);
    let reader = key(&server, &[("bucket", BucketRole::ReadOnly)], None).await;
    let editor = key(&server, &[("bucket", BucketRole::Editor)], None).await;
    let admin =
        key(&server, &[("bucket", BucketRole::Admin), ("other", BucketRole::ReadOnly)], None).await;
    for key in [&reader, &editor, &admin] {
        key.get("/bucket/a").await.expect(200);
        key.get("/bucket").await.expect(200);
        key.get("/").await.expect(200);
        assert_eq!(key.put("/other/b", "x").await.code(), DENIED);
    }
    assert_eq!(reader.put("/bucket/b", "x").await.code(), DENIED);
    assert_eq!(reader.delete("/bucket/a").await.code(), DENIED);
    assert_eq!(reader.get("/other/a").await.code(), DENIED);
    editor.put("/bucket/b", "x").await.expect(200);
    editor.delete("/bucket/b").await.expect(204);
    assert_eq!(editor.put("/bucket?cors", RULES).await.code(), DENIED);
    admin.put("/bucket?cors", RULES).await.expect(200);
    admin.get("/other/a").await.expect(200);
}

#[tokio::test]
async fn an_attached_policy_allows_what_it_says_and_its_denies_win_over_roles() {
    let server = Server::with_bucket("bucket").await;
    for name in ["/bucket/in/a", "/bucket/out/a"] {
        server.client.put(name, "x").await.expect(200);
    }
    let inside = ["arn:aws:s3:::bucket/in/*"];
    let read = statement("Allow", &["s3:GetObject"], &inside, json!({}));
    let reader = key(&server, &[], Some(read)).await;
    reader.get("/bucket/in/a").await.expect(200);
    assert_eq!(reader.get("/bucket/out/a").await.code(), DENIED);
    assert_eq!(reader.put("/bucket/in/b", "x").await.code(), DENIED);
    assert_eq!(reader.get("/").await.code(), DENIED, "it was not given s3:ListAllMyBuckets");
    let deny = statement("Deny", &["s3:PutObject"], &inside, json!({}));
    let editor = key(&server, &[("bucket", BucketRole::Editor)], Some(deny)).await;
    editor.put("/bucket/out/b", "x").await.expect(200);
    assert_eq!(editor.put("/bucket/in/b", "x").await.code(), DENIED);
    // A key never has what its account has not.
    let all = statement("Allow", &["s3:*"], &["*"], json!({}));
    let all = key(&server, &[], Some(all)).await;
    let stranger = server.stranger().await;
    stranger.put("/theirs", "").await.expect(200);
    assert_eq!(all.get("/theirs").await.code(), DENIED);
    all.put("/made-by-policy", "").await.expect(200);
}

#[tokio::test]
async fn an_attached_policy_has_conditions_on_address_and_time() {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/bucket/a", "x").await.expect(200);
    let cases = [
        (json!({"IpAddress": {"aws:SourceIp": "127.0.0.0/8"}}), true),
        (json!({"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}), false),
        (json!({"NotIpAddress": {"aws:SourceIp": "127.0.0.1"}}), false),
        (json!({"DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}), true),
        (json!({"DateLessThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"}}), false),
        (
            json!({
                "DateGreaterThan": {"aws:CurrentTime": "2020-01-01T00:00:00Z"},
                "IpAddress": {"aws:SourceIp": "192.0.2.0/24"},
            }),
            false,
        ),
    ];
    for (condition, allowed) in cases {
        let read = statement("Allow", &["s3:GetObject"], &["*"], condition.clone());
        let reader = key(&server, &[], Some(read)).await;
        let answer = reader.get("/bucket/a").await;
        assert_eq!(answer.status == 200, allowed, "{condition}");
    }
}

#[tokio::test]
async fn an_attached_policy_looks_at_the_tags_of_objects() {
    let server = Server::with_bucket("bucket").await;
    for (name, tags) in [("/bucket/red", "colour=red"), ("/bucket/blue", "colour=blue")] {
        let put = server.client.call("PUT", name).header("x-amz-tagging", tags);
        put.body("x").send().await.expect(200);
    }
    let red = json!({"StringEquals": {"s3:ExistingObjectTag/colour": "red"}});
    let read = statement("Allow", &["s3:GetObject"], &["arn:aws:s3:::bucket/*"], red);
    let reader = key(&server, &[], Some(read)).await;
    reader.get("/bucket/red").await.expect(200);
    for path in ["/bucket/blue", "/bucket/none"] {
        assert_eq!(reader.get(path).await.code(), DENIED, "{path}");
    }
}

#[tokio::test]
async fn a_deny_of_the_policy_itself_holds_for_keys_with_less_than_all() {
    let server = Server::with_bucket("bucket").await;
    let deny = json!({"Statement": {
        "Effect": "Deny", "Principal": "*", "Action": "s3:*BucketPolicy",
        "Resource": "arn:aws:s3:::bucket",
    }});
    let admin = key(&server, &[("bucket", BucketRole::Admin)], None).await;
    admin.put("/bucket?policy", deny.to_string()).await.expect(204);
    assert_eq!(admin.get("/bucket?policy").await.code(), DENIED);
    assert_eq!(admin.delete("/bucket?policy").await.code(), DENIED);
    server.client.delete("/bucket?policy").await.expect(204);
    assert_eq!(admin.get("/bucket?policy").await.code(), (404, "NoSuchBucketPolicy"));
}
