//! The certificates with which nodes prove who they are.

use crate::cluster::Unavailable;
use crate::engine::Error;
use crate::env::BoxFuture;

use super::api::Api;
use super::elsewhere::REGION;
use super::model::NodeCertificate;
use super::route::{Call, Route, route};

/// The certificate of the node that answers.
pub trait Certificates: Send + Sync {
    fn shown(&self) -> Result<NodeCertificate, String>;
    /// What is wrong with it.
    fn trouble(&self) -> Option<String>;
    /// Gets the next one now. An error is for people.
    fn renew(&self) -> BoxFuture<'_, Result<(), String>>;
}

pub(super) const ROUTES: &[Route] = &[
    route!(GET "certs", Operator, certs, () => NodeCertificate, [REGION],
        "The certificate with which the node proves its region to the others."),
    route!(POST "certs/renew", Operator, renew, () => NodeCertificate, [REGION],
        "Gets the node's next certificate from a node that has the cluster's authority."),
];

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn certs(api: &Api, _: &Call<'_>, (): ()) -> Result<NodeCertificate, Error> {
    api.certificates.shown().map_err(Error::Internal)
}

async fn renew(api: &Api, call: &Call<'_>, (): ()) -> Result<NodeCertificate, Error> {
    api.certificates.renew().await.map_err(Unavailable::new)?;
    certs(api, call, ()).await
}
