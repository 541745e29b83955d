//! The web console's own origin over real HTTP: sessions, what other pages cannot do, and that a
//! session can do what its key can do and no more.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::dev::Dev;
use super::s3::{self, Answer};
use super::{godwit, json, start};

/// A browser's view of one console: its cookie and the token of its page.
struct Browser {
    console: String,
    cookie: String,
    token: String,
}

fn basic(id: &str, secret: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{id}:{secret}")))
}

fn try_sign_in(console: &str, id: &str, secret: &str) -> Answer {
    let authorization = basic(id, secret);
    s3::plain(console, "POST", "/api/session", &[("Authorization", &authorization)], b"")
}

impl Browser {
    fn sign_in(console: &str, id: &str, secret: &str) -> Self {
        let answer = try_sign_in(console, id, secret);
        assert_eq!(answer.status, 200, "{}", answer.text());
        let set = answer.header("set-cookie").unwrap();
        let welcome: Value = serde_json::from_slice(&answer.body).unwrap();
        assert!(!answer.text().contains(secret), "the secret does not go back to the browser");
        Self {
            console: console.to_owned(),
            cookie: set.split(';').next().unwrap().to_owned(),
            token: welcome["token"].as_str().unwrap().to_owned(),
        }
    }

    fn of(dev: &Dev) -> Self {
        let announced = &dev.announced;
        Self::sign_in(&announced.console, &announced.access_key, &announced.secret_key)
    }

    /// As the page asks: with cookie and token.
    fn ask(&self, method: &str, path: &str, extra: &[(&str, &str)], body: &[u8]) -> Answer {
        let own = [("Cookie", self.cookie.as_str()), ("X-Godwit-Console", self.token.as_str())];
        s3::plain(&self.console, method, path, &[&own, extra].concat(), body)
    }
}

fn code(answer: &Answer) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
    body["code"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn the_page_is_whole_and_may_load_nothing_from_elsewhere() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--regions", "1"], folder.path());
    let console = &dev.announced.console;
    assert_eq!(console, &format!("http://localhost:{}", dev.port + 10));
    for (path, kind) in
        [("/", "text/html"), ("/app.js", "text/javascript"), ("/app.css", "text/css")]
    {
        let answer = s3::plain(console, "GET", path, &[], b"");
        assert_eq!(answer.status, 200, "{path}");
        assert!(answer.header("content-type").unwrap().starts_with(kind), "{path}");
        assert!(!answer.body.is_empty(), "{path} is built");
        let policy = answer.header("content-security-policy").unwrap();
        let parts: Vec<&str> = policy.split("; ").collect();
        for part in ["default-src 'none'", "script-src 'self'", "frame-ancestors 'none'"] {
            assert!(parts.contains(&part), "{policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));
        let tag = answer.header("etag").unwrap();
        let again = s3::plain(console, "GET", path, &[("If-None-Match", tag)], b"");
        assert_eq!((again.status, again.body.len()), (304, 0), "{path}");
    }
    let page = s3::plain(console, "GET", "/", &[], b"").text();
    assert!(!page.contains("://"), "the page names no other host: {page}");
    assert_eq!(s3::plain(console, "GET", "/app.js.map", &[], b"").status, 404);
    assert_eq!(s3::plain(console, "POST", "/", &[], b"").status, 404);
    dev.stop();
}

#[test]
fn a_session_is_a_cookie_that_scripts_cannot_read_and_ends_when_asked() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--regions", "1"], folder.path());
    let (console, id) = (&dev.announced.console, &dev.announced.access_key);
    let signed = try_sign_in(console, id, &dev.announced.secret_key);
    let set = signed.header("set-cookie").unwrap();
    assert!(set.contains("; HttpOnly") && set.contains("; SameSite=Strict"), "{set}");
    assert!(!set.contains("; Secure"), "over plain HTTP it would not come back: {set}");
    let proxied = [
        ("Authorization", basic(id, &dev.announced.secret_key)),
        ("X-Forwarded-Proto", "https".to_owned()),
    ];
    let proxied = proxied.each_ref().map(|(name, value)| (*name, value.as_str()));
    let behind = s3::plain(console, "POST", "/api/session", &proxied, b"");
    assert!(behind.header("set-cookie").unwrap().contains("; Secure"));

    let browser = Browser::of(&dev);
    let shown = browser.ask("GET", "/api/session", &[], b"");
    let shown: Value = serde_json::from_slice(&shown.body).unwrap();
    assert_eq!(shown["access_key"], id.as_str());
    assert_eq!(shown["endpoint"], dev.announced.endpoint.as_str());
    assert_eq!(browser.ask("DELETE", "/api/session", &[], b"").status, 200);
    let after = browser.ask("GET", "/api/s3/", &[], b"");
    assert_eq!((after.status, code(&after).as_str()), (401, "NotSignedIn"));
    dev.stop();
}

#[test]
fn guesses_are_slowed_down_and_a_wrong_key_says_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--regions", "1"], folder.path());
    let (console, id) = (&dev.announced.console, &dev.announced.access_key);
    let unknown = try_sign_in(console, "GWNOSUCHKEY", "guess");
    let wrong = try_sign_in(console, id, "guess");
    assert_eq!((unknown.status, code(&unknown)), (403, "WrongKey".to_owned()));
    assert_eq!(unknown.body, wrong.body, "an unknown key looks like a wrong secret");
    let slowed = (0..20).map(|_| try_sign_in(console, id, "guess")).find(|a| a.status == 429);
    let slowed = slowed.expect("the guesses are slowed down");
    assert!(slowed.header("retry-after").unwrap().parse::<u32>().unwrap() >= 1);
    let own = try_sign_in(console, id, &dev.announced.secret_key);
    assert_eq!(own.status, 429, "a right secret among guesses has to wait as well");
    dev.stop();
}

#[test]
fn another_page_cannot_act_through_a_session() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--regions", "1"], folder.path());
    let browser = Browser::of(&dev);
    let cookie = [("Cookie", browser.cookie.as_str())];
    let send = |method: &str, path: &str, extra: &[(&str, &str)]| {
        s3::plain(&browser.console, method, path, &[&cookie, extra].concat(), b"")
    };
    let refused =
        |answer: Answer| assert_eq!((answer.status, code(&answer).as_str()), (403, "NotOwnPage"));
    for (method, path) in
        [("PUT", "/api/s3/taken"), ("POST", "/api/admin/keys"), ("DELETE", "/api/session")]
    {
        refused(send(method, path, &[]));
        refused(send(method, path, &[("X-Godwit-Console", "0000")]));
    }
    let token = ("X-Godwit-Console", browser.token.as_str());
    refused(send("PUT", "/api/s3/taken", &[token, ("Origin", "http://localhost:9000")]));
    for site in ["same-site", "cross-site"] {
        refused(send("GET", "/api/s3/", &[("Sec-Fetch-Site", site)]));
    }
    refused(send("GET", "/api/s3/b/app.js", &[("Sec-Fetch-Dest", "script")]));
    assert_eq!(browser.ask("GET", "/api/s3/taken", &[], b"").status, 404, "nothing was made");
    dev.stop();
}

#[test]
fn a_session_can_do_what_its_key_can_do_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--regions", "1"], folder.path());
    let owner = Browser::of(&dev);
    assert_eq!(owner.ask("PUT", "/api/s3/other-bucket", &[], b"").status, 200);
    assert_eq!(owner.ask("PUT", "/api/s3/other-bucket/key", &[], b"x").status, 200);
    assert_eq!(owner.ask("GET", "/api/admin/status", &[], b"").status, 200);

    let made = json(&godwit(&dev, &["storage", "create", "own-bucket", "--format", "json"]));
    let (id, secret) = (&made["AWS_ACCESS_KEY_ID"], &made["AWS_SECRET_ACCESS_KEY"]);
    let (id, secret) = (id.as_str().unwrap(), secret.as_str().unwrap());
    let narrow = Browser::sign_in(&dev.announced.console, id, secret);
    let whoami = narrow.ask("GET", "/api/admin/whoami", &[], b"");
    let whoami: Value = serde_json::from_slice(&whoami.body).unwrap();
    assert_eq!((whoami["access_key"].as_str(), whoami["admin"].as_bool()), (Some(id), Some(false)));
    assert_eq!(narrow.ask("PUT", "/api/s3/own-bucket/a", &[], b"hello").status, 200);
    assert_eq!(narrow.ask("GET", "/api/s3/own-bucket/a", &[], b"").body, b"hello");
    for (method, path) in [
        ("GET", "/api/s3/other-bucket/key"),
        ("PUT", "/api/s3/other-bucket/key"),
        ("GET", "/api/admin/status"),
        ("GET", "/api/admin/keys"),
    ] {
        assert_eq!(narrow.ask(method, path, &[], b"").status, 403, "{method} {path}");
    }
    // What the browser says of credentials is not listened to.
    let other = [("X-Amz-Security-Token", "x"), ("X-Amz-Date", "20200101T000000Z")];
    assert_eq!(narrow.ask("GET", "/api/s3/own-bucket/a", &other, b"").status, 200);

    let revoked = owner.ask("DELETE", &format!("/api/admin/keys?access_key={id}"), &[], b"");
    assert_eq!(revoked.status, 200, "{}", revoked.text());
    assert_eq!(narrow.ask("GET", "/api/s3/own-bucket/a", &[], b"").status, 403);
    dev.stop();
}

#[test]
fn objects_stream_through_and_never_run_as_a_page() {
    let folder = tempfile::tempdir().unwrap();
    let dev = start(&["--regions", "2", "--no-wan"], folder.path());
    let browser = Browser::of(&dev);
    assert_eq!(browser.ask("PUT", "/api/s3/streamed", &[], b"").status, 200);
    let body: Vec<u8> = (0..6_000_000_u32).map(|at| (at % 251) as u8).collect();
    let key = "/api/s3/streamed/a%20b%2F%C3%A9%2B%28c%29.html";
    let kind = [("Content-Type", "text/html"), ("x-amz-meta-note", "kept")];
    let put = browser.ask("PUT", key, &kind, &body);
    assert_eq!(put.status, 200, "{}", put.text());
    let got = browser.ask("GET", key, &[], b"");
    assert_eq!(got.status, 200);
    assert!(got.body == body, "the bytes are the same");
    assert_eq!(got.header("x-amz-meta-note"), Some("kept"));
    assert_eq!(got.header("content-disposition"), Some("attachment"));
    assert!(got.header("content-security-policy").unwrap().contains("sandbox"));
    assert_eq!(got.header("x-content-type-options"), Some("nosniff"));
    let part = browser.ask("GET", key, &[("Range", "bytes=251-260")], b"");
    assert_eq!((part.status, part.body), (206, (0..10).collect::<Vec<u8>>()));
    let list = browser.ask("GET", "/api/s3/streamed?list-type=2&prefix=a%20b%2F", &[], b"");
    assert!(list.text().contains("a b/é+(c).html"), "{}", list.text());
    dev.stop();
}
