//! Creations, changes and deletions on conditions, consistent reads, and plain writes beside them,
//! from all regions on few keys, in the same storm: the history of each key is linearizable.
//!
//! The same in a strong bucket with read leases, where reads come in rows.
//!
//! `GODWIT_CONDITIONAL=0` leaves it out. When conditions were judged at the row of the region that a
//! request entered by, it found that within the first seeds.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use godwit::engine::body::WholeBody;
use godwit::engine::{Attributes, CreateBucket, Engine, Error, Promises, PutObject, VersionRef};
use godwit::logic::precondition::{Conditions, ETagMatch};
use godwit::types::bucket::Consistency;
use godwit::types::name::BucketName;
use godwit::types::region::RegionId;
use md5::{Digest, Md5};

use super::ledger::pattern;
use super::linear::{Answer, Fault, History, Op};
use super::world::World;
use super::{bucket, key, owner, read_version};

const KEYS: [&str; 2] = ["x/1", "x/2"];
/// Attempts of this workload carry other numbers than those of the ledger.
const FIRST_ATTEMPT: usize = 1 << 40;

pub(crate) fn is_on() -> bool {
    std::env::var_os("GODWIT_CONDITIONAL").is_none_or(|value| value != "0")
}

#[derive(Default)]
struct Asked {
    attempts: usize,
    histories: BTreeMap<&'static str, History<String>>,
}

/// What clients asked and were told.
#[derive(Clone)]
pub(crate) struct Conditional {
    asked: Arc<Mutex<Asked>>,
    bucket: BucketName,
    /// Of ten requests of clients so many are changes, and of the others each reads so often.
    changes: u64,
    reads: usize,
}

/// The bucket with read leases.
fn leased() -> BucketName {
    BucketName::parse("leased").unwrap()
}

fn etag(body: &[u8]) -> String {
    hex::encode(Md5::digest(body))
}

fn answer(told: Result<(), Error>) -> Answer<String> {
    match told {
        Ok(()) => Answer::Done,
        Err(Error::PreconditionFailed(_) | Error::NoSuchKey) => Answer::Refused,
        Err(
            Error::Unavailable { .. }
            | Error::Internal(_)
            | Error::Conflict(_)
            | Error::ConditionalConflict,
        ) => Answer::Unknown,
        Err(error) => panic!("a good request was answered {error}"),
    }
}

impl Conditional {
    /// How many changes were asked for.
    pub(crate) fn asked(&self) -> u64 {
        self.asked.lock().unwrap().attempts as u64
    }

    pub(crate) fn new() -> Self {
        Self { asked: Arc::default(), bucket: bucket(), changes: 8, reads: 1 }
    }

    /// In a strong bucket with read leases.
    pub(crate) fn leased() -> Self {
        Self { asked: Arc::default(), bucket: leased(), changes: 5, reads: 10 }
    }

    /// The bucket with read leases is there.
    pub(crate) async fn create_leased(engine: &Engine) -> Result<(), Error> {
        let create =
            CreateBucket { name: leased(), owner: owner(), location: Vec::new(), lock: false };
        let promises = Promises {
            consistency: Some(Consistency::Strong),
            leases: Some(true),
            ..Promises::default()
        };
        match engine.create_bucket_with(create, promises).await {
            Ok(_) | Err(Error::BucketAlreadyOwnedByYou) => Ok(()),
            Err(error) => Err(error),
        }
    }

    async fn read(&self, engine: &Engine, name: &str) -> Result<Option<String>, Error> {
        match read_version(engine, self.bucket.clone(), name, VersionRef::Current).await {
            Ok((_, body)) => Ok(Some(etag(&body))),
            Err(Error::NoSuchKey) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// One request of one client at a region that is up.
    pub(crate) fn client(&self, world: &World, region: RegionId) {
        let (engine, this) = (world.engine(region), self.clone());
        let name = KEYS[usize::try_from(world.rng.below(KEYS.len() as u64)).unwrap()];
        let what = world.rng.below(10);
        let len = usize::try_from(8 + world.rng.below(2) * 6000).unwrap();
        world.run_on(region, async move { this.request(engine, name, what, len).await });
    }

    async fn request(&self, engine: Engine, name: &'static str, what: u64, len: usize) {
        if what >= self.changes {
            for _ in 0..self.reads {
                self.read_in_order(engine.clone(), name).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            return;
        }
        // What a client that has just read the key here would expect of it.
        let Ok(known) = self.read(&engine, name).await else { return };
        let body = {
            let mut asked = self.asked.lock().unwrap();
            asked.attempts += 1;
            pattern(FIRST_ATTEMPT + asked.attempts, len)
        };
        let new = etag(&body);
        let any = Conditions::default();
        let matching = |etag: &String| Conditions {
            if_match: Some(ETagMatch::OneOf(vec![etag.clone()])),
            ..Conditions::default()
        };
        match (what, known) {
            (0, _) if self.bucket == leased() => {
                self.put(engine, name, body, Op::Put(Some(new)), any).await;
            }
            (0, _) => self.put(engine, name, body, Op::Plain(Some(new)), any).await,
            (1 | 2, Some(known)) => {
                let conditions = matching(&known);
                self.delete(engine, name, Op::DeleteIfMatch(known), conditions).await;
            }
            (3..=7, Some(known)) => {
                let conditions = matching(&known);
                let op = Op::PutIfMatch { expected: known, new };
                self.put(engine, name, body, op, conditions).await;
            }
            (_, _) => {
                let absent = Conditions { if_none_match: Some(ETagMatch::Any), ..any };
                self.put(engine, name, body, Op::PutIfAbsent(new), absent).await;
            }
        }
    }

    /// A read that has its place in the order.
    async fn read_in_order(&self, engine: Engine, name: &'static str) {
        let operation = self.begin(name, Op::Read);
        let answer = match self.read(&engine.linearizable(), name).await {
            Ok(shown) => Answer::Saw(shown),
            Err(_) => Answer::Unknown,
        };
        self.end(name, operation, answer);
    }

    fn begin(&self, name: &'static str, op: Op<String>) -> usize {
        self.asked.lock().unwrap().histories.entry(name).or_default().begin(op)
    }

    fn end(&self, name: &'static str, operation: usize, answer: Answer<String>) {
        let mut asked = self.asked.lock().unwrap();
        asked.histories.get_mut(name).expect("it began").end(operation, answer);
    }

    async fn put(
        &self,
        engine: Engine,
        name: &'static str,
        body: Vec<u8>,
        op: Op<String>,
        conditions: Conditions,
    ) {
        let operation = self.begin(name, op);
        let (bucket, attributes) = (self.bucket.clone(), Attributes::default());
        let put = PutObject { bucket, key: key(name), owner: owner(), attributes, conditions };
        let mut body = WholeBody::new(Bytes::from(body));
        let told = engine.put_object(put, &mut body).await.map(drop);
        self.end(name, operation, answer(told));
    }

    async fn delete(
        &self,
        engine: Engine,
        name: &'static str,
        op: Op<String>,
        conditions: Conditions,
    ) {
        let operation = self.begin(name, op);
        let version = VersionRef::Current;
        let told = engine.delete_object(&self.bucket, &key(name), version, conditions, false).await;
        self.end(name, operation, answer(told.map(drop)));
    }

    /// What a region shows when all agree.
    pub(crate) async fn read_all(&self, engine: &Engine) {
        for name in KEYS {
            let operation = self.begin(name, Op::Read);
            let shown = self.read(engine, name).await;
            let shown = shown.unwrap_or_else(|error| panic!("{name}: {error}"));
            self.end(name, operation, Answer::Saw(shown));
        }
    }

    /// Every history is linearizable.
    pub(crate) fn check(&self) -> String {
        let asked = self.asked.lock().unwrap();
        for (name, history) in &asked.histories {
            match history.check() {
                Ok(_) => {}
                Err(Fault::NotLinearizable(story)) => {
                    panic!("{name} is not linearizable:\n{story}")
                }
                Err(Fault::TooHard(story)) => panic!("{name} could not be checked:\n{story}"),
            }
        }
        let operations: usize = asked.histories.values().map(History::len).sum();
        let definite: usize = asked.histories.values().map(History::definite).sum();
        format!("{definite} of {operations} conditional operations answered")
    }
}
