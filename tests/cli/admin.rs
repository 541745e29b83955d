//! The admin API: its table, its documents, its tokens, its refusals.

use std::collections::BTreeSet;

use godwit::admin::model::ADMIN_PREFIX;
use godwit::admin::{openapi, routes};
use serde_json::{Value, json};

use super::s3::{self, Answer};
use super::{World, assert_kept, eventually, schema};

fn body(answer: &Answer) -> Value {
    serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{}", answer.text()))
}

fn admin(path: &str) -> String {
    format!("{ADMIN_PREFIX}/{path}")
}

/// The schema of an operation's answer.
fn answer_schema<'a>(document: &'a Value, path: &str, verb: &str, status: &str) -> &'a Value {
    let operation = &document["paths"][path][verb];
    let answer = &operation["responses"][status]["content"]["application/json"]["schema"];
    assert!(!answer.is_null(), "{verb} {path} has no answer {status}");
    answer
}

#[test]
fn the_page_of_the_admin_api_is_what_the_table_says() {
    assert_kept("docs/admin-api.md", &openapi::page());
}

#[test]
fn the_openapi_document_has_every_row_and_every_reference_leads_somewhere() {
    let document = openapi::document();
    assert_eq!(document["openapi"], "3.1.1");
    for (group, route) in routes::all() {
        let verb = route.verb.as_str().to_ascii_lowercase();
        let operation = &document["paths"][admin(route.path)][verb];
        assert_eq!(operation["summary"], route.what, "{group} {}", route.path);
        assert_eq!(operation["parameters"].as_array().unwrap().len(), route.query.len());
    }
    let mut ids = BTreeSet::new();
    for (path, entry) in document["paths"].as_object().unwrap() {
        assert!(path.starts_with("/-/"), "{path}");
        for (verb, operation) in entry.as_object().unwrap() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(ids.insert(id.to_owned()), "{verb} {path}: {id} stands twice");
        }
    }
    assert_references(&document, &document);
}

fn assert_references(document: &Value, value: &Value) {
    match value {
        Value::Object(fields) => {
            if let Some(target) = fields.get("$ref").and_then(Value::as_str) {
                let found = document.pointer(target.trim_start_matches('#'));
                assert!(found.is_some(), "{target} leads nowhere");
            }
            fields.values().for_each(|value| assert_references(document, value));
        }
        Value::Array(items) => items.iter().for_each(|item| assert_references(document, item)),
        _ => {}
    }
}

#[test]
fn answers_and_refusals_are_as_the_served_document_says() {
    let world = World::start();
    let endpoint = world.dev.announced.endpoint.clone();
    let document = body(&s3::get(&endpoint, "/-/openapi.json"));
    assert_eq!(document, openapi::document());
    let client = world.client();
    assert_eq!(client.send("PUT", "/seen", &[], b"").status, 200);
    assert_eq!(client.send("PUT", "/seen/key", &[], b"hello").status, 200);
    let calls = [
        ("GET", "status", "", json!(null)),
        ("GET", "where", "?bucket=seen&key=key", json!(null)),
        ("GET", "keys", "", json!(null)),
        ("GET", "scrub", "", json!(null)),
        ("POST", "scrub/start", "", json!(null)),
        ("POST", "scrub/stop", "", json!(null)),
        ("GET", "repair", "", json!(null)),
        ("POST", "repair/start", "", json!(null)),
        ("POST", "repair/stop", "", json!(null)),
        ("POST", "keys", "", json!({"roles": {"seen": "read-only"}})),
        ("POST", "storage", "", json!({"name": "made-here"})),
        ("POST", "tokens", "", json!({"expires_in": 60})),
    ];
    for (verb, path, query, request) in calls {
        let sent = if request.is_null() { Vec::new() } else { request.to_string().into_bytes() };
        let answer = client.send(verb, &(admin(path) + query), &[], &sent);
        assert_eq!(answer.status, 200, "{verb} {path}: {}", answer.text());
        let schema = answer_schema(&document, &admin(path), &verb.to_ascii_lowercase(), "200");
        schema::check(&document, schema, &body(&answer), path).unwrap();
    }
    let refusals = [
        ("GET", "nothing", 405, "MethodNotAllowed"),
        ("DELETE", "status", 405, "MethodNotAllowed"),
        ("GET", "where?bucket=seen", 400, "InvalidArgument"),
        ("GET", "status?verbose=true", 400, "InvalidArgument"),
        ("POST", "keys", 400, "InvalidArgument"),
        ("GET", "where?bucket=seen&key=other", 404, "NoSuchKey"),
    ];
    let refusal = answer_schema(&document, &admin("status"), "get", "default");
    for (verb, path, status, code) in refusals {
        let answer = client.send(verb, &admin(path), &[], b"");
        let body = body(&answer);
        assert_eq!((answer.status, body["code"].as_str().unwrap()), (status, code), "{path}");
        schema::check(&document, refusal, &body, path).unwrap();
        assert!(!body["request_id"].as_str().unwrap().is_empty());
    }
    let anonymous = s3::get(&endpoint, &admin("status"));
    assert_eq!(anonymous.status, 403);
    assert!(body(&anonymous)["hint"].as_str().unwrap().contains("admin key"));
    world.dev.stop();
}

#[test]
fn keys_with_less_than_their_account_are_refused_what_needs_an_admin() {
    let world = World::start();
    let storage = world.client().send("POST", &admin("storage"), &[], b"{}");
    let storage = body(&storage);
    let key = |name: &str| storage[name].as_str().unwrap().to_owned();
    let endpoint = &world.dev.announced.endpoint;
    let less = s3::Client::new(endpoint, &key("access_key"), &key("secret_key"));
    for (_, route) in routes::all().filter(|(_, r)| r.role == godwit::admin::route::Role::Admin) {
        let answer = less.send(route.verb.as_str(), &admin(route.path), &[], b"");
        assert_eq!(answer.status, 403, "{} {}", route.verb.as_str(), route.path);
    }
    world.dev.stop();
}

#[test]
fn a_token_stands_for_its_key_until_its_time_or_its_key_ends() {
    let world = World::start();
    let (client, endpoint) = (world.client(), world.dev.announced.endpoint.clone());
    let second = body(&client.send("POST", &admin("keys"), &[], b"{}"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let (id, secret) = (text(&second["access_key"]), text(&second["secret_key"]));
    let second = s3::Client::new(&endpoint, &id, &secret);
    let made = |request: &str| {
        let answer = second.send("POST", &admin("tokens"), &[], request.as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.text());
        text(&body(&answer)["token"])
    };
    let ask = |token: &str, verb: &str, path: &str| {
        let bearer = format!("Bearer {token}");
        let request: &[u8] = if path == "tokens" { b"{\"expires_in\": 9}" } else { b"{}" };
        s3::send_plain(&endpoint, verb, &admin(path), &[("Authorization", &bearer)], request)
    };
    let (all, looks) =
        (made("{\"expires_in\": 600}"), made("{\"expires_in\": 600, \"read_only\": true}"));
    assert!(!all.contains(&secret));
    assert_eq!(ask(&looks, "POST", "storage").status, 403);
    assert_eq!(ask(&all, "POST", "storage").status, 200);
    assert_eq!(ask(&all, "POST", "tokens").status, 403, "a token makes no tokens");
    // A scope or a time that was changed by hand is not what was signed.
    for forged in [looks.replace("_read_", "_all_"), all.replacen("_1", "_2", 1)] {
        assert_ne!(forged, all);
        assert_eq!(body(&ask(&forged, "POST", "storage"))["code"], "InvalidToken", "{forged}");
    }
    let short = made("{\"expires_in\": 1}");
    eventually("the token ends", || {
        (body(&ask(&short, "POST", "storage"))["code"] == "ExpiredToken").then_some(())
    });
    let revoke = admin(&format!("keys?access_key={id}"));
    assert_eq!(client.send("DELETE", &revoke, &[], b"").status, 200);
    assert_eq!(body(&ask(&all, "POST", "storage"))["code"], "InvalidToken");
    world.dev.stop();
}
