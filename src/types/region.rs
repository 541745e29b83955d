//! Region codes: a place with one node, named by three characters.
//!
//! Invariant: a [`RegionId`] is the code itself, packed in base 36, so that no table of numbers has
//! to be agreed on, and ordering by id is ordering by code.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A region's code (`fra`), three characters of `[a-z0-9]`, packed into 16 bits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RegionId(u16);

const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// 36 cubed: every id is below this.
const ID_END: u16 = 46_656;

impl RegionId {
    /// Parses a code; `const`, so that tests and tables can name regions.
    pub const fn parse(code: &str) -> Option<Self> {
        let bytes = code.as_bytes();
        if bytes.len() != 3 {
            return None;
        }
        let mut id: u16 = 0;
        let mut i = 0;
        while i < 3 {
            let digit = match bytes[i] {
                b @ b'0'..=b'9' => b - b'0',
                b @ b'a'..=b'z' => b - b'a' + 10,
                _ => return None,
            };
            id = id * 36 + digit as u16;
            i += 1;
        }
        Some(Self(id))
    }

    /// The packed number, for fixed-width encodings.
    pub const fn to_u16(self) -> u16 {
        self.0
    }

    /// The region of a packed number; `None` when the number is no code.
    pub const fn from_u16(id: u16) -> Option<Self> {
        if id < ID_END { Some(Self(id)) } else { None }
    }

    fn code(self) -> [u8; 3] {
        let id = usize::from(self.0);
        [DIGITS[id / 1296], DIGITS[id / 36 % 36], DIGITS[id % 36]]
    }
}

impl fmt::Display for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = self.code();
        f.write_str(std::str::from_utf8(&code).unwrap_or("???"))
    }
}

impl fmt::Debug for RegionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RegionId {
    type Err = BadRegionCode;
    fn from_str(code: &str) -> Result<Self, BadRegionCode> {
        Self::parse(code).ok_or_else(|| BadRegionCode(code.to_owned()))
    }
}

impl Serialize for RegionId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        if s.is_human_readable() { s.collect_str(self) } else { s.serialize_u16(self.0) }
    }
}

impl<'de> Deserialize<'de> for RegionId {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        if d.is_human_readable() {
            let code = String::deserialize(d)?;
            code.parse().map_err(serde::de::Error::custom)
        } else {
            let id = u16::deserialize(d)?;
            Self::from_u16(id).ok_or_else(|| serde::de::Error::custom("no such region code"))
        }
    }
}

/// A text that is not a region code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BadRegionCode(pub String);

impl fmt::Display for BadRegionCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` is not a region code: three characters of a-z and 0-9", self.0)
    }
}

impl std::error::Error for BadRegionCode {}

/// A point on the globe, degrees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Coordinates {
    pub lat: f64,
    pub lon: f64,
}

/// Mean radius of the earth.
const EARTH_KM: f64 = 6371.0;

impl Coordinates {
    /// Along the great circle.
    pub fn distance_km(self, other: Self) -> f64 {
        let (lat_a, lat_b) = (self.lat.to_radians(), other.lat.to_radians());
        let half_lat = (lat_b - lat_a) / 2.0;
        let half_lon = (other.lon - self.lon).to_radians() / 2.0;
        let chord = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
        2.0 * EARTH_KM * chord.sqrt().min(1.0).asin()
    }
}

/// What a region may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Holds copies and primaries, and keeps registers.
    Full,
    /// Holds copies but is never chosen as primary.
    Replica,
    /// Serves and caches, never a holder.
    Cache,
}

/// What every node knows about a region: the part of `regions/CODE.toml` that the cluster shares.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RegionInfo {
    pub id: RegionId,
    /// For people: `Frankfurt`.
    pub city: String,
    pub coordinates: Coordinates,
    /// `eu`, `na`, `sa`, `apac`, `af`: what location rules name.
    pub geography: String,
    /// Copies that share one are not counted as different (provider, power, building).
    pub failure_domain: String,
    pub role: Role,
    /// Keeps registers (names, conditional operations).
    pub voter: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_those_of_the_globe() {
        let frankfurt = Coordinates { lat: 50.03, lon: 8.56 };
        let tokyo = Coordinates { lat: 35.77, lon: 140.39 };
        let km = frankfurt.distance_km(tokyo);
        assert!((9300.0..9450.0).contains(&km), "{km}");
        assert_eq!(km, tokyo.distance_km(frankfurt));
        assert_eq!(frankfurt.distance_km(frankfurt), 0.0);
    }

    #[test]
    fn codes_round_trip_and_sort_as_text() {
        let codes = ["000", "ams", "fra", "iad", "nrt", "zzz"];
        let ids: Vec<RegionId> = codes.iter().map(|c| c.parse().unwrap()).collect();
        assert!(ids.windows(2).all(|w| w[0] < w[1]));
        for (code, id) in codes.iter().zip(ids) {
            assert_eq!(id.to_string(), *code);
            assert_eq!(RegionId::from_u16(id.to_u16()), Some(id));
        }
        assert!("FRA".parse::<RegionId>().is_err());
        assert!("fr".parse::<RegionId>().is_err());
        assert_eq!(RegionId::from_u16(ID_END), None);
    }
}
