//! Changes inputs of a corpus into others that are nearly right.

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Pieces that parsers are known to stumble over, in any format.
const PIECES: [&[u8]; 40] = [
    b"<",
    b">",
    b"&",
    b"&amp;",
    b"&#0;",
    b"&#x41;",
    b"]]>",
    b"<![CDATA[x]]>",
    b"<!--x-->",
    b"<?x?>",
    b"<a/>",
    b"</",
    b"\"",
    b"'",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b",",
    b"null",
    b"true",
    b"*",
    b"${x}",
    b"0",
    b"-1",
    b"65536",
    b"18446744073709551616",
    b"1e999",
    b"%00",
    b"%2F",
    b"%",
    b"+",
    b"//",
    b"..",
    b"\r\n",
    b"\0",
    b"\xff",
    b"\xc3\xa9",
    b"\xf0\x9f\xa6\x86",
];

/// A stream of inputs that one seed repeats.
pub struct Inputs {
    rng: StdRng,
    corpus: Vec<Vec<u8>>,
}

impl Inputs {
    pub fn new(seed: u64, corpus: Vec<Vec<u8>>) -> Self {
        assert!(!corpus.is_empty(), "there is something to begin with");
        Self { rng: StdRng::seed_from_u64(seed), corpus }
    }

    pub fn next(&mut self) -> Vec<u8> {
        let mut input = self.any().clone();
        for _ in 0..self.rng.random_range(1..=4) {
            self.change(&mut input);
        }
        input
    }

    fn any(&mut self) -> &Vec<u8> {
        let at = self.rng.random_range(0..self.corpus.len());
        &self.corpus[at]
    }

    /// Keeps an input that was accepted, to go on from there.
    pub fn keep(&mut self, input: Vec<u8>) {
        const KEPT_MAX: usize = 256;
        if self.corpus.len() < KEPT_MAX {
            self.corpus.push(input);
        }
    }

    fn change(&mut self, input: &mut Vec<u8>) {
        let (from, to) = self.range(input);
        match self.rng.random_range(0..8) {
            0 => drop(input.drain(from..to)),
            1 => {
                let again = input[from..to].to_vec();
                input.splice(to..to, again);
            }
            2 => {
                let piece = PIECES[self.rng.random_range(0..PIECES.len())];
                input.splice(from..from, piece.iter().copied());
            }
            3 => {
                let piece = PIECES[self.rng.random_range(0..PIECES.len())];
                input.splice(from..to, piece.iter().copied());
            }
            4 => {
                let other = self.any().clone();
                let (a, b) = self.range(&other);
                input.splice(from..to, other[a..b].iter().copied());
            }
            5 if from < input.len() => input[from] ^= 1 << self.rng.random_range(0..8),
            6 => {
                let (from, to) = element(input, from);
                let again = input[from..to].to_vec();
                let copies = self.rng.random_range(0..3_usize);
                input.splice(from..to, again.repeat(copies));
            }
            _ => {
                let number = self.rng.random_range(0..=10_u64).pow(self.rng.random_range(0..20));
                if let Some(at) = input.iter().position(u8::is_ascii_digit) {
                    input.splice(at..=at, number.to_string().bytes());
                }
            }
        }
    }

    /// A short range more often than a long one.
    fn range(&mut self, input: &[u8]) -> (usize, usize) {
        let from = self.rng.random_range(0..=input.len());
        let most = (input.len() - from).min(1 << self.rng.random_range(0..8));
        (from, from + self.rng.random_range(0..=most))
    }
}

/// From the next tag on to the end of the tag after it: a leaf with its value, in most documents.
fn element(input: &[u8], from: usize) -> (usize, usize) {
    let find = |from: usize, byte: u8| {
        input[from..].iter().position(|b| *b == byte).map_or(input.len(), |at| from + at)
    };
    let open = find(from, b'<');
    let close = find(find(open, b'>'), b'<');
    (open, (find(close, b'>') + 1).min(input.len()))
}
