//! The nodes of a running cluster, asked for what they run.

use serde_json::json;

use super::judge::{Node, Runs, Verdict, judge};
use crate::admin::model::{NodeProgram, PeerState, Program, RegionStatus, Status};
use crate::admin::program;
use crate::cli::client::{Client, Endpoint};
use crate::cli::error::{CliError, Exit};
use crate::cli::{Common, output};

pub(super) fn check(common: &Common, endpoint: &Endpoint) -> Result<Exit, CliError> {
    let client = Client::signed(endpoint)?;
    let status: Status = client.get("status", &[])?;
    let nodes: Vec<Node> = status.regions.iter().map(|region| ask(&client, region)).collect();
    let own = program::this();
    let verdict = judge(&own, &nodes);
    if common.json {
        output::json(&json!({ "program": own, "regions": nodes, "verdict": verdict }));
    } else {
        print(&own, &nodes, &verdict);
    }
    Ok(verdict.exit())
}

/// What a region's node runs; one that is too old to say still says its version.
fn ask(client: &Client, region: &RegionStatus) -> Node {
    let code = region.code.to_string();
    let query = [("region", code.as_str())];
    let runs = match client.get::<NodeProgram>("program", &query) {
        Ok(found) => Runs::Known(Box::new(found.program)),
        Err(error) => match client.get::<Status>("status", &query) {
            Ok(status) => Runs::Version(status.version),
            Err(_) => Runs::Unknown(error.message().to_owned()),
        },
    };
    let answers = region.state == PeerState::Here;
    Node { region: region.code, voter: region.voter, answers, runs }
}

fn print(own: &Program, nodes: &[Node], verdict: &Verdict) {
    let mut rows = vec![row("this program", "", own)];
    rows.extend(nodes.iter().map(|node| {
        let (code, voter) = (node.region.to_string(), if node.voter { "voter" } else { "" });
        match &node.runs {
            Runs::Known(program) => row(&code, voter, program),
            Runs::Version(version) => vec![code, voter.to_owned(), version.clone()],
            Runs::Unknown(_) => vec![code, voter.to_owned(), "?".to_owned()],
        }
    }));
    output::table(&rows);
    for line in verdict.lines() {
        output::line(&line);
    }
}

fn row(name: &str, voter: &str, program: &Program) -> Vec<String> {
    let Program { version, frames, messages, format, format_oldest, .. } = program;
    vec![
        name.to_owned(),
        voter.to_owned(),
        version.clone(),
        format!("messages {frames}.{messages}"),
        format!("writes format {format}, reads from {format_oldest}"),
    ]
}
