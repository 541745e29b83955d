//! Where things are copied from and to: `s3://BUCKET/KEY`, a path, or `-`.

use std::fmt;
use std::path::{Component, Path, PathBuf};
use std::str::FromStr;

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Place {
    Local(PathBuf),
    Remote(Remote),
    /// Standard input or output.
    Stdio,
}

/// A bucket, and a key or a prefix in it; the key may be empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cli) struct Remote {
    pub(in crate::cli) bucket: String,
    pub(in crate::cli) key: String,
}

impl FromStr for Remote {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let rest = text.strip_prefix("s3://").ok_or("it begins with s3://")?;
        let (bucket, key) = rest.split_once('/').unwrap_or((rest, ""));
        if bucket.is_empty() {
            return Err("a bucket is named s3://BUCKET, an object s3://BUCKET/KEY".to_owned());
        }
        Ok(Self { bucket: bucket.to_owned(), key: key.to_owned() })
    }
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "-" => Ok(Self::Stdio),
            "" => Err("a path is not empty".to_owned()),
            _ if text.starts_with("s3://") => Ok(Self::Remote(text.parse()?)),
            _ => Ok(Self::Local(text.into())),
        }
    }
}

impl fmt::Display for Remote {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.key.is_empty() {
            true => write!(f, "s3://{}", self.bucket),
            false => write!(f, "s3://{}/{}", self.bucket, self.key),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Local(path) => write!(f, "{}", path.display()),
            Self::Remote(remote) => write!(f, "{remote}"),
            Self::Stdio => f.write_str("-"),
        }
    }
}

impl Remote {
    /// The prefix of everything below, which ends with a slash unless it is the whole bucket.
    pub(in crate::cli) fn folder(&self) -> Self {
        let mut folder = self.clone();
        if !folder.key.is_empty() && !folder.key.ends_with('/') {
            folder.key.push('/');
        }
        folder
    }

    /// What is at `relative` below this folder.
    pub(in crate::cli) fn below(&self, relative: &str) -> Self {
        Self { bucket: self.bucket.clone(), key: format!("{}{relative}", self.key) }
    }

    /// The last part of the key.
    pub(in crate::cli) fn name(&self) -> &str {
        self.key.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
    }
}

/// The file of a key below a folder; `None` where the key is not a path that stays in it.
pub(in crate::cli) fn file_below(folder: &Path, relative: &str) -> Option<PathBuf> {
    let plain = !relative.is_empty()
        && relative.split('/').all(|part| !part.is_empty() && part != ".")
        && !relative.contains('\0')
        && Path::new(relative).components().all(|part| matches!(part, Component::Normal(_)));
    plain.then(|| folder.join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_named_as_other_tools_name_them() {
        let remote = |text: &str| text.parse::<Remote>();
        assert_eq!(remote("s3://b/k/l").unwrap().key, "k/l");
        assert_eq!(remote("s3://b").unwrap().to_string(), "s3://b");
        assert_eq!(remote("s3://b/k").unwrap().folder().below("x").to_string(), "s3://b/k/x");
        assert_eq!(remote("s3://b").unwrap().folder().below("x").to_string(), "s3://b/x");
        assert!(remote("s3:///k").is_err() && remote("b/k").is_err());
        assert_eq!("-".parse(), Ok(Place::Stdio));
        assert_eq!("a/b".parse(), Ok(Place::Local("a/b".into())));
    }

    #[test]
    fn a_key_never_leaves_the_folder_that_it_is_copied_to() {
        let folder = Path::new("/tmp/x");
        assert_eq!(file_below(folder, "a/b").unwrap(), Path::new("/tmp/x/a/b"));
        for bad in ["../a", "a/../../b", "/etc/passwd", "a//b", "", "a/", "./a", "a\0b", ".."] {
            assert!(file_below(folder, bad).is_none(), "{bad:?}");
        }
    }
}
