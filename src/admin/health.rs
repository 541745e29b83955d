//! `/-/health/live` and `/-/health/ready`: no key, no names, one small JSON object.

use http::StatusCode;

use super::model::Health;

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
