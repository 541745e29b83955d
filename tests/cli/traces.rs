//! Traces: a collector on the loopback hears of one request from two regions.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::s3::Client;
use super::{World, eventually};

/// A span as it came, with the region that sent it.
#[derive(Clone, Debug)]
struct Told {
    region: String,
    span: Value,
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<Told>>>);

impl Collector {
    /// Listens; the address for the settings.
    fn start(&self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let kept = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let kept = kept.clone();
                std::thread::spawn(move || kept.serve(stream.unwrap()));
            }
        });
        format!("http://{address}/v1/traces")
    }

    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let (mut stream, mut head) = (stream, Vec::new());
        loop {
            head.clear();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).unwrap_or(0) == 0 {
                    return;
                }
                let line = line.trim().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                head.push(line);
            }
            assert!(head[0].starts_with("post /v1/traces "), "{head:?}");
            assert!(head.contains(&"content-type: application/json".to_owned()), "{head:?}");
            assert!(head.contains(&"authorization: bearer collect".to_owned()), "{head:?}");
            let len = head.iter().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
            let mut body = vec![0; len.parse().unwrap()];
            reader.read_exact(&mut body).unwrap();
            self.take(&serde_json::from_slice(&body).unwrap());
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }

    fn take(&self, document: &Value) {
        for resource in document["resourceSpans"].as_array().unwrap() {
            let facts = resource["resource"]["attributes"].as_array().unwrap();
            let region = facts.iter().find(|fact| fact["key"] == "cloud.region").unwrap();
            let region = region["value"]["stringValue"].as_str().unwrap().to_owned();
            for span in resource["scopeSpans"][0]["spans"].as_array().unwrap() {
                let told = Told { region: region.clone(), span: span.clone() };
                self.0.lock().unwrap().push(told);
            }
        }
    }

    /// What was told of a trace.
    fn of(&self, trace: &str) -> Vec<Told> {
        let all = self.0.lock().unwrap();
        all.iter().filter(|told| told.span["traceId"] == trace).cloned().collect()
    }
}

#[test]
fn one_trace_goes_from_the_request_to_the_read_in_the_other_region() {
    let collector = Collector::default();
    let url = collector.start();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("godwit.toml");
    // Only what asks for it is traced: the test's own request.
    let text = format!("[trace]\notlp = \"{url}\"\ntoken = \"collect\"\none_in = 0\n");
    fs::write(&config, text).unwrap();
    let world = World::with(&["--regions", "fra,nrt,iad", "--config", config.to_str().unwrap()]);
    let (key, secret) = (&world.dev.announced.access_key, &world.dev.announced.secret_key);
    let at = |index: usize| Client::new(&world.dev.announced.regions[index].s3, key, secret);
    assert_eq!(at(0).send("PUT", "/far", &[], b"").status, 200);
    assert_eq!(at(0).send("PUT", "/far/object", &[], &[7; 300_000]).status, 200);
    // Whichever region does not hold it has to fetch it; each has a trace of its own.
    let trace = |index: usize| format!("4bf92f3577b34da6a3ce929d0e0e473{index}");
    let fetched = eventually("a region has to ask another for the bytes", || {
        (0..3).find(|index| {
            let parent = format!("00-{}-00f067aa0ba902b7-01", trace(*index));
            let headers = [("traceparent", parent.as_str())];
            let read = at(*index).send("GET", "/far/object", &headers, b"");
            let codes = world.dev.announced.regions.iter().map(|region| region.code.as_str());
            let source = read.header("x-godwit-source").unwrap_or_default().to_owned();
            read.status == 200 && codes.clone().any(|code| code == source)
        })
    });
    let trace = trace(fetched);
    let reader = &world.dev.announced.regions[fetched].code;
    let spans = eventually("both regions told their spans", || {
        let spans = collector.of(&trace);
        let far = spans.iter().any(|told| told.region != *reader && told.span["name"] == "Chunk");
        let root = spans.iter().any(|told| told.span["parentSpanId"] == "00f067aa0ba902b7");
        (far && root).then_some(spans)
    });
    let far = spans.iter().find(|told| told.region != *reader && told.span["name"] == "Chunk");
    let far = &far.unwrap().span;
    assert_eq!(far["kind"], 2, "a server's");
    let parent = |span: &Value| {
        let told = spans.iter().find(|told| told.span["spanId"] == span["parentSpanId"]);
        told.unwrap_or_else(|| panic!("{span} is below nothing: {spans:?}")).clone()
    };
    let asked = parent(far);
    assert_eq!((asked.region.as_str(), &asked.span["kind"]), (reader.as_str(), &3.into()));
    let root = parent(&asked.span);
    assert_eq!((root.region.as_str(), &root.span["name"]), (reader.as_str(), &"GetObject".into()));
    assert_eq!(root.span["parentSpanId"], "00f067aa0ba902b7", "below the caller's own");
    let ns = |span: &Value, at: &str| span[at].as_str().unwrap().parse::<u64>().unwrap();
    let long = ns(&asked.span, "endTimeUnixNano") - ns(&asked.span, "startTimeUnixNano");
    assert!(long > 10_000_000, "the way there and back is in it: {long} ns");
    let log = fs::read_to_string(world.folder.path().join("godwit.log")).unwrap();
    assert!(log.contains(&trace), "the request's log line has the trace");
    let told = serde_json::to_string(&spans.iter().map(|t| &t.span).collect::<Vec<_>>()).unwrap();
    assert!(!told.contains(secret) && !told.contains("Signature"), "{told}");
    world.end();
}

#[test]
fn without_a_collector_a_callers_trace_is_only_named_in_the_log() {
    let world = World::start();
    let parent = [("traceparent", "00-5bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")];
    assert_eq!(world.client().send("PUT", "/named", &parent, b"").status, 200);
    eventually("the line is there", || {
        let log = fs::read_to_string(world.folder.path().join("godwit.log")).ok()?;
        log.contains("5bf92f3577b34da6a3ce929d0e0e4736").then_some(())
    });
    world.end();
}
