//! Real nodes as separate processes, made a cluster by `cluster init` and join tokens.

use std::fs;
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use super::dev::free_ports;
use super::s3::{self, Client};
use super::{eventually, json};

pub const REGIONS: [&str; 3] = ["iad", "fra", "nrt"];

/// Three data directories, and ports for three nodes.
pub struct Site {
    folder: PathBuf,
    /// S3 at `ports + i`, operations at `ports + 10 + i`.
    ports: u16,
    mesh: [u16; 3],
}

impl Site {
    pub fn new(folder: &Path) -> Self {
        let sockets = [(); 3].map(|()| UdpSocket::bind("127.0.0.1:0").unwrap());
        let mesh = sockets.map(|socket| socket.local_addr().unwrap().port());
        Self { folder: folder.to_owned(), ports: free_ports(), mesh }
    }

    fn data(&self, index: usize) -> PathBuf {
        self.folder.join(REGIONS[index])
    }

    pub fn s3(&self, index: usize) -> String {
        format!("http://127.0.0.1:{}", self.ports + u16::try_from(index).unwrap())
    }

    /// `godwit` with the settings of one node in its environment.
    pub fn godwit(&self, index: usize, arguments: &[&str]) -> Command {
        let offset = u16::try_from(index).unwrap();
        let peers: Vec<String> = (0..3)
            .map(|other| format!("{}=localhost:{}", REGIONS[other], self.mesh[other]))
            .collect();
        let mut command = Command::new(env!("CARGO_BIN_EXE_godwit"));
        command
            .args(arguments)
            .env("GODWIT_REGION", REGIONS[index])
            .env("GODWIT_REGIONS", concat!(env!("CARGO_MANIFEST_DIR"), "/regions"))
            .env("GODWIT_DATA", self.data(index))
            .env("GODWIT_S3_LISTEN", format!("127.0.0.1:{}", self.ports + offset))
            .env("GODWIT_OPS_LISTEN", format!("127.0.0.1:{}", self.ports + 10 + offset))
            .env("GODWIT_MESH_LISTEN", format!("127.0.0.1:{}", self.mesh[index]))
            .env("GODWIT_MESH_PEERS", peers.join(","));
        command
    }

    pub fn serve(&self, index: usize, name: &str, value: &str) -> Running {
        let named = [(name, value)];
        self.serve_with(index, if name.is_empty() { &[] } else { &named })
    }

    /// With these variables.
    pub fn serve_with(&self, index: usize, variables: &[(&str, &str)]) -> Running {
        let log = fs::File::create(self.folder.join(format!("{}.log", REGIONS[index]))).unwrap();
        let mut command = self.godwit(index, &["serve"]);
        command.envs(variables.iter().copied());
        Running(command.stdout(Stdio::null()).stderr(log).spawn().unwrap())
    }
}

/// A node's process; killed when a test fails.
pub struct Running(Child);

impl Running {
    pub fn stop(mut self) {
        let id = self.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &id]).status().unwrap().success());
        let status = self.0.wait().unwrap();
        assert!(status.success(), "a node ended with {status}");
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn text<'a>(made: &'a Value, field: &str) -> &'a str {
    made[field].as_str().unwrap()
}

#[test]
fn three_processes_become_a_cluster_by_init_and_tokens() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(folder.path());
    let init = ["cluster", "init", "--regions", "iad,fra,nrt", "--json"];
    let made = json(&site.godwit(0, &init).output().unwrap());
    assert_eq!(made["voters"].as_array().unwrap().len(), 3);
    assert!(made["secret"].is_null());
    let again = site.godwit(0, &init).output().unwrap();
    assert_eq!(again.status.code(), Some(5), "a cluster is not made twice");

    let mut nodes = vec![site.serve(0, "", "")];
    for (index, region) in REGIONS.iter().enumerate().skip(1) {
        let token =
            json(&site.godwit(0, &["cluster", "token", region, "--json"]).output().unwrap());
        nodes.push(site.serve(index, "GODWIT_TOKEN", text(&token, "token")));
    }
    let client =
        |index| Client::new(&site.s3(index), text(&made, "access_key"), text(&made, "secret_key"));
    eventually("a bucket is made", || {
        let ready = std::net::TcpStream::connect(site.s3(0).trim_start_matches("http://"));
        ready.ok()?;
        (client(0).send("PUT", "/together", &[], b"").status == 200).then_some(())
    });
    assert_eq!(client(0).send("PUT", "/together/key", &[], b"hello").status, 200);
    for (index, region) in REGIONS.iter().enumerate() {
        let got = eventually("the object is everywhere", || {
            let got = client(index).send("GET", "/together/key", &[], b"");
            (got.status == 200).then_some(got)
        });
        assert_eq!(got.body, b"hello");
        assert_eq!(got.header("x-godwit-served-from"), Some(*region));
    }

    // A node that comes back needs no token, and takes no other region's directory.
    nodes.remove(2).stop();
    let back = site.serve(2, "", "");
    eventually("the node is back", || {
        let address = site.s3(2);
        std::net::TcpStream::connect(address.trim_start_matches("http://")).ok()?;
        (s3::get(&address, "/-/health/ready").status == 200).then_some(())
    });
    let got = client(2).send("GET", "/together/key", &[], b"");
    assert_eq!((got.status, got.body.as_slice()), (200, &b"hello"[..]));
    back.stop();
    let mut other = site.godwit(2, &["serve", "--region", "fra"]);
    let other = other.output().unwrap();
    assert!(String::from_utf8_lossy(&other.stderr).contains("belongs to region nrt"));
    nodes.into_iter().for_each(Running::stop);
}

#[test]
fn a_node_makes_its_identity_from_the_cluster_s_secret() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(folder.path());
    let alone = site.godwit(0, &["serve"]).output().unwrap();
    assert_eq!(alone.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&alone.stderr).contains("godwit cluster init"));
    let print = ["cluster", "init", "--regions", "iad", "--print", "--json"];
    let made = json(&site.godwit(0, &print).output().unwrap());
    assert!(!site.data(0).join("cluster.json").exists(), "--print writes nothing");
    let node = site.serve(0, "GODWIT_CLUSTER", text(&made, "secret"));
    let client = Client::new(&site.s3(0), text(&made, "access_key"), text(&made, "secret_key"));
    eventually("a bucket is made", || {
        std::net::TcpStream::connect(site.s3(0).trim_start_matches("http://")).ok()?;
        (client.send("PUT", "/alone", &[], b"").status == 200).then_some(())
    });
    assert_eq!(client.send("PUT", "/alone/key", &[], b"hello").status, 200);
    assert_eq!(client.send("GET", "/alone/key", &[], b"").body, b"hello");
    node.stop();
    let broken = site.godwit(1, &["serve"]).env("GODWIT_CLUSTER", "x").output().unwrap();
    assert!(String::from_utf8_lossy(&broken.stderr).contains("not whole"));
}

#[test]
fn tokens_that_ran_out_are_for_others_or_were_used_are_refused_and_say_what_to_type() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(folder.path());
    json(
        &site
            .godwit(0, &["cluster", "init", "--regions", "iad,fra,nrt", "--json"])
            .output()
            .unwrap(),
    );
    let token = |region: &str, more: &[&str]| {
        let words = [&["cluster", "token", region, "--json"], more].concat();
        let made = json(&site.godwit(0, &words).output().unwrap());
        assert!(made["expires_ms"].as_u64().unwrap() > 0);
        text(&made, "token").to_owned()
    };
    let refused = |index: usize, token: &str| {
        let output = site.godwit(index, &["serve"]).env("GODWIT_TOKEN", token).output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let told = refused(1, &token("nrt", &[]));
    assert!(told.contains("the token is for region nrt"), "{told}");
    let whole = token("fra", &[]);
    let told = refused(1, &whole[..whole.len() - 9]);
    assert!(told.contains("not whole"), "{told}");
    let long = site.godwit(0, &["cluster", "token", "fra", "--expires", "1000h"]).output().unwrap();
    assert_eq!(long.status.code(), Some(2));
    // Nobody with the authority runs: the node waits until its token is over, and says for whom.
    let told = refused(1, &token("fra", &["--expires", "1s"]));
    assert!(told.contains("the token has run out") && told.contains("godwit cluster token fra"));

    // A token is for one node: a second one with an empty directory is turned away.
    let iad = site.serve(0, "", "");
    let fra = site.serve(1, "GODWIT_TOKEN", &whole);
    let identity = folder.path().join("fra").join("identity.json");
    eventually("fra has joined", || identity.exists().then_some(()));
    let kept = fs::read_to_string(&identity).unwrap();
    assert!(!kept.contains("secret"), "no access key goes to the node that joins");
    let mut second = site.godwit(2, &["serve", "--region", "fra"]);
    let second = second.env("GODWIT_TOKEN", &whole).output().unwrap();
    let told = String::from_utf8_lossy(&second.stderr).into_owned();
    assert!(told.contains("used already") && told.contains("godwit cluster token fra"), "{told}");
    fra.stop();
    iad.stop();
}
