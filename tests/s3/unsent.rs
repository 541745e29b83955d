//! What ten cases of ceph/s3-tests' `test_headers.py` mean to send. Their client signs after they
//! changed its headers, and so writes `Authorization`, the date or the length again; the suite marks
//! all ten with "once we have learned how to". Here the requests go over the wire as they are meant.

use std::time::{Duration, UNIX_EPOCH};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::common::server::Server;

/// The suite's case, what goes over the wire, and the answer.
struct Case {
    name: &'static str,
    path: &'static str,
    headers: &'static [&'static str],
    answer: (u16, &'static str),
}

const LENGTH: &str = "content-length: 3";

const CASES: &[Case] = &[
    Case {
        name: "bucket_create_bad_authorization_empty",
        path: "/another",
        headers: &["authorization: ", "content-length: 0"],
        answer: (403, "AccessDenied"),
    },
    Case {
        name: "bucket_create_bad_authorization_none",
        path: "/another",
        headers: &["content-length: 0"],
        answer: (403, "AccessDenied"),
    },
    Case {
        name: "bucket_create_bad_authorization_invalid_aws2",
        path: "/another",
        headers: &["authorization: AWS HAHAHA", "content-length: 0"],
        answer: (400, "InvalidArgument"),
    },
    Case {
        name: "bucket_create_bad_date_none_aws2",
        path: "/another",
        headers: &["authorization: AWS {key}:FWeDfwojDSdS2Ztmpfeubhd9isU=", "content-length: 0"],
        answer: (403, "AccessDenied"),
    },
    Case {
        name: "object_create_bad_authorization_empty",
        path: "/bucket/foo",
        headers: &["authorization: ", LENGTH],
        answer: (403, "AccessDenied"),
    },
    Case {
        name: "object_create_bad_authorization_none",
        path: "/bucket/foo",
        headers: &[LENGTH],
        answer: (403, "AccessDenied"),
    },
    // The suite wants InvalidDigest; S3 says that it does not know the key.
    Case {
        name: "object_create_bad_authorization_incorrect_aws2",
        path: "/bucket/foo",
        headers: &[
            "authorization: AWS AKIAIGR7ZNNBHC5BKSUB:FWeDfwojDSdS2Ztmpfeubhd9isU=",
            "date: {now}",
            LENGTH,
        ],
        answer: (403, "InvalidAccessKeyId"),
    },
    Case {
        name: "object_create_bad_authorization_invalid_aws2",
        path: "/bucket/foo",
        headers: &["authorization: AWS HAHAHA", LENGTH],
        answer: (400, "InvalidArgument"),
    },
    Case {
        name: "object_create_bad_date_none_aws2",
        path: "/bucket/foo",
        headers: &["authorization: AWS {key}:FWeDfwojDSdS2Ztmpfeubhd9isU=", LENGTH],
        answer: (403, "AccessDenied"),
    },
];

fn text_of(server: &Server, case: &Case) -> String {
    let now_ms = server.node.engine.env().now_ms();
    let now = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_millis(now_ms));
    let mut text =
        format!("PUT {} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n", case.path);
    for header in case.headers {
        let header = header.replace("{key}", &server.client.access_key).replace("{now}", &now);
        text.push_str(&header);
        text.push_str("\r\n");
    }
    let body = if case.headers.contains(&LENGTH) { "bar" } else { "" };
    format!("{text}\r\n{body}")
}

/// Sends exactly this; status and code of the answer.
async fn send(server: &Server, text: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(text.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    let answer = String::from_utf8_lossy(&answer);
    let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
    let code = answer.split_once("<Code>").and_then(|(_, rest)| rest.split_once("</Code>"));
    (status, code.map(|(code, _)| code.to_owned()).unwrap_or_default())
}

#[tokio::test]
async fn what_the_suites_client_cannot_send_is_answered_as_it_should_be() {
    let server = Server::with_bucket("bucket").await;
    for case in CASES {
        let (status, code) = send(&server, &text_of(&server, case)).await;
        assert_eq!((status, code.as_str()), case.answer, "{}", case.name);
    }
    // `object_create_bad_contentlength_none`: signed, and without a length.
    let put = server.client.call("PUT", "/bucket/foo").presigned(Duration::from_secs(60));
    let head = put.wire_head(&[("connection", "close")]);
    let bare: String =
        head.split_inclusive('\n').filter(|l| !l.starts_with("content-len")).collect();
    let (status, code) = send(&server, &bare).await;
    assert_eq!((status, code.as_str()), (411, "MissingContentLength"));
    server.client.head("/bucket/foo").await.expect(404);
    server.client.head("/another").await.expect(404);
}
