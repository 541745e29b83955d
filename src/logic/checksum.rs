//! The additional checksums of objects and parts, computed over their bytes.
//! Source: S3 user guide, "Checking object integrity in Amazon S3".

use aws_lc_rs::digest::{Context, SHA1_FOR_LEGACY_USE_ONLY, SHA256};

use crate::types::object::{Checksum, ChecksumAlgorithm, ChecksumKind};

/// One checksum under way.
pub struct Sum {
    algorithm: ChecksumAlgorithm,
    state: State,
}

enum State {
    /// And how many bytes it has.
    Crc(Box<crc_fast::Digest>, usize),
    Sha(Context),
}

impl Sum {
    pub fn new(algorithm: ChecksumAlgorithm) -> Self {
        use crc_fast::CrcAlgorithm::{Crc32Iscsi, Crc32IsoHdlc, Crc64Nvme};
        let crc = |algorithm, width| State::Crc(Box::new(crc_fast::Digest::new(algorithm)), width);
        let state = match algorithm {
            ChecksumAlgorithm::Crc32 => crc(Crc32IsoHdlc, 4),
            ChecksumAlgorithm::Crc32c => crc(Crc32Iscsi, 4),
            ChecksumAlgorithm::Crc64Nvme => crc(Crc64Nvme, 8),
            ChecksumAlgorithm::Sha1 => State::Sha(Context::new(&SHA1_FOR_LEGACY_USE_ONLY)),
            ChecksumAlgorithm::Sha256 => State::Sha(Context::new(&SHA256)),
        };
        Self { algorithm, state }
    }

    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Crc(crc, _) => crc.update(bytes),
            State::Sha(sha) => sha.update(bytes),
        }
    }

    /// The checksum of all that came.
    pub fn finish(self) -> Checksum {
        let value = match self.state {
            State::Crc(crc, width) => crc.finalize().to_be_bytes()[8 - width..].to_vec(),
            State::Sha(sha) => sha.finish().as_ref().to_vec(),
        };
        Checksum { algorithm: self.algorithm, kind: ChecksumKind::FullObject, value }
    }
}
