//! Faults of one region's disk, one by one, as clients of the cluster meet them.

use super::*;

/// Runs a story in three regions on virtual time.
pub(crate) fn story<F: Future<Output = ()>>(tell: impl FnOnce(World) -> F) {
    watch_for_panics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::start(7, &REGIONS).await;
        create_bucket(&world).await;
        let deadline = Instant::now() + Duration::from_secs(60);
        for region in world.regions() {
            let mut known = false;
            while !known {
                known = matches!(world.cluster(region).bucket(&bucket()).await, Ok(Some(_)));
                assert!(Instant::now() < deadline, "{region} does not know the bucket");
                sleep(Duration::from_millis(100)).await;
            }
        }
        tell(world).await;
        assert!(!PANICKED.load(Ordering::Relaxed), "a task panicked; see above");
    });
}

pub(crate) fn at(code: &str) -> RegionId {
    code.parse().unwrap()
}

pub(crate) async fn write(engine: &Engine, name: &str, len: usize) -> Result<Stamp, Error> {
    write_to(engine, bucket(), name, len).await
}

pub(crate) async fn write_to(
    engine: &Engine,
    bucket: BucketName,
    name: &str,
    len: usize,
) -> Result<Stamp, Error> {
    let put = PutObject {
        bucket,
        key: key(name),
        owner: owner(),
        attributes: Attributes::default(),
        conditions: Conditions::default(),
    };
    let mut body = WholeBody::new(Bytes::from(vec![7; len]));
    engine.put_object(put, &mut body).await.map(|stored| stored.version)
}

async fn remove(engine: &Engine, name: &str) -> Result<(), Error> {
    let (version, conditions) = (VersionRef::Current, Conditions::default());
    engine.delete_object(&bucket(), &key(name), version, conditions, false).await.map(|_| ())
}

async fn length(engine: &Engine, name: &str) -> Option<usize> {
    read(engine, name).await.unwrap().map(|(_, bytes)| bytes.len())
}

/// It is there with this length; what is looked for elsewhere and cannot be noted here is not.
async fn shows(engine: &Engine, name: &str, len: usize) -> bool {
    matches!(read(engine, name).await, Ok(Some((_, bytes))) if bytes.len() == len)
}

/// Waits until it holds.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(3600);
    while !holds().await {
        assert!(Instant::now() < deadline, "never: {what}");
        sleep(Duration::from_millis(500)).await;
    }
}

fn reason(error: &Error) -> String {
    match error {
        Error::Unavailable { reason, .. } => reason.clone(),
        other => panic!("answered {other:?}"),
    }
}

/// From a body that rides to one in a file.
const LENS: [usize; 4] = [100, 30_000, 200_000, 1 << 20];

#[test]
fn a_region_with_a_full_disk_refuses_objects_and_goes_on_with_everything_else() {
    story(|world| async move {
        let (full, other) = (at("fra"), at("iad"));
        let (engine, elsewhere) = (world.engine(full), world.engine(other));
        for n in 0..20 {
            write(&engine, &format!("old{n}"), 1 << 20).await.unwrap();
        }
        let store = world.cluster(full).store().clone();
        let disk = world.disk(full);
        disk.set_capacity(disk.used() * 100 / 96);
        store.maintain().await.unwrap();
        for len in LENS {
            let why = reason(&write(&engine, "new", len).await.unwrap_err());
            assert!(why.contains("too full"), "{why}");
        }
        assert_eq!(length(&engine, "old1").await, Some(1 << 20));
        assert_eq!(length(&engine, "new").await, None);
        // What others write and delete arrives; deletions are taken.
        write(&elsewhere, "small", 100).await.unwrap();
        remove(&elsewhere, "old2").await.unwrap();
        until("what others did arrives", async || {
            length(&engine, "small").await == Some(100) && length(&engine, "old2").await.is_none()
        })
        .await;
        for n in 3..20 {
            remove(&engine, &format!("old{n}")).await.unwrap();
        }
        assert_eq!(length(&engine, "old3").await, None);
        until("the deletions give room", async || {
            sleep(Duration::from_secs(60)).await;
            while store.maintain().await.unwrap() {}
            store.has_room()
        })
        .await;
        write(&engine, "new", 30_000).await.unwrap();
        until("it is everywhere", async || length(&elsewhere, "new").await == Some(30_000)).await;
    });
}

#[test]
fn a_region_whose_sync_failed_says_so_and_comes_back_with_all_that_was_answered() {
    for place in ["/data/log/", "/data/blobs/"] {
        story(|mut world| async move {
            let (failed, other) = (at("fra"), at("iad"));
            let len = 1 << 20;
            write(&world.engine(failed), "before", len).await.unwrap();
            world.disk(failed).fail_in(Fault::Sync, place, 0);
            let why = reason(&write(&world.engine(failed), "during", len).await.unwrap_err());
            assert!(why.contains("writes stopped after a failure"), "{place}: {why}");
            world.disk(failed).heal();
            for len in LENS {
                let why = reason(&write(&world.engine(failed), "after", len).await.unwrap_err());
                assert!(why.contains("injected failure"), "{place}: {why}");
            }
            let why = reason(&remove(&world.engine(failed), "before").await.unwrap_err());
            assert!(why.contains("injected failure"), "{place}: {why}");
            assert_eq!(length(&world.engine(failed), "before").await, Some(len), "reads go on");
            write(&world.engine(other), "elsewhere", 100).await.unwrap();
            write(&world.engine(other), "far", len).await.unwrap();
            let engine = world.engine(failed);
            for (name, len) in [("elsewhere", 100), ("far", len)] {
                let found = read(&engine, name).await;
                let found = found.map(|found| found.map(|(_, bytes)| bytes.len()));
                assert_eq!(found.unwrap(), Some(len), "{place}: {name} cannot be noted here");
            }
            world.crash(failed);
            world.boot(failed).await;
            let engine = world.engine(failed);
            assert_eq!(length(&engine, "before").await, Some(len));
            assert_eq!(length(&engine, "after").await, None);
            until("it catches up", async || shows(&engine, "elsewhere", 100).await).await;
            write(&engine, "after", len).await.unwrap();
        });
    }
}

#[test]
fn a_region_whose_disk_does_not_answer_says_so_in_bounded_time_and_reads_go_on() {
    story(|world| async move {
        let (stuck, other) = (at("fra"), at("iad"));
        let engine = world.engine(stuck);
        write(&engine, "before", 30_000).await.unwrap();
        world.disk(stuck).fail_in(Fault::Stuck(200), "/data/log/", 0);
        let bound = godwit::limits::DISK_PATIENCE * 2;
        for len in LENS {
            let began = Instant::now();
            let why = reason(&write(&engine, "during", len).await.unwrap_err());
            assert!(why.contains("the disk does not answer"), "{why}");
            assert!(began.elapsed() <= bound, "{:?} for {len} bytes", began.elapsed());
            assert_eq!(length(&engine, "before").await, Some(30_000), "reads go on");
        }
        // Others need it for nothing.
        write(&world.engine(other), "elsewhere", 1 << 20).await.unwrap();
        world.disk(stuck).heal();
        until("it goes on", async || shows(&engine, "elsewhere", 1 << 20).await).await;
        until("it takes writes", async || write(&engine, "again", 30_000).await.is_ok()).await;
        let elsewhere = world.engine(other);
        until("it is everywhere", async || shows(&elsewhere, "again", 30_000).await).await;
    });
}

#[test]
fn bytes_that_a_disk_does_not_give_come_from_another_region() {
    for (place, len) in [("/data/log/", 30_000), ("/data/blobs/", 1 << 20)] {
        story(|world| async move {
            let failing = at("fra");
            let engine = world.engine(failing);
            write(&engine, "k", len).await.unwrap();
            world.disk(failing).fail_in(Fault::Read, place, 0);
            assert_eq!(length(&engine, "k").await, Some(len), "{place}");
            assert!(world.cluster(failing).store().stats().corrupt_reads > 0, "nothing was hit");
            world.disk(failing).heal();
            let store = world.cluster(failing).store().clone();
            until("it is mended", async || store.read().unwrap().damaged(9).unwrap().is_empty())
                .await;
        });
    }
}

#[test]
fn a_region_that_cannot_read_its_index_says_so_and_goes_on_by_itself() {
    story(|mut world| async move {
        let (failing, other) = (at("fra"), at("iad"));
        // More than one page of the index.
        let name = |n: usize| format!("{n:03}{}", "x".repeat(900));
        for n in 0..60 {
            write(&world.engine(failing), &name(n), 10).await.unwrap();
        }
        world.cluster(failing).store().checkpoint().await.unwrap();
        world.crash(failing);
        world.index_cache_bytes = 0;
        world.boot(failing).await;
        let engine = world.engine(failing);
        until("it takes writes", async || write(&engine, "before", 10).await.is_ok()).await;
        world.disk(failing).fail_in(Fault::Read, "index.redb", 0);
        let mut refused = 0;
        for n in 0..60 {
            match read(&engine, &name(n)).await {
                Ok(found) => assert!(found.is_some(), "{n} is taken for absent"),
                Err(why) => {
                    assert!(reason(&why).contains("index"), "{why:?}");
                    refused += 1;
                }
            }
        }
        assert!(refused > 0, "all of it was in memory");
        let why = reason(&write(&engine, "during", 10).await.unwrap_err());
        assert!(why.contains("reading the index: injected failure"), "{why}");
        let trouble = world.cluster(failing).trouble().join("; ");
        assert!(trouble.contains("the index is opened anew by itself"), "{trouble}");
        write(&world.engine(other), "elsewhere", 10).await.unwrap();
        world.disk(failing).heal();
        until("it takes writes again", async || write(&engine, "again", 10).await.is_ok()).await;
        assert_eq!(world.cluster(failing).trouble(), Vec::<String>::new());
        for n in 0..60 {
            assert_eq!(length(&engine, &name(n)).await, Some(10), "{n}");
        }
        until("it catches up", async || shows(&engine, "elsewhere", 10).await).await;
    });
}
