//! Losers of concurrent writes: kept for the undo window, brought back, ended everywhere.

use std::sync::Arc;
use std::time::Duration;

use godwit::engine::{Engine, Error, Keeper, Kept};
use godwit::types::bucket::{Ack, BucketConfig};
use godwit::types::kept::{Keeping, Why};
use godwit::types::object::Row;

use crate::common::node::{Node, eventually, pass_time};
use crate::user::*;

const HOUR: Duration = Duration::from_secs(3600);

/// The row of a key as a node has it.
async fn row(node: &Node, name: &str) -> Row {
    let config = node.engine.bucket_config(&bucket()).await.unwrap();
    node.cluster.row(&config, &key(name)).await.unwrap().unwrap_or_default()
}

async fn kept(engine: &Engine) -> Vec<Kept> {
    engine.kept(&bucket(), "", None, 100).await.unwrap().kept
}

/// One walk in every region.
async fn walk(nodes: &[Node]) {
    for node in nodes {
        Keeper::new(&node.engine).pass().await.unwrap();
    }
}

async fn agree(nodes: &[Node], what: &str, holds: impl Fn(&Row) -> bool) {
    let node = &nodes[0];
    eventually(&node.env, what, || async {
        let first = row(node, "k").await;
        let mut all = holds(&first);
        for other in &nodes[1..] {
            all &= row(other, "k").await == first;
        }
        all
    })
    .await;
}

/// Two regions that wrote at the same time while they could not reach each other; the second one
/// wins. A third one holds nothing.
async fn conflict(small: bool) -> Vec<Node> {
    let nodes = Node::cluster(&["fra", "iad"]).await;
    make_bucket(&nodes[0].engine).await;
    let alone = |config: &mut BucketConfig| config.ack = Ack::Count(1);
    nodes[0].engine.change_bucket(&bucket(), Arc::new(alone)).await.unwrap();
    eventually(&nodes[1].env, "the bucket is known", || async {
        let config = nodes[1].engine.bucket_config(&bucket()).await;
        config.is_ok_and(|config| config.ack == Ack::Count(1))
    })
    .await;
    let iad = nodes[1].engine.region();
    nodes[0].wires.set_away(iad, true);
    let len = if small { 10 } else { 300_000 };
    put(&nodes[0].engine, "k", vec![1_u8; len]).await.unwrap();
    pass_time(&nodes, Duration::from_millis(50)).await;
    put(&nodes[1].engine, "k", vec![2_u8; len + 1]).await.unwrap();
    nodes[0].wires.set_away(iad, false);
    agree(&nodes, "both know both writes", |row| row.versions.len() == 2).await;
    nodes
}

/// Walks until the loser's window has begun.
async fn begun(nodes: &[Node]) {
    pass_time(nodes, Duration::from_secs(120)).await;
    eventually(&nodes[0].env, "the window has begun", || async {
        walk(nodes).await;
        let mut begun = true;
        for node in nodes {
            begun &= row(node, "k").await.cover.spared.len() == 1;
        }
        begun
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loser_is_shown_everywhere_and_ends_everywhere_with_its_window() {
    let nodes = conflict(false).await;
    for node in &nodes {
        let [lost] = kept(&node.engine).await.try_into().unwrap();
        assert_eq!((lost.why, lost.version.meta.unwrap().size), (Why::Lost, 300_000));
        assert_eq!(lost.current.unwrap().meta.unwrap().size, 300_001);
        assert_eq!(node.cluster.store().stats().conflicts, 1, "{}", node.engine.region());
    }
    begun(&nodes).await;
    let until_ms = kept(&nodes[1].engine).await[0].until_ms.unwrap();
    let day_ms = 24 * 3_600_000;
    assert!(until_ms.abs_diff(nodes[0].env.now_ms() + day_ms) < 60_000);
    pass_time(&nodes, 23 * HOUR).await;
    walk(&nodes).await;
    assert_eq!(kept(&nodes[0].engine).await.len(), 1);
    let loser = row(&nodes[0], "k").await.versions[1].object().unwrap().parts[0].blob;
    pass_time(&nodes, 2 * HOUR).await;
    walk(&nodes).await;
    agree(&nodes, "the loser is over", |row| row.versions.len() == 1).await;
    for node in &nodes {
        assert!(kept(&node.engine).await.is_empty());
        assert_eq!(get(&node.engine, "k").await.unwrap().len(), 300_001);
        pass_time(&nodes, HOUR).await;
        eventually(&node.env, "its bytes are freed", || async {
            node.cluster.store().maintain().await.unwrap();
            !node.cluster.store().read().unwrap().holds(&loser.id).unwrap()
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_loser_is_brought_back_as_a_new_write_and_the_next_write_does_not_end_it() {
    for small in [true, false] {
        let nodes = conflict(small).await;
        let (fra, iad) = (&nodes[0].engine, &nodes[1].engine);
        put(fra, "k", "newer").await.unwrap();
        let [lost] = kept(fra).await.try_into().unwrap();
        assert!(lost.until_ms.is_some(), "a write over it begins its window");
        agree(&nodes, "iad knows", |row| row.cover.spared.len() == 1).await;
        let refused = iad.restore(&bucket(), key("k"), None, false).await;
        assert!(matches!(refused, Err(Error::Conflict(_))), "{refused:?}");
        let back = iad.restore(&bucket(), key("k"), Some(lost.version.stamp), false).await;
        assert!(back.unwrap().version > lost.version.stamp);
        let size = lost.version.meta.unwrap().size;
        agree(&nodes, "both have it", |row| row.object().is_some_and(|(_, m)| m.size == size))
            .await;
        for node in &nodes {
            let body = get(&node.engine, "k").await.unwrap();
            assert!(body.iter().all(|byte| *byte == 1) && body.len() as u64 == size);
        }
        assert_eq!(keys(fra).await, ["k"]);
        let purged = fra.purge(&bucket(), key("k"), lost.version.stamp).await;
        assert_eq!(purged, Ok(()));
        agree(&nodes, "it is purged", |row| row.versions.len() == 1).await;
        let again = fra.restore(&bucket(), key("k"), Some(lost.version.stamp), true).await;
        assert_eq!(again.map(|_| ()), Err(Error::NoSuchVersion));
        assert_eq!(get(fra, "k").await.unwrap().len() as u64, size, "its bytes are named still");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_with_no_undo_window_keeps_no_loser_for_long() {
    let nodes = conflict(true).await;
    let none = Keeping { undo_ms: 0, soft_delete_days: None };
    nodes[0].engine.put_keeping(&bucket(), none).await.unwrap();
    eventually(&nodes[1].env, "the setting is known", || async {
        nodes[1].engine.keeping(&bucket()).await == Ok(none)
    })
    .await;
    pass_time(&nodes, Duration::from_secs(120)).await;
    eventually(&nodes[0].env, "the loser is over", || async {
        walk(&nodes).await;
        row(&nodes[0], "k").await.versions.len() == 1
            && row(&nodes[1], "k").await.versions.len() == 1
    })
    .await;
    let long = Keeping { undo_ms: u64::MAX, soft_delete_days: None };
    let refused = nodes[0].engine.put_keeping(&bucket(), long).await;
    assert!(matches!(refused, Err(Error::InvalidArgument(_))), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn while_a_region_is_away_no_window_begins_and_what_it_wrote_is_kept_when_it_is_back() {
    let nodes = conflict(true).await;
    let iad = nodes[1].engine.region();
    nodes[0].wires.set_away(iad, true);
    pass_time(&nodes, 50 * HOUR).await;
    walk(&nodes[..1]).await;
    assert_eq!(kept(&nodes[0].engine).await[0].until_ms, None);
    nodes[0].wires.set_away(iad, false);
    begun(&nodes).await;
    let until_ms = kept(&nodes[0].engine).await[0].until_ms.unwrap();
    assert!(until_ms > nodes[0].env.now_ms() + 23 * 3_600_000);
}

/// A region that was cut off writes a key once, while two others write over what they have of it
/// twice, seeing each other's; the last of those is larger. The cut has healed.
async fn late(len: usize) -> Vec<Node> {
    let nodes = Node::cluster(&["fra", "iad", "nrt"]).await;
    make_bucket(&nodes[0].engine).await;
    let alone = |config: &mut BucketConfig| config.ack = Ack::Count(1);
    nodes[0].engine.change_bucket(&bucket(), Arc::new(alone)).await.unwrap();
    let [fra, iad, nrt] = &nodes[..] else { unreachable!() };
    put(&fra.engine, "k", "first").await.unwrap();
    for node in [iad, nrt] {
        eventually(&node.env, "bucket and key are known", || async {
            let config = node.engine.bucket_config(&bucket()).await;
            config.is_ok_and(|config| config.ack == Ack::Count(1))
                && row(node, "k").await.object().is_some()
        })
        .await;
    }
    fra.wires.set_away(nrt.engine.region(), true);
    put(&nrt.engine, "k", vec![1_u8; len]).await.unwrap();
    for (writer, reader, n) in [(fra, iad, 1), (iad, fra, 2), (fra, iad, 3)] {
        pass_time(&nodes, Duration::from_millis(50)).await;
        put(&writer.engine, "k", vec![7_u8; len + n]).await.unwrap();
        eventually(&reader.env, "the other has it", || async {
            let row = row(reader, "k").await;
            row.object().is_some_and(|(_, meta)| meta.size == (len + n) as u64)
        })
        .await;
        assert!(kept(&writer.engine).await.is_empty(), "an ordinary write keeps nothing");
    }
    fra.wires.set_away(nrt.engine.region(), false);
    nodes
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_region_wrote_while_it_was_cut_off_is_kept_though_others_wrote_twice_since() {
    for len in [10, 300_000] {
        let nodes = late(len).await;
        agree(&nodes, "all know all", |row| row.versions.len() == 2).await;
        for node in &nodes {
            let [lost] = kept(&node.engine).await.try_into().unwrap();
            assert_eq!((lost.why, lost.version.meta.unwrap().size), (Why::Lost, len as u64));
            assert_eq!(lost.current.unwrap().meta.unwrap().size, len as u64 + 3);
            assert_eq!(node.cluster.store().stats().conflicts, 1, "{}", node.engine.region());
        }
        begun(&nodes).await;
        agree(&nodes, "nothing is told apart any more", |row| row.cover.seen.is_empty()).await;
        let iad = &nodes[1].engine;
        let [lost] = kept(iad).await.try_into().unwrap();
        iad.restore(&bucket(), key("k"), Some(lost.version.stamp), false).await.unwrap();
        agree(&nodes, "it is back", |row| {
            row.object().is_some_and(|(_, meta)| meta.size == len as u64)
        })
        .await;
        for node in &nodes {
            assert!(get(&node.engine, "k").await.unwrap().iter().all(|byte| *byte == 1));
        }
        pass_time(&nodes, 25 * HOUR).await;
        walk(&nodes).await;
        agree(&nodes, "the loser is over", |row| row.versions.len() == 1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_write_under_a_deletion_shows_nowhere_and_can_be_brought_back() {
    let nodes = late(10).await;
    agree(&nodes, "all know all", |row| row.versions.len() == 2).await;
    let nrt = nodes[2].engine.region();
    nodes[0].wires.set_away(nrt, true);
    put(&nodes[2].engine, "k", vec![3_u8; 9]).await.unwrap();
    pass_time(&nodes, Duration::from_millis(50)).await;
    put(&nodes[0].engine, "k", "over").await.unwrap();
    delete(&nodes[0].engine, "k").await;
    nodes[0].wires.set_away(nrt, false);
    agree(&nodes, "all know of the deletion and what lost", |row| {
        row.object().is_none() && row.kept().any(|(_, meta)| meta.size == 9)
    })
    .await;
    for node in &nodes {
        assert!(keys(&node.engine).await.is_empty());
    }
    nodes[1].engine.restore(&bucket(), key("k"), None, false).await.unwrap();
    assert_eq!(get(&nodes[1].engine, "k").await.unwrap(), vec![3_u8; 9]);
}
