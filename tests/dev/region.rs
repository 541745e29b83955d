//! Regions that join and leave a cluster of processes, by the command line, while a client writes.

use std::path::Path;
use std::process::Output;

use serde_json::Value;

use super::s3::{self, Client};
use super::serve::{Running, Site, text};
use super::{eventually, json};

/// A cluster of two regions that gets a third one.
struct Cluster {
    site: Site,
    made: Value,
}

impl Cluster {
    /// iad and fra run, and there is a bucket.
    fn of_two(folder: &Path) -> (Self, Running, Running) {
        let site = Site::new(folder);
        let init = ["cluster", "init", "--regions", "iad,fra", "--json"];
        let made = json(&site.godwit(0, &init).output().unwrap());
        let cluster = Self { site, made };
        let site = &cluster.site;
        let first = site.serve(0, "", "");
        let token = json(&site.godwit(0, &["cluster", "token", "fra", "--json"]).output().unwrap());
        let second = site.serve(1, "GODWIT_TOKEN", text(&token, "token"));
        eventually("a bucket is made", || {
            ready(&site.s3(0))?;
            (cluster.client(0).send("PUT", "/birds", &[], b"").status == 200).then_some(())
        });
        (cluster, first, second)
    }

    fn client(&self, index: usize) -> Client {
        Client::new(&self.site.s3(index), text(&self.made, "access_key"), self.secret())
    }

    fn secret(&self) -> &str {
        text(&self.made, "secret_key")
    }

    /// `godwit region ...`, asked of the first node.
    fn region(&self, arguments: &[&str]) -> Output {
        let arguments = [&["region"], arguments, &["--json"]].concat();
        let mut command = self.site.godwit(0, &arguments);
        command
            .env("AWS_ENDPOINT_URL_S3", self.site.s3(0))
            .env("AWS_ACCESS_KEY_ID", text(&self.made, "access_key"))
            .env("AWS_SECRET_ACCESS_KEY", self.secret());
        command.output().unwrap()
    }

    /// Waits until the members are these, all active, and the voters are they.
    fn until_voters(&self, wanted: &[&str]) {
        eventually(&format!("{wanted:?} vote"), || {
            let shown = self.region(&["ls"]);
            let shown: Value = serde_json::from_slice(&shown.stdout).ok()?;
            let regions = shown["regions"].as_array()?;
            let votes = |region: &&Value| region["voter"] == true && region["state"] == "active";
            let voters: Vec<&str> =
                regions.iter().filter(votes).filter_map(|r| r["code"].as_str()).collect();
            (voters == wanted && shown["voters_change"] == false).then_some(())
        });
    }

    fn put(&self, index: usize, key: &str, body: &[u8]) {
        let put = || self.client(index).send("PUT", &format!("/birds/{key}"), &[], body).status;
        eventually("a write is answered", || (put() == 200).then_some(()));
    }
}

fn ready(address: &str) -> Option<u16> {
    std::net::TcpStream::connect(address.trim_start_matches("http://")).ok()?;
    Some(s3::get(address, "/-/health/ready").status)
}

#[test]
fn a_region_joins_votes_is_drained_and_removed_by_the_command_line() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, first, second) = Cluster::of_two(folder.path());
    let site = &cluster.site;
    cluster.put(1, "small", b"hello");
    cluster.put(1, "large", &vec![7; 100_000]);

    let early = cluster.region(&["remove", "-y", "fra"]);
    assert!(!early.status.success(), "it is not drained");
    let token = json(&cluster.region(&["add", "nrt"]));
    let third = site.serve(2, "GODWIT_TOKEN", text(&token, "token"));
    cluster.until_voters(&["fra", "iad", "nrt"]);
    cluster.put(2, "third", &vec![8; 100_000]);

    let drained = cluster.region(&["drain", "-y", "fra"]);
    assert_eq!(json(&drained)["copies"], 0);
    let unnamed = cluster.region(&["remove", "--lost", "fra"]);
    assert_eq!(unnamed.status.code(), Some(2), "what is lost is named by whoever says so");
    let removed = json(&cluster.region(&["remove", "-y", "fra"]));
    assert_eq!(removed["gone"][0]["code"], "fra");
    cluster.until_voters(&["iad", "nrt"]);
    let turned_away = || (ready(&site.s3(1))? == 503).then_some(());
    eventually("the removed node takes no requests", turned_away);
    for index in [0, 2] {
        for key in ["small", "large", "third"] {
            let got = cluster.client(index).send("GET", &format!("/birds/{key}"), &[], b"");
            assert_eq!(got.status, 200, "{key} at {index}");
        }
    }

    // With its old directory it is turned away again.
    second.stop();
    let second = site.serve(1, "", "");
    eventually("it is turned away again", turned_away);
    let late = cluster.client(1).send("PUT", "/birds/late", &[], b"x");
    assert_eq!(late.status, 503);
    assert!(String::from_utf8_lossy(&late.body).contains("godwit region add"));
    [first, second, third].into_iter().for_each(Running::stop);
}

#[test]
fn one_of_two_regions_goes_on_alone_when_its_operator_says_that_the_other_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (cluster, first, second) = Cluster::of_two(folder.path());
    let site = &cluster.site;
    cluster.put(1, "before", b"hello");
    let lost = ["recover", "--lost", "fra", "--confirm", "fra"];
    let there = cluster.region(&lost);
    assert_eq!(there.status.code(), Some(5), "{there:?}");
    assert!(String::from_utf8_lossy(&there.stderr).contains("can be reached"), "{there:?}");

    second.stop();
    let create = |key: &str| {
        let only_new = [("if-none-match", "*")];
        cluster.client(0).send("PUT", &format!("/birds/{key}"), &only_new, b"x").status
    };
    assert_eq!(create("stuck"), 503, "one of two decides nothing");
    let unnamed = cluster.region(&lost[..3]);
    assert_eq!(unnamed.status.code(), Some(2), "what is lost is named by whoever says so");
    let recovered = eventually("it goes on", || {
        let told = cluster.region(&lost);
        told.status.success().then(|| json(&told))
    });
    assert_eq!(recovered["gone"][0]["code"], "fra");
    cluster.until_voters(&["iad"]);
    eventually("it decides alone", || (create("alone") == 200).then_some(()));
    assert_eq!(create("alone"), 412);
    assert_eq!(cluster.client(0).send("GET", "/birds/before", &[], b"").status, 200);

    // By the admin API, what would be wrong is a conflict, and nobody else is asked.
    let recover = |client: &Client, lost: &str| {
        let asked = format!(r#"{{"lost": [{lost}]}}"#);
        client.send("POST", "/-/admin/v1/regions/recover", &[], asked.as_bytes()).status
    };
    assert_eq!(recover(&cluster.client(0), ""), 409, "nobody is named");
    assert_eq!(recover(&cluster.client(0), r#""iad""#), 409, "it is the one that is asked");
    assert_eq!(recover(&cluster.client(0), r#""fra""#), 409, "it is gone already");
    let stranger = Client::new(&site.s3(0), text(&cluster.made, "access_key"), "another secret");
    assert_eq!(recover(&stranger, r#""fra""#), 403);
    first.stop();
}
