//! What happened of late, in a file beside the store, so that it is there after a restart.
//!
//! One JSON object a line, the newest last, for people to read when the node does not start.
//! Invariant: the file stays below its bound, and nothing waits for it: what cannot be written is
//! tried again, what cannot be read is left out. It is not synced: what the power takes with it is
//! in the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::cluster::{Cluster, Happened};
use crate::env::{DiskFile, Env, OpenMode};
use crate::limits;

use super::files;
use super::shutdown::Stop;

/// Beside the store's directory.
const FILE: &str = "events.jsonl";

/// Between two looks for something new.
const LOOK_EVERY: Duration = Duration::from_secs(1);

const STARTED: &str = "the node started";
const STARTED_AFTER_CRASH: &str = "the node started; before that it was not stopped in order";
const STOPS: &str = "the node stops";

#[derive(Serialize, Deserialize)]
struct Line {
    at_ms: u64,
    kind: String,
    bad: bool,
    what: String,
}

/// The file, and how far it is.
struct Kept {
    dir: PathBuf,
    file: Arc<dyn DiskFile>,
    end: u64,
    /// Things that happened since this start that it has.
    told: u64,
}

/// Reads what was before this start, says that the node started, and keeps what comes. A file that
/// cannot be opened is told; the node starts all the same.
pub(super) async fn start(env: &Env, store: &Path, cluster: &Cluster, stop: Stop) {
    let dir = store.parent().unwrap_or(store).to_owned();
    let own = env.clone();
    match env.blocking(move || Kept::open(&own, dir)).await {
        Ok((kept, earlier)) => {
            let crashed = has_crashed(&earlier);
            cluster.remember(earlier);
            cluster.note_life(crashed, if crashed { STARTED_AFTER_CRASH } else { STARTED });
            env.spawn("events", run(env.clone(), kept, cluster.clone(), stop));
        }
        Err(error) => {
            warn!(%error, "events are not kept over a restart: {FILE} cannot be opened");
            cluster.note_life(false, STARTED);
        }
    }
}

/// The last that is told of a life is not that it ended.
fn has_crashed(earlier: &[Happened]) -> bool {
    let last = earlier.iter().rev().find(|one| one.kind == "node");
    !earlier.is_empty() && last.is_none_or(|last| last.what != STOPS)
}

/// Says that the node stops, as the last thing that is kept of this start.
pub(super) fn stops(cluster: &Cluster) {
    cluster.note_life(false, STOPS);
}

async fn run(env: Env, mut kept: Kept, cluster: Cluster, mut stop: Stop) {
    let mut failing = false;
    loop {
        let ends = tokio::select! {
            biased;
            () = stop.called() => true,
            () = env.sleep(LOOK_EVERY) => false,
        };
        let (count, new) = cluster.history_since(kept.told);
        if !new.is_empty() {
            let (own, all) = (env.clone(), cluster.history());
            let (after, written) = env
                .blocking(move || {
                    let written = kept.write(&own, &new, &all);
                    (kept, written)
                })
                .await;
            kept = after;
            match written {
                Ok(()) => (kept.told, failing) = (count, false),
                Err(error) if !failing => {
                    failing = true;
                    warn!(%error, "{FILE} cannot be written; tried again");
                }
                Err(_) => {}
            }
        }
        if ends {
            return;
        }
    }
}

impl Kept {
    /// With what is in the file, the newest last.
    fn open(env: &Env, dir: PathBuf) -> io::Result<(Self, Vec<Happened>)> {
        let text = files::read(env, &dir.join(FILE))?.unwrap_or_default();
        let mut earlier: Vec<Happened> = text.lines().filter_map(parsed).collect();
        earlier.drain(..earlier.len().saturating_sub(limits::HISTORY_MAX));
        let (file, end) = whole(env, &dir, &earlier)?;
        Ok((Self { dir, file, end, told: 0 }, earlier))
    }

    /// Writes what is new behind what is there; where that has grown too long, all that is
    /// remembered, the newest first in `all`, anew.
    fn write(&mut self, env: &Env, new: &[Happened], all: &[Happened]) -> io::Result<()> {
        let text = lines(new);
        if self.end + text.len() as u64 <= limits::HISTORY_FILE_BYTES_MAX {
            self.file.write_all_at(self.end, &[text.as_bytes()])?;
            self.end += text.len() as u64;
            return Ok(());
        }
        let mut all = all.to_vec();
        all.reverse();
        (self.file, self.end) = whole(env, &self.dir, &all)?;
        Ok(())
    }
}

/// Writes the file anew, with as many of these as half of its room takes.
fn whole(env: &Env, dir: &Path, all: &[Happened]) -> io::Result<(Arc<dyn DiskFile>, u64)> {
    let mut from = all.len();
    let mut bytes = 0;
    while from > 0 {
        bytes += lines(&all[from - 1..from]).len() as u64;
        if bytes > limits::HISTORY_FILE_BYTES_MAX / 2 {
            break;
        }
        from -= 1;
    }
    files::write(env, dir, FILE, lines(&all[from..]).as_bytes())?;
    let file = env.disk.open(&dir.join(FILE), OpenMode::ReadWrite)?;
    let end = file.size()?;
    Ok((file, end))
}

fn lines(all: &[Happened]) -> String {
    let mut text = String::new();
    for Happened { at_ms, kind, bad, what } in all {
        let line = Line { at_ms: *at_ms, kind: kind.to_string(), bad: *bad, what: what.clone() };
        text += &serde_json::to_string(&line).expect("four plain fields");
        text.push('\n');
    }
    text
}

/// A line that a crash cut short, or a hand, is left out.
fn parsed(line: &str) -> Option<Happened> {
    let Line { at_ms, kind, bad, what } = serde_json::from_str(line).ok()?;
    Some(Happened { at_ms, kind: kind.into(), bad, what })
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "reads and damages what was written")]
mod tests {
    use std::fs;

    use super::*;
    use crate::node::env::{real, runtime};

    fn happened(at_ms: u64) -> Happened {
        let what = format!("fra is away, {at_ms}");
        Happened { at_ms, kind: "region".into(), bad: true, what }
    }

    #[test]
    fn what_happened_is_there_after_a_restart_and_a_torn_line_is_left_out() {
        let runtime = runtime().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let env = real(runtime.handle(), dir.path());
        let open = || Kept::open(&env, dir.path().to_owned()).unwrap();
        let (mut kept, earlier) = open();
        assert!(earlier.is_empty());
        let all = [happened(1), happened(2), happened(3)];
        kept.write(&env, &all[..2], &[]).unwrap();
        kept.write(&env, &all[2..], &[]).unwrap();
        assert_eq!(open().1, all);
        let path = dir.path().join(FILE);
        let mut bytes = fs::read(&path).unwrap();
        bytes.truncate(bytes.len() - 7);
        fs::write(&path, &bytes).unwrap();
        let (mut kept, earlier) = open();
        assert_eq!(earlier, all[..2]);
        kept.write(&env, &all[2..], &[]).unwrap();
        assert_eq!(open().1, all, "what follows a torn line is whole");
    }

    #[test]
    fn a_life_that_did_not_end_in_order_is_told() {
        let life = |what: &str| Happened { kind: "node".into(), what: what.into(), ..happened(1) };
        assert!(!has_crashed(&[]), "the first start");
        assert!(has_crashed(&[life(STARTED), happened(2)]));
        assert!(!has_crashed(&[life(STARTED), life(STOPS), happened(2)]));
        assert!(has_crashed(&[life(STOPS), life(STARTED)]));
    }

    #[test]
    fn the_file_stays_below_its_bound_and_keeps_the_newest() {
        let runtime = runtime().unwrap();
        let dir = tempfile::tempdir().unwrap();
        let env = real(runtime.handle(), dir.path());
        let (mut kept, _) = Kept::open(&env, dir.path().to_owned()).unwrap();
        let mut all: Vec<Happened> = Vec::new();
        let long = |at_ms| Happened { what: "x".repeat(900), ..happened(at_ms) };
        for at_ms in 0..400 {
            all.insert(0, long(at_ms));
            kept.write(&env, &[long(at_ms)], &all).unwrap();
            assert!(fs::metadata(dir.path().join(FILE)).unwrap().len() <= 256 << 10);
        }
        let (_, earlier) = Kept::open(&env, dir.path().to_owned()).unwrap();
        assert_eq!(earlier.last().unwrap().at_ms, 399);
        assert!(earlier.len() > 100, "{}", earlier.len());
    }
}
