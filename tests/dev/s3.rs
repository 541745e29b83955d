//! A small blocking S3 client: one signed request a connection.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::SystemTime;

use aws_credential_types::Credentials;
use aws_sigv4::http_request::{
    PayloadChecksumKind, PercentEncodingMode, SignableBody, SignableRequest, SigningSettings,
    UriPathNormalizationMode, sign,
};
use aws_sigv4::sign::v4;

/// Who asks, and where.
pub struct Client {
    /// `127.0.0.1:9000`
    host: String,
    credentials: Credentials,
}

/// Names and values.
type Headers<'a> = &'a [(&'a str, &'a str)];

/// An answer.
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(n, _)| n.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

impl Client {
    pub fn new(endpoint: &str, access_key: &str, secret_key: &str) -> Self {
        let host = endpoint.trim_start_matches("http://").to_owned();
        let credentials = Credentials::new(access_key, secret_key, None, None, "test");
        Self { host, credentials }
    }

    /// One request; `path` is `/bucket/key`, already encoded. Extra headers are not signed.
    pub fn send(&self, method: &str, path: &str, extra: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.begin(method, path, (extra, &[]), body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        parse(&answer)
    }

    /// A PUT whose headers are all signed, as those that begin with `x-amz-` have to be.
    #[allow(dead_code, reason = "not every test that includes this file needs it")]
    pub fn put_signed(&self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = self.begin("PUT", path, (&[], headers), body);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        parse(&answer)
    }

    /// Sends a request without a body; the answer is the caller's to read.
    #[allow(dead_code, reason = "not every test that includes this file needs it")]
    pub fn open(&self, method: &str, path: &str) -> TcpStream {
        self.begin(method, path, (&[], &[]), b"")
    }

    fn begin(
        &self,
        method: &str,
        path: &str,
        (extra, signed): (Headers<'_>, Headers<'_>),
        body: &[u8],
    ) -> TcpStream {
        let mut settings = SigningSettings::default();
        settings.payload_checksum_kind = PayloadChecksumKind::XAmzSha256;
        settings.percent_encoding_mode = PercentEncodingMode::Single;
        settings.uri_path_normalization_mode = UriPathNormalizationMode::Disabled;
        let identity = self.credentials.clone().into();
        let params = v4::SigningParams::builder()
            .identity(&identity)
            .region("auto")
            .name("s3")
            .time(SystemTime::now())
            .settings(settings)
            .build()
            .unwrap()
            .into();
        let url = format!("http://{}{path}", self.host);
        let signable =
            SignableRequest::new(method, url, signed.iter().copied(), SignableBody::Bytes(body));
        let (own, _) = sign(signable.unwrap(), &params).unwrap().into_parts();
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.host);
        let given = signed.iter().chain(extra).copied();
        for (name, value) in own.headers().chain(given) {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("Content-Length: {}\r\nConnection: close\r\n\r\n", body.len()));
        let mut stream = TcpStream::connect(&self.host).unwrap();
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        stream
    }
}

/// One request as it is said here, on a connection of its own.
pub fn plain(host: &str, method: &str, path: &str, extra: &[(&str, &str)], body: &[u8]) -> Answer {
    let host = host.trim_start_matches("http://");
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in extra {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    let mut stream = TcpStream::connect(host).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // A server that refuses may close before it read all.
    let _ = stream.write_all(body);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    parse(&answer)
}

/// A plain GET without a signature.
pub fn get(host: &str, path: &str) -> Answer {
    send_plain(host, "GET", path, &[], b"")
}

/// A request without a signature.
pub fn send_plain(
    host: &str,
    method: &str,
    path: &str,
    extra: &[(&str, &str)],
    body: &[u8],
) -> Answer {
    let host = host.trim_start_matches("http://");
    let mut stream = TcpStream::connect(host).unwrap();
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n");
    for (name, value) in extra {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str(&format!("Content-Length: {}\r\n\r\n", body.len()));
    stream.write_all(head.as_bytes()).unwrap();
    stream.write_all(body).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    parse(&answer)
}

fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|w| w == b"\r\n\r\n").expect("an answer has a head");
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect();
    let chunked = headers.iter().any(|(n, _)| n.eq_ignore_ascii_case("transfer-encoding"));
    assert!(!chunked, "answers have a length");
    Answer { status, headers, body: answer[end + 4..].to_vec() }
}
