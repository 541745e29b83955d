//! Buckets as JSON, and URLs that are signed on request.

use serde_json::{Value, json};

use godwit::types::name::BucketName;
use godwit::types::record::KeyScope;

use crate::common::client::{Answer, Client, exchange};
use crate::common::server::Server;

async fn shown(client: &Client) -> Value {
    let answer = client.get("/bucket?metadata&with-size=true").await.expect(200);
    assert_eq!(answer.header("content-type"), Some("application/json"));
    serde_json::from_slice(&answer.body).unwrap()
}

async fn patch(client: &Client, document: &Value) -> Answer {
    client.call("PATCH", "/bucket").body(document.to_string()).send().await
}

#[tokio::test]
async fn a_bucket_is_shown_as_json() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let expected = json!({
        "name": "bucket", "storage_class": "STANDARD", "type": 0, "tier_sizes": {},
        "acl_settings": {"allow_object_acl": true}, "acl_list_objects": "false",
        "object_regions": "", "estimated_size": 5, "estimated_unique_rows": 2, "estimated_rows": 2,
        "soft_delete": {"enabled": false, "retention_days": 7},
        "ack": "default", "consistency": "eventual", "copies": 2, "leases": false,
    });
    for (key, body) in [("a", "old"), ("a", "abc"), ("b", "de")] {
        client.put(&format!("/bucket/{key}"), body).await.expect(200);
    }
    assert_eq!(shown(client).await, expected);
    let here = client.call("PUT", "/here").header("x-tigris-regions", "fra");
    here.send().await.expect(200);
    let here = client.get("/here?metadata").await.expect(200);
    let here: Value = serde_json::from_slice(&here.body).unwrap();
    assert_eq!(here["object_regions"], "fra");
    let stranger = server.stranger().await;
    assert_eq!(stranger.get("/bucket?metadata").await.code(), (403, "AccessDenied"));
    let anonymous = client.call("GET", "/bucket?metadata").anonymous().send().await;
    assert_eq!(anonymous.code(), (403, "AccessDenied"));
    assert_eq!(client.get("/none?metadata").await.code(), (404, "NoSuchBucket"));
}

#[tokio::test]
async fn settings_are_changed_by_json_as_by_their_own_requests() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let cors = json!({"rules": [{
        "allowedOrigin": ["http://a"], "allowedMethods": ["GET", "PUT"],
        "allowedHeaders": ["*"], "exposeHeaders": ["ETag"], "maxAge": 60,
    }]});
    let rules = json!([
        {"id": "one", "status": 1, "expiration": {"days": 3, "enabled": true},
         "filter": {"prefix": "tmp/"}},
        {"id": "two", "status": 2, "expiration": {"date": "2099-01-01T00:00:00.000Z",
         "enabled": true}, "filter": {"prefix": ""}},
    ]);
    let answer = patch(client, &json!({"cors": cors, "lifecycle_rules": rules})).await;
    assert_eq!(answer.expect(200).text(), "{\"status\":\"success\"}");
    let server = server.restart().await;
    let client = &server.client;
    let now = shown(client).await;
    assert_eq!((&now["cors"], &now["lifecycle_rules"]), (&cors, &rules));
    let xml = client.get("/bucket?cors").await.expect(200);
    assert_eq!((xml.one("AllowedOrigin"), xml.one("MaxAgeSeconds")), ("http://a", "60"));
    let xml = client.get("/bucket?lifecycle").await.expect(200);
    assert_eq!(xml.all("Prefix"), ["tmp/", ""]);
    assert_eq!(xml.all("Status"), ["Enabled", "Disabled"]);
    let off = json!({"cors": null, "lifecycle_rules": [], "object_regions": "",
        "protection": {"protected": false}, "additional_http_headers": null});
    patch(client, &off).await.expect(200);
    assert_eq!(client.get("/bucket?cors").await.code(), (404, "NoSuchCORSConfiguration"));
    let none = client.get("/bucket?lifecycle").await;
    assert_eq!(none.code(), (404, "NoSuchLifecycleConfiguration"));
    client.call("PATCH", "/bucket").send().await.expect(200);
}

#[tokio::test]
async fn lists_are_changed_by_headers() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let call = |name: &str, value: &str| client.call("PATCH", "/bucket").header(name, value);
    let list = "x-amz-acl-public-list-objects-enabled";
    let listed = async || {
        let answer = client.call("GET", "/bucket").anonymous().send().await;
        (answer.status.as_u16(), shown(client).await["acl_list_objects"].clone())
    };
    for (name, value, expected) in [
        ("x-amz-acl", "public-read", (200, "true".into())),
        (list, "false", (403, "false".into())),
        (list, "true", (200, "true".into())),
        ("x-amz-acl", "private", (403, "false".into())),
    ] {
        call(name, value).send().await.expect(200);
        assert_eq!(listed().await, expected, "{name} {value}");
    }
    assert_eq!(call(list, "yes").send().await.code(), (400, "InvalidArgument"));
    let no_lists = json!({"acl_settings": {"allow_object_acl": false}});
    let both = call("x-amz-acl", "public-read").body(no_lists.to_string()).send().await;
    assert_eq!(both.code(), (400, "InvalidBucketAclWithObjectOwnership"));
    assert_eq!(listed().await.0, 403, "what was refused changed nothing");
    patch(client, &no_lists).await.expect(200);
    assert_eq!(shown(client).await["acl_settings"], no_lists["acl_settings"]);
    let refused = call("x-amz-acl", "public-read").send().await;
    assert_eq!(refused.code(), (400, "AccessControlListNotSupported"));
    patch(client, &json!({"acl_settings": {"allow_object_acl": true}})).await.expect(200);
}

#[tokio::test]
async fn what_cannot_be_set_is_refused_and_nothing_else_is_changed() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let cors = json!({"rules": [{"allowedOrigin": ["*"], "allowedMethods": ["GET"]}]});
    let rule = |rule: Value| json!([rule]);
    let moving = json!({"status": 1, "transitions": [{"storage_class": "GLACIER", "days": 3}]});
    let cases = [
        ("website", json!({"domain_name": "a"}), 501, "NotImplemented"),
        ("cache_control", json!("no-cache"), 501, "NotImplemented"),
        ("object_regions", json!("mars"), 400, "InvalidLocationConstraint"),
        ("object_regions", json!(7), 400, "InvalidArgument"),
        ("protection", json!({"protected": true}), 501, "NotImplemented"),
        ("acl_settings", json!({}), 400, "InvalidRequest"),
        ("cors", json!({"rules": []}), 400, "MalformedXML"),
        ("lifecycle_rules", rule(json!({"status": 1})), 400, "InvalidRequest"),
        ("lifecycle_rules", rule(moving), 400, "InvalidStorageClass"),
    ];
    for (name, value, status, code) in cases {
        let mut document = json!({ "cors": cors });
        document[name] = value;
        let answer = patch(client, &document).await;
        assert_eq!(answer.code(), (status, code), "{document}");
    }
    let text = client.call("PATCH", "/bucket").body("{").send().await;
    assert_eq!(text.code(), (400, "InvalidRequest"));
    let object = client.call("PATCH", "/bucket/key").send().await;
    assert_eq!(object.code(), (405, "MethodNotAllowed"));
    let scope = KeyScope::Buckets(vec![BucketName::parse("bucket").unwrap()]);
    for other in [server.stranger().await, server.key_with(scope).await] {
        let answer = patch(&other, &json!({ "cors": cors })).await;
        assert_eq!(answer.code(), (403, "AccessDenied"));
    }
    assert_eq!(client.get("/bucket?cors").await.code(), (404, "NoSuchCORSConfiguration"));
}

async fn presigned(client: &Client, key_id: &str, kind: &str, more: &Value) -> Answer {
    let mut document = json!({"bucket": "bucket", "key": "dir/a b+é", "key_id": key_id,
        "type": kind, "expires_in": 60});
    document.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    client.post("/?func=presign", document.to_string()).await
}

async fn used(client: &Client, method: &str, answer: Answer, body: &str) -> Answer {
    let document: Value = serde_json::from_slice(&answer.expect(200).body).unwrap();
    let url = document["url"].as_str().unwrap();
    let path = url.strip_prefix(&format!("http://{}", client.address)).unwrap();
    let request = http::Request::builder().method(method).uri(path);
    let request = request.header("host", client.address.to_string());
    exchange(client.address, request.body(body.to_owned().into()).unwrap()).await
}

#[tokio::test]
async fn a_url_is_signed_for_whoever_asks_with_a_key() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let (id, none) = (client.access_key.as_str(), json!({}));
    let put = presigned(client, id, "put", &none).await;
    used(client, "PUT", put, "data").await.expect(200);
    let get = presigned(client, id, "get", &none).await;
    assert_eq!(used(client, "GET", get, "").await.expect(200).text(), "data");
    let version = presigned(client, id, "get", &json!({"version_id": "null"})).await;
    assert_eq!(used(client, "GET", version, "").await.expect(200).text(), "data");
    let other = presigned(client, id, "get", &none).await;
    assert_eq!(used(client, "PUT", other, "").await.code(), (403, "SignatureDoesNotMatch"));
    for more in [
        json!({"expires_in": 0}),
        json!({"expires_in": 604_801}),
        json!({"type": "delete"}),
        json!({"bucket": "B"}),
        json!({"key": ""}),
    ] {
        let answer = presigned(client, id, "get", &more).await;
        assert_eq!(answer.code(), (400, "InvalidArgument"), "{more}");
    }
    assert_eq!(client.post("/?func=presign", "{}").await.code(), (400, "InvalidRequest"));
}

#[tokio::test]
async fn a_url_gives_nobody_more_than_he_has() {
    let server = Server::with_bucket("bucket").await;
    let (client, none) = (&server.client, json!({}));
    let narrow = KeyScope::Buckets(vec![BucketName::parse("bucket").unwrap()]);
    let narrow = server.key_with(narrow).await;
    let stranger = server.stranger().await;
    for (caller, id) in [
        (&narrow, client.access_key.as_str()),
        (&stranger, client.access_key.as_str()),
        (client, stranger.access_key.as_str()),
        (client, "nobody"),
        (client, "no body"),
    ] {
        let answer = presigned(caller, id, "get", &none).await;
        assert_eq!(answer.code(), (403, "AccessDenied"), "{id}");
    }
    let anonymous = client.call("POST", "/?func=presign").body("{}").anonymous().send().await;
    assert_eq!(anonymous.code(), (403, "AccessDenied"));
    client.put("/bucket/dir/a%20b%2B%C3%A9", "data").await.expect(200);
    for (caller, id) in [(&narrow, &narrow.access_key), (client, &narrow.access_key)] {
        let get = presigned(caller, id, "get", &none).await;
        assert_eq!(used(client, "GET", get, "").await.expect(200).text(), "data");
    }
    let own = presigned(&stranger, &stranger.access_key, "get", &none).await;
    assert_eq!(used(client, "GET", own, "").await.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn buckets_are_listed_as_json_where_that_is_asked_for() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    client.call("PUT", "/far").header("x-tigris-regions", "fra").send().await.expect(200);
    client.call("PUT", "/open").header("x-amz-acl", "public-read").send().await.expect(200);
    server.stranger().await.put("/strange", "").await.expect(200);
    let listed = async |query: &str| {
        let call = client.call("GET", &format!("/?{query}"));
        let answer = call.header("accept", "application/json").send().await.expect(200);
        serde_json::from_slice::<Value>(&answer.body).unwrap()
    };
    let seen = |page: &Value, field: &str| -> Vec<Value> {
        page["Buckets"]["Bucket"].as_array().unwrap().iter().map(|b| b[field].clone()).collect()
    };
    let all = listed("IncludeVisibility=true&IncludeOwnerInfo=true").await;
    assert_eq!(seen(&all, "Name"), ["bucket", "far", "open"]);
    assert_eq!(seen(&all, "Regions"), ["", "fra", ""]);
    let public: Vec<bool> =
        seen(&all, "Visibility").iter().map(|v| v["IsPublic"].as_bool().unwrap()).collect();
    assert_eq!(public, [false, false, true]);
    assert!(seen(&all, "CreationDate")[0].as_str().unwrap().ends_with('Z'));
    assert_eq!(all["IsTruncated"], false);
    let id = client.get("/").await.expect(200).one("ID").to_owned();
    assert_eq!(all["Owner"]["ID"], id);
    let first = listed("max-buckets=2").await;
    assert_eq!((seen(&first, "Name").len(), &first["IsTruncated"]), (2, &true.into()));
    let token = first["NextContinuationToken"].as_str().unwrap();
    let rest = listed(&format!("continuation-token={token}")).await;
    assert_eq!(seen(&rest, "Name"), ["open"]);
    assert!(seen(&listed("OnlyDeleted=true").await, "Name").is_empty());
    let json = |path: &str| client.call("GET", path).header("accept", "application/json");
    client.put("/bucket/a", "12345").await.expect(200);
    client.put("/far/a", "123").await.expect(200);
    let stats = json!({"ActiveBuckets": 3, "TotalObjects": 2, "TotalUniqueObjects": 2,
        "TotalStorageBytes": 8});
    assert_eq!(listed("IncludeStats=true&max-buckets=1").await["Stats"], stats);
    let forks = json("/").header("x-tigris-fork", "bucket").send().await;
    assert_eq!(forks.code(), (501, "NotImplemented"));
    assert_eq!(json("/").anonymous().send().await.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn errors_of_these_are_json_too() {
    let server = Server::with_bucket("bucket").await;
    let answer = patch(&server.client, &json!({"cache_control": "no-cache"})).await;
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let error: Value = serde_json::from_slice(&answer.body).unwrap();
    let message = "The setting cache_control cannot be changed: it is not implemented.";
    assert_eq!((&error["Code"], &error["Message"]), (&"NotImplemented".into(), &message.into()));
    assert_eq!(
        (&error["Setting"], &error["Resource"]),
        (&"cache_control".into(), &"/bucket".into())
    );
    let other = server.client.get("/none").await;
    assert_eq!(other.header("content-type"), Some("application/xml"));
}

#[tokio::test]
async fn what_a_bucket_promises_is_said_when_it_is_made_and_changed_by_json() {
    let (server, _others) = Server::among(&["fra", "iad", "nrt"]).await;
    let client = &server.client;
    let create = client.call("PUT", "/bucket").header("x-godwit-consistency", "strong");
    create
        .header("x-godwit-ack", "majority")
        .header("x-godwit-copies", "2")
        .send()
        .await
        .expect(200);
    let promises = |shown: &Value| ["ack", "consistency", "copies"].map(|name| shown[name].clone());
    let first = [json!("majority"), json!("strong"), json!(2)];
    assert_eq!(promises(&shown(client).await), first);
    client.put("/bucket/k", "text").await.expect(200);
    assert_eq!(client.get("/bucket/k").await.expect(200).text(), "text");
    patch(client, &json!({"leases": true})).await.expect(200);
    assert_eq!(shown(client).await["leases"], true);
    assert_eq!(promises(&shown(client).await), first);
    for _ in 0..4 {
        assert_eq!(client.get("/bucket/k").await.expect(200).text(), "text");
    }
    client.put("/bucket/k", "text").await.expect(200);
    for bad in [
        json!({"ack": 0}),
        json!({"consistency": "weak"}),
        json!({"copies": "many"}),
        json!({"leases": "perhaps"}),
        json!({"leases": true, "consistency": "eventual"}),
    ] {
        assert_eq!(patch(client, &bad).await.code(), (400, "InvalidArgument"), "{bad}");
    }
    let none = client.call("PUT", "/other").header("x-godwit-consistency", "perhaps");
    assert_eq!(none.send().await.code(), (400, "InvalidArgument"));
    assert_eq!(promises(&shown(client).await), first);
    let stranger = server.stranger().await;
    let asked = json!({"ack": 1, "consistency": "eventual", "copies": 3});
    let refused = stranger.call("PATCH", "/bucket").body(asked.to_string()).send().await;
    assert_eq!(refused.code(), (403, "AccessDenied"));
    patch(client, &asked).await.expect(200);
    assert_eq!(promises(&shown(client).await), [json!(1), json!("eventual"), json!(3)]);
    assert_eq!(shown(client).await["leases"], false, "they go with the order");
    let leases = patch(client, &json!({"leases": true})).await;
    assert_eq!(leases.code(), (400, "InvalidArgument"));
    assert_eq!(client.get("/bucket/k").await.expect(200).text(), "text");
}
