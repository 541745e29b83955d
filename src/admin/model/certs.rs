//! Certificates of nodes.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::types::region::RegionId;

/// `GET certs`: the certificate with which a node proves its region to the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct NodeCertificate {
    #[schemars(with = "String")]
    pub region: RegionId,
    /// Its only name: `REGION.CLUSTER.godwit`.
    pub subject: String,
    /// SHA-256, in hexadecimal digits.
    pub fingerprint: String,
    /// It holds from then until then: milliseconds since 1970.
    pub from_ms: u64,
    pub until_ms: u64,
    pub days_left: u64,
    /// The node asks for its next one from then on.
    pub renews_ms: u64,
    /// Whose node made it; null where it came with the node's first identity.
    #[schemars(with = "Option<String>")]
    pub issued_by: Option<RegionId>,
    pub authority: AuthorityCertificate,
    /// It has run out, or will soon, and why it was not renewed.
    #[serde(default)]
    pub trouble: Option<String>,
}

/// What makes the certificates of a cluster.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorityCertificate {
    pub cluster: String,
    /// SHA-256, in hexadecimal digits.
    pub fingerprint: String,
    /// The node that answers has it, and makes certificates of others.
    pub here: bool,
}
