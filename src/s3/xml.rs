//! XML in and out.
//!
//! Invariant: what is read is bounded in size and depth, has the expected root, and has no document
//! type, so no entities of its own; what is written is well-formed whatever text it carries.

use std::fmt::{Display, Write as _};

use bytes::Bytes;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde::de::DeserializeOwned;

use crate::limits;

use super::error::{Code, S3Error};

/// The namespace of every S3 document.
pub const NAMESPACE: &str = "http://s3.amazonaws.com/doc/2006-03-01/";

/// Parses a document with this root element. A namespace prefix on names is ignored.
pub fn parse<T: DeserializeOwned>(document: &[u8], root: &str) -> Result<T, S3Error> {
    if document.len() > limits::XML_BYTES_MAX {
        return Err(S3Error::new(Code::MaxMessageLengthExceeded));
    }
    let text = std::str::from_utf8(document).map_err(|error| malformed(error.to_string()))?;
    check_shape(text, root)?;
    quick_xml::de::from_str(text).map_err(|error| malformed(error.to_string()))
}

fn malformed(why: impl Into<String>) -> S3Error {
    S3Error::new(Code::MalformedXML).source(why.into())
}

/// What the typed parser does not look at: root name, depth, document type, what follows the root.
fn check_shape(text: &str, root: &str) -> Result<(), S3Error> {
    let mut reader = Reader::from_str(text);
    let mut depth = 0_usize;
    let mut roots = 0_usize;
    loop {
        let event = reader.read_event().map_err(|error| malformed(error.to_string()))?;
        match &event {
            Event::Start(tag) | Event::Empty(tag) => {
                if depth == 0 {
                    roots += 1;
                    if tag.local_name().as_ref() != root || roots > 1 {
                        return Err(malformed("another root element"));
                    }
                }
                if matches!(event, Event::Start(_)) {
                    depth += 1;
                }
                if depth > limits::XML_DEPTH_MAX {
                    return Err(malformed("nested too deeply"));
                }
            }
            Event::End(_) => depth = depth.saturating_sub(1),
            Event::DocType(_) => return Err(malformed("a document type is not allowed")),
            Event::Text(text) if depth == 0 && !text.trim().is_empty() => {
                return Err(malformed("text outside the root element"));
            }
            Event::CData(_) | Event::GeneralRef(_) if depth == 0 => {
                return Err(malformed("text outside the root element"));
            }
            Event::Eof if depth == 0 && roots == 1 => return Ok(()),
            Event::Eof => return Err(malformed("ends too early")),
            Event::Text(_)
            | Event::CData(_)
            | Event::GeneralRef(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_) => {}
        }
    }
}

/// Writes one document. Elements are closed in order; [`Writer::finish`] closes what is open.
pub struct Writer {
    out: String,
    open: Vec<&'static str>,
}

impl Writer {
    /// A document with this root, in S3's namespace.
    pub fn new(root: &'static str) -> Self {
        let mut writer = Self::bare(root);
        writer.out.pop();
        let _ = write!(writer.out, " xmlns=\"{NAMESPACE}\">");
        writer
    }

    /// A document whose root has no namespace (errors).
    pub fn bare(root: &'static str) -> Self {
        let mut out = String::with_capacity(512);
        out.push_str("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n");
        let mut writer = Self { out, open: Vec::with_capacity(4) };
        writer.open(root);
        writer
    }

    pub fn open(&mut self, name: &'static str) -> &mut Self {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
        self.open.push(name);
        self
    }

    /// An element with attributes, whose values are escaped.
    pub fn open_with(&mut self, name: &'static str, attributes: &[(&str, &str)]) -> &mut Self {
        self.out.push('<');
        self.out.push_str(name);
        for (attribute, value) in attributes {
            let _ = write!(self.out, " {attribute}=\"");
            escape(value, &mut self.out);
            self.out.push('"');
        }
        self.out.push('>');
        self.open.push(name);
        self
    }

    pub fn close(&mut self) -> &mut Self {
        let name = self.open.pop().expect("close is called once for each open");
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
        self
    }

    /// An element with text, escaped.
    pub fn text(&mut self, name: &'static str, text: &str) -> &mut Self {
        self.element(name, text, escape)
    }

    /// An element with a name of a list. What XML 1.0 has no room for goes as a reference, as S3
    /// sends it: strict readers refuse it, and have `encoding-type=url` for that.
    pub fn listed(&mut self, name: &'static str, text: &str) -> &mut Self {
        self.element(name, text, escape_all)
    }

    /// The same, where there is one.
    pub fn listed_some(&mut self, name: &'static str, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            self.listed(name, text);
        }
        self
    }

    fn element<V: ?Sized>(
        &mut self,
        name: &'static str,
        value: &V,
        push: impl Fn(&V, &mut String),
    ) -> &mut Self {
        self.out.push('<');
        self.out.push_str(name);
        self.out.push('>');
        push(value, &mut self.out);
        self.out.push_str("</");
        self.out.push_str(name);
        self.out.push('>');
        self
    }

    /// Text of the element that is open, escaped.
    pub fn content(&mut self, text: &str) -> &mut Self {
        escape(text, &mut self.out);
        self
    }

    /// An element with text, where there is one.
    pub fn text_some(&mut self, name: &'static str, text: Option<&str>) -> &mut Self {
        if let Some(text) = text {
            self.text(name, text);
        }
        self
    }

    /// An element with a number, a boolean, or another value that prints itself.
    pub fn value(&mut self, name: &'static str, value: impl Display) -> &mut Self {
        self.element(name, &value, |value, out| {
            let _ = write!(Escaping(out), "{value}");
        })
    }

    /// An element with a time, as S3 writes it: `2006-02-03T16:45:09.000Z`.
    pub fn date(&mut self, name: &'static str, ms: u64) -> &mut Self {
        self.element(name, &ms, |ms, out| push_iso_date(*ms, out))
    }

    /// An entity tag in quotes, which S3 escapes.
    pub fn etag(&mut self, etag: &str) -> &mut Self {
        self.element("ETag", etag, |etag, out| {
            out.push_str("&quot;");
            escape(etag, out);
            out.push_str("&quot;");
        })
    }

    /// Makes room at once for what is about to come.
    pub fn reserve(&mut self, bytes: usize) {
        self.out.reserve(bytes);
    }

    /// The whole document.
    pub fn finish(mut self) -> Bytes {
        while !self.open.is_empty() {
            self.close();
        }
        Bytes::from(self.out)
    }
}

/// Whether XML 1.0 has room for this character (<https://www.w3.org/TR/xml/#charsets>).
fn is_char(c: char) -> bool {
    !matches!(c, '\u{0}'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
}

/// Whether XML 1.0 has room for the whole text.
pub fn carries(text: &str) -> bool {
    text.chars().all(is_char)
}

/// Text as XML 1.0 can carry it: what it has no room for is replaced, for strict readers would refuse
/// the whole document, and take what was done for failed.
pub fn escape(text: &str, out: &mut String) {
    escape_with(text, out, |c| if is_char(c) { c } else { char::REPLACEMENT_CHARACTER });
}

/// Any text; control characters go as references.
fn escape_all(text: &str, out: &mut String) {
    escape_with(text, out, |c| c);
}

/// Most text has nothing to escape, and goes in long pieces.
fn escape_with(mut text: &str, out: &mut String, carried: impl Fn(char) -> char) {
    while let Some(at) = text.bytes().position(may_need_escape) {
        let (plain, rest) = text.split_at(at);
        out.push_str(plain);
        let mut chars = rest.chars();
        if let Some(c) = chars.next() {
            escape_one(carried(c), out);
        }
        text = chars.as_str();
    }
    out.push_str(text);
}

/// The first byte of every character that is escaped, and of few others: 0xEF begins U+FFFE and
/// U+FFFF. Never a byte within a character.
fn may_need_escape(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'&' | b'<' | b'>' | b'"' | 0x7f | 0xef)
}

/// Takes what a value prints of itself, escaped.
struct Escaping<'a>(&'a mut String);

impl std::fmt::Write for Escaping<'_> {
    fn write_str(&mut self, text: &str) -> std::fmt::Result {
        escape(text, self.0);
        Ok(())
    }
}

fn escape_one(c: char, out: &mut String) {
    match c {
        '&' => out.push_str("&amp;"),
        '<' => out.push_str("&lt;"),
        '>' => out.push_str("&gt;"),
        '"' => out.push_str("&quot;"),
        '\u{0}'..='\u{1f}' | '\u{7f}' | '\u{fffe}' | '\u{ffff}' => {
            let _ = write!(out, "&#x{:x};", u32::from(c));
        }
        _ => out.push(c),
    }
}

/// ISO 8601 with whole seconds, as S3 shows times in documents.
pub fn iso_date(ms: u64) -> String {
    let mut out = String::with_capacity(ISO_DATE_BYTES);
    push_iso_date(ms, &mut out);
    out
}

const ISO_DATE_BYTES: usize = "2006-02-03T16:45:09.000Z".len();

fn push_iso_date(ms: u64, out: &mut String) {
    let date = date_time(ms);
    push_digits(date.year().unsigned_abs(), 4, out);
    out.push('-');
    push_digits(u8::from(date.month()).into(), 2, out);
    out.push('-');
    push_digits(date.day().into(), 2, out);
    out.push('T');
    push_digits(date.hour().into(), 2, out);
    out.push(':');
    push_digits(date.minute().into(), 2, out);
    out.push(':');
    push_digits(date.second().into(), 2, out);
    out.push_str(".000Z");
}

fn push_digits(number: u32, digits: u32, out: &mut String) {
    for place in (0..digits).rev() {
        out.push(char::from(b"0123456789"[(number / 10_u32.pow(place) % 10) as usize]));
    }
}

/// The form of HTTP headers: `Fri, 03 Feb 2006 16:45:09 GMT`.
pub fn http_date(ms: u64) -> String {
    let seconds = std::time::Duration::from_secs(ms / 1000);
    httpdate::fmt_http_date(std::time::UNIX_EPOCH + seconds)
}

/// Milliseconds of a date of an HTTP header.
pub fn parse_http_date(text: &str) -> Option<u64> {
    let since = httpdate::parse_http_date(text).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    u64::try_from(since.as_millis()).ok()
}

fn date_time(ms: u64) -> time::OffsetDateTime {
    let seconds = i64::try_from(ms / 1000).unwrap_or(i64::MAX);
    time::OffsetDateTime::from_unix_timestamp(seconds).unwrap_or(time::OffsetDateTime::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "PascalCase")]
    struct Delete {
        #[serde(default)]
        quiet: bool,
        #[serde(default)]
        object: Vec<Object>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "PascalCase")]
    struct Object {
        key: String,
    }

    fn code(document: &str) -> Code {
        parse::<Delete>(document.as_bytes(), "Delete").unwrap_err().code()
    }

    #[test]
    fn a_document_is_read_whatever_the_order_of_its_elements() {
        let text = "<?xml version=\"1.0\"?><Delete xmlns=\"http://x/\"><Object><Key> a&amp;&#x1;\
                    </Key></Object><Quiet>true</Quiet><Object><Key>b</Key></Object></Delete>\n";
        let parsed: Delete = parse(text.as_bytes(), "Delete").unwrap();
        assert!(parsed.quiet);
        let keys: Vec<&str> = parsed.object.iter().map(|o| o.key.as_str()).collect();
        assert_eq!(keys, [" a&\u{1}", "b"]);
    }

    #[test]
    fn malformed_documents_are_refused() {
        let deep = format!("{}{}", "<Delete>".repeat(20), "</Delete>".repeat(20));
        let documents = [
            "",
            "x",
            "<Delete>",
            "<Delete></Other>",
            "<Other></Other>",
            "<Delete></Delete><Delete></Delete>",
            "<Delete></Delete>x",
            "<!DOCTYPE d [<!ENTITY e 'x'>]><Delete></Delete>",
            "<Delete><Object><Key>&e;</Key></Object></Delete>",
            "<Delete><Object></Object></Delete>",
            deep.as_str(),
        ];
        for document in documents {
            assert_eq!(code(document), Code::MalformedXML, "{document}");
        }
        assert_eq!(
            parse::<Delete>(b"<Delete>\xff</Delete>", "Delete").unwrap_err().code(),
            Code::MalformedXML
        );
    }

    #[test]
    fn what_is_written_can_be_read_back_whatever_the_text() {
        let key = "a<b>&\"'\u{1}\r\n\té\u{fffe}";
        let mut writer = Writer::new("Delete");
        writer.open("Object").listed("Key", key).close();
        let document = writer.finish();
        let parsed: Delete = parse(&document, "Delete").unwrap();
        assert_eq!(parsed.object[0].key, key);
    }

    #[test]
    fn what_xml_has_no_room_for_is_replaced_outside_of_lists() {
        let mut writer = Writer::bare("Error");
        writer.text("Key", "a\u{1}\t\u{b}\u{7f}\u{fffe}b");
        let document = String::from_utf8(writer.finish().to_vec()).unwrap();
        assert!(
            document.ends_with("<Key>a\u{fffd}&#x9;\u{fffd}&#x7f;\u{fffd}b</Key></Error>"),
            "{document}"
        );
        assert!(carries("a\t\r\n\u{7f}é\u{10ffff}") && !carries("\u{1f}") && !carries("\u{ffff}"));
    }

    #[test]
    fn dates_have_the_forms_of_s3() {
        let ms = 1_138_985_109_123;
        assert_eq!(iso_date(ms), "2006-02-03T16:45:09.000Z");
        assert_eq!(http_date(ms), "Fri, 03 Feb 2006 16:45:09 GMT");
        assert_eq!(parse_http_date("Fri, 03 Feb 2006 16:45:09 GMT"), Some(1_138_985_109_000));
        assert_eq!(parse_http_date("yesterday"), None);
    }

    proptest! {
        #[test]
        fn no_document_makes_the_parser_panic(
            text in "(<(/?)(Delete|Object|Key)( a='b')?>|&#x?[0-9]{1,3};|&[a-z]{1,4};\
                     |<!--|-->|<!\\[CDATA\\[|\\]\\]>|[ -~]){0,20}",
        ) {
            let _ = parse::<Delete>(text.as_bytes(), "Delete");
        }

        #[test]
        fn text_that_goes_in_long_pieces_is_escaped_as_if_by_character(
            text in "[ -~\u{0}-\u{1f}\u{7f}é\u{f000}\u{fffd}-\u{ffff}\u{10ffff}]{0,40}",
        ) {
            let mut by_character = String::new();
            text.chars().for_each(|c| escape_one(c, &mut by_character));
            let mut all = String::new();
            escape_all(&text, &mut all);
            prop_assert_eq!(all, by_character);
        }

        #[test]
        fn dates_are_written_as_the_calendar_says(ms in 0..253_402_300_800_000_u64) {
            let at = date_time(ms);
            let (date, hour, minute, second) = (at.date(), at.hour(), at.minute(), at.second());
            let said = format!("{date}T{hour:02}:{minute:02}:{second:02}.000Z");
            prop_assert_eq!(iso_date(ms), said);
        }

        #[test]
        fn any_text_comes_back_as_it_was_written(key in "[^\u{0}]{0,30}") {
            let mut writer = Writer::new("Delete");
            writer.open("Object").listed("Key", &key).close();
            let parsed: Delete = parse(&writer.finish(), "Delete").unwrap();
            prop_assert_eq!(&parsed.object[0].key, &key);
        }
    }
}
