//! Power fails in the middle of any call to the disk: unsynced bytes and names survive or not, each by
//! itself. Whatever was answered is there afterwards, what was not is whole or absent.
//!
//! `just long power 1000` runs a thousand points and says what was checked.

use std::io::Write as _;

use super::roots::pages_with_copy;
use super::*;

/// Points of an ordinary run.
const POINTS: u64 = 40;

/// Failures of one disk, and then a new one.
const LIVES: u64 = 4;

/// Calls that change the disk in the longest life.
const CALLS_MAX: u64 = 500;

/// What a run has checked.
#[derive(Default)]
struct Checked {
    points: u64,
    /// In the call of a replay at the start of a life.
    while_opening: u64,
    objects: u64,
    torn_bytes: u64,
}

/// Lives of one disk, each ended by power that fails at a random call.
fn lives(seed: u64, points: u64, decays: bool, checked: &mut Checked) {
    let disk = SimDisk::new(seed);
    let ledger = Arc::new(Mutex::new(Ledger { next: 1 << 20, ..Ledger::default() }));
    let mut random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    for life in 0..points {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        if decays && life > 0 {
            decay_where_it_begins(&disk, random);
        }
        doors::life(async {
            let mut options = options();
            options.checkpoint_changes = 40;
            options.checkpoint_log_bytes = 2 << 20;
            let env = doors::env(&disk, seed * 1000 + life, DAY * u32::try_from(life).unwrap());
            // The first life makes the directory; of the others, some end while they replay.
            let while_opening = random.is_multiple_of(5);
            if while_opening && life > 0 {
                disk.power_off_after(random % 40);
            }
            let opened = Store::open(env.clone(), options).await;
            let (store, report) = match opened {
                Ok(opened) => opened,
                Err(error) => {
                    assert!(disk.is_dark(), "seed {seed}, life {life}: {error}");
                    checked.while_opening += 1;
                    return disk.crash();
                }
            };
            assert_eq!(report.damage, Vec::new(), "seed {seed}, life {life}");
            checked.torn_bytes += report.torn_bytes;
            if !disk.is_dark() {
                let mut mine = std::mem::take(&mut *ledger.lock().unwrap());
                check_ledger(&store, &mut mine).await;
                checked.objects += mine.kept.len() as u64;
                *ledger.lock().unwrap() = mine;
            }
            disk.power_off_after(random % CALLS_MAX);
            for writer in 0..6 {
                let seed = seed.wrapping_mul(31) + life * 7 + writer;
                env.spawn("writer", write_some(store.clone(), Arc::clone(&ledger), seed));
            }
            while !disk.is_dark() {
                // Housekeeping fails with everything else when power does.
                let _ = store.maintain().await;
                env.sleep(Duration::from_millis(3)).await;
            }
            disk.crash();
        });
        checked.points += 1;
    }
}

/// A bit flips in what is read of the index to open it, wherever the failure left that.
fn decay_where_it_begins(disk: &SimDisk, random: u64) {
    let path = Path::new("/data/index.redb");
    // A copy may be of a longer index, the place of which a new one has taken.
    let (mut own, len) = (pages_with_copy(disk), disk.bytes(path).len());
    own.retain(|page| page + 4096 <= len);
    let below = |n: usize| usize::try_from(random >> 8).unwrap() % n;
    let Some(page) = own.get(below(own.len().max(1))) else { return };
    let at = page + below(if *page == 0 { 320 } else { 4096 });
    disk.flip(path, at, u8::try_from(random % 8).unwrap());
}

/// Found by this seed: power failed after a commit and before its beginning was kept, and a page
/// decayed that leads to both places of what stands twice. The commit before is whole, and the log
/// goes on from there.
#[test]
fn a_page_that_decays_before_the_last_commit_has_a_copy_is_read_of_the_commit_before() {
    let mut checked = Checked::default();
    lives(1109, LIVES, true, &mut checked);
    assert!(checked.objects > 0, "nothing was put to the test");
}

#[test]
fn an_index_whose_beginning_decays_after_power_failed_has_all_that_was_answered() {
    let mut checked = Checked::default();
    for seed in 1000..1000 + points().div_ceil(2 * LIVES) {
        lives(seed, LIVES, true, &mut checked);
    }
    let Checked { points, while_opening, objects, .. } = checked;
    writeln!(
        std::io::stderr(),
        "power and decay: {points} failures, {while_opening} more while opening, {objects} objects \
         read back, lost 0"
    )
    .unwrap();
    assert!(objects > 0, "nothing was put to the test");
}

fn points() -> u64 {
    std::env::var("GODWIT_POINTS").ok().and_then(|n| n.parse().ok()).unwrap_or(POINTS)
}

#[test]
fn power_that_fails_in_any_call_loses_nothing_that_was_answered() {
    let mut checked = Checked::default();
    for seed in 0..points().div_ceil(LIVES) {
        lives(seed, LIVES, false, &mut checked);
    }
    let Checked { points, while_opening, objects, torn_bytes } = checked;
    writeln!(
        std::io::stderr(),
        "power: {points} failures, {while_opening} more while opening, {objects} objects read back, \
         {torn_bytes} torn bytes cut, lost 0"
    )
    .unwrap();
    assert!(objects > 0, "nothing was put to the test");
}
