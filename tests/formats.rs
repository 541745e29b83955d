//! Golden files of stored bytes: what today's program writes, a later one reads.
//!
//! A file is only ever added. Where a format grows, the old file must be read as what it was, and a
//! new one stands beside it. `GODWIT_UPDATE=1` writes files that are missing, never another one.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(clippy::disallowed_methods, reason = "golden files are on the real disk")]

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use godwit::net::message::Request;
use godwit::types::bucket::{
    Ack, BucketConfig, BucketRecord, Consistency, Location, NameRecord, NameState, SettingKind,
    Versioning,
};
use godwit::types::id::{BlobId, BucketId, ClusterId, Hash, Incarnation, OpId, UploadId};
use godwit::types::kept::{Cover, Spared, Why};
use godwit::types::lock::LockAsked;
use godwit::types::members::{Electorate, Gone, Member, MemberState, Members};
use godwit::types::name::{AccessKeyId, AccountId, BucketName, ObjectKey, SecretKey};
use godwit::types::object::{
    BlobRef, Content, ETag, Erased, HoldState, Holding, Mark, Marks, ObjectMeta, PartRef,
    Placement, Primary, Row, StoredHeaders, Version,
};
use godwit::types::record::{
    AccessKeyRecord, KeyScope, PartRecord, Record, RecordId, UploadRecord, UploadState,
};
use godwit::types::region::{Coordinates, RegionId, RegionInfo, Role};
use godwit::types::stamp::{Hlc, Stamp};
use serde::Serialize;
use serde::de::DeserializeOwned;

#[path = "golden/messages.rs"]
mod messages;

fn region(code: &str) -> RegionId {
    code.parse().unwrap()
}

fn stamp(ms: u64) -> Stamp {
    Stamp { hlc: Hlc::from_ms(ms), region: region("fra") }
}

/// The file is what is written today, and is read as it.
fn golden<T: Serialize + DeserializeOwned + std::fmt::Debug>(name: &str, value: &T) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden/formats").join(name);
    let bytes = postcard::to_allocvec(value).unwrap();
    if std::env::var_os("GODWIT_UPDATE").is_some() && !path.exists() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, hex::encode(&bytes) + "\n").unwrap();
    }
    let kept = hex::decode(fs::read_to_string(&path).unwrap().trim()).unwrap();
    let read: T = postcard::from_bytes(&kept).unwrap();
    assert_eq!(format!("{read:?}"), format!("{value:?}"), "{name} is read as something else");
    assert_eq!(bytes, kept, "{name} is written in other bytes");
}

fn part() -> PartRef {
    let blob = BlobRef { id: BlobId(stamp(5)), len: 70_000, root: Hash([7; 32]) };
    PartRef { number: 1, blob, checksum: None, held_by: vec![region("fra")], seal: None }
}

fn object() -> Version {
    let meta = ObjectMeta {
        size: 70_000,
        etag: ETag("0123456789abcdef0123456789abcdef".into()),
        modified_ms: 5,
        headers: StoredHeaders {
            content_type: Some("text/plain".into()),
            ..StoredHeaders::default()
        },
        user_meta: vec![("name".into(), "value".into())],
        checksum: None,
        parts: vec![part()],
        rides: false,
        owner: AccountId("owner".into()),
        encryption: None,
    };
    let held = Holding { counter: 1, state: HoldState::Held };
    let marks = Marks {
        tags: Mark { val: vec![("k".into(), "v".into())], marker: stamp(8) },
        ..Marks::default()
    };
    Version {
        stamp: stamp(5),
        replaces: stamp(2),
        null: true,
        content: Content::Object(Arc::new(meta)),
        marks,
        placement: Placement {
            holders: [(region("fra"), held), (region("iad"), held)].into(),
            primary: Some(Primary { epoch: 3, region: region("fra") }),
        },
    }
}

fn erased() -> Row {
    let marker = Version {
        content: Content::Marker,
        null: false,
        stamp: stamp(9),
        replaces: Stamp::ZERO,
        ..object()
    };
    let gone = Erased { at: stamp(10), replaces: Stamp::ZERO };
    let versions = vec![marker, object()];
    Row { versions, erased: [(stamp(3), gone)].into(), ..Row::default() }
}

#[test]
fn rows_are_read_and_written_as_they_were() {
    golden("row.hex", &Record::Row(Row::of(object())));
    golden("row-versions.hex", &Record::Row(erased()));
    let tombstone = Version { content: Content::Tombstone, ..object() };
    golden("row-tombstone.hex", &Record::Row(Row::of(tombstone)));
    let keep = Spared { until_ms: 99, why: Why::Lost };
    let cover = Cover { spared: [(stamp(3), keep)].into(), ..Cover::up_to(stamp(4)) };
    golden("row-cover.hex", &Record::Row(Row { cover: cover.clone(), ..Row::of(object()) }));
    let cover = Cover { seen: [(region("iad"), Hlc::from_ms(5))].into(), ..cover };
    golden("row-cover-seen.hex", &Record::Row(Row { cover, ..Row::of(object()) }));
}

#[test]
fn names_buckets_and_keys_are_read_and_written_as_they_were() {
    let config = BucketConfig {
        id: BucketId([4; 16]),
        owner: AccountId("owner".into()),
        created_ms: 1,
        location: Location::Only(vec![region("fra")]),
        ack: Ack::Default,
        copies: 3,
        riding_bytes_max: 4096,
        versioning: Versioning::Suspended,
        lock: None,
        policy: Some("{}".into()),
        access_block: None,
        consistency: Consistency::Strong,
    };
    let name = |state| Record::Name(NameRecord { stamp: stamp(1), op: OpId(2), state });
    golden("name-active.hex", &name(NameState::Active(config.clone())));
    golden("name-deleting.hex", &name(NameState::Deleting(config)));
    golden("name-free.hex", &name(NameState::Free));
    let mut bucket = BucketRecord::default();
    bucket.set(SettingKind::Cors, Some(vec![1, 2]), stamp(3));
    bucket.set(SettingKind::Keeping, None, stamp(4));
    golden("bucket.hex", &Record::Bucket(Box::new(bucket)));
    let key = AccessKeyRecord {
        stamp: stamp(1),
        account: AccountId("owner".into()),
        secret: SecretKey("secret".into()),
        scope: KeyScope::Buckets(vec![BucketName::parse("birds").unwrap()]),
        revoked: false,
        created_ms: 1,
    };
    golden("access-key.hex", &Record::AccessKey(key));
}

fn members() -> Members {
    let member = |code: &str, state| Member {
        info: RegionInfo {
            id: region(code),
            city: "Frankfurt".into(),
            coordinates: Coordinates { lat: 50.03, lon: 8.56 },
            geography: "eu".into(),
            failure_domain: code.into(),
            role: Role::Full,
            voter: true,
        },
        state,
        since: 1,
        address: Some("10.0.0.1:9100".into()),
    };
    let gone = Gone {
        region: region("nrt"),
        version: 2,
        at_ms: 5,
        lost: true,
        incarnations: vec![Incarnation(7)],
    };
    Members {
        stamp: stamp(9),
        cluster: ClusterId([9; 16]),
        version: 3,
        members: vec![member("fra", MemberState::Active), member("iad", MemberState::Joining)],
        electorate: Electorate::first(2, [region("fra"), region("iad")]),
        gone: vec![gone],
    }
}

#[test]
fn members_are_read_and_written_as_they_were() {
    golden("members.hex", &Record::Members(Box::new(members())));
}

#[test]
fn uploads_and_parts_are_read_and_written_as_they_were() {
    let upload = UploadRecord {
        stamp: stamp(1),
        bucket: BucketId([4; 16]),
        key: ObjectKey::parse("key").unwrap(),
        owner: AccountId("owner".into()),
        headers: StoredHeaders::default(),
        user_meta: Vec::new(),
        tags: Vec::new(),
        acl: None,
        lock: LockAsked::default(),
        checksum: None,
        encryption: None,
        started_ms: 1,
        state: UploadState::Completed(stamp(7)),
    };
    golden("upload.hex", &Record::Upload(Box::new(upload)));
    let part = PartRecord {
        stamp: stamp(1),
        md5: [3; 16],
        part: part(),
        checksum: None,
        modified_ms: 1,
        ended: false,
    };
    golden("part.hex", &Record::Part(Box::new(part)));
}

#[test]
fn ids_and_messages_are_read_and_written_as_they_were() {
    let ids = vec![
        RecordId::Row(BucketId([4; 16]), ObjectKey::parse("key").unwrap()),
        RecordId::Bucket(BucketId([4; 16])),
        RecordId::Name(BucketName::parse("birds").unwrap()),
        RecordId::AccessKey(AccessKeyId::parse("gid1").unwrap()),
        RecordId::Upload(UploadId(stamp(1))),
        RecordId::Part(UploadId(stamp(1)), 9),
    ];
    golden("ids.hex", &ids);
    golden("message-records.hex", &Request::Records(ids));
    let (origin, incarnation) = (region("fra"), Incarnation(7));
    golden("message-pull.hex", &Request::LogPull { origin, incarnation, after: 300 });
}
