//! The audit log, and who may see the whole cluster.

use std::fs;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::s3::{self, Client};
use super::{World, eventually};

/// A world whose one region writes its audit log to a file; the file's path.
fn audited(more: &str) -> (World, PathBuf, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let log = folder.path().join("audit.jsonl");
    let config = folder.path().join("godwit.toml");
    fs::write(&config, format!("[audit]\nto = {log:?}\n{more}")).unwrap();
    let world = World::with(&["--regions", "fra", "--config", config.to_str().unwrap()]);
    (world, folder.path().join("audit.jsonl.fra"), folder)
}

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The log, once it tells of `op`.
fn written(path: &Path, op: &str) -> String {
    eventually("the last line is written", || {
        let text = fs::read_to_string(path).ok()?;
        text.contains(&format!("{op}\"")).then_some(text)
    })
}

/// Tries to sign in at the console.
fn sign_in(world: &World, id: &str, secret: &str) -> u16 {
    let authorization = format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")));
    let headers = [("Authorization", authorization.as_str())];
    s3::plain(&world.dev.announced.console, "POST", "/api/session", &headers, b"").status
}

#[test]
fn the_audit_log_has_every_change_and_never_a_secret() {
    let (world, path, _folder) = audited("");
    let client = world.client();
    let (own, secret) = (&world.dev.announced.access_key, &world.dev.announced.secret_key);
    assert_eq!(client.send("PUT", "/ledger", &[], b"").status, 200);
    assert_eq!(client.send("PUT", "/ledger/private", &[], b"text of the object").status, 200);
    let policy = br#"{"Version":"2012-10-17","Statement":[]}"#;
    assert_ne!(client.send("PUT", "/ledger?policy", &[], policy).status, 403);
    let made = world.json(&["keys", "create", "--bucket", "ledger=editor"]);
    let made_key = made["access_key"].as_str().unwrap();
    let stranger =
        Client::new(&world.dev.announced.endpoint, made_key, made["secret_key"].as_str().unwrap());
    assert_eq!(stranger.send("DELETE", "/ledger?policy", &[], b"").status, 403);
    let token = client.send("POST", "/-/admin/v1/tokens", &[], br#"{"expires_in":60}"#);
    let token: Value = serde_json::from_slice(&token.body).unwrap();
    let token = token["token"].as_str().unwrap();
    let bearer = format!("Bearer {token}");
    let path_of_key = format!("/-/admin/v1/keys?access_key={made_key}");
    let headers = [("Authorization", bearer.as_str())];
    let ended = s3::plain(&world.dev.announced.endpoint, "DELETE", &path_of_key, &headers, b"");
    assert_eq!(ended.status, 200, "{}", ended.text());
    let url = world.ok(&["presign", "--method", "put", "s3://ledger/by-url"]);
    let signature = url.trim().rsplit("X-Amz-Signature=").next().unwrap().to_owned();
    let signature = signature.split('&').next().unwrap();
    let endpoint = &world.dev.announced.endpoint;
    let target = url.trim().strip_prefix(endpoint).unwrap();
    assert_eq!(s3::send_plain(endpoint, "PUT", target, &[], b"text of the object").status, 200);
    assert_eq!(client.send("DELETE", "/ledger/by-url", &[], b"").status, 204);
    assert_eq!(sign_in(&world, own, secret), 200);
    assert_eq!(sign_in(&world, secret, own), 403, "the secret in the wrong field");
    assert_eq!(client.send("DELETE", "/ledger/private", &[], b"").status, 204);
    assert_eq!(client.send("DELETE", "/ledger", &[], b"").status, 204);
    let text = written(&path, "DeleteBucket");
    let found = lines(&text);
    let find = |op: &str| {
        let line = found.iter().find(|line| line["op"] == op);
        line.unwrap_or_else(|| panic!("{op} is not told:\n{text}"))
    };
    let create = find("CreateBucket");
    assert_eq!(create["caller"], own.as_str());
    assert_eq!((&create["bucket"], &create["status"]), (&"ledger".into(), &200.into()));
    assert_eq!((&create["region"], &create["source"]), (&"fra".into(), &"127.0.0.1".into()));
    let refused = find("DeleteBucketPolicy");
    assert_eq!(refused["caller"], made_key);
    assert_eq!((&refused["status"], &refused["error"]), (&403.into(), &"AccessDenied".into()));
    assert_eq!(find("POST /-/admin/v1/keys")["access_key"], made_key);
    let ended = find("DELETE /-/admin/v1/keys");
    assert_eq!((&ended["caller"], &ended["access_key"]), (&own.as_str().into(), &made_key.into()));
    assert_eq!(find("SignIn")["caller"], own.as_str());
    let failed = found.iter().find(|line| line["op"] == "SignIn" && line["status"] == 403);
    assert_eq!(failed.unwrap()["caller"], "anonymous");
    assert!(!text.contains("PutObject") && !text.contains("by-url"), "objects are not told");
    let secrets =
        [secret, made["secret_key"].as_str().unwrap(), token, signature, "Bearer", "text of"];
    for secret in secrets {
        assert!(!secret.is_empty() && !text.contains(secret), "{secret} is in the audit log");
    }
    world.end();
}

#[test]
fn changes_of_objects_are_told_where_it_was_asked_for() {
    let (world, path, _folder) = audited("objects = true\n");
    let client = world.client();
    assert_eq!(client.send("PUT", "/ledger", &[], b"").status, 200);
    assert_eq!(client.send("PUT", "/ledger/a%20b", &[], b"text").status, 200);
    assert_eq!(client.send("GET", "/ledger/a%20b", &[], b"").status, 200);
    assert_eq!(client.send("DELETE", "/ledger/a%20b", &[], b"").status, 204);
    let text = written(&path, "DeleteObject");
    let told: Vec<(String, Value)> = lines(&text)
        .into_iter()
        .map(|line| (line["op"].as_str().unwrap().to_owned(), line["key"].clone()))
        .collect();
    assert!(told.contains(&("PutObject".to_owned(), "a b".into())), "{told:?}");
    assert!(!told.iter().any(|(op, _)| op == "GetObject"), "{told:?}");
    world.end();
}

#[test]
fn the_admin_key_of_another_account_sees_nothing_of_the_whole_cluster() {
    let world = World::start();
    let client = world.client();
    let own: Value =
        serde_json::from_slice(&client.send("GET", "/-/admin/v1/whoami", &[], b"").body).unwrap();
    assert_eq!((&own["admin"], &own["operator"]), (&true.into(), &true.into()));
    assert_eq!(client.send("GET", "/-/admin/v1/status", &[], b"").status, 200);
    let made = world.json(&["keys", "create", "--new-account"]);
    let (id, secret) = (made["access_key"].as_str().unwrap(), made["secret_key"].as_str().unwrap());
    let tenant = Client::new(&world.dev.announced.endpoint, id, secret);
    let ask = |method: &str, path: &str, body: &[u8]| {
        let answer = tenant.send(method, &format!("/-/admin/v1/{path}"), &[], body);
        (answer.status, serde_json::from_slice::<Value>(&answer.body).unwrap())
    };
    let (_, whoami) = ask("GET", "whoami", b"");
    assert_eq!((&whoami["admin"], &whoami["operator"]), (&true.into(), &false.into()));
    for path in ["status", "node", "metrics", "scrub", "repair", "backup"] {
        let (status, body) = ask("GET", path, b"");
        assert_eq!((status, &body["code"]), (403, &"AccessDenied".into()), "{path}");
        assert!(body["message"].as_str().unwrap().contains("operator"), "{body}");
    }
    for path in ["scrub/start", "repair/stop", "backup/create"] {
        assert_eq!(ask("POST", path, b"").0, 403, "{path}");
    }
    let (_, token) = ask("POST", "tokens", br#"{"expires_in":60}"#);
    let bearer = format!("Bearer {}", token["token"].as_str().unwrap());
    let headers = [("Authorization", bearer.as_str())];
    let endpoint = &world.dev.announced.endpoint;
    let by_token = s3::plain(endpoint, "GET", "/-/admin/v1/status", &headers, b"");
    assert_eq!(by_token.status, 403, "its tokens neither");
    let (status, keys) = ask("GET", "keys", b"");
    assert_eq!((status, keys["keys"].as_array().unwrap().len()), (200, 1), "its own account's");
    world.end();
}
