//! Small files of a node besides its store, replaced whole: its identity, what `dev` remembers.

use std::io;
use std::path::Path;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::env::{Env, OpenMode};

/// Nothing of ours is larger.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// The document in `dir`, `None` when there is no such file.
pub(crate) fn load<T: DeserializeOwned>(
    env: &Env,
    dir: &Path,
    name: &str,
) -> io::Result<Option<T>> {
    let Some(text) = read(env, &dir.join(name))? else { return Ok(None) };
    serde_json::from_str(&text)
        .map(Some)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, format!("{name}: {error}")))
}

/// A text that only its owner may read, `None` when there is no such file.
pub(crate) fn read(env: &Env, path: &Path) -> io::Result<Option<String>> {
    text(env, path, true)
}

/// A text that others may read too: platforms hand out files as they like.
pub(crate) fn read_open(env: &Env, path: &Path) -> io::Result<Option<String>> {
    text(env, path, false)
}

fn text(env: &Env, path: &Path, private: bool) -> io::Result<Option<String>> {
    let name = path.display();
    let file = match env.disk.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if private && !file.is_private()? {
        let why = format!("{name} can be read by others than its owner; set its mode to 0600");
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, why));
    }
    let size = file.size()?;
    if size > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("{name} is too large")));
    }
    let mut bytes = vec![0; usize::try_from(size).expect("at most 1 MiB")];
    file.read_exact_at(0, &mut bytes)?;
    String::from_utf8(bytes).map(Some).map_err(|_| {
        io::Error::new(io::ErrorKind::InvalidData, format!("{name} is no text in UTF-8"))
    })
}

/// Writes the document so that after a crash either the old one or the new one is there.
pub(crate) fn save(env: &Env, dir: &Path, name: &str, value: &impl Serialize) -> io::Result<()> {
    let bytes = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
    write(env, dir, name, &bytes)
}

/// The same of any bytes.
pub(crate) fn write(env: &Env, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
    let new = dir.join(format!("{name}.new"));
    let file = env.disk.open(&new, OpenMode::ReadWrite)?;
    file.set_len(0)?;
    file.write_all_at(0, &[bytes])?;
    file.sync()?;
    env.disk.rename(&new, &dir.join(name))?;
    env.disk.sync_dir(dir)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::node::env::real;

    #[tokio::test]
    async fn a_secret_that_others_can_read_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let env = real(&tokio::runtime::Handle::current(), dir.path());
        save(&env, dir.path(), "identity.json", &vec![1, 2]).unwrap();
        let kept: Option<Vec<u8>> = load(&env, dir.path(), "identity.json").unwrap();
        assert_eq!(kept, Some(vec![1, 2]));
        let open = std::fs::Permissions::from_mode(0o640);
        std::fs::set_permissions(dir.path().join("identity.json"), open).unwrap();
        let refused = load::<Vec<u8>>(&env, dir.path(), "identity.json").unwrap_err();
        assert_eq!(refused.kind(), io::ErrorKind::PermissionDenied);
    }
}
