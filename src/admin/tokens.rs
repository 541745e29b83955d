//! Tokens: what a dashboard or a script has in place of a key's signature.
//!
//! A token is `godwit_KEY_EXPIRY_SCOPE_MAC`, kept nowhere: whoever knows the key's secret can check
//! it. Invariant: it ends with its time or with its key, whichever is first, and makes no tokens.

use aws_lc_rs::hmac;

use crate::engine::{Engine, Error};
use crate::limits;
use crate::s3::error::{Code, S3Error};
use crate::types::caller::Caller;
use crate::types::name::AccessKeyId;

use super::api::Api;
use super::model::{Token, TokenRequest};
use super::route::{Call, Route, argument, route};

pub(super) const ROUTES: &[Route] = &[route!(
    POST "tokens", Admin, create, TokenRequest => Token, [],
    "Make a token, which is sent as `Authorization: Bearer TOKEN` in place of a signature. It ends \
     with its time or with the key that made it. Without TLS whoever hears it can use it."
)];

/// How every token begins.
const MARK: &str = "godwit";

/// So that a token's code is nothing else that is made with a secret.
const PURPOSE: &str = "godwit admin token 1";

const ALL: &str = "all";
const READ: &str = "read";

async fn create(api: &Api, call: &Call<'_>, request: TokenRequest) -> Result<Token, Error> {
    if call.by_token {
        return Err(Error::AccessDenied("a token makes no tokens".to_owned()));
    }
    let max = limits::TOKEN_LIFE_MAX.as_secs();
    if !(1..=max).contains(&request.expires_in) {
        return Err(argument(format!("`expires_in` is 1 to {max} seconds")));
    }
    let id = call.caller.access_key().ok_or_else(|| argument("a token is of a key"))?;
    let record = api.engine.access_key(id).await?.ok_or_else(|| argument("the key is gone"))?;
    let expires_s = api.engine.env().now_ms() / 1000 + request.expires_in;
    let scope = if request.read_only { READ } else { ALL };
    let words = format!("{MARK}_{id}_{expires_s}_{scope}");
    let mac = hmac::sign(&secret(&record.secret.0), format!("{PURPOSE}\n{words}").as_bytes());
    Ok(Token {
        token: format!("{words}_{}", hex::encode(mac)),
        access_key: id.to_string(),
        read_only: request.read_only,
        expires_ms: expires_s * 1000,
    })
}

fn secret(secret: &str) -> hmac::Key {
    hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes())
}

/// Who a token speaks for.
pub(super) struct Bearer {
    pub(super) caller: Caller,
    pub(super) read_only: bool,
}

/// Checks the text after `Bearer `. The code is compared first, and in constant time.
pub(super) async fn verify(engine: &Engine, token: &str) -> Result<Bearer, S3Error> {
    let bad = || S3Error::new(Code::InvalidToken);
    let (words, mac) = token.rsplit_once('_').ok_or_else(bad)?;
    let parts: Vec<&str> = words.rsplitn(3, '_').collect();
    let [scope, expires_s, key] = parts[..] else { return Err(bad()) };
    let key = key.strip_prefix(MARK).and_then(|key| key.strip_prefix('_')).ok_or_else(bad)?;
    let id = AccessKeyId::parse(key).ok_or_else(bad)?;
    let record = engine.access_key(&id).await?.ok_or_else(bad)?;
    let mac = hex::decode(mac).map_err(|_| bad())?;
    let signed = format!("{PURPOSE}\n{words}");
    hmac::verify(&secret(&record.secret.0), signed.as_bytes(), &mac).map_err(|_| bad())?;
    let expires_s: u64 = expires_s.parse().map_err(|_| bad())?;
    if engine.env().now_ms() / 1000 >= expires_s {
        return Err(S3Error::new(Code::ExpiredToken));
    }
    let caller = Caller::Key { access_key: id, account: record.account, scope: record.scope };
    Ok(Bearer { caller, read_only: scope != ALL })
}
