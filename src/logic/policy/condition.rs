//! Conditions of a statement.
//! Source: IAM user guide, "IAM JSON policy elements: Condition operators" and "Conditions with
//! multiple context keys or values".

use std::cmp::Ordering;
use std::net::IpAddr;

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::read::{Read, malformed, plain};
use super::{Asked, matches};

pub(super) const EXISTING_TAG: &str = "s3:existingobjecttag/";
const REQUEST_TAG: &str = "s3:requestobjecttag/";

/// Keys that requests here have, or that truly no request here has.
const KEYS: [&str; 42] = [
    "aws:currenttime",
    "aws:epochtime",
    "aws:principalaccount",
    "aws:principalarn",
    "aws:principalorgid",
    "aws:principaltype",
    "aws:referer",
    "aws:securetransport",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceip",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:useragent",
    "aws:userid",
    "aws:username",
    "aws:viaawsservice",
    "s3:authtype",
    "s3:dataaccesspointarn",
    "s3:delimiter",
    "s3:max-keys",
    "s3:prefix",
    "s3:requestobjecttagkeys",
    "s3:signatureversion",
    "s3:versionid",
    "s3:x-amz-acl",
    "s3:x-amz-content-sha256",
    "s3:x-amz-copy-source",
    "s3:x-amz-grant-full-control",
    "s3:x-amz-grant-read",
    "s3:x-amz-grant-read-acp",
    "s3:x-amz-grant-write",
    "s3:x-amz-grant-write-acp",
    "s3:x-amz-metadata-directive",
    "s3:x-amz-object-ownership",
    "s3:x-amz-server-side-encryption",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
    "s3:x-amz-server-side-encryption-customer-algorithm",
    "s3:x-amz-storage-class",
    "s3:x-amz-website-redirect-location",
    "aws:multifactorauthpresent",
];

/// Keys that say who a request is from, where they are compared with fixed values.
const WHO: [&str; 10] = [
    "aws:principalorgid",
    "aws:sourceaccount",
    "aws:sourcearn",
    "aws:sourceip",
    "aws:sourceowner",
    "aws:sourcevpc",
    "aws:sourcevpce",
    "aws:userid",
    "s3:dataaccesspointarn",
    "s3:x-amz-server-side-encryption-aws-kms-key-id",
];

/// One key compared with values.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Condition {
    /// Lower case, but for the name of a tag.
    pub(super) key: String,
    many: Many,
    /// A request without the key meets it.
    if_exists: bool,
    negated: bool,
    test: Test,
}

/// How several values of a request count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Many {
    /// `ForAllValues:`; also no value at all.
    All,
    /// `ForAnyValue:`.
    Any,
    /// Neither was said.
    One,
}

/// What a value is compared with.
#[derive(Clone, Debug, PartialEq)]
enum Test {
    Text(Vec<String>),
    /// Lower case.
    Folded(Vec<String>),
    Pattern(Vec<String>),
    Number(Compare, Vec<f64>),
    /// Nanoseconds since 1970.
    Date(Compare, Vec<i128>),
    Bool(bool),
    Address(Vec<Network>),
    /// The key is missing, or not.
    Missing(bool),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Compare {
    Equal,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
}

impl Compare {
    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrEqual => order.is_ge(),
            Self::Less => order.is_lt(),
            Self::LessOrEqual => order.is_le(),
        }
    }

    fn of(name: &str) -> Option<(Self, bool)> {
        Some(match name {
            "Equals" => (Self::Equal, false),
            "NotEquals" => (Self::Equal, true),
            "GreaterThan" => (Self::Greater, false),
            "GreaterThanEquals" => (Self::GreaterOrEqual, false),
            "LessThan" => (Self::Less, false),
            "LessThanEquals" => (Self::LessOrEqual, false),
            _ => return None,
        })
    }
}

/// Addresses with the same first bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Network {
    ip: IpAddr,
    bits: u32,
}

impl Network {
    fn parse(text: &str) -> Option<Self> {
        let (ip, bits) = text.split_once('/').map_or((text, None), |(ip, bits)| (ip, Some(bits)));
        let ip: IpAddr = ip.parse().ok()?;
        let most = if ip.is_ipv4() { 32 } else { 128 };
        let bits = bits.map_or(Ok(most), str::parse).ok().filter(|bits| *bits <= most)?;
        Some(Self { ip, bits })
    }

    fn has(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                (own.to_bits() ^ ip.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                (own.to_bits() ^ ip.to_bits()).leading_zeros() >= self.bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }

    /// So many addresses that they are the public. Source: S3 user guide, "The meaning of public".
    fn is_wide(&self) -> bool {
        self.bits < if self.ip.is_ipv4() { 8 } else { 32 }
    }
}

impl Condition {
    pub(super) fn read(operator: &str, key: &str, values: Vec<String>) -> Read<Self> {
        for value in &values {
            plain(value)?;
        }
        let (many, name) = match operator.split_once(':') {
            None => (Many::One, operator),
            Some(("ForAllValues", name)) => (Many::All, name),
            Some(("ForAnyValue", name)) => (Many::Any, name),
            Some(_) => return malformed(format!("Invalid Condition type : {operator}")),
        };
        let (name, if_exists) = match name.strip_suffix("IfExists") {
            Some(name) if name != "Null" => (name, true),
            Some(_) | None => (name, false),
        };
        let Some((test, negated)) = test(name, &values) else {
            let why = format!("Invalid Condition type or value : {operator} {values:?}");
            return malformed(why);
        };
        Ok(Self { key: key_name(key)?, many, if_exists, negated, test })
    }

    pub(super) fn holds(&self, values: &Values<'_>) -> bool {
        let values = values.of(&self.key);
        if let Test::Missing(missing) = self.test {
            return values.is_empty() == missing;
        }
        if values.is_empty() {
            return match self.many {
                Many::All => true,
                Many::Any => self.if_exists,
                Many::One => self.if_exists || self.negated,
            };
        }
        let meets = |value: &String| self.test.holds(value) != self.negated;
        match (self.many, self.negated) {
            (Many::All, _) | (Many::One, true) => values.iter().all(meets),
            (Many::Any, _) | (Many::One, false) => values.iter().any(meets),
        }
    }

    /// Whether only requests of someone in particular meet it.
    pub(super) fn says_who(&self) -> bool {
        let fixed = match &self.test {
            Test::Text(values) | Test::Folded(values) | Test::Pattern(values) => {
                !values.iter().any(|value| value.contains(['*', '?']))
            }
            Test::Address(networks) => !networks.iter().any(Network::is_wide),
            Test::Number(..) | Test::Date(..) | Test::Bool(_) | Test::Missing(_) => false,
        };
        let always = !self.if_exists && !self.negated && self.many != Many::All;
        fixed && always && WHO.contains(&self.key.as_str())
    }
}

/// A key in the form that requests have it.
fn key_name(key: &str) -> Read<String> {
    let lower = key.to_ascii_lowercase();
    for prefix in [EXISTING_TAG, REQUEST_TAG] {
        if lower.starts_with(prefix) && lower.len() > prefix.len() {
            return Ok(format!("{prefix}{}", &key[prefix.len()..]));
        }
    }
    match KEYS.contains(&lower.as_str()) {
        true => Ok(lower),
        false => malformed(format!("Policy has an invalid condition key: {key}")),
    }
}

/// What an operator does with its values, and whether its result is turned round.
fn test(operator: &str, values: &[String]) -> Option<(Test, bool)> {
    let texts = || values.to_vec();
    let folded = || values.iter().map(|value| value.to_lowercase()).collect();
    Some(match operator {
        "StringEquals" | "BinaryEquals" => (Test::Text(texts()), false),
        "StringNotEquals" => (Test::Text(texts()), true),
        "StringEqualsIgnoreCase" => (Test::Folded(folded()), false),
        "StringNotEqualsIgnoreCase" => (Test::Folded(folded()), true),
        "StringLike" | "ArnEquals" | "ArnLike" => (Test::Pattern(texts()), false),
        "StringNotLike" | "ArnNotEquals" | "ArnNotLike" => (Test::Pattern(texts()), true),
        "IpAddress" | "NotIpAddress" => {
            let networks = values.iter().map(|value| Network::parse(value));
            (Test::Address(networks.collect::<Option<_>>()?), operator == "NotIpAddress")
        }
        "Bool" | "Null" => {
            let [value] = values else { return None };
            let value = value.to_ascii_lowercase().parse().ok()?;
            (if operator == "Bool" { Test::Bool(value) } else { Test::Missing(value) }, false)
        }
        _ => match (operator.strip_prefix("Numeric"), operator.strip_prefix("Date")) {
            (Some(name), _) => {
                let (compare, negated) = Compare::of(name)?;
                let values = values.iter().map(|value| number(value)).collect::<Option<_>>()?;
                (Test::Number(compare, values), negated)
            }
            (None, Some(name)) => {
                let (compare, negated) = Compare::of(name)?;
                let values = values.iter().map(|value| date(value)).collect::<Option<_>>()?;
                (Test::Date(compare, values), negated)
            }
            (None, None) => return None,
        },
    })
}

fn number(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|number: &f64| number.is_finite())
}

/// ISO 8601, or seconds since 1970.
fn date(text: &str) -> Option<i128> {
    if let Ok(seconds) = text.parse::<i64>() {
        return Some(i128::from(seconds) * 1_000_000_000);
    }
    let whole = if text.contains('T') { text.to_owned() } else { format!("{text}T00:00:00Z") };
    Some(OffsetDateTime::parse(&whole, &Rfc3339).ok()?.unix_timestamp_nanos())
}

impl Test {
    fn holds(&self, value: &str) -> bool {
        match self {
            Self::Text(wanted) => wanted.iter().any(|w| w == value),
            Self::Folded(wanted) => wanted.contains(&value.to_lowercase()),
            Self::Pattern(wanted) => wanted.iter().any(|w| matches(w, value)),
            Self::Number(compare, wanted) => number(value).is_some_and(|value| {
                wanted.iter().any(|w| value.partial_cmp(w).is_some_and(|o| compare.holds(o)))
            }),
            Self::Date(compare, wanted) => {
                date(value).is_some_and(|value| wanted.iter().any(|w| compare.holds(value.cmp(w))))
            }
            Self::Bool(wanted) => {
                value.eq_ignore_ascii_case(if *wanted { "true" } else { "false" })
            }
            Self::Address(wanted) => {
                value.parse().is_ok_and(|ip| wanted.iter().any(|network| network.has(ip)))
            }
            Self::Missing(_) => false,
        }
    }
}

/// The values that a request has.
pub(super) struct Values<'a>(pub(super) &'a Asked<'a>);

impl Values<'_> {
    fn of(&self, key: &str) -> Vec<String> {
        let Asked { account, user, around, tags, .. } = self.0;
        if let Some(tag) = key.strip_prefix(EXISTING_TAG) {
            return tags.iter().filter(|(k, _)| k == tag).map(|(_, v)| v.clone()).collect();
        }
        let one = match key {
            "aws:currenttime" | "aws:epochtime" => Some((around.now_ms / 1000).to_string()),
            "aws:principalaccount" | "aws:userid" => account.map(|account| account.to_string()),
            "aws:principalarn" => account.map(|account| format!("arn:aws:iam::{account}:root")),
            "aws:principaltype" => {
                Some(if account.is_some() { "Account" } else { "Anonymous" }.to_owned())
            }
            "aws:securetransport" => Some(around.secure.to_string()),
            "aws:sourceip" => around.source_ip.map(|ip| ip.to_string()),
            "aws:username" => user.map(str::to_owned),
            "aws:viaawsservice" => Some("false".to_owned()),
            _ => {
                let has = around.values.iter().filter(|(name, _)| name == key);
                return has.map(|(_, value)| value.to_string()).collect();
            }
        };
        one.into_iter().collect()
    }
}
