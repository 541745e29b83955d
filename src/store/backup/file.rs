//! The file of a backup: a head, then pieces, then an end.
//!
//! ```text
//! head    "godwitbk", format (4 bytes, big-endian)
//! piece   kind (1), length (4), BLAKE3 of place, kind and payload (32), payload
//! ```
//!
//! Invariant: numbers of kinds and the layout never change their meaning within a format.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::env::{DiskFile, Env, OpenMode};
use crate::limits;
use crate::types::id::ClusterId;
use crate::types::object::BlobRef;
use crate::types::record::{Record, RecordId};
use crate::types::region::RegionId;

use crate::store::blobs::Manifest;
use crate::store::error::Error;
use crate::store::{files, schema};

const MAGIC: &[u8; 8] = b"godwitbk";

/// The only format there is.
const FORMAT: u32 = 1;

const HEAD_BYTES: usize = 12;
const PIECE_BYTES: usize = 1 + 4 + 32;

/// No piece is larger: a chunk, or a record at its bound.
const PAYLOAD_BYTES_MAX: usize = 64 << 20;

/// Bytes gathered before they are written.
const BUFFER_BYTES: usize = 4 << 20;

const INFO: u8 = 1;
const RECORD: u8 = 2;
const BLOB: u8 = 3;
const CHUNK: u8 = 4;
const END: u8 = 5;

/// Where and when a backup was made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Info {
    pub cluster: ClusterId,
    pub region: RegionId,
    /// Of the program that wrote it.
    pub version: String,
    /// Milliseconds since 1970.
    pub started_ms: u64,
}

/// What is in a backup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    pub records: u64,
    /// Whole ones.
    pub blobs: u64,
    pub bytes: u64,
    /// Times that bytes were named which were not held where the backup was made.
    pub absent: u64,
}

/// One piece of a backup.
#[derive(Debug)]
pub enum Piece {
    Info(Info),
    Record(RecordId, Box<Record>),
    Blob(BlobRef, Manifest),
    Chunk(u32, Bytes),
    End(Totals),
}

/// The name of a backup that is not whole yet.
pub fn partial(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".part");
    PathBuf::from(name)
}

fn sum(place: u64, kind: u8, payload: &[u8]) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new_derive_key("godwit 2026 backup piece");
    hasher.update(&place.to_be_bytes()).update(&[kind]).update(payload);
    *hasher.finalize().as_bytes()
}

/// Writes a backup.
pub(super) struct Writer {
    env: Env,
    path: PathBuf,
    file: Arc<dyn DiskFile>,
    /// Written so far, without the buffer.
    position: u64,
    buffer: Vec<u8>,
}

impl Writer {
    pub(super) async fn create(env: Env, path: PathBuf, info: &Info) -> Result<Self, Error> {
        let part = partial(&path);
        let disk = Arc::clone(&env.disk);
        let taken = path.clone();
        let file = env.blocking(move || {
            if disk.open(&taken, OpenMode::Read).is_ok() {
                return Err(std::io::Error::from(std::io::ErrorKind::AlreadyExists));
            }
            let file = disk.open(&part, OpenMode::Exclusive)?;
            file.set_len(0)?;
            Ok(file)
        });
        let file = file.await.map_err(|e| Error::io("making the file of a backup", e))?;
        let mut buffer = MAGIC.to_vec();
        buffer.extend_from_slice(&FORMAT.to_be_bytes());
        let mut writer = Self { env, path, file, position: 0, buffer };
        writer.piece(INFO, &schema::encode(info)).await?;
        Ok(writer)
    }

    pub(super) async fn record(&mut self, id: &RecordId, record: &Record) -> Result<(), Error> {
        self.piece(RECORD, &schema::encode(&(id, record))).await
    }

    pub(super) async fn blob(&mut self, blob: &BlobRef, manifest: &Manifest) -> Result<(), Error> {
        self.piece(BLOB, &schema::encode(&(blob, manifest.hashes()))).await
    }

    pub(super) async fn chunk(&mut self, index: u32, bytes: &[u8]) -> Result<(), Error> {
        self.piece(CHUNK, &[&index.to_be_bytes(), bytes].concat()).await
    }

    /// Writes the end, makes everything durable and gives the file its name.
    pub(super) async fn finish(mut self, totals: &Totals) -> Result<(), Error> {
        self.piece(END, &schema::encode(totals)).await?;
        self.flush().await?;
        let Self { env, path, file, .. } = self;
        let disk = Arc::clone(&env.disk);
        let done = env.blocking(move || {
            file.sync()?;
            disk.rename(&partial(&path), &path)?;
            match path.parent() {
                Some(dir) => disk.sync_dir(dir),
                None => Ok(()),
            }
        });
        done.await.map_err(|e| Error::io("ending a backup", e))
    }

    async fn piece(&mut self, kind: u8, payload: &[u8]) -> Result<(), Error> {
        if payload.len() > PAYLOAD_BYTES_MAX {
            return Err(Error::TooLarge { bytes: payload.len() as u64 });
        }
        let place = self.position + self.buffer.len() as u64;
        let len = u32::try_from(payload.len()).expect("at most 64 MiB");
        self.buffer.push(kind);
        self.buffer.extend_from_slice(&len.to_be_bytes());
        self.buffer.extend_from_slice(&sum(place, kind, payload));
        self.buffer.extend_from_slice(payload);
        if self.buffer.len() >= BUFFER_BYTES { self.flush().await } else { Ok(()) }
    }

    async fn flush(&mut self) -> Result<(), Error> {
        let (file, position) = (Arc::clone(&self.file), self.position);
        let buffer = std::mem::take(&mut self.buffer);
        self.position += buffer.len() as u64;
        let written = self.env.blocking(move || file.write_all_at(position, &[&buffer]));
        written.await.map_err(|e| Error::io("writing a backup", e))
    }
}

/// Reads a backup, piece by piece. Blocks.
pub struct Reader {
    file: Arc<dyn DiskFile>,
    len: u64,
    position: u64,
    info: Info,
    ended: bool,
}

fn corrupt(position: u64, what: &str) -> Error {
    Error::corrupt(format!("the backup is damaged at byte {position}: {what}"))
}

impl Reader {
    /// Opens a backup and reads its head.
    pub fn open(env: &Env, path: &Path) -> Result<Self, Error> {
        let failed = |e| Error::io("reading a backup", e);
        let file = env.disk.open(path, OpenMode::Read).map_err(failed)?;
        let len = file.size().map_err(failed)?;
        if len < HEAD_BYTES as u64 {
            return Err(Error::corrupt("this is no backup"));
        }
        let head = files::read(&*file, 0, HEAD_BYTES).map_err(failed)?;
        let (magic, format) = head.split_at(MAGIC.len());
        if magic != MAGIC {
            return Err(Error::corrupt("this is no backup"));
        }
        let found = u32::from_be_bytes(format.try_into().expect("four bytes"));
        if found != FORMAT {
            return Err(Error::Newer { found, known: FORMAT });
        }
        let info = Info {
            cluster: ClusterId([0; 16]),
            region: RegionId::from_u16(0).expect("the first code"),
            version: String::new(),
            started_ms: 0,
        };
        let mut reader = Self { file, len, position: HEAD_BYTES as u64, info, ended: false };
        match reader.piece()? {
            Some(Piece::Info(info)) => reader.info = info,
            Some(_) | None => return Err(corrupt(HEAD_BYTES as u64, "it does not say of what")),
        }
        Ok(reader)
    }

    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The next piece; `None` after the end.
    pub fn piece(&mut self) -> Result<Option<Piece>, Error> {
        let at = self.position;
        if self.ended {
            return match at == self.len {
                true => Ok(None),
                false => Err(corrupt(at, "something follows its end")),
            };
        }
        let (kind, payload) = self.raw()?;
        let piece = match kind {
            INFO => Piece::Info(schema::decode(&payload)?),
            RECORD => {
                let (id, record): (RecordId, Record) = schema::decode(&payload)?;
                Piece::Record(id, Box::new(record))
            }
            BLOB => {
                let (blob, hashes): (BlobRef, Vec<_>) = schema::decode(&payload)?;
                let manifest = Manifest::new(blob.len, hashes).filter(|m| m.belongs_to(&blob));
                Piece::Blob(blob, manifest.ok_or_else(|| corrupt(at, "a manifest"))?)
            }
            CHUNK => {
                let (index, bytes) =
                    payload.split_at_checked(4).ok_or_else(|| corrupt(at, "a chunk"))?;
                let index = u32::from_be_bytes(index.try_into().expect("four bytes"));
                Piece::Chunk(index, Bytes::copy_from_slice(bytes))
            }
            END => {
                self.ended = true;
                Piece::End(schema::decode(&payload)?)
            }
            _ => return Err(corrupt(at, "a piece of an unknown kind")),
        };
        Ok(Some(piece))
    }

    /// The next chunk of a blob, checked; `None` where another piece follows.
    pub fn chunk(&mut self, manifest: &Manifest, index: u32) -> Result<Option<Bytes>, Error> {
        let at = self.position;
        match self.piece()? {
            Some(Piece::Chunk(found, bytes)) if found == index => {
                match manifest.verifies(index, &bytes) {
                    true => Ok(Some(bytes)),
                    false => Err(corrupt(at, "a chunk is not what its manifest says")),
                }
            }
            Some(_) | None => {
                (self.position, self.ended) = (at, false);
                Ok(None)
            }
        }
    }

    fn raw(&mut self) -> Result<(u8, Vec<u8>), Error> {
        let failed = |e| Error::io("reading a backup", e);
        let at = self.position;
        let cut = || Error::corrupt("the backup ends early: it was interrupted; make it again");
        if self.len - at < PIECE_BYTES as u64 {
            return Err(cut());
        }
        let head = files::read(&*self.file, at, PIECE_BYTES).map_err(failed)?;
        let len = u32::from_be_bytes(head[1..5].try_into().expect("four bytes"));
        let len = usize::try_from(len).expect("32 bits fit");
        if len > PAYLOAD_BYTES_MAX {
            return Err(corrupt(at, "a length"));
        }
        let start = at + PIECE_BYTES as u64;
        if self.len - start < len as u64 {
            return Err(cut());
        }
        let payload = files::read(&*self.file, start, len).map_err(failed)?;
        if head[5..] != sum(at, head[0], &payload) {
            return Err(corrupt(at, "a checksum"));
        }
        self.position = start + len as u64;
        Ok((head[0], payload))
    }
}

const _: () = assert!(limits::CHUNK_BYTES + 4 <= PAYLOAD_BYTES_MAX);
