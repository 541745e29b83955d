//! What stands in the deployment files agrees with the program: settings, ports, paths, regions.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "helpers of tests")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use godwit::config::{Config, PeerAddress, SETTINGS};
use godwit::types::region::RegionId;
use toml::{Table, Value};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(file)).unwrap()
}

fn files(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files(&path, out) } else { out.push(path) }
    }
}

/// The words of a text that begin with `GODWIT_`.
fn variables(text: &str) -> Vec<&str> {
    let name = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let mut found = Vec::new();
    for (start, _) in text.match_indices("GODWIT_") {
        let rest = &text[start..];
        found.push(&rest[..rest.find(|c| !name(c)).unwrap_or(rest.len())]);
    }
    found
}

#[test]
fn every_variable_in_the_deployment_files_is_a_setting() {
    // Not of the program: the entrypoint's user, and what has its tests write files anew.
    let others = ["GODWIT_USER", "GODWIT_UPDATE"];
    let mut all = vec![Path::new(ROOT).join("fly.toml")];
    files(&Path::new(ROOT).join("deploy"), &mut all);
    let mut count = 0;
    for file in all {
        let text = fs::read_to_string(&file).unwrap();
        for name in variables(&text) {
            let known = SETTINGS.iter().any(|s| s.env == name) || others.contains(&name);
            assert!(known, "{}: {name} is no setting", file.display());
            count += 1;
        }
    }
    assert!(count > 10, "the files were found");
}

/// The page of all settings, from their list and their defaults.
fn configuration() -> String {
    let mut page = String::from(
        "# Configuration\n\n\
         A node reads defaults, then what the platform tells (Fly), then the file\n\
         (`--config FILE`, TOML), then the environment. `godwit config check` says what is wrong,\n\
         `godwit config show` what is in force. This page is made from the list in\n\
         `src/config/settings.rs`: `GODWIT_UPDATE=1 cargo test --test deploy` writes it.\n\n\
         | In the file | In the environment | Default | What |\n|---|---|---|---|\n",
    );
    let defaults = Table::try_from(Config::default()).unwrap();
    for setting in SETTINGS {
        let mut value = Some(Value::Table(defaults.clone()));
        for step in setting.path.split('.') {
            value = value.and_then(|v| v.get(step).cloned());
        }
        let default = value.map_or_else(|| "-".to_owned(), |v| format!("`{v}`"));
        let (path, env, what) = (setting.path, setting.env, setting.what);
        page += &format!("| `{path}` | `{env}` | {default} | {what} |\n");
    }
    page
}

#[test]
fn the_configuration_page_is_what_the_settings_say() {
    let page = Path::new(ROOT).join("docs/configuration.md");
    if std::env::var_os("GODWIT_UPDATE").is_some() {
        fs::write(&page, configuration()).unwrap();
    }
    assert!(fs::read_to_string(page).unwrap() == configuration(), "run with GODWIT_UPDATE=1");
}

/// The value at a path of tables and indices.
fn at<'a>(table: &'a Table, path: &str) -> &'a Value {
    let mut steps = path.split('.');
    let mut value = table.get(steps.next().unwrap()).unwrap_or_else(|| panic!("no {path}"));
    for step in steps {
        value = match step.parse::<usize>() {
            Ok(index) => &value[index],
            Err(_) => value.get(step).unwrap_or_else(|| panic!("no {path}")),
        };
    }
    value
}

#[test]
fn fly_toml_routes_to_the_ports_that_the_node_listens_on() {
    let fly: Table = read("fly.toml").parse().unwrap();
    let config = Config::default();
    let port = |value: &Value| value.as_integer().and_then(|p| u16::try_from(p).ok()).unwrap();
    assert_eq!(port(at(&fly, "services.0.internal_port")), config.s3.listen.port());
    assert_eq!(port(at(&fly, "checks.cluster.port")), config.ops.listen.port());
    assert_eq!(port(at(&fly, "metrics.port")), config.ops.listen.port());
    assert_eq!(at(&fly, "metrics.path").as_str(), Some("/metrics"));
    assert_eq!(at(&fly, "services.0.http_checks.0.path").as_str(), Some("/-/health/ready"));
    assert_eq!(at(&fly, "services.0.ports.1.http_options.compress").as_bool(), Some(false));
    let timeout = at(&fly, "kill_timeout").as_integer().unwrap();
    assert!(timeout > i64::try_from(config.s3.stop_grace.0.as_secs()).unwrap());
    assert!(timeout <= 300, "the most that Fly gives");
    let file = at(&fly, "build.dockerfile").as_str().unwrap();
    assert!(Path::new(ROOT).join(file).exists());
    let primary: RegionId = at(&fly, "primary_region").as_str().unwrap().parse().unwrap();
    assert!(Path::new(ROOT).join(format!("regions/{primary}.toml")).exists());
    // Volumes: the mount is the data directory that a node on Fly takes.
    let on_fly = |name: &str| (name == "FLY_APP_NAME").then(|| "birds".to_owned());
    let data = Config::load(None, &on_fly).unwrap().data;
    assert_eq!(at(&fly, "mounts.0.destination").as_str(), data.to_str());
}

/// All keys of a table with their tables, indices left out.
fn keys(value: &Value, prefix: &str, out: &mut Vec<String>) {
    match value {
        Value::Table(table) => {
            for (name, value) in table {
                keys(value, &format!("{prefix}.{name}"), out);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_table) => {
            items.iter().for_each(|item| keys(item, prefix, out));
        }
        _ => out.push(prefix.trim_start_matches('.').to_owned()),
    }
}

/// The keys of fly.toml that we use, as Fly's configuration reference names them. A key that is not
/// here is a slip of the pen, which `fly deploy` may ignore in silence.
const FLY_KEYS: &str = "
    app primary_region kill_signal kill_timeout build.dockerfile
    deploy.strategy deploy.max_unavailable deploy.wait_timeout deploy.release_command
    env.GODWIT_LOG env.GODWIT_LOG_FORMAT
    mounts.source mounts.destination mounts.initial_size mounts.snapshot_retention
    mounts.auto_extend_size_threshold mounts.auto_extend_size_increment
    mounts.auto_extend_size_limit
    services.internal_port services.protocol services.auto_stop_machines
    services.auto_start_machines services.concurrency.type services.concurrency.soft_limit
    services.concurrency.hard_limit services.ports.port services.ports.handlers
    services.ports.force_https services.ports.tls_options.alpn
    services.ports.tls_options.versions services.ports.http_options.compress
    services.ports.http_options.idle_timeout services.ports.http_options.response.pristine
    services.http_checks.interval services.http_checks.timeout
    services.http_checks.grace_period services.http_checks.method services.http_checks.path
    checks.cluster.type checks.cluster.port checks.cluster.path checks.cluster.interval
    checks.cluster.timeout checks.cluster.grace_period
    metrics.port metrics.path vm.size vm.memory";

#[test]
fn fly_toml_has_only_keys_of_the_reference() {
    let fly: Table = read("fly.toml").parse().unwrap();
    let mut found = Vec::new();
    keys(&Value::Table(fly), "", &mut found);
    for key in &found {
        assert!(FLY_KEYS.split_whitespace().any(|known| known == key), "fly.toml: {key}");
    }
    assert!(found.len() > 30, "the file was walked");
}

#[test]
fn compose_peers_are_the_services() {
    let compose = read("deploy/compose/compose.yaml");
    let line = compose.lines().find(|line| line.contains("GODWIT_MESH_PEERS")).unwrap();
    let pattern = line.split('"').nth(1).unwrap();
    let peers: PeerAddress = pattern.parse().unwrap();
    for code in ["iad", "fra", "nrt"] {
        let region: RegionId = code.parse().unwrap();
        let address = PeerAddress::find(std::slice::from_ref(&peers), region).unwrap();
        assert_eq!(address, format!("{code}:{}", Config::default().mesh.listen.port()));
        assert!(compose.contains(&format!("\n  {code}:\n    <<: *node")), "service {code}");
        assert!(compose.contains(&format!("GODWIT_REGION: {code}")), "region {code}");
    }
}

#[test]
fn the_image_has_what_the_build_reads_and_the_program_is_told_where() {
    let docker = read("deploy/docker/Dockerfile");
    for needed in ["COPY regions regions", "COPY src src", "rust-toolchain.toml", "Cargo.lock"] {
        assert!(docker.contains(needed), "{needed}");
    }
    let config = Config::default();
    let ports = format!(
        "EXPOSE {} {} {}/udp",
        config.s3.listen.port(),
        config.ops.listen.port(),
        config.mesh.listen.port()
    );
    assert!(docker.contains(&ports), "{ports}");
}

#[test]
fn the_entrypoint_gives_its_arguments_to_the_program() {
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_godwit"));
    let path =
        format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let user = Command::new("id").arg("-un").output().unwrap().stdout;
    let output = Command::new("sh")
        .arg(Path::new(ROOT).join("deploy/docker/entrypoint.sh"))
        .args(["config", "check", "--all-regions"])
        .env("PATH", path)
        .env("GODWIT_USER", String::from_utf8(user).unwrap().trim())
        .env("GODWIT_DATA", folder.path().join("data"))
        .env("GODWIT_REGIONS", Path::new(ROOT).join("regions"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).starts_with("ok: 18 regions"));
}
