//! The list of settings: where each stands in the file and what it is called in the environment.
//!
//! Invariant: every field of `Config` has one row here (a test holds it), so that nothing can be
//! set in a file alone.

use toml::{Table, Value};

use super::{ConfigError, Environment};

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name in the environment.
    pub env: &'static str,
    /// Its place in the file: table and field, or a field alone.
    pub path: &'static str,
    pub kind: Kind,
    /// One line for the documentation.
    pub what: &'static str,
    /// Says nothing of its value when settings are shown.
    pub secret: bool,
}

/// How the text of an environment variable becomes a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    Integer,
    /// Separated by commas.
    List,
    Text,
}

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    row(
        "GODWIT_REGION",
        "region",
        Kind::Text,
        "This node's region: the code of a file in the folder of regions",
    ),
    row("GODWIT_REGIONS", "regions", Kind::Text, "Folder with one `CODE.toml` a region"),
    row("GODWIT_DATA", "data", Kind::Text, "Directory of everything that this node keeps"),
    row("GODWIT_S3_LISTEN", "s3.listen", Kind::Text, "Address of the S3 port"),
    row(
        "GODWIT_ENDPOINT",
        "s3.endpoint",
        Kind::Text,
        "What clients are told as `AWS_ENDPOINT_URL_S3`",
    ),
    row("GODWIT_S3_DOMAINS", "s3.domains", Kind::List, "Host names whose first label is a bucket"),
    row(
        "GODWIT_WEBSITE_DOMAINS",
        "s3.website_domains",
        Kind::List,
        "Host names whose first label is a bucket's website",
    ),
    row(
        "GODWIT_WEBSITE_OWN_HOSTS",
        "s3.website_own_hosts",
        Kind::Bool,
        "Whether a host that is the name of a bucket with a website is that website's",
    ),
    row(
        "GODWIT_PROXY_PROTOCOL",
        "s3.proxy_protocol",
        Kind::List,
        "Networks of proxies (`172.16.0.0/12`): their connections begin with a head of the PROXY \
         protocol, version 1 or 2, that says who the client is",
    ),
    row("GODWIT_SIGV2", "s3.sigv2", Kind::Bool, "Whether signature version 2 is accepted"),
    row(
        "GODWIT_KEYS_HEARD_WITHIN",
        "s3.keys_heard_within",
        Kind::Text,
        "Refuse signed requests when it is longer ago than this (5s at least) that the voters told \
         which access keys were revoked; without it a region that is cut off goes on with what it \
         knows",
    ),
    row(
        "GODWIT_STOP_GRACE",
        "s3.stop_grace",
        Kind::Text,
        "How long requests under way may take when the node stops",
    ),
    row(
        "GODWIT_ACCESS_LOG_EVERY",
        "s3.access_log_every",
        Kind::Text,
        "Buckets' access logs are delivered after this time",
    ),
    row(
        "GODWIT_ACCESS_LOG_SIZE",
        "s3.access_log_size",
        Kind::Text,
        "Or when this much of one bucket waits",
    ),
    row(
        "GODWIT_TLS_CERT",
        "tls.cert",
        Kind::Text,
        "Certificate chain of the S3 port and the console, as PEM; read again when it changes",
    ),
    row("GODWIT_TLS_KEY", "tls.key", Kind::Text, "Its private key, as PEM"),
    row(
        "GODWIT_CONSOLE_LISTEN",
        "console.listen",
        Kind::Text,
        "Address of the web console, usually port 8081; without it there is none",
    ),
    row(
        "GODWIT_OPS_LISTEN",
        "ops.listen",
        Kind::Text,
        "Address of metrics and health; no credentials, no names of buckets",
    ),
    row("GODWIT_MESH_LISTEN", "mesh.listen", Kind::Text, "UDP address for the other regions"),
    row(
        "GODWIT_MESH_PEERS",
        "mesh.peers",
        Kind::List,
        "Other regions' nodes: `CODE=HOST:PORT`, or `*=HOST:PORT` with `{region}` in the host",
    ),
    row(
        "GODWIT_MESH_MTU",
        "mesh.mtu",
        Kind::Integer,
        "Largest UDP payload; 1372 inside WireGuard with an MTU of 1420",
    ),
    row(
        "GODWIT_TOKEN",
        "cluster.token",
        Kind::Text,
        "Join token of `godwit cluster token`; used when there is no identity, or its certificate ran \
         out",
    )
    .secret(),
    row(
        "GODWIT_CLUSTER",
        "cluster.secret",
        Kind::Text,
        "The cluster's state as `godwit cluster init --print` gives it",
    )
    .secret(),
    row(
        "GODWIT_CERTIFICATE_LIFE",
        "cluster.certificate_life",
        Kind::Text,
        "How long certificates of nodes hold that this node makes, an hour at least; they are \
         renewed when a third of it is left",
    ),
    row(
        "GODWIT_MEMORY_CACHE",
        "store.memory_cache",
        Kind::Text,
        "Chunks of objects kept in memory",
    ),
    row(
        "GODWIT_DISK_CACHE",
        "store.disk_cache",
        Kind::Text,
        "Cached copies of objects that other regions hold",
    ),
    row("GODWIT_INDEX_CACHE", "store.index_cache", Kind::Text, "Pages of the index kept in memory"),
    row(
        "GODWIT_BLOB_GRACE",
        "store.blob_grace",
        Kind::Text,
        "How long bytes that no object names are kept, for readers under way",
    ),
    row(
        "GODWIT_NOTIFY_WEBHOOKS",
        "notify.webhooks",
        Kind::List,
        "Destinations of bucket notifications: `NAME=URL`, then `format=s3|tigris`, \
         `bearer=TOKEN`, `basic=USER:PASSWORD`, `account=ID` whose buckets may name it",
    )
    .secret(),
    row(
        "GODWIT_NOTIFY_CA",
        "notify.ca",
        Kind::Text,
        "PEM bundle of authorities that webhooks' certificates are from, instead of the system's",
    ),
    row(
        "GODWIT_KEYRING",
        "encryption.keyring",
        Kind::Text,
        "File with the keys of SSE-S3 and SSE-KMS, the same in every region, not in `data`",
    ),
    row(
        "GODWIT_ENCRYPTION_KEYS",
        "encryption.keys",
        Kind::Text,
        "The same keys themselves: `NAME:KEY` a line, or separated by commas",
    )
    .secret(),
    row(
        "GODWIT_LIFECYCLE_DAY",
        "lifecycle.day",
        Kind::Text,
        "How long a day of lifecycle rules is; anything but a day is for trying them out",
    ),
    row(
        "GODWIT_LIFECYCLE_INTERVAL",
        "lifecycle.interval",
        Kind::Text,
        "Lifecycle rules are run again after this time",
    ),
    row(
        "GODWIT_SCRUB_EVERY",
        "repair.scrub_every",
        Kind::Text,
        "Everything that is held is read and checked again after this time, at most 600 h",
    ),
    row(
        "GODWIT_SCRUB_RATE",
        "repair.scrub_rate",
        Kind::Text,
        "Bytes a second that these checks read from the disk at most",
    ),
    row(
        "GODWIT_REPAIR_RATE",
        "repair.rate",
        Kind::Text,
        "Bytes a second that repair fetches from other regions at most",
    ),
    row(
        "GODWIT_AUDIT",
        "audit.to",
        Kind::Text,
        "Where the audit log goes: `off`, `log` (the node's log), or the path of a file",
    ),
    row(
        "GODWIT_AUDIT_MAX_SIZE",
        "audit.max_size",
        Kind::Text,
        "Size from which that file is put aside as `NAME.1`",
    ),
    row("GODWIT_AUDIT_KEEP", "audit.keep", Kind::Integer, "How many of those are kept"),
    row(
        "GODWIT_AUDIT_OBJECTS",
        "audit.objects",
        Kind::Bool,
        "Whether changes of objects are told too, not only those of buckets and keys",
    ),
    row(
        "GODWIT_OTLP",
        "trace.otlp",
        Kind::Text,
        "Collector of traces: `http://HOST:4318/v1/traces` (OTLP over HTTP, JSON)",
    ),
    row(
        "GODWIT_OTLP_TOKEN",
        "trace.token",
        Kind::Text,
        "Goes to the collector as `Authorization: Bearer`",
    )
    .secret(),
    row(
        "GODWIT_TRACE_ONE_IN",
        "trace.one_in",
        Kind::Integer,
        "One request in so many is traced; 0: only those whose `traceparent` asks for it",
    ),
    row(
        "GODWIT_SLOW",
        "log.slow",
        Kind::Text,
        "Requests that take longer leave a line that says where the time went; 0: none does",
    ),
    row("GODWIT_LOG", "log.level", Kind::Text, "Filter of the log: `info`, `godwit=debug,info`"),
    row("GODWIT_LOG_FORMAT", "log.format", Kind::Text, "`text` or `json`"),
];

const fn row(env: &'static str, path: &'static str, kind: Kind, what: &'static str) -> Setting {
    Setting { env, path, kind, what, secret: false }
}

impl Setting {
    const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }
}

/// What Fly's environment tells: enough that nothing has to be set there.
pub(super) fn platform(environment: Environment<'_>) -> Table {
    let mut table = Table::new();
    if let Some(region) = environment("FLY_REGION") {
        put(&mut table, "region", Value::String(region));
    }
    if let Some(app) = environment("FLY_APP_NAME") {
        put(&mut table, "data", Value::String("/data".to_owned()));
        put(&mut table, "s3.endpoint", Value::String(format!("https://{app}.fly.dev")));
        let peers = Value::String(format!("*={{region}}.{app}.internal:7946"));
        put(&mut table, "mesh.peers", Value::Array(vec![peers]));
        put(&mut table, "mesh.mtu", Value::Integer(1372));
    }
    table
}

/// Puts what the environment says over `table`. An empty variable says nothing.
pub(super) fn overlay(table: &mut Table, environment: Environment<'_>) -> Result<(), ConfigError> {
    for setting in SETTINGS {
        if let Some(text) = environment(setting.env).filter(|text| !text.is_empty()) {
            put(table, setting.path, value(setting, &text)?);
        }
    }
    Ok(())
}

/// Puts one table over another, table by table and field by field.
pub(super) fn lay_over(under: &mut Table, over: Table) {
    for (name, value) in over {
        match (under.get_mut(&name), value) {
            (Some(Value::Table(inner)), Value::Table(stated)) => lay_over(inner, stated),
            (_, value) => {
                under.insert(name, value);
            }
        }
    }
}

fn value(setting: &Setting, text: &str) -> Result<Value, ConfigError> {
    let bad = |why: &str| ConfigError::Environment { name: setting.env, why: why.to_owned() };
    Ok(match setting.kind {
        Kind::Bool => Value::Boolean(text.parse().map_err(|_| bad("is true or false"))?),
        Kind::Integer => Value::Integer(text.parse().map_err(|_| bad("is a whole number"))?),
        Kind::List => {
            let items = text.split(',').map(str::trim).filter(|item| !item.is_empty());
            Value::Array(items.map(|item| Value::String(item.to_owned())).collect())
        }
        Kind::Text => Value::String(text.to_owned()),
    })
}

fn put(table: &mut Table, path: &str, value: Value) {
    match path.split_once('.') {
        None => {
            table.insert(path.to_owned(), value);
        }
        Some((outer, field)) => {
            let inner = table.entry(outer).or_insert_with(|| Value::Table(Table::new()));
            if let Value::Table(inner) = inner {
                inner.insert(field.to_owned(), value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Encryption};
    use super::*;

    /// All fields of a table with their paths.
    fn paths(table: &Table, prefix: &str, out: &mut Vec<String>) {
        for (name, value) in table {
            match value {
                Value::Table(inner) => paths(inner, &format!("{prefix}{name}."), out),
                _ => out.push(format!("{prefix}{name}")),
            }
        }
    }

    #[test]
    fn every_field_has_a_row_and_every_row_a_field() {
        let text = "region = \"fra\"\n[s3]\nendpoint = \"http://x\"\nkeys_heard_within = 5\n\
                    [tls]\ncert = \"c\"\nkey = \"k\"\n[mesh]\nmtu = 1372\n\
                    [notify]\nca = \"ca.pem\"\n\
                    [console]\nlisten = \"127.0.0.1:8081\"\n\
                    [trace]\notlp = \"http://x\"\ntoken = \"t\"\n\
                    [cluster]\ntoken = \"t\"\nsecret = \"s\"\n";
        let mut config = Config::load(Some(text), &|_| None).unwrap();
        // Only one of the two is ever set.
        config.encryption = Encryption { keyring: Some("k".into()), keys: Some("k".into()) };
        let mut fields = Vec::new();
        paths(&Table::try_from(&config).unwrap(), "", &mut fields);
        let mut rows: Vec<&str> = SETTINGS.iter().map(|setting| setting.path).collect();
        fields.sort();
        rows.sort_unstable();
        assert_eq!(fields, rows);
    }

    #[test]
    fn lists_numbers_and_switches_are_read_from_the_environment() {
        let environment = |name: &str| {
            let value = match name {
                "GODWIT_MESH_PEERS" => "fra=10.0.0.1:7946, iad=10.0.0.2:7946,",
                "GODWIT_MESH_MTU" => "1300",
                "GODWIT_SIGV2" => "false",
                "GODWIT_REGION" => "",
                _ => return None,
            };
            Some(value.to_owned())
        };
        let config = Config::load(None, &environment).unwrap();
        assert_eq!(config.mesh.peers.len(), 2);
        assert_eq!(config.mesh.mtu, Some(1300));
        assert!(!config.s3.sigv2);
        assert_eq!(config.region, None);
        let bad = |name: &str| (name == "GODWIT_SIGV2").then(|| "perhaps".to_owned());
        let error = Config::load(None, &bad).unwrap_err().to_string();
        assert!(error.contains("GODWIT_SIGV2"), "{error}");
    }
}
