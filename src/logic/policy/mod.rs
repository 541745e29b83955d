//! Bucket policies: read, judged, and whether they make a bucket public.
//! Source: IAM user guide, "Policy evaluation logic" and "IAM JSON policy elements"; S3 user guide,
//! "The meaning of public".
//!
//! Invariant: an explicit deny wins over every allow. What this program cannot judge (variables,
//! unknown condition keys) is refused when the policy is set, never skipped when it is judged.

mod condition;
mod read;

use std::fmt;

use crate::types::access::Circumstances;
use crate::types::name::AccountId;

use condition::{Condition, Values};

/// What resources begin with.
const ARN: &str = "arn:aws:s3:::";

/// A policy that was read.
#[derive(Clone, Debug, PartialEq)]
pub struct Policy {
    statements: Vec<Statement>,
}

#[derive(Clone, Debug, PartialEq)]
struct Statement {
    allow: bool,
    principals: Listed<Principal>,
    /// Lower case patterns.
    actions: Listed<String>,
    /// Patterns.
    resources: Listed<String>,
    conditions: Vec<Condition>,
}

/// What an element lists, or what it excludes (`NotPrincipal`, `NotAction`, `NotResource`).
#[derive(Clone, Debug, PartialEq)]
enum Listed<T> {
    In(Vec<T>),
    NotIn(Vec<T>),
}

impl<T> Listed<T> {
    fn has(&self, is: impl Fn(&T) -> bool) -> bool {
        match self {
            Self::In(all) => all.iter().any(is),
            Self::NotIn(all) => !all.iter().any(is),
        }
    }
}

/// Whom a statement is about.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Principal {
    Anyone,
    Account(String),
    /// A service by its name (`logging.s3.amazonaws.com`).
    Service(String),
    /// Another provider of identities: nobody who comes here.
    Nobody,
}

/// What is asked of a policy.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// `None`: someone without a key.
    pub account: Option<&'a AccountId>,
    /// The access key's id stands for the name of the user.
    pub user: Option<&'a str>,
    /// `s3:GetObject`.
    pub action: &'a str,
    pub bucket: &'a str,
    pub key: Option<&'a str>,
    pub around: &'a Circumstances,
    /// Tags of the object that is there; see [`Policy::asks_for_tags`].
    pub tags: &'a [(String, String)],
}

/// What a policy says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Allow,
    Deny,
    /// Nothing.
    Silent,
}

/// Why a text is no policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed(pub String);

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Malformed {}

impl Policy {
    /// Reads the policy of a bucket.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        read::policy(text, true)
    }

    /// Reads a policy that is attached to someone: it says nothing of principals, and is judged
    /// only where that one asks.
    pub fn parse_attached(text: &str) -> Result<Self, Malformed> {
        read::policy(text, false)
    }

    /// Whether every resource is this bucket or in it.
    pub fn is_about(&self, bucket: &str) -> bool {
        let about = |pattern: &String| {
            let name = pattern.strip_prefix(ARN).unwrap_or(pattern);
            let name = name.split_once('/').map_or(name, |(name, _)| name);
            matches(name, bucket)
        };
        self.statements.iter().all(|statement| match &statement.resources {
            Listed::In(all) | Listed::NotIn(all) => all.iter().all(about),
        })
    }

    pub fn judge(&self, asked: &Asked<'_>) -> Verdict {
        self.verdict(asked, |principal, _| principal.is(asked.account))
    }

    /// What it says to a service. What it allows to anyone is for accounts; what it denies to
    /// anyone is denied to services too.
    pub fn judge_service(&self, service: &str, asked: &Asked<'_>) -> Verdict {
        self.verdict(asked, |principal, allow| match principal {
            Principal::Anyone => !allow,
            Principal::Service(name) => name == service,
            Principal::Account(_) | Principal::Nobody => false,
        })
    }

    fn verdict(&self, asked: &Asked<'_>, is: impl Fn(&Principal, bool) -> bool) -> Verdict {
        let mut verdict = Verdict::Silent;
        for statement in &self.statements {
            let about = statement.principals.has(|principal| is(principal, statement.allow));
            if !about || !statement.applies(asked) {
                continue;
            }
            match statement.allow {
                false => return Verdict::Deny,
                true => verdict = Verdict::Allow,
            }
        }
        verdict
    }

    /// Whether the tags of the object that is there matter.
    pub fn asks_for_tags(&self) -> bool {
        let conditions = self.statements.iter().flat_map(|statement| &statement.conditions);
        conditions.into_iter().any(|c| c.key.starts_with(condition::EXISTING_TAG))
    }

    /// Whether it allows anything to anyone, without a condition that says who.
    pub fn is_public(&self) -> bool {
        self.statements.iter().any(|statement| {
            let anyone = match &statement.principals {
                Listed::In(all) => all.contains(&Principal::Anyone),
                // Never with an allow.
                Listed::NotIn(_) => false,
            };
            statement.allow && anyone && !statement.conditions.iter().any(Condition::says_who)
        })
    }
}

impl Statement {
    /// Whether it is about this, whoever asks.
    fn applies(&self, asked: &Asked<'_>) -> bool {
        let resource = match asked.key {
            Some(key) => format!("{ARN}{}/{key}", asked.bucket),
            None => format!("{ARN}{}", asked.bucket),
        };
        let action = asked.action.to_ascii_lowercase();
        let values = Values(asked);
        self.actions.has(|pattern| matches(pattern, &action))
            && self.resources.has(|pattern| matches(pattern, &resource))
            && self.conditions.iter().all(|condition| condition.holds(&values))
    }
}

impl Principal {
    fn is(&self, account: Option<&AccountId>) -> bool {
        match self {
            Self::Anyone => true,
            Self::Account(id) => account.is_some_and(|account| *account.0 == **id),
            Self::Nobody | Self::Service(_) => false,
        }
    }
}

/// Whether a text is of a pattern, in which `*` is any run of characters and `?` any one.
pub fn matches(pattern: &str, text: &str) -> bool {
    let (pattern, text): (Vec<char>, Vec<char>) =
        (pattern.chars().collect(), text.chars().collect());
    let (mut p, mut t) = (0, 0);
    // Where the last `*` was, and how much of the text it has taken.
    let mut star: Option<(usize, usize)> = None;
    while t < text.len() {
        match pattern.get(p) {
            Some('*') => {
                star = Some((p, t));
                p += 1;
            }
            Some(c) if *c == '?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            Some(_) | None => match star {
                None => return false,
                Some((at, taken)) => {
                    star = Some((at, taken + 1));
                    (p, t) = (at + 1, taken + 1);
                }
            },
        }
    }
    pattern[p..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests;
