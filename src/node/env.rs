//! The real doors: the system's clock, randomness, threads and files.
#![allow(clippy::disallowed_methods, reason = "this is where the doors are")]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tokio::runtime::{Builder, Handle, Runtime};

use crate::env::{BoxFuture, Clock, Disk, DiskFile, Env, OpenMode, Rng, Tasks};

/// The runtime of a process.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

/// The doors of a node whose files lie on the file system of `root`.
pub fn real(runtime: &Handle, root: &Path) -> Env {
    Env {
        clock: Arc::new(SystemClock { start: Instant::now() }),
        rng: Arc::new(SystemRng),
        tasks: Arc::new(Threads { runtime: runtime.clone() }),
        disk: Arc::new(Files { root: root.to_owned() }),
    }
}

struct SystemClock {
    start: Instant,
}

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

struct SystemRng;

impl Rng for SystemRng {
    fn fill(&self, out: &mut [u8]) {
        aws_lc_rs::rand::fill(out).expect("the system gives random bytes");
    }
}

struct Threads {
    runtime: Handle,
}

impl Tasks for Threads {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        self.runtime.spawn(task);
    }

    fn spawn_thread(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let runtime = self.runtime.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || runtime.block_on(task))
            .expect("the system starts a thread");
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.runtime.spawn_blocking(work);
    }
}

#[derive(Debug)]
struct OpenFile(File);

impl DiskFile for OpenFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read_exact_at(&self, position: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, position)
    }

    fn write_all_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut position = position;
        for part in parts {
            self.0.write_all_at(part, position)?;
            position += part.len() as u64;
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}

struct Files {
    root: PathBuf,
}

impl Disk for Files {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite => {
                options.write(true).create(true).truncate(false);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        Ok(Arc::new(OpenFile(options.open(path)?)))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(dir)?.map(|entry| Ok(PathBuf::from(entry?.file_name()))).collect()
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        File::open(dir)?.sync_all()
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        let stats = rustix::fs::statvfs(&self.root)?;
        Ok((stats.f_blocks * stats.f_frsize, stats.f_bavail * stats.f_frsize))
    }
}
