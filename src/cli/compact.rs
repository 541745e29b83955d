//! `godwit compact`: the index of a stopped node is written anew, without what was deleted in it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use super::error::{CliError, Exit};
use super::{Common, output};
use crate::node;
use crate::store::{self, NotShrunk, Shrunk, Step};

/// Write the index of a stopped node anew, as short as it can be
///
/// Rows that are deleted leave room in the index, which is used again and not given back to the disk.
/// This writes what is left into a new file, reads it back, and puts it in the place of the old one.
/// It may be killed at any moment: the node then has the old index or the new one, with all that was
/// in it.
#[derive(Args)]
#[command(
    after_help = "The node must be stopped, and the disk must have room for the new file beside the \
                  old one. Exits with 5 where a node uses the directory, and where the index is \
                  damaged so that it cannot be copied as it is.\n\nExample:\n  \
                  godwit compact --data /var/lib/godwit"
)]
pub(super) struct Compact {
    /// The data directory of a stopped node
    #[arg(long, env = "GODWIT_DATA", value_name = "DIR")]
    data: PathBuf,
}

pub(super) fn run(common: &Common, command: &Compact) -> Result<Exit, CliError> {
    let dir = command.data.join("store");
    check_owner(&dir)?;
    let failed = |error: std::io::Error| CliError::new(Exit::Failure, "Failure", error);
    let runtime = node::env::runtime().map_err(failed)?;
    let env = node::env::real(runtime.handle(), &command.data);
    let terminal = output::is_terminal() && !common.json && !common.quiet;
    let began = env.monotonic();
    let shrunk = store::shrink(&env, &dir, &mut |step, done, total| {
        if terminal {
            output::progress(&told(step, done, total));
        }
    });
    if terminal {
        output::progress("");
    }
    let seconds = (env.monotonic() - began).as_secs_f64();
    let Shrunk { before, after, entries, damaged } =
        shrunk.map_err(|why| refused(&command.data, &why))?;
    if common.json {
        output::json(&json!({
            "before_bytes": before,
            "after_bytes": after,
            "entries": entries,
            "damaged": damaged,
            "seconds": seconds,
        }));
        return Ok(Exit::Ok);
    }
    let row = |name: &str, value: String| vec![name.to_owned(), value];
    output::table(&[
        row("before", output::size(before)),
        row("after", output::size(after)),
        row("entries", entries.to_string()),
        row("took", format!("{seconds:.1} s")),
    ]);
    if damaged > 0 {
        output::note(&format!("{damaged} damaged entries are as they were; the node mends them"));
    }
    Ok(Exit::Ok)
}

fn told(step: Step, done: u64, total: u64) -> String {
    let what = match step {
        Step::Reading => "reading the index",
        Step::Writing => "writing the new one",
        Step::Checking => "reading it back",
    };
    format!("{what}: {done} of {total} entries")
}

/// The new file belongs to who makes it, and the node must be able to open it.
fn check_owner(dir: &Path) -> Result<(), CliError> {
    let Ok(found) = fs::metadata(dir) else { return Ok(()) };
    let owner = found.uid();
    if rustix::process::geteuid().as_raw() == owner {
        return Ok(());
    }
    let message = format!("{} belongs to user {owner}", dir.display());
    Err(CliError::new(Exit::Denied, "Owner", message).hint("run this as the user of the node"))
}

fn refused(data: &Path, why: &NotShrunk) -> CliError {
    let dir = data.display();
    match why {
        NotShrunk::Damaged(_) | NotShrunk::Store(store::Error::Corrupt(_)) => {
            CliError::new(Exit::Conflict, "Damaged", why).hint(
                "nothing was changed; the running node mends what it can, try again after that",
            )
        }
        NotShrunk::InUse => CliError::new(Exit::Conflict, "InUse", format!("a node uses {dir}"))
            .hint("stop it first"),
        NotShrunk::Missing => {
            CliError::new(Exit::Failure, "Missing", format!("{dir} has no index"))
                .hint("--data names the directory that the node's settings name")
        }
        NotShrunk::NoRoom { needed, free } => {
            let (needed, free) = (output::size(*needed), output::size(*free));
            let message = format!("the new index needs about {needed}, and {free} are free");
            CliError::new(Exit::Failure, "NoRoom", message)
                .hint("nothing was changed; make room on the disk of the data directory")
        }
        NotShrunk::Store(error @ store::Error::Newer { .. }) => {
            CliError::new(Exit::Conflict, "NewerFormat", error)
                .hint("use the program that wrote it, or a newer one")
        }
        NotShrunk::Store(error) => CliError::new(Exit::Failure, "Failure", error)
            .hint("the index has all that it had; leave it as it is and look at the disk"),
    }
}
