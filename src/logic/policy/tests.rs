//! What policies are, what they say, and the same said by a reader that knows nothing of this one.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

fn read(statement: &Value) -> Result<Policy, Malformed> {
    Policy::parse(&json!({"Version": "2012-10-17", "Statement": statement}).to_string())
}

/// A statement that allows reads to anyone, with changes.
fn statement(changes: &Value) -> Value {
    let mut all = json!({
        "Effect": "Allow", "Principal": "*", "Action": "s3:GetObject",
        "Resource": "arn:aws:s3:::b/*",
    });
    for (name, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => all.as_object_mut().unwrap().remove(name),
            value => all.as_object_mut().unwrap().insert(name.clone(), value.clone()),
        };
    }
    all
}

/// Whether a condition holds for a request with these values.
fn holds(condition: &Value, values: &[(&str, &str)]) -> bool {
    let policy = read(&statement(&json!({"Condition": condition}))).unwrap();
    let values =
        values.iter().map(|(k, v)| ((*k).to_owned().into(), (*v).to_owned().into())).collect();
    let around = Circumstances {
        source_ip: Some("10.1.2.3".parse().unwrap()),
        now_ms: 1_700_000_000_000,
        values,
        ..Circumstances::default()
    };
    let tags = [("Colour".to_owned(), "red".to_owned())];
    let asked = Asked {
        account: None,
        user: Some("GWKEY"),
        action: "s3:GetObject",
        bucket: "b",
        key: Some("k"),
        around: &around,
        tags: &tags,
    };
    policy.judge(&asked) == Verdict::Allow
}

#[test]
fn patterns_have_runs_and_single_characters() {
    for (pattern, text) in [
        ("", ""),
        ("*", ""),
        ("*", "abc"),
        ("a*c", "abbc"),
        ("a?c", "abc"),
        ("*b*", "abc"),
        ("a**", "a"),
    ] {
        assert!(matches(pattern, text), "{pattern} {text}");
    }
    for (pattern, text) in [("", "a"), ("a", ""), ("a?", "a"), ("a*c", "abcd"), ("A", "a")] {
        assert!(!matches(pattern, text), "{pattern} {text}");
    }
}

#[test]
fn conditions_hold_as_their_operators_say() {
    let prefix = |value: &'static str| [("s3:prefix", value)];
    type Row<'a> = (Value, &'a [(&'a str, &'a str)], bool);
    let table: [Row<'_>; 33] = [
        (json!({"StringEquals": {"s3:prefix": ["a", "b"]}}), &prefix("b"), true),
        (json!({"StringEquals": {"s3:prefix": "a"}}), &prefix("b"), false),
        (json!({"StringEquals": {"s3:prefix": "a"}}), &[], false),
        (json!({"StringEqualsIfExists": {"s3:prefix": "a"}}), &[], true),
        (json!({"StringEqualsIfExists": {"s3:prefix": "a"}}), &prefix("b"), false),
        (json!({"StringNotEquals": {"s3:prefix": ["a", "b"]}}), &prefix("b"), false),
        (json!({"StringNotEquals": {"s3:prefix": ["a", "b"]}}), &prefix("c"), true),
        (json!({"StringNotEquals": {"s3:prefix": "a"}}), &[], true),
        (json!({"StringEqualsIgnoreCase": {"S3:Prefix": "ABC"}}), &prefix("abc"), true),
        (json!({"StringLike": {"s3:prefix": "home/*"}}), &prefix("home/x"), true),
        (json!({"StringNotLike": {"s3:prefix": "home/*"}}), &prefix("home/x"), false),
        (json!({"NumericLessThanEquals": {"s3:max-keys": "10"}}), &[("s3:max-keys", "10")], true),
        (json!({"NumericLessThan": {"s3:max-keys": 10}}), &[("s3:max-keys", "10")], false),
        (json!({"NumericGreaterThan": {"s3:max-keys": 9}}), &[("s3:max-keys", "x")], false),
        (json!({"NumericNotEquals": {"s3:max-keys": 9}}), &[("s3:max-keys", "8")], true),
        (json!({"DateLessThan": {"aws:CurrentTime": "2024-01-01T00:00:00Z"}}), &[], true),
        (json!({"DateGreaterThan": {"aws:CurrentTime": "2024-01-01"}}), &[], false),
        (json!({"NumericEquals": {"aws:EpochTime": "1700000000"}}), &[], true),
        (json!({"Bool": {"aws:SecureTransport": "false"}}), &[], true),
        (json!({"Bool": {"aws:SecureTransport": true}}), &[], false),
        (json!({"IpAddress": {"aws:SourceIp": "10.1.0.0/16"}}), &[], true),
        (json!({"IpAddress": {"aws:SourceIp": ["10.1.2.4", "2001:db8::/32"]}}), &[], false),
        (json!({"NotIpAddress": {"aws:SourceIp": "10.1.2.3/32"}}), &[], false),
        (json!({"IpAddress": {"aws:SourceIp": "0.0.0.0/0"}}), &[], true),
        (json!({"ArnLike": {"aws:SourceArn": "arn:aws:*"}}), &[], false),
        (json!({"Null": {"s3:prefix": "true"}}), &[], true),
        (json!({"Null": {"s3:prefix": "false"}}), &[], false),
        (json!({"StringEquals": {"s3:ExistingObjectTag/Colour": "red"}}), &[], true),
        (json!({"StringEquals": {"s3:ExistingObjectTag/colour": "red"}}), &[], false),
        (json!({"StringEquals": {"aws:username": "GWKEY"}}), &[], true),
        (
            json!({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}),
            &[("s3:requestobjecttagkeys", "a"), ("s3:requestobjecttagkeys", "c")],
            false,
        ),
        (json!({"ForAllValues:StringEquals": {"s3:RequestObjectTagKeys": "a"}}), &[], true),
        (
            json!({"ForAnyValue:StringEquals": {"s3:RequestObjectTagKeys": ["a", "b"]}}),
            &[("s3:requestobjecttagkeys", "a"), ("s3:requestobjecttagkeys", "c")],
            true,
        ),
    ];
    for (condition, values, expected) in table {
        assert_eq!(holds(&condition, values), expected, "{condition} {values:?}");
    }
}

#[test]
fn what_is_no_policy_is_refused() {
    for text in ["", "[]", "{", "{}", "{\"Statement\": []}", "{\"Statement\": [1]}"] {
        assert!(Policy::parse(text).is_err(), "{text}");
    }
    let version = json!({"Version": "2020-01-01", "Statement": statement(&json!({}))});
    assert!(Policy::parse(&version.to_string()).is_err());
    let changes = [
        json!({"Effect": null}),
        json!({"Effect": "allow"}),
        json!({"Principal": null}),
        json!({"Principal": "someone"}),
        json!({"Principal": {"AWS": "someone"}}),
        json!({"NotPrincipal": "*"}),
        json!({"Principal": null, "NotPrincipal": {"AWS": "0".repeat(64)}}),
        json!({"Action": "ec2:Run"}),
        json!({"Action": []}),
        json!({"Action": null}),
        json!({"Resource": "b/*"}),
        json!({"Resource": "arn:aws:s3:::b/${aws:username}/*"}),
        json!({"Conditions": {}}),
        json!({"Condition": {"StringIs": {"s3:prefix": "a"}}}),
        json!({"Condition": {"StringEquals": {"s3:weather": "a"}}}),
        json!({"Condition": {"NumericEquals": {"s3:max-keys": "a"}}}),
        json!({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/33"}}}),
        json!({"Condition": {"DateEquals": {"aws:CurrentTime": "soon"}}}),
        json!({"Condition": {"ForSomeValues:StringEquals": {"s3:prefix": "a"}}}),
    ];
    for change in changes {
        assert!(read(&statement(&change)).is_err(), "{change}");
    }
    assert!(read(&statement(&json!({}))).is_ok());
}

#[test]
fn a_policy_is_about_its_bucket_alone() {
    let about = |resource: &str| {
        read(&statement(&json!({"Resource": resource}))).unwrap().is_about("bucket")
    };
    for own in ["arn:aws:s3:::bucket", "arn:aws:s3:::bucket/*", "arn:aws:s3:::*/*", "*"] {
        assert!(about(own), "{own}");
    }
    for other in ["arn:aws:s3:::other/*", "arn:aws:s3:::bucket2", "arn:aws:s3:::buck"] {
        assert!(!about(other), "{other}");
    }
}

#[test]
fn public_is_what_anyone_may_do_from_anywhere() {
    let account = "0".repeat(64);
    let public = [
        json!({}),
        json!({"Principal": {"AWS": "*"}}),
        json!({"Condition": {"IpAddress": {"aws:SourceIp": "0.0.0.0/1"}}}),
        json!({"Condition": {"NotIpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}),
        json!({"Condition": {"StringLike": {"aws:SourceVpc": "vpc-*"}}}),
        json!({"Condition": {"StringEqualsIfExists": {"aws:SourceVpc": "vpc-1"}}}),
        json!({"Condition": {"StringEquals": {"aws:Referer": "http://x"}}}),
    ];
    for changes in public {
        assert!(read(&statement(&changes)).unwrap().is_public(), "{changes}");
    }
    let private = [
        json!({"Effect": "Deny"}),
        json!({"Principal": {"AWS": account}}),
        json!({"Principal": {"AWS": "arn:aws:iam::123456789012:root"}}),
        json!({"Condition": {"IpAddress": {"aws:SourceIp": "10.0.0.0/8"}}}),
        json!({"Condition": {"StringEquals": {"aws:SourceVpc": "vpc-1"}}}),
    ];
    for changes in private {
        assert!(!read(&statement(&changes)).unwrap().is_public(), "{changes}");
    }
}

/// One text or a list, as a policy may have it.
fn listed(texts: Vec<&'static str>) -> Value {
    match &texts[..] {
        [one] => json!(one),
        _ => json!(texts),
    }
}

fn some(from: &'static [&'static str]) -> impl Strategy<Value = Value> {
    prop::collection::vec(prop::sample::select(from), 1..3).prop_map(listed)
}

fn any_statement() -> impl Strategy<Value = Value> {
    let accounts = some(&["*", "aaaaaaaaaaaa", "arn:aws:iam::bbbbbbbbbbbb:root"]);
    let actions = some(&["s3:GetObject", "s3:Get*", "s3:PutObject", "*", "s3:?etObject"]);
    let resources = some(&[
        "arn:aws:s3:::b/*",
        "arn:aws:s3:::b/x*",
        "arn:aws:s3:::b/?y",
        "arn:aws:s3:::b",
        "*",
    ]);
    let operators = prop::sample::select(&["StringEquals", "StringNotEquals", "StringLike"][..]);
    let values = some(&["p", "q*", "*"]);
    let condition = prop::option::of((operators, values));
    let nots = (any::<bool>(), any::<bool>(), any::<bool>());
    let all = (any::<bool>(), accounts, actions, resources, condition, nots);
    all.prop_map(|(allow, accounts, actions, resources, condition, nots)| {
        let name = |not: bool, name: &str| if not { format!("Not{name}") } else { name.into() };
        let mut fields = serde_json::Map::new();
        fields.insert("Effect".into(), json!(if allow { "Allow" } else { "Deny" }));
        fields.insert(name(nots.0 && !allow, "Principal"), json!({"AWS": accounts}));
        fields.insert(name(nots.1, "Action"), actions);
        fields.insert(name(nots.2, "Resource"), resources);
        if let Some((operator, values)) = condition {
            let condition = json!({operator: {"s3:prefix": values}});
            fields.insert("Condition".into(), condition);
        }
        Value::Object(fields)
    })
}

/// A pattern by its definition.
fn like(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.split_first(), text.split_first()) {
        (None, None) => true,
        (None, Some(_)) => false,
        (Some((b'*', rest)), None) => like(rest, text),
        (Some((b'*', rest)), Some((_, tail))) => like(rest, text) || like(pattern, tail),
        (Some(_), None) => false,
        (Some((p, rest)), Some((t, tail))) => (*p == b'?' || p == t) && like(rest, tail),
    }
}

fn of(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all.iter().map(|v| v.as_str().unwrap().to_owned()).collect(),
        one => vec![one.as_str().unwrap().to_owned()],
    }
}

/// Whether an element or its opposite takes something in.
fn takes(statement: &Value, name: &str, is: impl Fn(&str) -> bool) -> bool {
    let texts = |value: &Value| of(value.get("AWS").unwrap_or(value));
    match (statement.get(name), statement.get(format!("Not{name}"))) {
        (Some(value), _) => texts(value).iter().any(|text| is(text)),
        (None, Some(value)) => !texts(value).iter().any(|text| is(text)),
        (None, None) => unreachable!("every statement has it"),
    }
}

/// The verdict straight from the JSON.
fn naive(
    statements: &[Value],
    account: &str,
    action: &str,
    resource: &str,
    prefix: Option<&str>,
) -> Verdict {
    let applies = |s: &Value| {
        let text = |pattern: &str, text: &str| like(pattern.as_bytes(), text.as_bytes());
        let who = format!("arn:aws:iam::{account}:root");
        takes(s, "Principal", |p| p == "*" || p == account || p == who)
            && takes(s, "Action", |p| text(p, action))
            && takes(s, "Resource", |p| text(p, resource))
            && s.get("Condition").is_none_or(|condition| {
                let (operator, keys) = condition.as_object().unwrap().iter().next().unwrap();
                let values = of(&keys["s3:prefix"]);
                match (operator.as_str(), prefix) {
                    ("StringNotEquals", None) => true,
                    ("StringNotEquals", Some(prefix)) => values.iter().all(|v| v != prefix),
                    (_, None) => false,
                    ("StringLike", Some(prefix)) => values.iter().any(|v| text(v, prefix)),
                    (_, Some(prefix)) => values.iter().any(|v| v == prefix),
                }
            })
    };
    let (mut allowed, mut denied) = (false, false);
    for statement in statements.iter().filter(|s| applies(s)) {
        allowed |= statement["Effect"] == "Allow";
        denied |= statement["Effect"] == "Deny";
    }
    match (allowed, denied) {
        (_, true) => Verdict::Deny,
        (true, false) => Verdict::Allow,
        (false, false) => Verdict::Silent,
    }
}

proptest! {
    #[test]
    fn a_verdict_is_the_one_of_the_definition(
        statements in prop::collection::vec(any_statement(), 1..5),
        account in prop::sample::select(&["aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc"][..]),
        action in prop::sample::select(&["s3:GetObject", "s3:PutObject", "s3:GetObjectAcl"][..]),
        key in prop::sample::select(&[None, Some("x"), Some("xy"), Some("z/y")][..]),
        prefix in prop::sample::select(&[None, Some("p"), Some("qq")][..]),
    ) {
        let policy = read(&json!(statements)).unwrap();
        let values = prefix.map(|p| ("s3:prefix".into(), p.into())).into_iter().collect();
        let around = Circumstances { values, ..Circumstances::default() };
        let id = AccountId(account.into());
        let asked = Asked {
            account: Some(&id), user: None, action, bucket: "b", key, around: &around, tags: &[],
        };
        let resource = format!("arn:aws:s3:::b{}", key.map(|k| format!("/{k}")).unwrap_or_default());
        let expected = naive(&statements, account, action, &resource, prefix);
        prop_assert_eq!(policy.judge(&asked), expected);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[{}\\[\\]\":,a-zA-Z*/$ 0-9.-]{0,60}") {
        let _ = Policy::parse(&text);
    }
}

#[test]
fn a_service_is_allowed_by_its_name_and_denied_with_everyone() {
    const LOGS: &str = "logging.s3.amazonaws.com";
    let statement = |effect: &str, principal: Value| {
        json!({
            "Effect": effect, "Principal": principal, "Action": "s3:PutObject",
            "Resource": "arn:aws:s3:::b/logs/*",
            "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:s3:::source"}},
        })
    };
    let verdict = |statements: &[Value], source: &str| {
        let values = vec![("aws:sourcearn".into(), format!("arn:aws:s3:::{source}").into())];
        let around = Circumstances { values, ..Circumstances::default() };
        let asked = Asked {
            account: None,
            user: None,
            action: "s3:PutObject",
            bucket: "b",
            key: Some("logs/"),
            around: &around,
            tags: &[],
        };
        let policy = read(&json!(statements)).unwrap();
        assert_eq!(
            policy.judge_service("other.amazonaws.com", &asked),
            match statements {
                [_, _] => Verdict::Deny,
                _ => Verdict::Silent,
            }
        );
        policy.judge_service(LOGS, &asked)
    };
    let allow = statement("Allow", json!({"Service": LOGS}));
    assert_eq!(verdict(std::slice::from_ref(&allow), "source"), Verdict::Allow);
    assert_eq!(verdict(std::slice::from_ref(&allow), "another"), Verdict::Silent);
    assert_eq!(verdict(&[statement("Allow", json!({"AWS": "*"}))], "source"), Verdict::Silent);
    assert_eq!(verdict(&[allow, statement("Deny", json!("*"))], "source"), Verdict::Deny);
}
