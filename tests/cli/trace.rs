//! The live log of requests.

use std::io::{BufRead as _, BufReader};
use std::time::Duration;

use serde_json::Value;

use godwit::admin::model::ADMIN_PREFIX;

use super::World;
use super::s3;

/// The lines of a trace as they come.
struct Lines(BufReader<std::net::TcpStream>);

impl Lines {
    /// Begins to listen; whatever is asked after this is heard.
    fn listen(client: &s3::Client, query: &str) -> Self {
        let stream = client.open("GET", &format!("{ADMIN_PREFIX}/trace{query}"));
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let mut reader = BufReader::new(stream);
        let mut head = String::new();
        reader.read_line(&mut head).unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        while reader.read_line(&mut head).unwrap() > 2 {}
        Self(reader)
    }

    /// The next request; `None` at the end.
    fn next(&mut self) -> Option<Value> {
        loop {
            let mut line = String::new();
            if self.0.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            // Sizes of chunks and the pulse are no objects.
            if line.starts_with('{') {
                return Some(serde_json::from_str(&line).unwrap());
            }
        }
    }
}

#[test]
fn a_trace_tells_what_was_asked_filtered_and_to_those_alone_whom_it_concerns() {
    let world = World::start();
    let client = world.client();
    assert_eq!(client.send("PUT", "/traced", &[], b"").status, 200);
    let other =
        client.send("POST", &format!("{ADMIN_PREFIX}/keys"), &[], b"{\"new_account\":true}");
    let other: Value = serde_json::from_slice(&other.body).unwrap();
    let key = |name: &str| other[name].as_str().unwrap();
    let other =
        s3::Client::new(&world.dev.announced.endpoint, key("access_key"), key("secret_key"));

    let mut all = Lines::listen(&client, "");
    let mut errors = Lines::listen(&client, "?errors=true&bucket=traced&prefix=a/");
    let mut others = Lines::listen(&other, "");
    client.send("PUT", "/traced/a/1", &[], b"hello");
    client.send("GET", "/traced/a/1", &[], b"");
    client.send("GET", "/traced/b/none", &[], b"");
    // Another account's request on this account's bucket is this account's to see.
    assert_eq!(other.send("GET", "/traced/a/1", &[], b"").status, 403);
    assert_eq!(other.send("PUT", "/theirs", &[], b"").status, 200);

    let heard: Vec<Value> = (0..4).map(|_| all.next().unwrap()).collect();
    let shown: Vec<(&str, u64, &str)> = heard
        .iter()
        .map(|line| {
            let (op, key) = (line["op"].as_str().unwrap(), line["key"].as_str().unwrap());
            (op, line["status"].as_u64().unwrap(), key)
        })
        .collect();
    assert_eq!(
        shown,
        [
            ("PutObject", 200, "a/1"),
            ("GetObject", 200, "a/1"),
            ("GetObject", 404, "b/none"),
            ("GetObject", 403, "a/1"),
        ]
    );
    assert_eq!(
        (heard[1]["bytes"].as_u64(), heard[2]["error"].as_str()),
        (Some(5), Some("NoSuchKey"))
    );
    assert_eq!(errors.next().unwrap()["status"], 403);
    let theirs: Vec<Value> = (0..2).map(|_| others.next().unwrap()).collect();
    assert_eq!((&theirs[0]["status"], &theirs[1]["op"]), (&403.into(), &"CreateBucket".into()));
    // A node that stops lets its listeners go.
    world.dev.stop();
    assert!(all.next().is_none() && errors.next().is_none());
}
