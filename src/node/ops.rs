//! The operations port: metrics and health, without credentials and without names of anything.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};

use crate::admin::{self, health};
use crate::cluster::Cluster;
use crate::obs::{self, Metrics};
use crate::s3::Outgoing;
use crate::s3::reply::ReplyBody;

use super::http::Handler;
use super::readiness::Readiness;

/// Answers `/metrics` and `/-/health/...`; everything else is 404.
/// What is asked of the cluster is answered as soon as there is one.
pub(crate) fn handler(
    metrics: Arc<Metrics>,
    readiness: Readiness,
    cluster: Arc<OnceLock<Cluster>>,
) -> Handler {
    Arc::new(move |request, _| {
        let path = request.uri().path();
        if health::is_of_cluster(path) {
            let cluster = cluster.clone();
            return Box::pin(async move {
                let of = health::of_cluster(cluster.get(), request.uri().query());
                let (status, health) = Box::pin(of).await;
                admin::json(status, &health)
            });
        }
        let response = if path == "/metrics" {
            exposition(&metrics)
        } else {
            match health::answer(path, readiness.reason()) {
                Some((status, health)) => admin::json(status, &health),
                None => not_found(),
            }
        };
        Box::pin(async { response })
    })
}

fn exposition(metrics: &Metrics) -> Response<Outgoing> {
    let text = Bytes::from(metrics.text());
    let mut response = Response::new(Outgoing::new(ReplyBody::Bytes(text)));
    let kind = HeaderValue::from_static(obs::CONTENT_TYPE);
    response.headers_mut().insert(CONTENT_TYPE, kind);
    response
}

fn not_found() -> Response<Outgoing> {
    let mut response = Response::new(Outgoing::empty());
    *response.status_mut() = StatusCode::NOT_FOUND;
    response
}
