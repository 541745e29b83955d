//! Encryption against the standard's own vectors, and at every place of a body.

use proptest::prelude::*;

use super::*;
use crate::types::encryption::KeyName;
use crate::types::id::{BlobId, Hash};
use crate::types::stamp::Stamp;

fn s3() -> Sse {
    Sse::S3(KeyName::parse("first").unwrap())
}

fn data_key() -> DataKey {
    DataKey::new([9; 32])
}

/// Encrypts `plain` in pieces of these lengths, as one run.
fn sealed(plain: &[u8], nonce: [u8; 16], cuts: &[usize]) -> (Vec<u8>, PartRef) {
    let mut sealer = Sealer::new(&data_key(), nonce);
    let (mut stored, mut rest) = (Vec::new(), plain);
    for cut in cuts.iter().chain([&usize::MAX]) {
        let (now, after) = rest.split_at(rest.len().min(*cut));
        stored.extend_from_slice(&sealer.encrypt(Bytes::copy_from_slice(now)));
        rest = after;
    }
    let blob =
        BlobRef { id: BlobId(Stamp::ZERO), len: plain.len() as u64, root: Hash::of(&stored) };
    let seal = Some(sealer.seal(&blob));
    (stored, PartRef { number: 1, blob, checksum: None, held_by: Vec::new(), seal })
}

/// NIST SP 800-38A, F.5.5: the cipher is AES-256 in counter mode, with the counter that we count.
#[test]
fn the_keystream_is_that_of_the_standard() {
    let key = hex::decode("603deb1015ca71be2b73aef0857d77811f352c073b6108d72d9810a30914dff4");
    let key = UnboundCipherKey::new(&AES_256, &key.unwrap()).unwrap();
    let cipher = RunCipher { key: Box::new(EncryptingKey::ctr(key).unwrap()), at: 0 };
    let counter = u128::from_str_radix("f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff", 16).unwrap();
    let mut block = hex::decode("6bc1bee22e409f96e93d7e117393172a").unwrap();
    let context = EncryptionContext::Iv128(FixedLength::from(counter.to_be_bytes()));
    cipher.key.less_safe_encrypt(&mut block, context).unwrap();
    assert_eq!(hex::encode(block), "601ec313775789a5b7a7f504bbf3d228");
}

#[test]
fn only_the_key_that_wrapped_unwraps() {
    let (wrapping, other) = (SecretBytes([1; 32]), SecretBytes([2; 32]));
    let wrapped = data_key().wrap(&wrapping, &s3(), [3; 32]);
    assert_eq!(DataKey::unwrap(&wrapped, &wrapping, &s3()).unwrap().0, data_key().0);
    assert!(DataKey::unwrap(&wrapped, &other, &s3()).is_none(), "another key");
    assert!(DataKey::unwrap(&wrapped, &wrapping, &Sse::Customer).is_none(), "another kind");
    let moved = WrappedKey { salt: [4; 32], ..wrapped.clone() };
    assert!(DataKey::unwrap(&moved, &wrapping, &s3()).is_none(), "another salt");
    let mut changed = wrapped;
    changed.key[0] ^= 1;
    assert!(DataKey::unwrap(&changed, &wrapping, &s3()).is_none(), "a changed key");
}

#[test]
fn a_seal_holds_for_its_own_bytes_and_length_and_key_only() {
    let (_, part) = sealed(b"some bytes", [5; 16], &[]);
    let open = |key: &DataKey, part: PartRef| Opener::new(key, &[part], 0..10).map(|_| ());
    assert_eq!(open(&data_key(), part.clone()), Ok(()));
    assert_eq!(open(&DataKey::new([8; 32]), part.clone()), Err(BrokenSeal), "another data key");
    let swapped = BlobRef { root: Hash::of(b"other"), ..part.blob };
    assert_eq!(open(&data_key(), PartRef { blob: swapped, ..part.clone() }), Err(BrokenSeal));
    let shorter = BlobRef { len: 9, ..part.blob };
    assert_eq!(open(&data_key(), PartRef { blob: shorter, ..part.clone() }), Err(BrokenSeal));
    assert_eq!(open(&data_key(), PartRef { seal: None, ..part }), Err(BrokenSeal), "no seal");
}

#[test]
fn equal_bytes_are_stored_differently_each_time() {
    let (a, _) = sealed(&[0; 64], [1; 16], &[]);
    let (b, _) = sealed(&[0; 64], [2; 16], &[]);
    assert_ne!(a, b);
    assert_ne!(a[..16], a[16..32], "and block by block");
}

proptest! {
    /// Whatever the runs, the pieces that came in, the range that is read and the pieces that it is
    /// read in: what comes out is what went in.
    #[test]
    fn any_range_of_any_runs_decrypts_to_what_went_in(
        runs in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..100), 1..5),
        cuts_in in prop::collection::vec(0usize..40, 0..6),
        cuts_out in prop::collection::vec(1usize..40, 0..8),
        bounds in any::<(prop::sample::Index, prop::sample::Index)>(),
    ) {
        let (mut plain, mut stored, mut parts) = (Vec::new(), Vec::new(), Vec::new());
        for (number, run) in runs.iter().enumerate() {
            let (bytes, part) = sealed(run, [u8::try_from(number).unwrap(); 16], &cuts_in);

            plain.extend_from_slice(run);
            stored.extend(bytes);
            parts.push(part);
        }
        let (a, b) = (bounds.0.index(plain.len() + 1), bounds.1.index(plain.len() + 1));
        let (from, to) = (a.min(b), a.max(b));
        let mut opener = Opener::new(&data_key(), &parts, from as u64..to as u64).unwrap();
        let (mut read, mut rest) = (Vec::new(), &stored[from..to]);
        for cut in cuts_out.iter().chain([&usize::MAX]) {
            let (now, after) = rest.split_at(rest.len().min(*cut));
            read.extend_from_slice(&opener.decrypt(Bytes::copy_from_slice(now)));
            rest = after;
        }
        prop_assert_eq!(&read, &plain[from..to]);
    }
}
