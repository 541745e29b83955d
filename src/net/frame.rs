//! One call on one stream: a head of ten bytes and the body, there and back.
//!
//! Invariant: a head says how long its body is before a byte of it is read, and no body is longer
//! than its kind allows. Bytes that are no frame give an error. What the body means is `message`'s.
//!
//! ```text
//! request  version u8 | kind u8   | deadline, ms u32 | length u32 | body    (little endian)
//! answer   version u8 | status u8 | 0 u32            | length u32 | body
//! ```

use std::fmt;
use std::time::Duration;

use bytes::{BufMut, Bytes, BytesMut};

use crate::env::Class;
use crate::limits;

/// The version of the frames, which N talks to N - 1 in.
pub(super) const VERSION: u8 = 1;

pub(super) const HEAD_BYTES: usize = 10;

/// Longest text of a refusal, and longest greeting.
pub(super) const TEXT_BYTES_MAX: usize = 1024;

/// What a request frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A message for the handler.
    Call(Class),
    /// A request for a first certificate, on a connection of its own kind.
    Join,
    /// A request for the caller's next certificate, to a node with the cluster's authority.
    Certify,
    /// The first request on a connection: is this certificate welcome?
    Hello,
}

/// What an answer frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    Answer,
    /// The body is the reason.
    Refused,
}

/// The head of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RequestHead {
    pub(super) kind: Kind,
    /// How long the caller waits.
    pub(super) deadline: Duration,
    pub(super) len: usize,
}

/// Bytes that are no frame of this version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BadFrame {
    Version(u8),
    Kind(u8),
    TooLong(usize),
}

impl fmt::Display for BadFrame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(found) => write!(f, "frame version {found}, this node has {VERSION}"),
            Self::Kind(found) => write!(f, "no frame has the kind {found}"),
            Self::TooLong(len) => write!(f, "a body of {len} bytes is longer than allowed"),
        }
    }
}

/// Stable numbers; a new class goes to the end.
const CLASSES: [(u8, Class); 5] = [
    (0, Class::Register),
    (1, Class::Log),
    (2, Class::Read),
    (3, Class::Repair),
    (4, Class::Migration),
];
const JOIN: u8 = 253;
const CERTIFY: u8 = 254;
const HELLO: u8 = 255;

impl Kind {
    fn number(self) -> u8 {
        match self {
            Self::Call(class) => {
                let row = CLASSES.iter().find(|(_, known)| *known == class);
                row.expect("a test looks every class up").0
            }
            Self::Join => JOIN,
            Self::Certify => CERTIFY,
            Self::Hello => HELLO,
        }
    }

    fn of(number: u8) -> Result<Self, BadFrame> {
        match number {
            JOIN => Ok(Self::Join),
            CERTIFY => Ok(Self::Certify),
            HELLO => Ok(Self::Hello),
            _ => {
                let row = CLASSES.iter().find(|(known, _)| *known == number);
                row.map(|(_, class)| Self::Call(*class)).ok_or(BadFrame::Kind(number))
            }
        }
    }

    fn bytes_max(self) -> usize {
        match self {
            Self::Call(_) => limits::MESSAGE_BYTES_MAX,
            Self::Join | Self::Certify => limits::CERTIFICATE_ASK_BYTES_MAX,
            Self::Hello => TEXT_BYTES_MAX,
        }
    }
}

impl Status {
    fn number(self) -> u8 {
        match self {
            Self::Answer => 0,
            Self::Refused => 1,
        }
    }

    fn of(number: u8) -> Result<Self, BadFrame> {
        match number {
            0 => Ok(Self::Answer),
            1 => Ok(Self::Refused),
            other => Err(BadFrame::Kind(other)),
        }
    }

    fn bytes_max(self) -> usize {
        match self {
            Self::Answer => limits::MESSAGE_BYTES_MAX,
            Self::Refused => TEXT_BYTES_MAX,
        }
    }
}

fn head(kind: u8, deadline_ms: u32, len: usize) -> Bytes {
    let mut out = BytesMut::with_capacity(HEAD_BYTES);
    out.put_u8(VERSION);
    out.put_u8(kind);
    out.put_u32_le(deadline_ms);
    out.put_u32_le(u32::try_from(len).expect("bodies are checked against their limit first"));
    out.freeze()
}

fn checked(len: usize, max: usize) -> Result<usize, BadFrame> {
    if len > max { Err(BadFrame::TooLong(len)) } else { Ok(len) }
}

/// A request as it goes out: head and body, not copied together.
pub(super) fn request(kind: Kind, deadline: Duration, body: Bytes) -> Result<[Bytes; 2], BadFrame> {
    let len = checked(body.len(), kind.bytes_max())?;
    let deadline_ms = u32::try_from(deadline.as_millis()).unwrap_or(u32::MAX);
    Ok([head(kind.number(), deadline_ms, len), body])
}

/// An answer as it goes out. A reason that is too long is cut.
pub(super) fn answer(outcome: Result<Bytes, String>) -> [Bytes; 2] {
    let refused = |mut why: String| {
        let end = why.floor_char_boundary(TEXT_BYTES_MAX);
        why.truncate(end);
        let body = Bytes::from(why);
        [head(Status::Refused.number(), 0, body.len()), body]
    };
    match outcome {
        Ok(body) => match checked(body.len(), Status::Answer.bytes_max()) {
            Ok(len) => [head(Status::Answer.number(), 0, len), body],
            Err(bad) => refused(bad.to_string()),
        },
        Err(why) => refused(why),
    }
}

struct Head {
    kind: u8,
    deadline_ms: u32,
    len: usize,
}

fn parse(bytes: [u8; HEAD_BYTES]) -> Result<Head, BadFrame> {
    let [version, kind, d0, d1, d2, d3, l0, l1, l2, l3] = bytes;
    if version != VERSION {
        return Err(BadFrame::Version(version));
    }
    let len = u32::from_le_bytes([l0, l1, l2, l3]);
    let len = usize::try_from(len).unwrap_or(usize::MAX);
    Ok(Head { kind, deadline_ms: u32::from_le_bytes([d0, d1, d2, d3]), len })
}

/// Reads the head of a request.
pub(super) fn request_head(bytes: [u8; HEAD_BYTES]) -> Result<RequestHead, BadFrame> {
    let head = parse(bytes)?;
    let kind = Kind::of(head.kind)?;
    let len = checked(head.len, kind.bytes_max())?;
    Ok(RequestHead { kind, deadline: Duration::from_millis(head.deadline_ms.into()), len })
}

/// Reads the head of an answer.
pub(super) fn answer_head(bytes: [u8; HEAD_BYTES]) -> Result<(Status, usize), BadFrame> {
    let head = parse(bytes)?;
    let status = Status::of(head.kind)?;
    Ok((status, checked(head.len, status.bytes_max())?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::*;

    const ALL: [Class; 5] =
        [Class::Register, Class::Log, Class::Read, Class::Repair, Class::Migration];

    fn bytes(head: &Bytes) -> [u8; HEAD_BYTES] {
        head.as_ref().try_into().unwrap()
    }

    #[test]
    fn every_kind_of_request_comes_back_from_its_head() {
        let kinds = ALL.map(Kind::Call).into_iter().chain([Kind::Join, Kind::Certify, Kind::Hello]);
        for kind in kinds {
            let body = Bytes::from_static(b"question");
            let [head, body] = request(kind, Duration::from_millis(1500), body).unwrap();
            let wanted =
                RequestHead { kind, deadline: Duration::from_millis(1500), len: body.len() };
            assert_eq!(request_head(bytes(&head)), Ok(wanted));
        }
    }

    #[test]
    fn numbers_of_kinds_do_not_change() {
        assert_eq!(ALL.map(|class| Kind::Call(class).number()), [0, 1, 2, 3, 4]);
        let others = [Kind::Join, Kind::Certify, Kind::Hello].map(Kind::number);
        assert_eq!(others, [253, 254, 255]);
        let [head, _] = request(Kind::Hello, Duration::from_millis(258), Bytes::new()).unwrap();
        assert_eq!(bytes(&head), [1, 255, 2, 1, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn bodies_over_the_limit_are_refused_on_both_sides() {
        let large = Bytes::from(vec![0; limits::MESSAGE_BYTES_MAX + 1]);
        let sent = request(Kind::Call(Class::Read), Duration::ZERO, large.clone());
        assert_eq!(sent.unwrap_err(), BadFrame::TooLong(large.len()));
        let [head, _] = answer(Ok(large));
        assert_eq!(answer_head(bytes(&head)).unwrap().0, Status::Refused);
        let claimed = [1, 0, 0, 0, 0, 0, 255, 255, 255, 255];
        assert!(matches!(request_head(claimed), Err(BadFrame::TooLong(_))));
        assert!(matches!(answer_head(claimed), Err(BadFrame::TooLong(_))));
    }

    #[test]
    fn a_long_reason_is_cut_between_two_letters() {
        let [head, body] = answer(Err("ü".repeat(TEXT_BYTES_MAX)));
        assert_eq!(answer_head(bytes(&head)), Ok((Status::Refused, body.len())));
        assert!(body.len() <= TEXT_BYTES_MAX && std::str::from_utf8(&body).is_ok());
    }

    proptest! {
        #[test]
        fn no_head_makes_reading_panic(head in any::<[u8; HEAD_BYTES]>()) {
            if let Ok(read) = request_head(head) {
                assert!(read.len <= limits::MESSAGE_BYTES_MAX);
            }
            if let Ok((_, len)) = answer_head(head) {
                assert!(len <= limits::MESSAGE_BYTES_MAX);
            }
        }
    }
}
