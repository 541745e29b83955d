//! Commands on objects: `ls`, `cp`, `mv`, `sync`, `rm`, `cat`, `stat`, `presign`, `du`.

mod cp;
mod ls;
mod one;
mod rm;
mod sync;

pub(super) use cp::{Cp, copy, mv};
pub(super) use ls::{Du, Ls, du, ls};
pub(super) use one::{Cat, Presign, Stat, cat, presign, stat};
pub(super) use rm::{Rm, empty, rm};
pub(super) use sync::{Sync, sync};

use clap::Args;

use super::client::{Client, Endpoint};
use super::error::CliError;
use super::s3::S3;
use super::s3::glob::Filter;
use super::s3::transfer::{Mover, PART_BYTES};
use super::s3::work::{Progress, Tally};
use super::{Common, output};
use crate::limits;

/// What commands that move many objects have in common.
#[derive(Args)]
pub(super) struct Many {
    /// Say what would be done, and do nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// Only names like this (* any text, ? one character); again for more. It goes over --exclude
    #[arg(long, value_name = "PATTERN")]
    include: Vec<String>,
    /// No names like this; again for more
    #[arg(long, value_name = "PATTERN")]
    exclude: Vec<String>,
    /// Requests at the same time
    #[arg(long, value_name = "N", default_value_t = 32,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=1024))]
    concurrency: usize,
    /// Megabytes (MiB) of a part of a large object
    #[arg(long, value_name = "MIB", default_value_t = PART_BYTES >> 20,
          value_parser = clap::value_parser!(u64).range(5..=1024))]
    part_size: u64,
    /// Copies within the cluster go in parts above so many megabytes (MiB), for stores that copy less
    /// than 5 GiB at once
    #[arg(long, value_name = "MIB", hide = true, default_value_t = limits::BODY_BYTES_MAX >> 20,
          value_parser = clap::value_parser!(u64).range(5..=5120))]
    copy_whole: u64,
    #[command(flatten)]
    endpoint: Endpoint,
}

impl Many {
    fn filter(&self) -> Filter {
        Filter { include: self.include.clone(), exclude: self.exclude.clone() }
    }

    fn start(&self, common: &Common) -> Result<(Client, Mover), CliError> {
        let client = Client::signed(&self.endpoint)?;
        let s3 = S3::new(client.link.clone());
        let progress = Progress::new(common);
        let mover = Mover::new(s3, progress, self.concurrency, self.part_size << 20);
        Ok((client, mover.copying_whole(self.copy_whole << 20)))
    }
}

/// Runs `work`; uploads that an interruption left open are ended, unless they are to go on another
/// time.
fn run<T>(
    client: &Client,
    mover: &Mover,
    work: impl Future<Output = Result<T, CliError>>,
) -> Result<T, CliError> {
    let done = client.run(work);
    mover.progress.end();
    if done.is_err() && !mover.resumes() {
        // Interrupted a second time, this ends as well; the first error is told.
        let ended = client.run(async {
            mover.s3.abort_all().await;
            Ok(())
        });
        drop(ended);
    }
    done
}

/// One line at the end, for people.
fn summary(common: &Common, client: &Client, began: std::time::Duration, tally: Tally) {
    if common.json || common.quiet || tally.done + tally.failed < 2 {
        return;
    }
    let took = client.link.env.monotonic().saturating_sub(began).as_secs_f64().max(0.001);
    #[allow(clippy::cast_precision_loss, reason = "a figure for people")]
    let rate = output::size_of(tally.bytes as f64 / took);
    let failed =
        if tally.failed > 0 { format!(", {} failed", tally.failed) } else { String::new() };
    let bytes = output::size(tally.bytes);
    output::note(&format!("{} done{failed}, {bytes} in {took:.1} s ({rate}/s)", tally.done));
}
