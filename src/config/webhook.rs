//! Destinations of notifications as the settings name them.

use std::fmt;
use std::str::FromStr;

use http::Uri;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::event::is_destination;

/// `NAME=URL`, and then separated by blanks `format=s3` or `format=tigris`, `bearer=TOKEN`,
/// `basic=USER:PASSWORD`, `account=ID` (several times for several).
#[derive(Clone, PartialEq, Eq)]
pub struct Webhook {
    /// What the ARN of a bucket's configuration names it by.
    pub name: String,
    pub url: Uri,
    pub form: WebhookForm,
    pub auth: WebhookAuth,
    /// Whose buckets may name it; anybody's where there are none.
    pub accounts: Vec<String>,
}

/// Which messages it gets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WebhookForm {
    #[default]
    S3,
    Tigris,
}

/// How the node shows who it is.
#[derive(Clone, Default, PartialEq, Eq)]
pub enum WebhookAuth {
    #[default]
    None,
    Basic {
        user: String,
        password: String,
    },
    Bearer(String),
}

/// Says nothing of passwords and tokens; a URL can carry them too.
impl fmt::Debug for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Webhook").field("name", &self.name).finish_non_exhaustive()
    }
}

impl FromStr for Webhook {
    type Err = String;

    // The text is not repeated in an error: it may hold a password.
    fn from_str(text: &str) -> Result<Self, String> {
        let (name, rest) = text.split_once('=').ok_or("a webhook is NAME=URL")?;
        let name = name.trim();
        if !is_destination(name) {
            return Err("a webhook's name has 1 to 64 letters, digits, hyphens, underscores".into());
        }
        let bad = |why: &str| format!("webhook `{name}`: {why}");
        let mut words = rest.split_whitespace();
        let url: Uri = words.next().unwrap_or_default().parse().map_err(|_| bad("no URL"))?;
        if !matches!(url.scheme_str(), Some("http" | "https")) || url.host().is_none() {
            return Err(bad("its URL begins with http:// or https:// and a host"));
        }
        if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
            return Err(bad("user and password are not in the URL but in `basic=USER:PASSWORD`"));
        }
        let (mut form, mut auth) = (WebhookForm::S3, WebhookAuth::None);
        let mut accounts = Vec::new();
        for word in words {
            match word.split_once('=') {
                Some(("format", "s3")) => form = WebhookForm::S3,
                Some(("format", "tigris")) => form = WebhookForm::Tigris,
                Some(("account", id)) => accounts.push(id.to_owned()),
                Some(("bearer", token)) => auth = WebhookAuth::Bearer(token.to_owned()),
                Some(("basic", pair)) => {
                    let pair = pair.split_once(':').ok_or_else(|| bad("basic=USER:PASSWORD"))?;
                    let (user, password) = (pair.0.to_owned(), pair.1.to_owned());
                    auth = WebhookAuth::Basic { user, password };
                }
                _ => {
                    let why =
                        "knows format=s3|tigris, bearer=TOKEN, basic=USER:PASSWORD, account=ID";
                    return Err(bad(why));
                }
            }
        }
        Ok(Self { name: name.to_owned(), url, form, auth, accounts })
    }
}

impl fmt::Display for Webhook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.name, self.url)?;
        match self.form {
            WebhookForm::S3 => {}
            WebhookForm::Tigris => f.write_str(" format=tigris")?,
        }
        match &self.auth {
            WebhookAuth::None => {}
            WebhookAuth::Basic { user, password } => write!(f, " basic={user}:{password}")?,
            WebhookAuth::Bearer(token) => write!(f, " bearer={token}")?,
        }
        self.accounts.iter().try_for_each(|id| write!(f, " account={id}"))
    }
}

impl Serialize for Webhook {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Webhook {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn webhooks_come_back_from_their_texts() {
        for text in [
            "a=http://127.0.0.1:9/x?y=1",
            "a-B_1=https://example.com/ format=tigris",
            "a=https://example.com/ basic=me:pass:word",
            "a=https://example.com/ format=tigris bearer=t=1",
            "a=https://example.com/ bearer=t account=me account=you",
        ] {
            assert_eq!(text.parse::<Webhook>().unwrap().to_string(), text);
        }
        let plain: Webhook = "a=https://example.com format=s3".parse().unwrap();
        assert_eq!((plain.form, plain.auth == WebhookAuth::None), (WebhookForm::S3, true));
    }

    #[test]
    fn what_is_no_webhook_is_refused_without_its_secrets() {
        for text in [
            "https://example.com",
            "a b=https://example.com",
            "=https://example.com",
            "a=",
            "a=ftp://example.com secret",
            "a=example.com bearer=secret",
            "a=https://me:secret@example.com",
            "a=https://example.com secret",
            "a=https://example.com basic=secret",
            "a=https://example.com format=secret",
        ] {
            let why = text.parse::<Webhook>().unwrap_err();
            assert!(!why.contains("secret"), "{why}");
        }
        let hidden: Webhook = "a=https://example.com/secret bearer=secret".parse().unwrap();
        assert!(!format!("{hidden:?}").contains("secret"));
    }
}
