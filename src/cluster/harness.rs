//! A few nodes in one test: virtual time, one thread, disks in memory, and a network that delays,
//! loses and cuts. Seeded: one seed, one run.
#![allow(
    clippy::disallowed_methods,
    reason = "the doors of these tests are tokio's paused clock and its one thread"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use tokio::time::Instant;

use crate::env::{
    BoxFuture, Class, Clock, Disk, DiskFile, Env, OpenMode, PeerError, Peers, Rng, Tasks,
};
use crate::types::region::{Coordinates, RegionId, RegionInfo, Role};

pub(crate) fn region(code: &str) -> RegionId {
    code.parse().unwrap()
}

pub(crate) fn info(code: &str) -> RegionInfo {
    RegionInfo {
        id: region(code),
        city: code.to_owned(),
        coordinates: Coordinates { lat: 0.0, lon: 0.0 },
        geography: "eu".to_owned(),
        failure_domain: code.to_owned(),
        role: Role::Full,
        voter: true,
    }
}

/// Doors on virtual time, with an empty disk. Needs a paused, single-threaded runtime.
pub(crate) fn env(seed: u64) -> Env {
    Env {
        clock: Arc::new(TestClock { started: Instant::now() }),
        rng: Arc::new(TestRng(Mutex::new(StdRng::seed_from_u64(seed)))),
        tasks: Arc::new(TestTasks),
        disk: Arc::new(MemoryDisk::default()),
    }
}

/// The same time, randomness and tasks, with a disk of its own.
pub(crate) fn with_own_disk(env: &Env) -> Env {
    Env { disk: Arc::new(MemoryDisk::default()), ..env.clone() }
}

struct TestClock {
    started: Instant,
}

impl Clock for TestClock {
    fn now_ms(&self) -> u64 {
        1_700_000_000_000 + u64::try_from(self.monotonic().as_millis()).unwrap()
    }
    fn monotonic(&self) -> Duration {
        self.started.elapsed()
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
}

struct TestRng(Mutex<StdRng>);

impl Rng for TestRng {
    fn fill(&self, out: &mut [u8]) {
        self.0.lock().unwrap().fill_bytes(out);
    }
}

struct TestTasks;

impl Tasks for TestTasks {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn spawn_thread(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

/// Files in memory; every write is as good as synced.
#[derive(Default)]
struct MemoryDisk(Mutex<BTreeMap<PathBuf, Arc<MemoryFile>>>);

#[derive(Debug, Default)]
struct MemoryFile(Mutex<Vec<u8>>);

impl Disk for MemoryDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.0.lock().unwrap();
        match (files.get(path), mode) {
            (Some(_), OpenMode::CreateNew) => Err(ErrorKind::AlreadyExists.into()),
            (Some(file), _) => Ok(file.clone()),
            (None, OpenMode::Read) => Err(ErrorKind::NotFound.into()),
            (None, _) => {
                let file = Arc::new(MemoryFile::default());
                files.insert(path.to_owned(), file.clone());
                Ok(file)
            }
        }
    }
    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let files = self.0.lock().unwrap();
        let names: BTreeSet<PathBuf> = files
            .keys()
            .filter_map(|path| path.strip_prefix(dir).ok()?.components().next())
            .map(|name| PathBuf::from(name.as_os_str()))
            .collect();
        Ok(names.into_iter().collect())
    }
    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.0.lock().unwrap().remove(path);
        removed.map(|_| ()).ok_or_else(|| ErrorKind::NotFound.into())
    }
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.0.lock().unwrap();
        let file = files.remove(from).ok_or(ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }
    fn space(&self) -> io::Result<(u64, u64)> {
        Ok((1 << 40, 1 << 40))
    }
}

impl DiskFile for MemoryFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }
    fn read_exact_at(&self, position: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock().unwrap();
        let start = usize::try_from(position).unwrap();
        let part = bytes.get(start..start + out.len()).ok_or(ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(part);
        Ok(())
    }
    fn write_all_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut bytes = self.0.lock().unwrap();
        let mut at = usize::try_from(position).unwrap();
        for part in parts {
            if bytes.len() < at + part.len() {
                bytes.resize(at + part.len(), 0);
            }
            bytes[at..at + part.len()].copy_from_slice(part);
            at += part.len();
        }
        Ok(())
    }
    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(usize::try_from(len).unwrap(), 0);
        Ok(())
    }
    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}

type Serve =
    Arc<dyn Fn(RegionId, Bytes) -> BoxFuture<'static, Result<Bytes, String>> + Send + Sync>;
type Listen = Arc<dyn Fn(RegionId, Bytes) + Send + Sync>;

/// The network of one test.
#[derive(Clone)]
pub(crate) struct Net(Arc<NetState>);

struct NetState {
    env: Env,
    dice: Mutex<StdRng>,
    serve: Mutex<BTreeMap<RegionId, Serve>>,
    listen: Mutex<BTreeMap<RegionId, Listen>>,
    cut: Mutex<BTreeSet<RegionId>>,
    loss_percent: Mutex<u32>,
}

impl Net {
    pub(crate) fn new(env: &Env, seed: u64) -> Self {
        Self(Arc::new(NetState {
            env: env.clone(),
            dice: Mutex::new(StdRng::seed_from_u64(seed)),
            serve: Mutex::default(),
            listen: Mutex::default(),
            cut: Mutex::default(),
            loss_percent: Mutex::default(),
        }))
    }

    pub(crate) fn peers(&self, own: RegionId) -> Arc<dyn Peers> {
        Arc::new(TestPeers { net: self.clone(), own })
    }

    /// Answers requests to `own` from now on.
    pub(crate) fn serve(&self, own: RegionId, serve: Serve) {
        self.0.serve.lock().unwrap().insert(own, serve);
    }

    /// Takes datagrams to `own` from now on.
    pub(crate) fn listen(&self, own: RegionId, listen: Listen) {
        self.0.listen.lock().unwrap().insert(own, listen);
    }

    /// Cuts a region off, or joins it again.
    pub(crate) fn cut(&self, region: RegionId, cut: bool) {
        let mut all = self.0.cut.lock().unwrap();
        if cut {
            all.insert(region)
        } else {
            all.remove(&region)
        };
    }

    pub(crate) fn lose(&self, percent: u32) {
        *self.0.loss_percent.lock().unwrap() = percent;
    }

    fn is_cut(&self, a: RegionId, b: RegionId) -> bool {
        let cut = self.0.cut.lock().unwrap();
        cut.contains(&a) || cut.contains(&b)
    }

    /// Delay of one way; `None`: lost.
    fn way(&self) -> Option<Duration> {
        let mut dice = self.0.dice.lock().unwrap();
        let lost = dice.random_range(0..100) < *self.0.loss_percent.lock().unwrap();
        let delay = Duration::from_micros(dice.random_range(20_000..60_000));
        (!lost).then_some(delay)
    }
}

struct TestPeers {
    net: Net,
    own: RegionId,
}

impl Peers for TestPeers {
    fn call(
        &self,
        to: RegionId,
        _class: Class,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        let (net, own) = (self.net.clone(), self.own);
        Box::pin(async move {
            if net.is_cut(own, to) {
                return Err(PeerError::Unreachable);
            }
            let served = async {
                let (Some(there), Some(back)) = (net.way(), net.way()) else {
                    return std::future::pending().await;
                };
                net.0.env.sleep(there).await;
                let serve = net.0.serve.lock().unwrap().get(&to).cloned();
                let serve = serve.ok_or(PeerError::Unreachable)?;
                let answer = serve(own, request).await.map_err(PeerError::Refused)?;
                net.0.env.sleep(back).await;
                if net.is_cut(own, to) { std::future::pending().await } else { Ok(answer) }
            };
            net.0.env.timeout(deadline, served).await.unwrap_or(Err(PeerError::Timeout))
        })
    }

    fn datagram(&self, to: RegionId, data: Bytes) {
        let (net, own) = (self.net.clone(), self.own);
        self.net.0.env.spawn("test-datagram", async move {
            let Some(delay) = net.way() else { return };
            net.0.env.sleep(delay).await;
            let listen = net.0.listen.lock().unwrap().get(&to).cloned();
            if let (Some(listen), false) = (listen, net.is_cut(own, to)) {
                listen(own, data);
            }
        });
    }

    fn rtt(&self, _to: RegionId) -> Option<Duration> {
        Some(Duration::from_millis(80))
    }

    fn is_connected(&self, to: RegionId) -> bool {
        !self.net.is_cut(self.own, to)
    }
}
