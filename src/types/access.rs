//! What access decisions look at of a request, besides who, what and to what.

use std::net::IpAddr;

/// The circumstances of a request. Without any (the default) it comes from this node itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Circumstances {
    pub source_ip: Option<IpAddr>,
    /// It came through TLS.
    pub secure: bool,
    /// Milliseconds since 1970.
    pub now_ms: u64,
    /// Values of condition keys, whose names are lower case (`aws:referer`, `s3:prefix`). A key
    /// with several values is here several times.
    pub values: Vec<(String, String)>,
}

/// The key of the version that is meant.
pub const VERSION_ID: &str = "s3:versionid";

impl Circumstances {
    /// The same request about this version of something: of a copy's source, of a batch's key.
    #[must_use]
    pub fn of_version(&self, id: Option<String>) -> Self {
        let mut other = self.clone();
        other.values.retain(|(name, _)| name != VERSION_ID);
        other.values.extend(id.map(|id| (VERSION_ID.to_owned(), id)));
        other
    }
}
