//! Bytes a second that a background job may move.

use std::sync::Mutex;
use std::time::Duration;

use crate::env::Env;

/// A budget. What was paid for is moved at once; what comes after waits until it is earned.
#[derive(Debug, Default)]
pub(super) struct Budget {
    free_at: Mutex<Duration>,
}

impl Budget {
    /// Waits for what was paid before, then takes `bytes` out of a budget of `rate` a second.
    pub(super) async fn pay(&self, env: &Env, bytes: u64, rate: u64) {
        let now = env.monotonic();
        let wait = {
            let mut free_at = self.free_at.lock().expect("no holder of this lock panics");
            let start = (*free_at).max(now);
            *free_at = start + cost(bytes, rate);
            start - now
        };
        if !wait.is_zero() {
            env.sleep(wait).await;
        }
    }
}

fn cost(bytes: u64, rate: u64) -> Duration {
    let nanos = u128::from(bytes) * 1_000_000_000 / u128::from(rate.max(1));
    Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_cost_their_time() {
        assert_eq!(cost(1 << 20, 1 << 20), Duration::from_secs(1));
        assert_eq!(cost(0, 5), Duration::ZERO);
        assert_eq!(cost(1, 0), Duration::from_secs(1));
    }
}
