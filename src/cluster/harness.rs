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
    BoxFuture, Class, Clock, Disk, DiskFile, Env, OpenMode, PeerError, PeerHandler, Peers, Rng,
    Tasks,
};
use crate::store::{Options, Store};
use crate::types::id::ClusterId;
use crate::types::region::{Coordinates, RegionId, RegionInfo, Role};

use super::{Cluster, ClusterOptions, Handler, Members};

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

/// A few regions with a node each.
pub(crate) struct World {
    pub(crate) env: Env,
    pub(crate) net: Net,
    pub(crate) nodes: BTreeMap<RegionId, TestNode>,
}

/// A node, its disk, and its name in the network.
pub(crate) struct TestNode {
    pub(crate) cluster: Cluster,
    env: Env,
}

impl World {
    /// Starts a node in every region and waits until they are ready.
    pub(crate) async fn start(seed: u64, codes: &[&str]) -> Self {
        let env = env(seed);
        let net = Net::new(&env, seed);
        let mut world = Self { env: env.clone(), net, nodes: BTreeMap::new() };
        let members = Members::new(ClusterId([7; 16]), codes.iter().map(|c| info(c)).collect());
        for code in codes {
            let disk = with_own_disk(&env);
            world.boot(region(code), disk, members.clone().unwrap()).await;
        }
        env.sleep(Duration::from_secs(3)).await;
        world
    }

    async fn boot(&mut self, own: RegionId, env: Env, members: Members) {
        let options = Options::new(PathBuf::from("/data"), own);
        let (store, _) = Store::open(env.clone(), options).await.unwrap();
        let handler = Handler::new();
        let (answers, hears) = (handler.clone(), handler.clone());
        self.net.serve(own, Arc::new(move |from, request| answers.handle(from, request)));
        self.net.listen(own, Arc::new(move |from, data| hears.datagram(from, data)));
        let (peers, options) = (self.net.peers(own), ClusterOptions::default());
        let cluster =
            Cluster::start(env.clone(), store, peers, &handler, members, options).await.unwrap();
        self.nodes.insert(own, TestNode { cluster, env });
    }

    pub(crate) fn at(&self, code: &str) -> &Cluster {
        &self.nodes[&region(code)].cluster
    }

    /// The files of a node as they are now.
    pub(crate) fn copy_disk(&self, code: &str) -> Env {
        let node = &self.nodes[&region(code)];
        let copy = MemoryDisk::default();
        for path in node.env.disk.list(Path::new("/data")).unwrap() {
            copy_tree(&*node.env.disk, &copy, &Path::new("/data").join(path));
        }
        Env { disk: Arc::new(copy), ..node.env.clone() }
    }

    /// Stops a node and starts it again, on `disk` or on its own.
    pub(crate) async fn restart(&mut self, code: &str, disk: Option<Env>) {
        let node = self.nodes.remove(&region(code)).unwrap();
        let members = Members::clone(&node.cluster.members());
        node.cluster.stop().await;
        node.cluster.store().close().await.unwrap();
        self.boot(region(code), disk.unwrap_or(node.env), members).await;
    }
}

fn copy_tree(from: &dyn Disk, to: &MemoryDisk, path: &Path) {
    match from.open(path, OpenMode::Read) {
        Ok(file) => {
            let mut bytes = vec![0; usize::try_from(file.size().unwrap()).unwrap()];
            file.read_exact_at(0, &mut bytes).unwrap();
            let copy = to.open(path, OpenMode::CreateNew).unwrap();
            copy.write_all_at(0, &[&bytes]).unwrap();
        }
        Err(_) => {
            for name in from.list(path).unwrap() {
                copy_tree(from, to, &path.join(name));
            }
        }
    }
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
