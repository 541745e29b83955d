//! The policy of a form: what whoever signed it allows to be uploaded with it.
//! Source: S3 API reference, "POST policy".
//!
//! Invariant: pure. A field that no condition names is refused, so that nothing can be added to a
//! form by whoever holds it.

use std::fmt;
use std::ops::RangeInclusive;

use serde_json::{Map, Value};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// Fields that need no condition: those of the signature, the policy and the file itself.
const EXEMPT: [&str; 5] = ["awsaccesskeyid", "file", "policy", "signature", "x-amz-signature"];

/// Checksums of the file only make an upload harder to accept, so that they need no condition either.
const CHECKSUMS: &str = "x-amz-checksum-";

/// Fields that nobody reads, with any rest.
pub const IGNORED: &str = "x-ignore-";

/// A policy that is well-formed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PostPolicy {
    expires_ms: u64,
    conditions: Vec<Condition>,
    sizes: RangeInclusive<u64>,
}

/// One condition on one field. The field is lower case; `shown` is as the policy wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Condition {
    kind: Kind,
    field: String,
    shown: String,
    value: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Equal,
    StartsWith,
}

/// Why a policy, or a form under it, is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The document is none; a sentence for the client.
    Malformed(String),
    Expired,
    /// This condition does not hold.
    Condition(String),
    /// These fields have no condition.
    Extra(Vec<String>),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Malformed(why) => write!(f, "Invalid Policy: {why}"),
            Self::Expired => f.write_str("Invalid according to Policy: Policy expired."),
            Self::Condition(condition) => {
                write!(f, "Invalid according to Policy: Policy Condition failed: {condition}")
            }
            Self::Extra(fields) => {
                write!(f, "Invalid according to Policy: Extra input fields: {}", fields.join(", "))
            }
        }
    }
}

fn malformed(why: impl Into<String>) -> Refusal {
    Refusal::Malformed(why.into())
}

impl PostPolicy {
    /// Reads the document. The names of its two elements are case-sensitive, those of operators
    /// and fields are not.
    pub fn parse(document: &[u8]) -> Result<Self, Refusal> {
        let text = std::str::from_utf8(document).map_err(|_| malformed("Invalid JSON."))?;
        let parsed =
            serde_json::from_str(&relaxed(text)).map_err(|_| malformed("Invalid JSON."))?;
        let Value::Object(parsed) = parsed else { return Err(malformed("Invalid JSON.")) };
        let mut policy =
            Self { expires_ms: expiration(&parsed)?, conditions: Vec::new(), sizes: 0..=u64::MAX };
        let Some(Value::Array(conditions)) = parsed.get("conditions") else {
            return Err(malformed("Missing or invalid 'conditions'."));
        };
        conditions.iter().try_for_each(|condition| policy.add(condition))?;
        Ok(policy)
    }

    fn add(&mut self, condition: &Value) -> Result<(), Refusal> {
        match condition {
            Value::Object(pairs) => self.conditions.push(simple(pairs)?),
            Value::Array(parts) => {
                let [Value::String(operator), rest @ ..] = &parts[..] else {
                    return Err(malformed("Invalid Condition: it must begin with an operator."));
                };
                let kind = match operator.to_ascii_lowercase().as_str() {
                    "eq" => Kind::Equal,
                    "starts-with" => Kind::StartsWith,
                    "content-length-range" => return self.limit(rest),
                    _ => return Err(malformed(format!("Invalid Condition: {operator}."))),
                };
                self.conditions.push(compared(kind, rest)?);
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
                return Err(malformed("Invalid Condition: it must be an object or a list."));
            }
        }
        Ok(())
    }

    /// Several ranges must all hold.
    fn limit(&mut self, bounds: &[Value]) -> Result<(), Refusal> {
        let bad = || malformed("Invalid content-length-range: it has a least and a largest size.");
        let [least, most] = bounds else { return Err(bad()) };
        let (least, most) = (size(least).ok_or_else(bad)?, size(most).ok_or_else(bad)?);
        let (start, end) = (*self.sizes.start(), *self.sizes.end());
        self.sizes = least.max(start)..=most.min(end);
        Ok(())
    }

    /// The sizes that the file may have.
    pub fn sizes(&self) -> RangeInclusive<u64> {
        self.sizes.clone()
    }

    /// Judges a form that was sent to `bucket`. Names of `fields` are lower case, and each is there
    /// once; a field that is missing counts as empty.
    pub fn check(
        &self,
        bucket: &str,
        fields: &[(String, String)],
        now_ms: u64,
    ) -> Result<(), Refusal> {
        if self.expires_ms <= now_ms {
            return Err(Refusal::Expired);
        }
        for condition in &self.conditions {
            let field = fields.iter().find(|(name, _)| *name == condition.field);
            let value = match condition.field.as_str() {
                // The bucket is the one that the form came to, whatever a field says.
                "bucket" => bucket,
                _ => field.map_or("", |(_, value)| value),
            };
            if !condition.holds(value) {
                return Err(Refusal::Condition(condition.to_string()));
            }
        }
        let extra: Vec<String> =
            fields.iter().map(|(name, _)| name).filter(|n| !self.covers(n)).cloned().collect();
        if extra.is_empty() { Ok(()) } else { Err(Refusal::Extra(extra)) }
    }

    fn covers(&self, field: &str) -> bool {
        EXEMPT.contains(&field)
            || field.starts_with(IGNORED)
            || field.starts_with(CHECKSUMS)
            || self.conditions.iter().any(|condition| condition.field == field)
    }
}

impl Condition {
    fn new(kind: Kind, field: &str, value: &str) -> Self {
        let (field, shown) = (field.to_ascii_lowercase(), format!("${field}"));
        Self { kind, field, shown, value: value.to_owned() }
    }

    fn holds(&self, value: &str) -> bool {
        match self.kind {
            Kind::Equal => value == self.value,
            // A list of types holds where each of them does.
            Kind::StartsWith if self.field == "content-type" => {
                value.split(',').all(|one| one.trim_start().starts_with(&self.value))
            }
            Kind::StartsWith => value.starts_with(&self.value),
        }
    }
}

/// As a client finds it in an error: `["eq", "$key", "a"]`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let operator = match self.kind {
            Kind::Equal => "eq",
            Kind::StartsWith => "starts-with",
        };
        let json = |text: &str| Value::from(text).to_string();
        write!(f, "[{}, {}, {}]", json(operator), json(&self.shown), json(&self.value))
    }
}

/// `{"acl": "public-read"}`.
fn simple(pairs: &Map<String, Value>) -> Result<Condition, Refusal> {
    let mut all = pairs.iter();
    match (all.next(), all.next()) {
        (Some((field, Value::String(value))), None) => {
            Ok(Condition::new(Kind::Equal, field, value))
        }
        (Some(_), None) => Err(malformed("Invalid Simple-Condition: the value must be a string.")),
        (None | Some(_), None | Some(_)) => Err(malformed(
            "Invalid Simple-Condition: Simple-Conditions must have exactly one property specified.",
        )),
    }
}

/// `"$acl", "public-read"`.
fn compared(kind: Kind, operands: &[Value]) -> Result<Condition, Refusal> {
    let [Value::String(field), Value::String(value)] = operands else {
        return Err(malformed("Invalid Condition: it has a field and a value, both strings."));
    };
    let Some(field) = field.strip_prefix('$') else {
        return Err(malformed(format!(
            "Invalid Condition: the field {field} must begin with '$'."
        )));
    };
    Ok(Condition::new(kind, field, value))
}

/// A number of bytes, also as text.
fn size(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    }
}

/// `2007-12-01T12:00:00.000Z`.
fn expiration(policy: &Map<String, Value>) -> Result<u64, Refusal> {
    let Some(value) = policy.get("expiration") else {
        return Err(malformed("Missing 'expiration'."));
    };
    let date = value.as_str().filter(|text| text.as_bytes().get(10) == Some(&b'T'));
    let date = date.and_then(|text| OffsetDateTime::parse(text, &Rfc3339).ok());
    let ms = date.and_then(|date| u64::try_from(date.unix_timestamp_nanos() / 1_000_000).ok());
    ms.ok_or_else(|| malformed(format!("Invalid 'expiration' value: {value}")))
}

/// JSON as S3 takes it: its documentation has a comma behind the last element of a list, and
/// escapes `\$` and `\v`.
fn relaxed(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut quoted = false;
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => quoted = !quoted,
            '\\' if quoted => {
                match letters.next() {
                    Some((_, '$')) => out.push('$'),
                    Some((_, 'v')) => out.push_str("\\u000b"),
                    Some((_, other)) => out.extend(['\\', other]),
                    None => out.push('\\'),
                }
                continue;
            }
            ',' if !quoted && text[at + 1..].trim_start().starts_with([']', '}']) => continue,
            _ => {}
        }
        out.push(letter);
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_000_000_000_000;

    fn policy(conditions: &str) -> Result<PostPolicy, Refusal> {
        let document =
            format!("{{\"expiration\": \"2001-09-09T01:46:41Z\", \"conditions\": {conditions}}}");
        PostPolicy::parse(document.as_bytes())
    }

    fn check(conditions: &str, fields: &[(&str, &str)]) -> Result<(), Refusal> {
        let fields: Vec<(String, String)> =
            fields.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        policy(conditions).unwrap().check("bucket", &fields, NOW)
    }

    fn refused(conditions: &str, fields: &[(&str, &str)]) -> String {
        check(conditions, fields).unwrap_err().to_string()
    }

    #[test]
    fn conditions_hold_in_each_of_their_forms() {
        let fields = [("key", "user/a"), ("acl", "private")];
        for conditions in [
            r#"[{"key": "user/a"}, {"acl": "private"}]"#,
            r#"[["eq", "$key", "user/a"], ["starts-with", "$acl", ""]]"#,
            r#"[["StArTs-WiTh", "$KeY", "user/"], {"AcL": "private"}, {"bucket": "bucket"}]"#,
            r#"[["starts-with", "$key", "user/"], ["eq", "$key", "user/a"], {"acl": "private"},]"#,
        ] {
            assert_eq!(check(conditions, &fields), Ok(()), "{conditions}");
        }
    }

    #[test]
    fn the_condition_that_fails_is_shown_as_it_was_written() {
        let start = "Invalid according to Policy: Policy Condition failed: ";
        let key = [("key", "b")];
        for (conditions, shown) in [
            (r#"[{"Key": "a"}]"#, r#"["eq", "$Key", "a"]"#),
            (r#"[["starts-with", "$key", "a\"\\"]]"#, r#"["starts-with", "$key", "a\"\\"]"#),
            (r#"[{"key": "b"}, {"bucket": "other"}]"#, r#"["eq", "$bucket", "other"]"#),
            (r#"[{"key": "b"}, {"acl": "private"}]"#, r#"["eq", "$acl", "private"]"#),
            (r#"[{"key": "B"}]"#, r#"["eq", "$key", "B"]"#),
        ] {
            assert_eq!(refused(conditions, &key), format!("{start}{shown}"));
        }
    }

    #[test]
    fn a_field_without_a_condition_is_refused_unless_it_is_exempt() {
        let exempt = [
            ("key", "a"),
            ("policy", "x"),
            ("signature", "x"),
            ("awsaccesskeyid", "x"),
            ("x-amz-signature", "x"),
            ("x-ignore-me", "x"),
            ("x-amz-checksum-crc32", "x"),
        ];
        assert_eq!(check(r#"[{"key": "a"}]"#, &exempt), Ok(()));
        let extra = [("key", "a"), ("acl", "private"), ("bucket", "bucket")];
        let shown = "Invalid according to Policy: Extra input fields: acl, bucket";
        assert_eq!(refused(r#"[{"key": "a"}]"#, &extra), shown);
    }

    #[test]
    fn a_missing_field_counts_as_empty() {
        assert_eq!(check(r#"[["starts-with", "$acl", ""]]"#, &[]), Ok(()));
        assert_eq!(check(r#"[{"acl": ""}]"#, &[]), Ok(()));
        assert!(check(r#"[["starts-with", "$acl", "p"]]"#, &[]).is_err());
    }

    #[test]
    fn a_list_of_types_holds_where_each_type_does() {
        let images = r#"[["starts-with", "$Content-Type", "image/"]]"#;
        assert_eq!(check(images, &[("content-type", "image/png, image/gif")]), Ok(()));
        assert!(check(images, &[("content-type", "image/png,text/html")]).is_err());
        assert!(check(images, &[("content-type", "image/png,")]).is_err());
        let keys = r#"[["starts-with", "$key", "a"]]"#;
        assert_eq!(check(keys, &[("key", "a,b")]), Ok(()));
    }

    #[test]
    fn a_policy_ends_at_its_expiration() {
        let policy = policy("[]").unwrap();
        assert_eq!(policy.check("bucket", &[], NOW + 999), Ok(()));
        let expired = policy.check("bucket", &[], NOW + 1000).unwrap_err();
        assert_eq!(expired.to_string(), "Invalid according to Policy: Policy expired.");
    }

    #[test]
    fn sizes_are_the_intersection_of_all_ranges() {
        let sizes = |conditions: &str| policy(conditions).unwrap().sizes();
        assert_eq!(sizes("[]"), 0..=u64::MAX);
        assert_eq!(sizes(r#"[["content-length-range", 1, 10]]"#), 1..=10);
        let two = r#"[["content-length-range", 1, 10], ["Content-Length-Range", "5", "20"]]"#;
        assert_eq!(sizes(two), 5..=10);
    }

    #[test]
    fn what_is_no_policy_is_refused() {
        let documents = [
            "",
            "[]",
            "{",
            r#"{"conditions": []}"#,
            r#"{"EXPIRATION": "2099-01-01T00:00:00Z", "conditions": []}"#,
            r#"{"expiration": "2099-01-01 00:00:00+00:00", "conditions": []}"#,
            r#"{"expiration": "tomorrow", "conditions": []}"#,
            r#"{"expiration": 1, "conditions": []}"#,
            r#"{"expiration": "2099-01-01T00:00:00Z"}"#,
            r#"{"expiration": "2099-01-01T00:00:00Z", "CONDITIONS": []}"#,
            r#"{"expiration": "2099-01-01T00:00:00Z", "conditions": {}}"#,
        ];
        for document in documents {
            let refusal = PostPolicy::parse(document.as_bytes()).unwrap_err();
            assert!(matches!(refusal, Refusal::Malformed(_)), "{document}");
        }
        for conditions in [
            "[{}]",
            "[[]]",
            "[1]",
            r#"[{"a": "b", "c": "d"}]"#,
            r#"[{"a": 1}]"#,
            r#"[["eq", "key", "a"]]"#,
            r#"[["eq", "$key"]]"#,
            r#"[["eq", "$key", 1]]"#,
            r#"[["matches", "$key", "a"]]"#,
            r#"[["content-length-range", 0]]"#,
            r#"[["content-length-range", -1, 0]]"#,
            r#"[["content-length-range", 0, 1.5]]"#,
        ] {
            assert!(matches!(policy(conditions), Err(Refusal::Malformed(_))), "{conditions}");
        }
    }

    #[test]
    fn escapes_are_those_of_s3() {
        assert_eq!(check(r#"[{"key": "\$a\\$b\v"}]"#, &[("key", "$a\\$b\u{b}")]), Ok(()));
        assert_eq!(check(r#"[{"key": ",]"}]"#, &[("key", ",]")]), Ok(()));
    }

    proptest! {
        #[test]
        fn no_document_makes_it_panic(document in "[\\\\\"$,:{}\\[\\]a-z0-9 é-]{0,40}") {
            let _ = PostPolicy::parse(document.as_bytes());
        }

        /// What JSON writes, the relaxed reading leaves as it is.
        #[test]
        fn proper_json_keeps_its_meaning(texts in proptest::collection::vec(".{0,8}", 0..4)) {
            let json = serde_json::to_string(&texts).unwrap();
            let read: Vec<String> = serde_json::from_str(&relaxed(&json)).unwrap();
            prop_assert_eq!(read, texts);
        }

        #[test]
        fn a_form_that_meets_its_conditions_is_taken(
            fields in proptest::collection::btree_map("f[a-z]{1,5}", ".{0,8}", 0..6),
            prefix in 0_usize..8,
        ) {
            let conditions: Vec<Value> = fields
                .iter()
                .map(|(name, value)| {
                    let start: String = value.chars().take(prefix).collect();
                    serde_json::json!(["starts-with", format!("${name}"), start])
                })
                .collect();
            let fields: Vec<(String, String)> = fields.into_iter().collect();
            let policy = policy(&Value::from(conditions).to_string()).unwrap();
            prop_assert_eq!(policy.check("bucket", &fields, NOW), Ok(()));
        }
    }
}
