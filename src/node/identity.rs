//! Who a node is: its cluster, its region, its certificate; and how it gets to be that.
//!
//! `godwit cluster init` makes a [`Charter`]: the cluster's authority and first members. From it
//! come [`Identity`]s, one a region: asked for with a token (`join`), or made by each node for itself
//! where a platform hands the same secret to all of them. An identity lies in the data directory and is
//! used from then on; whatever is handed in later is ignored, until its certificate has run out.
//!
//! Invariant: a charter or an identity is a secret; neither shows in a log or an error.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::cluster::Members;
use crate::env::Env;
use crate::limits;
use crate::net::certify::Wish;
use crate::net::{Validity, tls};
use crate::types::id::ClusterId;
use crate::types::name::{AccessKeyId, AccountId, SecretKey};
use crate::types::record::{AccessKeyRecord, KeyScope};
use crate::types::region::{RegionId, RegionInfo};
use crate::types::stamp::{Hlc, Stamp};

use super::join_token::JoinToken;
use super::{NodeError, files};

const CHARTER_FILE: &str = "cluster.json";
const IDENTITY_FILE: &str = "identity.json";

/// The first access key of a cluster, made before there is a node to make one.
#[derive(Clone, Serialize, Deserialize)]
pub struct FirstKey {
    pub access_key: AccessKeyId,
    pub record: AccessKeyRecord,
}

impl FirstKey {
    /// A new key of a new account. Every node that hands it in gives the same record, so that they
    /// do not compete.
    pub fn new(env: &Env, region: RegionId) -> Self {
        const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
        let id: String = env
            .random::<18>()
            .iter()
            .map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()]))
            .collect();
        let now_ms = env.now_ms();
        Self {
            access_key: AccessKeyId(format!("GW{id}").into()),
            record: AccessKeyRecord {
                stamp: Stamp { hlc: Hlc::from_ms(now_ms), region },
                account: AccountId(hex::encode(env.random::<32>()).into()),
                secret: SecretKey(URL_SAFE_NO_PAD.encode(env.random::<30>()).into()),
                scope: KeyScope::Admin,
                revoked: false,
                created_ms: now_ms,
            },
        }
    }
}

/// A cluster's authority: whoever has it can make nodes of the cluster.
#[derive(Clone, Serialize, Deserialize)]
pub struct Charter {
    #[serde(with = "stated")]
    members: Members,
    authority: tls::Authority,
    first_key: FirstKey,
}

/// A node's place in a cluster.
#[derive(Clone, Serialize, Deserialize)]
pub struct Identity {
    pub region: RegionId,
    /// As they were when this was made.
    #[serde(with = "stated")]
    pub members: Members,
    pub certificate: tls::Certificate,
    /// Whose node made the certificate, where it was another's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issued_by: Option<RegionId>,
    /// Handed in by the node until a majority knows it; nodes that joined do not have it.
    pub first_key: Option<FirstKey>,
    /// The account that the cluster was made with, where the first key does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operator: Option<AccountId>,
}

/// A certificate that is made now holds so long.
pub fn validity(env: &Env, life: Duration) -> Validity {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let now_ms = env.now_ms();
    Validity {
        from_ms: now_ms.saturating_sub(ms(limits::CERTIFICATE_SKEW)),
        until_ms: now_ms.saturating_add(ms(life)),
    }
}

impl Charter {
    /// A new cluster of these regions; the first one makes the first key.
    pub fn new(env: &Env, regions: Vec<RegionInfo>) -> Result<Self, NodeError> {
        let first = regions.first().map(|region| region.id);
        let cluster = ClusterId(env.random());
        let members = Members::new(cluster, regions)
            .map_err(|error| NodeError::Identity(error.to_string()))?;
        let first = first.expect("members are never empty");
        let authority = tls::Authority::new(cluster).map_err(wrong)?;
        Ok(Self { members, authority, first_key: FirstKey::new(env, first) })
    }

    pub fn members(&self) -> &Members {
        &self.members
    }

    pub fn first_key(&self) -> &FirstKey {
        &self.first_key
    }

    /// The identity of a member.
    pub fn identity(&self, region: RegionId, validity: Validity) -> Result<Identity, NodeError> {
        if !self.members.contains(region) {
            return Err(NodeError::Identity(format!("region {region} is no member")));
        }
        let certificate = self.renewal(region, validity)?;
        let first_key = Some(self.first_key.clone());
        let members = self.members.clone();
        let (issued_by, operator) = (None, None);
        Ok(Identity { region, members, certificate, issued_by, first_key, operator })
    }

    /// A key with a certificate, for a node that has this charter itself.
    pub fn renewal(
        &self,
        region: RegionId,
        validity: Validity,
    ) -> Result<tls::Certificate, NodeError> {
        self.authority.issue(self.members.cluster(), region, validity).map_err(wrong)
    }

    /// The certificate, as PEM, for a key that another node made.
    pub fn certify(&self, wish: &Wish, validity: Validity) -> Result<String, NodeError> {
        self.authority.certify(self.members.cluster(), wish, validity).map_err(wrong)
    }

    /// A token with which the node of a region joins within that time; `now` are the members whose
    /// nodes it asks.
    pub fn join_token(
        &self,
        env: &Env,
        region: RegionId,
        life: Duration,
        now: &Members,
    ) -> JoinToken {
        let (id, expires_ms) = (env.random(), validity(env, life).until_ms);
        JoinToken {
            cluster: self.members.cluster(),
            region,
            expires_ms,
            members: now.regions().map(|info| info.id).collect(),
            authority_pem: self.authority.certificate_pem().to_owned(),
            id,
            secret: self.join_secret(region, expires_ms, &id),
        }
    }

    /// The secret of a token, which follows from what it says.
    pub(super) fn join_secret(&self, region: RegionId, expires_ms: u64, id: &[u8; 16]) -> [u8; 32] {
        let cluster = self.members.cluster();
        let token = format!("{cluster} {region} {expires_ms} {}", hex::encode(id));
        self.authority.join_secret(token.as_bytes())
    }

    /// As one word, for the environment of a platform.
    pub fn to_text(&self) -> String {
        to_text(self)
    }

    pub fn from_text(text: &str) -> Result<Self, NodeError> {
        from_text(text)
    }

    pub fn load(env: &Env, dir: &Path) -> Result<Option<Self>, NodeError> {
        load(env, dir, CHARTER_FILE)
    }

    pub fn save(&self, env: &Env, dir: &Path) -> Result<(), NodeError> {
        save(env, dir, CHARTER_FILE, self)
    }
}

impl Identity {
    /// The account that the cluster was made with: who has an admin key of it runs the cluster.
    pub fn operator(&self) -> Option<AccountId> {
        let of_key = self.first_key.as_ref().map(|key| key.record.account.clone());
        of_key.or_else(|| self.operator.clone())
    }

    /// A join token of an older version.
    pub fn from_text(text: &str) -> Result<Self, NodeError> {
        from_text(text)
    }

    pub fn load(env: &Env, dir: &Path) -> Result<Option<Self>, NodeError> {
        load(env, dir, IDENTITY_FILE)
    }

    pub fn save(&self, env: &Env, dir: &Path) -> Result<(), NodeError> {
        save(env, dir, IDENTITY_FILE, self)
    }
}

/// Where a node may get its identity from when its directory has none.
#[derive(Clone, Debug)]
pub struct Offered<'a> {
    pub token: Option<&'a str>,
    pub charter: Option<&'a str>,
    /// Of a certificate that is made from a charter.
    pub life: Duration,
}

/// The identity in `dir`; a directory without one, or with one whose certificate has run out, takes
/// what is offered, and keeps it.
pub fn establish(
    env: &Env,
    dir: &Path,
    region: RegionId,
    offered: &Offered<'_>,
) -> Result<Identity, NodeError> {
    let kept = Identity::load(env, dir)?;
    let over = kept.as_ref().is_some_and(|kept| has_run_out(env, kept));
    let new = match &kept {
        Some(_) if !over => None,
        Some(_) | None => offer(env, dir, region, offered)?,
    };
    let identity = match (&new, &kept) {
        (Some(new), Some(kept)) if new.members.cluster() != kept.members.cluster() => {
            return Err(wrong("the token or secret is of another cluster than the data directory"));
        }
        (Some(identity), _) => identity,
        (None, Some(identity)) => identity,
        (None, None) => return Err(NodeError::Identity(NOWHERE.to_owned())),
    };
    if identity.region != region {
        return Err(NodeError::OtherRegion { found: identity.region, wanted: region });
    }
    if over && new.is_none() {
        warn!(%region, "the certificate of this node has run out, the other regions turn it away: \
            run `godwit cluster token {region}` where the cluster's authority is, and start this \
            node once with GODWIT_TOKEN=...");
    }
    if new.is_some() {
        identity.save(env, dir)?;
    }
    Ok(identity.clone())
}

/// A new identity from what there is, if anything.
fn offer(
    env: &Env,
    dir: &Path,
    region: RegionId,
    offered: &Offered<'_>,
) -> Result<Option<Identity>, NodeError> {
    let validity = validity(env, offered.life);
    let charter = match offered {
        // Used before, if it could be.
        Offered { token: Some(token), .. } if JoinToken::from_text(token).is_some() => None,
        Offered { token: Some(token), .. } => return Identity::from_text(token).map(Some),
        Offered { charter: Some(charter), .. } => Some(Charter::from_text(charter)?),
        Offered { token: None, charter: None, .. } => Charter::load(env, dir)?,
    };
    charter.map(|charter| charter.identity(region, validity)).transpose()
}

pub(super) fn has_run_out(env: &Env, identity: &Identity) -> bool {
    identity.certificate.validity().is_ok_and(|validity| validity.is_over(env.now_ms()))
}

/// The identity in `dir`, or a new one of this charter, which is kept.
pub(super) fn of_charter(
    env: &Env,
    dir: &Path,
    region: RegionId,
    charter: &Charter,
) -> Result<Identity, NodeError> {
    if let Some(identity) = Identity::load(env, dir)?.filter(|kept| !has_run_out(env, kept)) {
        return Ok(identity);
    }
    let identity = charter.identity(region, validity(env, limits::CERTIFICATE_LIFE))?;
    identity.save(env, dir)?;
    Ok(identity)
}

/// Members in files and tokens, in the form that was there before members could change.
mod stated {
    use serde::{Deserialize as _, Deserializer, Serialize as _, Serializer};

    use crate::cluster::{Members, StatedMembers};

    pub(super) fn serialize<S: Serializer>(members: &Members, s: S) -> Result<S::Ok, S::Error> {
        StatedMembers::from(members.clone()).serialize(s)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(d: D) -> Result<Members, D::Error> {
        StatedMembers::deserialize(d).map(Members::from)
    }
}

const NOWHERE: &str = "this node belongs to no cluster yet: run `godwit cluster init --regions ...` \
                       on one node, or give it the token that `godwit cluster token REGION` prints \
                       there";

fn wrong(error: impl std::fmt::Display) -> NodeError {
    NodeError::Identity(error.to_string())
}

fn to_text(value: &impl Serialize) -> String {
    let bytes = serde_json::to_vec(value).expect("plain structs with text keys");
    URL_SAFE_NO_PAD.encode(bytes)
}

/// The text is secret: an error does not repeat any of it.
fn from_text<T: DeserializeOwned>(text: &str) -> Result<T, NodeError> {
    let bytes = URL_SAFE_NO_PAD.decode(text.trim()).ok();
    let value = bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok());
    value.ok_or_else(|| wrong("the token or secret is not whole; copy it again"))
}

fn load<T: DeserializeOwned>(env: &Env, dir: &Path, name: &str) -> Result<Option<T>, NodeError> {
    files::load(env, dir, name).map_err(|source| file(dir, name, source))
}

fn save(env: &Env, dir: &Path, name: &str, value: &impl Serialize) -> Result<(), NodeError> {
    files::save(env, dir, name, value).map_err(|source| file(dir, name, source))
}

fn file(dir: &Path, name: &str, source: std::io::Error) -> NodeError {
    NodeError::File { what: dir.join(name).display().to_string(), source }
}
