//! The changes of this node that are on their way to being published: nobody else decides about
//! them, and what is made from their key's row waits for them.

use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::env::Env;
use crate::limits;
use crate::types::record::RecordId;
use crate::types::stamp::Stamp;

#[derive(Default)]
struct Shared {
    under_way: Mutex<BTreeMap<Stamp, RecordId>>,
    ended: Notify,
}

/// The changes under way, by stamp.
#[derive(Clone, Default)]
pub(super) struct Active(Arc<Shared>);

/// One change under way; it ends when this is dropped, also when its caller gave up.
pub(super) struct UnderWay {
    active: Active,
    stamp: Stamp,
}

impl Active {
    pub(super) fn begin(&self, stamp: Stamp, subject: RecordId) -> UnderWay {
        self.map().insert(stamp, subject);
        UnderWay { active: self.clone(), stamp }
    }

    fn map(&self) -> std::sync::MutexGuard<'_, BTreeMap<Stamp, RecordId>> {
        self.0.under_way.lock().expect("no holder of this lock panics")
    }

    pub(super) fn contains(&self, stamp: Stamp) -> bool {
        self.map().contains_key(&stamp)
    }

    /// Waits until the changes of `subject` that are under way now have ended, but not longer than
    /// a write may take; after that the next change is judged by what the row is then.
    pub(super) async fn settled(&self, env: &Env, subject: &RecordId) {
        let before: Vec<Stamp> =
            self.map().iter().filter(|(_, id)| *id == subject).map(|(stamp, _)| *stamp).collect();
        if before.is_empty() {
            return;
        }
        let quiet = async {
            loop {
                let mut ended = pin!(self.0.ended.notified());
                ended.as_mut().enable();
                if !before.iter().any(|stamp| self.contains(*stamp)) {
                    return;
                }
                ended.await;
            }
        };
        let _ = env.timeout(limits::ACK_TIMEOUT, quiet).await;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.active.map().remove(&self.stamp);
        self.active.0.ended.notify_waiters();
    }
}
