//! Tokens of sessions: what a client hands back to have another region know as much as this one.
//!
//! Invariant: a token says no less than what was known when it was asked for. It is made once for
//! each snapshot of the store, so that reads between two changes share it.

use std::sync::{Arc, Mutex, PoisonError};

use crate::limits;
use crate::logic::token;

use super::index::store_error;
use super::{Engine, Error};

/// The token that was made last, with the number of its snapshot.
pub(super) type LastToken = Arc<Mutex<Option<(u64, Arc<str>)>>>;

impl Engine {
    /// What is known here now.
    pub fn token(&self) -> Result<Arc<str>, Error> {
        let snapshot = self.cluster.store().read().map_err(store_error)?;
        let number = snapshot.number();
        let mut last = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((of, token)) = &*last
            && *of == number
        {
            return Ok(Arc::clone(token));
        }
        let positions = self.cluster.positions_in(&snapshot).map_err(store_error)?;
        let token: Arc<str> = token::encode(&positions).into();
        *last = Some((number, Arc::clone(&token)));
        Ok(token)
    }

    /// Waits until this region knows what a token names.
    pub async fn reach(&self, token: &str) -> Result<(), Error> {
        let wanted = token::parse(token);
        let mut wanted = wanted.map_err(|_| Error::InvalidArgument("it is no token".into()))?;
        // What a region that left had changed was everywhere before it went.
        let members = self.cluster.members();
        wanted.retain(|(region, _), _| members.contains(*region));
        Ok(self.cluster.reach(&wanted, limits::TOKEN_WAIT).await?)
    }
}
