//! Where a node's keyring comes from: a file or the environment, never its data directory.

use std::path::Path;

use crate::config::Encryption;
use crate::env::Env;
use crate::logic::keyring::Keyring;
use crate::types::encryption::{KeyName, SecretBytes};

use super::{NodeError, files};

/// The file of `godwit dev`, beside the regions' directories.
const DEV_FILE: &str = "keyring";

/// The keyring that the settings name; an empty one where they name none.
pub(crate) fn load(env: &Env, settings: &Encryption) -> Result<Keyring, NodeError> {
    let text = match (&settings.keys, &settings.keyring) {
        (Some(keys), _) => keys.clone(),
        (None, None) => return Ok(Keyring::default()),
        (None, Some(path)) => {
            let text = files::read(env, path).map_err(|source| failed(path, source))?;
            text.ok_or_else(|| NodeError::Keyring(format!("{} is not there", path.display())))?
        }
    };
    Keyring::parse(&text).map_err(|why| NodeError::Keyring(why.to_string()))
}

/// The same for `godwit dev`, which makes one where nothing is named: `dir` is no region's data
/// directory.
pub(super) fn of_dev(env: &Env, dir: &Path, settings: &Encryption) -> Result<Keyring, NodeError> {
    if *settings != Encryption::default() {
        return load(env, settings);
    }
    let path = dir.join(DEV_FILE);
    let text = files::read(env, &path).map_err(|source| failed(&path, source))?;
    if let Some(text) = text {
        return Keyring::parse(&text).map_err(|why| NodeError::Keyring(why.to_string()));
    }
    let made = new_line(env, "dev").expect("a plain name");
    files::write(env, dir, DEV_FILE, made.as_bytes()).map_err(|source| failed(&path, source))?;
    Keyring::parse(&made).map_err(|why| NodeError::Keyring(why.to_string()))
}

/// One line of a keyring with a new random key; `None` where `name` can be no name.
pub(crate) fn new_line(env: &Env, name: &str) -> Option<String> {
    KeyName::parse(name).map(|name| Keyring::line(&name, &SecretBytes(env.random())))
}

fn failed(path: &Path, source: std::io::Error) -> NodeError {
    NodeError::File { what: path.display().to_string(), source }
}
