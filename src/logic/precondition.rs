//! If-Match, If-None-Match, If-Modified-Since, If-Unmodified-Since: what they mean for reads,
//! writes and copy sources.
//!
//! Invariant: a verdict depends on the conditions and the current object alone. Dates have whole
//! seconds, as HTTP has them. It does not parse headers.

use serde::{Deserialize, Serialize};

/// The conditions of a request; any of them may be missing.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Conditions {
    pub if_match: Option<ETagMatch>,
    pub if_none_match: Option<ETagMatch>,
    /// Seconds since 1970.
    pub if_modified_since: Option<u64>,
    /// Seconds since 1970.
    pub if_unmodified_since: Option<u64>,
}

/// What an If-Match or If-None-Match header lists.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ETagMatch {
    /// `*`: any object.
    Any,
    /// Entity tags without quotes and without `W/`.
    OneOf(Vec<String>),
}

impl ETagMatch {
    fn matches(&self, current: Option<Current<'_>>) -> bool {
        match (self, current) {
            (_, None) => false,
            (Self::Any, Some(_)) => true,
            (Self::OneOf(tags), Some(current)) => tags.iter().any(|t| t == current.etag),
        }
    }
}

/// The object that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Current<'a> {
    /// Without quotes.
    pub etag: &'a str,
    /// Seconds since 1970.
    pub modified_s: u64,
}

/// What a read does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The named condition does not hold.
    Failed(&'static str),
    /// The client's copy is current.
    NotModified,
    Proceed,
}

/// Why a write is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The named condition does not hold.
    Failed(&'static str),
    /// If-Match names an object and there is none: S3 answers 404.
    NoSuchKey,
}

const IF_MATCH: &str = "If-Match";
const IF_NONE_MATCH: &str = "If-None-Match";
const IF_UNMODIFIED_SINCE: &str = "If-Unmodified-Since";
const IF_MODIFIED_SINCE: &str = "If-Modified-Since";

impl Conditions {
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// For GET and HEAD. Entity tags win over dates: If-Unmodified-Since counts only without
    /// If-Match, If-Modified-Since only without If-None-Match.
    /// Source: RFC 9110 section 13.2.2; S3 API reference, GetObject.
    pub fn read(&self, current: Current<'_>) -> Verdict {
        if let Some(tags) = &self.if_match {
            if !tags.matches(Some(current)) {
                return Verdict::Failed(IF_MATCH);
            }
        } else if self.if_unmodified_since.is_some_and(|limit| current.modified_s > limit) {
            return Verdict::Failed(IF_UNMODIFIED_SINCE);
        }
        if let Some(tags) = &self.if_none_match {
            if tags.matches(Some(current)) {
                return Verdict::NotModified;
            }
        } else if self.if_modified_since.is_some_and(|limit| current.modified_s <= limit) {
            return Verdict::NotModified;
        }
        Verdict::Proceed
    }

    /// For the source of a copy: as for reads, but nothing is "not modified", it failed.
    /// Source: S3 API reference, CopyObject.
    pub fn copy_source(&self, current: Current<'_>) -> Result<(), Refusal> {
        match self.read(current) {
            Verdict::Proceed => Ok(()),
            Verdict::Failed(header) => Err(Refusal::Failed(header)),
            Verdict::NotModified if self.if_none_match.is_some() => {
                Err(Refusal::Failed(IF_NONE_MATCH))
            }
            Verdict::NotModified => Err(Refusal::Failed(IF_MODIFIED_SINCE)),
        }
    }

    /// For PUT, CompleteMultipartUpload, the target of a copy and DELETE: all that are given must
    /// hold. The dates are true of an object that is not there only for If-Unmodified-Since.
    pub fn write(&self, current: Option<Current<'_>>) -> Result<(), Refusal> {
        if let Some(tags) = &self.if_match {
            if current.is_none() {
                return Err(Refusal::NoSuchKey);
            }
            if !tags.matches(current) {
                return Err(Refusal::Failed(IF_MATCH));
            }
        }
        if self.if_none_match.as_ref().is_some_and(|tags| tags.matches(current)) {
            return Err(Refusal::Failed(IF_NONE_MATCH));
        }
        let modified_s = current.map(|c| c.modified_s);
        if let (Some(limit), Some(modified_s)) = (self.if_unmodified_since, modified_s)
            && modified_s > limit
        {
            return Err(Refusal::Failed(IF_UNMODIFIED_SINCE));
        }
        if let Some(limit) = self.if_modified_since
            && modified_s.is_none_or(|modified_s| modified_s <= limit)
        {
            return Err(Refusal::Failed(IF_MODIFIED_SINCE));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Current<'static> = Current { etag: "abc", modified_s: 100 };

    fn tags(list: &[&str]) -> Option<ETagMatch> {
        Some(ETagMatch::OneOf(list.iter().map(|t| (*t).to_owned()).collect()))
    }

    #[test]
    fn reads_follow_the_precedence_of_rfc_9110() {
        let none = Conditions::default();
        assert_eq!(none.read(NOW), Verdict::Proceed);
        let table = [
            (tags(&["abc"]), None, None, Some(50), Verdict::Proceed),
            (tags(&["x"]), None, None, Some(200), Verdict::Failed(IF_MATCH)),
            (None, None, None, Some(99), Verdict::Failed(IF_UNMODIFIED_SINCE)),
            (None, None, None, Some(100), Verdict::Proceed),
            (None, tags(&["abc"]), Some(0), None, Verdict::NotModified),
            (None, tags(&["x", "y"]), Some(200), None, Verdict::Proceed),
            (None, None, Some(100), None, Verdict::NotModified),
            (None, None, Some(99), None, Verdict::Proceed),
            (Some(ETagMatch::Any), Some(ETagMatch::Any), None, None, Verdict::NotModified),
        ];
        for (i, row) in table.into_iter().enumerate() {
            let (if_match, if_none_match, if_modified_since, if_unmodified_since, expected) = row;
            let conditions =
                Conditions { if_match, if_none_match, if_modified_since, if_unmodified_since };
            assert_eq!(conditions.read(NOW), expected, "row {i}");
        }
    }

    #[test]
    fn copy_sources_fail_where_reads_are_not_modified() {
        let same = Conditions { if_none_match: tags(&["abc"]), ..Conditions::default() };
        assert_eq!(same.copy_source(NOW), Err(Refusal::Failed(IF_NONE_MATCH)));
        let since = Conditions { if_modified_since: Some(100), ..Conditions::default() };
        assert_eq!(since.copy_source(NOW), Err(Refusal::Failed(IF_MODIFIED_SINCE)));
        let fine = Conditions {
            if_match: tags(&["abc"]),
            if_unmodified_since: Some(1),
            ..Conditions::default()
        };
        assert_eq!(fine.copy_source(NOW), Ok(()));
    }

    #[test]
    fn writes_create_only_and_replace_only() {
        let create = Conditions { if_none_match: Some(ETagMatch::Any), ..Conditions::default() };
        assert_eq!(create.write(None), Ok(()));
        assert_eq!(create.write(Some(NOW)), Err(Refusal::Failed(IF_NONE_MATCH)));
        let replace = Conditions { if_match: tags(&["abc"]), ..Conditions::default() };
        assert_eq!(replace.write(Some(NOW)), Ok(()));
        assert_eq!(replace.write(None), Err(Refusal::NoSuchKey));
        let stale = Conditions { if_match: tags(&["old"]), ..Conditions::default() };
        assert_eq!(stale.write(Some(NOW)), Err(Refusal::Failed(IF_MATCH)));
        let exists = Conditions { if_match: Some(ETagMatch::Any), ..Conditions::default() };
        assert_eq!(exists.write(None), Err(Refusal::NoSuchKey));
        let other = Conditions { if_none_match: tags(&["zzz"]), ..Conditions::default() };
        assert_eq!(other.write(Some(NOW)), Ok(()));
    }

    #[test]
    fn writes_combine_dates_with_tags() {
        let old = Conditions { if_unmodified_since: Some(99), ..Conditions::default() };
        assert_eq!(old.write(Some(NOW)), Err(Refusal::Failed(IF_UNMODIFIED_SINCE)));
        assert_eq!(old.write(None), Ok(()));
        let newer = Conditions { if_modified_since: Some(100), ..Conditions::default() };
        assert_eq!(newer.write(Some(NOW)), Err(Refusal::Failed(IF_MODIFIED_SINCE)));
        assert_eq!(newer.write(None), Err(Refusal::Failed(IF_MODIFIED_SINCE)));
        let both = Conditions {
            if_match: tags(&["abc"]),
            if_unmodified_since: Some(50),
            ..Conditions::default()
        };
        assert_eq!(both.write(Some(NOW)), Err(Refusal::Failed(IF_UNMODIFIED_SINCE)));
    }
}
