//! A bucket that keeps versions, in the same storm: an answered version is never lost and never
//! changes, one that was erased never comes back, and in the end all regions list the same.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use godwit::engine::body::WholeBody;
use godwit::engine::{Attributes, CreateBucket, Engine, Error, PutObject, VersionRef};
use godwit::logic::precondition::Conditions;
use godwit::types::bucket::{BucketConfig, Versioning};
use godwit::types::name::BucketName;
use godwit::types::region::RegionId;
use godwit::types::stamp::Stamp;
use tokio::time::{Instant, sleep};

use super::ledger::pattern;
use super::world::World;
use super::{body_len, key, owner, read_version};

const KEYS: [&str; 2] = ["v", "w"];

pub(crate) fn bucket() -> BucketName {
    BucketName::parse("versioned").unwrap()
}

/// One version that a client asked to be made.
struct Made {
    key: &'static str,
    len: usize,
    /// Where the answer said so.
    version: Option<Stamp>,
    erasing: bool,
    erased: bool,
}

/// What clients asked of the bucket and were told.
#[derive(Clone, Default)]
pub(crate) struct Versions(Arc<Mutex<Vec<Made>>>);

/// Makes the bucket, and waits until every region knows that it keeps versions.
pub(crate) async fn create(world: &World) {
    let engine = world.engine(world.pick());
    let create = CreateBucket { name: bucket(), owner: owner(), location: Vec::new(), lock: false };
    let enable = Arc::new(|config: &mut BucketConfig| config.versioning = Versioning::Enabled);
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        let made = engine.create_bucket(create.clone()).await;
        if matches!(made, Ok(_) | Err(Error::BucketAlreadyOwnedByYou))
            && engine.change_bucket(&bucket(), enable.clone()).await.is_ok()
        {
            break;
        }
        assert!(Instant::now() < deadline, "no bucket with versions");
        sleep(Duration::from_millis(200)).await;
    }
    for region in world.regions() {
        while !keeps_versions(world, region).await {
            assert!(Instant::now() < deadline, "{region} does not know of versioning");
            sleep(Duration::from_millis(200)).await;
        }
    }
}

async fn keeps_versions(world: &World, region: RegionId) -> bool {
    let config = world.cluster(region).bucket(&bucket()).await;
    config.is_ok_and(|config| config.is_some_and(|c| c.versioning == Versioning::Enabled))
}

impl Versions {
    /// One request of one client at a region that is up.
    pub(crate) fn client(&self, world: &World, region: RegionId) {
        let (engine, this) = (world.engine(region), self.clone());
        let one = usize::try_from(world.rng.below(KEYS.len() as u64)).unwrap();
        match (world.rng.below(4), self.erasable(world)) {
            (0, Some(which)) => {
                world.run_on(region, async move { this.erase(engine, which).await })
            }
            _ => {
                let len = body_len(&world.rng);
                world.run_on(region, async move { this.put(engine, KEYS[one], len).await });
            }
        }
    }

    /// How many were asked for.
    pub(crate) fn asked(&self) -> u64 {
        self.0.lock().unwrap().len() as u64
    }

    /// A version that was answered and that nobody erases yet.
    fn erasable(&self, world: &World) -> Option<usize> {
        let made = self.0.lock().unwrap();
        let free: Vec<usize> =
            (0..made.len()).filter(|n| made[*n].version.is_some() && !made[*n].erasing).collect();
        let which = usize::try_from(world.rng.below(free.len().max(1) as u64)).unwrap();
        free.get(which).copied()
    }

    async fn put(&self, engine: Engine, name: &'static str, len: usize) {
        let which = {
            let mut made = self.0.lock().unwrap();
            made.push(Made { key: name, len, version: None, erasing: false, erased: false });
            made.len() - 1
        };
        let put = PutObject {
            bucket: bucket(),
            key: key(name),
            owner: owner(),
            attributes: Attributes::default(),
            conditions: Conditions::default(),
        };
        let mut body = WholeBody::new(Bytes::from(pattern(which, len)));
        match engine.put_object(put, &mut body).await {
            Ok(stored) => self.0.lock().unwrap()[which].version = Some(stored.version),
            Err(Error::Unavailable { .. } | Error::Internal(_)) => {}
            Err(error) => panic!("a good write was answered {error}"),
        }
    }

    async fn erase(&self, engine: Engine, which: usize) {
        let (name, stamp) = {
            let made = &mut self.0.lock().unwrap()[which];
            made.erasing = true;
            (made.key, made.version.expect("an answered version"))
        };
        let (version, conditions) = (VersionRef::Exact(stamp), Conditions::default());
        match engine.delete_object(&bucket(), &key(name), version, conditions, false).await {
            Ok(_) => self.0.lock().unwrap()[which].erased = true,
            Err(Error::Unavailable { .. } | Error::Internal(_)) => {}
            Err(error) => panic!("a good deletion was answered {error}"),
        }
    }

    /// What must hold in a region when everything works again.
    pub(crate) async fn check(&self, engine: &Engine, shown: &BTreeMap<&'static str, Vec<Stamp>>) {
        let wanted: Vec<(usize, &'static str, usize, Stamp, bool)> = {
            let made = self.0.lock().unwrap();
            let answered = made.iter().enumerate().filter(|(_, m)| m.erased || !m.erasing);
            let known = answered.filter_map(|(n, m)| Some((n, m.key, m.len, m.version?, m.erased)));
            known.collect()
        };
        for (which, name, len, stamp, erased) in wanted {
            let there = shown[name].contains(&stamp);
            let region = engine.region();
            assert_eq!(there, !erased, "{name}: version {which} ({stamp:?}) at {region}");
            if there {
                let version = VersionRef::Exact(stamp);
                let (_, body) = read_version(engine, bucket(), name, version).await.unwrap();
                assert!(body == pattern(which, len), "{name}: version {which} has other bytes");
            }
        }
    }
}

/// The versions of every key that a region has, newest first.
pub(crate) fn shown(
    world: &World,
    config: &BucketConfig,
    region: RegionId,
) -> BTreeMap<&'static str, Vec<Stamp>> {
    let cluster = world.cluster(region);
    let snapshot = cluster.store().read().unwrap();
    let stamps = |name: &&'static str| {
        let row = snapshot.row(config.id, &key(name)).unwrap().unwrap_or_default();
        (*name, row.visible().map(|version| version.stamp).collect())
    };
    KEYS.iter().map(stamps).collect()
}
