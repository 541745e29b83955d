//! TLS of the S3 port of a real process, and who the client is behind a proxy.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;

use rcgen::{CertifiedKey, generate_simple_self_signed};

use super::serve::{Site, text};
use super::{eventually, json};

fn make(folder: &Path) -> [String; 2] {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
    let [at, key_at] = ["cert.pem", "key.pem"].map(|name| folder.join(name));
    fs::write(&at, cert.pem()).unwrap();
    fs::write(&key_at, signing_key.serialize_pem()).unwrap();
    [at, key_at].map(|path| path.to_str().unwrap().to_owned())
}

#[test]
fn the_s3_port_speaks_tls_and_takes_new_files_without_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(folder.path());
    let init = ["cluster", "init", "--regions", "iad", "--json"];
    let made = json(&site.godwit(0, &init).output().unwrap());
    let [cert, key] = make(folder.path());
    let variables = [("GODWIT_TLS_CERT", cert.as_str()), ("GODWIT_TLS_KEY", key.as_str())];
    let wrong = site.godwit(0, &["serve"]).envs([variables[0], ("GODWIT_TLS_KEY", &cert)]).output();
    let wrong = wrong.unwrap();
    assert_eq!(wrong.status.code(), Some(1));
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("cert.pem: it has no private key in PEM"), "{told}");

    let node = site.serve_with(0, &variables);
    let endpoint = site.s3(0).replace("http://127.0.0.1", "https://localhost");
    // A client that believes what stands in the file as it was when it was copied.
    let ask = |trusted: &Path, words: &[&str]| {
        let mut command = site.godwit(0, words);
        command
            .env("AWS_ENDPOINT_URL_S3", &endpoint)
            .env("AWS_ACCESS_KEY_ID", text(&made, "access_key"))
            .env("AWS_SECRET_ACCESS_KEY", text(&made, "secret_key"))
            .env("SSL_CERT_FILE", trusted);
        command.output().unwrap()
    };
    let old = folder.path().join("old.pem");
    fs::copy(&cert, &old).unwrap();
    eventually("a bucket is made over TLS", || {
        ask(&old, &["bucket", "create", "secure"]).status.success().then_some(())
    });
    let shown = json(&ask(&old, &["status", "--json"]));
    assert_eq!(shown["region"], "iad", "the admin API is on the same port");
    make(folder.path());
    eventually("the new certificate is shown", || {
        ask(Path::new(&cert), &["status"]).status.success().then_some(())
    });
    let refused = ask(&old, &["status"]);
    assert_eq!(refused.status.code(), Some(6));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("TLS"), "{refused:?}");
    node.stop();
}

#[test]
fn the_log_has_the_client_that_a_listed_proxy_names() {
    let folder = tempfile::tempdir().unwrap();
    let site = Site::new(folder.path());
    json(&site.godwit(0, &["cluster", "init", "--regions", "iad", "--json"]).output().unwrap());
    let audit = folder.path().join("audit.log");
    let node = site.serve_with(
        0,
        &[("GODWIT_PROXY_PROTOCOL", "127.0.0.1/32"), ("GODWIT_AUDIT", audit.to_str().unwrap())],
    );
    let address = site.s3(0).trim_start_matches("http://").to_owned();
    let ask = |head: &str| {
        let mut stream = TcpStream::connect(&address).ok()?;
        let request = format!(
            "{head}PUT /nobody HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).ok()?;
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        Some(answer)
    };
    let head = "PROXY TCP4 203.0.113.9 10.0.0.1 56324 443\r\n";
    eventually("the node answers", || {
        ask(head).filter(|answer| answer.starts_with("HTTP/1.1 403")).map(drop)
    });
    assert_eq!(ask("").unwrap(), "", "a listed proxy that sends no head is not answered");
    eventually("the audit log names the client", || {
        let lines = fs::read_to_string(&audit).unwrap_or_default();
        lines.contains("203.0.113.9").then_some(())
    });
    node.stop();
}
