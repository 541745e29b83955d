//! What access decisions look at of a request, besides who, what and to what.

use std::borrow::Cow;
use std::net::IpAddr;

/// The circumstances of a request. Without any (the default) it comes from this node itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    pub source_ip: Option<IpAddr>,
    /// It came through TLS.
    pub secure: bool,
    /// The caller says that its account pays for the request.
    pub pays: bool,
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// Values of condition keys, whose names are lower case (`aws:referer`, `s3:prefix`). A key
    /// with several values is here several times.
    pub values: Vec<(Cow<'static, str>, Cow<'static, str>)>,
}

/// The key of the version that is meant.
pub const VERSION_ID: &str = "s3:versionid";

/// The key of the prefix that a list is asked for.
pub const PREFIX: &str = "s3:prefix";

impl Circumstances {
    /// The same request, which sets these tags.
    #[must_use]
    pub fn with_tags(mut self, tags: &[(String, String)]) -> Self {
        for (name, value) in tags {
            let tag = format!("s3:requestobjecttag/{name}");
            self.values.push((tag.into(), value.clone().into()));
            self.values.push(("s3:requestobjecttagkeys".into(), name.clone().into()));
        }
        self
    }

    /// The same request as if it asked for the list of what begins with this.
    #[must_use]
    pub fn of_prefix(&self, prefix: &str) -> Self {
        let mut other = self.clone();
        other.values.retain(|(name, _)| name != PREFIX);
        other.values.push((PREFIX.into(), prefix.to_owned().into()));
        other
    }

    /// The same request about this version of something: of a copy's source, of a batch's key.
    #[must_use]
    pub fn of_version(&self, id: Option<String>) -> Self {
        let mut other = self.clone();
        other.values.retain(|(name, _)| name != VERSION_ID);
        other.values.extend(id.map(|id| (VERSION_ID.into(), id.into())));
        other
    }
}
