//! Lifecycle rules: what a bucket's owner wants to be deleted by itself, and when.
//! Source: S3 API reference, PutBucketLifecycleConfiguration.

use serde::{Deserialize, Serialize};

/// A bucket's lifecycle configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lifecycle {
    pub rules: Vec<Rule>,
    pub smallest: SmallestTransition,
}

/// Which objects are too small to go to another class. Kept and shown: nothing goes anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SmallestTransition {
    #[default]
    AllClasses128K,
    ByClass,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub id: String,
    pub enabled: bool,
    pub scope: Scope,
    /// Of current versions.
    pub expiration: Option<Expiration>,
    pub noncurrent: Option<Noncurrent>,
    /// Uploads that are older than so many days are aborted.
    pub abort_days: Option<u32>,
}

/// Which objects a rule is about: those that all of this holds for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scope {
    pub form: Form,
    pub prefix: Option<String>,
    pub tags: Vec<(String, String)>,
    /// Only objects of more bytes.
    pub larger: Option<u64>,
    /// Only objects of fewer bytes.
    pub smaller: Option<u64>,
}

/// How a scope is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Form {
    /// The first version of the API: `Prefix` in the rule itself.
    Prefix,
    /// `Filter` with at most one condition.
    #[default]
    Filter,
    /// `Filter` with `And` in it.
    And,
}

/// What happens to current versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Expiration {
    /// So many days after they were made.
    Days(u32),
    /// From this midnight on, milliseconds since 1970.
    Date(u64),
    /// Only delete markers that have no version below them go, if so.
    Markers(bool),
}

/// What happens to versions that another one followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Noncurrent {
    /// So many days after the next one was made.
    pub days: u32,
    /// So many of the newest are kept whatever their age.
    pub keep: Option<u32>,
}
