//! From when and until when a certificate holds: read from its bytes, which no layer below tells.
//!
//! Invariant: any bytes give times or nothing. Whether a certificate is genuine is not asked here.

use serde::{Deserialize, Serialize};
use time::{Date, Month, PrimitiveDateTime, Time};

/// When a certificate holds, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validity {
    pub from_ms: u64,
    pub until_ms: u64,
}

impl Validity {
    /// That of a certificate in DER.
    pub fn of(certificate: &[u8]) -> Option<Self> {
        of(certificate)
    }

    /// What is left of it.
    pub fn left_ms(self, now_ms: u64) -> u64 {
        self.until_ms.saturating_sub(now_ms)
    }

    pub fn is_over(self, now_ms: u64) -> bool {
        now_ms >= self.until_ms
    }

    /// A node asks for its next certificate from then on: a third of the life is left.
    pub fn renews_ms(self) -> u64 {
        self.until_ms - self.life_ms() / 3
    }

    /// It should have been renewed some time ago.
    pub fn is_near_its_end(self, now_ms: u64) -> bool {
        self.left_ms(now_ms) < self.life_ms() / 4
    }

    fn life_ms(self) -> u64 {
        self.until_ms.saturating_sub(self.from_ms)
    }
}

const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const VERSION: u8 = 0xa0;

/// The validity of a certificate in DER. Source: RFC 5280, section 4.1.
pub(super) fn of(certificate: &[u8]) -> Option<Validity> {
    let (certificate, _) = expect(certificate, SEQUENCE)?;
    let (signed, _) = expect(certificate, SEQUENCE)?;
    let rest = expect(signed, VERSION).map_or(signed, |(_, rest)| rest);
    let (_serial, rest) = expect(rest, INTEGER)?;
    let (_algorithm, rest) = expect(rest, SEQUENCE)?;
    let (_issuer, rest) = expect(rest, SEQUENCE)?;
    let (times, _) = expect(rest, SEQUENCE)?;
    let (from_ms, rest) = moment(times)?;
    let (until_ms, _) = moment(rest)?;
    (until_ms > from_ms).then_some(Validity { from_ms, until_ms })
}

/// The contents of the element that these bytes begin with, if it has this tag; and what follows.
fn expect(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (first, rest) = bytes.split_first()?;
    let (len, rest) = length(rest)?;
    (*first == tag && len <= rest.len()).then(|| rest.split_at(len))
}

/// Short, or up to four bytes of it. Source: ITU-T X.690, section 8.1.3.
fn length(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let (first, rest) = bytes.split_first()?;
    if *first < 0x80 {
        return Some((usize::from(*first), rest));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) || rest.len() < count {
        return None;
    }
    let (digits, rest) = rest.split_at(count);
    let len = digits.iter().fold(0_u64, |len, digit| (len << 8) | u64::from(*digit));
    Some((usize::try_from(len).ok()?, rest))
}

/// One time, in milliseconds since 1970. Source: RFC 5280, section 4.1.2.5.
fn moment(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (year_digits, (text, rest)) = match expect(bytes, UTC_TIME) {
        Some(found) => (2, found),
        None => (4, expect(bytes, GENERALIZED_TIME)?),
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    if text.len() != year_digits + 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let year: i32 = text[..year_digits].parse().ok()?;
    let year = match year_digits {
        2 if year >= 50 => 1900 + year,
        2 => 2000 + year,
        _ => year,
    };
    let mut parts = (0..5).map(|part| text[year_digits + 2 * part..][..2].parse::<u8>());
    let mut part = || parts.next()?.ok();
    let (month, day, hour, minute, second) = (part()?, part()?, part()?, part()?, part()?);
    let date = Date::from_calendar_date(year, Month::try_from(month).ok()?, day).ok()?;
    let time = Time::from_hms(hour, minute, second).ok()?;
    let seconds = PrimitiveDateTime::new(date, time).assume_utc().unix_timestamp();
    Some((u64::try_from(seconds).ok()?.checked_mul(1000)?, rest))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    fn utc(text: &str) -> Option<u64> {
        let tag = if text.len() == 13 { UTC_TIME } else { GENERALIZED_TIME };
        let len = u8::try_from(text.len()).unwrap();
        let bytes = [&[tag, len], text.as_bytes()].concat();
        moment(&bytes).map(|(ms, _)| ms)
    }

    #[test]
    fn times_of_both_kinds_are_read() {
        assert_eq!(utc("700101000000Z"), Some(0));
        assert_eq!(utc("260101000001Z"), Some(1_767_225_601_000));
        assert_eq!(utc("20500101000000Z"), Some(2_524_608_000_000));
        for wrong in ["261301000000Z", "26010100000Z", "260101000000+", "690101000000Z", ""] {
            assert_eq!(utc(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_third_before_the_end_it_is_time_for_the_next() {
        let validity = Validity { from_ms: 1_000, until_ms: 91_000 };
        assert_eq!(validity.renews_ms(), 61_000);
        assert!(!validity.is_near_its_end(68_000) && validity.is_near_its_end(69_000));
        assert!(!validity.is_over(90_999) && validity.is_over(91_000));
        assert_eq!((validity.left_ms(90_000), validity.left_ms(95_000)), (1_000, 0));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(mut bytes: Vec<u8>, kind in any::<u8>()) {
            let _ = of(&bytes);
            bytes.splice(..0, [SEQUENCE, 60, SEQUENCE, 50, INTEGER, 1, 1, SEQUENCE, kind]);
            let _ = of(&bytes);
        }
    }
}
