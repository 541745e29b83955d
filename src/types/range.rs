//! A byte range as a client asks for it, before the size of the object is known.

use std::ops::Range;

/// One range of an HTTP `Range: bytes=` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ByteRange {
    /// From a position, to a last position or to the end.
    From { first: u64, last: Option<u64> },
    /// The last so many bytes.
    Suffix(u64),
}

impl ByteRange {
    /// Reads a header. `None` for what S3 ignores, the whole object being answered then: another
    /// unit, several ranges, or what is no range at all.
    /// Source: RFC 9110 section 14.2; S3 API reference, GetObject (one range a request).
    pub fn parse(header: &str) -> Option<Self> {
        let (first, last) = header.trim().strip_prefix("bytes=")?.trim().split_once('-')?;
        let number = |text: &str| {
            let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
            digits.then(|| text.parse().unwrap_or(u64::MAX))
        };
        match (first, last) {
            ("", suffix) => Some(Self::Suffix(number(suffix)?)),
            (first, "") => Some(Self::From { first: number(first)?, last: None }),
            (first, last) => {
                let ascends = magnitude(first) <= magnitude(last);
                let (first, last) = (number(first)?, number(last)?);
                ascends.then_some(Self::From { first, last: Some(last) })
            }
        }
    }

    /// The bytes meant of an object with `size` bytes; `None` when there are none (416).
    pub fn resolve(self, size: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From { first, last } => {
                first..last.map_or(size, |last| last.saturating_add(1)).min(size)
            }
            Self::Suffix(count) => size.saturating_sub(count)..size,
        };
        (range.start < range.end).then_some(range)
    }

    /// The same for a range that may not reach beyond the object: copies of parts are never cut.
    pub fn resolve_whole(self, size: u64) -> Option<Range<u64>> {
        let beyond = matches!(self, Self::From { last: Some(last), .. } if last >= size);
        self.resolve(size).filter(|_| !beyond)
    }
}

/// Orders digits by their number, however large it is.
fn magnitude(digits: &str) -> (usize, &str) {
    let digits = digits.trim_start_matches('0');
    (digits.len(), digits)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The positions that a header means of an object, by the words of RFC 9110; `None` where the
    /// header is none that S3 looks at.
    fn naive(header: &str, size: u64) -> Option<Vec<u64>> {
        let (first, last) = header.strip_prefix("bytes=")?.split_once('-')?;
        let number = |text: &str| text.chars().all(|c| c.is_ascii_digit()).then(|| text.parse());
        let number = |text: &str| Some(number(text)?.unwrap_or(u128::MAX));
        let size = u128::from(size);
        let means: Box<dyn Fn(u128) -> bool> = match (first.is_empty(), last.is_empty()) {
            (true, true) => return None,
            (true, false) => {
                let count = number(last)?;
                Box::new(move |at| size - at <= count)
            }
            (false, true) => {
                let first = number(first)?;
                Box::new(move |at| at >= first)
            }
            (false, false) => {
                let (first, last) = (number(first)?, number(last)?);
                if last < first {
                    return None;
                }
                Box::new(move |at| at >= first && at <= last)
            }
        };
        Some((0..size).filter(|at| means(*at)).map(|at| u64::try_from(at).unwrap()).collect())
    }

    proptest! {
        #[test]
        fn a_range_is_the_bytes_that_its_header_means(
            header in prop_oneof![
                "bytes=(|[0-9]{1,2}|1844674407370955161[4-9])-(|[0-9]{1,2}|1844674407370955161[5-7])",
                "[bytes=0-9, -]{0,12}",
            ],
            size in 0..40_u64,
        ) {
            let range = ByteRange::parse(&header);
            let trimmed = header.trim();
            let got = range.map(|range| range.resolve(size).map_or(vec![], Iterator::collect));
            if !trimmed.contains(' ') {
                prop_assert_eq!(&got, &naive(trimmed, size));
            }
            // A range that is not cut is the same, or refused because it reaches beyond.
            if let Some(whole) = range.and_then(|range| range.resolve_whole(size)) {
                prop_assert_eq!(Some(whole.collect::<Vec<_>>()), got);
            }
        }
    }

    #[test]
    fn a_range_that_may_not_be_cut_ends_in_the_object() {
        let whole = |text: &str| ByteRange::parse(text).unwrap().resolve_whole(10);
        assert_eq!(whole("bytes=0-9"), Some(0..10));
        assert_eq!(whole("bytes=5-"), Some(5..10));
        assert_eq!(whole("bytes=0-10"), None);
        assert_eq!(whole("bytes=10-11"), None);
    }

    #[test]
    fn ranges_resolve_within_the_object() {
        let table = [
            ("bytes=0-0", Some(0..1)),
            ("bytes=2-", Some(2..10)),
            ("bytes=5-99", Some(5..10)),
            ("bytes=-3", Some(7..10)),
            ("bytes=-99", Some(0..10)),
            ("bytes=10-", None),
            ("bytes=-0", None),
            ("bytes=0-18446744073709551615", Some(0..10)),
            ("bytes=99999999999999999999999-", None),
        ];
        for (header, expected) in table {
            assert_eq!(ByteRange::parse(header).unwrap().resolve(10), expected, "{header}");
        }
        assert_eq!(ByteRange::parse("bytes=0-").unwrap().resolve(0), None);
    }

    #[test]
    fn what_is_no_single_range_is_ignored() {
        const HUGE: &str = "bytes=18446744073709551699-18446744073709551615";
        for header in
            ["bytes=5-2", "bytes=a-b", "bytes=0-1,3-4", "items=0-1", "bytes=-", "", "-", HUGE]
        {
            assert_eq!(ByteRange::parse(header), None, "{header}");
        }
    }
}
