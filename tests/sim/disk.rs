//! A simulated disk: everything in memory, with the ways in which real disks let one down.
//!
//! Invariant: only what was synced survives a crash for certain. Of written but unsynced bytes each
//! sector survives or not, of unsynced directory changes each one, by the disk's own seeded choice;
//! so one seed gives one history. Handles from before a crash fail. It does not simulate sectors
//! torn within themselves. Power can fail in the middle of any call.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use godwit::env::{Disk, DiskFile, OpenMode};

const SECTOR: usize = 512;

/// Directory changes that wait for a sync; older ones reach the disk by themselves, as on any
/// file system that writes back.
const UNSYNCED_NAMES_MAX: usize = 512;

/// What a sync costs in virtual time, and how fast bytes go.
const SYNC_COST: Duration = Duration::from_micros(200);
const BYTES_PER_MICRO: u64 = 500;

/// Which calls fail from some point on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Reads and writes fail.
    Io,
    /// Reads fail.
    Read,
    /// Syncs of files and directories fail; what was to be synced stays as uncertain as it was.
    Sync,
    /// No room for one byte more.
    Full,
    /// A sync takes so many seconds.
    Stuck(u64),
    /// A read takes so many seconds.
    StuckRead(u64),
}

/// A fault, where it strikes and when.
#[derive(Clone, Copy)]
struct Injected {
    fault: Fault,
    /// Paths that have this in them.
    place: &'static str,
    /// After how many more calls it begins.
    left: u64,
}

/// A simulated disk; clones are the same disk.
#[derive(Clone)]
pub(crate) struct SimDisk(Arc<Mutex<World>>);

#[derive(Clone)]
struct World {
    rng: u64,
    /// Handles of an earlier one fail.
    epoch: u64,
    next_inode: u64,
    files: BTreeMap<u64, File>,
    dirs: BTreeSet<PathBuf>,
    names: BTreeMap<PathBuf, u64>,
    durable_names: BTreeMap<PathBuf, u64>,
    unsynced_names: Vec<NameChange>,
    locked: BTreeSet<u64>,
    fault: Option<Injected>,
    /// Power fails in the call that changes anything after so many others.
    power_left: Option<u64>,
    /// Power is off until the next crash is over.
    dark: bool,
    capacity: u64,
    /// What others have on it.
    foreign: u64,
    debt: Duration,
    /// How many times slower than usual it is.
    slowness: u32,
    syncs: BTreeMap<PathBuf, u64>,
}

#[derive(Clone, Default)]
struct File {
    data: Vec<u8>,
    synced_len: usize,
    /// Lengths that were set since the last sync; each is taken over whole.
    set_lens: Vec<usize>,
    /// Writes made it longer since the last sync: after a crash it may end anywhere in them.
    grown: bool,
    /// What each sector written since the last sync had been.
    before: BTreeMap<usize, Vec<u8>>,
}

#[derive(Clone)]
enum NameChange {
    Put(PathBuf, u64),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf, u64),
}

impl NameChange {
    fn touches(&self, dir: &Path) -> bool {
        match self {
            Self::Put(path, _) | Self::Remove(path) => path.parent() == Some(dir),
            Self::Rename(from, to, _) => from.parent() == Some(dir) || to.parent() == Some(dir),
        }
    }

    fn apply(self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            Self::Put(path, inode) => {
                names.insert(path, inode);
            }
            Self::Remove(path) => {
                names.remove(&path);
            }
            Self::Rename(from, to, inode) => {
                names.remove(&from);
                names.insert(to, inode);
            }
        }
    }
}

impl SimDisk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(World {
            rng: seed,
            epoch: 0,
            next_inode: 1,
            files: BTreeMap::new(),
            dirs: BTreeSet::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            locked: BTreeSet::new(),
            fault: None,
            power_left: None,
            dark: false,
            capacity: u64::MAX,
            foreign: 0,
            debt: Duration::ZERO,
            slowness: 1,
            syncs: BTreeMap::new(),
        })))
    }

    /// A copy of what it has now, as it would be after a crash.
    pub(crate) fn copy(&self) -> Self {
        let copy = Self(Arc::new(Mutex::new(self.world().clone())));
        copy.crash();
        copy
    }

    /// What is on another disk is on this one, in place of what was there.
    pub(crate) fn become_copy_of(&self, other: &Self) {
        let other = other.world().clone();
        let mut world = self.world();
        let epoch = world.epoch.max(other.epoch) + 1;
        *world = World { epoch, capacity: u64::MAX, fault: None, slowness: 1, ..other };
    }

    /// Power fails: unsynced bytes and names survive or not, open handles are dead, faults end.
    pub(crate) fn crash(&self) {
        let mut world = self.world();
        world.epoch += 1;
        world.locked.clear();
        world.fault = None;
        world.power_left = None;
        world.dark = false;
        for change in std::mem::take(&mut world.unsynced_names) {
            if world.chance(2) {
                change.apply(&mut world.durable_names);
            }
        }
        world.names = world.durable_names.clone();
        world.forget_nameless();
        let mut files = std::mem::take(&mut world.files);
        // Each file draws its own numbers: how many the index takes depends on the order in which
        // its caches write, which is not part of a seed.
        let rng = world.random();
        for (inode, file) in &mut files {
            world.rng = rng ^ inode.wrapping_mul(0x9e37_79b9_7f4a_7c15);
            file.crash(&mut world);
        }
        world.rng = rng;
        world.files = files;
    }

    /// Lets calls of a kind fail after `calls` more of them.
    pub(crate) fn fail_after(&self, fault: Fault, calls: u64) {
        self.fail_in(fault, "", calls);
    }

    /// The same for files and directories whose path has `place` in it.
    pub(crate) fn fail_in(&self, fault: Fault, place: &'static str, calls: u64) {
        self.world().fault = Some(Injected { fault, place, left: calls });
    }

    /// Power fails in the middle of the call that changes anything after `changes` more of them;
    /// every call fails from then on, until [`SimDisk::crash`] brings the power back.
    pub(crate) fn power_off_after(&self, changes: u64) {
        self.world().power_left = Some(changes);
    }

    /// Whether power has failed.
    pub(crate) fn is_dark(&self) -> bool {
        self.world().dark
    }

    pub(crate) fn heal(&self) {
        self.world().fault = None;
    }

    /// Total size; writes beyond it fail with `StorageFull`, after having written a part.
    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.world().capacity = bytes;
    }

    /// Others have so many bytes on it, too.
    pub(crate) fn set_foreign(&self, bytes: u64) {
        self.world().foreign = bytes;
    }

    /// Bytes in all files that have a name, and of others.
    pub(crate) fn used(&self) -> u64 {
        self.world().used()
    }

    /// From now on everything takes so many times as long.
    #[allow(dead_code, reason = "the simulation of whole nodes alone slows it")]
    pub(crate) fn set_slowness(&self, times: u32) {
        self.world().slowness = times;
    }

    /// Flips one bit of a file, as decay does.
    pub(crate) fn flip(&self, path: &Path, byte: usize, bit: u8) {
        let mut world = self.world();
        let inode = world.names[path];
        let file = world.files.get_mut(&inode).expect("names have files");
        file.data[byte] ^= 1 << bit;
    }

    /// Puts other bytes in the place of a file's, durably.
    pub(crate) fn replace(&self, path: &Path, bytes: &[u8]) {
        let mut world = self.world();
        let inode = world.names[path];
        let file = world.files.get_mut(&inode).expect("names have files");
        file.data = bytes.to_vec();
        file.sync();
    }

    /// The files below a directory, with their sizes.
    pub(crate) fn tree(&self, dir: &Path) -> Vec<(PathBuf, u64)> {
        let world = self.world();
        let below = world.names.iter().filter(|(path, _)| path.starts_with(dir));
        below.map(|(path, inode)| (path.clone(), world.files[inode].data.len() as u64)).collect()
    }

    /// The bytes of a file.
    pub(crate) fn bytes(&self, path: &Path) -> Vec<u8> {
        let world = self.world();
        world.files[&world.names[path]].data.clone()
    }

    /// How often files whose name ends so were synced.
    pub(crate) fn syncs(&self, suffix: &str) -> u64 {
        let world = self.world();
        let matching = world.syncs.iter().filter(|(p, _)| p.to_string_lossy().ends_with(suffix));
        matching.map(|(_, n)| n).sum()
    }

    fn world(&self) -> MutexGuard<'_, World> {
        self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

impl World {
    /// SplitMix64. Source: Steele, Lea, Flood, 2014.
    fn random(&mut self) -> u64 {
        self.rng = self.rng.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.rng;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// One in `n`.
    fn chance(&mut self, n: u64) -> bool {
        self.random().is_multiple_of(n)
    }

    fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.random()).expect("64 bits") % end
    }

    fn used(&self) -> u64 {
        let ours: u64 = self.names.values().map(|inode| self.files[inode].data.len() as u64).sum();
        self.foreign + ours
    }

    /// Fails when a fault of one of these kinds strikes this path now.
    fn check(&mut self, kinds: &[Fault], path: &Path) -> io::Result<()> {
        let Some(injected) = &mut self.fault else { return Ok(()) };
        let there = path.to_string_lossy().contains(injected.place);
        if !there || !kinds.contains(&injected.fault) {
            return Ok(());
        }
        if let Some(fewer) = injected.left.checked_sub(1) {
            injected.left = fewer;
            return Ok(());
        }
        match injected.fault {
            Fault::Io | Fault::Read | Fault::Sync => Err(io::Error::other("injected failure")),
            Fault::Full => Err(ErrorKind::StorageFull.into()),
            Fault::Stuck(seconds) | Fault::StuckRead(seconds) => {
                self.debt += Duration::from_secs(seconds);
                Ok(())
            }
        }
    }

    /// The kind of stuck sync that is injected, to be asked for.
    fn stuck(&self) -> Fault {
        match self.fault {
            Some(Injected { fault: stuck @ Fault::Stuck(_), .. }) => stuck,
            Some(_) | None => Fault::Sync,
        }
    }

    /// The same of reads.
    fn stuck_read(&self) -> Fault {
        match self.fault {
            Some(Injected { fault: stuck @ Fault::StuckRead(_), .. }) => stuck,
            Some(_) | None => Fault::Read,
        }
    }

    /// A call that changes something; the last one before power fails takes place, but is not known
    /// to have done so.
    fn change(&mut self) -> io::Result<bool> {
        if self.dark {
            return Err(dead());
        }
        match &mut self.power_left {
            Some(0) => {
                self.dark = true;
                self.epoch += 1;
                Ok(true)
            }
            Some(left) => {
                *left -= 1;
                Ok(false)
            }
            None => Ok(false),
        }
    }

    fn charge(&mut self, fixed: Duration, bytes: usize) {
        let cost = fixed + Duration::from_micros(bytes as u64 / BYTES_PER_MICRO);
        self.debt += cost * self.slowness;
    }

    fn name(&mut self, change: NameChange) {
        change.clone().apply(&mut self.names);
        self.unsynced_names.push(change);
        if self.unsynced_names.len() > UNSYNCED_NAMES_MAX {
            let oldest: Vec<NameChange> =
                self.unsynced_names.drain(..UNSYNCED_NAMES_MAX / 2).collect();
            oldest.into_iter().for_each(|change| change.apply(&mut self.durable_names));
            self.forget_nameless();
        }
    }

    /// Lets go of files that no crash can bring back.
    fn forget_nameless(&mut self) {
        let unsynced = self.unsynced_names.iter().filter_map(|change| match change {
            NameChange::Put(_, inode) | NameChange::Rename(_, _, inode) => Some(*inode),
            NameChange::Remove(_) => None,
        });
        let named = self.names.values().chain(self.durable_names.values()).copied();
        let kept: BTreeSet<u64> = named.chain(unsynced).collect();
        self.files.retain(|inode, _| kept.contains(inode));
    }
}

fn dead() -> io::Error {
    io::Error::other("the machine went down")
}

impl File {
    fn remember(&mut self, from: usize, to: usize) {
        for sector in from / SECTOR..to.div_ceil(SECTOR) {
            let old = self.data.get(sector * SECTOR..).unwrap_or_default();
            let old = &old[..old.len().min(SECTOR)];
            self.before.entry(sector).or_insert_with(|| old.to_vec());
        }
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        self.remember(at.min(self.data.len()), at + bytes.len());
        if self.data.len() < at + bytes.len() {
            self.grown = true;
            self.data.resize(at + bytes.len(), 0);
        }
        self.data[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn set_len(&mut self, len: usize) {
        let (low, high) = (len.min(self.data.len()), len.max(self.data.len()));
        self.remember(low, high);
        self.set_lens.push(len);
        self.data.resize(len, 0);
    }

    fn sync(&mut self) {
        self.before.clear();
        self.set_lens.clear();
        self.grown = false;
        self.synced_len = self.data.len();
    }

    /// Each unsynced sector keeps its new or its old bytes; the length is the old, the new, one
    /// that was set between, or, where writes made the file longer, any between.
    fn crash(&mut self, world: &mut World) {
        let (low, high) =
            (self.synced_len.min(self.data.len()), self.synced_len.max(self.data.len()));
        let len = match world.random() % 3 {
            0 => self.synced_len,
            1 => self.data.len(),
            _ if self.grown => low + world.below(high - low + 1),
            _ if self.set_lens.is_empty() => self.synced_len,
            _ => self.set_lens[world.below(self.set_lens.len())],
        };
        let high = high.max(len);
        self.data.resize(high, 0);
        for (sector, old) in std::mem::take(&mut self.before) {
            if world.chance(2) {
                let start = (sector * SECTOR).min(self.data.len());
                let end = (start + SECTOR).min(self.data.len());
                self.data[start..end].fill(0);
                let n = old.len().min(end - start);
                self.data[start..start + n].copy_from_slice(&old[..n]);
            }
        }
        self.data.truncate(len);
        self.sync();
    }
}

struct SimFile {
    disk: SimDisk,
    path: PathBuf,
    inode: u64,
    epoch: u64,
    locked: bool,
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SimFile({})", self.path.display())
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut world = self.disk.world();
        if self.locked && world.epoch == self.epoch {
            world.locked.remove(&self.inode);
        }
    }
}

impl SimFile {
    /// The order of the index's own reads and writes is not part of a seed (its caches hash by
    /// chance), and neither is what memory caches: so neither costs time here.
    fn is_index(&self) -> bool {
        self.path.ends_with("index.redb")
    }

    fn alive(&self) -> io::Result<MutexGuard<'_, World>> {
        let world = self.disk.world();
        if world.epoch == self.epoch && world.files.contains_key(&self.inode) {
            Ok(world)
        } else {
            Err(dead())
        }
    }
}

impl DiskFile for SimFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.alive()?.files[&self.inode].data.len() as u64)
    }

    fn read_exact_at(&self, position: u64, out: &mut [u8]) -> io::Result<()> {
        let mut world = self.alive()?;
        let stuck = world.stuck_read();
        world.check(&[Fault::Io, Fault::Read, stuck], &self.path)?;
        let start = usize::try_from(position).expect("small files");
        let data = &world.files[&self.inode].data;
        let bytes = data.get(start..start + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut world = self.alive()?;
        world.check(&[Fault::Io, Fault::Full], &self.path)?;
        let went_dark = world.change()?;
        let bytes = parts.concat();
        if !self.is_index() {
            world.charge(Duration::ZERO, bytes.len());
        }
        let at = usize::try_from(position).expect("small files");
        let len = world.files[&self.inode].data.len();
        let growth = (at + bytes.len()).saturating_sub(len) as u64;
        let full = world.used() + growth > world.capacity;
        let written = if full { bytes.len() / 2 } else { bytes.len() };
        let file = world.files.get_mut(&self.inode).expect("alive");
        file.write(at, &bytes[..written]);
        if went_dark {
            return Err(dead());
        }
        if full { Err(ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut world = self.alive()?;
        let len = usize::try_from(len).expect("small files");
        let growth = len.saturating_sub(world.files[&self.inode].data.len()) as u64;
        let kinds = if growth > 0 { [Fault::Io, Fault::Full] } else { [Fault::Io, Fault::Io] };
        world.check(&kinds, &self.path)?;
        let went_dark = world.change()?;
        if growth > 0 && world.used() + growth > world.capacity {
            return Err(ErrorKind::StorageFull.into());
        }
        world.files.get_mut(&self.inode).expect("alive").set_len(len);
        if went_dark { Err(dead()) } else { Ok(()) }
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.alive()?;
        let stuck = world.stuck();
        world.check(&[Fault::Sync, stuck], &self.path)?;
        if world.change()? {
            return Err(dead());
        }
        world.charge(SYNC_COST, 0);
        *world.syncs.entry(self.path.clone()).or_default() += 1;
        world.files.get_mut(&self.inode).expect("alive").sync();
        Ok(())
    }
}

impl Disk for SimDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world();
        if world.dark {
            return Err(dead());
        }
        let known = world.names.get(path).copied();
        let inode = match (known, mode) {
            (Some(_), OpenMode::CreateNew) => return Err(ErrorKind::AlreadyExists.into()),
            (None, OpenMode::Read) => return Err(ErrorKind::NotFound.into()),
            (Some(inode), _) => inode,
            (None, _) => {
                world.check(&[Fault::Full], path)?;
                world.change()?;
                let inode = world.next_inode;
                world.next_inode += 1;
                world.files.insert(inode, File::default());
                world.name(NameChange::Put(path.to_owned(), inode));
                inode
            }
        };
        let locked = mode == OpenMode::Exclusive;
        if locked && !world.locked.insert(inode) {
            return Err(ErrorKind::WouldBlock.into());
        }
        let epoch = world.epoch;
        Ok(Arc::new(SimFile { disk: self.clone(), path: path.to_owned(), inode, epoch, locked }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let world = self.world();
        if !world.dirs.contains(dir) {
            return Err(ErrorKind::NotFound.into());
        }
        let inside = world.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| path.file_name().map(PathBuf::from)).collect())
    }

    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        world.dirs.extend(dir.ancestors().map(Path::to_owned));
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world();
        if !world.names.contains_key(path) {
            return Err(ErrorKind::NotFound.into());
        }
        world.change()?;
        world.name(NameChange::Remove(path.to_owned()));
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world();
        let inode = *world.names.get(from).ok_or(ErrorKind::NotFound)?;
        world.change()?;
        world.name(NameChange::Rename(from.to_owned(), to.to_owned(), inode));
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world();
        let stuck = world.stuck();
        world.check(&[Fault::Sync, stuck], dir)?;
        if world.change()? {
            return Err(dead());
        }
        world.charge(SYNC_COST, 0);
        let (synced, left) =
            std::mem::take(&mut world.unsynced_names).into_iter().partition(|c| c.touches(dir));
        let synced: Vec<NameChange> = synced;
        world.unsynced_names = left;
        synced.into_iter().for_each(|change| change.apply(&mut world.durable_names));
        Ok(())
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        let world = self.world();
        Ok((world.capacity, world.capacity.saturating_sub(world.used())))
    }

    fn take_debt(&self) -> Duration {
        std::mem::take(&mut self.world().debt)
    }
}
