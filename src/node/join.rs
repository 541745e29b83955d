//! A node that has a token and no certificate asks until it is let in, before anything else starts.

use std::collections::BTreeMap;
use std::time::Duration;

use tracing::{info, warn};

use crate::config::{Config, Regions};
use crate::env::Env;
use crate::net::certify::Candidate;
use crate::net::join::{self, JoinOptions, NotJoined};
use crate::types::region::RegionId;

use super::NodeError;
use super::identity::{self, Identity};
use super::join_token::{JoinToken, Welcome};
use super::settings::address;

/// Pauses between two attempts.
const PAUSE_MIN: Duration = Duration::from_millis(200);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Gets the identity of a node that has none, or whose certificate has run out, where the settings
/// have a token; returns at once where there is nothing to do. Waits for a node with the cluster's
/// authority as long as the token is good.
pub async fn join(
    env: &Env,
    config: &Config,
    regions: &Regions,
    region: RegionId,
) -> Result<(), NodeError> {
    let kept = Identity::load(env, &config.data)?;
    let over = kept.as_ref().is_some_and(|kept| identity::has_run_out(env, kept));
    let Some(text) = config.cluster.token.as_deref().filter(|_| kept.is_none() || over) else {
        return Ok(());
    };
    let Some(token) = JoinToken::from_text(text) else {
        warn!(%region, "the token is of an older version: it is a whole identity, and can be used \
            again and again; make others with this version's `godwit cluster token`");
        return Ok(());
    };
    let joined = match token {
        Ok(token) => ask(env, config, regions, region, &token).await,
        Err(error) => Err(error),
    };
    match (joined, kept) {
        (Ok(identity), Some(kept)) if identity.members.cluster() != kept.members.cluster() => {
            Err(wrong("the token is of another cluster than the data directory"))
        }
        (Ok(identity), _) => identity.save(env, &config.data),
        // What it holds can be read on this machine, certificate or not.
        (Err(why), Some(_)) => {
            warn!(%region, %why, "this node's certificate has run out, and the token did not help");
            Ok(())
        }
        (Err(why), None) => Err(why),
    }
}

async fn ask(
    env: &Env,
    config: &Config,
    regions: &Regions,
    region: RegionId,
    token: &JoinToken,
) -> Result<Identity, NodeError> {
    if token.region != region {
        return Err(wrong(format!(
            "the token is for region {}, but this node is told to be {region}",
            token.region
        )));
    }
    let (candidate, wish) = Candidate::new(token.cluster, region).map_err(wrong)?;
    let question = token.question(wish).to_bytes();
    let options = options(config, regions, token);
    let (mut pause, mut told) = (PAUSE_MIN, None);
    loop {
        if env.now_ms() >= token.expires_ms {
            return Err(wrong(format!(
                "the token has run out; make another one where the cluster's authority is: godwit \
                 cluster token {region}"
            )));
        }
        let why = match join::ask(env, &options, question.clone()).await {
            Ok((by, answer)) => {
                let welcome = Welcome::from_bytes(&answer).map_err(wrong)?;
                let pem = welcome.certificate_pem;
                let now_ms = env.now_ms();
                let certificate = candidate.first(&token.authority_pem, pem, now_ms);
                info!(%region, %by, "joined the cluster");
                return Ok(Identity {
                    region,
                    members: welcome.members.into(),
                    certificate: certificate.map_err(wrong)?,
                    issued_by: Some(by),
                    first_key: None,
                    operator: Some(welcome.operator),
                });
            }
            Err(NotJoined::Refused(why)) => return Err(wrong(why)),
            Err(NotJoined::Away(why)) => why,
        };
        if told.as_ref() != Some(&why) {
            warn!(%region, why, "waiting for a node with the cluster's authority (where `godwit \
                cluster init` was run, or with GODWIT_CLUSTER)");
            told = Some(why);
        }
        env.sleep(pause).await;
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

fn options(config: &Config, regions: &Regions, token: &JoinToken) -> JoinOptions {
    let others = token.members.iter().filter(|member| **member != token.region);
    let addresses: BTreeMap<RegionId, String> =
        others.filter_map(|other| Some((*other, address(config, regions, *other)?))).collect();
    JoinOptions {
        cluster: token.cluster,
        authority_pem: token.authority_pem.clone(),
        addresses,
        bind: config.mesh.listen,
        mtu: config.mesh.mtu,
    }
}

fn wrong(why: impl std::fmt::Display) -> NodeError {
    NodeError::Identity(why.to_string())
}
