//! Writes the audit log: to a file that is rotated, or among the node's other lines.
//!
//! Invariant: only its owner may read the file; there are never more files than were asked for,
//! each of about the size that was asked for. A failure to write is told and counted; requests go
//! on.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::sync::mpsc;
use tracing::{info, warn};

use crate::config;
use crate::env::{DiskFile, Env, OpenMode};
use crate::limits;
use crate::obs::audit::{Audit, AuditMetrics};

use super::shutdown::Stop;

/// Where lines go.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum AuditTo {
    /// Nowhere: there is no audit log.
    #[default]
    Off,
    /// The node's log, with the target `godwit::audit`.
    Log,
    File(PathBuf),
}

/// How the audit log is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditOptions {
    pub to: AuditTo,
    /// A file that is larger is put aside.
    pub bytes_max: u64,
    /// So many of those are kept.
    pub keep: u16,
    /// Changes of objects are told too.
    pub objects: bool,
}

impl AuditOptions {
    pub(crate) fn of(settings: &config::Audit) -> Self {
        let to = match settings.to.as_str() {
            "off" => AuditTo::Off,
            "log" => AuditTo::Log,
            path => AuditTo::File(path.into()),
        };
        let (bytes_max, keep) = (settings.max_size.bytes(), settings.keep);
        Self { to, bytes_max, keep, objects: settings.objects }
    }
}

/// The log and the task that writes it, where there is one.
pub(super) fn start(
    env: &Env,
    options: &AuditOptions,
    metrics: &AuditMetrics,
    stop: Stop,
) -> io::Result<Audit> {
    let sink = match &options.to {
        AuditTo::Off => return Ok(Audit::default()),
        AuditTo::Log => None,
        AuditTo::File(path) => Some(Rotated::open(env, path.clone(), options)?),
    };
    let (audit, lines) = Audit::new(options.objects, metrics.clone());
    env.spawn("audit log", write(env.clone(), lines, sink, metrics.clone(), stop));
    Ok(audit)
}

async fn write(
    env: Env,
    mut lines: mpsc::Receiver<String>,
    mut sink: Option<Rotated>,
    metrics: AuditMetrics,
    mut stop: Stop,
) {
    let mut batch = Vec::new();
    loop {
        let came = tokio::select! {
            biased;
            came = lines.recv_many(&mut batch, limits::AUDIT_BATCH_MAX) => came,
            // Whoever tells has ended by now; what waits was taken by the branch above.
            () = stop.called() => 0,
        };
        if came == 0 {
            return;
        }
        sink = match sink.take() {
            None => {
                batch.iter().for_each(|line| info!(target: "godwit::audit", "{line}"));
                metrics.written.inc_by(batch.len() as u64);
                None
            }
            Some(file) => Some(append(&env, file, &batch, &metrics).await),
        };
        batch.clear();
    }
}

async fn append(env: &Env, mut file: Rotated, batch: &[String], metrics: &AuditMetrics) -> Rotated {
    let (text, count) = (batch.join("\n") + "\n", batch.len() as u64);
    let own = env.clone();
    let (file, written) = env
        .blocking(move || {
            let written = file.append(&own, text.as_bytes());
            (file, written)
        })
        .await;
    match written {
        Ok(()) => metrics.written.inc_by(count),
        Err(error) => {
            warn!(%error, path = %file.path.display(), "the audit log cannot be written");
            metrics.dropped.inc_by(count)
        }
    };
    file
}

/// A file that is put aside as `NAME.1` when it is large, the one before as `NAME.2`, and so on.
struct Rotated {
    path: PathBuf,
    bytes_max: u64,
    keep: u16,
    file: Arc<dyn DiskFile>,
    end: u64,
}

impl Rotated {
    fn open(env: &Env, path: PathBuf, options: &AuditOptions) -> io::Result<Self> {
        let file = env.disk.open(&path, OpenMode::ReadWrite)?;
        let end = file.size()?;
        Ok(Self { path, bytes_max: options.bytes_max, keep: options.keep, file, end })
    }

    fn append(&mut self, env: &Env, bytes: &[u8]) -> io::Result<()> {
        if self.end > 0 && self.end + bytes.len() as u64 > self.bytes_max {
            self.rotate(env)?;
        }
        self.file.write_all_at(self.end, &[bytes])?;
        self.end += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self, env: &Env) -> io::Result<()> {
        let older = |number: u16| -> PathBuf {
            let mut name = self.path.clone().into_os_string();
            name.push(format!(".{number}"));
            name.into()
        };
        if self.keep == 0 {
            self.file.set_len(0)?;
            self.end = 0;
            return Ok(());
        }
        for number in (1..self.keep).rev() {
            moved(env, &older(number), &older(number + 1))?;
        }
        moved(env, &self.path, &older(1))?;
        self.file = env.disk.open(&self.path, OpenMode::CreateNew)?;
        self.end = 0;
        Ok(())
    }
}

/// Renames over what was there; nothing to rename is as good.
fn moved(env: &Env, from: &Path, to: &Path) -> io::Result<()> {
    match env.disk.rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done,
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "reads what was written")]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_large_file_is_put_aside_and_only_so_many_are_kept() {
        let runtime = crate::node::env::runtime().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let env = crate::node::env::real(runtime.handle(), folder.path());
        let path = folder.path().join("audit.jsonl");
        let options = AuditOptions { bytes_max: 20, keep: 2, ..AuditOptions::default() };
        for round in 0..5 {
            // Opened again each time, as after a restart: what was there stays.
            let mut file = Rotated::open(&env, path.clone(), &options).unwrap();
            file.append(&env, format!("first {round}\n").as_bytes()).unwrap();
            file.append(&env, format!("second {round}\n").as_bytes()).unwrap();
        }
        let mut names: Vec<_> = fs::read_dir(folder.path()).unwrap().collect();
        assert_eq!(names.len(), 3, "the file and two older ones");
        names.clear();
        let text = |name: &str| fs::read_to_string(folder.path().join(name)).unwrap();
        assert_eq!(text("audit.jsonl"), "first 4\nsecond 4\n");
        assert_eq!(text("audit.jsonl.1"), "first 3\nsecond 3\n");
        assert_eq!(text("audit.jsonl.2"), "first 2\nsecond 2\n");
    }
}
