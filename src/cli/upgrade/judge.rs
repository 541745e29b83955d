//! What is to be said before an upgrade: pure, from what the nodes run.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::admin::model::{Kinds, Program};
use crate::cli::error::Exit;
use crate::types::region::RegionId;

/// What is known of a node's program.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Runs {
    Known(Box<Program>),
    /// Its version only: it is older than the question.
    Version(String),
    /// Why it cannot be asked.
    Unknown(String),
}

/// A region's node.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Node {
    pub region: RegionId,
    pub voter: bool,
    /// It is the one that was asked, for all.
    pub answers: bool,
    pub runs: Runs,
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Verdict {
    /// What would not work at all: do not begin.
    pub conflicts: Vec<String>,
    /// What does not work now.
    pub warnings: Vec<String>,
    /// What to know while the upgrade lasts, and after it.
    pub notes: Vec<String>,
    /// Regions that do not run this program, in the order to upgrade them.
    pub order: Vec<RegionId>,
}

impl Verdict {
    pub(super) fn exit(&self) -> Exit {
        match (self.conflicts.is_empty(), self.warnings.is_empty()) {
            (false, _) => Exit::Conflict,
            (true, false) => Exit::Degraded,
            (true, true) => Exit::Ok,
        }
    }

    /// For people.
    pub(super) fn lines(&self) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        out.extend(self.conflicts.iter().map(|line| format!("conflict: {line}")));
        out.extend(self.warnings.iter().map(|line| format!("warning: {line}")));
        out.extend(self.notes.iter().map(|line| format!("note: {line}")));
        out.push(match (self.conflicts.is_empty(), self.order.is_empty()) {
            (false, _) => "do not upgrade with this program".to_owned(),
            (true, true) => "every region runs this program".to_owned(),
            (true, false) => format!(
                "upgrade one after the other: {}. `godwit health cluster --maintenance` says when a \
                 node may be stopped; go on when it is `ready` again.",
                codes(&self.order)
            ),
        });
        out
    }
}

/// Compares this program with what the nodes run, and those with each other.
pub(super) fn judge(own: &Program, nodes: &[Node]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut known: Vec<(&Program, Vec<RegionId>)> = Vec::new();
    for node in nodes {
        match &node.runs {
            Runs::Known(program) => {
                match known.iter_mut().find(|(other, _)| *other == &**program) {
                    Some((_, regions)) => regions.push(node.region),
                    None => known.push((program, vec![node.region])),
                }
            }
            Runs::Version(version) => verdict.warnings.push(format!(
                "{} runs {version}, which is too old to say what it understands",
                node.region
            )),
            Runs::Unknown(why) => verdict.warnings.push(format!(
                "{} cannot be asked ({why}): it is to be back before others are stopped",
                node.region
            )),
        }
    }
    for (at, (program, regions)) in known.iter().enumerate() {
        for (other, others) in &known[at + 1..] {
            among(&mut verdict, (program, regions), (other, others));
        }
        with_own(&mut verdict, own, program, &codes(regions));
    }
    verdict.order = order(own, nodes);
    verdict
}

/// Two programs that run at the same time now.
fn among(
    verdict: &mut Verdict,
    (one, ones): (&Program, &[RegionId]),
    (other, others): (&Program, &[RegionId]),
) {
    let (ones, others) = (codes(ones), codes(others));
    if !speak_alike(one, other) {
        verdict.conflicts.push(format!("{ones} and {others} do not understand each other now"));
        return;
    }
    for (knows_less, more, less, says) in
        [(&ones, other, one, &others), (&others, one, other, &ones)]
    {
        let missing = unknown_to(less, more);
        if !missing.is_empty() {
            verdict.warnings.push(format!(
                "{knows_less} does not know all that {says} may say ({missing}): what needs it is \
                 refused until {knows_less} is upgraded"
            ));
        }
    }
}

/// This program in the place of one that runs.
fn with_own(verdict: &mut Verdict, own: &Program, runs: &Program, regions: &str) {
    if own == runs {
        return;
    }
    if !speak_alike(own, runs) {
        verdict.conflicts.push(format!(
            "a node of this program and {regions} ({}) would not understand each other: upgrade to a \
             version between them first",
            runs.version
        ));
        return;
    }
    let missing = unknown_to(own, runs);
    if !missing.is_empty() {
        verdict.conflicts.push(format!(
            "this program does not know all that {regions} ({}) may say ({missing}): it is the older \
             one",
            runs.version
        ));
    }
    if runs.format > own.format || runs.log > own.log {
        verdict.conflicts.push(format!(
            "directories of {regions} have format {}, this program reads up to {}",
            runs.format, own.format
        ));
    }
    if runs.format < own.format_oldest {
        verdict.conflicts.push(format!(
            "directories of {regions} have format {}, this program reads from {} on: upgrade to a \
             version between them first",
            runs.format, own.format_oldest
        ));
    }
    let missing = unknown_to(runs, own);
    if !missing.is_empty() {
        verdict.notes.push(format!(
            "until all are upgraded, {regions} will not know all that upgraded nodes may say \
             ({missing})"
        ));
    }
    if runs.format < own.format || runs.log < own.log {
        verdict.notes.push(format!(
            "there is no way back: once this program has opened a directory of {regions}, {} refuses \
             it",
            runs.version
        ));
    }
}

/// Versions are equal, and no kind of one is another thing to the other.
fn speak_alike(one: &Program, other: &Program) -> bool {
    let alike = |kinds: &Kinds| {
        let others = names(other, &kinds.of);
        kinds.names.iter().zip(others).all(|(mine, its)| mine == its)
    };
    one.frames == other.frames && one.messages == other.messages && one.kinds.iter().all(alike)
}

/// Kinds that `one` does not know and `other` does.
fn unknown_to(one: &Program, other: &Program) -> String {
    let mut missing = BTreeMap::new();
    for kinds in &other.kinds {
        let new = kinds.names.get(names(one, &kinds.of).len()..).unwrap_or_default();
        if !new.is_empty() {
            missing.insert(&kinds.of, new.join(", "));
        }
    }
    let parts: Vec<String> = missing.iter().map(|(of, names)| format!("{of} {names}")).collect();
    parts.join("; ")
}

fn names<'a>(program: &'a Program, of: &str) -> &'a [String] {
    let found = program.kinds.iter().find(|kinds| kinds.of == of);
    found.map_or(&[], |kinds| kinds.names.as_slice())
}

/// Regions without a vote first, and the node that answers last.
fn order(own: &Program, nodes: &[Node]) -> Vec<RegionId> {
    let differs = |node: &&Node| match &node.runs {
        Runs::Known(program) => **program != *own,
        Runs::Version(_) | Runs::Unknown(_) => true,
    };
    let mut left: Vec<&Node> = nodes.iter().filter(differs).collect();
    left.sort_by_key(|node| (node.answers, node.voter, node.region));
    left.iter().map(|node| node.region).collect()
}

fn codes(regions: &[RegionId]) -> String {
    let codes: Vec<String> = regions.iter().map(ToString::to_string).collect();
    codes.join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(version: &str, kinds: &[&str]) -> Program {
        let names = kinds.iter().map(|name| (*name).to_owned()).collect();
        Program {
            version: version.to_owned(),
            frames: 1,
            messages: 1,
            kinds: vec![Kinds { of: "question".to_owned(), names }],
            format: 2,
            format_oldest: 1,
            log: 1,
        }
    }

    fn node(code: &str, voter: bool, program: &Program) -> Node {
        let region = RegionId::parse(code).unwrap();
        let runs = Runs::Known(Box::new(program.clone()));
        Node { region, voter, answers: code == "fra", runs }
    }

    fn with(code: &str, runs: Runs) -> Node {
        Node { runs, ..node(code, true, &program("0", &[])) }
    }

    #[test]
    fn a_cluster_that_runs_this_program_has_nothing_to_do() {
        let own = program("2", &["A", "B"]);
        let verdict = judge(&own, &[node("fra", true, &own), node("iad", true, &own)]);
        assert_eq!((verdict.exit(), &verdict), (Exit::Ok, &Verdict::default()));
        assert_eq!(verdict.lines(), ["every region runs this program"]);
    }

    #[test]
    fn an_older_cluster_is_upgraded_voters_and_the_node_that_answers_last() {
        let (own, old) = (program("2", &["A", "B"]), program("1", &["A"]));
        let nodes = ["fra", "iad", "nrt"].map(|code| node(code, code != "nrt", &old));
        let verdict = judge(&own, &nodes);
        assert_eq!(verdict.exit(), Exit::Ok);
        assert_eq!(codes(&verdict.order), "nrt, iad, fra");
        let note = "until all are upgraded, fra, iad, nrt will not know all that upgraded nodes may \
                    say (question B)";
        assert_eq!(verdict.notes, [note]);
        // Half way, what that means for now is a warning.
        let half = [node("fra", true, &old), node("iad", true, &old), node("nrt", false, &own)];
        let verdict = judge(&own, &half);
        assert_eq!(
            (verdict.exit(), codes(&verdict.order)),
            (Exit::Degraded, "iad, fra".to_owned())
        );
        assert!(verdict.warnings[0].starts_with("fra, iad does not know all that nrt may say"));
    }

    #[test]
    fn programs_that_would_not_understand_each_other_are_a_conflict() {
        let own = program("2", &["A", "B"]);
        let others = [
            Program { frames: 2, ..own.clone() },
            Program { messages: 2, ..own.clone() },
            // Another kind under the same number, and one that this program does not know.
            program("2", &["A", "C"]),
            program("3", &["A", "B", "C"]),
            Program { format: 3, ..own.clone() },
            Program { log: 2, ..own.clone() },
            Program { format: 0, format_oldest: 0, ..own.clone() },
        ];
        for other in others {
            let verdict = judge(&own, &[node("fra", true, &other)]);
            assert_eq!(verdict.exit(), Exit::Conflict, "{other:?}");
            assert_eq!(verdict.lines().last().unwrap(), "do not upgrade with this program");
        }
        let two =
            [node("fra", true, &own), node("iad", true, &Program { frames: 2, ..own.clone() })];
        let conflicts = judge(&own, &two).conflicts;
        assert!(conflicts.contains(&"fra and iad do not understand each other now".to_owned()));
    }

    #[test]
    fn a_newer_format_has_no_way_back() {
        let own = Program { format: 3, ..program("2", &["A"]) };
        let verdict = judge(&own, &[node("fra", true, &program("1", &["A"]))]);
        assert_eq!(verdict.exit(), Exit::Ok);
        assert!(verdict.notes[0].starts_with("there is no way back"), "{verdict:?}");
    }

    #[test]
    fn a_node_that_says_nothing_is_a_warning() {
        let own = program("2", &["A"]);
        let silent = [
            with("iad", Runs::Version("0.0.1".to_owned())),
            with("nrt", Runs::Unknown("unreachable".to_owned())),
        ];
        let verdict = judge(&own, &silent);
        assert_eq!((verdict.exit(), verdict.warnings.len()), (Exit::Degraded, 2));
        assert_eq!(codes(&verdict.order), "iad, nrt");
    }
}
