//! Who has the turn at a register: a voter that has given a promise answers the next one who asks
//! for a promise only when the offer has come, or would have come by now. So proposers queue at the
//! voters instead of pushing each other aside for ever.
//!
//! Nothing rests on it but progress: a turn is a delay of an answer, bounded by a round trip.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::Notify;

use crate::env::Env;
use crate::limits;
use crate::logic::register::Ballot;
use crate::types::record::RecordId;

struct Turn {
    ballot: Ballot,
    until: Duration,
    over: Arc<Notify>,
}

/// The turns that a voter has given, by register.
#[derive(Default)]
pub(super) struct Turns(Mutex<BTreeMap<RecordId, Turn>>);

impl Turns {
    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<RecordId, Turn>> {
        self.0.lock().expect("no holder of this lock panics")
    }

    /// Waits until nobody else has the turn.
    pub(super) async fn wait(&self, env: &Env, id: &RecordId, ballot: Ballot) {
        let give_up = env.monotonic() + limits::TURN_MAX;
        loop {
            let now = env.monotonic();
            let (over, until) = match self.map().get(id) {
                Some(turn) if turn.ballot.nonce != ballot.nonce && now < turn.until => {
                    (turn.over.clone(), turn.until.min(give_up))
                }
                Some(_) | None => return,
            };
            if until <= now {
                return;
            }
            // A change between the look above and this wait is noticed at the end of the turn.
            let _ = env.timeout(until - now, over.notified()).await;
        }
    }

    /// A promise was given to a proposer whose offer comes within `expected`.
    pub(super) fn begin(&self, env: &Env, id: &RecordId, ballot: Ballot, expected: Duration) {
        let now = env.monotonic();
        let until = now + expected.min(limits::TURN_MAX);
        let mut turns = self.map();
        if turns.len() >= limits::TURNS_MAX {
            turns.retain(|_, turn| now < turn.until);
        }
        if turns.len() < limits::TURNS_MAX {
            let over = Arc::new(Notify::new());
            turns.insert(id.clone(), Turn { ballot, until, over });
        }
    }

    /// The offer has come: the next one in the queue is answered.
    pub(super) fn end(&self, id: &RecordId, ballot: Ballot) {
        let mut turns = self.map();
        if turns.get(id).is_some_and(|turn| turn.ballot == ballot)
            && let Some(turn) = turns.remove(id)
        {
            turn.over.notify_one();
        }
    }
}
