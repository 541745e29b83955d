//! `multipart/form-data`, bytes in and steps out.
//! Source: RFC 7578; RFC 2046 section 5.1.1 for the boundaries.
//!
//! Invariant: pure, and the same steps come out however the bytes are cut. All before the file's
//! bytes is bounded; those go through as slices of what came in and are never kept. What follows
//! the file is not looked at.

use bytes::{Bytes, BytesMut};
use memchr::memmem::Finder;

use crate::limits;

/// The name of the field that is the file.
const FILE: &str = "file";

/// What comes out next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// A whole field before the file. The name is lower case.
    Field { name: String, value: String },
    /// The file begins; with the name that the client gives it, without folders.
    File { name: Option<String> },
    /// Bytes of the file.
    Data(Bytes),
    /// Nothing more can come out of what was pushed.
    More,
    /// The file is whole, or there is none.
    End,
}

/// What is wrong with a form.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Malformed(&'static str),
    /// Too much before the file.
    TooLarge,
}

/// The state between two pushes.
#[derive(Debug)]
pub(crate) struct Parser {
    /// A boundary with the line end that is part of it.
    delimiter: Finder<'static>,
    buffer: Bytes,
    /// Bytes before the file that were read already.
    head: usize,
    state: State,
}

#[derive(Debug)]
enum State {
    /// Before the first boundary.
    Preamble,
    /// Behind a boundary: of another part, or of the end.
    Boundary,
    /// The headers of a part.
    Headers,
    /// The value of the field of this name.
    Value(String),
    File,
    FileBoundary,
    End,
}

impl Parser {
    pub(crate) fn new(boundary: &str) -> Self {
        let delimiter = format!("\r\n--{boundary}");
        Self {
            delimiter: Finder::new(delimiter.as_bytes()).into_owned(),
            // The first boundary may stand at the very beginning, without its line end.
            buffer: Bytes::from_static(b"\r\n"),
            head: 0,
            state: State::Preamble,
        }
    }

    pub(crate) fn push(&mut self, bytes: Bytes) {
        if self.buffer.is_empty() {
            self.buffer = bytes;
            return;
        }
        // What is left of the file is at most a boundary's beginning, and all before is bounded.
        let mut joined = BytesMut::with_capacity(self.buffer.len() + bytes.len());
        joined.extend_from_slice(&self.buffer);
        joined.extend_from_slice(&bytes);
        self.buffer = joined.freeze();
    }

    pub(crate) fn step(&mut self) -> Result<Step, Fault> {
        loop {
            match &mut self.state {
                State::Preamble => {
                    if self.up_to_delimiter()?.is_none() {
                        return Ok(Step::More);
                    }
                    self.state = State::Boundary;
                }
                State::Boundary => match self.behind_boundary()? {
                    Some(true) => self.state = State::Headers,
                    Some(false) => self.state = State::End,
                    None => return self.wait(),
                },
                State::Headers => {
                    let Some(headers) = self.headers()? else { return Ok(Step::More) };
                    let Part { name, filename } = Part::parse(&headers)?;
                    if name == FILE {
                        self.state = State::File;
                        return Ok(Step::File { name: filename });
                    }
                    self.state = State::Value(name);
                }
                State::Value(name) => {
                    let name = std::mem::take(name);
                    let Some(value) = self.up_to_delimiter()? else {
                        self.state = State::Value(name);
                        return Ok(Step::More);
                    };
                    self.state = State::Boundary;
                    let value = text(&value)?.to_owned();
                    return Ok(Step::Field { name, value });
                }
                State::File => {
                    if let Some(step) = self.file() {
                        return Ok(step);
                    }
                }
                State::FileBoundary => match self.behind_boundary()? {
                    Some(_) => self.state = State::End,
                    None => return self.wait(),
                },
                State::End => {
                    self.buffer = Bytes::new();
                    return Ok(Step::End);
                }
            }
        }
    }

    /// No byte will follow.
    pub(crate) fn finish(&self) -> Result<(), Fault> {
        match self.state {
            State::End => Ok(()),
            State::Preamble
            | State::Boundary
            | State::Headers
            | State::Value(_)
            | State::File
            | State::FileBoundary => Err(Fault::Malformed("the form ends too early")),
        }
    }

    /// More must come, but not more than may stand before the file.
    fn wait(&self) -> Result<Step, Fault> {
        if self.head + self.buffer.len() > limits::FORM_HEAD_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        Ok(Step::More)
    }

    /// Takes bytes before the file.
    fn take(&mut self, len: usize) -> Result<Bytes, Fault> {
        self.head += len;
        if self.head > limits::FORM_HEAD_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        Ok(self.buffer.split_to(len))
    }

    /// What stands before the next delimiter, which is taken too.
    fn up_to_delimiter(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(at) = self.delimiter.find(&self.buffer) else {
            return self.wait().map(|_| None);
        };
        let before = self.take(at)?;
        self.take(self.delimiter.needle().len())?;
        Ok(Some(before))
    }

    /// Whether another part follows; `None` while that cannot be said. Blanks before the line end
    /// may have been added on the way.
    fn behind_boundary(&mut self) -> Result<Option<bool>, Fault> {
        let padding = self.buffer.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
        let rest = &self.buffer[padding..];
        if padding == 0 && rest.starts_with(b"--") {
            return Ok(Some(false));
        }
        if rest.starts_with(b"\r\n") {
            // The line end stays: headers begin behind it, and may be none.
            self.take(padding)?;
            return Ok(Some(true));
        }
        let may_follow = b"\r\n".starts_with(rest) || padding == 0 && b"--".starts_with(rest);
        if may_follow {
            Ok(None)
        } else {
            Err(Fault::Malformed("a boundary is not at a line's end"))
        }
    }

    /// The headers of a part, each with the line end before it.
    fn headers(&mut self) -> Result<Option<Bytes>, Fault> {
        let Some(at) = memchr::memmem::find(&self.buffer, b"\r\n\r\n") else {
            return self.wait().map(|_| None);
        };
        let headers = self.take(at)?;
        self.take(4)?;
        Ok(Some(headers))
    }

    /// Bytes of the file, up to what may be the beginning of its delimiter; `None` behind that.
    fn file(&mut self) -> Option<Step> {
        let needle = self.delimiter.needle();
        let len = match self.delimiter.find(&self.buffer) {
            Some(0) => {
                self.buffer = self.buffer.slice(needle.len()..);
                self.head = 0;
                self.state = State::FileBoundary;
                return None;
            }
            Some(at) => at,
            None => {
                let tail = self.buffer.len().saturating_sub(needle.len() - 1);
                let begins = |at: &usize| needle.starts_with(&self.buffer[*at..]);
                let mut ends = memchr::memchr_iter(b'\r', &self.buffer[tail..]).map(|at| tail + at);
                ends.find(begins).unwrap_or(self.buffer.len())
            }
        };
        Some(match len {
            0 => Step::More,
            len => Step::Data(self.buffer.split_to(len)),
        })
    }
}

/// What the headers of a part say.
struct Part {
    /// Lower case.
    name: String,
    filename: Option<String>,
}

impl Part {
    fn parse(headers: &[u8]) -> Result<Self, Fault> {
        let disposition = text(headers)?
            .split("\r\n")
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
            .ok_or(Fault::Malformed("a part has no Content-Disposition"))?;
        let (kind, parameters) = disposition.1.split_once(';').unwrap_or((disposition.1, ""));
        if !kind.trim().eq_ignore_ascii_case("form-data") {
            return Err(Fault::Malformed("a part is no form-data"));
        }
        let (mut name, mut filename, mut extended) = (None, None, None);
        for (parameter, value) in parameters_of(parameters)? {
            match parameter.to_ascii_lowercase().as_str() {
                "name" => name = Some(value.to_ascii_lowercase()),
                "filename" => filename = Some(value),
                "filename*" => extended = extended_value(&value),
                _ => {}
            }
        }
        let name = name.filter(|name| !name.is_empty());
        let name = name.ok_or(Fault::Malformed("a part has no name"))?;
        let filename = extended.or(filename).map(|name| without_folders(&name).to_owned());
        Ok(Self { name, filename })
    }
}

/// Browsers on some systems send a whole path.
fn without_folders(name: &str) -> &str {
    name.rsplit(['/', '\\']).next().unwrap_or(name)
}

/// `name="a"; filename=b.txt`. In quotes a backslash escapes only a quote: a path may have others.
fn parameters_of(mut text: &str) -> Result<Vec<(&str, String)>, Fault> {
    const BAD: Fault = Fault::Malformed("a Content-Disposition is not valid");
    let mut all = Vec::new();
    loop {
        text = text.trim_start_matches([';', ' ', '\t']);
        if text.is_empty() {
            return Ok(all);
        }
        let (name, rest) = text.split_once('=').ok_or(BAD)?;
        let (value, rest) = match rest.strip_prefix('"') {
            Some(quoted) => unquoted(quoted).ok_or(BAD)?,
            None => {
                let end = rest.find(';').unwrap_or(rest.len());
                (rest[..end].trim().to_owned(), &rest[end..])
            }
        };
        all.push((name.trim(), value));
        text = rest;
    }
}

/// The text up to the closing quote, and what follows that.
fn unquoted(text: &str) -> Option<(String, &str)> {
    let mut value = String::new();
    let mut rest = text;
    loop {
        let at = rest.find(['"', '\\'])?;
        value.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(behind) = rest.strip_prefix("\\\"") {
            value.push('"');
            rest = behind;
        } else if let Some(behind) = rest.strip_prefix('\\') {
            value.push('\\');
            rest = behind;
        } else {
            return Some((value, &rest[1..]));
        }
    }
}

/// `UTF-8''a%20b`. Source: RFC 5987. Another encoding than UTF-8 is as if it were not there.
fn extended_value(text: &str) -> Option<String> {
    let (charset, rest) = text.split_once('\'')?;
    let (_, escaped) = rest.split_once('\'')?;
    let utf8 = charset.eq_ignore_ascii_case("utf-8");
    let decoded = percent_encoding::percent_decode_str(escaped).decode_utf8().ok()?;
    utf8.then(|| decoded.into_owned())
}

fn text(bytes: &[u8]) -> Result<&str, Fault> {
    std::str::from_utf8(bytes).map_err(|_| Fault::Malformed("a field is not UTF-8"))
}

/// The boundary in a `Content-Type`; `None` where that is another than `multipart/form-data`.
pub(crate) fn boundary(content_type: &str) -> Option<Result<String, Fault>> {
    let (kind, parameters) = content_type.split_once(';').unwrap_or((content_type, ""));
    if !kind.trim().eq_ignore_ascii_case("multipart/form-data") {
        return None;
    }
    let found = parameters_of(parameters).map(|all| {
        let found = all.into_iter().find(|(name, _)| name.eq_ignore_ascii_case("boundary"));
        found.map(|(_, boundary)| boundary)
    });
    let usable = |text: &String| (1..=limits::FORM_BOUNDARY_BYTES_MAX).contains(&text.len());
    Some(match found {
        Ok(found) => found.filter(usable).ok_or(Fault::Malformed("the boundary is not valid")),
        Err(fault) => Err(fault),
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What comes out of a form: fields, the file's name and its bytes.
    #[derive(Clone, Debug, Default, PartialEq, Eq)]
    struct Seen {
        fields: Vec<(String, String)>,
        file: Option<Option<String>>,
        data: Vec<u8>,
        more: bool,
    }

    /// Runs a parser over the pieces; `more` says that it still waits at their end.
    fn run<'a>(pieces: impl IntoIterator<Item = &'a [u8]>) -> Result<Seen, Fault> {
        let mut parser = Parser::new("AaB03x");
        let mut seen = Seen::default();
        for piece in pieces {
            parser.push(Bytes::copy_from_slice(piece));
            loop {
                match parser.step()? {
                    Step::Field { name, value } => seen.fields.push((name, value)),
                    Step::File { name } => seen.file = Some(name),
                    Step::Data(data) => {
                        assert!(!data.is_empty());
                        seen.data.extend_from_slice(&data);
                    }
                    Step::More | Step::End => break,
                }
            }
        }
        seen.more = parser.finish().is_err();
        Ok(seen)
    }

    fn part(disposition: &str, value: &str) -> String {
        format!("--AaB03x\r\nContent-Disposition: form-data; {disposition}\r\n\r\n{value}\r\n")
    }

    fn form() -> String {
        part("name=\"Key\"", "a\r\n--AaB03\r\nb")
            + &part("name=empty", "")
            + "--AaB03x \t\r\nX-Other: 1\r\ncontent-disposition:form-data;\
               filename=\"C:\\dir\\a \\\"b.txt\" ;name=\"file\"\r\n\
               Content-Type: text/plain\r\n\r\n\r\n--AaB03\r\r\n--data\r\n"
            + &part("name=later", "x")
            + "--AaB03x--\r\n"
    }

    fn expected() -> Seen {
        Seen {
            fields: vec![
                ("key".into(), "a\r\n--AaB03\r\nb".into()),
                ("empty".into(), String::new()),
            ],
            file: Some(Some("a \"b.txt".into())),
            data: b"\r\n--AaB03\r\r\n--data".to_vec(),
            more: false,
        }
    }

    #[test]
    fn a_form_is_the_same_wherever_it_is_cut() {
        let form = form();
        let form = form.as_bytes();
        assert_eq!(run([form]), Ok(expected()));
        assert_eq!(run(form.chunks(1)), Ok(expected()));
        for at in 0..form.len() {
            let (first, second) = form.split_at(at);
            assert_eq!(run([first, second]), Ok(expected()), "cut at {at}");
        }
    }

    #[test]
    fn a_form_that_ends_too_early_is_not_whole() {
        let form = form();
        let end = form.find("--AaB03x\r\nContent-Disposition: form-data; name=later").unwrap();
        // The line end behind the file's boundary makes it whole.
        let whole = end + "--AaB03x\r\n".len();
        for at in 0..form.len() {
            let seen = run([&form.as_bytes()[..at]]).unwrap();
            assert_eq!(seen.more, at < whole, "cut at {at}");
        }
    }

    #[test]
    fn a_form_without_a_file_ends_without_one() {
        let form = part("name=key", "a") + "--AaB03x--";
        let seen = run([form.as_bytes()]).unwrap();
        assert_eq!((seen.file, seen.more), (None, false));
        let preamble = format!("hello\r\n{form}");
        assert_eq!(run([preamble.as_bytes()]).unwrap().fields, [("key".into(), "a".into())]);
    }

    #[test]
    fn names_of_files_come_in_several_ways() {
        let name = |parameters: &str| {
            let form = part(&format!("name=file; {parameters}"), "x") + "--AaB03x--";
            run([form.as_bytes()]).unwrap().file.unwrap()
        };
        assert_eq!(name(""), None);
        assert_eq!(name("filename=a.txt"), Some("a.txt".into()));
        assert_eq!(name("filename=\"/dir/é.txt\""), Some("é.txt".into()));
        assert_eq!(name("filename=\"x\"; filename*=UTF-8\'\'%C3%A9%2Fa"), Some("a".into()));
        assert_eq!(name("filename=\"x\"; filename*=latin1\'\'%E9"), Some("x".into()));
        assert_eq!(name("filename=\"\""), Some(String::new()));
    }

    #[test]
    fn what_is_no_form_is_refused() {
        for form in [
            "--AaB03xyz\r\n",
            "--AaB03x\r\n\r\nvalue\r\n--AaB03x--",
            "--AaB03x\r\nContent-Disposition: attachment; name=a\r\n\r\n\r\n--AaB03x--",
            "--AaB03x\r\nContent-Disposition: form-data\r\n\r\n\r\n--AaB03x--",
            "--AaB03x\r\nContent-Disposition: form-data; name=\"a\r\n\r\n\r\n--AaB03x--",
            "--AaB03x\r\nContent-Disposition: form-data; name=file\r\n\r\na\r\n--AaB03xyz",
        ] {
            assert!(matches!(run([form.as_bytes()]), Err(Fault::Malformed(_))), "{form}");
        }
        let latin1 = [part("name=a", "").as_bytes(), b"\xe9"].concat();
        assert!(run([&latin1[..]]).is_ok(), "what is not read yet is not judged");
        let mut field = part("name=a", "?").into_bytes();
        let at = field.iter().position(|b| *b == b'?').unwrap();
        field[at] = 0xe9;
        assert!(matches!(run([&field[..], b"--AaB03x--"]), Err(Fault::Malformed(_))));
    }

    #[test]
    fn what_stands_before_the_file_is_bounded_and_the_file_is_not() {
        let max = limits::FORM_HEAD_BYTES_MAX;
        for form in [
            " ".repeat(max + 1),
            format!("--AaB03x{}", " ".repeat(max)),
            format!("--AaB03x\r\n{}", "a".repeat(max)),
            part("name=a", &"a".repeat(max)),
            part("name=a", "a").repeat(max / 50) + &part("name=file", "x") + "--AaB03x--",
        ] {
            assert_eq!(run([form.as_bytes()]), Err(Fault::TooLarge));
            assert_eq!(run(form.as_bytes().chunks(1000)), Err(Fault::TooLarge));
        }
        let large = "\r\n--AaB03y".repeat(max);
        let form = part("name=file", &large) + "--AaB03x--";
        for size in [form.len(), 1000] {
            let seen = run(form.as_bytes().chunks(size)).unwrap();
            assert!(seen.data == large.as_bytes() && !seen.more);
        }
        let padded = part("name=file", "x") + "--AaB03x" + &" ".repeat(2 * max);
        assert_eq!(run([padded.as_bytes()]), Err(Fault::TooLarge));
    }

    #[test]
    fn a_boundary_comes_from_the_content_type() {
        let found = |text: &str| boundary(text).map(|found| found.ok());
        assert_eq!(found("multipart/form-data; boundary=abc"), Some(Some("abc".into())));
        let quoted = "Multipart/Form-Data; charset=utf-8; Boundary=\"a;b c\"";
        assert_eq!(found(quoted), Some(Some("a;b c".into())));
        assert_eq!(found("multipart/form-data"), Some(None));
        assert_eq!(found("multipart/form-data; boundary="), Some(None));
        assert_eq!(found("multipart/form-data; boundary=\"a"), Some(None));
        let long = format!("multipart/form-data; boundary={}", "a".repeat(71));
        assert_eq!(found(&long), Some(None));
        assert_eq!(found("application/x-www-form-urlencoded"), None);
        assert_eq!(found(""), None);
    }

    proptest! {
        /// Pieces that are nearly boundaries, in any order and cut anywhere, mean the same as whole.
        #[test]
        fn any_cut_of_any_form_gives_the_same(
            texts in proptest::collection::vec(
                "(\r|\n|\r\n|--|AaB03x|--AaB03x|\r\n--AaB03x|name=|file|\"|;|:|[a-z ]|\r\n\r\n\
                 |Content-Disposition: form-data; name=(a|file)\r\n\r\n){0,12}", 0..6),
            cuts in proptest::collection::vec(1_usize..40, 1..12),
        ) {
            let form = texts.concat();
            let whole = run([form.as_bytes()]);
            let mut pieces = Vec::new();
            let mut rest = form.as_bytes();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (piece, behind) = rest.split_at((*cut).min(rest.len()));
                pieces.push(piece);
                rest = behind;
            }
            prop_assert_eq!(run(pieces), whole);
        }

        /// Whatever a file's bytes are, they come back as they were sent.
        #[test]
        fn any_file_comes_back_as_it_was_sent(
            pieces in proptest::collection::vec("(\r\n--AaB03|\r|\n|\r\n--|A|[ -~]){0,8}", 0..8),
            cut in 1_usize..30,
        ) {
            let data = pieces.concat();
            prop_assume!(!data.contains("\r\n--AaB03x"));
            let form = part("name=file", &data) + "--AaB03x--";
            let seen = run(form.as_bytes().chunks(cut)).unwrap();
            prop_assert_eq!(&seen.data, data.as_bytes());
            prop_assert!(!seen.more);
        }
    }
}
