//! Which two ends of a copy of many go together.
//!
//! Invariant: nothing is written into what is being listed, and nothing is deleted that was to be
//! copied. Without this a copy of a prefix into itself finds its own copies in the list and never
//! ends, and a move of an object onto itself deletes it.

use super::glob::Filter;
use super::local;
use super::place::{Place, Remote};
use super::plan::two_ends;
use crate::cli::error::{CliError, Exit};

/// What is done with two ends.
#[derive(Clone, Copy)]
pub(in crate::cli) struct Ends<'a> {
    pub(in crate::cli) from: &'a Place,
    pub(in crate::cli) to: &'a Place,
    pub(in crate::cli) filter: &'a Filter,
    /// What is at the target alone is deleted.
    pub(in crate::cli) deletes: bool,
}

impl Ends<'_> {
    /// Refuses, before anything is listed, what makes no sense.
    pub(in crate::cli) fn check(self) -> Result<(), CliError> {
        match (self.from, self.to) {
            (Place::Local(from), Place::Remote(_)) if local::is_file(from) => {
                let message = format!("{} is a file, not a folder", from.display());
                Err(usage(message, "copy it with godwit cp, without -r"))
            }
            (Place::Remote(_), Place::Local(to)) if local::is_file(to) => {
                let message = format!("{} is a file, not a folder", to.display());
                Err(usage(message, "name a folder; one that is not there is made"))
            }
            (Place::Local(_), Place::Remote(_)) | (Place::Remote(_), Place::Local(_)) => Ok(()),
            (Place::Remote(from), Place::Remote(to)) => self.within(&from.folder(), &to.folder()),
            (Place::Local(_) | Place::Stdio, _) | (_, Place::Stdio) => Err(two_ends()),
        }
    }

    fn within(self, from: &Remote, to: &Remote) -> Result<(), CliError> {
        if from.bucket != to.bucket {
            return Ok(());
        }
        if from.key == to.key {
            let message = format!("{from} and {to} are the same place");
            return Err(usage(message, "name another prefix or bucket as the target"));
        }
        if let Some(inner) = to.key.strip_prefix(&from.key) {
            if self.filter.leaves_out(inner) {
                return Ok(());
            }
            let message =
                format!("the target {to} is below the source {from}: it would copy itself");
            let hint =
                format!("name a target beside it, or leave it out with --exclude '{inner}*'");
            return Err(usage(message, hint));
        }
        if self.deletes
            && let Some(inner) = from.key.strip_prefix(&to.key)
        {
            if self.filter.leaves_out(inner) {
                return Ok(());
            }
            let message =
                format!("the source {from} is below the target {to}: --delete would delete it");
            let hint = format!("leave it out with --exclude '{inner}*', or sync without --delete");
            return Err(usage(message, hint));
        }
        Ok(())
    }
}

/// The copy of `relative` from below one folder to below another. Of a folder that is copied upwards
/// what would land in it again is refused, as it may not be copied yet.
pub(in crate::cli) fn pair(
    (source, target): (&Remote, &Remote),
    relative: &str,
) -> Result<(Remote, Remote), CliError> {
    let (from, to) = (source.below(relative), target.below(relative));
    let upwards = source.bucket == target.bucket && source.key.starts_with(&target.key);
    if !upwards || !to.key.starts_with(&source.key) {
        return Ok((from, to));
    }
    let message = format!("{from}: its target {to} is in what is being copied");
    let hint = "copy it to another place first, or by itself with godwit cp";
    Err(CliError::new(Exit::Usage, "Usage", message).hint(hint))
}

fn usage(message: String, hint: impl Into<String>) -> CliError {
    CliError::new(Exit::Usage, "Usage", message).hint(hint)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(from: &str, to: &str, exclude: &[&str], deletes: bool) -> bool {
        let (from, to) = (from.parse().unwrap(), to.parse().unwrap());
        let exclude = exclude.iter().map(ToString::to_string).collect();
        let filter = Filter { include: Vec::new(), exclude };
        Ends { from: &from, to: &to, filter: &filter, deletes }.check().is_err()
    }

    #[test]
    fn a_prefix_is_not_copied_into_itself() {
        for (from, to) in [
            ("s3://b/p", "s3://b/p/"),
            ("s3://b", "s3://b"),
            ("s3://b", "s3://b/backup"),
            ("s3://b/p", "s3://b/p/q/r"),
            ("a", "b"),
            ("a", "-"),
        ] {
            assert!(refused(from, to, &[], false), "{from} {to}");
        }
        for (from, to) in [
            ("s3://b/p", "s3://b/p2"),
            ("s3://b/p", "s3://c/p/q"),
            ("s3://b/p/q", "s3://b/p"),
            ("s3://b/p/q", "s3://b"),
            ("absent", "s3://b/p"),
            ("s3://b/p", "absent"),
        ] {
            assert!(!refused(from, to, &[], false), "{from} {to}");
        }
    }

    #[test]
    fn a_target_that_is_left_out_is_no_part_of_the_source() {
        for (exclude, right) in
            [("backup/*", true), ("b*", true), ("*", true), ("backup/a*", false)]
        {
            assert_eq!(!refused("s3://b", "s3://b/backup", &[exclude], false), right, "{exclude}");
        }
        assert!(refused("s3://b", "s3://b/backup", &["backup/?"], false));
    }

    #[test]
    fn what_is_copied_is_not_deleted_as_surplus_of_the_target() {
        assert!(refused("s3://b/p/q", "s3://b/p", &[], true));
        assert!(refused("s3://b/p/q", "s3://b", &["q/*"], true));
        assert!(!refused("s3://b/p/q", "s3://b", &["p/q/*"], true));
        assert!(!refused("s3://b/p", "s3://b/q", &[], true));
    }

    #[test]
    fn one_object_of_many_does_not_land_in_what_is_being_read() {
        let at = |text: &str| text.parse::<Remote>().unwrap();
        let source = at("s3://b/p/q/");
        assert!(pair((&source, &at("s3://b/p/")), "q/x").is_err());
        let right = pair((&source, &at("s3://b/p/")), "x").unwrap();
        assert_eq!(right, (at("s3://b/p/q/x"), at("s3://b/p/x")));
        assert!(pair((&source, &at("s3://c/p/")), "q/x").is_ok());
        assert!(pair((&source, &at("s3://b/p/q/old/")), "x").is_ok(), "it is left out of the list");
    }
}
