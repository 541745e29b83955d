//! The arithmetic of encryption at rest: wrapping data keys, and encrypting and decrypting runs of
//! bytes at any place.
//!
//! A run is encrypted with AES-256 in counter mode, so that it keeps its length and can be read from
//! any byte; the counter begins at zero, because each run has a key of its own. What a run is, is
//! sealed by a MAC over the root of its manifest (encrypt, then authenticate): the store verifies
//! every chunk against that root before it gives one byte.
//!
//! Invariant: no key encrypts two different runs; nothing of a run is decrypted before its seal was
//! verified. Source: NIST SP 800-38A, SP 800-38D, SP 800-108 (key derivation by HMAC).

use std::ops::Range;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::hmac;
use aws_lc_rs::iv::FixedLength;
use bytes::{Bytes, BytesMut};

use crate::types::encryption::{KEY_BYTES, Seal, SecretBytes, Sse, TAG_BYTES, WrappedKey};
use crate::types::object::{BlobRef, PartRef};

const BLOCK_BYTES: usize = 16;

/// The key of one object, in the clear; only in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DataKey(SecretBytes);

impl DataKey {
    /// From 32 random bytes.
    pub fn new(random: [u8; KEY_BYTES]) -> Self {
        Self(SecretBytes(random))
    }

    /// Wraps it for the record. `salt` is random and used once.
    pub fn wrap(&self, wrapping: &SecretBytes, sse: &Sse, salt: [u8; KEY_BYTES]) -> WrappedKey {
        let mut key = self.0.0;
        let sealed = gcm(wrapping, &salt).seal_in_place_separate_tag(
            Nonce::assume_unique_for_key([0; 12]),
            Aad::from(context(sse)),
            &mut key,
        );
        let sealed = sealed.expect("AES-GCM takes 32 bytes");
        let mut tag = [0; TAG_BYTES];
        tag.copy_from_slice(sealed.as_ref());
        WrappedKey { salt, key, tag }
    }

    /// `None` when `wrapping` is not the key that wrapped it, or the record was changed.
    pub fn unwrap(wrapped: &WrappedKey, wrapping: &SecretBytes, sse: &Sse) -> Option<Self> {
        let mut sealed = [0; KEY_BYTES + TAG_BYTES];
        sealed[..KEY_BYTES].copy_from_slice(&wrapped.key);
        sealed[KEY_BYTES..].copy_from_slice(&wrapped.tag);
        let opened = gcm(wrapping, &wrapped.salt)
            .open_in_place(
                Nonce::assume_unique_for_key([0; 12]),
                Aad::from(context(sse)),
                &mut sealed,
            )
            .ok()?;
        let mut key = [0; KEY_BYTES];
        key.copy_from_slice(opened);
        Some(Self(SecretBytes(key)))
    }

    /// An ETag that tells nothing of the bytes to who reads the disk; the same bytes under the same
    /// data key have the same one.
    pub fn hide_md5(&self, md5: [u8; 16]) -> [u8; 16] {
        let hidden = self.derive("etag", &md5);
        let mut etag = [0; 16];
        etag.copy_from_slice(&hidden.0[..16]);
        etag
    }

    fn derive(&self, purpose: &str, of: &[u8]) -> SecretBytes {
        derive(&self.0, purpose, of)
    }

    fn seal(&self, nonce: [u8; 16], blob: &BlobRef) -> Seal {
        Seal { nonce, mac: self.mac(&nonce, blob).0 }
    }

    fn mac(&self, nonce: &[u8; 16], blob: &BlobRef) -> SecretBytes {
        let of = [&nonce[..], &blob.len.to_be_bytes(), &blob.root.0].concat();
        self.derive("seal", &of)
    }
}

/// A key for one purpose.
fn derive(key: &SecretBytes, purpose: &str, of: &[u8]) -> SecretBytes {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, &key.0));
    // The purpose ends in a byte that no purpose has, so that no two inputs are the same.
    for part in ["godwit ", purpose, " 1\0"] {
        context.update(part.as_bytes());
    }
    context.update(of);
    let mut made = [0; KEY_BYTES];
    made.copy_from_slice(context.sign().as_ref());
    SecretBytes(made)
}

fn gcm(wrapping: &SecretBytes, salt: &[u8; KEY_BYTES]) -> LessSafeKey {
    let key = derive(wrapping, "wrap", salt);
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key.0).expect("a key of 32 bytes"))
}

/// What a wrapped key is bound to: a record cannot be passed off as one of another kind.
fn context(sse: &Sse) -> Vec<u8> {
    match sse {
        Sse::Customer => b"SSE-C".to_vec(),
        Sse::Kms(name) => format!("SSE-KMS {name}").into_bytes(),
        Sse::S3(name) => format!("SSE-S3 {name}").into_bytes(),
    }
}

/// The keystream of one run. To encrypt and to decrypt are the same.
struct RunCipher {
    /// Boxed, because a key schedule is large and a request has it in its future.
    key: Box<EncryptingKey>,
    /// Of the next byte in its run.
    at: u64,
}

impl RunCipher {
    fn new(data_key: &DataKey, nonce: &[u8; 16], at: u64) -> Self {
        let key = data_key.derive("run", nonce);
        let key = UnboundCipherKey::new(&AES_256, &key.0).expect("a key of 32 bytes");
        let key = EncryptingKey::ctr(key).expect("AES has a counter mode");
        Self { key: Box::new(key), at }
    }

    fn apply(&mut self, mut bytes: &mut [u8]) {
        let skip = usize::try_from(self.at % BLOCK_BYTES as u64).expect("below a block");
        if skip > 0 {
            let (head, rest) = bytes.split_at_mut(bytes.len().min(BLOCK_BYTES - skip));
            let mut block = [0; BLOCK_BYTES];
            block[skip..skip + head.len()].copy_from_slice(head);
            self.blocks(self.at - skip as u64, &mut block);
            head.copy_from_slice(&block[skip..skip + head.len()]);
            self.at += head.len() as u64;
            bytes = rest;
        }
        if !bytes.is_empty() {
            self.blocks(self.at, bytes);
            self.at += bytes.len() as u64;
        }
    }

    /// From a place that is a multiple of a block.
    fn blocks(&self, at: u64, bytes: &mut [u8]) {
        assert_eq!(at % BLOCK_BYTES as u64, 0, "the counter counts whole blocks");
        let counter = u128::from(at / BLOCK_BYTES as u64).to_be_bytes();
        let context = EncryptionContext::Iv128(FixedLength::from(counter));
        self.key.less_safe_encrypt(bytes, context).expect("a counter of 16 bytes");
    }
}

/// Encrypts one run on its way in.
pub struct Sealer {
    data_key: DataKey,
    nonce: [u8; 16],
    cipher: RunCipher,
}

impl Sealer {
    /// `nonce` is random and used once.
    pub fn new(data_key: &DataKey, nonce: [u8; 16]) -> Self {
        let cipher = RunCipher::new(data_key, &nonce, 0);
        Self { data_key: data_key.clone(), nonce, cipher }
    }

    /// The next bytes of the run.
    pub fn encrypt(&mut self, bytes: Bytes) -> Bytes {
        let mut bytes = owned(bytes);
        self.cipher.apply(&mut bytes);
        bytes.freeze()
    }

    /// Seals the run, when all of it lies in `blob`.
    pub fn seal(self, blob: &BlobRef) -> Seal {
        assert_eq!(self.cipher.at, blob.len, "a seal is over the whole run");
        self.data_key.seal(self.nonce, blob)
    }
}

/// Decrypts bytes of an object on their way out, across its runs.
pub struct Opener {
    /// What is left of each run of the range, with its cipher, in order.
    runs: std::vec::IntoIter<(u64, RunCipher)>,
    /// Bytes that are left of the run under way.
    left: u64,
    cipher: Option<RunCipher>,
}

/// A run is not what the owner of the data key wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BrokenSeal;

impl Opener {
    /// For the bytes of `range` in an object of these runs. Verifies the seals of those runs.
    pub fn new(
        data_key: &DataKey,
        parts: &[PartRef],
        range: Range<u64>,
    ) -> Result<Self, BrokenSeal> {
        let mut runs = Vec::new();
        let mut start = 0;
        for part in parts {
            let end = start + part.blob.len;
            let (from, to) = (range.start.max(start), range.end.min(end));
            if from < to {
                let seal = part.seal.ok_or(BrokenSeal)?;
                if data_key.mac(&seal.nonce, &part.blob) != SecretBytes(seal.mac) {
                    return Err(BrokenSeal);
                }
                runs.push((to - from, RunCipher::new(data_key, &seal.nonce, from - start)));
            }
            start = end;
        }
        Ok(Self { runs: runs.into_iter(), left: 0, cipher: None })
    }

    /// The next bytes of the range.
    pub fn decrypt(&mut self, bytes: Bytes) -> Bytes {
        let mut bytes = owned(bytes);
        let mut rest = &mut bytes[..];
        while !rest.is_empty() {
            if self.left == 0 {
                let (left, cipher) = self.runs.next().expect("no more bytes than were asked for");
                (self.left, self.cipher) = (left, Some(cipher));
            }
            let here = usize::try_from(self.left).unwrap_or(usize::MAX).min(rest.len());
            let (now, after) = std::mem::take(&mut rest).split_at_mut(here);
            self.cipher.as_mut().expect("set with the run").apply(now);
            self.left -= here as u64;
            rest = after;
        }
        bytes.freeze()
    }
}

/// The bytes to work on in place: copied only where someone else (a cache) has them too.
fn owned(bytes: Bytes) -> BytesMut {
    bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]))
}

#[cfg(test)]
#[path = "encryption_tests.rs"]
mod tests;
