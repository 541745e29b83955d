//! The slow-request log: which requests leave a line, and what it says.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use super::{World, eventually};

/// The number of a field in a line of the log.
fn number(line: &str, field: &str) -> u64 {
    let rest =
        line.split_once(&format!(" {field}=")).unwrap_or_else(|| panic!("{field}: {line}")).1;
    rest.split(' ').next().unwrap().trim().parse().unwrap()
}

#[test]
fn a_slow_request_leaves_a_line_that_says_where_the_time_went() {
    let world = World::start();
    let client = world.client();
    assert_eq!(client.send("PUT", "/slow", &[], b"").status, 200);
    let url = world.ok(&["presign", "--method", "put", "s3://slow/body"]);
    let endpoint = &world.dev.announced.endpoint;
    let host = endpoint.trim_start_matches("http://");
    let path = url.trim().strip_prefix(endpoint).unwrap();
    let mut stream = TcpStream::connect(host).unwrap();
    let head = format!("PUT {path} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 4\r\n");
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(b"Connection: close\r\n\r\nbo").unwrap();
    // No answer comes before the body is whole.
    stream.set_read_timeout(Some(Duration::from_millis(1300))).unwrap();
    assert!(stream.read(&mut [0; 1]).is_err());
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    stream.write_all(b"dy").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let timing = answer.lines().find(|line| line.starts_with("server-timing")).unwrap();
    assert!(timing.contains("receive;dur=1"), "{timing}");
    let line = eventually("the line is there", || {
        let log = fs::read_to_string(world.folder.path().join("godwit.log")).ok()?;
        log.lines().find(|line| line.contains("slow request")).map(str::to_owned)
    });
    assert!(line.contains("PutObject") && line.contains("/slow/body"), "{line}");
    assert!(number(&line, "ms") >= 1250, "{line}");
    assert!(number(&line, "receive_ms") >= 1000, "{line}");
    assert!(number(&line, "regions_ms") < 1000, "{line}");
    assert!(!line.contains("X-Amz-Signature"), "{line}");
    world.end();
}
