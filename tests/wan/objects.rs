//! Objects of every kind, each key written by one client alone, and the ledger of what was answered:
//! no answered write is lost, no body is of two writes, and a list is what the ledger says.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};

use super::client::{Answer, Client};
use super::progress::Progress;
use super::random::Random;
use super::site::{REGIONS, ask, eventually};

pub const BUCKET: &str = "/objects";

/// A client has this many keys in use, besides those that are not written again.
const KEYS: usize = 12;
/// The smallest part but the last that S3 takes.
const PART: usize = 5 << 20;

/// Reads under way when everything is read back: a missing key is asked for far away.
const READS: usize = 24;

/// No object: what an attempt to delete leaves.
const GONE: usize = 0;

/// One key.
pub struct Object {
    pub key: String,
    /// Length of each attempt's body; attempt 0 is the absence.
    lens: Vec<usize>,
    /// What may be there: the last that was answered and what was tried since.
    may: BTreeSet<usize>,
    /// Of the last answer, while nothing was tried since.
    etag: Option<String>,
    /// An attempt may still be under way, so nothing says what comes after it.
    retired: bool,
}

/// A region's code, and a client there.
pub type Place = (&'static str, Client);

/// What is shown of a key: entity tag and length.
pub type Shown = BTreeMap<String, (String, usize)>;

impl Object {
    fn new(key: String) -> Self {
        Self { key, lens: vec![0], may: BTreeSet::from([GONE]), etag: None, retired: false }
    }

    fn path(&self) -> String {
        format!("{BUCKET}/{}", self.key)
    }

    /// The attempt's name, over and over.
    fn body(&self, attempt: usize) -> Bytes {
        let name = format!("{}#{attempt};", self.key);
        name.into_bytes().into_iter().cycle().take(self.lens[attempt]).collect()
    }

    fn attempt(&mut self, len: usize) -> usize {
        self.lens.push(len.max(64));
        self.lens.len() - 1
    }

    /// What became of an attempt that leaves `state`.
    fn outcome(&mut self, state: usize, outcome: Outcome, progress: &Progress) {
        match outcome {
            Outcome::Answered(etag) => {
                self.may = BTreeSet::from([state]);
                self.etag = etag;
                progress.count("answered");
            }
            Outcome::Open => {
                self.may.insert(state);
                self.etag = None;
                progress.count("503");
            }
            Outcome::Unknown => {
                self.may.insert(state);
                self.etag = None;
                self.retired = true;
                progress.count("no answer");
            }
        }
    }

    /// Checks what a read showed.
    fn check(&self, answer: &Answer, place: &str) {
        let key = &self.key;
        if answer.status == 404 {
            assert!(self.may.contains(&GONE), "LOST: {key} in {place}, may be {:?}", self.may);
            return;
        }
        let name = answer.body.split(|b| *b == b';').next().unwrap();
        let name = String::from_utf8_lossy(name);
        let attempt = name.strip_prefix(&format!("{key}#")).and_then(|n| n.parse().ok());
        let Some(attempt) = attempt else { panic!("{key} in {place} begins with {name}") };
        let may = &self.may;
        assert!(may.contains(&attempt), "LOST: {key} in {place} is {attempt}, may be {may:?}");
        assert!(answer.body == self.body(attempt), "{key} in {place} is not whole");
    }

    /// Whether a list may show this of the key.
    fn listed(&self, shown: Option<&(String, usize)>) -> bool {
        match shown {
            None => self.may.contains(&GONE),
            Some((etag, len)) => {
                let here = self.may.iter().any(|state| *state != GONE && self.lens[*state] == *len);
                here && self.etag.as_ref().is_none_or(|known| known == etag)
            }
        }
    }
}

enum Outcome {
    /// With the entity tag, if it was a write.
    Answered(Option<String>),
    /// 503 or a conflict: it may have happened or happen yet, but before what the client does next.
    Open,
    /// No answer: it may still be under way.
    Unknown,
}

fn outcome(what: &str, answer: Option<&Answer>) -> Outcome {
    let Some(answer) = answer else { return Outcome::Unknown };
    match answer.code() {
        (200, "") | (204, _) => Outcome::Answered(answer.header("etag").map(str::to_owned)),
        (503, _) | (409, "ConditionalRequestConflict") => Outcome::Open,
        _ => panic!("{what} was answered {answer:?}"),
    }
}

/// What a writer does.
#[derive(Clone, Copy, Debug)]
pub struct Work {
    /// Lengths of bodies to choose from.
    pub lens: &'static [usize],
    /// One in so many writes of the kind that can be one is an upload of parts.
    pub parts_every: usize,
    /// One in so many operations takes a new key in place of one in use.
    pub new_every: usize,
    /// Between operations; leaves the machine to the others.
    pub pause: Duration,
}

/// One client of one region and what it wrote.
pub struct Writer {
    region: usize,
    client: Client,
    random: Random,
    work: Work,
    pub objects: Vec<Object>,
    /// Those in use.
    open: Vec<usize>,
    name: String,
    progress: Arc<Progress>,
}

impl Writer {
    pub fn new(
        (region, number): (usize, usize),
        client: Client,
        seed: u64,
        work: Work,
        progress: Arc<Progress>,
    ) -> Self {
        let name = format!("{}-{number}", REGIONS[region]);
        let random = Random::new(seed ^ (region as u64) << 32 ^ (number as u64) << 40);
        let (objects, open) = (Vec::new(), Vec::new());
        Self { region, client, random, work, objects, open, name, progress }
    }

    /// Until the end is called.
    pub async fn run(mut self) -> Self {
        while !self.progress.ended() {
            let index = self.choose();
            let before = self.objects[index].may.clone();
            match self.random.below(10) {
                0 => self.delete(index).await,
                1 => self.read(index).await,
                2 | 3 if self.objects[index].etag.is_some() => self.swap(index).await,
                4 | 5 if before == BTreeSet::from([GONE]) => self.create(index).await,
                6 if self.random.below(self.work.parts_every) == 0 => {
                    self.parts(index).await;
                }
                _ => self.put(index).await,
            }
            let away = self.objects[index].retired;
            let pause = if away { Duration::from_millis(500) } else { self.work.pause };
            tokio::time::sleep(pause).await;
        }
        self
    }

    /// A key in use; now and then an old one makes place for a new one.
    fn choose(&mut self) -> usize {
        self.open.retain(|index| !self.objects[*index].retired);
        if self.open.len() >= KEYS && self.random.below(self.work.new_every) == 0 {
            let out = self.random.below(self.open.len());
            self.open.swap_remove(out);
        }
        if self.open.len() < KEYS {
            let number = self.objects.len();
            self.open.push(number);
            self.objects.push(Object::new(format!("{}-{number}", self.name)));
            return number;
        }
        self.open[self.random.below(self.open.len())]
    }

    fn len(&mut self) -> usize {
        self.work.lens[self.random.below(self.work.lens.len())]
    }

    fn ended(&mut self, index: usize, state: usize, outcome: Outcome) {
        if matches!(outcome, Outcome::Answered(_)) {
            self.progress.answered(self.region);
        }
        self.objects[index].outcome(state, outcome, &self.progress);
    }

    async fn put(&mut self, index: usize) {
        self.write(index, None).await;
    }

    /// A condition that holds: nobody else writes this key.
    async fn create(&mut self, index: usize) {
        self.write(index, Some(("if-none-match", "*".to_owned()))).await;
        self.progress.count("conditional");
    }

    async fn swap(&mut self, index: usize) {
        let etag = self.objects[index].etag.clone().unwrap();
        self.write(index, Some(("if-match", etag))).await;
        self.progress.count("conditional");
    }

    async fn write(&mut self, index: usize, condition: Option<(&str, String)>) {
        let len = self.len();
        let object = &mut self.objects[index];
        let attempt = object.attempt(len);
        let mut call = self.client.call("PUT", &object.path()).body(object.body(attempt));
        if let Some((name, value)) = &condition {
            call = call.header(name, value);
        }
        let answer = ask(call).await;
        let what = format!("{} of {} {condition:?}", attempt, object.key);
        self.ended(index, attempt, outcome(&what, answer.as_ref()));
    }

    async fn delete(&mut self, index: usize) {
        let answer = ask(self.client.call("DELETE", &self.objects[index].path())).await;
        let what = format!("deletion of {}", self.objects[index].key);
        let outcome = match outcome(&what, answer.as_ref()) {
            Outcome::Answered(_) => Outcome::Answered(None),
            open @ (Outcome::Open | Outcome::Unknown) => open,
        };
        self.ended(index, GONE, outcome);
        self.progress.count("deletes");
    }

    /// The region that took a write shows it from the answer on.
    async fn read(&mut self, index: usize) {
        let object = &self.objects[index];
        let Some(answer) = ask(self.client.call("GET", &object.path())).await else { return };
        if answer.status == 503 {
            return self.progress.count("reads 503");
        }
        object.check(&answer, "its own region");
        self.progress.count("reads");
    }

    /// An upload of two parts; what goes wrong before its completion leaves nothing.
    async fn parts(&mut self, index: usize) {
        let len = PART + self.len();
        let object = &mut self.objects[index];
        let attempt = object.attempt(len);
        let (path, body) = (object.path(), object.body(attempt));
        let begun = ask(self.client.call("POST", &format!("{path}?uploads"))).await;
        let Some(begun) = begun.filter(|begun| begun.status == 200) else {
            return self.progress.count("uploads not begun");
        };
        let upload = begun.one("UploadId").to_owned();
        let mut list = String::new();
        for (number, part) in [(1, body.slice(..PART)), (2, body.slice(PART..))] {
            let place = format!("{path}?partNumber={number}&uploadId={upload}");
            let put = ask(self.client.call("PUT", &place).body(part)).await;
            let Some(put) = put.filter(|put| put.status == 200) else {
                return self.progress.count("uploads not completed");
            };
            let etag = put.header("etag").unwrap();
            list += &format!(
                "<Part><PartNumber>{number}</PartNumber><ETag>{}</ETag></Part>",
                etag.replace('"', "&quot;")
            );
        }
        let list = format!("<CompleteMultipartUpload>{list}</CompleteMultipartUpload>");
        let done = ask(self.client.call("POST", &format!("{path}?uploadId={upload}")).body(list));
        let done = done.await;
        let mut became = outcome(&format!("completion of {path}"), done.as_ref());
        if let (Outcome::Answered(etag), Some(done)) = (&mut became, &done) {
            *etag = Some(done.one("ETag").replace("&quot;", "\""));
        }
        self.progress.count("uploads");
        self.ended(index, attempt, became);
    }
}

/// All keys that a region shows, or why it does not; page by page.
async fn list(client: &Client) -> Option<Shown> {
    let (mut shown, mut from) = (Shown::new(), String::new());
    loop {
        let page = format!("{BUCKET}?list-type=2&start-after={from}");
        let page = ask(client.call("GET", &page)).await.filter(|page| page.status == 200)?;
        let lens = page.all("Size").into_iter().map(|len| len.parse().unwrap());
        let etags = page.all("ETag").into_iter().map(|etag| etag.replace("&quot;", "\""));
        for (key, (etag, len)) in page.all("Key").into_iter().zip(etags.zip(lens)) {
            shown.insert(key.to_owned(), (etag, len));
            key.clone_into(&mut from);
        }
        if page.one("IsTruncated") == "false" {
            return Some(shown);
        }
    }
}

/// What differs between a list and the ledger.
fn differences(objects: &[Object], shown: &Shown) -> Vec<String> {
    let wrong = objects.iter().filter(|object| !object.listed(shown.get(&object.key)));
    let told = wrong.map(|object| {
        let (may, key) = (&object.may, &object.key);
        format!("{key}: {:?}, may be {may:?} of {:?}", shown.get(key), object.lens)
    });
    let known: BTreeSet<&str> = objects.iter().map(|object| object.key.as_str()).collect();
    let strange = shown.keys().filter(|key| !known.contains(key.as_str()));
    told.chain(strange.map(|key| format!("{key}: nobody wrote it"))).collect()
}

/// Waits until every region shows the same and what the ledger says.
pub async fn agree(places: &[Place], objects: &[Object], seconds: u64) -> Shown {
    let mut last = Vec::new();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(seconds);
    loop {
        let mut lists = Vec::new();
        for (code, client) in places {
            let shown = eventually("a list", seconds, async || list(client).await).await;
            let wrong = differences(objects, &shown);
            last.extend(wrong.into_iter().map(|wrong| format!("{code}: {wrong}")));
            lists.push(shown);
        }
        let equal = lists.iter().all(|list| *list == lists[0]);
        if equal && last.is_empty() {
            return lists.swap_remove(0);
        }
        if tokio::time::Instant::now() > deadline {
            for ((code, _), shown) in places.iter().zip(&lists) {
                let other = shown.iter().filter(|(key, is)| lists[0].get(*key) != Some(*is));
                last.extend(other.map(|(key, is)| format!("{code} shows {key} as {is:?}")));
            }
            panic!("LOST or never agreed:\n{}", last.join("\n"));
        }
        last.clear();
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Reads every object back from every region: whole, and the one that the list shows. A write that had
/// no answer may take effect in between.
pub async fn read_all(places: &[Place], objects: &[Object], shown: &Shown) -> usize {
    let reads = places.iter().flat_map(|(code, client)| {
        objects.iter().map(move |object| async move {
            let what = format!("{} from {code}", object.key);
            let answer = eventually(&what, 120, async || {
                ask(client.call("GET", &object.path())).await.filter(|got| got.status != 503)
            })
            .await;
            object.check(&answer, code);
            let listed = shown.get(&object.key).map(|(etag, _)| etag.as_str());
            let read = (answer.status == 200).then(|| answer.header("etag").unwrap());
            if object.may.len() == 1 {
                assert_eq!(read, listed, "{} in {code}: read, listed", object.key);
            } else if read != listed {
                // What had no answer took effect since: lists come to show it.
                eventually(&what, 120, async || {
                    let shown = list(client).await?;
                    let listed = shown.get(&object.key).map(|(etag, _)| etag.as_str());
                    (read == listed).then_some(())
                })
                .await;
            }
        })
    });
    stream::iter(reads).buffer_unordered(READS).count().await
}
