//! Which requests of other origins a bucket's rules allow.
//! Source: S3 user guide, "Using cross-origin resource sharing"; Fetch standard, "CORS protocol".
//!
//! Invariant: the first rule that matches decides, and a rule that is stored passed [`check`].

use serde::{Deserialize, Serialize};

/// Rules of one bucket.
pub const RULES_MAX: usize = 100;

/// Methods that a rule can allow.
const METHODS: [&str; 5] = ["GET", "PUT", "HEAD", "POST", "DELETE"];

const ID_CHARS_MAX: usize = 255;

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub id: Option<String>,
    /// May have one `*` each.
    pub headers: Vec<String>,
    pub methods: Vec<String>,
    /// May have one `*` each.
    pub origins: Vec<String>,
    pub expose: Vec<String>,
    pub max_age_seconds: Option<u32>,
}

/// Why rules are refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The document does not have S3's form.
    Shape,
    /// A sentence for the client.
    Invalid(String),
}

/// Checks a whole configuration.
pub fn check(rules: &[Rule]) -> Result<(), Refusal> {
    if rules.is_empty() {
        return Err(Refusal::Shape);
    }
    if rules.len() > RULES_MAX {
        let why = format!(
            "The number of CORS rules should not exceed allowed limit of {RULES_MAX} rules."
        );
        return Err(Refusal::Invalid(why));
    }
    rules.iter().try_for_each(check_rule)
}

fn check_rule(rule: &Rule) -> Result<(), Refusal> {
    if rule.methods.is_empty() || rule.origins.is_empty() {
        return Err(Refusal::Shape);
    }
    if rule.id.as_ref().is_some_and(|id| id.chars().count() > ID_CHARS_MAX) {
        let why = format!("The ID of a CORS rule has at most {ID_CHARS_MAX} characters.");
        return Err(Refusal::Invalid(why));
    }
    if let Some(method) = rule.methods.iter().find(|m| !METHODS.contains(&m.as_str())) {
        let why = "Found unsupported HTTP method in CORS config. Unsupported method is";
        return Err(Refusal::Invalid(format!("{why} {method}")));
    }
    for (name, patterns) in [("AllowedOrigin", &rule.origins), ("AllowedHeader", &rule.headers)] {
        if let Some(text) = patterns.iter().find(|p| p.matches('*').count() > 1) {
            let why = format!("{name} \"{text}\" can not have more than one wildcard.");
            return Err(Refusal::Invalid(why));
        }
    }
    match rule.expose.iter().find(|name| name.contains('*') || !is_token(name)) {
        Some(name) if name.contains('*') => Err(Refusal::Invalid(format!(
            "ExposeHeader \"{name}\" contains wildcard. We currently do not support wildcard for \
             ExposeHeader."
        ))),
        Some(name) => {
            Err(Refusal::Invalid(format!("ExposeHeader \"{name}\" is no header's name.")))
        }
        None => Ok(()),
    }
}

/// Source: RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    let is_part = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    !text.is_empty() && text.bytes().all(is_part)
}

/// A request as rules see it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    pub origin: &'a str,
    /// The method of the request, or the one that a preflight asks about.
    pub method: &'a str,
    /// The headers that a preflight asks about.
    pub headers: &'a [&'a str],
}

/// The first rule that allows a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Allowed<'a> {
    pub rule: &'a Rule,
    /// The rule names `*`, so that the answer is for every origin.
    pub every_origin: bool,
}

/// Finds it.
pub fn find<'a>(rules: &'a [Rule], asked: &Asked<'_>) -> Option<Allowed<'a>> {
    rules.iter().find_map(|rule| {
        let origin = rule.origins.iter().find(|pattern| matches(pattern, asked.origin))?;
        let method = rule.methods.iter().any(|method| method == asked.method);
        let header = |name: &&str| {
            let name = name.to_ascii_lowercase();
            rule.headers.iter().any(|pattern| matches(&pattern.to_ascii_lowercase(), &name))
        };
        let allowed = method && asked.headers.iter().all(header);
        allowed.then(|| Allowed { rule, every_origin: origin == "*" })
    })
}

/// Whether a text fits a pattern with at most one `*`.
fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        Some((start, end)) => {
            text.len() >= start.len() + end.len() && text.starts_with(start) && text.ends_with(end)
        }
        None => pattern == text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(origin: &str, method: &str) -> Rule {
        let one = |text: &str| vec![text.to_owned()];
        Rule { origins: one(origin), methods: one(method), ..Rule::default() }
    }

    fn allowed(rules: &[Rule], origin: &str, method: &str, headers: &[&str]) -> bool {
        find(rules, &Asked { origin, method, headers }).is_some()
    }

    #[test]
    fn an_origin_fits_a_pattern_with_one_star() {
        for (pattern, origin, fits) in [
            ("*", "http://a", true),
            ("http://a", "http://a", true),
            ("http://a", "http://ab", false),
            ("*.a", "http://b.a", true),
            ("*.a", "http://b.a.c", false),
            ("a*a", "a", false),
            ("a*a", "aa", true),
            ("start*end", "start-end", true),
            ("start*", "0start", false),
        ] {
            assert_eq!(allowed(&[rule(pattern, "GET")], origin, "GET", &[]), fits, "{pattern}");
        }
    }

    #[test]
    fn the_first_rule_that_matches_decides() {
        let mut second = rule("*", "PUT");
        second.headers = vec!["X-Amz-*".into(), "content-type".into()];
        let rules = [rule("http://a", "GET"), second, rule("http://a", "PUT")];
        let put =
            |origin| Asked { origin, method: "PUT", headers: &["x-amz-date", "Content-Type"] };
        let found = find(&rules, &put("http://a")).unwrap();
        assert_eq!(found, Allowed { rule: &rules[1], every_origin: true });
        assert!(!allowed(&rules, "http://b", "GET", &[]));
        assert!(!allowed(&rules, "http://a", "PUT", &["authorization"]));
        let plain = Asked { origin: "http://a", method: "GET", headers: &[] };
        assert!(!find(&rules, &plain).unwrap().every_origin);
    }

    #[test]
    fn rules_have_bounds_methods_and_one_star() {
        let invalid = |rule: Rule| matches!(check(&[rule]), Err(Refusal::Invalid(_)));
        assert_eq!(check(&[]), Err(Refusal::Shape));
        assert_eq!(check(&vec![rule("*", "GET"); 100]), Ok(()));
        assert!(check(&vec![rule("*", "GET"); 101]).is_err());
        assert_eq!(check(&[Rule { origins: Vec::new(), ..rule("*", "GET") }]), Err(Refusal::Shape));
        assert_eq!(check(&[Rule { methods: Vec::new(), ..rule("*", "GET") }]), Err(Refusal::Shape));
        assert!(invalid(rule("*", "PATCH")));
        assert!(invalid(rule("*", "get")));
        assert!(invalid(rule("*.*", "GET")));
        assert!(invalid(Rule { headers: vec!["x-*-*".into()], ..rule("*", "GET") }));
        assert!(invalid(Rule { expose: vec!["x-*".into()], ..rule("*", "GET") }));
        assert!(invalid(Rule { expose: vec!["a\r\nb".into()], ..rule("*", "GET") }));
        assert!(invalid(Rule { id: Some("i".repeat(256)), ..rule("*", "GET") }));
    }
}
