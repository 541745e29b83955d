//! Metrics, dashboard and alerts: what a node exposes, what its list says, what is drawn of it.

use std::collections::{BTreeMap, BTreeSet};

use godwit::obs::{Kind, METRICS, page};

use super::{World, assert_kept, s3};

#[test]
fn the_page_of_metrics_is_what_the_list_says() {
    assert_kept("docs/metrics.md", &page::page());
}

/// A series of an exposition: its name and the names of its labels.
fn series(line: &str) -> (String, BTreeSet<String>) {
    let name = line.split(['{', ' ']).next().unwrap();
    let labels = line.split_once('{').map_or("", |(_, rest)| rest.rsplit_once('}').unwrap().0);
    let labels = labels.split("\",").filter(|pair| !pair.is_empty());
    let labels = labels.map(|pair| pair.split('=').next().unwrap().to_owned());
    (name.to_owned(), labels.collect())
}

#[test]
fn a_running_node_exposes_exactly_the_list_with_its_kinds_and_labels() {
    let world = World::with(&["--regions", "2"]);
    let client = world.client();
    assert_eq!(client.send("PUT", "/secretname", &[], b"").status, 200);
    assert_eq!(client.send("PUT", "/secretname/secretkey", &[], &[7; 9000]).status, 200);
    assert_eq!(client.send("GET", "/secretname/secretkey", &[], b"").status, 200);
    assert_eq!(client.send("GET", "/secretname/absent", &[], b"").status, 404);
    world.ok(&["status"]);
    let mut read = BTreeSet::new();
    for region in &world.dev.announced.regions {
        let text = s3::get(&region.admin, "/metrics").text();
        let heads = text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        let told: BTreeMap<&str, &str> = heads.map(|head| head.split_once(' ').unwrap()).collect();
        let listed: BTreeMap<&str, &str> =
            METRICS.iter().map(|metric| (metric.base(), metric.kind.as_str())).collect();
        assert_eq!(told, listed, "what is exposed, and the list");
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let (name, mut labels) = series(line);
            labels.remove("le");
            let of = |metric: &&godwit::obs::Metric| match metric.kind {
                Kind::Counter | Kind::Gauge => metric.name == name,
                Kind::Histogram => ["_bucket", "_sum", "_count"]
                    .iter()
                    .any(|end| name.strip_suffix(end) == Some(metric.name)),
            };
            let metric = METRICS.iter().find(of).unwrap_or_else(|| panic!("{line}"));
            let listed: BTreeSet<String> = metric.labels.iter().map(|&l| l.to_owned()).collect();
            assert_eq!(labels, listed, "{line}");
            read.insert(metric.name);
        }
        let own = [&world.dev.announced.access_key, &world.dev.announced.secret_key];
        for named in ["secretname", "secretkey"].into_iter().chain(own.map(String::as_str)) {
            assert!(!text.contains(named), "names are nobody's business here: {named}");
        }
    }
    for moved in [
        "godwit_s3_requests_total",
        "godwit_s3_errors_total",
        "godwit_s3_first_byte_seconds",
        "godwit_s3_received_bytes_total",
        "godwit_read_chunks_total",
        "godwit_admin_requests_total",
        "godwit_mesh_rtt_seconds",
        "godwit_disk_free_bytes",
    ] {
        assert!(read.contains(moved), "{moved} has a series");
    }
    world.end();
}
