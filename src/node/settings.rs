//! From the settings of a real node to what it is made of.

use std::collections::BTreeMap;

use crate::cluster::ClusterOptions;
use crate::config::{Config, PeerAddress, RegionFile, Regions};
use crate::engine;
use crate::env::Env;
use crate::net::MeshOptions;
use crate::s3;
use crate::store;
use crate::types::region::RegionId;

use super::audit::AuditOptions;
use super::certs::CertOptions;
use super::door::Door;
use super::identity::{self, Charter, Offered};
use super::otlp::TraceOptions;
use super::webhooks::Webhooks;
use super::{NodeError, NodeOptions, keyring};

impl NodeOptions {
    /// What `config` says, with what `region` has of its own. The node takes its identity from its
    /// data directory, or from the token or secret in the settings the first time.
    pub fn from_settings(
        env: &Env,
        config: &Config,
        regions: &Regions,
        region: &RegionFile,
    ) -> Result<Self, NodeError> {
        let offered = Offered {
            token: config.cluster.token.as_deref(),
            charter: config.cluster.secret.as_deref(),
            life: config.cluster.certificate_life.0,
        };
        let code = region.code;
        let identity = identity::establish(env, &config.data, code, &offered)?;
        let charter = authority(env, config)?;
        let others = identity.members.regions().map(|info| info.id);
        let others: Vec<RegionId> = others.filter(|id| *id != code).collect();
        let mesh = MeshOptions {
            certificate: identity.certificate.clone(),
            bind: config.mesh.listen,
            addresses: addresses(config, regions, &others),
            members: others,
            mtu: config.mesh.mtu,
            joins: charter.is_some(),
            link: None,
        };
        let mut auth = s3::Options::new(code).auth;
        auth.signature_v2 = config.s3.sigv2;
        auth.regions.extend(identity.members.regions().map(|info| info.id.to_string()));
        let notify = &config.notify;
        let webhooks = Webhooks::new(env, &notify.webhooks, notify.ca.as_deref());
        Ok(Self {
            store: store_options(config, region),
            mesh,
            identity,
            charter,
            certs: CertOptions::of(config),
            cluster: ClusterOptions {
                scrub_every: config.repair.scrub_every.0,
                scrub_rate: config.repair.scrub_rate.bytes(),
                repair_rate: config.repair.rate.bytes(),
                ..ClusterOptions::default()
            },
            engine: engine::Options {
                keys_heard_within: config.s3.keys_heard_within.map(|within| within.0),
                lifecycle_day: config.lifecycle.day.0,
                lifecycle_interval: config.lifecycle.interval.0,
                ..engine::Options::default()
            },
            keyring: keyring::load(env, &config.encryption)?,
            webhooks: webhooks.map_err(NodeError::Webhooks)?,
            s3: s3::Options {
                domains: config.s3.domains.clone(),
                sites: config.s3.website_domains.clone(),
                own_hosts: config.s3.website_own_hosts,
                auth,
                access_log: access_log(config),
                slow: config.log.slow.0,
                ..s3::Options::new(code)
            },
            audit: AuditOptions::of(&config.audit),
            trace: TraceOptions::of(&config.trace),
            endpoint: config.s3.endpoint.clone().or_else(|| region.endpoints.s3.clone()),
            playground: None,
            door: Door::of(env, config)?,
            stop_grace: config.s3.stop_grace.0,
        })
    }
}

fn access_log(config: &Config) -> s3::AccessLogOptions {
    let (every, bytes) = (config.s3.access_log_every.0, config.s3.access_log_size.bytes());
    s3::AccessLogOptions { every, bytes }
}

/// Where other regions are, also those that are no members yet.
fn addresses(
    config: &Config,
    regions: &Regions,
    others: &[RegionId],
) -> BTreeMap<RegionId, String> {
    let known = regions.iter().map(|file| file.code).chain(others.iter().copied());
    known.filter_map(|id| Some((id, address(config, regions, id)?))).collect()
}

/// Where one region is.
pub(super) fn address(config: &Config, regions: &Regions, id: RegionId) -> Option<String> {
    let stated = PeerAddress::find(&config.mesh.peers, id);
    stated.or_else(|| regions.find(id).ok()?.mesh.address.clone())
}

/// The cluster's authority, where the settings or the data directory have it.
fn authority(env: &Env, config: &Config) -> Result<Option<Charter>, NodeError> {
    match &config.cluster.secret {
        Some(text) => Charter::from_text(text).map(Some),
        None => Charter::load(env, &config.data),
    }
}

/// The settings, and where they say nothing of their own, the region's capacity.
fn store_options(config: &Config, region: &RegionFile) -> store::Options {
    let defaults = crate::config::Store::default();
    let pick = |stated, default, own: Option<crate::config::Size>| {
        if stated == default { own.unwrap_or(stated) } else { stated }
    };
    let memory =
        pick(config.store.memory_cache, defaults.memory_cache, region.capacity.memory_cache);
    let disk = pick(config.store.disk_cache, defaults.disk_cache, region.capacity.disk_cache);
    let mut options = store::Options::new(config.data.join("store"), region.code);
    options.memory_cache_bytes = memory.bytes();
    options.disk_cache_bytes = disk.bytes();
    options.index_cache_bytes =
        usize::try_from(config.store.index_cache.bytes()).unwrap_or(usize::MAX);
    options.blob_grace = config.store.blob_grace.0;
    options
}
