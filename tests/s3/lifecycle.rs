//! Lifecycle rules as clients set them, and what answers about objects say of them.

use std::time::Duration;

use godwit::engine::Expirer;
use godwit::obs::Metrics;

use crate::common::client::Answer;
use crate::common::node::eventually;
use crate::common::receiver::Receiver;
use crate::common::server::Server;

const SMALLEST: &str = "x-amz-transition-default-minimum-object-size";

fn document(rules: &[String]) -> String {
    let rules: String = rules.iter().map(|rule| format!("<Rule>{rule}</Rule>")).collect();
    format!(
        "<LifecycleConfiguration xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">{rules}\
         </LifecycleConfiguration>"
    )
}

const DAYS: &str = "<Expiration><Days>1</Days></Expiration>";

/// A rule of the present form.
fn rule(id: &str, filter: &str, actions: &str) -> String {
    format!("<ID>{id}</ID><Filter>{filter}</Filter><Status>Enabled</Status>{actions}")
}

#[tokio::test]
async fn rules_are_put_shown_as_they_were_given_and_deleted() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let missing = client.get("/bucket?lifecycle").await;
    assert_eq!(missing.code(), (404, "NoSuchLifecycleConfiguration"));
    client.delete("/bucket?lifecycle").await.expect(204);
    let rules = [
        rule("all", "", DAYS),
        rule("empty prefix", "<Prefix></Prefix>", DAYS),
        rule("tag", "<Tag><Key>k</Key><Value></Value></Tag>", DAYS),
        rule("size", "<ObjectSizeGreaterThan>0</ObjectSizeGreaterThan>", DAYS),
        rule(
            "and",
            "<And><Prefix>a/</Prefix><Tag><Key>k</Key><Value>v</Value></Tag><Tag><Key>l</Key>\
             <Value>w</Value></Tag><ObjectSizeGreaterThan>1</ObjectSizeGreaterThan>\
             <ObjectSizeLessThan>9</ObjectSizeLessThan></And>",
            "<Expiration><Date>2031-01-01T00:00:00.000Z</Date></Expiration>\
             <NoncurrentVersionExpiration><NoncurrentDays>2</NoncurrentDays>\
             <NewerNoncurrentVersions>3</NewerNoncurrentVersions></NoncurrentVersionExpiration>",
        ),
        rule(
            "rest",
            "<Prefix>b</Prefix>",
            "<Expiration><ExpiredObjectDeleteMarker>true</ExpiredObjectDeleteMarker></Expiration>\
             <AbortIncompleteMultipartUpload><DaysAfterInitiation>7</DaysAfterInitiation>\
             </AbortIncompleteMultipartUpload>",
        ),
    ];
    let put = client.put("/bucket?lifecycle", document(&rules)).await.expect(200);
    assert_eq!(put.header(SMALLEST), Some("all_storage_classes_128K"));
    let server = server.restart().await;
    let shown = server.client.get("/bucket?lifecycle").await.expect(200);
    assert_eq!(shown.all("Rule"), rules);
    assert_eq!(shown.header(SMALLEST), Some("all_storage_classes_128K"));
    let varies = server.client.call("PUT", "/bucket?lifecycle").body(document(&rules[..1]));
    varies.header(SMALLEST, "varies_by_storage_class").send().await.expect(200);
    let shown = server.client.get("/bucket?lifecycle").await.expect(200);
    assert_eq!(shown.header(SMALLEST), Some("varies_by_storage_class"));
    assert_eq!(shown.all("Rule"), rules[..1]);
    server.client.delete("/bucket?lifecycle").await.expect(204);
    let missing = server.client.get("/bucket?lifecycle").await;
    assert_eq!(missing.code(), (404, "NoSuchLifecycleConfiguration"));
}

#[tokio::test]
async fn the_older_form_is_kept_and_rules_without_an_id_get_one() {
    let server = Server::with_bucket("bucket").await;
    let old = |prefix: &str| format!("<Prefix>{prefix}</Prefix><Status>Disabled</Status>{DAYS}");
    let rules = document(&[old("a"), old("b")]);
    server.client.put("/bucket?lifecycle", rules).await.expect(200);
    let shown = server.client.get("/bucket?lifecycle").await.expect(200);
    assert_eq!(shown.all("Prefix"), ["a", "b"]);
    assert_eq!(shown.all("Status"), ["Disabled", "Disabled"]);
    assert!(!shown.text().contains("Filter"));
    let ids = shown.all("ID");
    assert!(ids.len() == 2 && ids[0] != ids[1] && !ids[0].is_empty(), "{ids:?}");
}

#[tokio::test]
async fn rules_that_are_none_are_refused_as_s3_refuses_them() {
    let server = Server::with_bucket("bucket").await;
    let expires = |what: &str| rule("a", "", &format!("<Expiration>{what}</Expiration>"));
    let moves = |what: &str| rule("a", "", &format!("<Transition>{what}</Transition>"));
    let class = "<StorageClass>GLACIER</StorageClass>";
    let bad = [
        (String::new(), "MalformedXML"),
        (rule("a", "", ""), "InvalidRequest"),
        (rule(&"a".repeat(256), "", DAYS), "InvalidArgument"),
        (format!("<Status>Enabled</Status>{DAYS}"), "MalformedXML"),
        (format!("<Filter/><Status>enabled</Status>{DAYS}"), "MalformedXML"),
        (format!("<Filter/>{DAYS}"), "MalformedXML"),
        (format!("<Filter/><Prefix/><Status>Enabled</Status>{DAYS}"), "MalformedXML"),
        (rule("a", "<Prefix>a</Prefix><And><Prefix>a</Prefix></And>", DAYS), "MalformedXML"),
        (expires(""), "MalformedXML"),
        (expires("<Days>0</Days>"), "InvalidArgument"),
        (expires("<Days>-1</Days>"), "InvalidArgument"),
        (expires("<Days>1.5</Days>"), "MalformedXML"),
        (expires("<Days>1</Days><Date>2031-01-01</Date>"), "MalformedXML"),
        (expires("<Date>20310101</Date>"), "MalformedXML"),
        (expires("<Date>2031-01-01T00:00:01Z</Date>"), "InvalidArgument"),
        (expires("<Date>2031-01-01T00:00:00+02:00</Date>"), "InvalidArgument"),
        (rule("a", "", "<NoncurrentVersionExpiration/>"), "MalformedXML"),
        (
            rule(
                "a",
                "",
                "<AbortIncompleteMultipartUpload><DaysAfterInitiation>0</DaysAfterInitiation>\
                 </AbortIncompleteMultipartUpload>",
            ),
            "InvalidArgument",
        ),
        (moves(&format!("<Days>1</Days>{class}")), "InvalidStorageClass"),
        (moves(&format!("<Date>2031-01-01</Date>{class}")), "InvalidStorageClass"),
        (moves(&format!("<Date>20310101</Date>{class}")), "MalformedXML"),
        (moves(&format!("<Days>-1</Days>{class}")), "InvalidArgument"),
        (moves("<Days>1</Days><StorageClass>WARM</StorageClass>"), "MalformedXML"),
    ];
    for (rule, code) in bad {
        let answer =
            server.client.put("/bucket?lifecycle", document(std::slice::from_ref(&rule))).await;
        assert_eq!(answer.code(), (400, code), "{rule}");
    }
    let empty = server.client.put("/bucket?lifecycle", document(&[])).await;
    assert_eq!(empty.code(), (400, "MalformedXML"));
    let twice = document(&[rule("a", "", DAYS), rule("a", "<Prefix>b</Prefix>", DAYS)]);
    let twice = server.client.put("/bucket?lifecycle", twice).await;
    assert_eq!(twice.code(), (400, "InvalidArgument"));
    let missing = server.client.get("/bucket?lifecycle").await;
    assert_eq!(missing.code(), (404, "NoSuchLifecycleConfiguration"));
}

#[tokio::test]
async fn a_plain_date_is_a_midnight_and_rules_are_the_owners() {
    let server = Server::with_bucket("bucket").await;
    let date = "<Expiration><Date>2017-09-27</Date></Expiration>";
    let rules = document(&[rule("a", "", date)]);
    server.client.put("/bucket?lifecycle", rules.clone()).await.expect(200);
    let shown = server.client.get("/bucket?lifecycle").await.expect(200);
    assert_eq!(shown.one("Date"), "2017-09-27T00:00:00.000Z");
    let stranger = server.stranger().await;
    for answer in [
        stranger.get("/bucket?lifecycle").await,
        stranger.put("/bucket?lifecycle", rules).await,
        stranger.delete("/bucket?lifecycle").await,
    ] {
        assert_eq!(answer.code(), (403, "AccessDenied"));
    }
}

const EXPIRATION: &str = "x-amz-expiration";

/// The days between an answer and the date that it says, rounded down.
fn days_left(server: &Server, answer: &Answer, rule: &str) -> u64 {
    let text = answer.header(EXPIRATION).unwrap_or_else(|| panic!("{:?}", answer.headers));
    let (date, id) = text
        .strip_prefix("expiry-date=\"")
        .and_then(|rest| rest.strip_suffix("\""))
        .and_then(|rest| rest.split_once("\", rule-id=\""))
        .unwrap();
    assert_eq!(id, rule);
    days_until(server, date)
}

fn days_until(server: &Server, date: &str) -> u64 {
    let at = httpdate::parse_http_date(date).unwrap();
    let since = at.duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    assert_eq!(since % 86_400, 0, "{date} is a midnight");
    (since - server.node.env.now_ms() / 1000) / 86_400
}

#[tokio::test]
async fn writes_and_reads_say_when_an_object_expires_and_by_which_rule() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    assert_eq!(client.put("/bucket/logs/a", "x").await.expect(200).header(EXPIRATION), None);
    let days = |n: u32| format!("<Expiration><Days>{n}</Days></Expiration>");
    let tag = "<Tag><Key>k</Key><Value>v</Value></Tag>";
    let rules =
        [rule("logs of/today", "<Prefix>logs/</Prefix>", &days(3)), rule("t", tag, &days(1))];
    client.put("/bucket?lifecycle", document(&rules)).await.expect(200);
    let encoded = "logs%20of/today";
    for answer in [
        client.put("/bucket/logs/a", "x").await.expect(200),
        client.head("/bucket/logs/a").await.expect(200),
        client.get("/bucket/logs/a").await.expect(200),
    ] {
        assert_eq!(days_left(&server, &answer, encoded), 3);
    }
    let tagged = client.call("PUT", "/bucket/logs/b").header("x-amz-tagging", "k=v").body("x");
    assert_eq!(days_left(&server, &tagged.send().await.expect(200), "t"), 1);
    let copy = |source: &str| client.call("PUT", "/bucket/c").header("x-amz-copy-source", source);
    let copied = copy("/bucket/logs/b").send().await.expect(200);
    assert_eq!(days_left(&server, &copied, "t"), 1, "a copy has the tags of its source");
    let copied = copy("/bucket/logs/a").send().await.expect(200);
    assert_eq!(copied.header(EXPIRATION), None);
    let id = client.post("/bucket/logs/m?uploads", "").await.expect(200).one("UploadId").to_owned();
    let part = client.put(&format!("/bucket/logs/m?uploadId={id}&partNumber=1"), "x").await;
    let etag = part.expect(200).header("etag").unwrap().to_owned();
    let parts = format!(
        "<CompleteMultipartUpload><Part><PartNumber>1</PartNumber><ETag>{etag}</ETag></Part>\
         </CompleteMultipartUpload>"
    );
    let done = client.post(&format!("/bucket/logs/m?uploadId={id}"), parts).await.expect(200);
    assert_eq!(days_left(&server, &done, encoded), 3);
    client.delete("/bucket?lifecycle").await.expect(204);
    assert_eq!(client.head("/bucket/logs/a").await.expect(200).header(EXPIRATION), None);
}

#[tokio::test]
async fn uploads_say_when_they_are_aborted_and_by_which_rule() {
    let server = Server::with_bucket("bucket").await;
    let client = &server.client;
    let abort = "<AbortIncompleteMultipartUpload><DaysAfterInitiation>2</DaysAfterInitiation>\
                 </AbortIncompleteMultipartUpload>";
    let rules = document(&[rule("stale", "<Prefix>a</Prefix>", abort)]);
    client.put("/bucket?lifecycle", rules).await.expect(200);
    let begun = client.post("/bucket/a?uploads", "").await.expect(200);
    let listed = client.get(&format!("/bucket/a?uploadId={}", begun.one("UploadId"))).await;
    for answer in [begun, listed.expect(200)] {
        assert_eq!(answer.header("x-amz-abort-rule-id"), Some("stale"));
        assert_eq!(days_until(&server, answer.header("x-amz-abort-date").unwrap()), 2);
    }
    let other = client.post("/bucket/b?uploads", "").await.expect(200);
    assert_eq!(other.header("x-amz-abort-date"), None);
}

#[tokio::test]
async fn what_rules_did_is_told_to_those_who_watch_the_bucket() {
    let receiver = Receiver::start().await;
    let webhook = format!("hook=http://{}/", receiver.address);
    let server = Server::with_webhooks("bucket", &[webhook]).await;
    let client = &server.client;
    let versioned = "<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>";
    let watch = "<NotificationConfiguration><QueueConfiguration><Id>i</Id>\
                 <Queue>arn:godwit:sqs::hook:webhook</Queue><Event>s3:LifecycleExpiration:*</Event>\
                 </QueueConfiguration></NotificationConfiguration>";
    client.put("/bucket?notification", watch).await.expect(200);
    let noncurrent = "<NoncurrentVersionExpiration><NoncurrentDays>1</NoncurrentDays>\
                      </NoncurrentVersionExpiration>";
    let rules =
        [rule("a", "<Prefix>a</Prefix>", DAYS), rule("b", "<Prefix>b</Prefix>", noncurrent)];
    client.put("/bucket?lifecycle", document(&rules)).await.expect(200);
    client.put("/bucket?versioning", versioned).await.expect(200);
    for key in ["a", "b", "b", "b"] {
        client.put(&format!("/bucket/{key}"), "x").await.expect(200);
    }
    server.node.pass_time(Duration::from_secs(3 * 86_400)).await;
    let expirer = Expirer::new(&server.node.engine);
    let passed = expirer.pass().await.unwrap();
    assert_eq!((passed.expired, passed.erased), (1, 2));
    let told = "three events came";
    eventually(&server.node.env, told, || async { receiver.events().len() == 3 }).await;
    let mut names: Vec<String> = Vec::new();
    for event in receiver.events() {
        let key = event["s3"]["object"]["key"].as_str().unwrap().to_owned();
        names.push(format!("{key} {}", event["eventName"].as_str().unwrap()));
    }
    names.sort_unstable();
    let deleted = "b LifecycleExpiration:Delete";
    assert_eq!(names, ["a LifecycleExpiration:DeleteMarkerCreated", deleted, deleted]);
    let metrics = Metrics::new();
    metrics.add(expirer.metrics());
    for line in [
        "godwit_lifecycle_done_total{what=\"expired\"} 1",
        "godwit_lifecycle_done_total{what=\"erased\"} 2",
        "godwit_lifecycle_errors_total 0",
    ] {
        assert!(metrics.text().contains(line), "{line} in {}", metrics.text());
    }
    let finished =
        format!("godwit_lifecycle_finished_timestamp_seconds {}", &server.node.env.now_ms() / 1000);
    assert!(metrics.text().contains(&finished[..finished.len() - 2]), "{}", metrics.text());
}
