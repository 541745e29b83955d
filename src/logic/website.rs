//! What a bucket's website does with a request: serve a key, or send the browser elsewhere.
//! Source: S3 user guide, "Hosting a static website using Amazon S3", "Configuring an index
//! document", "(Optional) Configuring a webpage redirect"; S3 API reference, PutBucketWebsite.
//!
//! Invariant: the first rule that matches decides, and a site that is stored passed [`check`].

use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};

/// Routing rules of one site.
pub const RULES_MAX: usize = 50;

/// A site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Website {
    /// Every request goes to another host.
    Elsewhere {
        host: String,
        protocol: Option<Protocol>,
    },
    Pages(Pages),
}

/// A site of the bucket's own objects.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pages {
    /// What stands for a folder: `index.html`.
    pub index: String,
    /// The key of the page for errors.
    pub error: Option<String>,
    pub rules: Vec<Rule>,
}

/// One routing rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    pub when: When,
    pub redirect: Redirect,
}

/// All that is said must hold; a rule that says nothing always holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct When {
    pub prefix: Option<String>,
    /// The status that the request would have had.
    pub error: Option<u16>,
}

/// Where a rule leads; what it does not say stays as it was asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redirect {
    pub host: Option<String>,
    pub protocol: Option<Protocol>,
    pub key: Option<NewKey>,
    pub status: Option<u16>,
}

/// The key that is asked for instead.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NewKey {
    Whole(String),
    /// Of the condition's prefix.
    Prefix(String),
}

/// How browsers come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Protocol {
    Http,
    Https,
}

impl Protocol {
    pub fn parse(name: &str) -> Option<Self> {
        match name {
            "http" => Some(Self::Http),
            "https" => Some(Self::Https),
            _ => None,
        }
    }

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Why a site is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The document does not have S3's form.
    Shape,
    /// The index document, with a sentence for the client.
    Index(&'static str),
    /// A sentence for the client.
    Invalid(String),
}

/// Checks a whole site.
pub fn check(site: &Website) -> Result<(), Refusal> {
    let pages = match site {
        Website::Elsewhere { host, .. } if host.is_empty() => return Err(Refusal::Shape),
        Website::Elsewhere { .. } => return Ok(()),
        Website::Pages(pages) => pages,
    };
    if pages.index.is_empty() || pages.index.contains('/') {
        return Err(Refusal::Index("The IndexDocument Suffix is not well formed"));
    }
    if pages.error.as_ref().is_some_and(String::is_empty) {
        return Err(Refusal::Shape);
    }
    if pages.rules.len() > RULES_MAX {
        let count = pages.rules.len();
        let why = format!(
            "{count} routing rules provided, the number of routing rules in a website \
             configuration is limited to {RULES_MAX}."
        );
        return Err(Refusal::Invalid(why));
    }
    pages.rules.iter().try_for_each(check_rule)
}

fn check_rule(rule: &Rule) -> Result<(), Refusal> {
    if rule.redirect == Redirect::default() {
        return Err(Refusal::Shape);
    }
    if let Some(code) = rule.when.error.filter(|code| !(400..600).contains(code)) {
        let why = format!(
            "The provided HTTP error code ({code}) is not valid. Valid codes are 4XX or 5XX."
        );
        return Err(Refusal::Invalid(why));
    }
    if let Some(code) = rule.redirect.status.filter(|code| !(301..400).contains(code)) {
        let why = format!(
            "The provided HTTP redirect code ({code}) is not valid. Valid codes are 3XX except 300."
        );
        return Err(Refusal::Invalid(why));
    }
    Ok(())
}

/// A browser that is sent elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moved {
    pub status: u16,
    pub protocol: Option<Protocol>,
    pub host: Option<String>,
    /// As it stands in an address, behind the first slash.
    pub path: String,
}

impl Moved {
    /// The address, for a request that came so.
    pub fn location(&self, protocol: Protocol, host: &str) -> String {
        let protocol = self.protocol.unwrap_or(protocol).as_str();
        let host = self.host.as_deref().unwrap_or(host);
        format!("{protocol}://{}/{}", utf8_percent_encode(host, IN_TEXT), self.path)
    }
}

/// What a request meets first.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum First {
    Moved(Moved),
    /// The key to serve.
    Key(String),
}

/// Decides without having looked for any object. `query` is as it came.
pub fn first(site: &Website, key: &str, query: Option<&str>) -> First {
    let pages = match site {
        Website::Elsewhere { host, protocol } => {
            let query = query.map(|q| format!("?{}", utf8_percent_encode(q, IN_TEXT)));
            let path = format!("{}{}", path(key), query.unwrap_or_default());
            let (host, protocol) = (Some(host.clone()), *protocol);
            return First::Moved(Moved { status: MOVED, protocol, host, path });
        }
        Website::Pages(pages) => pages,
    };
    match rule(pages, key, None) {
        Some(moved) => First::Moved(moved),
        None => First::Key(pages.served(key)),
    }
}

/// Where a request goes that would end with this error status.
pub fn after_error(pages: &Pages, key: &str, status: u16) -> Option<Moved> {
    rule(pages, key, Some(status))
}

impl Pages {
    /// The key that is served for one: a folder's index, or itself.
    fn served(&self, key: &str) -> String {
        match key {
            "" => self.index.clone(),
            folder if folder.ends_with('/') => format!("{folder}{}", self.index),
            key => key.to_owned(),
        }
    }

    /// For a key that is missing: the index that would make it a folder, and the folder's address.
    pub fn folder(&self, key: &str) -> Option<(String, String)> {
        let is_folder = key.is_empty() || key.ends_with('/');
        (!is_folder).then(|| {
            let path = path(key);
            // Two slashes at the start would be another host.
            let path = match path.strip_prefix('/') {
                Some(rest) => format!("%2F{rest}"),
                None => path,
            };
            (format!("{key}/{}", self.index), format!("/{path}/"))
        })
    }
}

/// Moved Permanently, where a rule says nothing else.
const MOVED: u16 = 301;

fn rule(pages: &Pages, key: &str, error: Option<u16>) -> Option<Moved> {
    let rule = pages.rules.iter().find(|rule| {
        let prefix = rule.when.prefix.as_deref().unwrap_or_default();
        rule.when.error == error && key.starts_with(prefix)
    })?;
    let prefix = rule.when.prefix.as_deref().unwrap_or_default();
    let Redirect { host, protocol, key: new, status } = rule.redirect.clone();
    let path = match new {
        None => path(key),
        Some(NewKey::Whole(new)) => text(&new),
        Some(NewKey::Prefix(new)) => format!("{}{}", text(&new), path(&key[prefix.len()..])),
    };
    Some(Moved { status: status.unwrap_or(MOVED), protocol, host, path })
}

/// What a key keeps as it is in an address.
const IN_PATH: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~').remove(b'/');

/// What no address can have. The owner's own text may have all else: `#!/` sends to a page's part.
const IN_TEXT: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>');

fn path(key: &str) -> String {
    utf8_percent_encode(key, IN_PATH).to_string()
}

fn text(text: &str) -> String {
    utf8_percent_encode(text, IN_TEXT).to_string()
}

/// Whether an object may lead here (`x-amz-website-redirect-location`).
pub fn is_location(text: &str) -> bool {
    ["/", "http://", "https://"].iter().any(|start| text.starts_with(start))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn site(rules: Vec<Rule>) -> Website {
        let error = Some("error.html".to_owned());
        Website::Pages(Pages { index: "index.html".to_owned(), error, rules })
    }

    fn pages(rules: Vec<Rule>) -> Pages {
        match site(rules) {
            Website::Pages(pages) => pages,
            Website::Elsewhere { .. } => unreachable!("it was made of pages"),
        }
    }

    fn rule_of(prefix: Option<&str>, error: Option<u16>, redirect: Redirect) -> Rule {
        Rule { when: When { prefix: prefix.map(str::to_owned), error }, redirect }
    }

    fn to_host(host: &str) -> Redirect {
        Redirect { host: Some(host.to_owned()), ..Redirect::default() }
    }

    fn location(first: First) -> String {
        match first {
            First::Moved(moved) => moved.location(Protocol::Http, "own"),
            First::Key(key) => panic!("{key} is served"),
        }
    }

    #[test]
    fn folders_are_served_by_their_index() {
        for (key, served) in [
            ("", "index.html"),
            ("a/", "a/index.html"),
            ("a", "a"),
            ("a/b.html", "a/b.html"),
            ("/", "/index.html"),
        ] {
            assert_eq!(first(&site(Vec::new()), key, None), First::Key(served.to_owned()));
        }
        let folder = |key| pages(Vec::new()).folder(key);
        assert_eq!(folder("a b"), Some(("a b/index.html".into(), "/a%20b/".into())));
        assert_eq!(folder("/x"), Some(("/x/index.html".into(), "/%2Fx/".into())));
        assert_eq!((folder(""), folder("a/")), (None, None));
    }

    /// The examples of the page "(Optional) Configuring a webpage redirect".
    #[test]
    fn rules_lead_where_s3s_examples_say() {
        let new = |key| Redirect { key: Some(key), ..Redirect::default() };
        let renamed = rule_of(Some("docs/"), None, new(NewKey::Prefix("documents/".into())));
        let gone = rule_of(Some("images/"), None, new(NewKey::Whole("folderdeleted.html".into())));
        let rules = vec![renamed, gone];
        assert_eq!(
            location(first(&site(rules.clone()), "docs/a.html", None)),
            "http://own/documents/a.html"
        );
        assert_eq!(
            location(first(&site(rules.clone()), "images/x.jpg", None)),
            "http://own/folderdeleted.html"
        );
        assert_eq!(first(&site(rules), "x", None), First::Key("x".into()));
        let report = Redirect {
            host: Some("ec2-11-22.compute.amazonaws.com".into()),
            key: Some(NewKey::Prefix("report-404/".into())),
            ..Redirect::default()
        };
        let pages = pages(vec![rule_of(None, Some(404), report)]);
        let moved = after_error(&pages, "ExamplePage.html", 404).unwrap();
        assert_eq!(
            moved.location(Protocol::Https, "own"),
            "https://ec2-11-22.compute.amazonaws.com/report-404/ExamplePage.html"
        );
        assert_eq!(after_error(&pages, "ExamplePage.html", 403), None);
        let all = Website::Elsewhere { host: "a.b".into(), protocol: Some(Protocol::Https) };
        assert_eq!(location(first(&all, "x/y z", Some("q=1"))), "https://a.b/x/y%20z?q=1");
        assert_eq!(location(first(&all, "", None)), "https://a.b/");
        let part = vec![rule_of(None, None, new(NewKey::Prefix("#!/".into())))];
        assert_eq!(location(first(&site(part), "a#b", None)), "http://own/#!/a%23b");
    }

    #[test]
    fn what_s3_refuses_is_refused() {
        let bad_index =
            |index: &str| Website::Pages(Pages { index: index.to_owned(), ..Pages::default() });
        let status = |status| {
            site(vec![rule_of(None, None, Redirect { status: Some(status), ..to_host("a") })])
        };
        let error = |code| site(vec![rule_of(None, Some(code), to_host("a"))]);
        let many = |count| site(vec![rule_of(None, None, to_host("a")); count]);
        let empty = site(vec![rule_of(Some("a"), None, Redirect::default())]);
        for bad in [bad_index(""), bad_index("a/b")] {
            assert!(matches!(check(&bad), Err(Refusal::Index(_))), "{bad:?}");
        }
        for bad in [status(200), status(300), status(400), error(200), error(600), many(51)] {
            assert!(matches!(check(&bad), Err(Refusal::Invalid(_))), "{bad:?}");
        }
        let nowhere = Website::Elsewhere { host: String::new(), protocol: None };
        assert_eq!((check(&empty), check(&nowhere)), (Err(Refusal::Shape), Err(Refusal::Shape)));
        for good in [status(301), status(308), error(404), error(503), many(50)] {
            assert_eq!(check(&good), Ok(()));
        }
        assert!(is_location("/a") && is_location("https://a") && !is_location("a"));
    }

    fn any_redirect() -> impl Strategy<Value = Redirect> {
        let key = prop_oneof![
            Just(None),
            "[a-z#!/ ]{0,4}".prop_map(|text| Some(NewKey::Whole(text))),
            "[a-z#!/ ]{0,4}".prop_map(|text| Some(NewKey::Prefix(text))),
        ];
        let status = prop::option::of(301..309_u16);
        (prop::option::of("[a-z]{1,3}\\.b"), key, status).prop_map(|(host, key, status)| Redirect {
            host,
            protocol: None,
            key,
            status,
        })
    }

    fn any_rule() -> impl Strategy<Value = Rule> {
        let error = prop::option::of(prop::sample::select(&[403_u16, 404][..]));
        (prop::option::of("[ab/]{0,2}"), error, any_redirect())
            .prop_map(|(prefix, error, redirect)| Rule { when: When { prefix, error }, redirect })
    }

    proptest! {
        /// Against the definition: rules in order, then the index of a folder, then the key.
        #[test]
        fn the_first_rule_that_matches_decides(
            rules in prop::collection::vec(any_rule(), 0..5),
            key in "[ab/]{0,4}|\\PC{0,4}",
            error in prop::sample::select(&[None, Some(403_u16), Some(404)][..]),
        ) {
            let pages = pages(rules.clone());
            let moved = match error {
                None => match first(&Website::Pages(pages), &key, None) {
                    First::Moved(moved) => Some(moved),
                    First::Key(served) => {
                        let is_folder = key.is_empty() || key.ends_with('/');
                        let index = if is_folder { "index.html" } else { "" };
                        prop_assert_eq!(served, format!("{key}{index}"));
                        None
                    }
                },
                Some(status) => after_error(&pages, &key, status),
            };
            let mut expected = None;
            for Rule { when, redirect } in &rules {
                let prefix = when.prefix.clone().unwrap_or_default();
                if when.error == error && key.starts_with(&prefix) {
                    expected = Some((prefix, redirect));
                    break;
                }
            }
            prop_assert_eq!(moved.is_some(), expected.is_some());
            let (Some(moved), Some((prefix, redirect))) = (moved, expected) else { return Ok(()) };
            prop_assert_eq!(moved.status, redirect.status.unwrap_or(301));
            let location = moved.location(Protocol::Http, "own.host");
            let host = redirect.host.clone().unwrap_or_else(|| "own.host".into());
            let rest = location.strip_prefix(&format!("http://{host}/")).unwrap();
            prop_assert!(location.bytes().all(|b| b.is_ascii_graphic()), "{}", location);
            let decoded = percent_encoding::percent_decode_str(rest).decode_utf8().unwrap();
            let wanted = match &redirect.key {
                None => key,
                Some(NewKey::Whole(new)) => new.clone(),
                Some(NewKey::Prefix(new)) => format!("{new}{}", &key[prefix.len()..]),
            };
            prop_assert_eq!(decoded, wanted);
        }
    }
}
