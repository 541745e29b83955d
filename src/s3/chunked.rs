//! The aws-chunked framing: sizes, signatures of chunks, trailers.
//!
//! Invariant: pure, bytes in and steps out; lines and trailers are bounded. A chunk's bytes come
//! out before its signature was checked, so nothing may become visible before [`Step::End`].
//! Source: "Transferring Payload in Multiple Chunks" and "Checking object integrity", S3.

use std::collections::VecDeque;

use aws_lc_rs::digest::{Context, SHA256};
use bytes::{Buf, Bytes, BytesMut};

use crate::engine::body::BodyError;

use super::auth::payload::ChunkSigner;

/// A chunk's head: 16 hexadecimal digits, `;chunk-signature=` and 64 more, with room.
const LINE_BYTES_MAX: usize = 1024;

/// All trailers together.
const TRAILER_BYTES_MAX: usize = 8 << 10;

/// What comes out next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    Data(Bytes),
    /// Nothing more can come out of what was pushed.
    More,
    /// The framing is whole, and every signature is right.
    End,
}

/// The state between two pushes.
pub(crate) struct Decoder {
    signer: Option<Box<ChunkSigner>>,
    /// Trailers are expected; without, the last chunk ends the body.
    trailer: bool,
    input: VecDeque<Bytes>,
    line: BytesMut,
    state: State,
    chunk: Context,
    signature: String,
    trailers: Vec<(String, String)>,
    trailer_bytes: usize,
    trailer_signed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Head,
    Data(u64),
    /// The line end behind a chunk's data.
    DataEnd,
    Trailers,
    End,
}

fn malformed(why: &str) -> BodyError {
    BodyError::Malformed(why.to_owned())
}

impl Decoder {
    pub(crate) fn new(signer: Option<Box<ChunkSigner>>, trailer: bool) -> Self {
        Self {
            signer,
            trailer,
            input: VecDeque::new(),
            line: BytesMut::new(),
            state: State::Head,
            chunk: Context::new(&SHA256),
            signature: String::new(),
            trailers: Vec::new(),
            trailer_bytes: 0,
            trailer_signed: false,
        }
    }

    pub(crate) fn push(&mut self, bytes: Bytes) {
        if !bytes.is_empty() {
            self.input.push_back(bytes);
        }
    }

    /// A trailer's value; names are lower case.
    pub(crate) fn trailer(&self, name: &str) -> Option<&str> {
        self.trailers.iter().find(|(n, _)| n == name).map(|(_, v)| v.as_str())
    }

    pub(crate) fn step(&mut self) -> Result<Step, BodyError> {
        loop {
            match self.state {
                State::Head => {
                    let Some(line) = self.line()? else { return Ok(Step::More) };
                    self.head(&line)?;
                }
                State::Data(left) => {
                    let Some(data) = self.take(left) else { return Ok(Step::More) };
                    if self.signer.is_some() {
                        self.chunk.update(&data);
                    }
                    let left = left - data.len() as u64;
                    self.state = if left == 0 { State::DataEnd } else { State::Data(left) };
                    return Ok(Step::Data(data));
                }
                State::DataEnd => {
                    let Some(line) = self.line()? else { return Ok(Step::More) };
                    if !line.is_empty() {
                        return Err(malformed("a chunk is longer than its size"));
                    }
                    self.check_chunk()?;
                    self.state = State::Head;
                }
                State::Trailers => {
                    let Some(line) = self.line()? else { return Ok(Step::More) };
                    self.trailer_line(&line)?;
                }
                State::End if self.input.is_empty() => return Ok(Step::End),
                State::End => return Err(malformed("bytes follow the last chunk")),
            }
        }
    }

    /// No byte will follow. A missing line end behind the last chunk is forgiven, unless a
    /// signature has still to come.
    pub(crate) fn finish(&mut self) -> Result<(), BodyError> {
        match self.state {
            State::End => Ok(()),
            State::Trailers if self.line.is_empty() && !self.awaits_trailer_signature() => {
                self.state = State::End;
                Ok(())
            }
            State::Head | State::Data(_) | State::DataEnd | State::Trailers => {
                Err(malformed("the chunks end too early"))
            }
        }
    }

    /// `10000;chunk-signature=ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648`
    fn head(&mut self, line: &[u8]) -> Result<(), BodyError> {
        let text = std::str::from_utf8(line).map_err(|_| malformed("a chunk's size"))?;
        let (size, extension) = text.split_once(';').unwrap_or((text, ""));
        let size = size.trim_matches([' ', '\t']);
        if size.is_empty() || size.len() > 16 || !size.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(malformed("a chunk's size is no hexadecimal number"));
        }
        let size = u64::from_str_radix(size, 16).map_err(|_| malformed("a chunk's size"))?;
        let signature = extension.trim().strip_prefix("chunk-signature=");
        self.signature.clear();
        match (&self.signer, signature) {
            (Some(_), Some(signature)) => self.signature.push_str(signature.trim()),
            (Some(_), None) => return Err(BodyError::Signature),
            (None, _) => {}
        }
        if size > 0 {
            self.state = State::Data(size);
            return Ok(());
        }
        self.check_chunk()?;
        self.state = State::Trailers;
        Ok(())
    }

    fn check_chunk(&mut self) -> Result<(), BodyError> {
        let Some(signer) = &mut self.signer else { return Ok(()) };
        let chunk = std::mem::replace(&mut self.chunk, Context::new(&SHA256));
        if signer.chunk(chunk.finish().as_ref(), &self.signature) {
            Ok(())
        } else {
            Err(BodyError::Signature)
        }
    }

    fn awaits_trailer_signature(&self) -> bool {
        self.signer.is_some() && self.trailer && !self.trailer_signed
    }

    fn trailer_line(&mut self, line: &[u8]) -> Result<(), BodyError> {
        if line.is_empty() {
            // Some clients put an empty line before the signature.
            if !self.awaits_trailer_signature() {
                self.state = State::End;
            }
            return Ok(());
        }
        self.trailer_bytes += line.len();
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(malformed("the trailers are too long"));
        }
        if !self.trailer {
            return Err(malformed("a trailer was not announced"));
        }
        let text = std::str::from_utf8(line).map_err(|_| malformed("a trailer is not UTF-8"))?;
        let (name, value) = text.split_once(':').ok_or_else(|| malformed("a trailer"))?;
        let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
        if name == "x-amz-trailer-signature" {
            return self.check_trailers(value);
        }
        if self.trailer_signed {
            return Err(malformed("a trailer follows the signature of the trailers"));
        }
        if self.trailer(&name).is_some() {
            return Err(malformed("a trailer is there twice"));
        }
        self.trailers.push((name, value.to_owned()));
        Ok(())
    }

    fn check_trailers(&mut self, signature: &str) -> Result<(), BodyError> {
        let Some(signer) = &mut self.signer else { return Ok(()) };
        // The SDKs sign them in the order of their names, in whatever order they are sent.
        self.trailers.sort_unstable();
        let mut text = String::new();
        for (name, value) in &self.trailers {
            text.push_str(name);
            text.push(':');
            text.push_str(value);
            text.push('\n');
        }
        if self.trailer_signed || !signer.trailer(&text, signature) {
            return Err(BodyError::Signature);
        }
        self.trailer_signed = true;
        Ok(())
    }

    /// At most `max` bytes of the input, without copying.
    fn take(&mut self, max: u64) -> Option<Bytes> {
        let front = self.input.front_mut()?;
        let max = usize::try_from(max).unwrap_or(usize::MAX);
        if front.len() > max {
            return Some(front.split_to(max));
        }
        self.input.pop_front()
    }

    /// The next line without its end; `None` when it is not whole yet.
    fn line(&mut self) -> Result<Option<Bytes>, BodyError> {
        while let Some(front) = self.input.front_mut() {
            let end = front.iter().position(|b| *b == b'\n');
            let taken = end.map_or(front.len(), |end| end + 1);
            self.line.extend_from_slice(&front[..taken]);
            front.advance(taken);
            if front.is_empty() {
                self.input.pop_front();
            }
            if self.line.len() > LINE_BYTES_MAX {
                return Err(malformed("a line of the chunk framing is too long"));
            }
            if end.is_some() {
                let line = self.line.split().freeze();
                let line = line.strip_suffix(b"\n").unwrap_or(&line);
                let line = line.strip_suffix(b"\r").unwrap_or(line);
                return Ok(Some(Bytes::copy_from_slice(line)));
            }
        }
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Pushes `input` in pieces of `piece` bytes and gives the data back.
    fn decode(decoder: &mut Decoder, input: &[u8], piece: usize) -> Result<Vec<u8>, BodyError> {
        let mut out = Vec::new();
        let mut ended = false;
        for part in input.chunks(piece) {
            decoder.push(Bytes::copy_from_slice(part));
            loop {
                match decoder.step()? {
                    Step::Data(data) => out.extend_from_slice(&data),
                    Step::More => break,
                    Step::End => {
                        ended = true;
                        break;
                    }
                }
            }
        }
        if !ended {
            decoder.finish()?;
        }
        Ok(out)
    }

    #[test]
    fn unsigned_chunks_with_a_trailer_come_out_whole_however_they_are_cut() {
        let input = b"5\r\nhello\r\n6\r\n world\r\n0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        for piece in 1..input.len() {
            let mut decoder = Decoder::new(None, true);
            assert_eq!(decode(&mut decoder, input, piece).unwrap(), b"hello world");
            assert_eq!(decoder.trailer("x-amz-checksum-crc32"), Some("AAAAAA=="));
        }
    }

    #[test]
    fn malformed_framing_is_refused() {
        let cases: [&[u8]; 10] = [
            b"",
            b"5\r\nhel",
            b"zz\r\n",
            b"5\r\nhello!\r\n0\r\n\r\n",
            b"5\r\nhello\r\n",
            b"-1\r\n",
            b"0\r\n\r\nmore",
            b"0\r\nno colon\r\n\r\n",
            b"11111111111111111\r\n",
            b"5\x0c\r\nhello\r\n0\r\n\r\n",
        ];
        for input in cases {
            let result = decode(&mut Decoder::new(None, true), input, 4);
            assert!(matches!(result, Err(BodyError::Malformed(_))), "{input:?}: {result:?}");
        }
        let endless = vec![b'1'; 5000];
        assert!(decode(&mut Decoder::new(None, true), &endless, 100).is_err());
    }

    #[test]
    fn a_trailer_that_was_not_announced_is_refused() {
        let input = b"0\r\nx-amz-checksum-crc32:AAAAAA==\r\n\r\n";
        assert!(decode(&mut Decoder::new(None, false), input, 64).is_err());
    }

    /// The example of "Transferring Payload in Multiple Chunks", S3 API reference: 65 KiB of `a`.
    fn documented_signer() -> Box<ChunkSigner> {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_369_353_600);
        let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
        let derived = aws_sigv4::sign::v4::generate_signing_key(secret, time, "us-east-1", "s3");
        Box::new(ChunkSigner {
            key: derived.as_ref().try_into().unwrap(),
            date: "20130524T000000Z".into(),
            scope: "20130524/us-east-1/s3/aws4_request".into(),
            previous: "4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9".into(),
        })
    }

    fn documented_body() -> Vec<u8> {
        let mut body = Vec::new();
        let chunks = [
            (65_536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
            (1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
            (0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
        ];
        for (size, signature) in chunks {
            body.extend_from_slice(format!("{size:x};chunk-signature={signature}\r\n").as_bytes());
            body.extend(std::iter::repeat_n(b'a', size));
            body.extend_from_slice(b"\r\n");
        }
        body
    }

    #[test]
    fn the_documented_example_of_signed_chunks_verifies() {
        let mut decoder = Decoder::new(Some(documented_signer()), false);
        assert_eq!(decode(&mut decoder, &documented_body(), 1000).unwrap(), vec![b'a'; 66_560]);
    }

    #[test]
    fn one_changed_byte_breaks_the_chain_of_signatures() {
        let body = documented_body();
        for at in [100, 65_536 + 200, body.len() - 10] {
            let mut changed = body.clone();
            changed[at] = if changed[at] == b'b' { b'c' } else { b'b' };
            let mut decoder = Decoder::new(Some(documented_signer()), false);
            let result = decode(&mut decoder, &changed, 1000);
            assert_eq!(result, Err(BodyError::Signature), "byte {at}");
        }
    }

    #[test]
    fn signed_trailers_need_their_signature() {
        let signer = documented_signer();
        let mut probe = signer.clone();
        let empty = aws_lc_rs::digest::digest(&SHA256, b"");
        probe.chunk(empty.as_ref(), "");
        let chunk = probe.previous.clone();
        probe.trailer("x-amz-checksum-crc32c:sOO8/Q==\n", "");
        let trailer = probe.previous;
        let head = format!("0;chunk-signature={chunk}\r\nx-amz-checksum-crc32c:sOO8/Q==");
        for gap in ["\r\n", "\n\r\n"] {
            let whole = format!("{head}{gap}x-amz-trailer-signature:{trailer}\r\n\r\n");
            let mut decoder = Decoder::new(Some(signer.clone()), true);
            assert_eq!(decode(&mut decoder, whole.as_bytes(), 7).unwrap(), b"");
            assert_eq!(decoder.trailer("x-amz-checksum-crc32c"), Some("sOO8/Q=="));
        }
        let mut probe = signer.clone();
        probe.chunk(empty.as_ref(), "");
        probe.trailer("x-a:1\nx-b:2\n", "");
        let several = format!(
            "0;chunk-signature={chunk}\r\nX-B:2\r\nx-a:1\r\nx-amz-trailer-signature:{}\r\n\r\n",
            probe.previous
        );
        let mut decoder = Decoder::new(Some(signer.clone()), true);
        assert_eq!(decode(&mut decoder, several.as_bytes(), 7).unwrap(), b"");
        let unsigned = format!("{head}\r\n\r\n");
        assert!(
            decode(&mut Decoder::new(Some(signer.clone()), true), unsigned.as_bytes(), 7).is_err()
        );
        let wrong = format!("{head}\r\nx-amz-trailer-signature:{chunk}\r\n\r\n");
        let result = decode(&mut Decoder::new(Some(signer), true), wrong.as_bytes(), 7);
        assert_eq!(result, Err(BodyError::Signature));
    }

    proptest! {
        /// However the network cuts a body, it means the same, and no body makes the decoder panic.
        #[test]
        fn any_bytes_mean_the_same_however_they_are_cut(
            input in prop_oneof![
                "[0-9a-f]{1,2}(;[a-z=-]{0,20})?\r?\n[ -~]{0,40}\r\n\
                 0\r\n([a-z-]{1,9}:[ -~]{0,9}\r\n)?\r\n",
                "[0-9a-f\r\n:; ]{0,60}",
            ],
            piece in 1_usize..20,
            trailer in any::<bool>(),
        ) {
            let whole = decode(&mut Decoder::new(None, trailer), input.as_bytes(), usize::MAX);
            let cut = decode(&mut Decoder::new(None, trailer), input.as_bytes(), piece);
            prop_assert_eq!(whole.is_ok(), cut.is_ok());
            if let (Ok(whole), Ok(cut)) = (whole, cut) {
                prop_assert_eq!(whole, cut);
            }
        }

        #[test]
        fn what_was_framed_comes_out(
            data in prop::collection::vec(any::<u8>(), 0..300),
            size in 1_usize..50,
        ) {
            let mut framed = Vec::new();
            for chunk in data.chunks(size) {
                framed.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
                framed.extend_from_slice(chunk);
                framed.extend_from_slice(b"\r\n");
            }
            framed.extend_from_slice(b"0\r\n\r\n");
            prop_assert_eq!(decode(&mut Decoder::new(None, true), &framed, 7).unwrap(), data);
        }
    }
}
