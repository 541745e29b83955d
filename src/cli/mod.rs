//! The commands. Each has a file of its own; this one has what they share.
//!
//! Invariant: results go to standard output, everything else to standard error; the exit code says
//! what kind of failure it was; a message says what to do next.

mod backup;
mod bucket;
mod cert;
mod client;
mod cluster;
mod compact;
mod config;
mod connection;
mod context;
mod dev;
mod doctor;
mod error;
mod events;
mod files;
mod health;
mod keyring;
mod keys;
mod link;
mod live;
pub mod manual;
mod objects;
mod output;
mod place;
mod process;
mod region;
mod s3;
mod serve;
mod settings;
mod status;
mod storage;
mod top;
mod trace;
mod undo;
mod upgrade;
mod upkeep;
mod version;
mod whereabouts;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use self::error::{CliError, Exit};

/// A geo-distributed, S3-compatible object store that keeps objects where they are read.
#[derive(Parser)]
#[command(name = "godwit", version, disable_help_subcommand = true, propagate_version = false)]
struct Cli {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args)]
struct Common {
    /// Print one JSON object instead of text
    #[arg(long, global = true)]
    json: bool,
    /// Print results alone: no progress, no summaries
    #[arg(short, long, global = true)]
    quiet: bool,
    /// Do not ask before something is destroyed
    #[arg(short, long, global = true)]
    yes: bool,
    /// Settings file of a node
    #[arg(
        short,
        long,
        global = true,
        env = "GODWIT_CONFIG",
        value_name = "FILE",
        hide_env_values = true
    )]
    config: Option<std::path::PathBuf>,
}

#[derive(Subcommand)]
enum Command {
    /// Write, check or restore backups
    #[command(subcommand)]
    Backup(backup::Backup),
    /// Make, list, show, change and delete buckets
    #[command(subcommand)]
    Bucket(bucket::Bucket),
    /// Write an object to standard output
    Cat(objects::Cat),
    /// Show and renew the certificates of nodes
    #[command(subcommand)]
    Cert(cert::Cert),
    /// Make a cluster, or a token with which a region joins it
    #[command(subcommand)]
    Cluster(cluster::Cluster),
    /// Give back the room on the disk that a stopped node's index has no use for
    Compact(compact::Compact),
    /// Show writes that lost against another one made at the same time, or bring one back
    Conflicts(undo::Conflicts),
    /// Print the completions of a shell
    Completions(manual::Completions),
    /// Check or show the settings of a node
    #[command(subcommand)]
    Config(config::Config),
    /// Name endpoints and their keys
    #[command(subcommand)]
    Context(context::Context),
    /// Copy files and objects
    Cp(objects::Cp),
    /// Look for what usually goes wrong
    Doctor(doctor::Doctor),
    /// Count the objects and bytes below a prefix
    Du(objects::Du),
    /// Start a whole cluster on this machine
    Dev(dev::Dev),
    /// Show what happened of late
    Events(events::EventsCommand),
    /// Ask whether a node is alive and ready, whether writes can be made, or whether it may be stopped
    Health(health::Health),
    /// Show or set how long a bucket keeps what is overwritten, deleted or lost
    Keeping(undo::Keeping),
    /// Make or check the keys of encryption at rest
    #[command(subcommand)]
    Keyring(keyring::Keyring),
    /// Make or list access keys
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Compare records and restore copies, or see how far that is
    #[command(subcommand)]
    Repair(upkeep::Steer),
    /// Check everything that a node holds, or see how far that is
    #[command(subcommand)]
    Scrub(upkeep::Steer),
    /// List buckets, or the objects of one
    Ls(objects::Ls),
    /// Print a manual page
    Man(manual::Man),
    /// Move files and objects: copy, then delete the source
    #[command(
        long_about = "Moves a file or an object, or with -r everything below a folder or a prefix: \
                      copies it, and deletes the source of what was copied.",
        after_help = "Examples:\n  godwit mv photo.jpg s3://demo/\n  \
                      godwit mv -r s3://demo/all s3://demo/old"
    )]
    Mv(objects::Cp),
    /// Show or set where a bucket lives, or move an object's primary
    Place(place::PlaceCommand),
    /// Make a URL that is good for a while without a key
    Presign(objects::Presign),
    /// Drop cached copies
    Purge(place::PurgeCommand),
    /// Look at the regions of a cluster
    #[command(subcommand)]
    Region(region::Region),
    /// Delete objects
    Rm(objects::Rm),
    /// Run one node
    Serve(serve::Serve),
    /// Show what is known of an object
    Stat(objects::Stat),
    /// Show the regions as a node sees them
    Status(status::Status),
    /// Make a bucket with an access key of its own
    #[command(subcommand)]
    Storage(storage::Storage),
    /// Bring back what was deleted or overwritten
    Undelete(undo::Undelete),
    /// Make a folder or prefix like another
    Sync(objects::Sync),
    /// Show what the regions do, again and again
    Top(top::Top),
    /// Show the requests of all regions as they end
    Trace(trace::Trace),
    /// Look whether this program may open a data directory
    #[command(subcommand)]
    Upgrade(upgrade::Upgrade),
    /// Print the version
    Version,
    /// Show where an object lives, who reads it, and why it moved
    Where(whereabouts::Where),
}

/// Runs the command line; the whole of `main`.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            let code = if error.use_stderr() { Exit::Usage } else { Exit::Ok };
            return match error.print() {
                Ok(()) => code.into(),
                Err(_) => Exit::Failure.into(),
            };
        }
    };
    let json = cli.common.json;
    match run(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            error.print(json);
            error.exit.into()
        }
    }
}

/// The commands as clap knows them.
fn command() -> clap::Command {
    <Cli as clap::CommandFactory>::command()
}

fn run(cli: Cli) -> Result<Exit, CliError> {
    let common = cli.common;
    match cli.command {
        Command::Bucket(command) => bucket::run(&common, &command),
        Command::Completions(command) => manual::completions(&command),
        Command::Doctor(command) => doctor::run(&common, &command),
        Command::Man(command) => manual::man(&common, &command),
        Command::Region(command) => region::run(&common, command),
        Command::Top(command) => top::run(&common, &command),
        Command::Trace(command) => trace::run(&common, &command),
        Command::Cat(command) => objects::cat(&common, &command),
        Command::Cp(command) => objects::copy(&common, &command),
        Command::Du(command) => objects::du(&common, &command),
        Command::Ls(command) => objects::ls(&common, &command),
        Command::Mv(command) => objects::mv(&common, &command),
        Command::Place(command) => place::place(&common, &command),
        Command::Purge(command) => place::purge(&common, &command),
        Command::Presign(command) => objects::presign(&common, &command),
        Command::Rm(command) => objects::rm(&common, &command),
        Command::Stat(command) => objects::stat(&common, &command),
        Command::Sync(command) => objects::sync(&common, &command),
        Command::Backup(command) => backup::run(&common, command),
        Command::Cert(command) => cert::run(&common, command),
        Command::Cluster(command) => cluster::run(&common, command),
        Command::Compact(command) => compact::run(&common, &command),
        Command::Conflicts(command) => undo::conflicts(&common, command),
        Command::Context(command) => context::run(&common, command),
        Command::Config(command) => config::run(&common, command),
        Command::Dev(command) => dev::run(&common, command),
        Command::Events(command) => events::run(&common, &command),
        Command::Health(command) => health::run(&common, command),
        Command::Keeping(command) => undo::keeping(&common, &command),
        Command::Keyring(command) => keyring::run(&common, command),
        Command::Keys(command) => keys::run(&common, command),
        Command::Repair(command) => upkeep::repair(&common, &command),
        Command::Scrub(command) => upkeep::scrub(&common, &command),
        Command::Serve(command) => serve::run(&common, command),
        Command::Status(command) => status::run(&common, &command),
        Command::Storage(command) => storage::run(&common, command),
        Command::Undelete(command) => undo::undelete(&common, &command),
        Command::Upgrade(command) => upgrade::run(&common, &command),
        Command::Version => version::run(&common),
        Command::Where(command) => whereabouts::run(&common, &command),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn the_command_line_is_consistent() {
        super::Cli::command().debug_assert();
    }
}
