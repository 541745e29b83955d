//! Notifications: the setting, and events over real HTTP to a webhook on the loopback.

use serde_json::Value;

use crate::common::client::Answer;
use crate::common::node::eventually;
use crate::common::receiver::Receiver;
use crate::common::server::Server;

const ARN: &str = "arn:godwit:sqs::hook:webhook";

fn webhook(receiver: &Receiver, rest: &str) -> String {
    format!("hook=http://{}/in?x=1{rest}", receiver.address)
}

/// One queue configuration.
fn queue(id: &str, events: &[&str], filters: &[(&str, &str)]) -> String {
    let events: String = events.iter().map(|e| format!("<Event>s3:{e}</Event>")).collect();
    let rule = |(name, value): &(&str, &str)| {
        format!("<FilterRule><Name>{name}</Name><Value>{value}</Value></FilterRule>")
    };
    let rules: String = filters.iter().map(rule).collect();
    format!(
        "<QueueConfiguration><Id>{id}</Id><Queue>{ARN}</Queue>{events}\
         <Filter><S3Key>{rules}</S3Key></Filter></QueueConfiguration>"
    )
}

fn document(configurations: &[String]) -> String {
    format!(
        "<NotificationConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{}\
         </NotificationConfiguration>",
        configurations.concat()
    )
}

const EVERYTHING: [&str; 5] = [
    "ObjectCreated:*",
    "ObjectRemoved:*",
    "ObjectTagging:*",
    "ObjectAcl:Put",
    "LifecycleExpiration:*",
];

/// A server whose bucket tells everything to the receiver.
async fn telling(receiver: &Receiver, rest: &str) -> Server {
    let server = Server::with_webhooks("bucket", &[webhook(receiver, rest)]).await;
    let all = document(&[queue("all", &EVERYTHING, &[])]);
    server.client.put("/bucket?notification", all).await.expect(200);
    server
}

/// Waits for so many events, and gives them.
async fn events(server: &Server, receiver: &Receiver, n: usize) -> Vec<Value> {
    let what = format!("{n} events came");
    eventually(&server.node.env, &what, || async { receiver.events().len() >= n }).await;
    let events = receiver.events();
    assert_eq!(events.len(), n, "{events:#?}");
    events
}

fn names(events: &[Value]) -> Vec<(&str, &str)> {
    let text = |value: &'static str, event| -> &str {
        let event: &Value = event;
        event.pointer(value).unwrap().as_str().unwrap()
    };
    let name = |event| (text("/eventName", event), text("/s3/object/key", event));
    events.iter().map(name).collect()
}

async fn refused(server: &Server, document: String) -> Answer {
    server.client.put("/bucket?notification", document).await
}

#[tokio::test]
async fn the_setting_is_kept_shown_replaced_and_taken_away() {
    let receiver = Receiver::start().await;
    let server = Server::with_webhooks("bucket", &[webhook(&receiver, "")]).await;
    let client = &server.client;
    let one = queue("one", &["ObjectCreated:*"], &[("prefix", "in/"), ("Suffix", ".jpg")]);
    let topic = "<TopicConfiguration><Topic>arn:aws:sns:us-east-1:000000000000:hook</Topic>\
         <Event>s3:ObjectRemoved:Delete</Event></TopicConfiguration>";
    client.put("/bucket?notification", document(&[one, topic.to_owned()])).await.expect(200);
    let server = server.restart().await;
    let client = &server.client;
    let shown = client.get("/bucket?notification").await.expect(200);
    assert_eq!(shown.all("Id").len(), 2);
    assert_eq!(shown.one("Queue"), ARN);
    assert_eq!(shown.one("Topic"), "arn:aws:sns:us-east-1:000000000000:hook");
    assert_eq!(shown.all("Event"), ["s3:ObjectRemoved:Delete", "s3:ObjectCreated:*"]);
    assert_eq!(shown.all("Name"), ["Prefix", "Suffix"]);
    assert_eq!(shown.all("Value"), ["in/", ".jpg"]);
    client.put("/bucket?notification", document(&[])).await.expect(200);
    assert!(client.get("/bucket?notification").await.expect(200).all("Id").is_empty());
    assert_eq!(client.get("/none?notification").await.code(), (404, "NoSuchBucket"));
}

#[tokio::test]
async fn a_setting_that_cannot_be_kept_is_refused() {
    let receiver = Receiver::start().await;
    let server = Server::with_webhooks("bucket", &[webhook(&receiver, "")]).await;
    let created = ["ObjectCreated:*"];
    let cases = [
        (vec![queue("a", &created, &[]).replace("hook:", "other:")], 400, "InvalidArgument"),
        (vec![queue("a", &["ObjectEaten:*"], &[])], 400, "InvalidArgument"),
        (vec![queue("a", &["ObjectRestore:*"], &[])], 400, "InvalidArgument"),
        (vec![queue("a", &[], &[])], 400, "MalformedXML"),
        (vec![queue("a", &created, &[("infix", "x")])], 400, "InvalidArgument"),
        (vec![queue("a", &created, &[("prefix", "x"), ("prefix", "y")])], 400, "InvalidArgument"),
        (
            vec![queue("a", &created, &[]), queue("b", &["ObjectCreated:Put"], &[])],
            400,
            "InvalidArgument",
        ),
        (
            vec![queue("a", &created, &[]), queue("a", &["ObjectRemoved:*"], &[])],
            400,
            "InvalidArgument",
        ),
        (
            vec![
                "<QueueConfiguration><Event>s3:ObjectCreated:*</Event></QueueConfiguration>".into(),
            ],
            400,
            "MalformedXML",
        ),
        (vec!["<EventBridgeConfiguration/>".into()], 501, "NotImplemented"),
        (
            vec![
                "<CloudFunctionConfiguration><CloudFunction>f</CloudFunction>\
                 </CloudFunctionConfiguration>"
                    .into(),
            ],
            501,
            "NotImplemented",
        ),
    ];
    for (configurations, status, code) in cases {
        let document = document(&configurations);
        let answer = refused(&server, document.clone()).await;
        assert_eq!(answer.code(), (status, code), "{document}");
    }
    let other = "<Other/>".to_owned();
    assert_eq!(refused(&server, other).await.code(), (400, "MalformedXML"));
    let shown = server.client.get("/bucket?notification").await.expect(200);
    assert!(shown.all("Id").is_empty());
    let stranger = server.stranger().await;
    let denied = stranger.put("/bucket?notification", document(&[])).await;
    assert_eq!(denied.code(), (403, "AccessDenied"));
}

#[tokio::test]
async fn every_change_of_an_object_is_told_in_order() {
    let receiver = Receiver::start().await;
    let server = telling(&receiver, "").await;
    let client = &server.client;
    client.put("/bucket/a", "hello").await.expect(200);
    let copy = client.call("PUT", "/bucket/b").header("x-amz-copy-source", "/bucket/a");
    copy.send().await.expect(200);
    multipart(&server, "/bucket/c").await;
    let tags = "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>";
    client.put("/bucket/a?tagging", tags).await.expect(200);
    client.delete("/bucket/a?tagging").await.expect(204);
    client.call("PUT", "/bucket/a?acl").header("x-amz-acl", "public-read").send().await.expect(200);
    client.delete("/bucket/a").await.expect(204);
    // What is not there is deleted without an event.
    client.delete("/bucket/a").await.expect(204);
    let both = "<Delete><Object><Key>b</Key></Object><Object><Key>c</Key></Object></Delete>";
    client.post("/bucket?delete", both).await.expect(200);
    let events = events(&server, &receiver, 9).await;
    let expected = [
        ("ObjectCreated:Put", "a"),
        ("ObjectCreated:Copy", "b"),
        ("ObjectCreated:CompleteMultipartUpload", "c"),
        ("ObjectTagging:Put", "a"),
        ("ObjectTagging:Delete", "a"),
        ("ObjectAcl:Put", "a"),
        ("ObjectRemoved:Delete", "a"),
        ("ObjectRemoved:Delete", "b"),
        ("ObjectRemoved:Delete", "c"),
    ];
    assert_eq!(names(&events), expected);
    let sequencers: Vec<&str> =
        events.iter().map(|e| e["s3"]["object"]["sequencer"].as_str().unwrap()).collect();
    assert!(sequencers.is_sorted(), "{sequencers:?}");
}

async fn multipart(server: &Server, path: &str) {
    let client = &server.client;
    let upload = client.post(&format!("{path}?uploads"), "").await.expect(200);
    let upload = upload.one("UploadId").to_owned();
    let part = client.put(&format!("{path}?partNumber=1&uploadId={upload}"), "part").await;
    let etag = part.expect(200).header("etag").unwrap().to_owned();
    let list = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    client.post(&format!("{path}?uploadId={upload}"), list).await.expect(200);
}

#[tokio::test]
async fn an_event_has_the_fields_of_s3() {
    let receiver = Receiver::start().await;
    let server = telling(&receiver, "").await;
    let put = server.client.put("/bucket/red%20flower/%C3%BC.jpg", "hello").await.expect(200);
    let events = events(&server, &receiver, 1).await;
    let event = &events[0];
    let owner = server.client.get("/bucket?acl").await.expect(200).all("ID")[0].to_owned();
    for (pointer, value) in [
        ("/eventVersion", "2.1"),
        ("/eventSource", "aws:s3"),
        ("/awsRegion", "fra"),
        ("/eventName", "ObjectCreated:Put"),
        ("/userIdentity/principalId", owner.as_str()),
        ("/requestParameters/sourceIPAddress", "127.0.0.1"),
        ("/responseElements/x-amz-request-id", put.header("x-amz-request-id").unwrap()),
        ("/s3/s3SchemaVersion", "1.0"),
        ("/s3/configurationId", "all"),
        ("/s3/bucket/name", "bucket"),
        ("/s3/bucket/ownerIdentity/principalId", owner.as_str()),
        ("/s3/bucket/arn", "arn:aws:s3:::bucket"),
        ("/s3/object/key", "red+flower/%C3%BC.jpg"),
        ("/s3/object/eTag", "5d41402abc4b2a76b9719d911017c592"),
    ] {
        assert_eq!(event.pointer(pointer).and_then(Value::as_str), Some(value), "{pointer}");
    }
    assert_eq!(event["s3"]["object"]["size"], 5);
    assert_eq!(event["s3"]["object"].get("versionId"), None);
    let message = &receiver.messages()[0];
    assert_eq!((message.method.as_str(), message.path.as_str()), ("POST", "/in?x=1"));
    assert_eq!(message.headers["content-type"], "application/json");
    assert_eq!(message.headers["host"], receiver.address.to_string());
}

#[tokio::test]
async fn an_object_from_a_form_of_nobody_says_so() {
    let receiver = Receiver::start().await;
    let server = telling(&receiver, "").await;
    let client = &server.client;
    let open = client.call("PUT", "/bucket?acl").header("x-amz-acl", "public-read-write");
    open.send().await.expect(200);
    let part = |name: &str, value: &str| {
        format!("--edge\r\nContent-Disposition: form-data; name=\"{name}\"\r\n\r\n{value}\r\n")
    };
    let form = format!("{}{}--edge--\r\n", part("key", "a"), part("file", "x"));
    let post = client.call("POST", "/bucket").anonymous().body(form);
    let post = post.header("content-type", "multipart/form-data; boundary=edge");
    post.send().await.expect(204);
    let events = events(&server, &receiver, 1).await;
    assert_eq!(names(&events), [("ObjectCreated:Post", "a")]);
    assert_eq!(events[0]["userIdentity"]["principalId"], "Anonymous");
}

#[tokio::test]
async fn versions_have_their_ids_and_markers_their_own_event() {
    let receiver = Receiver::start().await;
    let server = telling(&receiver, "").await;
    let client = &server.client;
    let on = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    client.put("/bucket?versioning", on).await.expect(200);
    let id = |answer: Answer| answer.header("x-amz-version-id").unwrap().to_owned();
    let made = id(client.put("/bucket/a", "x").await.expect(200));
    let marker = id(client.delete("/bucket/a").await.expect(204));
    client.delete(&format!("/bucket/a?versionId={made}")).await.expect(204);
    client.delete(&format!("/bucket/a?versionId={marker}")).await.expect(204);
    let events = events(&server, &receiver, 4).await;
    let seen: Vec<(&str, &str)> = events
        .iter()
        .map(|event| {
            let version = event["s3"]["object"]["versionId"].as_str().unwrap();
            (event["eventName"].as_str().unwrap(), version)
        })
        .collect();
    let expected = [
        ("ObjectCreated:Put", made.as_str()),
        ("ObjectRemoved:DeleteMarkerCreated", marker.as_str()),
        ("ObjectRemoved:Delete", made.as_str()),
        ("ObjectRemoved:Delete", marker.as_str()),
    ];
    assert_eq!(seen, expected);
}

#[tokio::test]
async fn filters_choose_by_prefix_suffix_and_event() {
    let receiver = Receiver::start().await;
    let server = Server::with_webhooks("bucket", &[webhook(&receiver, "")]).await;
    let client = &server.client;
    let jpg = queue("jpg", &["ObjectCreated:Put"], &[("prefix", "in/"), ("suffix", ".jpg")]);
    let gone = queue("gone", &["ObjectRemoved:*"], &[("prefix", "in/")]);
    client.put("/bucket?notification", document(&[jpg, gone])).await.expect(200);
    for key in ["in/a.jpg", "in/a.png", "out/a.jpg", "in/.jpg"] {
        client.put(&format!("/bucket/{key}"), "x").await.expect(200);
    }
    for key in ["out/a.jpg", "in/a.png"] {
        client.delete(&format!("/bucket/{key}")).await.expect(204);
    }
    let events = events(&server, &receiver, 3).await;
    let expected = [
        ("ObjectCreated:Put", "in/a.jpg"),
        ("ObjectCreated:Put", "in/.jpg"),
        ("ObjectRemoved:Delete", "in/a.png"),
    ];
    assert_eq!(names(&events), expected);
    let ids: Vec<&str> =
        events.iter().map(|e| e["s3"]["configurationId"].as_str().unwrap()).collect();
    assert_eq!(ids, ["jpg", "jpg", "gone"]);
}

#[tokio::test]
async fn tigris_form_and_bearer_token_are_sent_where_the_settings_say_so() {
    let receiver = Receiver::start().await;
    let server = telling(&receiver, " format=tigris bearer=s3cret").await;
    let client = &server.client;
    client.put("/bucket/a%20b", "hello").await.expect(200);
    client.call("PUT", "/bucket/a%20b?acl").header("x-amz-acl", "private").send().await.expect(200);
    let rename = client.call("PUT", "/bucket/c?renameObject");
    rename.header("x-amz-rename-source", "a%20b").send().await.expect(200);
    let events = events(&server, &receiver, 3).await;
    let put = &events[0];
    assert_eq!(put["eventSource"], "tigris");
    assert_eq!(put["eventName"], "OBJECT_CREATED_PUT");
    assert_eq!((&put["bucket"], &put["object"]["key"]), (&"bucket".into(), &"a b".into()));
    assert_eq!(put["object"]["size"], 5);
    let told = |event: &Value| (event["eventName"].clone(), event["object"]["key"].clone());
    assert_eq!(told(&events[1]), ("OBJECT_RENAME".into(), "c".into()));
    assert_eq!(told(&events[2]), ("OBJECT_DELETED".into(), "a b".into()));
    for message in receiver.messages() {
        assert_eq!(message.headers["authorization"], "Bearer s3cret");
    }
}

#[tokio::test]
async fn what_a_failing_receiver_did_not_take_is_sent_again_until_it_does() {
    let receiver = Receiver::start().await;
    let server = telling(&receiver, " basic=me:word").await;
    receiver.answer(503);
    for key in ["a", "b", "c"] {
        server.client.put(&format!("/bucket/{key}"), "x").await.expect(200);
    }
    let env = &server.node.env;
    let tried = || async { receiver.messages().len() >= 2 };
    eventually(env, "it was tried twice", tried).await;
    assert!(receiver.events().is_empty());
    receiver.answer(204);
    let events = events(&server, &receiver, 3).await;
    let keys: Vec<&str> = names(&events).into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys, ["a", "b", "c"]);
    assert_eq!(receiver.messages()[0].headers["authorization"], "Basic bWU6d29yZA==");
}

#[tokio::test]
async fn events_survive_a_restart_while_nobody_listens() {
    let receiver = Receiver::start().await;
    let server = telling(&receiver, "").await;
    let address = receiver.stop().await;
    for key in ["a", "b"] {
        server.client.put(&format!("/bucket/{key}"), "x").await.expect(200);
    }
    let server = server.restart().await;
    server.client.put("/bucket/c", "x").await.expect(200);
    let receiver = Receiver::at(address).await;
    let events = events(&server, &receiver, 3).await;
    let keys: Vec<&str> = names(&events).into_iter().map(|(_, key)| key).collect();
    assert_eq!(keys, ["a", "b", "c"]);
    eventually(&server.node.env, "the queue is empty", || async {
        let (all, lanes) = server.node.cluster.lanes().unwrap();
        all.events == 0 && all.bytes == 0 && lanes.is_empty()
    })
    .await;
}

async fn patch(server: &Server, value: Value) -> Answer {
    let document = serde_json::json!({ "object_notifications": value });
    server.client.call("PATCH", "/bucket").body(document.to_string()).send().await
}

async fn shown_as_json(server: &Server) -> Value {
    let answer = server.client.get("/bucket?metadata").await.expect(200);
    let mut document: Value = serde_json::from_slice(&answer.body).unwrap();
    document["object_notifications"].take()
}

#[tokio::test]
async fn a_webhook_is_set_by_its_url_in_the_bucket_s_json() {
    let receiver = Receiver::start().await;
    let hooks = [webhook(&receiver, " format=tigris bearer=t")];
    let server = Server::with_webhooks("bucket", &hooks).await;
    let client = &server.client;
    assert_eq!(shown_as_json(&server).await, Value::Null);
    let removed = document(&[queue("mine", &["ObjectTagging:*"], &[])]);
    client.put("/bucket?notification", removed).await.expect(200);
    let url = format!("http://{}/in?x=1", receiver.address);
    let json = |enabled| serde_json::json!({"enabled": enabled, "web_hook": url, "filter": ""});
    patch(&server, json(true)).await.expect(200);
    assert_eq!(shown_as_json(&server).await, json(true));
    let shown = client.get("/bucket?notification").await.expect(200);
    assert_eq!(shown.all("Id"), ["mine", "object_notifications"]);
    client.put("/bucket/a", "x").await.expect(200);
    patch(&server, json(false)).await.expect(200);
    assert_eq!(shown_as_json(&server).await, json(false));
    assert_eq!(client.get("/bucket?notification").await.expect(200).one("Id"), "mine");
    client.put("/bucket/b", "x").await.expect(200);
    patch(&server, json(true)).await.expect(200);
    client.delete("/bucket/a").await.expect(204);
    let events = events(&server, &receiver, 2).await;
    let told: Vec<&str> = events.iter().map(|e| e["eventName"].as_str().unwrap()).collect();
    assert_eq!(told, ["OBJECT_CREATED_PUT", "OBJECT_DELETED"]);
    patch(&server, serde_json::json!({})).await.expect(200);
    assert_eq!(shown_as_json(&server).await, Value::Null);
    assert_eq!(client.get("/bucket?notification").await.expect(200).one("Id"), "mine");
}

#[tokio::test]
async fn json_that_cannot_be_kept_is_refused() {
    let receiver = Receiver::start().await;
    let url = format!("http://{}/in?x=1", receiver.address);
    let cases = [
        (" format=tigris", "http://127.0.0.1:1/", "", Value::Null, 400, "InvalidArgument"),
        (" format=s3", &url, "", Value::Null, 400, "InvalidArgument"),
        (" format=tigris", &url, "WHERE `key` = \"a\"", Value::Null, 501, "NotImplemented"),
        (" format=tigris", &url, "", serde_json::json!({"token": "t"}), 400, "InvalidArgument"),
        (" format=tigris", &url, " ", Value::Null, 200, ""),
    ];
    for (rest, url, filter, auth, status, code) in cases {
        let server = Server::with_webhooks("bucket", &[webhook(&receiver, rest)]).await;
        let mut json = serde_json::json!({"enabled": true, "web_hook": url, "filter": filter});
        if !auth.is_null() {
            json["auth"] = auth;
        }
        assert_eq!(patch(&server, json.clone()).await.code(), (status, code), "{json}");
    }
    let server = Server::with_webhooks("bucket", &[webhook(&receiver, " format=tigris")]).await;
    let bad = serde_json::json!({"enabled": true});
    assert_eq!(patch(&server, bad).await.code(), (400, "InvalidRequest"));
    let all = document(&[queue("all", &EVERYTHING, &[])]);
    server.client.put("/bucket?notification", all).await.expect(200);
    let twice = serde_json::json!({"enabled": true, "web_hook": url});
    assert_eq!(patch(&server, twice).await.code(), (400, "InvalidArgument"));
}

#[tokio::test]
async fn what_waits_and_what_went_is_measured() {
    let receiver = Receiver::start().await;
    let server = telling(&receiver, "").await;
    let metrics = godwit::obs::Metrics::new();
    metrics.add(server.node.cluster.notify_metrics());
    let has = |line: &str| metrics.text().lines().any(|l| l == line);
    receiver.answer(500);
    server.client.put("/bucket/a", "x").await.expect(200);
    let env = &server.node.env;
    eventually(env, "it is seen to wait", || async { has("godwit_notify_queued 1") }).await;
    eventually(env, "it failed", || async { !has("godwit_notify_failures_total 0") }).await;
    assert!(has("godwit_notify_events_total 1") && has("godwit_notify_delivered_total 0"));
    receiver.answer(200);
    let done = || async { has("godwit_notify_queued 0") && has("godwit_notify_queued_bytes 0") };
    eventually(env, "it is seen to be done", done).await;
    assert!(has("godwit_notify_delivered_total 1"), "{}", metrics.text());
    assert!(has("godwit_notify_oldest_seconds 0"));
}

#[tokio::test]
async fn a_webhook_of_one_account_is_not_named_by_others() {
    let receiver = Receiver::start().await;
    let server = Server::with_webhooks("bucket", &[webhook(&receiver, " account=somebody")]).await;
    let all = document(&[queue("all", &EVERYTHING, &[])]);
    let answer = refused(&server, all.clone()).await;
    assert_eq!(answer.code(), (400, "InvalidArgument"));
    let shown = server.client.get("/bucket?acl").await.expect(200);
    let owner = shown.all("ID")[0].to_owned();
    let hooks = [webhook(&receiver, &format!(" account=somebody account={owner}"))];
    let server = server.restart_with_webhooks(&hooks).await;
    server.client.put("/bucket?notification", all).await.expect(200);
    server.client.put("/bucket/a", "x").await.expect(200);
    events(&server, &receiver, 1).await;
    // Taken away again, it gets nothing more.
    let hooks = [webhook(&receiver, " account=somebody")];
    let server = server.restart_with_webhooks(&hooks).await;
    server.client.put("/bucket/b", "x").await.expect(200);
    let metrics = server.node.cluster.notify_metrics();
    eventually(&server.node.env, "it was tried", || async { metrics.failures.get() > 0 }).await;
    assert_eq!(receiver.messages().len(), 1);
}
