//! What a node's program says, reads and writes: to be compared before an upgrade.

use crate::engine::Error;
use crate::net::spoken::{Spoken, spoken};
use crate::store::{Formats, formats};

use super::api::Api;
use super::elsewhere::REGION;
use super::model::{Kinds, NodeProgram, Program};
use super::route::{Call, Route, route};

pub(super) const ROUTES: &[Route] = &[route!(GET "program", Operator, program, () => NodeProgram,
    [REGION], "What the program of the node that answers says to others, reads and writes.")];

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn program(api: &Api, _: &Call<'_>, (): ()) -> Result<NodeProgram, Error> {
    Ok(NodeProgram { region: api.engine.region(), program: this() })
}

/// This program.
pub(crate) fn this() -> Program {
    let Spoken { frames, messages, kinds } = spoken();
    let Formats { directory, oldest, log } = formats();
    let kinds = kinds.into_iter().map(|(of, names)| Kinds { of: of.to_owned(), names });
    Program {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        frames,
        messages,
        kinds: kinds.collect(),
        format: directory,
        format_oldest: oldest,
        log,
    }
}
