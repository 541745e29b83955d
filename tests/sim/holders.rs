//! Who really holds what: an object that is shown anywhere has its bytes on as many disks as its bucket
//! promises, and a region that says that it holds them does.

use super::*;

/// Disks that must have the bytes of what was answered: `ack`, and `copies`, of this world's buckets.
const HOLDERS_MIN: usize = 2;

/// The current version of a key in a region, if it is an object whose bytes do not ride.
fn placed(world: &World, config: &BucketConfig, region: RegionId, name: &str) -> Option<Version> {
    let store = world.cluster(region).store().clone();
    let row = store.read().unwrap().row(config.id, &key(name)).unwrap()?;
    let version = row.current()?;
    let Content::Object(meta) = &version.content else { return None };
    (!meta.rides && meta.size > 0).then(|| version.clone())
}

/// Whether a region has all bytes of a version; damaged ones count where they are to be mended.
fn holds(world: &World, region: RegionId, version: &Version, damaged_too: bool) -> bool {
    let Content::Object(meta) = &version.content else { return false };
    let store = world.cluster(region).store().clone();
    let view = store.read().unwrap();
    meta.parts.iter().all(|part| {
        let id = &part.blob.id;
        view.holds(id).unwrap() || (damaged_too && view.is_damaged(id).unwrap())
    })
}

fn count(world: &World, version: &Version, damaged_too: bool) -> usize {
    let all = world.regions().into_iter();
    all.filter(|region| holds(world, *region, version, damaged_too)).count()
}

/// At any moment at which every disk can be looked at: no region shows what too few disks have.
pub(crate) async fn check_now(world: &World) -> u64 {
    let up = world.regions().into_iter().all(|region| world.is_up(region));
    if !up {
        return 0;
    }
    let Ok(Some(config)) = world.cluster(world.pick()).bucket(&bucket()).await else { return 0 };
    let mut looked = 0;
    for name in KEYS {
        for region in world.regions() {
            let Some(version) = placed(world, &config, region, name) else { continue };
            let found = count(world, &version, true);
            let stamp = version.stamp;
            assert!(found >= HOLDERS_MIN, "{name}, {stamp}, shown at {region}: on {found} disks");
            looked += 1;
        }
    }
    looked
}

/// When everything works again: every holder of record holds, undamaged, and there are enough.
pub(crate) async fn check_end(world: &World, config: &BucketConfig) {
    let deadline = Instant::now() + Duration::from_secs(3600);
    for name in KEYS {
        while let Some(version) = placed(world, config, world.pick(), name) {
            let missing: Vec<RegionId> =
                version.placement.held().filter(|r| !holds(world, *r, &version, false)).collect();
            let enough = version.placement.held().count() >= HOLDERS_MIN;
            if missing.is_empty() && enough {
                break;
            }
            let placement = &version.placement;
            assert!(
                Instant::now() < deadline,
                "{name}: {missing:?} of {placement:?} do not hold it"
            );
            sleep(Duration::from_secs(5)).await;
        }
    }
}
