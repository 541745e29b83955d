//! `godwit context`: named endpoints with their keys, in a file that only its owner reads.
//!
//! What a flag or the environment says goes before what a context says, field by field.
#![allow(clippy::disallowed_methods, reason = "commands read their files before there is a node")]

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::error::{CliError, Exit};
use super::{Common, files, output};

/// Names endpoints and their keys, so that commands need neither flags nor variables.
///
/// They are in `contexts.toml` in the folder `godwit` of your configuration (`$XDG_CONFIG_HOME`, or
/// `~/.config`), or in the file that GODWIT_CONTEXTS names, which only you may read. A flag or a
/// variable of the environment goes before what the context says.
#[derive(Subcommand)]
pub(super) enum Context {
    /// Name an endpoint and the key in AWS_ACCESS_KEY_ID; the secret is read from
    /// AWS_SECRET_ACCESS_KEY or asked for
    #[command(after_help = "Examples:\n  godwit context add test --endpoint http://127.0.0.1:9000")]
    Add {
        name: String,
        /// The global endpoint, or a region's
        #[arg(long, env = "AWS_ENDPOINT_URL_S3", value_name = "URL", hide_env_values = true)]
        endpoint: String,
        #[arg(long, env = "AWS_ACCESS_KEY_ID", hide_env_values = true, value_name = "ID")]
        access_key: Option<String>,
        #[arg(long, env = "AWS_SECRET_ACCESS_KEY", hide = true, hide_env_values = true)]
        secret_key: Option<String>,
    },
    /// List them; no secret is shown
    #[command(after_help = "Examples:\n  godwit context ls")]
    Ls,
    /// Choose the one that commands use from now on
    Use { name: String },
    /// Forget one
    Rm { name: String },
}

/// The file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Contexts {
    /// The one that is used where none is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    #[serde(default)]
    contexts: BTreeMap<String, Known>,
}

/// One endpoint.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Known {
    pub(super) endpoint: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) access_key: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) secret_key: Option<String>,
}

impl std::fmt::Debug for Known {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Known").field("endpoint", &self.endpoint).finish_non_exhaustive()
    }
}

/// The largest file that is read, and the contexts in it.
const FILE_BYTES_MAX: u64 = 1 << 20;
const CONTEXTS_MAX: usize = 1000;

pub(super) fn run(common: &Common, command: Context) -> Result<Exit, CliError> {
    let path = place()?;
    let mut all = read(&path)?;
    match command {
        Context::Add { name, endpoint, access_key, secret_key } => {
            check_name(&name)?;
            if all.contexts.len() >= CONTEXTS_MAX && !all.contexts.contains_key(&name) {
                return Err(usage(format!("there are {CONTEXTS_MAX} contexts")));
            }
            let secret_key = match (&access_key, secret_key) {
                (Some(_), None) => Some(ask_secret()?),
                (_, secret_key) => secret_key,
            };
            all.contexts.insert(name.clone(), Known { endpoint, access_key, secret_key });
            all.current.get_or_insert_with(|| name.clone());
            write(&path, &all)?;
        }
        Context::Use { name } => {
            known(&all, &name)?;
            all.current = Some(name);
            write(&path, &all)?;
        }
        Context::Rm { name } => {
            known(&all, &name)?;
            output::confirm(common, &format!("forget the context {name} and its key"))?;
            all.contexts.remove(&name);
            all.current = all.current.filter(|current| *current != name);
            write(&path, &all)?;
        }
        Context::Ls => {}
    }
    show(common, &all);
    Ok(Exit::Ok)
}

/// The context of this name, or the current one where none is named.
pub(super) fn find(name: Option<&str>) -> Result<Option<Known>, CliError> {
    // Without a home there are no contexts; that is no error as long as nobody names one.
    let Ok(path) = place() else {
        return match name {
            Some(name) => Err(usage(format!("there is no context {name}: HOME is not set"))),
            None => Ok(None),
        };
    };
    let all = read(&path)?;
    match name.or(all.current.as_deref()) {
        None => Ok(None),
        Some(name) => known(&all, name).map(|known| Some(known.clone())),
    }
}

fn known<'a>(all: &'a Contexts, name: &str) -> Result<&'a Known, CliError> {
    all.contexts.get(name).ok_or_else(|| {
        CliError::new(Exit::NotFound, "NoSuchContext", format!("there is no context {name}"))
            .hint("godwit context ls shows them")
    })
}

fn usage(message: impl std::fmt::Display) -> CliError {
    CliError::new(Exit::Usage, "Usage", message)
}

fn check_name(name: &str) -> Result<(), CliError> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    match !name.is_empty() && name.len() <= 63 && name.chars().all(fine) {
        true => Ok(()),
        false => Err(usage("a name has up to 63 letters, digits, - _ and .")),
    }
}

fn show(common: &Common, all: &Contexts) {
    if common.json {
        let contexts: Vec<_> = all
            .contexts
            .iter()
            .map(|(name, known)| {
                json!({
                    "name": name,
                    "endpoint": known.endpoint,
                    "access_key": known.access_key,
                    "current": all.current.as_ref() == Some(name),
                })
            })
            .collect();
        output::json(&json!({ "contexts": contexts }));
        return;
    }
    let rows = all.contexts.iter().map(|(name, known)| {
        let mark = if all.current.as_ref() == Some(name) { "*" } else { "" };
        let key = known.access_key.clone().unwrap_or_else(|| "-".to_owned());
        vec![mark.to_owned(), name.clone(), known.endpoint.clone(), key]
    });
    output::table(&rows.collect::<Vec<_>>());
}

fn place() -> Result<PathBuf, CliError> {
    let variable = |name| files::environment(name).filter(|value| !value.is_empty());
    if let Some(path) = variable("GODWIT_CONTEXTS") {
        return Ok(path.into());
    }
    let folder = variable("XDG_CONFIG_HOME").map(PathBuf::from);
    let folder = folder.or_else(|| variable("HOME").map(|home| Path::new(&home).join(".config")));
    let folder = folder.ok_or_else(|| usage("HOME is not set").hint("set GODWIT_CONTEXTS"))?;
    Ok(folder.join("godwit/contexts.toml"))
}

fn read(path: &Path) -> Result<Contexts, CliError> {
    let failed = |error: io::Error| CliError::file(path, &error);
    let about = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Contexts::default()),
        about => about.map_err(failed)?,
    };
    if about.mode() & 0o077 != 0 {
        let why = format!("{}: others may read it, and it has secrets", path.display());
        let hint = format!("chmod 600 {}", path.display());
        return Err(CliError::new(Exit::Failure, "File", why).hint(hint));
    }
    if about.len() > FILE_BYTES_MAX {
        return Err(CliError::new(Exit::Failure, "File", format!("{}: too long", path.display())));
    }
    let text = fs::read_to_string(path).map_err(failed)?;
    // The text has secrets, and what is said of an error repeats some of it.
    toml::from_str(&text).map_err(|_| {
        let why = format!("{}: this is not what `godwit context` writes", path.display());
        CliError::new(Exit::Failure, "Config", why).hint("correct it by hand, or delete it")
    })
}

/// Beside it first, then in its place: a full disk leaves the old one.
fn write(path: &Path, all: &Contexts) -> Result<(), CliError> {
    let failed = |error: io::Error| CliError::file(path, &error);
    let text = toml::to_string(all).map_err(usage)?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        files::private_dir(folder)?;
    }
    let beside = path.with_extension(format!("new.{}", std::process::id()));
    let mut options = OpenOptions::new();
    let file = options.write(true).create(true).truncate(true).mode(0o600).open(&beside);
    let mut file = file.map_err(failed)?;
    let written = file.write_all(text.as_bytes()).and_then(|()| file.sync_all());
    let done = written.and_then(|()| fs::rename(&beside, path));
    if done.is_err() {
        // It may not be there.
        let _ = fs::remove_file(&beside);
    }
    done.map_err(failed)
}

fn ask_secret() -> Result<String, CliError> {
    if io::stdin().is_terminal() {
        let _ = write!(io::stderr().lock(), "secret key: ");
    }
    let mut line = String::new();
    let read = io::stdin().lock().read_line(&mut line);
    read.map_err(|error| CliError::file("-".as_ref(), &error))?;
    match line.trim() {
        "" => Err(usage("a key has a secret").hint("set AWS_SECRET_ACCESS_KEY")),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_its_owners_alone_and_a_readable_one_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/contexts.toml");
        assert_eq!(read(&path).unwrap(), Contexts::default());
        let known = Known {
            endpoint: "http://a:1".to_owned(),
            access_key: Some("id".to_owned()),
            secret_key: Some("very secret".to_owned()),
        };
        let contexts = BTreeMap::from([("a".to_owned(), known)]);
        let all = Contexts { current: Some("a".to_owned()), contexts };
        write(&path, &all).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
        assert_eq!(read(&path).unwrap(), all);
        assert!(!format!("{all:?}").contains("secret"), "{all:?}");
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o640)).unwrap();
        assert!(read(&path).unwrap_err().message().contains("others may read it"));
        fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        fs::write(&path, "contexts = { a = 'very secret' }").unwrap();
        assert!(!read(&path).unwrap_err().message().contains("very secret"));
        for bad in ["", "a b", "a/b", &"x".repeat(64)] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
