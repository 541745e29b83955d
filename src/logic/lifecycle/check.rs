//! What a lifecycle configuration must be like. The sentences are S3's.

use std::collections::BTreeSet;

use crate::limits;
use crate::logic::tags;
use crate::types::lifecycle::{Expiration, Form, Rule, Scope};

/// Rules of one bucket.
const RULES_MAX: usize = 1000;

const ID_CHARS_MAX: usize = 255;

/// Largest size that a filter can name.
const SIZE_MAX: u64 = 1000 << 40;

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The document does not have S3's form.
    Shape,
    /// A value that cannot be; a sentence for the client.
    Argument(String),
    /// Values that do not go together; a sentence for the client.
    Request(String),
}

fn argument(why: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal::Argument(why.into()))
}

fn request(why: impl Into<String>) -> Result<(), Refusal> {
    Err(Refusal::Request(why.into()))
}

/// Checks a whole configuration. Rules without an id are refused: their maker gives them one.
/// `moving`: some rules have transitions, which count as actions and are no part of them.
pub fn check(rules: &[Rule], moving: bool) -> Result<(), Refusal> {
    let Some(first) = rules.first() else { return Err(Refusal::Shape) };
    if rules.len() > RULES_MAX {
        return request(format!(
            "The number of lifecycle rules must not exceed the allowed limit of {RULES_MAX} rules."
        ));
    }
    let mut ids = BTreeSet::new();
    for rule in rules {
        if rule.id.is_empty() {
            return Err(Refusal::Shape);
        }
        if rule.id.chars().count() > ID_CHARS_MAX {
            return argument(format!(
                "ID length should not exceed allowed limit of {ID_CHARS_MAX}"
            ));
        }
        if !ids.insert(rule.id.as_str()) {
            return argument("Rule ID must be unique. Found same ID for more than one rule");
        }
    }
    let old = first.scope.form == Form::Prefix;
    rules.iter().try_for_each(|rule| check_rule(rule, old, moving))?;
    if old { refuse_overlaps(rules) } else { Ok(()) }
}

fn check_rule(rule: &Rule, old: bool, moving: bool) -> Result<(), Refusal> {
    if old && rule.scope.form != Form::Prefix {
        return request("Filter element can only be used in Lifecycle V2.");
    }
    if !old && rule.scope.form == Form::Prefix {
        return request(
            "Base level prefix cannot be used in Lifecycle V2, prefixes are only supported in the \
             Filter.",
        );
    }
    let acts = rule.expiration.is_some() || rule.noncurrent.is_some() || rule.abort_days.is_some();
    if !acts && !moving {
        return request("At least one action needs to be specified in a rule");
    }
    if old && rule.noncurrent.is_some_and(|noncurrent| noncurrent.keep.is_some()) {
        return request("NewerNoncurrentVersions element can only be used in Lifecycle V2.");
    }
    check_scope(&rule.scope)?;
    // What has neither tags nor a size cannot be chosen by them.
    let markers = matches!(rule.expiration, Some(Expiration::Markers(_)));
    let actions = [
        (markers, "ExpiredObjectDeleteMarker"),
        (rule.abort_days.is_some(), "AbortIncompleteMultipartUpload"),
    ];
    for (_, action) in actions.into_iter().filter(|(there, _)| *there) {
        if !rule.scope.tags.is_empty() {
            return request(format!("{action} cannot be specified with Tags."));
        }
        if rule.scope.larger.is_some() || rule.scope.smaller.is_some() {
            return request(format!("{action} cannot be specified with Object Size."));
        }
    }
    Ok(())
}

fn check_scope(scope: &Scope) -> Result<(), Refusal> {
    let Scope { form, prefix, tags, larger, smaller } = scope;
    let conditions = usize::from(prefix.is_some())
        + tags.len()
        + usize::from(larger.is_some())
        + usize::from(smaller.is_some());
    let fits = match form {
        Form::Prefix => prefix.is_some() && conditions == 1,
        Form::Filter => conditions <= 1,
        Form::And => conditions >= 1,
    };
    if !fits {
        return Err(Refusal::Shape);
    }
    if prefix.as_ref().is_some_and(|prefix| prefix.len() > limits::KEY_BYTES_MAX) {
        let max = limits::KEY_BYTES_MAX;
        return argument(format!("The maximum size of a prefix is {max}."));
    }
    tags::check(tags, tags::OBJECT_TAGS_MAX).map_err(|why| match why {
        tags::Refusal::Twice(_) => {
            Refusal::Request("Duplicate Tag Keys are not allowed.".to_owned())
        }
        tags::Refusal::Key(_) | tags::Refusal::System(_) => {
            Refusal::Argument("The TagKey you have provided is invalid".to_owned())
        }
        tags::Refusal::Value(_) => {
            Refusal::Argument("The TagValue you have provided is invalid".to_owned())
        }
        tags::Refusal::TooMany(max) => {
            Refusal::Argument(format!("Object tags cannot be greater than {max}"))
        }
    })?;
    if larger.is_some_and(|bytes| bytes > SIZE_MAX) {
        return request(format!("'ObjectSizeGreaterThan' should be between 0 and {SIZE_MAX}."));
    }
    if smaller.is_some_and(|bytes| !(1..=SIZE_MAX).contains(&bytes)) {
        return request(format!("'ObjectSizeLessThan' should be between 1 and {SIZE_MAX}."));
    }
    match (larger, smaller) {
        (Some(larger), Some(smaller)) if smaller <= larger => {
            request("'ObjectSizeLessThan' has to be a value greater than 'ObjectSizeGreaterThan'.")
        }
        (Some(_) | None, Some(_) | None) => Ok(()),
    }
}

/// In the older form no two rules say the same kind of thing of one key.
fn refuse_overlaps(rules: &[Rule]) -> Result<(), Refusal> {
    type Has = fn(&Rule) -> bool;
    let kinds: [(&str, Has); 3] = [
        ("Expiration", |rule| rule.expiration.is_some()),
        ("NoncurrentVersionExpiration", |rule| rule.noncurrent.is_some()),
        ("AbortIncompleteMultipartUpload", |rule| rule.abort_days.is_some()),
    ];
    for (kind, has) in kinds {
        let having = rules.iter().filter(|rule| has(rule));
        let mut prefixes: Vec<&str> =
            having.filter_map(|rule| rule.scope.prefix.as_deref()).collect();
        // A prefix of any later one is a prefix of the next one.
        prefixes.sort_unstable();
        for pair in prefixes.windows(2) {
            let [shorter, longer] = pair else { continue };
            if longer.starts_with(shorter) {
                return request(format!(
                    "Found overlapping prefixes '{shorter}' and '{longer}' for same action type \
                     '{kind}'"
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::lifecycle::Noncurrent;

    fn rule(id: &str, form: Form, prefix: &str) -> Rule {
        Rule {
            id: id.to_owned(),
            enabled: true,
            scope: Scope { form, prefix: Some(prefix.to_owned()), ..Scope::default() },
            expiration: Some(Expiration::Days(1)),
            noncurrent: None,
            abort_days: None,
        }
    }

    fn why(rules: &[Rule]) -> String {
        match check(rules, false) {
            Ok(()) => String::new(),
            Err(Refusal::Shape) => "shape".to_owned(),
            Err(Refusal::Argument(why) | Refusal::Request(why)) => why,
        }
    }

    fn with(change: impl FnOnce(&mut Rule)) -> String {
        let mut rule = rule("a", Form::And, "");
        change(&mut rule);
        why(&[rule])
    }

    fn tag(key: &str) -> (String, String) {
        (key.to_owned(), "v".to_owned())
    }

    #[test]
    fn rules_of_both_forms_are_accepted_but_not_together() {
        assert_eq!(why(&[rule("a", Form::Prefix, "a/"), rule("b", Form::Prefix, "b/")]), "");
        assert_eq!(why(&[rule("a", Form::Filter, "a/"), rule("b", Form::And, "a/b")]), "");
        let mixed = [rule("a", Form::Prefix, "a"), rule("b", Form::Filter, "b")];
        assert!(why(&mixed).contains("can only be used in Lifecycle V2"));
        let mixed = [rule("a", Form::Filter, "a"), rule("b", Form::Prefix, "b")];
        assert!(why(&mixed).starts_with("Base level prefix"));
    }

    #[test]
    fn ids_are_there_once_and_short_enough() {
        assert_eq!(why(&[]), "shape");
        assert!(with(|rule| rule.id = "é".repeat(256)).contains("limit of 255"));
        assert_eq!(with(|rule| rule.id = "é".repeat(255)), "");
        assert_eq!(with(|rule| rule.id.clear()), "shape");
        let twice = [rule("a", Form::Filter, "a"), rule("a", Form::Filter, "b")];
        assert!(why(&twice).contains("must be unique"));
        let numbered = |n: usize| rule(&n.to_string(), Form::Filter, "");
        assert_eq!(why(&(0..1000).map(numbered).collect::<Vec<_>>()), "");
        assert!(why(&(0..1001).map(numbered).collect::<Vec<_>>()).contains("1000 rules"));
    }

    #[test]
    fn prefixes_of_the_older_form_do_not_overlap_for_one_kind_of_action() {
        let a = rule("a", Form::Prefix, "logs/");
        let mut b = rule("b", Form::Prefix, "logs/old/");
        assert!(why(&[b.clone(), a.clone()]).contains("prefixes 'logs/' and 'logs/old/'"));
        (b.expiration, b.abort_days) = (None, Some(3));
        assert_eq!(why(&[b, a]), "");
    }

    #[test]
    fn a_scope_has_the_conditions_of_its_form_and_they_can_hold_together() {
        let form = |form: Form| move |rule: &mut Rule| rule.scope.form = form;
        assert_eq!(with(form(Form::Filter)), "");
        let two = |rule: &mut Rule| {
            rule.scope.form = Form::Filter;
            rule.scope.tags = vec![tag("a")];
        };
        assert_eq!(with(two), "shape");
        assert_eq!(with(|rule| rule.scope = Scope::default()), "");
        let none = Scope { form: Form::And, ..Scope::default() };
        assert_eq!(with(|rule| rule.scope = none), "shape");
        assert_eq!(with(|rule| rule.scope.tags = vec![tag("a"), tag("b")]), "");
        let twice = |rule: &mut Rule| rule.scope.tags = vec![tag("a"), tag("a")];
        assert!(with(twice).contains("Duplicate Tag Keys"));
        assert!(with(|rule| rule.scope.tags = vec![tag("")]).contains("TagKey"));
        assert!(with(|rule| rule.scope.smaller = Some(0)).contains("between 1"));
        assert!(with(|rule| rule.scope.larger = Some(SIZE_MAX + 1)).contains("between 0"));
        let sizes = |larger, smaller| {
            with(|rule: &mut Rule| {
                (rule.scope.larger, rule.scope.smaller) = (Some(larger), Some(smaller));
            })
        };
        assert_eq!(sizes(10, 11), "");
        assert!(sizes(10, 10).contains("greater than 'ObjectSizeGreaterThan'"));
        assert!(with(|rule| rule.scope.prefix = Some("x".repeat(1025))).contains("1024"));
    }

    #[test]
    fn actions_go_with_the_scopes_that_they_can_have() {
        assert!(with(|rule| rule.expiration = None).contains("At least one action"));
        for change in
            [(|rule| rule.expiration = Some(Expiration::Markers(true))) as fn(&mut Rule), |rule| {
                rule.abort_days = Some(1)
            }]
        {
            let tagged = |rule: &mut Rule| rule.scope.tags = vec![tag("a")];
            assert_eq!(with(change), "");
            let both = |rule: &mut Rule| (change(rule), tagged(rule)).1;
            assert!(with(both).contains("cannot be specified with Tags"));
            let sized = |rule: &mut Rule| (change(rule), rule.scope.larger = Some(1)).1;
            assert!(with(sized).contains("cannot be specified with Object Size"));
        }
        let mut keeping = rule("a", Form::Filter, "");
        keeping.noncurrent = Some(Noncurrent { days: 1, keep: Some(500) });
        assert_eq!(why(&[keeping.clone()]), "");
        keeping.scope.form = Form::Prefix;
        assert!(why(&[keeping]).contains("NewerNoncurrentVersions"));
    }
}
