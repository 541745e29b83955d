//! The real doors to the world: system clock, system randomness, tokio tasks, this machine's disk.
//!
//! Invariant: this is the only file that calls the operating system for time, randomness, threads
//! and files. It decides nothing; what a failure means is decided by the caller.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "this file is where the doors are"
)]

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IoSlice};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use rustix::fs::FlockOperation;
use tokio::runtime::{Builder, Handle, Runtime};

use crate::env::{BoxFuture, Clock, Disk, DiskFile, Env, OpenMode, Rng, Tasks};

/// Slices in one vectored write. Source: Linux UIO_MAXIOV.
const WRITE_PARTS_MAX: usize = 1024;

/// The runtime of a process.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_multi_thread().enable_all().build()
}

/// The doors of a node; tasks run on `runtime`, and `root` is on the disk whose free space counts.
pub fn real(runtime: &Handle, root: &Path) -> Env {
    Env {
        clock: Arc::new(RealClock { started: Instant::now(), handle: runtime.clone() }),
        rng: Arc::new(RealRng),
        tasks: Arc::new(RealTasks { handle: runtime.clone() }),
        disk: Arc::new(RealDisk { dir: root.to_owned() }),
    }
}

/// Memory of this process, where the system tells. Source: proc(5), `VmRSS` in kB.
pub(crate) fn resident_bytes() -> Option<u64> {
    let text = fs::read_to_string("/proc/self/status").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The system's clocks and the runtime's timers.
struct RealClock {
    started: Instant,
    handle: Handle,
}

impl Clock for RealClock {
    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        let _inside = self.handle.enter();
        Box::pin(tokio::time::sleep(duration))
    }
}

/// The system's random source.
struct RealRng;

impl Rng for RealRng {
    fn fill(&self, out: &mut [u8]) {
        aws_lc_rs::rand::fill(out).expect("the system's random source does not fail after boot");
    }
}

/// The shared runtime, and threads of their own.
struct RealTasks {
    handle: Handle,
}

impl Tasks for RealTasks {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        self.handle.spawn(task);
    }

    fn spawn_thread(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        let handle = self.handle.clone();
        std::thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || handle.block_on(task))
            .expect("a process that cannot start a thread cannot run");
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        self.handle.spawn_blocking(work);
    }
}

/// The file system below one directory.
#[derive(Debug)]
struct RealDisk {
    dir: PathBuf,
}

impl Disk for RealDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).mode(0o600);
        match mode {
            OpenMode::Read => {}
            OpenMode::ReadWrite | OpenMode::Exclusive => {
                options.write(true).create(true).truncate(false);
            }
            OpenMode::CreateNew => {
                options.write(true).create_new(true);
            }
        }
        let file = options.open(path)?;
        if mode == OpenMode::Exclusive {
            rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive)?;
            if !is_named(&file, path)? {
                return Err(ErrorKind::WouldBlock.into());
            }
        }
        Ok(Arc::new(RealFile(file)))
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
        let stat = rustix::fs::statvfs(&self.dir)?;
        let total = usable(stat.f_blocks, stat.f_bfree, stat.f_bavail);
        Ok((total * stat.f_frsize, stat.f_bavail * stat.f_frsize))
    }
}

/// Whether the file has the name by which it was opened: another one may have taken its place before
/// it was locked.
fn is_named(file: &File, path: &Path) -> io::Result<bool> {
    let (opened, named) = (file.metadata()?, fs::metadata(path)?);
    Ok((opened.dev(), opened.ino()) == (named.dev(), named.ino()))
}

/// Blocks that are used or can be had, as `df` counts: what the system keeps for itself or for others
/// (root's share, a quota) would otherwise look used by us, and the disk full long before it is.
const fn usable(blocks: u64, free: u64, available: u64) -> u64 {
    blocks - free.saturating_sub(available)
}

/// An open file of this machine.
#[derive(Debug)]
struct RealFile(File);

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn is_private(&self) -> io::Result<bool> {
        Ok(self.0.metadata()?.permissions().mode() & 0o077 == 0)
    }

    fn read_exact_at(&self, position: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(out, position)
    }

    fn write_all_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        if let [part] = parts {
            return self.0.write_all_at(part, position);
        }
        let mut slices: Vec<IoSlice<'_>> = parts.iter().map(|part| IoSlice::new(part)).collect();
        let mut left = slices.as_mut_slice();
        let mut position = position;
        while left.iter().any(|slice| !slice.is_empty()) {
            let now = &left[..left.len().min(WRITE_PARTS_MAX)];
            let written = match rustix::io::pwritev(&self.0, now, position) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(written) => written,
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(error.into()),
            };
            position += u64::try_from(written).expect("a count of bytes fits in 64 bits");
            IoSlice::advance_slices(&mut left, written);
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

#[cfg(test)]
mod tests {
    use super::*;

    fn disk() -> (tempfile::TempDir, RealDisk) {
        let dir = tempfile::tempdir().unwrap();
        let disk = RealDisk { dir: dir.path().to_owned() };
        (dir, disk)
    }

    #[test]
    fn a_vectored_write_of_many_parts_is_written_whole() {
        let (dir, disk) = disk();
        let file = disk.open(&dir.path().join("f"), OpenMode::CreateNew).unwrap();
        let pieces: Vec<Vec<u8>> = (0..2500_u32).map(|i| i.to_le_bytes().to_vec()).collect();
        let parts: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
        file.write_all_at(7, &parts).unwrap();
        assert_eq!(file.size().unwrap(), 7 + 10_000);
        let mut read = vec![0; 10_000];
        file.read_exact_at(7, &mut read).unwrap();
        assert_eq!(read, pieces.concat());
        let past_end = file.read_exact_at(8, &mut read).unwrap_err();
        assert_eq!(past_end.kind(), ErrorKind::UnexpectedEof);
    }

    #[test]
    fn a_file_opened_exclusively_cannot_be_opened_so_again() {
        let (dir, disk) = disk();
        let path = dir.path().join("f");
        let first = disk.open(&path, OpenMode::Exclusive).unwrap();
        let second = disk.open(&path, OpenMode::Exclusive).unwrap_err();
        assert_eq!(second.kind(), ErrorKind::WouldBlock);
        drop(first);
        assert!(disk.open(&path, OpenMode::Exclusive).is_ok());
    }

    #[test]
    fn a_file_whose_name_another_one_took_is_told_from_that_one() {
        let (dir, disk) = disk();
        let (path, other) = (dir.path().join("f"), dir.path().join("g"));
        let file = File::create_new(&path).unwrap();
        assert!(is_named(&file, &path).unwrap());
        disk.open(&other, OpenMode::CreateNew).unwrap();
        disk.rename(&other, &path).unwrap();
        assert!(!is_named(&file, &path).unwrap());
    }

    #[test]
    fn an_existing_file_is_not_created_anew_nor_emptied() {
        let (dir, disk) = disk();
        let path = dir.path().join("f");
        disk.open(&path, OpenMode::CreateNew).unwrap().write_all_at(0, &[b"x"]).unwrap();
        let again = disk.open(&path, OpenMode::CreateNew).unwrap_err();
        assert_eq!(again.kind(), ErrorKind::AlreadyExists);
        assert_eq!(disk.open(&path, OpenMode::ReadWrite).unwrap().size().unwrap(), 1);
        assert_eq!(disk.list(dir.path()).unwrap(), vec![PathBuf::from("f")]);
        let (total, free) = disk.space().unwrap();
        assert!(free <= total && total > 0);
    }

    #[test]
    fn blocks_that_are_kept_from_us_are_not_used_by_us() {
        // A disk of 100 with 20 used, of whose 80 free ones 70 are kept for others.
        assert_eq!(usable(100, 80, 10), 30);
        assert_eq!(usable(100, 80, 80), 100);
    }
}
