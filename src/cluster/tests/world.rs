//! A small world for tests: clusters in one process on virtual time, disks in memory, links that
//! can be cut.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::FutureExt as _;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::cluster::*;
use crate::env::{
    BoxFuture, Class, Clock, Disk, DiskFile, Env, OpenMode, PeerError, PeerHandler, Peers, Rng,
    Tasks,
};
use crate::store::{Options, Store};
use crate::types::bucket::{Ack, BucketConfig, Consistency, Location, Versioning};
use crate::types::event::Because;
use crate::types::id::{BucketId, ClusterId};
use crate::types::name::{AccountId, ObjectKey};
use crate::types::object::*;
use crate::types::record::{Record, RecordId};
use crate::types::region::{Coordinates, RegionId, RegionInfo, Role};
use crate::types::stamp::Stamp;

pub fn region(code: &str) -> RegionId {
    RegionId::parse(code).unwrap()
}

pub fn key(text: &str) -> ObjectKey {
    text.parse().unwrap()
}

/// A region that is its own failure domain.
pub fn info(code: &str) -> RegionInfo {
    RegionInfo {
        id: region(code),
        city: code.to_uppercase(),
        coordinates: Coordinates { lat: 0.0, lon: 0.0 },
        geography: "eu".to_owned(),
        failure_domain: code.to_owned(),
        role: Role::Full,
        voter: true,
    }
}

#[derive(Default)]
pub struct MemDisk {
    files: Mutex<BTreeMap<PathBuf, Arc<MemFile>>>,
    full: AtomicBool,
}

impl MemDisk {
    /// The files as they are now.
    fn copy(&self) -> Self {
        let files = self.files.lock().unwrap();
        let copied = files.iter().map(|(path, file)| {
            let bytes = file.0.lock().unwrap().clone();
            (path.clone(), Arc::new(MemFile(Mutex::new(bytes))))
        });
        Self { files: Mutex::new(copied.collect()), full: AtomicBool::new(false) }
    }
}

#[derive(Debug, Default)]
struct MemFile(Mutex<Vec<u8>>);

impl DiskFile for MemFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn read_exact_at(&self, position: u64, out: &mut [u8]) -> io::Result<()> {
        let data = self.0.lock().unwrap();
        let from = usize::try_from(position).unwrap();
        let bytes = data.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(bytes);
        Ok(())
    }

    fn write_all_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
        let mut data = self.0.lock().unwrap();
        let mut at = usize::try_from(position).unwrap();
        for part in parts {
            if data.len() < at + part.len() {
                data.resize(at + part.len(), 0);
            }
            data[at..at + part.len()].copy_from_slice(part);
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

impl Disk for MemDisk {
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock().unwrap();
        match (mode, files.get(path)) {
            (OpenMode::CreateNew, Some(_)) => Err(io::ErrorKind::AlreadyExists.into()),
            (OpenMode::Exclusive | OpenMode::Read | OpenMode::ReadWrite, Some(file)) => {
                Ok(file.clone())
            }
            (OpenMode::Read, None) => Err(io::ErrorKind::NotFound.into()),
            (OpenMode::CreateNew | OpenMode::Exclusive | OpenMode::ReadWrite, None) => {
                let file = Arc::new(MemFile::default());
                files.insert(path.to_owned(), file.clone());
                Ok(file)
            }
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<PathBuf>> {
        let files = self.files.lock().unwrap();
        let names: BTreeSet<PathBuf> = files
            .keys()
            .filter_map(|path| path.strip_prefix(dir).ok())
            .filter_map(|rest| rest.components().next())
            .map(|first| PathBuf::from(first.as_os_str()))
            .collect();
        Ok(names.into_iter().collect())
    }

    fn create_dir_all(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = self.files.lock().unwrap().remove(path);
        removed.map(|_| ()).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = self.files.lock().unwrap();
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn space(&self) -> io::Result<(u64, u64)> {
        let free = if self.full.load(Ordering::Relaxed) { 1 << 34 } else { 1 << 40 };
        Ok((1 << 40, free))
    }
}

struct VirtualClock {
    start: Instant,
    skew_ms: AtomicI64,
}

impl Clock for VirtualClock {
    fn now_ms(&self) -> u64 {
        let elapsed = u64::try_from(self.start.elapsed().as_millis()).unwrap();
        (1_800_000_000_000 + elapsed).saturating_add_signed(self.skew_ms.load(Ordering::Relaxed))
    }

    fn monotonic(&self) -> Duration {
        self.start.elapsed()
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(async move { tokio::time::sleep(duration).await })
    }
}

struct Counting(AtomicU64);

impl Rng for Counting {
    fn fill(&self, out: &mut [u8]) {
        let n = self.0.fetch_add(1, Ordering::Relaxed);
        blake3::Hasher::new().update(&n.to_le_bytes()).finalize_xof().fill(out);
    }
}

#[derive(Default)]
struct NodeTasks(Mutex<Vec<AbortHandle>>);

impl NodeTasks {
    fn kill(&self) {
        self.0.lock().unwrap().drain(..).for_each(|task| task.abort());
    }
}

impl Tasks for NodeTasks {
    fn spawn(&self, _name: &'static str, task: BoxFuture<'static, ()>) {
        let task = AssertUnwindSafe(task).catch_unwind();
        let task = async move {
            if task.await.is_err() {
                PANICS.set(PANICS.get() + 1);
            }
        };
        self.0.lock().unwrap().push(tokio::task::spawn(task).abort_handle());
    }

    fn spawn_thread(&self, name: &'static str, task: BoxFuture<'static, ()>) {
        self.spawn(name, task);
    }

    fn spawn_blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}

thread_local! {
    /// Tasks that panicked on this thread, which tokio would only print.
    static PANICS: Cell<usize> = const { Cell::new(0) };
}

type Endpoint = (Arc<Handler>, Arc<NodeTasks>);
type Tamper = Box<dyn Fn(RegionId, RegionId, Bytes) -> Bytes + Send + Sync>;

#[derive(Default)]
pub struct Net {
    nodes: Mutex<BTreeMap<RegionId, Endpoint>>,
    cuts: Mutex<BTreeSet<(RegionId, RegionId)>>,
    delays_ms: Mutex<BTreeMap<(RegionId, RegionId), u64>>,
    /// Round trips that nodes measured, where they no longer agree with the delays.
    measured_ms: Mutex<BTreeMap<(RegionId, RegionId), u64>>,
    /// Changes answers on their way from the first to the second.
    tamper: Mutex<Option<Tamper>>,
    loss: Mutex<Loss>,
    asked: Mutex<Option<Vec<Bytes>>>,
}

/// Messages that get lost, and how late the others are; by a seed.
#[derive(Default)]
struct Loss {
    percent: u64,
    rolled: u64,
}

impl Net {
    pub fn cut(&self, a: &str, b: &str) {
        let (a, b) = (region(a), region(b));
        self.cuts.lock().unwrap().extend([(a, b), (b, a)]);
    }

    pub fn heal(&self) {
        self.cuts.lock().unwrap().clear();
    }

    pub fn set_delay_ms(&self, a: &str, b: &str, one_way_ms: u64) {
        let (a, b) = (region(a), region(b));
        self.delays_ms.lock().unwrap().extend([((a, b), one_way_ms), ((b, a), one_way_ms)]);
    }

    /// As `set_delay_ms`, but nobody has measured it yet.
    pub fn slow_down(&self, a: &str, b: &str, one_way_ms: u64) {
        let rtt = u64::try_from(self.delay(region(a), region(b)).as_millis()).unwrap() * 2;
        let (from, to) = (region(a), region(b));
        self.measured_ms.lock().unwrap().extend([((from, to), rtt), ((to, from), rtt)]);
        self.set_delay_ms(a, b, one_way_ms);
    }

    /// Begins to keep what is asked, or ends it; what there was until now.
    pub fn keep_asked(&self, on: bool) -> Vec<Bytes> {
        std::mem::replace(&mut *self.asked.lock().unwrap(), on.then(Vec::new)).unwrap_or_default()
    }

    pub fn tamper(
        &self,
        change: impl Fn(RegionId, RegionId, Bytes) -> Bytes + Send + Sync + 'static,
    ) {
        *self.tamper.lock().unwrap() = Some(Box::new(change));
    }

    /// Loses this share of all messages from now on, chosen by `seed`.
    pub fn lose(&self, percent: u64, seed: u64) {
        *self.loss.lock().unwrap() = Loss { percent, rolled: seed << 32 };
    }

    /// Whether the next message is lost.
    fn is_lost(&self) -> bool {
        let mut loss = self.loss.lock().unwrap();
        loss.rolled += 1;
        let roll = blake3::hash(&loss.rolled.to_le_bytes());
        u64::from(roll.as_bytes()[0]) * 100 < loss.percent * 256
    }

    fn delay(&self, a: RegionId, b: RegionId) -> Duration {
        let delays = self.delays_ms.lock().unwrap();
        Duration::from_millis(delays.get(&(a, b)).copied().unwrap_or(20))
    }

    fn reach(&self, from: RegionId, to: RegionId) -> Option<Endpoint> {
        if self.cuts.lock().unwrap().contains(&(from, to)) {
            return None;
        }
        self.nodes.lock().unwrap().get(&to).cloned()
    }
}

struct Links {
    net: Arc<Net>,
    own: RegionId,
}

impl Peers for Links {
    fn call(
        &self,
        to: RegionId,
        _class: Class,
        request: Bytes,
        deadline: Duration,
    ) -> BoxFuture<'static, Result<Bytes, PeerError>> {
        assert!(request.len() <= limits::MESSAGE_BYTES_MAX, "{} bytes", request.len());
        let (net, own) = (self.net.clone(), self.own);
        net.asked.lock().unwrap().iter_mut().for_each(|asked| asked.push(request.clone()));
        let exchange = async move {
            net.reach(own, to).ok_or(PeerError::Unreachable)?;
            tokio::time::sleep(net.delay(own, to)).await;
            if net.is_lost() {
                return std::future::pending().await;
            }
            let Some((handler, tasks)) = net.reach(own, to) else {
                return std::future::pending().await;
            };
            let (done, reply) = tokio::sync::oneshot::channel();
            tasks.spawn(
                "serve",
                Box::pin(async move {
                    let _ = done.send(handler.handle(own, request).await);
                }),
            );
            let reply = reply.await.map_err(|_| PeerError::Broken)?;
            tokio::time::sleep(net.delay(to, own)).await;
            if net.reach(to, own).is_none() || net.is_lost() {
                return std::future::pending().await;
            }
            let reply = reply.map_err(PeerError::Refused)?;
            let tamper = net.tamper.lock().unwrap();
            Ok(match &*tamper {
                Some(tamper) => tamper(to, own, reply),
                None => reply,
            })
        };
        Box::pin(async move {
            tokio::time::timeout(deadline, exchange).await.unwrap_or(Err(PeerError::Timeout))
        })
    }

    fn datagram(&self, to: RegionId, data: Bytes) {
        assert!(data.len() <= limits::DATAGRAM_BYTES_MAX, "{} bytes", data.len());
        let (net, own) = (self.net.clone(), self.own);
        tokio::task::spawn(async move {
            tokio::time::sleep(net.delay(own, to)).await;
            if let Some((handler, _)) = net.reach(own, to)
                && !net.is_lost()
            {
                handler.datagram(own, data);
            }
        });
    }

    fn rtt(&self, to: RegionId) -> Option<Duration> {
        let measured = self.net.measured_ms.lock().unwrap().get(&(self.own, to)).copied();
        let now = self.net.delay(self.own, to) * 2;
        self.is_connected(to).then(|| measured.map_or(now, Duration::from_millis))
    }

    fn is_connected(&self, to: RegionId) -> bool {
        self.net.reach(self.own, to).is_some() && self.net.reach(to, self.own).is_some()
    }

    fn set_members(&self, _: Vec<(RegionId, Option<String>)>, _: Vec<RegionId>) {}
}

struct Node {
    disk: Arc<MemDisk>,
    clock: Arc<VirtualClock>,
    tasks: Arc<NodeTasks>,
    cluster: Option<Cluster>,
    /// Starts, so that no two draw the same numbers.
    boots: u64,
}

pub struct World {
    pub net: Arc<Net>,
    /// What nodes with an empty disk are given.
    pub members: Members,
    nodes: BTreeMap<RegionId, Node>,
    start: Instant,
    pub options: ClusterOptions,
}

impl World {
    /// One node in each of these regions, each its own failure domain.
    pub async fn new(codes: &[&str]) -> Self {
        Self::with(codes, ClusterOptions::default()).await
    }

    pub async fn with(codes: &[&str], options: ClusterOptions) -> Self {
        let infos = codes.iter().map(|code| info(code));
        let members = Members::new(ClusterId([7; 16]), infos.collect()).unwrap();
        let mut world = Self {
            net: Arc::default(),
            members,
            nodes: BTreeMap::new(),
            start: Instant::now(),
            options,
        };
        for code in codes {
            world.boot(code).await;
        }
        // Let pushers greet each other.
        tokio::time::sleep(Duration::from_secs(1)).await;
        world
    }

    /// Starts a node on the disk that it had.
    pub async fn boot(&mut self, code: &str) {
        let id = region(code);
        let start = self.start;
        let node = self.nodes.entry(id).or_insert_with(|| Node {
            disk: Arc::default(),
            clock: Arc::new(VirtualClock { start, skew_ms: AtomicI64::new(0) }),
            tasks: Arc::default(),
            cluster: None,
            boots: 0,
        });
        node.tasks = Arc::default();
        node.boots += 1;
        let env = Env {
            clock: node.clock.clone(),
            rng: Arc::new(Counting(AtomicU64::new(
                u64::from(id.to_u16()) << 32 | node.boots << 24,
            ))),
            tasks: node.tasks.clone(),
            disk: node.disk.clone(),
        };
        let mut options = Options::new(PathBuf::from("/data"), id);
        options.segment_bytes = 16 << 20;
        let (store, _) = Store::open(env.clone(), options).await.unwrap();
        let handler = Handler::new();
        let peers = Arc::new(Links { net: self.net.clone(), own: id });
        let cluster =
            Cluster::start(env, store, peers, &handler, self.members.clone(), self.options.clone());
        node.cluster = Some(cluster.await.unwrap());
        self.net.nodes.lock().unwrap().insert(id, (handler, node.tasks.clone()));
    }

    /// kill -9: everything stops where it is.
    pub fn kill(&mut self, code: &str) {
        let id = region(code);
        self.net.nodes.lock().unwrap().remove(&id);
        let node = self.nodes.get_mut(&id).unwrap();
        node.tasks.kill();
        node.cluster = None;
        // What the dead one still does when its parts are dropped, it does to no disk of ours.
        node.disk = Arc::new(node.disk.copy());
    }

    /// The files of a node as they are now.
    pub fn copy_disk(&self, code: &str) -> Arc<MemDisk> {
        Arc::new(self.nodes[&region(code)].disk.copy())
    }

    /// Flips a bit of these bytes wherever they lie on a node's disk; how many places that were.
    pub fn decay(&self, code: &str, bytes: &[u8]) -> usize {
        let files = self.nodes[&region(code)].disk.files.lock().unwrap();
        let mut places = 0;
        let is_index = |path: &Path| path.file_stem().is_some_and(|stem| stem == "index");
        for (path, file) in files.iter().filter(|(path, _)| !is_index(path)) {
            let mut data = file.0.lock().unwrap();
            let found = data.windows(bytes.len()).position(|window| window == bytes);
            if let Some(at) = found {
                tracing::debug!(?path, at, "decays");
                data[at + bytes.len() / 2] ^= 4;
                places += 1;
            }
        }
        places
    }

    /// Changes the bytes of the index of a node that is stopped, and nothing puts them back.
    pub fn change_index<T>(&self, code: &str, change: impl FnOnce(&mut Vec<u8>) -> T) -> T {
        let mut files = self.nodes[&region(code)].disk.files.lock().unwrap();
        files.retain(|path, _| !path.ends_with("index.roots"));
        let (_, file) = files.iter().find(|(path, _)| path.ends_with("index.redb")).unwrap();
        change(&mut file.0.lock().unwrap())
    }

    /// A node's disk has no more room for new bodies.
    pub async fn fill_disk(&self, code: &str) {
        self.nodes[&region(code)].disk.full.store(true, Ordering::Relaxed);
        self.at(code).store().maintain().await.unwrap();
    }

    /// The next boot of this node finds these files.
    pub fn replace_disk(&mut self, code: &str, disk: Arc<MemDisk>) {
        self.nodes.get_mut(&region(code)).unwrap().disk = disk;
    }

    pub fn is_up(&self, code: &str) -> bool {
        self.nodes[&region(code)].cluster.is_some()
    }

    /// Runs a client's request, which dies with the node that it is sent to.
    pub fn run_on(&self, code: &str, work: impl Future<Output = ()> + Send + 'static) {
        self.nodes[&region(code)].tasks.spawn("client", Box::pin(work));
    }

    /// Virtual time since the world began.
    pub fn now(&self) -> Duration {
        self.start.elapsed()
    }

    pub fn skew(&self, code: &str, skew_ms: i64) {
        self.nodes[&region(code)].clock.skew_ms.store(skew_ms, Ordering::Relaxed);
    }

    pub fn at(&self, code: &str) -> Cluster {
        self.nodes[&region(code)].cluster.clone().expect("this node runs")
    }

    /// The row as this node has it.
    pub fn row(&self, code: &str, bucket: &BucketConfig, name: &str) -> Option<Row> {
        self.at(code).store().read().unwrap().row(bucket.id, &key(name)).unwrap()
    }

    /// Cuts one region off from others.
    pub fn kill_links(&self, code: &str, others: &[&str]) {
        others.iter().for_each(|other| self.net.cut(code, other));
    }

    /// No task of any node, and no client, has panicked.
    pub fn assert_sound(&self) {
        assert_eq!(PANICS.get(), 0, "a task panicked");
    }

    /// Waits until `done`, on virtual time.
    pub async fn until(&self, what: &str, done: impl Fn(&Self) -> bool) {
        for step in 0..4000 {
            self.assert_sound();
            if done(self) {
                return;
            }
            let pause_ms = if step < 1000 { 2 } else { 100 };
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
        }
        panic!("never happened: {what}");
    }
}

/// Tests with many worlds one after the other would run them all to their end.
impl Drop for World {
    fn drop(&mut self) {
        self.nodes.values().for_each(|node| node.tasks.kill());
    }
}

pub fn bucket(ack: Ack) -> Arc<BucketConfig> {
    Arc::new(BucketConfig {
        id: BucketId([3; 16]),
        owner: AccountId("owner".into()),
        created_ms: 0,
        location: Location::Everywhere,
        ack,
        copies: 3,
        riding_bytes_max: 4096,
        versioning: Versioning::Off,
        lock: None,
        policy: None,
        access_block: None,
        consistency: Consistency::Eventual,
    })
}

/// An object's content for a body that may lie there.
fn meta(body: &Body, location: &Location) -> ObjectMeta {
    ObjectMeta {
        size: body.len,
        etag: ETag("0".into()),
        modified_ms: 0,
        headers: StoredHeaders { location: location.clone(), ..StoredHeaders::default() },
        user_meta: Vec::new(),
        checksum: None,
        parts: body
            .blob
            .map(|blob| PartRef {
                number: 1,
                blob,
                checksum: None,
                held_by: Vec::new(),
                seal: None,
            })
            .into_iter()
            .collect(),
        rides: body.rides,
        owner: AccountId("owner".into()),
        encryption: None,
    }
}

/// Writes an object as the engine does.
pub async fn put(
    cluster: &Cluster,
    config: &Arc<BucketConfig>,
    name: &str,
    bytes: &[u8],
) -> Result<Written, Unavailable> {
    put_in(cluster, config, &Location::Everywhere, name, bytes).await
}

/// The same of an object that has regions of its own.
pub async fn put_in(
    cluster: &Cluster,
    config: &Arc<BucketConfig>,
    location: &Location,
    name: &str,
    bytes: &[u8],
) -> Result<Written, Unavailable> {
    let config = &config.within(location);
    let mut sink = cluster.body(config, Some(bytes.len() as u64)).await?;
    for piece in bytes.chunks(100_000) {
        sink.write(Bytes::copy_from_slice(piece)).await?;
    }
    let body = sink.finish().await?;
    let content = Content::Object(Arc::new(meta(&body, location)));
    write(cluster, config, name, vec![body], content).await
}

pub async fn write_body(
    cluster: &Cluster,
    config: &Arc<BucketConfig>,
    name: &str,
    body: Body,
) -> Result<Written, Unavailable> {
    let content = Content::Object(Arc::new(meta(&body, &Location::Everywhere)));
    write(cluster, config, name, vec![body], content).await
}

pub async fn delete(
    cluster: &Cluster,
    config: &Arc<BucketConfig>,
    name: &str,
) -> Result<Written, Unavailable> {
    write(cluster, config, name, Vec::new(), Content::Tombstone).await
}

async fn write(
    cluster: &Cluster,
    config: &Arc<BucketConfig>,
    name: &str,
    bodies: Vec<Body>,
    content: Content,
) -> Result<Written, Unavailable> {
    let id = RecordId::Row(config.id, key(name));
    let subject = id.clone();
    let decide: Decide<Unavailable> = Box::new(move |view, stamp| {
        let replaces = match view.record(&id)? {
            Some(Record::Row(row)) if row.stamp() < stamp => row.stamp(),
            Some(Record::Row(row)) => {
                let older = row.versions.iter().find(|v| v.stamp < stamp);
                older.map_or(Stamp::ZERO, |v| v.stamp)
            }
            _ => Stamp::ZERO,
        };
        let placement = Placement::default();
        let (null, marks, content) = (true, Marks::default(), content.clone());
        let version = Version { stamp, replaces, null, content, marks, placement };
        Ok(vec![(id.clone(), Record::Row(Row::of(version)))])
    });
    cluster.write(config, Write { subject, bodies, decide }).await
}

/// Why a change that depends on what is there was not made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotChanged {
    /// Something else is there.
    Refused,
    Contested,
    Unavailable(String),
}

impl From<Contested> for NotChanged {
    fn from(_: Contested) -> Self {
        Self::Contested
    }
}

impl From<Unavailable> for NotChanged {
    fn from(why: Unavailable) -> Self {
        Self::Unavailable(why.reason)
    }
}

/// The entity tag of what a row shows; `None` where it shows nothing.
pub fn tag(row: Option<&Row>) -> Option<String> {
    Some(row?.object()?.1.etag.0.to_string())
}

/// Puts an object with this entity tag where there is one with that one, or none.
pub async fn put_if(
    cluster: &Cluster,
    config: &Arc<BucketConfig>,
    name: &str,
    expected: Option<&str>,
    (made, bytes): (&str, &[u8]),
) -> Result<Written, NotChanged> {
    let mut sink = cluster.body(config, Some(bytes.len() as u64)).await?;
    for piece in bytes.chunks(100_000) {
        sink.write(Bytes::copy_from_slice(piece)).await?;
    }
    let body = sink.finish().await?;
    let meta = ObjectMeta { etag: ETag(made.into()), ..meta(&body, &Location::Everywhere) };
    let content = Content::Object(Arc::new(meta));
    change_if(cluster, config, name, expected, vec![body], content).await
}

/// Deletes the object with this entity tag.
pub async fn delete_if(
    cluster: &Cluster,
    config: &Arc<BucketConfig>,
    name: &str,
    expected: &str,
) -> Result<Written, NotChanged> {
    change_if(cluster, config, name, Some(expected), Vec::new(), Content::Tombstone).await
}

async fn change_if(
    cluster: &Cluster,
    config: &Arc<BucketConfig>,
    name: &str,
    expected: Option<&str>,
    bodies: Vec<Body>,
    content: Content,
) -> Result<Written, NotChanged> {
    let id = RecordId::Row(config.id, key(name));
    let (subject, expected) = (id.clone(), expected.map(str::to_owned));
    let decide: Decide<NotChanged> = Box::new(move |view, stamp| {
        let row = match view.record(&id)? {
            Some(Record::Row(row)) => row,
            _ => Row::default(),
        };
        if tag(Some(&row)) != expected {
            return Err(NotChanged::Refused);
        }
        let (replaces, placement) = (row.null_stamp(), Placement::default());
        let (null, marks, content) = (true, Marks::default(), content.clone());
        let version = Version { stamp, replaces, null, content, marks, placement };
        Ok(vec![(id.clone(), Record::Row(Row::of(version)))])
    });
    let write = Write { subject, bodies, decide };
    cluster.write_linearizable(config, write, Because::default(), None).await
}

/// Reads an object's current version whole: its bytes and where the first ones came from.
pub async fn get(
    cluster: &Cluster,
    config: &Arc<BucketConfig>,
    name: &str,
) -> Result<(Vec<u8>, Source), ReadError> {
    let mut row = cluster.row(config, &key(name)).await?.ok_or(ReadError::Gone)?;
    loop {
        let (version, meta) = row.object().ok_or(ReadError::Gone)?;
        let opened = cluster.read(config, &key(name), version, 0..meta.size).await;
        let mut stream = match opened {
            Ok(stream) => stream,
            Err(ReadError::Moved(newer)) => {
                row = newer;
                continue;
            }
            Err(why) => return Err(why),
        };
        let mut bytes = Vec::new();
        while let Some(piece) = stream.next().await {
            bytes.extend_from_slice(&piece?);
        }
        return Ok((bytes, stream.source()));
    }
}
