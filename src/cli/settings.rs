//! The settings of a bucket: one row each, with S3's document and the short values for people.

use quick_xml::escape::escape;

use crate::config::Size;

use super::error::{CliError, Exit};

/// What a setting's document is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Format {
    Xml,
    Json,
    /// A field of the bucket's JSON document, with the setting's name.
    Field,
}

/// What is sent to change a setting.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Given {
    pub(super) body: String,
    pub(super) header: Option<(&'static str, String)>,
}

impl From<String> for Given {
    fn from(body: String) -> Self {
        Self { body, header: None }
    }
}

/// One setting.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) name: &'static str,
    /// The parameter of S3 that it has.
    pub(super) query: &'static str,
    pub(super) format: Format,
    pub(super) what: &'static str,
    /// The element that says the most, for people.
    element: &'static str,
    /// The document of a short value; `None`: there is no such value.
    short: fn(&str) -> Option<Given>,
    /// The short value that takes it away, where S3 has no deletion of it.
    pub(super) unset: Option<&'static str>,
}

impl Setting {
    /// What is sent for a short value.
    pub(super) fn given(&self, value: &str) -> Result<Given, CliError> {
        (self.short)(value).ok_or_else(|| {
            let message = format!("`{value}` is no value of {}: {}", self.name, self.what);
            CliError::new(Exit::Usage, "Usage", message)
                .hint("--file FILE takes S3's whole document; godwit bucket get prints it")
        })
    }

    /// A few words for people from a document.
    pub(super) fn shown(&self, document: &str) -> String {
        if self.format == Format::Field {
            return document.to_owned();
        }
        let (open, close) = (format!("<{}>", self.element), format!("</{}>", self.element));
        let text = document.split_once(&open).and_then(|(_, rest)| rest.split_once(&close));
        text.map_or("set", |(text, _)| text).to_owned()
    }
}

fn xml(root: &str, inside: &str) -> Option<Given> {
    Some(format!("<{root}>{inside}</{root}>").into())
}

fn none(_: &str) -> Option<Given> {
    None
}

fn field(value: &str) -> Option<Given> {
    Some(value.to_owned().into())
}

fn regions(value: &str) -> Option<Given> {
    value.parse::<u8>().is_ok_and(|number| number > 0).then(|| value.to_owned().into())
}

/// All of them, by name.
pub(super) const SETTINGS: &[Setting] = &[
    Setting {
        name: "ack",
        query: "metadata",
        format: Format::Field,
        what: "regions that have a write before it is answered: a number, majority or default",
        element: "",
        short: |value| match value {
            "default" | "majority" => field(value),
            _ => regions(value),
        },
        unset: Some("default"),
    },
    Setting {
        name: "acl",
        query: "acl",
        format: Format::Xml,
        what: "private, public-read, public-read-write or authenticated-read",
        element: "Permission",
        short: |value| {
            Some(Given { body: String::new(), header: Some(("x-amz-acl", value.into())) })
        },
        unset: Some("private"),
    },
    Setting {
        name: "consistency",
        query: "metadata",
        format: Format::Field,
        what: "strong: everything in it is in one order for all regions; or eventual",
        element: "",
        short: |value| matches!(value, "strong" | "eventual").then(|| field(value)).flatten(),
        unset: Some("eventual"),
    },
    Setting {
        name: "copies",
        query: "metadata",
        format: Format::Field,
        what: "regions that have an object soon after",
        element: "",
        short: regions,
        unset: None,
    },
    Setting {
        name: "cors",
        query: "cors",
        format: Format::Xml,
        what: "origins that browsers may use it from: https://a.example,https://b.example or *",
        element: "AllowedOrigin",
        short: cors,
        unset: None,
    },
    Setting {
        name: "encryption",
        query: "encryption",
        format: Format::Xml,
        what: "on (AES256): new objects are encrypted at rest",
        element: "SSEAlgorithm",
        short: |value| {
            let rule = "<Rule><ApplyServerSideEncryptionByDefault><SSEAlgorithm>AES256\
                        </SSEAlgorithm></ApplyServerSideEncryptionByDefault></Rule>";
            (value == "on").then(|| xml("ServerSideEncryptionConfiguration", rule)).flatten()
        },
        unset: None,
    },
    Setting {
        name: "leases",
        query: "metadata",
        format: Format::Field,
        what: "on: strong reads of a key that a region reads often are local there; or off",
        element: "",
        short: |value| matches!(value, "on" | "off").then(|| field(value)).flatten(),
        unset: Some("off"),
    },
    Setting {
        name: "lifecycle",
        query: "lifecycle",
        format: Format::Xml,
        what: "a number of days after which objects expire",
        element: "Days",
        short: |value| {
            let days: u32 = value.parse().ok()?;
            let rule = format!(
                "<Rule><ID>expire</ID><Status>Enabled</Status><Filter><Prefix></Prefix></Filter>\
                 <Expiration><Days>{days}</Days></Expiration></Rule>"
            );
            xml("LifecycleConfiguration", &rule)
        },
        unset: None,
    },
    Setting {
        name: "lock",
        query: "object-lock",
        format: Format::Xml,
        what: "governance=DAYS or compliance=DAYS: how long new objects are locked",
        element: "Mode",
        short: lock,
        unset: Some("off"),
    },
    Setting {
        name: "logging",
        query: "logging",
        format: Format::Xml,
        what: "s3://BUCKET/PREFIX that access logs are delivered to, or off",
        element: "TargetBucket",
        short: |value| {
            if value == "off" {
                return xml("BucketLoggingStatus", "");
            }
            let at: super::s3::place::Remote = value.parse().ok()?;
            let (bucket, prefix) = (escape(&at.bucket), escape(&at.key));
            let inside = format!(
                "<LoggingEnabled><TargetBucket>{bucket}</TargetBucket>\
                 <TargetPrefix>{prefix}</TargetPrefix></LoggingEnabled>"
            );
            xml("BucketLoggingStatus", &inside)
        },
        unset: Some("off"),
    },
    Setting {
        name: "notification",
        query: "notification",
        format: Format::Xml,
        what: "a document alone, or off",
        element: "Topic",
        short: |value| (value == "off").then(|| xml("NotificationConfiguration", "")).flatten(),
        unset: Some("off"),
    },
    Setting {
        name: "ownership",
        query: "ownershipControls",
        format: Format::Xml,
        what: "BucketOwnerEnforced, BucketOwnerPreferred or ObjectWriter",
        element: "ObjectOwnership",
        short: |value| {
            let value = escape(value);
            let rule = format!("<Rule><ObjectOwnership>{value}</ObjectOwnership></Rule>");
            xml("OwnershipControls", &rule)
        },
        unset: None,
    },
    Setting {
        name: "payer",
        query: "requestPayment",
        format: Format::Xml,
        what: "requester or owner",
        element: "Payer",
        short: |value| {
            let payer = match value {
                "requester" => "Requester",
                "owner" => "BucketOwner",
                _ => return None,
            };
            xml("RequestPaymentConfiguration", &format!("<Payer>{payer}</Payer>"))
        },
        unset: Some("owner"),
    },
    Setting {
        name: "policy",
        query: "policy",
        format: Format::Json,
        what: "a document alone",
        element: "",
        short: none,
        unset: None,
    },
    Setting {
        name: "public-access",
        query: "publicAccessBlock",
        format: Format::Xml,
        what: "blocked: no list or policy makes anything public; or allowed",
        element: "BlockPublicAcls",
        short: |value| {
            let block = match value {
                "blocked" => true,
                "allowed" => false,
                _ => return None,
            };
            let names = [
                "BlockPublicAcls",
                "IgnorePublicAcls",
                "BlockPublicPolicy",
                "RestrictPublicBuckets",
            ];
            let inside: String =
                names.iter().map(|name| format!("<{name}>{block}</{name}>")).collect();
            xml("PublicAccessBlockConfiguration", &inside)
        },
        unset: None,
    },
    Setting {
        name: "quota_bytes",
        query: "metadata",
        format: Format::Field,
        what: "how large it may grow: 500MiB, 10GiB; 0: without end",
        element: "",
        short: |value| value.parse::<Size>().ok().map(|size| size.bytes().to_string().into()),
        unset: Some("0"),
    },
    Setting {
        name: "quota_objects",
        query: "metadata",
        format: Format::Field,
        what: "how many objects it may have; 0: without end",
        element: "",
        short: |value| value.parse::<u64>().ok().map(|number| number.to_string().into()),
        unset: Some("0"),
    },
    Setting {
        name: "tags",
        query: "tagging",
        format: Format::Xml,
        what: "NAME=VALUE,NAME=VALUE",
        element: "Key",
        short: |value| {
            let mut tags = String::new();
            for pair in value.split(',') {
                let (name, value) = pair.split_once('=')?;
                let (name, value) = (escape(name), escape(value));
                tags += &format!("<Tag><Key>{name}</Key><Value>{value}</Value></Tag>");
            }
            xml("Tagging", &format!("<TagSet>{tags}</TagSet>"))
        },
        unset: None,
    },
    Setting {
        name: "versioning",
        query: "versioning",
        format: Format::Xml,
        what: "on or suspended",
        element: "Status",
        short: |value| {
            let status = match value {
                "on" => "Enabled",
                "suspended" => "Suspended",
                _ => return None,
            };
            xml("VersioningConfiguration", &format!("<Status>{status}</Status>"))
        },
        unset: Some("suspended"),
    },
    Setting {
        name: "website",
        query: "website",
        format: Format::Xml,
        what: "INDEX or INDEX,ERROR: index.html,404.html",
        element: "Suffix",
        short: |value| {
            let (index, error) = value.split_once(',').unwrap_or((value, ""));
            let mut inside =
                format!("<IndexDocument><Suffix>{}</Suffix></IndexDocument>", escape(index));
            if !error.is_empty() {
                let error = escape(error);
                inside += &format!("<ErrorDocument><Key>{error}</Key></ErrorDocument>");
            }
            xml("WebsiteConfiguration", &inside)
        },
        unset: None,
    },
];

fn cors(value: &str) -> Option<Given> {
    let origins: String = value
        .split(',')
        .map(|origin| format!("<AllowedOrigin>{}</AllowedOrigin>", escape(origin)))
        .collect();
    let methods: String = ["GET", "HEAD", "PUT", "POST", "DELETE"]
        .map(|method| format!("<AllowedMethod>{method}</AllowedMethod>"))
        .concat();
    let rest = "<AllowedHeader>*</AllowedHeader><ExposeHeader>ETag</ExposeHeader>";
    xml("CORSConfiguration", &format!("<CORSRule>{origins}{methods}{rest}</CORSRule>"))
}

fn lock(value: &str) -> Option<Given> {
    let mut inside = "<ObjectLockEnabled>Enabled</ObjectLockEnabled>".to_owned();
    if value != "off" {
        let (mode, days) = value.split_once('=')?;
        let mode = match mode {
            "governance" => "GOVERNANCE",
            "compliance" => "COMPLIANCE",
            _ => return None,
        };
        let days: u32 = days.parse().ok()?;
        inside += &format!(
            "<Rule><DefaultRetention><Mode>{mode}</Mode><Days>{days}</Days></DefaultRetention></Rule>"
        );
    }
    xml("ObjectLockConfiguration", &inside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_what_takes_one_away_is_a_value_of_it() {
        assert!(SETTINGS.windows(2).all(|w| w[0].name < w[1].name));
        for setting in SETTINGS {
            if let Some(unset) = setting.unset {
                assert!(setting.given(unset).is_ok(), "{}", setting.name);
            }
            if !matches!(setting.name, "acl" | "cors" | "website" | "ownership") {
                assert!(setting.given("nonsense <&>").is_err(), "{}", setting.name);
            }
        }
    }

    #[test]
    fn values_are_escaped_and_shown_again() {
        let tags = SETTINGS.iter().find(|setting| setting.name == "tags").unwrap();
        let given = tags.given("a=<&>").unwrap();
        assert!(given.body.contains("<Value>&lt;&amp;&gt;</Value>"), "{}", given.body);
        let versioning = SETTINGS.iter().find(|setting| setting.name == "versioning").unwrap();
        assert_eq!(versioning.shown(&versioning.given("on").unwrap().body), "Enabled");
    }
}
