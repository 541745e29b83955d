//! The index's file, which takes what there is no room for when there is.
//!
//! redb gives up a file whose write failed until it is opened anew, so it is not told of a full disk:
//! what cannot be written waits here in memory, and so does everything after it.
//!
//! Invariant: the file gets the calls that the index made, in their order and each sync as a sync;
//! so whenever power fails, what is on the disk is what a crash may leave of an index without
//! this. While anything waits nothing is durable that the index was told is: whoever made a durable
//! commit asks [`IndexFile::catch_up`] before he builds on it, and nobody commits more. Every other
//! failure, and a full disk that only a sync tells of, ends all writing.

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use crate::env::DiskFile;
use crate::limits;

use super::lock;
use super::over::Over;
use super::trouble::{Troubles, Watcher};

/// The file of an index, and what waits to be written to it.
#[derive(Debug)]
pub(crate) struct IndexFile {
    file: Arc<dyn DiskFile>,
    watcher: Watcher,
    /// Nothing is written any more.
    frozen: AtomicBool,
    behind: AtomicBool,
    waiting: Mutex<Waiting>,
    /// Databases that were opened on it; only the last one may write.
    generation: AtomicU64,
    /// A write or a sync failed: what is in the file is not known.
    spoilt: AtomicBool,
    unread: AtomicBool,
    failed_read: Mutex<Option<FailedRead>>,
}

/// A read that failed, after which redb refuses everything.
#[derive(Debug)]
struct FailedRead {
    offset: u64,
    len: usize,
    why: Arc<io::Error>,
}

#[derive(Debug, Default)]
struct Waiting {
    calls: VecDeque<Call>,
    bytes: usize,
    /// How the file would look; there is one while the file is behind.
    over: Option<Over>,
}

#[derive(Clone, Debug)]
enum Call {
    Write(u64, Arc<[u8]>),
    SetLen(u64),
    Sync,
}

impl Call {
    fn make(&self, file: &dyn DiskFile) -> io::Result<()> {
        match self {
            Self::Write(offset, data) => file.write_all_at(*offset, &[data]),
            Self::SetLen(len) => file.set_len(*len),
            Self::Sync => file.sync(),
        }
    }

    fn bytes(&self) -> usize {
        match self {
            Self::Write(_, data) => data.len(),
            Self::SetLen(_) | Self::Sync => 0,
        }
    }

    /// Whether it may wait for room. What a sync could not write is lost, whoever asks again.
    fn may_wait(&self, error: &io::Error) -> bool {
        match self {
            Self::Write(..) | Self::SetLen(_) => is_full(error),
            Self::Sync => false,
        }
    }
}

/// The disk, or what this user may have of it, is full.
pub(crate) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded)
}

impl IndexFile {
    pub(crate) fn new(file: Arc<dyn DiskFile>, watcher: Watcher) -> Self {
        Self {
            file,
            watcher,
            frozen: AtomicBool::default(),
            behind: AtomicBool::default(),
            waiting: Mutex::default(),
            generation: AtomicU64::default(),
            spoilt: AtomicBool::default(),
            unread: AtomicBool::default(),
            failed_read: Mutex::default(),
        }
    }

    /// For a new database on the same file. From now on the one before writes nothing.
    pub(crate) fn backend(self: &Arc<Self>) -> Backend {
        let generation = self.generation.fetch_add(1, Ordering::SeqCst) + 1;
        *lock(&self.failed_read) = None;
        self.unread.store(false, Ordering::SeqCst);
        Backend { file: Arc::clone(self), generation }
    }

    /// Another file, which took the place of this one.
    pub(crate) fn succeeded_by(&self, file: Arc<dyn DiskFile>) -> Self {
        Self::new(file, self.watcher.clone())
    }

    pub(crate) fn disk_file(&self) -> Arc<dyn DiskFile> {
        Arc::clone(&self.file)
    }

    /// A read failed since the last database was opened.
    pub(crate) fn is_unread(&self) -> bool {
        self.unread.load(Ordering::SeqCst)
    }

    /// Why a read failed.
    pub(crate) fn why_unread(&self) -> Option<Arc<io::Error>> {
        lock(&self.failed_read).as_ref().map(|read| Arc::clone(&read.why))
    }

    /// A write or a sync failed.
    pub(crate) fn is_spoilt(&self) -> bool {
        self.spoilt.load(Ordering::SeqCst)
    }

    /// Whether what could not be read can be read now.
    pub(crate) fn reads_again(&self) -> bool {
        let place = lock(&self.failed_read).as_ref().map(|read| (read.offset, read.len));
        place.is_none_or(|(offset, len)| self.read(offset, &mut vec![0; len]).is_ok())
    }

    /// Beyond the end, where only a decayed page leads, is nothing: that the disk failed is not said.
    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        match self.read_within(offset, out) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => {
                let there = self.len()?.saturating_sub(offset);
                let there = usize::try_from(there).unwrap_or(usize::MAX).min(out.len());
                let (start, beyond) = out.split_at_mut(there);
                beyond.fill(0);
                if there == 0 { Ok(()) } else { self.read_within(offset, start) }
            }
            read => read,
        }
    }

    fn read_within(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if self.is_behind()
            && let Some(over) = &lock(&self.waiting).over
        {
            return over.read(self.file.as_ref(), offset, out);
        }
        let _watch = self.watcher.over("reading the index");
        self.file.read_exact_at(offset, out)
    }

    fn len(&self) -> io::Result<u64> {
        if self.is_behind()
            && let Some(over) = &lock(&self.waiting).over
        {
            return Ok(over.len());
        }
        self.file.size()
    }

    fn note_unread(&self, offset: u64, len: usize, why: &io::Error) {
        let why = Arc::new(io::Error::new(why.kind(), why.to_string()));
        tracing::error!(%why, offset, "the index cannot be read");
        *lock(&self.failed_read) = Some(FailedRead { offset, len, why });
        self.unread.store(true, Ordering::SeqCst);
    }

    fn spoils<T>(&self, made: io::Result<T>) -> io::Result<T> {
        if made.is_err() {
            self.spoilt.store(true, Ordering::SeqCst);
        }
        made
    }

    pub(crate) fn troubles(&self) -> Arc<Troubles> {
        Arc::clone(&self.watcher.troubles)
    }

    /// Nothing is written from now on.
    pub(crate) fn freeze(&self) {
        self.frozen.store(true, Ordering::SeqCst);
    }

    /// Something waits for room.
    pub(crate) fn is_behind(&self) -> bool {
        self.behind.load(Ordering::SeqCst)
    }

    /// Makes the calls that wait; false while there is no room for them. One at a time.
    pub(crate) fn catch_up(&self) -> io::Result<bool> {
        while self.is_behind() {
            self.check()?;
            let next = lock(&self.waiting).calls.front().cloned();
            let made = next.as_ref().map_or(Ok(()), |call| call.make(self.file.as_ref()));
            match (next, made) {
                (Some(call), Err(error)) if call.may_wait(&error) => return Ok(false),
                (_, Err(error)) => {
                    self.freeze();
                    return self.spoils(Err(error));
                }
                (next, Ok(())) => self.made(next.as_ref()),
            }
        }
        Ok(true)
    }

    fn made(&self, call: Option<&Call>) {
        let mut waiting = lock(&self.waiting);
        if let Some(call) = call {
            waiting.calls.pop_front();
            waiting.bytes -= call.bytes();
        }
        if waiting.calls.is_empty() {
            waiting.over = None;
            self.behind.store(false, Ordering::SeqCst);
        }
    }

    fn check(&self) -> io::Result<()> {
        if self.frozen.load(Ordering::SeqCst) {
            return Err(io::Error::other("nothing more is written to the index"));
        }
        Ok(())
    }

    /// Makes a call, now or when there is room.
    fn call(&self, call: Call) -> io::Result<()> {
        self.check()?;
        if !self.is_behind() {
            match call.make(self.file.as_ref()) {
                Err(error) if call.may_wait(&error) => {}
                made => return made,
            }
        }
        self.put_off(call)
    }

    fn put_off(&self, call: Call) -> io::Result<()> {
        let mut waiting = lock(&self.waiting);
        if waiting.bytes + call.bytes() > limits::INDEX_WAITING_BYTES_MAX {
            return Err(ErrorKind::StorageFull.into());
        }
        if waiting.over.is_none() {
            waiting.over = Some(Over::new(self.file.as_ref())?);
        }
        let over = waiting.over.as_mut().expect("made just now");
        match &call {
            Call::Write(offset, data) => over.write(self.file.as_ref(), *offset, data)?,
            Call::SetLen(len) => over.set_len(*len),
            Call::Sync => {}
        }
        waiting.bytes += call.bytes();
        waiting.calls.push_back(call);
        self.behind.store(true, Ordering::SeqCst);
        Ok(())
    }
}

/// What redb gets; it ends with the database, the file does not.
#[derive(Debug)]
pub(crate) struct Backend {
    file: Arc<IndexFile>,
    generation: u64,
}

impl Backend {
    /// Whether no other database was opened on the file since.
    fn is_last(&self) -> bool {
        self.file.generation.load(Ordering::SeqCst) == self.generation
    }

    /// For what changes the file.
    fn writer(&self) -> io::Result<&IndexFile> {
        if self.is_last() {
            return Ok(&self.file);
        }
        Err(io::Error::other("the index was opened anew since"))
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        let size = self.file.len();
        if let Err(why) = &size
            && self.is_last()
        {
            self.file.note_unread(0, 0, why);
        }
        size
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let read = self.file.read(offset, out);
        if let Err(why) = &read
            && self.is_last()
        {
            self.file.note_unread(offset, out.len(), why);
        }
        read
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let file = self.writer()?;
        file.spoils(file.call(Call::SetLen(len)))
    }

    fn sync_data(&self) -> io::Result<()> {
        let file = self.writer()?;
        file.spoils(file.call(Call::Sync))
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let file = self.writer()?;
        file.check()?;
        if !file.is_behind() {
            match file.file.write_all_at(offset, &[data]) {
                Err(error) if is_full(&error) => {}
                made => return file.spoils(made),
            }
        }
        file.spoils(file.put_off(Call::Write(offset, data.into())))
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use crate::env::{BoxFuture, Clock};

    use super::*;

    struct StoodStill;

    impl Clock for StoodStill {
        fn now_ms(&self) -> u64 {
            1
        }

        fn monotonic(&self) -> Duration {
            Duration::from_secs(9)
        }

        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            Box::pin(std::future::pending())
        }
    }

    fn on(file: Arc<dyn DiskFile>) -> (Backend, Arc<IndexFile>) {
        let watcher = Watcher { clock: Arc::new(StoodStill), troubles: Arc::default() };
        let file = Arc::new(IndexFile::new(file, watcher));
        (file.backend(), file)
    }

    /// A file in memory on a disk that may be full, with what it was asked.
    #[derive(Debug, Default)]
    struct Small {
        /// A read waits while somebody has this.
        held: Mutex<()>,
        bytes: Mutex<Vec<u8>>,
        full: AtomicBool,
        broken: AtomicBool,
        unread: AtomicBool,
        syncs: Mutex<Vec<Vec<u8>>>,
    }

    impl Small {
        fn check(&self) -> io::Result<()> {
            if self.broken.load(Ordering::SeqCst) {
                return Err(io::Error::other("broken"));
            }
            Ok(())
        }
    }

    impl DiskFile for Small {
        fn size(&self) -> io::Result<u64> {
            Ok(lock(&self.bytes).len() as u64)
        }

        fn read_exact_at(&self, position: u64, out: &mut [u8]) -> io::Result<()> {
            let _held = lock(&self.held);
            if self.unread.load(Ordering::SeqCst) {
                return Err(io::Error::other("unread"));
            }
            let start = usize::try_from(position).unwrap();
            let bytes = lock(&self.bytes);
            out.copy_from_slice(
                bytes.get(start..start + out.len()).ok_or(ErrorKind::UnexpectedEof)?,
            );
            Ok(())
        }

        fn write_all_at(&self, position: u64, parts: &[&[u8]]) -> io::Result<()> {
            self.check()?;
            let (start, data) = (usize::try_from(position).unwrap(), parts.concat());
            let mut bytes = lock(&self.bytes);
            if self.full.load(Ordering::SeqCst) {
                // A part of it may be there all the same.
                if let Some(there) = bytes.get_mut(start..start + data.len() / 2) {
                    there.copy_from_slice(&data[..data.len() / 2]);
                }
                return Err(ErrorKind::StorageFull.into());
            }
            let len = bytes.len().max(start + data.len());
            bytes.resize(len, 0);
            bytes[start..start + data.len()].copy_from_slice(&data);
            Ok(())
        }

        fn set_len(&self, len: u64) -> io::Result<()> {
            self.check()?;
            let (len, mut bytes) = (usize::try_from(len).unwrap(), lock(&self.bytes));
            if len > bytes.len() && self.full.load(Ordering::SeqCst) {
                return Err(ErrorKind::QuotaExceeded.into());
            }
            bytes.resize(len, 0);
            Ok(())
        }

        fn sync(&self) -> io::Result<()> {
            self.check()?;
            lock(&self.syncs).push(lock(&self.bytes).clone());
            Ok(())
        }
    }

    #[derive(Clone, Debug)]
    enum Ask {
        Write(usize, usize, u8),
        SetLen(usize),
        Sync,
        Full(bool),
        CatchUp,
    }

    fn ask() -> impl Strategy<Value = Ask> {
        let write = (0..40_000_usize, 1..9_000_usize, 1..=255_u8);
        prop_oneof![
            6 => write.prop_map(|(at, len, byte)| Ask::Write(at, len, byte)),
            2 => (0..60_000_usize).prop_map(Ask::SetLen),
            2 => Just(Ask::Sync),
            2 => any::<bool>().prop_map(Ask::Full),
            2 => Just(Ask::CatchUp),
        ]
    }

    proptest! {
        #[test]
        fn it_reads_as_if_there_were_room_and_each_sync_sees_what_was_written_before_it(
            asks in prop::collection::vec(ask(), 1..60),
        ) {
            let small = Arc::new(Small::default());
            let (backend, file) = on(Arc::clone(&small) as Arc<dyn DiskFile>);
            let (mut model, mut synced) = (Vec::new(), Vec::new());
            for ask in asks {
                match ask {
                    Ask::Write(at, len, byte) => {
                        model.resize(model.len().max(at + len), 0);
                        model[at..at + len].fill(byte);
                        backend.write(at as u64, &vec![byte; len]).unwrap();
                    }
                    Ask::SetLen(len) => {
                        model.resize(len, 0);
                        backend.set_len(len as u64).unwrap();
                    }
                    Ask::Sync => {
                        synced.push(model.clone());
                        backend.sync_data().unwrap();
                    }
                    Ask::Full(full) => small.full.store(full, Ordering::SeqCst),
                    Ask::CatchUp => {
                        let caught_up = file.catch_up().unwrap();
                        prop_assert_eq!(caught_up, !file.is_behind());
                    }
                }
                prop_assert_eq!(backend.len().unwrap(), model.len() as u64);
                let mut read = vec![0; model.len()];
                backend.read(0, &mut read).unwrap();
                prop_assert!(read == model);
                let mut beyond = vec![1; model.len()];
                backend.read(1, &mut beyond).unwrap();
                let nothing = usize::from(!model.is_empty());
                prop_assert!(beyond.ends_with(&vec![0; nothing]));
                prop_assert!(beyond[..model.len() - nothing] == model[nothing..]);
            }
            small.full.store(false, Ordering::SeqCst);
            prop_assert!(file.catch_up().unwrap() && !file.is_behind());
            prop_assert!(*lock(&small.bytes) == model);
            prop_assert!(*lock(&small.syncs) == synced);
        }
    }

    #[test]
    fn what_fails_while_it_catches_up_ends_all_writing_and_reads_go_on() {
        let small = Arc::new(Small::default());
        let (backend, file) = on(Arc::clone(&small) as Arc<dyn DiskFile>);
        small.full.store(true, Ordering::SeqCst);
        backend.write(0, &[7; 10]).unwrap();
        assert!(!file.catch_up().unwrap());
        small.broken.store(true, Ordering::SeqCst);
        file.catch_up().unwrap_err();
        small.broken.store(false, Ordering::SeqCst);
        small.full.store(false, Ordering::SeqCst);
        file.catch_up().unwrap_err();
        backend.write(0, &[8; 10]).unwrap_err();
        let mut read = [0; 10];
        backend.read(0, &mut read).unwrap();
        assert_eq!((read, small.size().unwrap()), ([7; 10], 0));
    }

    #[test]
    fn of_two_databases_on_the_file_only_the_last_one_writes() {
        let small = Arc::new(Small::default());
        let (old, file) = on(Arc::clone(&small) as Arc<dyn DiskFile>);
        old.write(0, &[7; 10]).unwrap();
        small.unread.store(true, Ordering::SeqCst);
        let held = old.read(5, &mut [0; 5]);
        assert!(held.is_err() && file.is_unread() && !file.is_spoilt());
        assert!(!file.reads_again());
        small.unread.store(false, Ordering::SeqCst);
        assert!(file.reads_again());
        let new = file.backend();
        assert!(!file.is_unread());
        old.write(0, &[8; 10]).unwrap_err();
        old.set_len(0).unwrap_err();
        old.sync_data().unwrap_err();
        small.unread.store(true, Ordering::SeqCst);
        old.read(5, &mut [0; 5]).unwrap_err();
        small.unread.store(false, Ordering::SeqCst);
        assert!(!file.is_unread() && !file.is_spoilt(), "what it does is nothing to the new one");
        new.write(10, &[9; 10]).unwrap();
        assert_eq!((small.size().unwrap(), lock(&small.bytes)[0]), (20, 7));
        small.broken.store(true, Ordering::SeqCst);
        new.sync_data().unwrap_err();
        assert!(file.is_spoilt());
    }

    #[test]
    fn what_waits_is_bounded() {
        let small = Arc::new(Small::default());
        let (backend, _) = on(Arc::clone(&small) as Arc<dyn DiskFile>);
        small.full.store(true, Ordering::SeqCst);
        let megabyte = vec![1; 1 << 20];
        for _ in 0..limits::INDEX_WAITING_BYTES_MAX >> 20 {
            backend.write(0, &megabyte).unwrap();
        }
        let refused = backend.write(0, &megabyte).unwrap_err();
        assert!(is_full(&refused));
    }

    #[test]
    fn a_read_that_hangs_is_known_until_it_comes_back() {
        let small = Arc::new(Small::default());
        let (backend, file) = on(Arc::clone(&small) as Arc<dyn DiskFile>);
        backend.write(0, &[7; 10]).unwrap();
        assert_eq!(file.troubles().oldest(), None);
        let held = lock(&small.held);
        std::thread::scope(|threads| {
            let read = threads.spawn(|| backend.read(0, &mut [0; 10]));
            while file.troubles().oldest().is_none() {
                std::thread::yield_now();
            }
            let known = file.troubles().oldest();
            assert_eq!(known, Some(("reading the index", Duration::from_secs(9))));
            drop(held);
            read.join().unwrap().unwrap();
        });
        assert_eq!(file.troubles().oldest(), None);
    }
}
