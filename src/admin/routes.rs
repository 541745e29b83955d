//! The table of the admin API, and the way from a request to its row.
//!
//! Invariant: a request is compared with its row (role, parameters) before its function sees it.

use crate::engine::Error;
use crate::s3::error::{Code, S3Error};

use super::api::Api;
use super::route::{Answer, Call, Role, Route, Shape, Verb};
use super::{
    backup, certs, cluster, dev, elsewhere, events, keys, place, program, regions, storage, tokens,
    trace, traffic, undo, upkeep, whereabouts,
};

/// All rows, by subject. Their order is that of the documents.
pub(super) const GROUPS: &[(&str, &[Route])] = &[
    ("cluster", cluster::ROUTES),
    ("regions", regions::ROUTES),
    ("certificates", certs::ROUTES),
    ("objects", whereabouts::ROUTES),
    ("places", place::ROUTES),
    ("deleted", undo::ROUTES),
    ("storage", storage::ROUTES),
    ("backup", backup::ROUTES),
    ("keys", keys::ROUTES),
    ("tokens", tokens::ROUTES),
    ("requests", trace::ROUTES),
    ("traffic", traffic::ROUTES),
    ("events", events::ROUTES),
    ("dev", dev::ROUTES),
    ("upkeep", upkeep::ROUTES),
    ("upgrades", program::ROUTES),
];

/// Every row with its subject.
pub fn all() -> impl Iterator<Item = (&'static str, &'static Route)> {
    GROUPS.iter().flat_map(|(group, routes)| routes.iter().map(move |route| (*group, route)))
}

/// Answers a request that was authenticated.
pub(super) async fn answer(api: &Api, call: &Call<'_>) -> Result<Answer, S3Error> {
    let route = find(call)?;
    match route.role {
        Role::Key => {}
        Role::Admin => drop(call.account()?),
        Role::Operator => api.operator(call)?,
    }
    compare(call, route)?;
    if route.shape != Shape::Lines
        && route.query.iter().any(|param| param.name == elsewhere::REGION.name && !param.required)
        && let Some(region) = elsewhere::region_of(api, call)?
    {
        return Ok(Box::pin(elsewhere::ask(api, call, region)).await?);
    }
    Ok((route.run)(api, call).await?)
}

pub(super) fn find(call: &Call<'_>) -> Result<&'static Route, S3Error> {
    let here: Vec<&Route> =
        all().map(|(_, route)| route).filter(|route| route.path == call.path).collect();
    let found = here.iter().find(|route| route.verb.as_str() == call.method);
    found.copied().ok_or_else(|| {
        let verbs: Vec<&str> = here.iter().map(|route| route.verb.as_str()).collect();
        let message = match verbs.is_empty() {
            true => format!("There is no `{}` in the admin API.", call.path),
            false => format!("`{}` takes {}.", call.path, verbs.join(", ")),
        };
        S3Error::with(Code::MethodNotAllowed, message)
    })
}

/// A parameter that the row does not have is a slip of the pen, and would be ignored in silence.
fn compare(call: &Call<'_>, route: &Route) -> Result<(), Error> {
    for param in route.query.iter().filter(|param| param.required) {
        call.parameter(param.name)?;
    }
    for (name, _) in call.query.pairs() {
        let of_signature = name.to_ascii_lowercase().starts_with("x-amz-");
        if !of_signature && !route.query.iter().any(|param| param.name == name) {
            let known: Vec<&str> = route.query.iter().map(|param| param.name).collect();
            let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
            return Err(Error::InvalidArgument(format!(
                "`{}` has no parameter `{name}`; it takes: {known}",
                route.path
            )));
        }
    }
    Ok(())
}

/// Whether a token that may only look is enough for this method.
pub(super) fn only_looks(method: &str) -> bool {
    method == Verb::GET.as_str()
}

#[cfg(test)]
mod tests {
    use super::{Role, all};

    /// Subjects that are one account's own.
    const OF_ACCOUNTS: [&str; 7] =
        ["objects", "places", "deleted", "storage", "keys", "tokens", "requests"];

    #[test]
    fn what_is_of_the_whole_cluster_needs_an_operator() {
        for (group, route) in all() {
            let of_account = OF_ACCOUNTS.contains(&group);
            assert_eq!(route.role != Role::Operator, of_account, "{group} {}", route.path);
        }
    }

    #[test]
    fn a_method_and_a_path_stand_for_one_row() {
        let mut seen = std::collections::BTreeSet::new();
        for (_, route) in all() {
            let row = (route.verb.as_str(), route.path);
            assert!(seen.insert(row), "{row:?} stands twice");
            assert!(!route.path.starts_with('/') && !route.path.ends_with('/'), "{row:?}");
            assert!(route.what.ends_with('.'), "{row:?}: what it does is a sentence");
        }
    }
}
