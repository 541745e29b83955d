//! `/-/health/live`, `ready` and `cluster`: no key, no names of buckets or keys, one small JSON object.

use http::StatusCode;

use crate::cluster::Cluster;

use super::model::{ClusterHealth, Health};

/// Path of both, without the last part.
pub(crate) const HEALTH_PREFIX: &str = "/-/health/";

/// The answer to a path below [`HEALTH_PREFIX`]; `None`: there is no such path. `not_ready` is why
/// this node should get no requests.
pub(crate) fn answer(path: &str, not_ready: Option<&'static str>) -> Option<(StatusCode, Health)> {
    let reason = match path.strip_prefix(HEALTH_PREFIX)? {
        "live" => None,
        "ready" => not_ready,
        _ => return None,
    };
    let status = if reason.is_none() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    let health = Health { ready: not_ready.is_none(), reason: not_ready.map(str::to_owned) };
    Some((status, health))
}

/// Whether the path asks for the health of the cluster.
pub(crate) fn is_of_cluster(path: &str) -> bool {
    path.strip_prefix(HEALTH_PREFIX) == Some("cluster")
}

/// Whether writes can be made now: 200 or 503. With `maintenance=true`, whether this node may be taken
/// down without anything being refused or in danger: 200 or 412.
pub(crate) async fn of_cluster(
    cluster: Option<&Cluster>,
    query: Option<&str>,
) -> (StatusCode, ClusterHealth) {
    let maintenance = query.is_some_and(|query| query.split('&').any(|q| q == "maintenance=true"));
    let reasons = match cluster {
        None => vec!["starting".to_owned()],
        Some(cluster) if maintenance => match cluster.needed_for().await {
            Ok(reasons) => reasons,
            Err(why) => vec![format!("this cannot be told: {why}")],
        },
        Some(cluster) => cluster.trouble(),
    };
    let status = match (reasons.is_empty(), maintenance) {
        (true, _) => StatusCode::OK,
        (false, true) => StatusCode::PRECONDITION_FAILED,
        (false, false) => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, ClusterHealth { ok: reasons.is_empty(), reasons })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_that_is_not_ready_is_alive() {
        let (status, health) = answer("/-/health/live", Some("starting")).unwrap();
        assert_eq!((status, health.ready), (StatusCode::OK, false));
        let (status, health) = answer("/-/health/ready", Some("starting")).unwrap();
        assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(health.reason.as_deref(), Some("starting"));
        assert_eq!(answer("/-/health/ready", None).unwrap().0, StatusCode::OK);
        assert_eq!(answer("/-/health/other", None), None);
    }
}
