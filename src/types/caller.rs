//! Who asks.

use super::name::{AccessKeyId, AccountId};
use super::record::KeyScope;

/// The identity behind a request, after its signature was verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    Anonymous,
    Key { access_key: AccessKeyId, account: AccountId, scope: KeyScope },
}

impl Caller {
    pub fn account(&self) -> Option<&AccountId> {
        match self {
            Self::Anonymous => None,
            Self::Key { account, .. } => Some(account),
        }
    }

    pub fn access_key(&self) -> Option<&AccessKeyId> {
        match self {
            Self::Anonymous => None,
            Self::Key { access_key, .. } => Some(access_key),
        }
    }
}
