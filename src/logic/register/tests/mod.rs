//! Models of the register, walked through every state by `stateright`, and each rule of DESIGN
//! section 8 left out once: then the walk must end at a fault.
//!
//! Each walk prints how many states it has; `just long models` walks the larger worlds.

#[allow(dead_code, reason = "each test program uses a part of this")]
#[allow(unreachable_pub, reason = "a module of test programs")]
#[path = "../../../../tests/common/linear.rs"]
pub(crate) mod linear;
mod rules;
mod world;

use std::fmt::Debug;
use std::hash::Hash;
use std::io::Write as _;

use stateright::{Checker, HasDiscoveries, Model};

/// Walks every state that can be reached, or to the first fault: the number of different states,
/// and what broke and how.
fn walk<M>(what: &str, model: M) -> (usize, Option<String>)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + PartialEq + Hash + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let wanted = model.properties().into_iter().filter(|p| !p.expectation.discovery_is_failure());
    let wanted: Vec<&'static str> = wanted.map(|p| p.name).collect();
    let checker = model.checker().finish_when(HasDiscoveries::AnyFailures).spawn_dfs().join();
    let mut found = checker.discoveries();
    let states = checker.unique_state_count();
    // Past the capture of tests that pass: the numbers stand in every run.
    writeln!(std::io::stderr(), "model: {what}: {states} states").unwrap();
    let missing = wanted.iter().find(|name| found.remove(**name).is_none());
    let fault = found.into_iter().next().map(|(name, path)| {
        let steps: Vec<String> =
            path.into_actions().iter().map(|action| format!("{action:?}")).collect();
        format!("not always: {name}\n{}", steps.join("\n"))
    });
    if fault.is_none() {
        assert_eq!(missing, None, "{what}: nothing much happens");
    }
    (states, fault)
}

/// Walks everything and finds no fault.
pub(crate) fn holds<M>(what: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + PartialEq + Hash + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let (_, fault) = walk(what, model);
    assert!(fault.is_none(), "{what}: {}", fault.unwrap_or_default());
}

/// Comes to a fault.
pub(crate) fn finds<M>(what: &str, model: M)
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Debug + PartialEq + Hash + Send + Sync,
    M::Action: Clone + Debug + PartialEq + Send + Sync,
{
    let (states, fault) = walk(what, model);
    assert!(fault.is_some(), "{what}: nothing wrong in {states} states");
}

/// Larger worlds are walked as well.
fn is_long() -> bool {
    std::env::var_os("GODWIT_LONG").is_some()
}
