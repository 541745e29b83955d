//! Space comes back: what nothing needs is reclaimed, and what lives is moved together at rest.

use godwit::types::id::UploadId;
use godwit::types::record::PartRecord;

use super::*;

/// Bytes that the store uses for bodies: segments and blob files.
fn body_bytes(disk: &SimDisk) -> u64 {
    let tree = disk.tree(Path::new("/data"));
    let is_index = |path: &Path| path.ends_with("index.redb") || path.ends_with("index.roots");
    tree.iter().filter(|(path, _)| !is_index(path)).map(|(_, len)| len).sum()
}

/// What a store at rest may use for bodies: a tenth more than what lives, and a named part of a
/// segment. A body that is moved has a frame and says where it is.
fn resting_bytes(live: u64, bodies: usize, segment_bytes: u64) -> u64 {
    const FRAME_BYTES: u64 = 170;
    let packed = live + bodies as u64 * FRAME_BYTES;
    packed
        + 2 * packed * limits::REST_DEAD_PERCENT / 100
        + segment_bytes / limits::REST_SEGMENT_PARTS
}

/// Leaves a store alone until housekeeping has nothing to do any more.
pub(crate) async fn rest(store: &Store) {
    for _ in 0..12 {
        maintain_all(store).await;
        store.env().sleep(Duration::from_secs(10)).await;
    }
}

/// Writes `total` bytes in mixed sizes, deletes all but some, and again: space comes back.
fn write_and_delete(segment_bytes: u64, total: u64, rounds: u64) {
    let disk = SimDisk::new(20);
    doors::life(async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let mut options = options();
        options.segment_bytes = segment_bytes;
        let (store, _) = open_with(env.clone(), options).await;
        let mut n = 1 << 20;
        let mut kept: Vec<(u64, BlobRef)> = Vec::new();
        for round in 0..rounds {
            let (mut written, mut mine) = (0, Vec::new());
            while written < total {
                n += 1;
                let len =
                    [700, 20_000, 64 << 10, 200_000, 900_000][usize::try_from(n % 5).unwrap()];
                let blob = put(&store, &format!("r{round}/{n}"), n, 0, len).await.unwrap();
                written += blob.len;
                mine.push((n, blob));
            }
            for (n, blob) in mine {
                if n % 16 == 0 {
                    kept.push((n, blob));
                } else {
                    let name = format!("r{round}/{n}");
                    merge(&store, &name, tombstone((1 << 40) + n, n)).await.unwrap();
                }
            }
            env.sleep(limits::BLOB_GRACE + Duration::from_secs(60)).await;
            rest(&store).await;
            let live: u64 = kept.iter().map(|(_, blob)| blob.len).sum();
            let (used, bound) = (body_bytes(&disk), resting_bytes(live, kept.len(), segment_bytes));
            assert!(used <= bound, "round {round}: {used} bytes for {live} live, bound {bound}");
            let moved = store.stats().compacted_bytes;
            rest(&store).await;
            assert_eq!(store.stats().compacted_bytes, moved, "a store at rest moves on");
        }
        for (n, blob) in kept {
            let read = content(&store, &blob).await.unwrap().unwrap();
            assert_eq!(read, body(n, usize::try_from(blob.len).unwrap()));
        }
        assert!(store.stats().compacted_bytes > 0, "nothing was compacted");
    });
}

#[test]
fn a_busy_store_moves_nothing_that_is_less_than_half_dead_and_one_at_rest_does() {
    let disk = SimDisk::new(28);
    doors::life(async {
        let env = doors::env(&disk, 1, Duration::ZERO);
        let options = Options { blob_grace: Duration::from_secs(5), ..options() };
        let (store, _) = open_with(env.clone(), options).await;
        let mut live = 0;
        for n in 1..=200_u64 {
            let blob = put(&store, &format!("k{n}"), n, 0, 60_000).await.unwrap();
            live += if n % 4 == 0 { 0 } else { blob.len };
        }
        for n in (4..=200_u64).step_by(4) {
            merge(&store, &format!("k{n}"), tombstone(1000 + n, n)).await.unwrap();
        }
        let mut n = 2000;
        let began = env.monotonic();
        while env.monotonic() < began + limits::REST_AFTER * 2 {
            // A key that is written over and over, so that what it leaves is mostly dead.
            n += 1;
            put(&store, "busy", n, if n == 2001 { 0 } else { n - 1 }, 300_000).await.unwrap();
            for i in 0..6 {
                put(&store, &format!("x{n}-{i}"), n * 100 + i, 0, 60_000).await.unwrap();
                live += 60_000;
            }
            maintain_all(&store).await;
            env.sleep(Duration::from_secs(1)).await;
        }
        assert_eq!(store.stats().compacted_bytes, 0, "moved while busy");
        rest(&store).await;
        assert!(store.stats().compacted_bytes > 0, "nothing was moved at rest");
        let (used, bodies) = (body_bytes(&disk), 151 + 6 * 60);
        let bound = resting_bytes(live + 300_000, bodies, 1 << 20);
        assert!(used <= bound, "{used} bytes for {live} live, bound {bound}");
    });
}

#[test]
fn deleted_bytes_give_their_space_back() {
    write_and_delete(1 << 20, 6 << 20, 6);
}

/// The same at full size: ten times 1 GiB. `GODWIT_LONG=1` runs it.
#[test]
fn deleted_bytes_give_their_space_back_at_full_size() {
    if std::env::var_os("GODWIT_LONG").is_some() {
        write_and_delete(limits::SEGMENT_BYTES, 1 << 30, 10);
    }
}

/// A part of an upload; ended with the upload, its bytes are nobody's.
fn part(n: u64, blob: BlobRef, ended: bool) -> (RecordId, Record) {
    let part = PartRef { number: 1, blob, checksum: None, held_by: vec![fra()], seal: None };
    let record = PartRecord {
        stamp: stamp(n + u64::from(ended)),
        md5: [0; 16],
        part,
        checksum: None,
        modified_ms: 1,
        ended,
    };
    (RecordId::Part(UploadId(stamp(n)), 1), Record::Part(Box::new(record)))
}

async fn put_part(store: &Store, n: u64, len: usize) -> BlobRef {
    let sealed = seal(store, n, len).await.unwrap();
    let blob = sealed.blob();
    let (id, record) = part(n, blob, false);
    let write = move |tx: &mut Tx<'_>| {
        tx.attach(sealed)?;
        tx.merge(id, record, Source::Local)?;
        Ok::<_, Error>(())
    };
    store.write(write).await.unwrap();
    blob
}

/// Versions that were written over or deleted, parts of uploads that were given up, bodies that were
/// never named, and cached copies beyond their budget; with a restart in the middle.
#[test]
fn whatever_is_not_needed_any_more_gives_its_space_back_and_what_is_needed_stays() {
    const LENGTHS: [usize; 4] = [3_000, 70_000, 200_000, 400_000];
    let disk = SimDisk::new(29);
    let kept = doors::life(async {
        let (store, _) = open(&disk).await;
        let (mut kept, mut n) = (Vec::new(), 10);
        for i in 0..60_u64 {
            let len = LENGTHS[usize::try_from(i % 4).unwrap()];
            // Written over three times, every second time deleted in the end.
            let name = format!("over{i}");
            for round in 0..4 {
                n += 10;
                let blob = put(&store, &name, n, if round == 0 { 0 } else { n - 10 }, len);
                let blob = blob.await.unwrap();
                if round == 3 && i % 2 == 0 {
                    kept.push((n, blob));
                }
            }
            if i % 2 == 1 {
                n += 10;
                merge(&store, &name, tombstone(n, n - 10)).await.unwrap();
            }
            // An upload that is given up, and one that goes on.
            n += 10;
            let blob = put_part(&store, n, len).await;
            let (id, record) = part(n, blob, true);
            store.write(|tx| tx.merge(id, record, Source::Local).map(|_| ())).await.unwrap();
            if i % 10 == 0 {
                n += 10;
                kept.push((n, put_part(&store, n, len).await));
            }
            n += 10;
            let sealed = seal(&store, n, len).await.unwrap();
            store.write(|tx| tx.attach(sealed)).await.unwrap();
            n += 10;
            cache_whole(&store, n, len).await;
        }
        store.close().await.unwrap();
        kept
    });
    doors::life(async {
        let env = doors::env(&disk, 2, DAY);
        let (store, _) = open_with(env, options()).await;
        rest(&store).await;
        let live: u64 = kept.iter().map(|(_, blob)| blob.len).sum();
        let cache = options().disk_cache_bytes;
        let (used, bound) = (body_bytes(&disk), resting_bytes(live, kept.len(), 1 << 20) + cache);
        assert!(used <= bound, "{used} bytes for {live} live, bound {bound}");
        for (n, blob) in kept {
            let read = content(&store, &blob).await.unwrap().unwrap();
            assert_eq!(read, body(n, usize::try_from(blob.len).unwrap()));
        }
    });
}
