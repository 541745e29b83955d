//! The dates that signed requests carry: `20130524T000000Z` and those of HTTP and mail.

use time::format_description::well_known::Rfc2822;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

/// The moment a request was signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SignedAt {
    /// Seconds since 1970.
    pub(crate) seconds: u64,
}

impl SignedAt {
    /// `20130524T000000Z`.
    pub(crate) fn parse_basic(text: &str) -> Option<Self> {
        let form = format_description!("[year][month][day]T[hour][minute][second]Z");
        let date = PrimitiveDateTime::parse(text, form).ok()?;
        Self::of(date.assume_utc())
    }

    /// Any form that clients send in `Date` or `x-amz-date`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Some(at) = Self::parse_basic(text) {
            return Some(at);
        }
        if let Ok(date) = httpdate::parse_http_date(text) {
            let seconds = date.duration_since(std::time::UNIX_EPOCH).ok()?.as_secs();
            return Some(Self { seconds });
        }
        Self::of(OffsetDateTime::parse(text, &Rfc2822).ok()?)
    }

    fn of(date: OffsetDateTime) -> Option<Self> {
        Some(Self { seconds: u64::try_from(date.unix_timestamp()).ok()? })
    }

    fn date_time(self) -> OffsetDateTime {
        let seconds = i64::try_from(self.seconds).unwrap_or(i64::MAX);
        OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(OffsetDateTime::UNIX_EPOCH)
    }

    /// `20130524T000000Z`.
    pub(crate) fn basic(self) -> String {
        let t = self.date_time();
        format!("{}T{:02}{:02}{:02}Z", self.day(), t.hour(), t.minute(), t.second())
    }

    /// `20130524`.
    pub(crate) fn day(self) -> String {
        let t = self.date_time();
        format!("{:04}{:02}{:02}", t.year(), u8::from(t.month()), t.day())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forms_of_dates_mean_the_same_moment() {
        let at = SignedAt { seconds: 1_369_353_600 };
        for text in [
            "20130524T000000Z",
            "Fri, 24 May 2013 00:00:00 GMT",
            "Fri, 24 May 2013 00:00:00 +0000",
            "Fri, 24 May 2013 02:00:00 +0200",
        ] {
            assert_eq!(SignedAt::parse(text), Some(at), "{text}");
        }
        assert_eq!(at.basic(), "20130524T000000Z");
        assert_eq!(at.day(), "20130524");
        for text in ["", "20130524", "20131324T000000Z", "now", "20130524T000000", "é"] {
            assert_eq!(SignedAt::parse(text), None, "{text}");
        }
    }
}
