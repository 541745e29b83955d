//! Sessions: who is signed in, kept in this node's memory alone.
//!
//! Invariant: a secret leaves this module only as a signature's input; a session is found by the
//! hash of its cookie, so that no comparison tells how much of a guess was right; it ends when it
//! was idle for long, when it is old, or when it is asked to.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use subtle::ConstantTimeEq;

use crate::env::Env;
use crate::limits;
use crate::types::name::{AccessKeyId, SecretKey};

/// The key that a person signed in with.
#[derive(Clone)]
pub(super) struct Key {
    pub(super) id: AccessKeyId,
    pub(super) secret: SecretKey,
}

/// One session, as requests see it.
#[derive(Clone)]
pub(super) struct Session {
    pub(super) key: Key,
    /// What a request that changes something repeats in a header: a page of another origin cannot
    /// know it.
    pub(super) token: String,
    began: Duration,
    seen: Duration,
}

impl Session {
    pub(super) fn is_token(&self, text: &[u8]) -> bool {
        bool::from(self.token.as_bytes().ct_eq(text))
    }

    fn is_over(&self, now: Duration) -> bool {
        let idle = now.saturating_sub(self.seen) >= limits::SESSION_IDLE_MAX;
        idle || now.saturating_sub(self.began) >= limits::SESSION_LIFE_MAX
    }
}

/// What a cookie's value is kept as.
type Name = [u8; 32];

/// All sessions of a node.
pub(super) struct Sessions {
    env: Env,
    all: Mutex<HashMap<Name, Session>>,
}

impl Sessions {
    pub(super) fn new(env: Env) -> Self {
        Self { env, all: Mutex::new(HashMap::new()) }
    }

    /// Begins a session: the value of its cookie, and the session.
    pub(super) fn begin(&self, key: Key) -> (String, Session) {
        let now = self.env.monotonic();
        let cookie = hex::encode(self.env.random::<32>());
        let token = hex::encode(self.env.random::<16>());
        let session = Session { key, token, began: now, seen: now };
        let mut all = self.lock();
        all.retain(|_, session| !session.is_over(now));
        if all.len() >= limits::SESSIONS_MAX {
            let idle = all.iter().min_by_key(|(_, session)| session.seen).map(|(name, _)| *name);
            if let Some(idle) = idle {
                all.remove(&idle);
            }
        }
        all.insert(name(&cookie), session.clone());
        (cookie, session)
    }

    /// The session of a cookie; being asked for keeps it alive.
    pub(super) fn find(&self, cookie: &str) -> Option<Session> {
        let now = self.env.monotonic();
        let mut all = self.lock();
        let name = name(cookie);
        let session = all.get_mut(&name)?;
        if session.is_over(now) {
            all.remove(&name);
            return None;
        }
        session.seen = now;
        Some(session.clone())
    }

    pub(super) fn end(&self, cookie: &str) {
        self.lock().remove(&name(cookie));
    }

    /// Nothing is left half done in the table, so one that a panic went through is good.
    fn lock(&self) -> MutexGuard<'_, HashMap<Name, Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(cookie: &str) -> Name {
    *blake3::hash(cookie.as_bytes()).as_bytes()
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use crate::env::{BoxFuture, Clock};

    use super::*;

    /// Stands until it is moved.
    #[derive(Default)]
    struct Hand(AtomicU64);

    impl Hand {
        fn wait(&self, time: Duration) {
            self.0.fetch_add(u64::try_from(time.as_millis()).unwrap(), Ordering::Relaxed);
        }
    }

    impl Clock for Hand {
        fn now_ms(&self) -> u64 {
            self.0.load(Ordering::Relaxed)
        }

        fn monotonic(&self) -> Duration {
            Duration::from_millis(self.now_ms())
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::ready(()))
        }
    }

    fn sessions() -> (Sessions, Arc<Hand>) {
        let clock = Arc::new(Hand::default());
        let real =
            crate::node::env::real(&tokio::runtime::Handle::current(), Path::new("/nowhere"));
        (Sessions::new(Env { clock: clock.clone(), ..real }), clock)
    }

    fn key() -> Key {
        Key { id: AccessKeyId("GWKEY".into()), secret: SecretKey("secret".into()) }
    }

    #[tokio::test]
    async fn a_session_ends_when_it_was_idle_for_long() {
        let (sessions, clock) = sessions();
        let (cookie, session) = sessions.begin(key());
        assert_eq!(cookie.len(), 64);
        assert!(session.is_token(session.token.as_bytes()) && !session.is_token(b""));
        clock.wait(limits::SESSION_IDLE_MAX / 2);
        assert!(sessions.find(&cookie).is_some(), "it is kept alive by being used");
        clock.wait(limits::SESSION_IDLE_MAX - Duration::from_millis(1));
        assert!(sessions.find(&cookie).is_some());
        clock.wait(limits::SESSION_IDLE_MAX);
        assert!(sessions.find(&cookie).is_none());
        assert!(sessions.lock().is_empty(), "its secret is gone");
    }

    #[tokio::test]
    async fn a_session_ends_when_it_is_old_however_much_it_is_used() {
        let (sessions, clock) = sessions();
        let (cookie, _) = sessions.begin(key());
        let step = limits::SESSION_IDLE_MAX / 2;
        let mut used = 0;
        while sessions.find(&cookie).is_some() {
            clock.wait(step);
            used += 1;
            assert!(used < 1000, "it never ends");
        }
        assert_eq!(step * used, limits::SESSION_LIFE_MAX);
    }

    #[tokio::test]
    async fn sessions_have_a_bound_and_the_idlest_makes_room() {
        let (sessions, clock) = sessions();
        let (idle, _) = sessions.begin(key());
        let (busy, _) = sessions.begin(key());
        clock.wait(Duration::from_secs(1));
        assert!(sessions.find(&busy).is_some());
        for _ in 0..limits::SESSIONS_MAX - 1 {
            sessions.begin(key());
        }
        assert_eq!(sessions.lock().len(), limits::SESSIONS_MAX);
        assert!(sessions.find(&idle).is_none());
        assert!(sessions.find(&busy).is_some());
        sessions.end(&busy);
        assert!(sessions.find(&busy).is_none());
    }
}
