//! Access logs: where they go, who lets them in, and what is delivered.

use std::time::Duration;

use serde_json::json;

use godwit::engine::ListObjects;
use godwit::logic::listing::Query;

use crate::common::client::Client;
use crate::common::server::Server;

const SERVICE: &str = "logging.s3.amazonaws.com";

fn enabled(target: &str, more: &str) -> String {
    format!(
        "<BucketLoggingStatus xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LoggingEnabled>\
         <TargetBucket>{target}</TargetBucket><TargetPrefix>log/</TargetPrefix>{more}\
         </LoggingEnabled></BucketLoggingStatus>"
    )
}

const OFF: &str = "<BucketLoggingStatus/>";

fn policy(target: &str, source: &str) -> String {
    json!({"Statement": [{
        "Effect": "Allow",
        "Principal": {"Service": SERVICE},
        "Action": "s3:PutObject",
        "Resource": format!("arn:aws:s3:::{target}/log/*"),
        "Condition": {"ArnLike": {"aws:SourceArn": format!("arn:aws:s3:::{source}")}},
    }]})
    .to_string()
}

/// `bucket` and `logs`, which takes the log of `bucket`.
async fn with_target() -> Server {
    let server = Server::with_bucket("bucket").await;
    server.client.put("/logs", "").await.expect(200);
    server.client.put("/logs?policy", policy("logs", "bucket")).await.expect(204);
    server
}

async fn logged() -> Server {
    let server = with_target().await;
    server.client.put("/bucket?logging", enabled("logs", "")).await.expect(200);
    server
}

async fn keys(client: &Client) -> Vec<String> {
    let list = client.get("/logs?list-type=2").await.expect(200);
    list.all("Key").into_iter().map(str::to_owned).collect()
}

/// Objects of the target, counted without a request.
async fn objects(server: &Server) -> usize {
    let bucket = "logs".parse().unwrap();
    let query = Query { max: 1000, ..Query::default() };
    let list = ListObjects { bucket, query };
    server.node.engine.list_objects(list).await.unwrap().entries.len()
}

/// Delivers what waits, and reads it all.
async fn delivered(server: &Server) -> String {
    server.service.deliver_logs(true).await;
    let mut text = String::new();
    for key in keys(&server.client).await {
        text += server.client.get(&format!("/logs/{key}")).await.expect(200).text();
    }
    text
}

#[tokio::test]
async fn what_was_set_is_shown_and_taken_away() {
    let server = with_target().await;
    let client = &server.client;
    let owner = client.get("/bucket?acl").await.expect(200).all("ID")[0].to_owned();
    assert!(!client.get("/bucket?logging").await.expect(200).text().contains("LoggingEnabled"));
    client.put("/bucket?logging", enabled("logs", "")).await.expect(200);
    let shown = client.get("/bucket?logging").await.expect(200);
    assert_eq!((shown.one("TargetBucket"), shown.one("TargetPrefix")), ("logs", "log/"));
    assert_eq!(shown.one("SimplePrefix"), "");
    for (asked, shown) in [
        ("<PartitionDateSource>EventTime</PartitionDateSource>", "EventTime"),
        ("<PartitionDateSource>DeliveryTime</PartitionDateSource>", "DeliveryTime"),
        ("", "DeliveryTime"),
    ] {
        let grant = format!(
            "<TargetGrants><Grant><Grantee><ID>{owner}</ID></Grantee><Permission>READ\
             </Permission></Grant></TargetGrants>"
        );
        let format = format!(
            "{grant}<TargetObjectKeyFormat><PartitionedPrefix>{asked}</PartitionedPrefix>\
             </TargetObjectKeyFormat>"
        );
        client.put("/bucket?logging", enabled("logs", &format)).await.expect(200);
        let answer = client.get("/bucket?logging").await.expect(200);
        assert_eq!(answer.one("PartitionDateSource"), shown);
        assert_eq!((answer.one("ID"), answer.one("Permission")), (owner.as_str(), "READ"));
    }
    client.put("/bucket?logging", OFF).await.expect(200);
    assert!(!client.get("/bucket?logging").await.expect(200).text().contains("LoggingEnabled"));
}

#[tokio::test]
async fn a_target_that_takes_no_logs_is_refused() {
    let server = with_target().await;
    let client = &server.client;
    client.put("/shut", "").await.expect(200);
    let stranger = server.stranger().await;
    stranger.put("/theirs", "").await.expect(200);
    let deliver = "uri=\"http://acs.amazonaws.com/groups/s3/LogDelivery\"";
    let grant = stranger.call("PUT", "/theirs?acl").header("x-amz-grant-write", deliver);
    grant.send().await.expect(200);
    let invalid = (400, "InvalidTargetBucketForLogging");
    for (target, code) in
        [("none", invalid), ("shut", (403, "AccessDenied")), ("theirs", invalid), ("No", invalid)]
    {
        let answer = client.put("/bucket?logging", enabled(target, "")).await;
        assert_eq!(answer.code(), code, "{target}");
    }
    let format = "<TargetObjectKeyFormat><PartitionedPrefix><PartitionDateSource>Never\
                  </PartitionDateSource></PartitionedPrefix></TargetObjectKeyFormat>";
    let both = "<TargetObjectKeyFormat><SimplePrefix/><PartitionedPrefix/></TargetObjectKeyFormat>";
    for more in [format, both] {
        let answer = client.put("/bucket?logging", enabled("logs", more)).await;
        assert_eq!(answer.code(), (400, "MalformedXML"), "{more}");
    }
    let pays =
        "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>";
    client.put("/logs?requestPayment", pays).await.expect(200);
    assert_eq!(client.put("/bucket?logging", enabled("logs", "")).await.code(), invalid);
    client.put("/logs?requestPayment", pays.replace("Requester", "BucketOwner")).await.expect(200);
    client.put("/logs?policy", policy("logs", "another")).await.expect(204);
    let answer = client.put("/bucket?logging", enabled("logs", "")).await;
    assert_eq!(answer.code(), (403, "AccessDenied"));
    client.delete("/logs?policy").await.expect(204);
    let grant = client.call("PUT", "/logs?acl").header("x-amz-acl", "log-delivery-write");
    grant.send().await.expect(200);
    client.put("/bucket?logging", enabled("logs", "")).await.expect(200);
}

#[tokio::test]
async fn only_the_owner_sets_where_the_log_goes_whatever_the_policy_says() {
    let server = with_target().await;
    let all = json!({"Statement": [{
        "Effect": "Allow", "Principal": "*", "Action": "s3:*",
        "Resource": "arn:aws:s3:::bucket",
    }]});
    server.client.put("/bucket?policy", all.to_string()).await.expect(204);
    let stranger = server.stranger().await;
    for document in [enabled("logs", ""), OFF.to_owned()] {
        let answer = stranger.put("/bucket?logging", document).await;
        assert_eq!(answer.code(), (403, "AccessDenied"));
    }
    stranger.get("/bucket?logging").await.expect(200);
}

#[tokio::test]
async fn every_request_is_a_line_of_an_object_in_the_target() {
    let server = logged().await;
    let client = &server.client;
    let put = client.call("PUT", "/bucket/a%20b").body("hello");
    let put = put.header("user-agent", "test \"1\"").header("referer", "http://here/");
    let put = put.send().await.expect(200);
    client.get("/bucket/a%20b").await.expect(200);
    client.call("GET", "/bucket/a%20b").header("range", "bytes=1-2").send().await.expect(206);
    client.get("/bucket/none").await.expect(404);
    client.call("GET", "/bucket/x").anonymous().send().await.expect(403);
    client.call("GET", "/bucket").presigned(Duration::from_secs(60)).send().await.expect(200);
    let text = delivered(&server).await;
    let lines: Vec<&str> = text.lines().collect();
    let [stored, whole, range, missing, anonymous, list] = lines[..] else { panic!("{text}") };
    let owner = client.get("/bucket?acl").await.expect(200).all("ID")[0].to_owned();
    let start = format!("{owner} bucket [");
    assert!(lines.iter().all(|line| line.starts_with(&start)));
    let id = put.header("x-amz-request-id").unwrap();
    let host = server.address;
    let rest = format!(
        " 127.0.0.1 {owner} {id} REST.PUT.OBJECT a%20b \"PUT /bucket/a%20b HTTP/1.1\" 200 - - 5 "
    );
    assert!(stored.contains(&rest), "{stored}\n{rest}");
    let end =
        format!(" - \"http://here/\" \"test %221%22\" - {id} SigV4 - AuthHeader {host} - - -");
    assert!(stored.ends_with(&end), "{stored}\n{end}");
    assert!(whole.contains("REST.GET.OBJECT a%20b \"GET /bucket/a%20b HTTP/1.1\" 200 - 5 5 "));
    assert!(range.contains(" 206 - 2 5 "), "{range}");
    assert!(missing.contains(" none \"GET /bucket/none HTTP/1.1\" 404 NoSuchKey "), "{missing}");
    assert!(anonymous.contains(" 127.0.0.1 - "), "{anonymous}");
    assert!(anonymous.contains(" 403 AccessDenied "), "{anonymous}");
    assert!(list.contains(" REST.GET.BUCKET - ") && list.contains(" QueryString "), "{list}");
    assert!(list.contains("&X-Amz-Signature=- HTTP/1.1"), "a log is no key: {list}");
    let keys = keys(client).await;
    assert_eq!(keys.len(), 1);
    assert!(keys[0].starts_with("log/20"), "{keys:?}");
}

#[tokio::test]
async fn a_bucket_that_is_its_own_target_does_not_log_its_deliveries() {
    let server = Server::with_bucket("logs").await;
    let client = &server.client;
    client.put("/logs?policy", policy("logs", "logs")).await.expect(204);
    client.put("/logs?logging", enabled("logs", "")).await.expect(200);
    client.put("/logs/x", "x").await.expect(200);
    server.service.deliver_logs(true).await;
    assert_eq!(objects(&server).await, 2);
    server.service.deliver_logs(true).await;
    assert_eq!(objects(&server).await, 2, "nothing waited");
}

#[tokio::test]
async fn what_the_target_no_longer_takes_is_dropped() {
    let server = logged().await;
    let client = &server.client;
    client.put("/bucket/x", "x").await.expect(200);
    client.delete("/logs?policy").await.expect(204);
    assert_eq!(delivered(&server).await, "");
    client.put("/logs?policy", policy("logs", "bucket")).await.expect(204);
    assert_eq!(delivered(&server).await, "", "dropped lines do not come back");
    client.put("/bucket/y", "y").await.expect(200);
    let text = delivered(&server).await;
    assert_eq!(text.lines().count(), 1, "{text}");
    client.put("/bucket?logging", OFF).await.expect(200);
    client.put("/bucket/z", "z").await.expect(200);
    assert_eq!(delivered(&server).await, text);
}

#[tokio::test]
async fn grants_of_the_setting_are_those_of_the_log_objects() {
    let server = with_target().await;
    let client = &server.client;
    let grants = "<TargetGrants><Grant><Grantee><URI>http://acs.amazonaws.com/groups/global/\
                  AllUsers</URI></Grantee><Permission>READ</Permission></Grant></TargetGrants>";
    client.put("/bucket?logging", enabled("logs", grants)).await.expect(200);
    client.put("/bucket/x", "x").await.expect(200);
    server.service.deliver_logs(true).await;
    let key = keys(client).await.pop().unwrap();
    let log = client.call("GET", &format!("/logs/{key}")).anonymous().send().await.expect(200);
    assert_eq!(log.header("content-type"), Some("text/plain"));
    assert!(log.text().contains("REST.PUT.OBJECT x "));
}

#[tokio::test]
async fn a_form_is_logged_with_the_object_that_it_made() {
    let server = logged().await;
    let open = server.client.call("PUT", "/bucket?acl").header("x-amz-acl", "public-read-write");
    open.send().await.expect(200);
    let part = |name: &str, value: &str| {
        format!("--b\r\nContent-Disposition: form-data; name={name}\r\n\r\n{value}\r\n")
    };
    let form = part("key", "a/b") + &part("file", "data") + "--b--";
    let form = server.client.call("POST", "/bucket").anonymous().body(form);
    form.header("content-type", "multipart/form-data; boundary=b").send().await.expect(204);
    let text = delivered(&server).await;
    let line = text.lines().find(|line| line.contains("POST")).unwrap();
    assert!(line.contains(" a/b \"POST /bucket HTTP/1.1\" 204 "), "{line}");
}
