//! What S3 stores with an object besides its bytes and its own metadata.
//!
//! Invariant: headers that were stored before an object could have regions of its own read as those
//! of an object without them, and what has no regions is stored as it was then.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::bucket::Location;
use super::region::RegionId;

/// The standard headers that S3 stores with an object, and where its bytes may lie.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoredHeaders {
    pub content_type: Option<String>,
    pub cache_control: Option<String>,
    pub content_disposition: Option<String>,
    pub content_encoding: Option<String>,
    pub content_language: Option<String>,
    pub expires: Option<String>,
    pub website_redirect: Option<String>,
    /// `STANDARD` when none was asked for.
    pub storage_class: Option<String>,
    /// The object's own regions (`X-Tigris-Regions`), of those that its bucket has.
    pub location: Location,
}

/// The headers as they are stored: in this order, without names.
#[derive(Serialize, Deserialize)]
struct Encoded<'a> {
    content_type: Option<Cow<'a, str>>,
    cache_control: Option<Cow<'a, str>>,
    content_disposition: Option<Cow<'a, str>>,
    content_encoding: Option<Cow<'a, str>>,
    content_language: Option<Cow<'a, str>>,
    expires: Option<Cow<'a, str>>,
    website_redirect: Option<Cow<'a, str>>,
    last: Last<'a>,
}

/// The first two are the bytes of an `Option`, which is what stood here before there were regions.
#[derive(Serialize, Deserialize)]
enum Last<'a> {
    Plain,
    Class(Cow<'a, str>),
    Placed { class: Option<Cow<'a, str>>, regions: Cow<'a, [RegionId]> },
}

impl Serialize for StoredHeaders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        fn text(value: &Option<String>) -> Option<Cow<'_, str>> {
            value.as_deref().map(Cow::Borrowed)
        }
        let last = match (&self.location, text(&self.storage_class)) {
            (Location::Everywhere, None) => Last::Plain,
            (Location::Everywhere, Some(class)) => Last::Class(class),
            (Location::Only(regions), class) => Last::Placed { class, regions: regions.into() },
        };
        let encoded = Encoded {
            content_type: text(&self.content_type),
            cache_control: text(&self.cache_control),
            content_disposition: text(&self.content_disposition),
            content_encoding: text(&self.content_encoding),
            content_language: text(&self.content_language),
            expires: text(&self.expires),
            website_redirect: text(&self.website_redirect),
            last,
        };
        encoded.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for StoredHeaders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let Encoded {
            content_type,
            cache_control,
            content_disposition,
            content_encoding,
            content_language,
            expires,
            website_redirect,
            last,
        } = Encoded::deserialize(deserializer)?;
        let text = |value: Option<Cow<'_, str>>| value.map(Cow::into_owned);
        let (storage_class, location) = match last {
            Last::Plain => (None, Location::Everywhere),
            Last::Class(class) => (Some(class.into_owned()), Location::Everywhere),
            Last::Placed { class, regions } => (text(class), Location::Only(regions.into_owned())),
        };
        Ok(Self {
            content_type: text(content_type),
            cache_control: text(cache_control),
            content_disposition: text(content_disposition),
            content_encoding: text(content_encoding),
            content_language: text(content_language),
            expires: text(expires),
            website_redirect: text(website_redirect),
            storage_class,
            location,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As they were stored before objects had regions.
    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Before {
        content_type: Option<String>,
        cache_control: Option<String>,
        content_disposition: Option<String>,
        content_encoding: Option<String>,
        content_language: Option<String>,
        expires: Option<String>,
        website_redirect: Option<String>,
        storage_class: Option<String>,
    }

    fn headers(class: Option<&str>, location: Location) -> StoredHeaders {
        StoredHeaders {
            content_type: Some("text/plain".into()),
            expires: Some("never".into()),
            storage_class: class.map(str::to_owned),
            location,
            ..StoredHeaders::default()
        }
    }

    fn before(class: Option<&str>) -> Before {
        Before {
            content_type: Some("text/plain".into()),
            cache_control: None,
            content_disposition: None,
            content_encoding: None,
            content_language: None,
            expires: Some("never".into()),
            website_redirect: None,
            storage_class: class.map(str::to_owned),
        }
    }

    #[test]
    fn what_was_stored_before_objects_had_regions_is_read_and_written_the_same() {
        for class in [None, Some("STANDARD_IA")] {
            let old = postcard::to_allocvec(&before(class)).unwrap();
            let new = headers(class, Location::Everywhere);
            assert_eq!(postcard::from_bytes::<StoredHeaders>(&old).unwrap(), new);
            assert_eq!(postcard::to_allocvec(&new).unwrap(), old);
        }
    }

    #[test]
    fn regions_come_back_with_and_without_a_class() {
        let regions = ["fra", "iad"].map(|code| code.parse().unwrap()).to_vec();
        for class in [None, Some("STANDARD_IA")] {
            let placed = headers(class, Location::Only(regions.clone()));
            let bytes = postcard::to_allocvec(&(&placed, 7_u8)).unwrap();
            let (back, after): (StoredHeaders, u8) = postcard::from_bytes(&bytes).unwrap();
            assert_eq!((back, after), (placed, 7));
        }
    }
}
