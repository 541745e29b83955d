//! Access keys: made, shown, given other scopes, revoked.
//!
//! Invariant: a caller changes keys of its own account only, and no key revokes or narrows itself,
//! so that nobody is locked out by one request.

use crate::engine::Error;
use crate::limits;
use crate::logic::policy::Policy;
use crate::types::access::Circumstances;
use crate::types::action::{Action, Target};
use crate::types::caller::Caller;
use crate::types::name::{AccessKeyId, BucketName};
use crate::types::record::{AccessKeyRecord, BucketRole, Grants, KeyScope};

use super::api::Api;
use super::model::{Key, KeyRequest, Keys, NewKey, Whoami};
use super::route::{Call, Param, Route, argument, required, route};

const ACCESS_KEY: Param = required("access_key", "The key that is meant.");

pub(super) const ROUTES: &[Route] = &[
    route!(GET "whoami", Key, whoami, () => Whoami, [],
        "The key that signed the request."),
    route!(GET "keys", Admin, list, () => Keys, [],
        "The access keys of the caller's account, without secrets."),
    route!(POST "keys", Admin, create, KeyRequest => NewKey, [],
        "Make an access key; its secret is told this once."),
    route!(PUT "keys", Admin, change, KeyRequest => Key, [ACCESS_KEY],
        "Give an access key other roles and another policy in place of those that it has."),
    route!(DELETE "keys", Admin, revoke, () => Key, [ACCESS_KEY],
        "End an access key for good, and every token that was made with it."),
];

#[allow(clippy::unused_async, reason = "every row has this shape")]
async fn whoami(api: &Api, call: &Call<'_>, (): ()) -> Result<Whoami, Error> {
    let Caller::Key { access_key, account, scope } = call.caller else {
        return Err(Error::AccessDenied("sign the request".to_owned()));
    };
    Ok(Whoami {
        access_key: access_key.to_string(),
        account: account.to_string(),
        admin: *scope == KeyScope::Admin,
        operator: api.operator(call).is_ok(),
        region: api.engine.region(),
    })
}

async fn create(api: &Api, call: &Call<'_>, request: KeyRequest) -> Result<NewKey, Error> {
    let account = call.account()?;
    let scope = api.scope(call.caller, &request, call.around).await?;
    if request.new_account && scope != KeyScope::Admin {
        return Err(argument("a new account has no buckets that its key could be for"));
    }
    let account = Some(account.clone()).filter(|_| !request.new_account);
    let key = api.engine.create_access_key(account, scope).await?;
    let account = key.record.account.to_string();
    let secret_key = key.record.secret.0.to_string();
    let Key { access_key, admin, buckets, roles, policy, created_ms: _ } =
        shown(key.id, key.record);
    Ok(NewKey { account, access_key, secret_key, admin, buckets, roles, policy })
}

async fn list(api: &Api, call: &Call<'_>, (): ()) -> Result<Keys, Error> {
    let found = api.engine.access_keys(call.account()?).await?;
    let keys = found.into_iter().map(|(id, record)| shown(id, record));
    Ok(Keys { keys: keys.collect() })
}

async fn change(api: &Api, call: &Call<'_>, request: KeyRequest) -> Result<Key, Error> {
    let id = api.other_key(call).await?;
    if request.new_account {
        return Err(argument("a key stays in its account"));
    }
    let scope = api.scope(call.caller, &request, call.around).await?;
    api.engine.put_key_scope(&id, scope).await?;
    api.key(&id).await
}

async fn revoke(api: &Api, call: &Call<'_>, (): ()) -> Result<Key, Error> {
    let id = api.other_key(call).await?;
    let shown = api.key(&id).await?;
    api.engine.revoke_access_key(&id).await?;
    Ok(shown)
}

impl Api {
    async fn key(&self, id: &AccessKeyId) -> Result<Key, Error> {
        let record = self.engine.access_key(id).await?.ok_or_else(no_key)?;
        Ok(shown(id.clone(), record))
    }

    /// The key that is meant: one of the caller's account, and not the one that asks.
    async fn other_key(&self, call: &Call<'_>) -> Result<AccessKeyId, Error> {
        let account = call.account()?;
        let id = AccessKeyId::parse(call.parameter("access_key")?).ok_or_else(no_key)?;
        if matches!(call.caller, Caller::Key { access_key, .. } if *access_key == id) {
            return Err(argument("a key does not change itself; use another one"));
        }
        let record = self.engine.access_key(&id).await?;
        record.filter(|record| record.account == *account).ok_or_else(no_key)?;
        Ok(id)
    }

    /// The scope that is asked for, whose buckets are there and the caller's to give.
    async fn scope(
        &self,
        caller: &Caller,
        request: &KeyRequest,
        around: &Circumstances,
    ) -> Result<KeyScope, Error> {
        let editors = request.buckets.iter().map(|name| (name, BucketRole::Editor));
        let others = request.roles.iter().map(|(name, role)| (name, *role));
        let mut roles = Vec::new();
        for (name, role) in editors.chain(others) {
            let name = BucketName::parse(name).map_err(argument)?;
            let target = Target::Bucket(name.clone());
            self.engine.authorize(caller, Action::ListBucket, &target, around).await?;
            roles.push((name, role));
        }
        if roles.len() > limits::KEY_ROLES_MAX {
            return Err(argument(format!("a key has at most {} roles", limits::KEY_ROLES_MAX)));
        }
        let policy = request.policy.as_ref().map(ToString::to_string);
        if let Some(text) = &policy {
            if text.len() > limits::KEY_POLICY_BYTES_MAX {
                let max = limits::KEY_POLICY_BYTES_MAX;
                return Err(argument(format!("a key's policy has at most {max} bytes")));
            }
            Policy::parse_attached(text).map_err(|why| argument(format!("the policy: {why}")))?;
        }
        Ok(match roles.is_empty() && policy.is_none() {
            true => KeyScope::Admin,
            false => KeyScope::Granted(Grants { roles, policy }.into()),
        })
    }
}

fn no_key() -> Error {
    argument("the account has no such access key")
}

fn shown(id: AccessKeyId, record: AccessKeyRecord) -> Key {
    let admin = record.scope == KeyScope::Admin;
    let (roles, policy) = match record.scope {
        KeyScope::Admin => (Vec::new(), None),
        KeyScope::Buckets(names) => {
            (names.into_iter().map(|name| (name, BucketRole::Editor)).collect(), None)
        }
        KeyScope::Granted(grants) => (grants.roles.clone(), grants.policy.clone()),
    };
    Key {
        access_key: id.to_string(),
        admin,
        buckets: roles.iter().map(|(name, _)| name.to_string()).collect(),
        roles: roles.into_iter().map(|(name, role)| (name.to_string(), role)).collect(),
        // It was read when it was set.
        policy: policy.and_then(|text| serde_json::from_str(&text).ok()),
        created_ms: record.created_ms,
    }
}
