//! `godwit backup create|verify|restore`: a node's records and bytes in one file.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Subcommand;
use http::Method;
use serde_json::json;

use super::error::{CliError, Exit};
use super::upkeep::Target;
use super::{Common, files, output};
use crate::admin::model::{self, BackupState};
use crate::env::Env;
use crate::node::identity::Charter;
use crate::node::{self, NodeError};
use crate::store::backup::{self, Progress, Totals, Verified};
use crate::store::{self, Store};
use crate::types::region::{RegionId, RegionInfo};

/// Between two looks at a node that works.
const LOOK_EVERY: Duration = Duration::from_millis(300);

#[derive(Subcommand)]
pub(super) enum Backup {
    /// Write a backup of a node while it runs; the node writes the file on its own machine
    Create(Task),
    /// Read a backup on this machine and hash everything again
    Verify {
        /// The file
        file: PathBuf,
    },
    /// Bring back bytes that the records of a living node name; or with --new a whole cluster
    Restore {
        /// Files of one cluster's regions; a living node takes one
        #[arg(required = true, num_args = 1..)]
        files: Vec<PathBuf>,
        /// Make a new cluster of everything in the files: this is its first node's data directory
        #[arg(long, value_name = "DIR", requires = "regions")]
        new: Option<PathBuf>,
        /// The regions of the new cluster; the first one gets the data: iad,fra,nrt
        #[arg(long, value_delimiter = ',', value_name = "CODES", requires = "new")]
        regions: Vec<RegionId>,
        #[command(flatten)]
        target: Target,
    },
    /// Show how far the backup or restore of a node is
    Status(Target),
    /// End the one that is under way
    Stop(Target),
}

#[derive(clap::Args)]
pub(super) struct Task {
    /// The file, on the machine of the node
    file: PathBuf,
    #[command(flatten)]
    target: Target,
}

pub(super) fn run(common: &Common, command: Backup) -> Result<Exit, CliError> {
    match command {
        Backup::Create(Task { file, target }) => ask(common, &target, "backup/create", &file),
        Backup::Verify { file } => verify(common, &file),
        Backup::Restore { files, new: Some(dir), regions, .. } => {
            found(common, &files, &dir, &regions)
        }
        Backup::Restore { files, new: None, target, .. } => match files.as_slice() {
            [file] => ask(common, &target, "backup/restore", file),
            _ => Err(CliError::new(Exit::Usage, "Usage", "a living node takes one file at a time")
                .hint("--new DIR makes a new cluster of several")),
        },
        Backup::Status(target) => {
            show(common, &target.client()?.of_region(Method::GET, "backup", target.region, &())?)
        }
        Backup::Stop(target) => {
            let stop = target.client()?.of_region(Method::POST, "backup/stop", target.region, &());
            show(common, &stop?)
        }
    }
}

/// Lets a node work and watches it.
fn ask(common: &Common, target: &Target, what: &str, file: &Path) -> Result<Exit, CliError> {
    let path = std::path::absolute(file).map_err(|error| CliError::file(file, &error))?;
    let client = target.client()?;
    let task = model::BackupTask { path: path.display().to_string() };
    let mut now: model::Backup = client.of_region(Method::POST, what, target.region, &task)?;
    let terminal = std::io::stderr().is_terminal() && !common.json;
    while now.state == BackupState::Running {
        if terminal {
            let line = format!("{} records, {} blobs, {} bytes", now.records, now.blobs, now.bytes);
            output::progress(&line);
        }
        client.wait(LOOK_EVERY)?;
        now = client.of_region(Method::GET, "backup", target.region, &())?;
    }
    if terminal {
        output::progress("");
    }
    show(common, &now)
}

fn show(common: &Common, now: &model::Backup) -> Result<Exit, CliError> {
    if let (BackupState::Failed, Some(why)) = (now.state, &now.why) {
        return Err(CliError::new(Exit::Failure, "Backup", why)
            .hint(format!("{} was not written or read to its end", now.path)));
    }
    if common.json {
        output::json(now);
        return Ok(Exit::Ok);
    }
    let state = match now.state {
        BackupState::None => "none since the node started",
        BackupState::Running => "under way",
        BackupState::Done if now.restores => "brought back",
        BackupState::Done => "written",
        BackupState::Failed => "failed",
    };
    let what = format!("{} records, {} blobs, {} bytes", now.records, now.blobs, now.bytes);
    output::line(&format!("{state}   {what}   {}", now.path));
    if now.absent > 0 {
        output::note(&format!(
            "{} bodies are held by other regions only; make a backup there too",
            now.absent
        ));
    }
    Ok(Exit::Ok)
}

fn environment() -> Result<(tokio::runtime::Runtime, Env), CliError> {
    let runtime =
        node::env::runtime().map_err(|error| CliError::new(Exit::Failure, "Failure", error))?;
    let env = node::env::real(runtime.handle(), Path::new("/"));
    Ok((runtime, env))
}

fn refused(file: &Path, error: &store::Error) -> CliError {
    CliError::new(Exit::Failure, "Backup", format!("{}: {error}", file.display()))
}

fn verify(common: &Common, file: &Path) -> Result<Exit, CliError> {
    let (_runtime, env) = environment()?;
    let found = backup::verify(&env, file).map_err(|error| refused(file, &error))?;
    let Verified { info, totals, elsewhere } = found;
    if common.json {
        output::json(&json!({
            "file": file.display().to_string(),
            "cluster": info.cluster.to_string(),
            "region": info.region,
            "version": info.version,
            "started_ms": info.started_ms,
            "records": totals.records,
            "blobs": totals.blobs,
            "bytes": totals.bytes,
            "elsewhere": elsewhere,
        }));
        return Ok(Exit::Ok);
    }
    let Totals { records, blobs, bytes, .. } = totals;
    output::line(&format!("whole   {records} records, {blobs} blobs, {bytes} bytes"));
    output::line(&format!("of      region {} of cluster {}", info.region, info.cluster));
    if elsewhere > 0 {
        output::note(&format!("{elsewhere} bodies that records name are in other regions only"));
    }
    Ok(Exit::Ok)
}

/// A new cluster, under a new id, with everything that is in the files.
fn found(
    common: &Common,
    backups: &[PathBuf],
    dir: &Path,
    regions: &[RegionId],
) -> Result<Exit, CliError> {
    let (runtime, env) = environment()?;
    for file in backups {
        backup::verify(&env, file).map_err(|error| refused(file, &error))?;
    }
    let settings = files::settings(common.config.as_deref())?;
    let known = files::regions(&settings.regions)?;
    let infos: Result<Vec<RegionInfo>, CliError> =
        regions.iter().map(|code| Ok(known.find(*code)?.info())).collect();
    let failed = |error: NodeError| CliError::new(Exit::Failure, "Cluster", error);
    let charter = Charter::new(&env, infos?).map_err(failed)?;
    files::private_dir(dir)?;
    if dir.join("store").exists() || Charter::load(&env, dir).map_err(failed)?.is_some() {
        let message = format!("{} is in use already", dir.display());
        return Err(CliError::new(Exit::Conflict, "InUse", message).hint("take an empty directory"));
    }
    let first = regions.first().copied();
    let first = first.ok_or_else(|| CliError::new(Exit::Usage, "Usage", "no region is named"))?;
    let taken = runtime.block_on(async {
        let (store, _) =
            Store::open(env.clone(), store::Options::new(dir.join("store"), first)).await?;
        let (progress, mut all) = (Progress::default(), Totals::default());
        for file in backups {
            let totals = store.take_over(file, &progress).await?;
            all.records += totals.records;
            all.blobs += totals.blobs;
            all.bytes += totals.bytes;
        }
        store.close().await?;
        Ok::<_, store::Error>(all)
    });
    let all = taken.map_err(|error| refused(dir, &error))?;
    charter.save(&env, dir).map_err(failed)?;
    let cluster = charter.members().cluster().to_string();
    let key = charter.first_key();
    if common.json {
        output::json(&json!({
            "cluster": cluster, "region": first, "records": all.records, "blobs": all.blobs,
            "bytes": all.bytes, "access_key": key.access_key.to_string(),
            "secret_key": &*key.record.secret.0,
        }));
        return Ok(Exit::Ok);
    }
    output::line(&format!("AWS_ACCESS_KEY_ID={}", key.access_key));
    output::line(&format!("AWS_SECRET_ACCESS_KEY={}", key.record.secret.0));
    output::note(&format!(
        "Cluster {cluster}: {} records and {} bytes are in {}. The keys of the old cluster are \
         there as well.",
        all.records,
        all.bytes,
        dir.display()
    ));
    output::note("Start it with `godwit serve`; `godwit cluster token REGION` joins the others.");
    Ok(Exit::Ok)
}
