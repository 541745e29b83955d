//! Five regions: a namespace, a process and a data directory each, and the wide area between them.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use godwit::config::RegionFile;
use godwit::types::region::Coordinates;
use serde_json::Value;

use super::client::{Answer, Call, Client};
use super::relay::{self, Relay};
use super::space::{Network, run};

pub const REGIONS: [&str; 5] = ["iad", "fra", "nrt", "gru", "syd"];
const FILES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/regions");

/// A request that is not answered by then is open; a node gives up after 10 s.
const ANSWER_MAX: Duration = Duration::from_secs(20);

pub struct Site {
    pub relay: Relay,
    /// The owner's, in each region.
    pub clients: Vec<Client>,
    regions: &'static [&'static str],
    folder: PathBuf,
    networks: Vec<Network>,
    nodes: Vec<Option<Child>>,
}

/// The answer in time; `None`: nobody knows what became of it.
pub async fn ask(call: Call) -> Option<Answer> {
    tokio::time::timeout(ANSWER_MAX, call.try_send()).await.ok().flatten()
}

/// Asks until it is so.
pub async fn eventually<T>(what: &str, seconds: u64, mut ask: impl AsyncFnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(seconds);
    loop {
        if let Some(found) = ask().await {
            return found;
        }
        assert!(Instant::now() < deadline, "never within {seconds} s: {what}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn signal(node: &Child, signal: &str) {
    run("kill", &[signal, &node.id().to_string()]);
}

impl Site {
    /// A cluster of all regions, each a voter, that takes writes everywhere.
    pub async fn start(folder: &Path, regions: &'static [&'static str], seed: u64) -> Self {
        let networks: Vec<Network> = regions.iter().map(|_| Network::new()).collect();
        for (a, network) in networks.iter().enumerate() {
            let others = (0..regions.len()).filter(|b| *b != a);
            let mut here: Vec<String> =
                others.map(|b| format!("{}/24", relay::address(a, b).ip())).collect();
            here.push(format!("10.77.{a}.254/24"));
            network.connect(&format!("wan{a}"), &here, &format!("{}/24", relay::node(a)));
        }
        let place = |code: &&str| {
            let file = format!("{code}.toml");
            let text = fs::read_to_string(Path::new(FILES).join(&file)).unwrap();
            RegionFile::parse(&file, &text).unwrap().location
        };
        let places: Vec<Coordinates> = regions.iter().map(place).collect();
        let relay = Relay::start(&places, seed).await;
        let nodes = regions.iter().map(|_| None).collect();
        let folder = folder.to_owned();
        let mut site = Self { relay, clients: Vec::new(), regions, folder, networks, nodes };
        site.found();
        site.ready().await;
        site
    }

    /// `cluster init`, tokens, processes.
    fn found(&mut self) {
        let regions = self.regions.join(",");
        let made = self.json(&["cluster", "init", "--regions", &regions, "--json"]);
        let key = |name: &str| made[name].as_str().unwrap().to_owned();
        for region in 0..self.regions.len() {
            let address = SocketAddr::from((relay::node(region), 8080));
            let (access_key, secret_key) = (key("access_key"), key("secret_key"));
            self.clients.push(Client { address, access_key, secret_key });
        }
        self.spawn(0, None);
        for (region, code) in self.regions.iter().enumerate().skip(1) {
            let token = self.json(&["cluster", "token", code, "--json"]);
            self.spawn(region, Some(token["token"].as_str().unwrap()));
        }
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let output = self.godwit(0).args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// `godwit` in a region's network, with its settings.
    fn godwit(&self, region: usize) -> Command {
        let others = (0..self.regions.len()).filter(|other| *other != region);
        let peers: Vec<String> =
            others.map(|b| format!("{}={}", self.regions[b], relay::address(region, b))).collect();
        let node = relay::node(region);
        // Another binary than the one built here: a release, or one that stays while others build.
        let other = std::env::var("GODWIT_BIN");
        let program = other.as_deref().unwrap_or(env!("CARGO_BIN_EXE_godwit"));
        let mut command = self.networks[region].command(program);
        command
            .env("GODWIT_REGION", self.regions[region])
            .env("GODWIT_REGIONS", FILES)
            .env("GODWIT_DATA", self.folder.join(self.regions[region]))
            .env("GODWIT_S3_LISTEN", format!("{node}:8080"))
            .env("GODWIT_OPS_LISTEN", format!("{node}:9091"))
            .env("GODWIT_MESH_LISTEN", format!("{node}:{}", relay::PORT))
            .env("GODWIT_MESH_PEERS", peers.join(","))
            // Reclaims within the test.
            .env("GODWIT_BLOB_GRACE", "20s");
        command
    }

    fn log(&self, region: usize) -> PathBuf {
        self.folder.join(format!("{}.log", self.regions[region]))
    }

    fn spawn(&mut self, region: usize, token: Option<&str>) {
        let log = fs::File::options().create(true).append(true).open(self.log(region)).unwrap();
        let mut command = self.godwit(region);
        command.arg("serve").stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        if let Some(token) = token {
            command.env("GODWIT_TOKEN", token);
        }
        self.nodes[region] = Some(command.spawn().unwrap());
    }

    /// kill -9
    pub fn kill(&mut self, region: usize) {
        let mut node = self.nodes[region].take().unwrap();
        node.kill().unwrap();
        node.wait().unwrap();
    }

    /// kill -9, and the disk is gone as well.
    pub fn lose(&mut self, region: usize) {
        self.kill(region);
        fs::remove_dir_all(self.folder.join(self.regions[region])).unwrap();
    }

    /// A lost region begins anew, with an empty disk and a new token.
    pub fn rejoin(&mut self, region: usize) {
        let token = self.json(&["cluster", "token", self.regions[region], "--json"]);
        self.spawn(region, Some(token["token"].as_str().unwrap()));
    }

    /// The regions, with the owner's client in each.
    pub fn places(&self) -> Vec<(&'static str, Client)> {
        self.regions.iter().copied().zip(self.clients.iter().cloned()).collect()
    }

    pub fn restart(&mut self, region: usize) {
        self.spawn(region, None);
    }

    pub fn pause(&self, region: usize) {
        signal(self.nodes[region].as_ref().unwrap(), "-STOP");
    }

    pub fn go_on(&self, region: usize) {
        signal(self.nodes[region].as_ref().unwrap(), "-CONT");
    }

    /// Waits until every node says that it is ready.
    pub async fn ready(&mut self) {
        for (region, code) in self.regions.iter().enumerate() {
            eventually(&format!("{code} is ready"), 120, async || {
                if let Some(status) = self.nodes[region].as_mut().unwrap().try_wait().unwrap() {
                    panic!("{code} ended by itself: {status}");
                }
                let health = self.clients[region].call("GET", "/-/health/ready").anonymous();
                (ask(health).await?.status == 200).then_some(())
            })
            .await;
        }
    }

    /// Clients of one new account in each region, known everywhere.
    pub async fn accounts(&self) -> Vec<Client> {
        let mut clients = Vec::new();
        for client in &self.clients {
            let made = client.post("/-/admin/v1/keys", r#"{"new_account": true}"#).await;
            let made: Value = serde_json::from_slice(&made.expect(200).body).unwrap();
            let key = |name: &str| made[name].as_str().unwrap().to_owned();
            let (access_key, secret_key) = (key("access_key"), key("secret_key"));
            for other in &self.clients {
                let (access_key, secret_key) = (access_key.clone(), secret_key.clone());
                let client = Client { address: other.address, access_key, secret_key };
                eventually("an access key is known", 60, async || {
                    (ask(client.call("GET", "/")).await?.status == 200).then_some(())
                })
                .await;
            }
            clients.push(Client { address: client.address, access_key, secret_key });
        }
        clients
    }

    /// A clean stop of all; each must end well.
    pub fn stop(mut self) {
        for node in self.nodes.iter().flatten() {
            signal(node, "-TERM");
        }
        for (code, node) in self.regions.iter().zip(&mut self.nodes) {
            let Some(mut node) = node.take() else { continue };
            let status = node.wait().unwrap();
            assert!(status.success(), "{code} ended with {status}");
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        for node in self.nodes.iter_mut().flatten() {
            // It may have ended by itself.
            let _ = node.kill();
            let _ = node.wait();
        }
    }
}
