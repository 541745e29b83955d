//! Hybrid logical stamps: when a change was made, totally ordered over all regions.
//!
//! A stamp says *later than everything its maker had seen*, not what a wall clock says.
//! Source: Kulkarni et al., "Logical Physical Clocks", 2014.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::region::RegionId;

/// Hybrid logical time: 48 bits of milliseconds since 1970 and a 16 bit counter.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Hlc(pub u64);

impl Hlc {
    /// The first stamp of a millisecond.
    pub const fn from_ms(ms: u64) -> Self {
        Self(ms << 16)
    }

    /// Milliseconds since 1970 (the physical part).
    pub const fn ms(self) -> u64 {
        self.0 >> 16
    }

    /// The next larger time; saturates, because 2^48 ms is the year 10889.
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// A hybrid time and the region that made it. Unique: a region never makes one twice.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Stamp {
    pub hlc: Hlc,
    pub region: RegionId,
}

impl Default for Stamp {
    fn default() -> Self {
        Self::ZERO
    }
}

impl Stamp {
    /// Below every stamp that is ever made.
    pub const ZERO: Self = Self {
        hlc: Hlc(0),
        region: match RegionId::from_u16(0) {
            Some(region) => region,
            None => unreachable!(),
        },
    };

    /// Length of [`Stamp::to_bytes`].
    pub const BYTES: usize = 10;

    /// Big-endian, so that byte order is stamp order.
    pub fn to_bytes(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        out[..8].copy_from_slice(&self.hlc.0.to_be_bytes());
        out[8..].copy_from_slice(&self.region.to_u16().to_be_bytes());
        out
    }

    /// The inverse of [`Stamp::to_bytes`]; `None` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (hlc, region) = bytes.split_at_checked(8)?;
        let hlc = u64::from_be_bytes(hlc.try_into().ok()?);
        let region = u16::from_be_bytes(region.try_into().ok()?);
        Some(Self { hlc: Hlc(hlc), region: RegionId::from_u16(region)? })
    }
}

/// Twenty hexadecimal digits: what a version id or an upload id looks like on the wire.
impl fmt::Display for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.to_bytes()))
    }
}

impl fmt::Debug for Stamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}@{}", self.hlc.ms(), self.hlc.0 & 0xffff, self.region)
    }
}

/// A text that is not a stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadStamp;

impl fmt::Display for BadStamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("not a stamp: twenty hexadecimal digits")
    }
}

impl std::error::Error for BadStamp {}

impl FromStr for Stamp {
    type Err = BadStamp;
    fn from_str(text: &str) -> Result<Self, BadStamp> {
        let mut bytes = [0; Self::BYTES];
        hex::decode_to_slice(text, &mut bytes).map_err(|_| BadStamp)?;
        Self::from_bytes(&bytes).ok_or(BadStamp)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_and_text_round_trip_in_order() {
        let fra = RegionId::parse("fra").unwrap();
        let iad = RegionId::parse("iad").unwrap();
        let a = Stamp { hlc: Hlc::from_ms(5), region: fra };
        let b = Stamp { hlc: Hlc::from_ms(5), region: iad };
        let c = Stamp { hlc: Hlc::from_ms(5).next(), region: fra };
        assert!(Stamp::ZERO < a && a < b && b < c);
        assert!(a.to_bytes() < b.to_bytes() && b.to_bytes() < c.to_bytes());
        assert_eq!(c.to_string().parse(), Ok(c));
        assert_eq!(Stamp::from_bytes(&[0; 9]), None);
        assert!("zz".parse::<Stamp>().is_err());
    }
}
