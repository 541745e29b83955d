//! Settings of a node: defaults, then what the platform tells, then the file, then the environment.
//!
//! Invariant: [`Config`] is data. Only the wiring (`node`, `cli`) reads it and gives each layer its
//! own options. Nothing here opens a file or reads the process environment: texts and a look-up are
//! handed in, so that every rule is tested without either.

pub mod error;
pub mod network;
pub mod region;
pub mod settings;
pub mod value;
pub mod webhook;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use error::ConfigError;
pub use network::Network;
pub use region::{RegionFile, Regions};
pub use settings::{SETTINGS, Setting};
pub use value::{PeerAddress, Seconds, Size};
pub use webhook::Webhook;

use crate::types::region::RegionId;

/// How a look-up in the environment is handed in.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<String>;

/// All settings of one node. Every field can stand in the file and, under the name that
/// [`SETTINGS`] gives it, in the environment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// This node's region: the code of a file in the folder of regions.
    pub region: Option<RegionId>,
    /// Folder with one `CODE.toml` a region.
    pub regions: PathBuf,
    /// Directory of everything that this node keeps. One node, one directory.
    pub data: PathBuf,
    pub s3: S3,
    pub tls: Tls,
    pub console: Console,
    pub ops: Ops,
    pub mesh: Mesh,
    pub cluster: Cluster,
    pub store: Store,
    pub notify: Notify,
    pub encryption: Encryption,
    pub lifecycle: Lifecycle,
    pub repair: Repair,
    pub audit: Audit,
    pub trace: Trace,
    pub log: Log,
}

/// The S3 port.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct S3 {
    pub listen: SocketAddr,
    /// What clients are told as `AWS_ENDPOINT_URL_S3`; without it, the address of the listener.
    pub endpoint: Option<String>,
    /// Host names whose first label is a bucket (`BUCKET.s3.example.com`).
    pub domains: Vec<String>,
    /// Host names whose first label is a bucket's website (`BUCKET.web.example.com`).
    pub website_domains: Vec<String>,
    /// A host that is the name of a bucket with a website is that website's.
    pub website_own_hosts: bool,
    /// Networks of proxies whose connections begin with a head of the PROXY protocol, version 1 or
    /// 2; it says who the client is.
    pub proxy_protocol: Vec<Network>,
    /// Signature version 2, which s3cmd with `signature_v2` and old tools use.
    pub sigv2: bool,
    /// Signed requests are refused when it is longer ago than this that the voters told this region
    /// which access keys were revoked; without it a region that is cut off goes on.
    pub keys_heard_within: Option<Seconds>,
    /// How long requests that are under way may take when the node stops.
    pub stop_grace: Seconds,
    /// Lines of a bucket's access log are delivered after this time ...
    pub access_log_every: Seconds,
    /// ... or this many bytes.
    pub access_log_size: Size,
}

/// TLS of the S3 port, which has the admin API, and of the console. The files are read again when
/// they change.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Tls {
    /// The certificate and those between it and its authority, as PEM.
    pub cert: Option<PathBuf>,
    /// Its private key, as PEM.
    pub key: Option<PathBuf>,
}

/// The web console.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Console {
    /// Its port, usually 8081; without it there is no console.
    pub listen: Option<SocketAddr>,
}

/// The operations port: metrics and health, no credentials, no names of buckets or keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Ops {
    pub listen: SocketAddr,
}

/// QUIC between the nodes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mesh {
    pub listen: SocketAddr,
    /// `CODE=HOST:PORT` of other regions' nodes, or `*=HOST:PORT` where `{region}` in the host
    /// stands for the code. A host name is looked up again at every attempt to connect.
    pub peers: Vec<PeerAddress>,
    /// Largest UDP payload; 1372 inside a WireGuard network with an MTU of 1420.
    pub mtu: Option<u16>,
}

/// Who belongs to the cluster and how this node proves that it does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cluster {
    /// A join token of `godwit cluster token REGION`; used once, when the data directory has no
    /// identity yet, or one whose certificate has run out.
    pub token: Option<String>,
    /// The cluster's state as `godwit cluster init --print` gives it, for platforms that hand the
    /// same secrets to every node: a node without an identity makes its own from it.
    pub secret: Option<String>,
    /// How long certificates hold that this node makes, for others and for itself.
    pub certificate_life: Seconds,
}

/// Disk and memory.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Store {
    /// Chunks of objects kept in memory.
    pub memory_cache: Size,
    /// Cached copies of objects that other regions hold.
    pub disk_cache: Size,
    /// Pages of the index kept in memory.
    pub index_cache: Size,
    /// How long bytes that no object names are kept, for readers that are under way.
    pub blob_grace: Seconds,
}

/// Where events of buckets can be sent to.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Notify {
    /// The destinations that buckets may name; the same list on every node.
    pub webhooks: Vec<Webhook>,
    /// A PEM bundle of the authorities that webhooks' certificates are from, instead of the
    /// system's.
    pub ca: Option<PathBuf>,
}

/// The keys of SSE-S3 and SSE-KMS, as lines of `NAME:KEY`; the first is that of SSE-S3. Every region
/// has the same.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Encryption {
    /// A file of such lines, outside of the data directory.
    pub keyring: Option<PathBuf>,
    /// The lines themselves, for platforms that hand out secrets in the environment.
    pub keys: Option<String>,
}

/// When lifecycle rules of buckets are run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Lifecycle {
    /// What a rule's day is; anything but a day is for trying rules out.
    pub day: Seconds,
    /// From the end of one walk over the buckets with rules to the next.
    pub interval: Seconds,
}

/// How decay is looked for, and what repair may use.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Repair {
    /// From the beginning of one scrub to the next, 25 days at most.
    pub scrub_every: Seconds,
    /// Bytes a second that scrub reads from the disk.
    pub scrub_rate: Size,
    /// Bytes a second that repair fetches from other regions.
    pub rate: Size,
}

/// Who changed what, one JSON object a line.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Audit {
    /// `off`, `log` for the node's log, or the path of a file.
    pub to: String,
    /// A file that is larger is put aside.
    pub max_size: Size,
    /// So many of those are kept.
    pub keep: u16,
    /// Changes of objects are told too, not only those of buckets and keys.
    pub objects: bool,
}

/// Traces of requests across regions, for a collector of OpenTelemetry.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Trace {
    /// Where they go: OTLP over HTTP, in JSON; without it there are none.
    pub otlp: Option<String>,
    /// Goes there as `Authorization: Bearer`.
    pub token: Option<String>,
    /// One request in so many; 0: only those whose `traceparent` asks for it.
    pub one_in: u64,
}

/// The log on standard error.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Log {
    /// A filter as `tracing` reads it: `info`, `godwit=debug,info`.
    pub level: String,
    pub format: LogFormat,
    /// Requests that take longer leave a line that says where the time went; 0: none does.
    pub slow: Seconds,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    Json,
    Text,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            region: None,
            regions: PathBuf::from("regions"),
            data: PathBuf::from("godwit-data"),
            s3: S3::default(),
            tls: Tls::default(),
            console: Console::default(),
            ops: Ops::default(),
            mesh: Mesh::default(),
            cluster: Cluster::default(),
            store: Store::default(),
            notify: Notify::default(),
            encryption: Encryption::default(),
            lifecycle: Lifecycle::default(),
            repair: Repair::default(),
            audit: Audit::default(),
            trace: Trace::default(),
            log: Log::default(),
        }
    }
}

impl Default for S3 {
    fn default() -> Self {
        Self {
            listen: any(8080),
            endpoint: None,
            domains: Vec::new(),
            website_domains: Vec::new(),
            website_own_hosts: false,
            proxy_protocol: Vec::new(),
            sigv2: true,
            keys_heard_within: None,
            stop_grace: Seconds(Duration::from_secs(100)),
            access_log_every: Seconds(crate::limits::LOG_EVERY_DEFAULT),
            access_log_size: Size::mib(1),
        }
    }
}

impl Default for Ops {
    fn default() -> Self {
        Self { listen: any(9091) }
    }
}

impl Default for Mesh {
    fn default() -> Self {
        Self { listen: any(7946), peers: Vec::new(), mtu: None }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        let certificate_life = Seconds(crate::limits::CERTIFICATE_LIFE);
        Self { token: None, secret: None, certificate_life }
    }
}

impl Default for Store {
    fn default() -> Self {
        Self {
            memory_cache: Size::mib(256),
            disk_cache: Size::gib(2),
            index_cache: Size::mib(128),
            blob_grace: Seconds(crate::limits::BLOB_GRACE),
        }
    }
}

impl Default for Lifecycle {
    fn default() -> Self {
        Self {
            day: Seconds(crate::limits::LIFECYCLE_DAY),
            interval: Seconds(crate::limits::LIFECYCLE_INTERVAL),
        }
    }
}

impl Default for Repair {
    fn default() -> Self {
        Self {
            scrub_every: Seconds(crate::limits::SCRUB_INTERVAL),
            scrub_rate: Size::mib(crate::limits::SCRUB_RATE_DEFAULT >> 20),
            rate: Size::mib(crate::limits::REPAIR_RATE_DEFAULT >> 20),
        }
    }
}

impl Default for Audit {
    fn default() -> Self {
        Self { to: "log".to_owned(), max_size: Size::mib(64), keep: 8, objects: false }
    }
}

impl Default for Trace {
    fn default() -> Self {
        Self { otlp: None, token: None, one_in: 1 }
    }
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
            slow: Seconds(crate::limits::SLOW_DEFAULT),
        }
    }
}

/// The smallest memory cache that is of use: a window of chunks of one reader.
const MEMORY_CACHE_MIN: Size = Size::mib(8);

/// The smallest budget of a background job, a second: one chunk.
const RATE_MIN: Size = Size::mib(1);
const _: () = assert!(crate::limits::CHUNK_BYTES == 1 << 20);

/// Every address of the machine, IPv6 and IPv4.
fn any(port: u16) -> SocketAddr {
    SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, port))
}

impl Config {
    /// Reads the settings: what `file` says goes over what the platform tells, the environment
    /// over both.
    pub fn load(file: Option<&str>, environment: Environment<'_>) -> Result<Self, ConfigError> {
        let mut table = settings::platform(environment);
        if let Some(text) = file {
            let stated: toml::Table =
                text.parse().map_err(|e: toml::de::Error| ConfigError::Syntax(e.to_string()))?;
            settings::lay_over(&mut table, stated);
        }
        settings::overlay(&mut table, environment)?;
        let config: Self =
            table.try_into().map_err(|e: toml::de::Error| ConfigError::Syntax(e.to_string()))?;
        config.validate()?;
        config.validate_cluster()?;
        Ok(config)
    }

    fn validate_ports(&self) -> Result<(), ConfigError> {
        let same = |a: SocketAddr, b: SocketAddr| a == b && a.port() != 0;
        if same(self.s3.listen, self.ops.listen) {
            return Err(ConfigError::Field {
                field: "ops.listen",
                why: "is the S3 port too; give the operations port an address of its own",
            });
        }
        let console = self.console.listen;
        if console.is_some_and(|it| same(it, self.s3.listen) || same(it, self.ops.listen)) {
            return Err(ConfigError::Field {
                field: "console.listen",
                why: "is the S3 or the operations port too; the console has an origin of its own",
            });
        }
        Ok(())
    }

    fn validate_cluster(&self) -> Result<(), ConfigError> {
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            let why = "has two files: set both tls.cert and tls.key, or none";
            return Err(ConfigError::Field { field: "tls", why });
        }
        if self.cluster.certificate_life.0 < crate::limits::CERTIFICATE_LIFE_MIN {
            let field = "cluster.certificate_life";
            return Err(ConfigError::Field { field, why: "is at least an hour" });
        }
        Ok(())
    }

    /// What no single field can tell about itself.
    fn validate(&self) -> Result<(), ConfigError> {
        self.validate_ports()?;
        if self.data.as_os_str().is_empty() {
            return Err(ConfigError::Field { field: "data", why: "is empty" });
        }
        if self.s3.endpoint.as_deref().is_some_and(|e| !e.starts_with("http")) {
            return Err(ConfigError::Field {
                field: "s3.endpoint",
                why: "begins with http:// or https://",
            });
        }
        if self.encryption.keyring.is_some() && self.encryption.keys.is_some() {
            return Err(ConfigError::Field {
                field: "encryption.keyring",
                why: "stands beside encryption.keys; set one of them",
            });
        }
        if self.encryption.keyring.as_ref().is_some_and(|file| file.starts_with(&self.data)) {
            return Err(ConfigError::Field {
                field: "encryption.keyring",
                why: "lies in the data directory; who copies the disk would have the key",
            });
        }
        if self.store.memory_cache < MEMORY_CACHE_MIN {
            return Err(ConfigError::Field {
                field: "store.memory_cache",
                why: "holds at least 8 chunks of 1 MiB",
            });
        }
        let heard = self.s3.keys_heard_within;
        if heard.is_some_and(|within| within.0 < crate::limits::KEYS_HEARD_MAX) {
            let field = "s3.keys_heard_within";
            return Err(ConfigError::Field { field, why: "is at least 5s" });
        }
        let pauses = [
            ("lifecycle.day", self.lifecycle.day),
            ("lifecycle.interval", self.lifecycle.interval),
        ];
        if let Some((field, _)) = pauses.into_iter().find(|(_, pause)| pause.0.is_zero()) {
            return Err(ConfigError::Field { field, why: "is at least a second" });
        }
        let every = self.repair.scrub_every.0;
        if every.is_zero() || every > crate::limits::SCRUB_INTERVAL_MAX {
            let field = "repair.scrub_every";
            return Err(ConfigError::Field { field, why: "is between a second and 25 days" });
        }
        let rates =
            [("repair.scrub_rate", self.repair.scrub_rate), ("repair.rate", self.repair.rate)];
        if let Some((field, _)) = rates.into_iter().find(|(_, rate)| *rate < RATE_MIN) {
            return Err(ConfigError::Field { field, why: "is at least 1MiB, a second" });
        }
        if self.audit.to.is_empty() || self.audit.max_size < RATE_MIN {
            return Err(ConfigError::Field {
                field: "audit",
                why: "`to` is off, log or a path, `max_size` at least 1MiB",
            });
        }
        if self.trace.otlp.as_deref().is_some_and(|url| !url.starts_with("http")) {
            return Err(ConfigError::Field {
                field: "trace.otlp",
                why: "begins with http:// or https://",
            });
        }
        if self.mesh.mtu.is_some_and(|mtu| mtu < 1200) {
            return Err(ConfigError::Field { field: "mesh.mtu", why: "is at least 1200 (QUIC)" });
        }
        Ok(())
    }

    /// The region of this node, which `serve` needs.
    pub fn region(&self) -> Result<RegionId, ConfigError> {
        self.region.ok_or(ConfigError::Field {
            field: "region",
            why: "is missing: set `region` in the file, GODWIT_REGION or FLY_REGION",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn none(_: &str) -> Option<String> {
        None
    }

    #[test]
    fn nothing_said_gives_the_defaults() {
        assert_eq!(Config::load(None, &none).unwrap(), Config::default());
        assert_eq!(Config::load(Some(""), &none).unwrap(), Config::default());
    }

    #[test]
    fn the_environment_goes_over_the_file_and_the_file_over_the_platform() {
        let environment = |name: &str| {
            let value = match name {
                "FLY_REGION" => "ams",
                "FLY_APP_NAME" => "birds",
                "GODWIT_LOG" => "debug",
                "GODWIT_MEMORY_CACHE" => "64MiB",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let file = "region = \"fra\"\n[log]\nlevel = \"warn\"\n[s3]\nsigv2 = false\n";
        let config = Config::load(Some(file), &environment).unwrap();
        assert_eq!(config.region, RegionId::parse("fra"));
        assert_eq!(config.log.level, "debug");
        assert_eq!(config.store.memory_cache, Size::mib(64));
        assert!(!config.s3.sigv2);
        assert_eq!(config.s3.endpoint.as_deref(), Some("https://birds.fly.dev"));
    }

    #[test]
    fn on_fly_nothing_has_to_be_set() {
        let environment = |name: &str| {
            let value = match name {
                "FLY_REGION" => "nrt",
                "FLY_APP_NAME" => "birds",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let config = Config::load(None, &environment).unwrap();
        assert_eq!(config.region().unwrap(), RegionId::parse("nrt").unwrap());
        assert_eq!(config.data, PathBuf::from("/data"));
        assert_eq!(config.mesh.mtu, Some(1372));
        let fra = RegionId::parse("fra").unwrap();
        assert_eq!(
            PeerAddress::find(&config.mesh.peers, fra).as_deref(),
            Some("fra.birds.internal:7946")
        );
    }

    #[test]
    fn unknown_fields_and_bad_values_are_refused_by_name() {
        let cases = [
            ("colour = 1", "colour"),
            ("[s3]\nlisten = \"nowhere\"", "socket address"),
            ("[store]\nmemory_cache = \"12 apples\"", "12 apples"),
            ("[store]\nmemory_cache = 1", "store.memory_cache"),
            ("[s3]\nlisten = \"[::]:9091\"", "ops.listen"),
            ("[console]\nlisten = \"[::]:8080\"", "console.listen"),
            ("[mesh]\nmtu = 500", "mesh.mtu"),
            ("[tls]\ncert = \"cert.pem\"", "tls.key"),
            ("[s3]\nproxy_protocol = [\"10.0.0.0/40\"]", "10.0.0.0/40"),
            ("[s3]\nkeys_heard_within = 4", "s3.keys_heard_within"),
            ("[lifecycle]\nday = 0", "lifecycle.day"),
            ("[cluster]\ncertificate_life = \"59m\"", "cluster.certificate_life"),
            ("[mesh]\npeers = [\"fra\"]", "CODE=HOST:PORT"),
            ("region = \"Frankfurt\"", "Frankfurt"),
            ("region = ", "expected"),
        ];
        for (file, named) in cases {
            let error = Config::load(Some(file), &none).unwrap_err().to_string();
            assert!(error.contains(named), "{file}: {error}");
        }
    }

    #[test]
    fn a_missing_region_says_where_to_set_it() {
        let error = Config::default().region().unwrap_err().to_string();
        assert!(error.contains("GODWIT_REGION"), "{error}");
    }
}
