//! Values that settings are made of: sizes, durations, addresses of peers.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::types::region::RegionId;

/// A number of bytes: `268435456`, `"256MiB"`, `"2GiB"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(u64);

const UNITS: [(&str, u32); 6] =
    [("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40), ("B", 0), ("", 0)];

impl Size {
    pub const fn mib(n: u64) -> Self {
        Self(n << 20)
    }

    pub const fn gib(n: u64) -> Self {
        Self(n << 30)
    }

    pub const fn bytes(self) -> u64 {
        self.0
    }
}

impl FromStr for Size {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let shift = UNITS.iter().find(|(name, _)| *name == unit.trim()).map(|(_, shift)| *shift);
        let size = shift.zip(number.parse::<u64>().ok()).and_then(|(s, n)| n.checked_mul(1 << s));
        size.map(Self).ok_or_else(|| {
            format!("`{text}` is not a size: a whole number with B, KiB, MiB, GiB or TiB")
        })
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let whole = |(_, shift): &&(&str, u32)| self.0 != 0 && self.0.is_multiple_of(1 << shift);
        let best = UNITS.iter().filter(whole).max_by_key(|(_, shift)| *shift);
        match best {
            Some((unit, shift)) => write!(f, "{}{unit}", self.0 >> shift),
            None => write!(f, "{}", self.0),
        }
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// Takes a number or a text, as files and the environment give them.
#[derive(Deserialize)]
#[serde(untagged)]
enum NumberOrText {
    Number(u64),
    Text(String),
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(d)? {
            NumberOrText::Number(n) => Ok(Self(n)),
            NumberOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// A duration: `10`, `"10s"`, `"5m"`, `"2h"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seconds(pub Duration);

impl FromStr for Seconds {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
        let (number, unit) = text.split_at(end);
        let factor: Option<u64> = match unit.trim() {
            "" | "s" => Some(1),
            "m" => Some(60),
            "h" => Some(3600),
            _ => None,
        };
        let seconds =
            factor.zip(number.parse().ok()).and_then(|(f, n): (u64, u64)| n.checked_mul(f));
        seconds
            .map(|s| Self(Duration::from_secs(s)))
            .ok_or_else(|| format!("`{text}` is not a duration: a whole number with s, m or h"))
    }
}

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}s", self.0.as_secs())
    }
}

impl Serialize for Seconds {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Seconds {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        match NumberOrText::deserialize(d)? {
            NumberOrText::Number(n) => Ok(Self(Duration::from_secs(n))),
            NumberOrText::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

/// Where a region's node is reached, or a pattern for all of them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// `None`: every region that has no line of its own.
    region: Option<RegionId>,
    address: String,
}

impl PeerAddress {
    /// The address of `region`: its own line, else the pattern, else nothing.
    pub fn find(all: &[Self], region: RegionId) -> Option<String> {
        let own = all.iter().find(|peer| peer.region == Some(region));
        let peer = own.or_else(|| all.iter().find(|peer| peer.region.is_none()))?;
        Some(peer.address.replace("{region}", &region.to_string()))
    }
}

impl FromStr for PeerAddress {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || format!("`{text}` is not CODE=HOST:PORT or *=HOST:PORT");
        let (region, address) = text.split_once('=').ok_or_else(bad)?;
        let (host, port) = address.rsplit_once(':').ok_or_else(bad)?;
        if host.is_empty() || port.parse::<u16>().is_err() {
            return Err(bad());
        }
        let region = match region.trim() {
            "*" => None,
            code => Some(code.parse().map_err(|_| bad())?),
        };
        Ok(Self { region, address: address.trim().to_owned() })
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.region {
            Some(region) => write!(f, "{region}={}", self.address),
            None => write!(f, "*={}", self.address),
        }
    }
}

impl Serialize for PeerAddress {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for PeerAddress {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        String::deserialize(d)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_and_written_with_the_largest_whole_unit() {
        for (text, bytes) in [("0", 0), ("17", 17), ("1KiB", 1024), ("3 GiB", 3 << 30)] {
            let size: Size = text.parse().unwrap();
            assert_eq!(size.bytes(), bytes);
            assert_eq!(size.to_string().parse(), Ok(size));
        }
        assert_eq!(Size::mib(2048).to_string(), "2GiB");
        for bad in ["", "KiB", "1kb", "-1", "1.5GiB", "99999999999TiB"] {
            assert!(bad.parse::<Size>().is_err(), "{bad}");
        }
    }

    #[test]
    fn durations_have_seconds_minutes_and_hours() {
        for (text, seconds) in [("10", 10), ("10s", 10), ("5m", 300), ("2 h", 7200)] {
            assert_eq!(text.parse(), Ok(Seconds(Duration::from_secs(seconds))));
        }
        assert!("1d".parse::<Seconds>().is_err());
    }

    #[test]
    fn a_region_with_a_line_of_its_own_leaves_the_pattern() {
        let all: Vec<PeerAddress> = ["*={region}.x.internal:7946", "fra=[fd00::1]:1"]
            .iter()
            .map(|text| text.parse().unwrap())
            .collect();
        let find = |code| PeerAddress::find(&all, RegionId::parse(code).unwrap()).unwrap();
        assert_eq!(find("fra"), "[fd00::1]:1");
        assert_eq!(find("iad"), "iad.x.internal:7946");
        assert_eq!(PeerAddress::find(&all[1..], RegionId::parse("iad").unwrap()), None);
        for bad in ["fra", "fra=host", "fra=:1", "fra=host:x", "frankfurt=h:1"] {
            assert!(bad.parse::<PeerAddress>().is_err(), "{bad}");
        }
    }
}
