//! Golden files of messages between nodes: one of every kind, and the answers.
//!
//! A new kind gets a line here and its file with `GODWIT_UPDATE=1`; a file that is there never changes.

use std::collections::BTreeSet;

use bytes::Bytes;
use godwit::logic::lease::LeaseNo;
use godwit::logic::placement::Accesses;
use godwit::logic::register::{Accepted, Answer, Ask, Ballot, Value};
use godwit::net::message::{
    Carried, Change, ChangeBody, Fate, HeatItem, KnownHere, LogBatch, LogHead, Move, PendingChange,
    Response, VersionOf,
};
use godwit::net::registers::{
    Counters, KeyNews, KeyRange, LogEnd, NewsCursor, RegisterRequest, RegisterResponse, Remains,
};
use godwit::types::position::Positions;

use super::*;

fn blob() -> BlobRef {
    part().blob
}

fn key() -> ObjectKey {
    ObjectKey::parse("a/key").unwrap()
}

fn of() -> VersionOf {
    VersionOf { bucket: BucketId([4; 16]), key: key(), stamp: stamp(5) }
}

fn positions() -> Positions {
    [((region("fra"), Incarnation(7)), 300), ((region("iad"), Incarnation(8)), 1)].into()
}

fn carried() -> Carried {
    Carried { entry: Bytes::from_static(b"entry"), bodies: vec![(blob().id, Bytes::from("body"))] }
}

fn batch() -> LogBatch {
    let bodies = [ChangeBody::Record(carried()), ChangeBody::Repeat(0), ChangeBody::Forgotten];
    let changes = (301..).zip(bodies).map(|(seq, body)| Change { seq, body }).collect();
    LogBatch { origin: region("fra"), incarnation: Incarnation(7), after: 300, last: 303, changes }
}

fn pending() -> Box<PendingChange> {
    Box::new(PendingChange {
        stamp: stamp(5),
        origin: region("fra"),
        incarnation: Incarnation(7),
        followers: vec![region("iad")],
        records: vec![(row_id(), Record::Row(Row::of(object())))],
        blobs: vec![blob()],
    })
}

fn no() -> LeaseNo {
    LeaseNo { start: 9, count: 300 }
}

fn row_id() -> RecordId {
    RecordId::Row(BucketId([4; 16]), key())
}

fn head() -> LogHead {
    let (origin, incarnation) = (region("fra"), Incarnation(7));
    LogHead { origin, incarnation, applied: 300, complete_after: 2, stable: 299 }
}

fn ballot() -> Ballot {
    Ballot { round: 3, region: region("fra"), nonce: 9 }
}

fn accepted() -> Accepted<Record> {
    let state = Record::Row(Row::of(object()));
    Accepted { ballot: ballot(), value: Value { stamp: stamp(5), ops: vec![OpId(2)], state } }
}

fn counters() -> Counters {
    Counters { incarnation: Incarnation(7), boot: 3, nonce: 11 }
}

fn log() -> (RegionId, Incarnation, u64) {
    (region("fra"), Incarnation(7), 300)
}

fn requests() -> Vec<Request> {
    let (origin, incarnation, after) = log();
    vec![
        Request::Ping,
        Request::LogPush(batch()),
        Request::LogPull { origin, incarnation, after },
        Request::Heads(vec![head()]),
        Request::Stage { blob: blob().id, offset: 1 << 20, bytes: Bytes::from("bytes") },
        Request::Hold(pending()),
        Request::Fate(pending()),
        Request::Settle(pending()),
        Request::DigestGroups,
        Request::DigestLeaves(7),
        Request::DigestRecords { leaf: 700, after: Some(row_id()) },
        Request::Records(vec![row_id()]),
        Request::Manifest { blob: blob(), of: Some(of()) },
        Request::Chunk { blob: blob(), index: 2, of: None },
        Request::Register(Box::new(RegisterRequest::Members)),
        Request::Heat(vec![HeatItem { of: of(), accesses: accesses() }]),
        Request::MakeCopy { of: of(), homes: vec![(region("iad"), 5)] },
        Request::Confirm(of()),
        Request::Whereabouts { bucket: BucketId([4; 16]), key: key() },
        Request::Forward(Bytes::from("asked")),
        Request::LastStamp,
        Request::HoldOffered(pending()),
        Request::Known(vec![row_id()]),
        Request::LogPushKnown { batch: batch(), positions: positions() },
        Request::LogPullKnown { origin, incarnation, after },
        Request::Time,
        Request::Admin(Bytes::from("asked")),
    ]
}

fn accesses() -> Accesses {
    Accesses { hits: 1, misses: 2, bytes: 300, missed_bytes: 200, cached_whole: true }
}

fn whereabouts() -> KnownHere {
    let reason = "read there".to_owned();
    KnownHere {
        cached: true,
        heat: vec![(region("iad"), 1.5)],
        moves: vec![Move { at_ms: 5, from: region("fra"), to: region("iad"), reason }],
        verdict: Some("stays".to_owned()),
    }
}

fn responses() -> Vec<Response> {
    let records = vec![Some(carried()), None];
    vec![
        Response::Pong,
        Response::Done,
        Response::Declined("too full".to_owned()),
        Response::LogApplied { applied: 303, refused: vec![302] },
        Response::LogStretch(Some(batch())),
        Response::Heads(vec![head()]),
        Response::Fate(Fate::Published),
        Response::Settled { has: true },
        Response::Digests(vec![[3; 32]]),
        Response::DigestRecords { records: vec![(row_id(), [3; 32])], more: true },
        Response::Records(records.clone()),
        Response::Manifest(Bytes::from(vec![3; 32])),
        Response::Chunk(Bytes::from("chunk")),
        Response::Absent { row: Some(Row::of(object())) },
        Response::Register(Box::new(RegisterResponse::Behind)),
        Response::Confirmed(true),
        Response::Whereabouts(whereabouts()),
        Response::Forwarded(Bytes::from("answered")),
        Response::LastStamp(stamp(5)),
        Response::Known { records, positions: positions() },
        Response::LogStretchKnown { batch: Some(batch()), positions: positions() },
        Response::Time(1_700_000_000_000),
    ]
}

fn register_requests() -> Vec<(&'static str, RegisterRequest)> {
    let voters = || vec![region("fra"), region("iad")];
    let (opened, now) = (LogEnd(1, 4096), LogEnd(2, 64));
    let reached = RegisterRequest::Reached { counters: counters(), opened, now };
    let record = |ask| RegisterRequest::Record {
        epoch: 2,
        voters: voters(),
        id: row_id(),
        ask,
        bodies: vec![(blob().id, Bytes::from("body"))],
    };
    let value = accepted().value;
    let accept =
        Ask::Accept { ballot: ballot(), value, judged: stamp(4), next: Some(Ballot::ZERO) };
    let name = BucketName::parse("birds").unwrap();
    let (prefix, until) = ("a/".to_owned(), Some("b".to_owned()));
    let range = KeyRange { bucket: BucketId([4; 16]), prefix, after: None, until };
    let since = Some(NewsCursor { start: 4, count: 5 });
    vec![
        ("query", record(Ask::Query)),
        ("prepare", record(Ask::Prepare { ballot: ballot() })),
        ("accept", record(accept)),
        ("confirm", RegisterRequest::Confirm(counters())),
        ("reached", reached),
        ("close", RegisterRequest::Close { name, bucket: BucketId([4; 16]), stamp: stamp(5) }),
        ("range", RegisterRequest::Range { epoch: 2, voters: voters(), range }),
        ("key-news", RegisterRequest::KeyNews { epoch: 2, voters: voters(), since, after: None }),
        ("members", RegisterRequest::Members),
        ("list", RegisterRequest::List { epoch: 2, after: Some(vec![1, 2]) }),
        ("remains", RegisterRequest::Remains),
        ("lease", RegisterRequest::Lease { epoch: 2, voters: voters(), id: row_id(), no: no() }),
        ("recall", RegisterRequest::Recall { id: row_id() }),
        ("release", RegisterRequest::Release { id: row_id(), upto: no() }),
        ("adopt", RegisterRequest::Adopt(Box::new(members()))),
        ("offer", {
            let (change, id, bodies) = (pending(), row_id(), Vec::new());
            let (value, next) = (accepted().value, None);
            let ask = Ask::Accept { ballot: ballot(), value, judged: stamp(4), next };
            RegisterRequest::Offer { change, epoch: 2, voters: voters(), id, ask, bodies }
        }),
    ]
}

fn register_responses() -> Vec<(&'static str, RegisterResponse)> {
    let record = |answer| RegisterResponse::Record { answer: Box::new(answer), bodies: Vec::new() };
    let cursor = NewsCursor { start: 4, count: 5 };
    let changed = vec![(AccessKeyId::parse("gid1").unwrap(), stamp(5))];
    let remains = Remains { version: 1, copies: 2, head: 300, applied: 299, ..Remains::default() };
    let names = vec![vec![1, 2]];
    vec![
        ("state", record(Answer::State { accepted: Some(accepted()), row: None })),
        ("promised", record(Answer::Promised { ballot: ballot(), accepted: None, row: None })),
        ("accepted", record(Answer::Accepted { ballot: ballot() })),
        ("refused", {
            let (promised, accepted) = (ballot(), Ballot::ZERO);
            record(Answer::Refused { ballot: ballot(), promised, accepted, row: None })
        }),
        ("confirmed", RegisterResponse::Confirmed),
        ("outdated", RegisterResponse::Outdated(counters())),
        ("closed", RegisterResponse::Closed { live: true }),
        ("declined", RegisterResponse::Declined("why".to_owned())),
        ("range", {
            let open = vec![(key(), stamp(5))];
            RegisterResponse::Range { positions: positions(), open, more: false }
        }),
        ("key-news", RegisterResponse::KeyNews(KeyNews { cursor, changed, after: None })),
        ("behind", RegisterResponse::Behind),
        ("listed", RegisterResponse::Listed { names, is_last: true }),
        ("remains", RegisterResponse::Remains(remains)),
        ("released", RegisterResponse::Released { upto: no() }),
        ("members", RegisterResponse::Members(Box::new(members()))),
        ("lease", {
            let answer = Box::new(Answer::State { accepted: Some(accepted()), row: None });
            RegisterResponse::Lease { answer, bodies: Vec::new(), granted: true }
        }),
    ]
}

#[test]
fn every_kind_of_question_and_answer_is_read_and_written_as_it_was() {
    let mut names = BTreeSet::new();
    for request in requests() {
        assert!(names.insert(format!("request {}", request.name())), "twice");
        golden(&format!("messages/request-{}.hex", request.name()), &request);
        let sent = request.encode();
        assert_eq!(Request::decode(&sent).unwrap().name(), request.name());
    }
    for response in responses() {
        assert!(names.insert(format!("response {}", response.name())), "twice");
        golden(&format!("messages/response-{}.hex", response.name()), &response);
        let sent = response.encode();
        assert_eq!(Response::decode(&sent).unwrap().name(), response.name());
    }
    for (name, request) in register_requests() {
        golden(&format!("messages/register-{name}.hex"), &request);
    }
    for (name, response) in register_responses() {
        golden(&format!("messages/register-answer-{name}.hex"), &response);
    }
    for (of, known) in godwit::net::spoken::spoken().kinds {
        let files = match of {
            "question" => requests().len(),
            "answer" => responses().len(),
            // One has a file for each of its three questions, one for each of its four answers.
            "register question" => register_requests().len() - 2,
            "register answer" => register_responses().len() - 3,
            _ => continue,
        };
        assert_eq!(files, known.len(), "{of}: every kind has a file: {known:?}");
    }
}

/// What a newer node says and this one does not know is told from bytes that are damaged.
#[test]
fn a_kind_that_is_not_known_is_called_a_newer_nodes() {
    let version = Request::Ping.encode()[0];
    let newer = Request::decode(&[version, 100]).unwrap_err().to_string();
    assert!(newer.contains("newer node (kind 100)"), "{newer}");
    let cut = Request::decode(&[version, 9]).unwrap_err().to_string();
    assert!(cut.contains("does not decode"), "{cut}");
}
