//! Backups of a node that goes on, and what they bring back.
#![allow(clippy::disallowed_methods, reason = "a test damages files")]

use std::path::{Path, PathBuf};

use godwit::engine::{BackupKind, BackupStatus, Engine, Error};
use godwit::store::backup::{Progress, Totals, partial, verify};
use godwit::store::{self, Store};
use godwit::types::id::BlobId;
use godwit::types::record::{Record, RecordId};

use crate::common::node::{Node, eventually};
use crate::user::*;

async fn done(engine: &Engine, kind: BackupKind, path: &Path) -> BackupStatus {
    engine.start_backup(kind, path.to_owned()).unwrap();
    eventually(engine.env(), "it is done", || async {
        engine.backup_status().unwrap().ended.is_some()
    })
    .await;
    engine.backup_status().unwrap()
}

fn totals(status: &BackupStatus) -> Totals {
    status.ended.clone().unwrap().unwrap()
}

/// Objects of all kinds: riding, in a segment, in a file, of several chunks.
const SIZES: [(&str, usize); 4] = [("a", 10), ("b", 100_000), ("c", 400_000), ("d", 2_500_000)];

async fn filled() -> (Node, PathBuf) {
    let node = Node::start().await;
    make_bucket(&node.engine).await;
    for (n, (name, len)) in SIZES.into_iter().enumerate() {
        put(&node.engine, name, vec![u8::try_from(n).unwrap(); len]).await.unwrap();
    }
    put(&node.engine, "gone", "x").await.unwrap();
    delete(&node.engine, "gone").await;
    let path = node.dir().join("backup");
    (node, path)
}

async fn blob_of(node: &Node, name: &str) -> BlobId {
    let config = node.engine.bucket_config(&bucket()).await.unwrap();
    let row = node.cluster.row(&config, &key(name)).await.unwrap().unwrap();
    row.object().unwrap().1.parts[0].blob.id
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_bytes_come_back_and_no_record_does() {
    let (node, path) = filled().await;
    let made = totals(&done(&node.engine, BackupKind::Create, &path).await);
    assert_eq!((made.blobs, made.bytes, made.absent), (4, 3_000_010, 0));
    assert_eq!(verify(&node.env, &path).unwrap().totals, made);
    let again = done(&node.engine, BackupKind::Create, &path).await.ended.unwrap();
    assert!(again.is_err(), "a backup is never written over");
    delete(&node.engine, "a").await;
    put(&node.engine, "later", "y").await.unwrap();
    for name in ["b", "d"] {
        node.cluster.store().drop_blob(blob_of(&node, name).await).await.unwrap();
    }
    let node = node.restart().await;
    assert!(get(&node.engine, "d").await.is_err());
    let back = totals(&done(&node.engine, BackupKind::Restore, &path).await);
    assert_eq!((back.records, back.blobs, back.bytes), (0, 2, 2_600_000));
    for (name, len) in &SIZES[1..] {
        assert_eq!(get(&node.engine, name).await.unwrap().len(), *len, "{name}");
    }
    assert_eq!(get(&node.engine, "a").await, Err(Error::NoSuchKey), "no record comes back");
    assert_eq!(get(&node.engine, "later").await.unwrap(), b"y");
    let node = node.restart().await;
    assert_eq!(get(&node.engine, "d").await.unwrap().len(), 2_500_000);
    let nothing = totals(&done(&node.engine, BackupKind::Restore, &path).await);
    assert_eq!(nothing, Totals::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_a_cut_and_an_interrupted_backup_are_told_and_bring_back_nothing_wrong() {
    let (node, path) = filled().await;
    done(&node.engine, BackupKind::Create, &path).await;
    let whole = std::fs::read(&path).unwrap();
    let blob = blob_of(&node, "d").await;
    node.cluster.store().drop_blob(blob).await.unwrap();
    for at in (0..whole.len()).step_by(whole.len() / 40) {
        let mut bad = whole.clone();
        bad[at] ^= 0x10;
        std::fs::write(&path, bad).unwrap();
        assert!(verify(&node.env, &path).is_err(), "byte {at}");
    }
    for len in (0..whole.len()).step_by(whole.len() / 40) {
        std::fs::write(&path, &whole[..len]).unwrap();
        let why = verify(&node.env, &path).unwrap_err().to_string();
        assert!(len < 200 || why.contains("interrupted"), "{len}: {why}");
    }
    let mut bad = whole.clone();
    let at = whole.len() - 700_000;
    bad[at] ^= 1;
    std::fs::write(&path, bad).unwrap();
    let status = done(&node.engine, BackupKind::Restore, &path).await;
    assert!(status.ended.unwrap().unwrap_err().contains("damaged"));
    assert!(!node.cluster.store().holds(&blob).unwrap(), "half a blob is none");
    let mut newer = whole.clone();
    newer[11] += 1;
    std::fs::write(&path, newer).unwrap();
    let why = verify(&node.env, &path).unwrap_err();
    assert!(matches!(why, store::Error::Newer { found: 2, known: 1 }), "{why}");
    let stopped = node.dir().join("stopped");
    let progress = Progress::default();
    progress.stop.store(true, std::sync::atomic::Ordering::Relaxed);
    let cluster = node.cluster.members().cluster();
    let made = node.cluster.store().back_up(stopped.clone(), cluster, &progress).await;
    assert!(made.is_err() && !stopped.exists() && partial(&stopped).exists());
    node.cluster.store().back_up(stopped.clone(), cluster, &Progress::default()).await.unwrap();
    assert!(verify(&node.env, &stopped).is_ok(), "the next one begins anew");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_store_takes_over_every_record_and_all_bytes() {
    let (node, path) = filled().await;
    let made = totals(&done(&node.engine, BackupKind::Create, &path).await);
    let iad = "iad".parse().unwrap();
    let options = store::Options::new(node.dir().join("new"), iad);
    let (new, _) = Store::open(node.env.clone(), options).await.unwrap();
    let taken = new.take_over(&path, &Progress::default()).await.unwrap();
    assert_eq!((taken.records, taken.blobs), (made.records, made.blobs));
    let (old, new_view) = (node.cluster.store().read().unwrap(), new.read().unwrap());
    let records = old.records(None, 1000).unwrap();
    assert_eq!(records.len() as u64, made.records);
    for (id, record) in records {
        let there = new_view.record(&id).unwrap().unwrap();
        let (RecordId::Row(..), Record::Row(row), Record::Row(taken)) = (&id, &record, &there)
        else {
            assert_eq!(there, record);
            continue;
        };
        for (version, old) in taken.versions.iter().zip(&row.versions) {
            let placed = !version.placement.holders.is_empty();
            let held: Vec<_> = version.placement.held().collect();
            assert_eq!(held, if placed { vec![iad] } else { vec![] });
            assert_eq!((&version.content, &version.marks), (&old.content, &old.marks));
            for part in version.object().map(|meta| meta.parts.clone()).unwrap_or_default() {
                assert!(new.verify(&part.blob).await.unwrap());
            }
        }
    }
    drop((old, new_view));
    new.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn writes_go_on_while_a_backup_is_made() {
    let (node, path) = filled().await;
    node.engine.start_backup(BackupKind::Create, path.clone()).unwrap();
    let second = node.engine.start_backup(BackupKind::Create, node.dir().join("other"));
    let mut n = 0;
    while node.engine.backup_status().unwrap().ended.is_none() || n == 0 {
        put(&node.engine, "b", vec![9_u8; 90_000]).await.unwrap();
        n += 1;
    }
    assert!(second.is_ok() || matches!(second, Err(Error::Conflict(_))));
    eventually(&node.env, "all are done", || async {
        node.engine.backup_status().unwrap().ended.is_some()
    })
    .await;
    assert!(verify(&node.env, &path).is_ok());
    assert_eq!(get(&node.engine, "b").await.unwrap().len(), 90_000);
}
