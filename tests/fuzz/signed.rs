//! Signatures: in the header, in a URL, of the chunks of a body. What is nearly right is refused,
//! and what the SDK's own signer (`aws-sigv4`) calls right is accepted.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime};

use aws_credential_types::Credentials;
use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::hmac;
use aws_sigv4::sign::v4::{SigningParams, calculate_signature, generate_signing_key, sign_chunk};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures_util::future::join_all;
use percent_encoding::percent_decode_str;

use crate::common::client::{Call, Client};
use crate::common::server::Server;
use crate::{LANES, Run};

const PATH: &str = "/bucket/key";

/// What the SDK's signer makes of a request: its headers, and its target in the first line.
struct Head {
    target: String,
    headers: BTreeMap<String, String>,
}

impl Head {
    fn of(call: &Call) -> Self {
        let head = call.wire_head(&[]);
        let mut lines = head.lines();
        let target = lines.next().unwrap().split(' ').nth(1).unwrap().to_owned();
        let headers = lines.filter_map(|line| line.split_once(": "));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Self { target, headers }
    }

    /// A part of `Authorization`.
    fn part(&self, name: &str) -> String {
        parts(&self.headers["authorization"])[name].clone()
    }
}

/// The parts of `Authorization`, of the last of each name.
fn parts(text: &str) -> BTreeMap<String, String> {
    let parts = text.strip_prefix("AWS4-HMAC-SHA256").unwrap_or_default().split(',');
    let parts = parts.filter_map(|part| part.trim().split_once('='));
    parts.map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

/// Puts values where an input names them.
fn filled(input: &[u8], values: &[(&str, &str)]) -> Option<String> {
    let text = std::str::from_utf8(input).ok()?.to_owned();
    Some(
        values
            .iter()
            .fold(text, |text, (name, value)| text.replace(&format!("${{{name}}}"), value)),
    )
}

fn version_2(client: &Client, text: &str) -> String {
    let key = client.secret_key.as_bytes();
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, key);
    STANDARD.encode(hmac::sign(&key, text.as_bytes()))
}

async fn server() -> Server {
    let server = Server::with_bucket("bucket").await;
    server.client.put(PATH, "text").await.expect(200);
    server
}

#[tokio::test]
async fn an_authorization_header_is_the_key_s_own_or_refused() {
    let Some(run) = Run::of("authorization") else { return };
    let server = server().await;
    let (run, client) = (&run, &server.client);
    run.each(|_, input| async move {
        let head = Head::of(&client.call("GET", PATH));
        let (date, hash) = (&head.headers["x-amz-date"], &head.headers["x-amz-content-sha256"]);
        let signed = format!("GET\n\n\n\nx-amz-content-sha256:{hash}\nx-amz-date:{date}\n{PATH}");
        let signature_2 = version_2(client, &signed);
        let [credential, names, signature] =
            ["Credential", "SignedHeaders", "Signature"].map(|name| head.part(name));
        let values = [
            ("credential", credential.as_str()),
            ("names", names.as_str()),
            ("signature", signature.as_str()),
            ("key", client.access_key.as_str()),
            ("day", &date[..8]),
            ("version2", signature_2.as_str()),
        ];
        let Some(text) = filled(&input, &values) else { return };
        if !text.bytes().all(|b| (32..127).contains(&b)) || text.trim() != text {
            return;
        }
        let said = parts(&text);
        let says = |name: &str, value: &String| said.get(name) == Some(value);
        let right = says("Credential", &credential)
            && said.get("SignedHeaders").is_some_and(|told| told.eq_ignore_ascii_case(&names))
            && says("Signature", &signature);
        let right_2 = text.strip_prefix("AWS ").and_then(|rest| rest.trim().split_once(':'))
            == Some((client.access_key.as_str(), signature_2.as_str()));
        let call = client.call("GET", PATH).anonymous().header("authorization", &text);
        let call = call.header("x-amz-date", date).header("x-amz-content-sha256", hash);
        run.send_signed(&input, call, right || right_2).await;
    })
    .await;
}

/// The parameters of a query as they are meant, in order.
fn pairs(query: &str) -> Vec<(String, String)> {
    let text = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| (text(name), text(value))).collect()
}

fn first<'a>(pairs: &'a [(String, String)], name: &str) -> Option<&'a str> {
    pairs.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
}

/// These say the same in any order; a signature is not of itself.
fn same_pairs(a: &[(String, String)], b: &[(String, String)]) -> bool {
    let sorted = |pairs: &[(String, String)]| {
        let mut pairs = pairs.to_vec();
        pairs.retain(|(name, _)| name != "X-Amz-Signature");
        pairs.sort_unstable();
        pairs
    };
    let signature = |pairs| first(pairs, "X-Amz-Signature").map(str::to_owned);
    sorted(a) == sorted(b) && signature(a) == signature(b)
}

#[tokio::test]
async fn a_signed_url_is_the_key_s_own_or_refused() {
    let Some(run) = Run::of("presigned") else { return };
    let server = server().await;
    let (run, client) = (&run, &server.client);
    run.each(|_, input| async move {
        let life = Duration::from_secs(600);
        let head = Head::of(&client.call("GET", PATH).presigned(life));
        let signed = pairs(head.target.split_once('?').unwrap().1);
        let end = SystemTime::UNIX_EPOCH.elapsed().unwrap() + life;
        let end = end.as_secs().to_string();
        let signature_2 = version_2(client, &format!("GET\n\n\n{end}\n{PATH}"));
        let escaped_2 = signature_2.replace('+', "%2B").replace('/', "%2F").replace('=', "%3D");
        let date = first(&signed, "X-Amz-Date").unwrap();
        let values = [
            ("date", date),
            ("day", &date[..8]),
            ("end", end.as_str()),
            ("key", client.access_key.as_str()),
            ("signature", first(&signed, "X-Amz-Signature").unwrap()),
            ("version2", escaped_2.as_str()),
        ];
        let Some(query) = filled(&input, &values) else { return };
        let plain = query.bytes().all(|b| b.is_ascii_graphic() && !b"#\"<>\\^`{|}[]".contains(&b));
        let path = format!("{PATH}?{query}");
        if !plain || format!("http://127.0.0.1:1{path}").parse::<http::Uri>().is_err() {
            return;
        }
        let said = pairs(&query);
        let right_2 = first(&said, "AWSAccessKeyId") == Some(client.access_key.as_str())
            && first(&said, "Expires") == Some(end.as_str())
            && first(&said, "Signature") == Some(signature_2.as_str());
        // Of version 2 some parameters are signed and others not; what is refused is not looked at.
        let right = same_pairs(&said, &signed);
        let call = client.call("GET", &path).anonymous();
        if right {
            run.send(&input, call).await;
        } else if !right_2 {
            run.send_signed(&input, call, false).await;
        } else {
            let answer = call.try_send().await.unwrap_or_else(|| run.fail(&input, "no answer"));
            if answer.status.is_server_error() {
                run.fail(&input, &format!("{} {}", answer.status, answer.text()));
            }
        }
    })
    .await;
}

#[tokio::test]
async fn headers_are_signed_as_the_sdk_signs_them_and_come_back() {
    let Some(run) = Run::of("signed-headers") else { return };
    let server = Server::with_bucket("bucket").await;
    let (run, client) = (&run, &server.client);
    run.each(|lane, input| async move {
        let Ok(text) = std::str::from_utf8(&input) else { return };
        let lines: Vec<(String, &str)> = text
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, value)| (format!("x-amz-meta-{}", name.to_lowercase()), value.trim()))
            .collect();
        let sendable = lines.iter().all(|(name, value)| {
            name.parse::<http::HeaderName>().is_ok()
                && value.bytes().all(|b| (32..127).contains(&b))
                && !value.is_empty()
        });
        if !sendable || lines.is_empty() || text.len() > 1500 {
            return;
        }
        let path = format!("/bucket/key{lane}");
        let call = client.call("PUT", &path);
        let call = lines.iter().fold(call, |call, (name, value)| call.header(name, value));
        if run.send(&input, call).await.is_none() {
            return;
        }
        let mut expected: BTreeMap<&str, String> = BTreeMap::new();
        for (name, value) in &lines {
            let joined = expected.get(name.as_str()).map(|before| format!("{before},{value}"));
            expected.insert(name, joined.unwrap_or_else(|| (*value).to_owned()));
        }
        let head = client.head(&path).await.expect(200);
        for (name, value) in &expected {
            if head.header(name) != Some(value) {
                run.fail(&input, &format!("{name} came back as {:?}", head.header(name)));
            }
        }
    })
    .await;
}

const SIGNATURE: &str = "${signature}";
const TRAILER: &str = "${trailer}";

/// The chain of signatures over the chunks of one request, by the SDK's signer.
struct Chain<'a> {
    client: &'a Client,
    at: SystemTime,
    date: String,
    last: String,
}

impl Chain<'_> {
    fn chunk(&mut self, data: &[u8]) -> String {
        let (id, secret) = (&self.client.access_key, &self.client.secret_key);
        let identity = Credentials::new(id, secret, None, None, "test").into();
        let params = SigningParams::builder().identity(&identity).region("auto").name("s3");
        let params = params.time(self.at).settings(()).build().unwrap();
        let signed = sign_chunk(&Bytes::copy_from_slice(data), &self.last, &params).unwrap();
        self.last = signed.signature().to_owned();
        self.last.clone()
    }

    /// As the SDK signs trailers: names in lower case and in order.
    fn trailers(&mut self, lines: &[(String, String)]) -> String {
        let mut lines = lines.to_vec();
        lines.sort();
        let text: String = lines.iter().map(|(name, value)| format!("{name}:{value}\n")).collect();
        let scope = format!("{}/auto/s3/aws4_request", &self.date[..8]);
        let hash = hex::encode(digest(&SHA256, text.as_bytes()));
        let text =
            format!("AWS4-HMAC-SHA256-TRAILER\n{}\n{scope}\n{}\n{hash}", self.date, self.last);
        let key = generate_signing_key(&self.client.secret_key, self.at, "auto", "s3");
        calculate_signature(key, text.as_bytes())
    }
}

/// A body of chunks being signed.
struct Signing<'a> {
    chain: Chain<'a>,
    rest: &'a [u8],
    wire: Vec<u8>,
}

impl Signing<'_> {
    /// Signs what an input leaves open. Whether every signature in it is right, as far as there is
    /// any sense in it.
    fn sign(&mut self) -> bool {
        let mut right = true;
        while let Some((line, end)) = self.line() {
            let head = line.trim_end();
            let size = head.split(';').next().unwrap_or_default().trim_matches([' ', '\t']);
            let Ok(len) = usize::from_str_radix(size, 16) else { break };
            let Some(data) = self.rest.get(..len) else { break };
            let signature = self.chain.chunk(data);
            let line = line.replace(SIGNATURE, &signature);
            let told = line.trim_end().split_once(';').map(|(_, rest)| rest.trim());
            let told = told.and_then(|rest| rest.strip_prefix("chunk-signature="));
            right &= told.is_some_and(|told| told.trim() == signature);
            self.wire.extend([line.as_bytes(), end, data].concat());
            self.rest = &self.rest[len..];
            if len == 0 {
                return right & self.sign_trailers();
            }
            let end = [&b"\r\n"[..], b"\n"].into_iter().find(|end| self.rest.starts_with(end));
            let Some(end) = end else { break };
            self.wire.extend(end);
            self.rest = &self.rest[end.len()..];
        }
        self.wire.extend(self.rest);
        false
    }

    /// The next line and its end.
    fn line(&mut self) -> Option<(String, &'static [u8])> {
        let at = self.rest.iter().position(|b| *b == b'\n')?;
        let (line, end): (_, &'static [u8]) = match self.rest[..at].strip_suffix(b"\r") {
            Some(line) => (line, b"\r\n"),
            None => (&self.rest[..at], b"\n"),
        };
        let line = std::str::from_utf8(line).ok()?.to_owned();
        self.rest = &self.rest[at + 1..];
        Some((line, end))
    }

    fn sign_trailers(&mut self) -> bool {
        let (mut lines, mut right) = (Vec::new(), None);
        while let Some((line, end)) = self.line() {
            let mut line = line;
            if let Some((name, value)) = line.clone().split_once(':') {
                let name = name.trim().to_lowercase();
                if name == "x-amz-trailer-signature" {
                    let signature = self.chain.trailers(&lines);
                    line = line.replace(TRAILER, &signature);
                    let told = line.split_once(':').map(|(_, told)| told.trim().to_owned());
                    right = Some(right.is_none() && told == Some(signature));
                } else {
                    lines.push((name, value.trim().to_owned()));
                }
            }
            self.wire.extend([line.as_bytes(), end].concat());
        }
        self.wire.extend(self.rest);
        right.unwrap_or(lines.is_empty())
    }
}

#[tokio::test]
async fn signed_chunks_are_the_key_s_own_or_refused() {
    let Some(run) = Run::of("signed-chunks") else { return };
    let server = Server::with_bucket("bucket").await;
    let (run, client) = (&run, &server.client);
    let make = |lane| async move { client.put(&format!("/bucket{lane}"), "").await.expect(200) };
    join_all((0..LANES).map(make)).await;
    run.each(|lane, input| async move {
        let path = format!("/bucket{lane}/chunks");
        let body = crate::bodies::decoded(&input);
        let len = body.as_ref().map_or(9, Vec::len).to_string();
        let trailers = input.windows(7).any(|piece| piece == b"trailer");
        let at = SystemTime::now();
        let mut call = client.call("PUT", &path).at(at).header("content-encoding", "aws-chunked");
        call = call.header("x-amz-decoded-content-length", &len);
        call = match trailers {
            true => call
                .header("x-amz-trailer", "x-amz-checksum-crc32")
                .payload("STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER"),
            false => call.payload("STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        };
        let head = Head::of(&call);
        let (date, last) = (head.headers["x-amz-date"].clone(), head.part("Signature"));
        let chain = Chain { client, at, date, last };
        let mut signing = Signing { chain, rest: &input, wire: Vec::new() };
        let right = signing.sign();
        let call = call.body(signing.wire);
        if run.send_signed(&input, call, right).await.is_none() {
            return;
        }
        let stored = client.get(&path).await;
        if body.as_deref() != Some(&*stored.body) {
            run.fail(&input, "the body is not what the chunks say");
        }
    })
    .await;
}
