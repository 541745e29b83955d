//! Two ordered lists as one: what is here, what is there, and what is at both.
//!
//! Invariant: a list that is not in order ends the merge, because what is at one side alone could not
//! be told then.

use std::cmp::Ordering;
use std::pin::Pin;

use futures_util::stream::{self, Stream, StreamExt as _};

use super::plan::Entry;
use crate::cli::error::{CliError, Exit};

/// One name: what the source has, what the target has.
pub(in crate::cli) type Pair = (Option<Entry>, Option<Entry>);

/// A list that is being read.
type Entries = Pin<Box<dyn Stream<Item = Result<Entry, CliError>> + Send>>;

/// One side, with the next entry of it.
struct Side {
    entries: Entries,
    next: Option<Entry>,
}

impl Side {
    async fn step(&mut self) -> Result<Option<Entry>, CliError> {
        let Some(new) = self.entries.next().await.transpose()? else {
            return Ok(self.next.take());
        };
        let before = self.next.replace(new);
        match (&before, &self.next) {
            (Some(before), Some(next)) if before.relative >= next.relative => {
                let message = format!("{} is listed after {}", next.relative, before.relative);
                Err(CliError::new(Exit::Failure, "BadAnswer", message)
                    .hint("lists are in the order of their names; this one cannot be compared"))
            }
            _ => Ok(before),
        }
    }
}

/// All names of both lists in their order; a list that fails ends it.
pub(in crate::cli) fn merge(
    source: Entries,
    target: Entries,
) -> impl Stream<Item = Result<Pair, CliError>> {
    let side = |entries| Side { entries, next: None };
    let state = (side(source), side(target), false);
    stream::try_unfold(state, |(mut source, mut target, begun)| async move {
        if !begun {
            source.step().await?;
            target.step().await?;
        }
        let order = match (&source.next, &target.next) {
            (None, None) => return Ok(None),
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some(source), Some(target)) => source.relative.cmp(&target.relative),
        };
        let here = if order.is_le() { source.step().await? } else { None };
        let there = if order.is_ge() { target.step().await? } else { None };
        Ok(Some(((here, there), (source, target, true))))
    })
}

#[cfg(test)]
mod tests {
    use futures_util::TryStreamExt as _;
    use futures_util::future::FutureExt as _;

    use super::*;

    fn list(names: &[&str]) -> Entries {
        let entry = |name: &&str| {
            Ok(Entry { relative: (*name).to_owned(), size: 1, modified_ms: 1, etag: None })
        };
        Box::pin(stream::iter(names.iter().map(entry).collect::<Vec<_>>()))
    }

    fn merged(source: &[&str], target: &[&str]) -> Result<Vec<String>, CliError> {
        let pairs = merge(list(source), list(target)).map_ok(|pair| match pair {
            (Some(one), Some(other)) => {
                assert_eq!(one.relative, other.relative);
                format!("={}", one.relative)
            }
            (Some(one), None) => format!("+{}", one.relative),
            (None, Some(other)) => format!("-{}", other.relative),
            (None, None) => panic!("a pair of nothing"),
        });
        pairs.try_collect().now_or_never().unwrap()
    }

    #[test]
    fn every_name_comes_once_with_the_sides_that_have_it() {
        assert_eq!(
            merged(&["a", "c", "d"], &["b", "c", "e"]).unwrap(),
            ["+a", "-b", "=c", "+d", "-e"]
        );
        assert_eq!(merged(&[], &["a", "b"]).unwrap(), ["-a", "-b"]);
        assert_eq!(merged(&["a", "b"], &[]).unwrap(), ["+a", "+b"]);
        assert_eq!(merged(&["a"], &["a"]).unwrap(), ["=a"]);
        assert!(merged(&[], &[]).unwrap().is_empty());
    }

    #[test]
    fn a_list_that_is_not_in_order_ends_it() {
        for (source, target) in
            [(&["b", "a"][..], &[][..]), (&[], &["a", "c", "b"]), (&["a", "a"], &[])]
        {
            let error = merged(source, target).unwrap_err();
            assert!(error.message().contains("is listed after"), "{}", error.message());
        }
    }
}
