//! What an answer tells its client of what was known: handed back with a later request, in any
//! region, it has that one wait until as much is known there.
//!
//! Opaque to clients: a version, and positions of logs. Its length is bounded by the regions.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::limits;
use crate::types::id::Incarnation;
use crate::types::position::Positions;
use crate::types::region::RegionId;

/// A text that is no token of ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadToken;

const VERSION: u8 = 1;

/// A log as it stands in a token: region, incarnation, position.
type Entry = (RegionId, Incarnation, u64);

/// The token of these positions. Of more logs than it has room for, those of earlier lives of disks
/// are left out first.
pub fn encode(positions: &Positions) -> String {
    let mut entries: Vec<Entry> = positions
        .iter()
        .filter(|(_, position)| **position > 0)
        .map(|((region, incarnation), position)| (*region, *incarnation, *position))
        .collect();
    if entries.len() > limits::TOKEN_LOGS_MAX {
        entries.sort_by_key(|(_, incarnation, _)| std::cmp::Reverse(*incarnation));
        entries.truncate(limits::TOKEN_LOGS_MAX);
        entries.sort_unstable();
    }
    let bytes = postcard::to_extend(&entries, vec![VERSION]);
    URL_SAFE_NO_PAD.encode(bytes.expect("numbers have no type that postcard refuses"))
}

pub fn parse(text: &str) -> Result<Positions, BadToken> {
    if text.len() > limits::TOKEN_BYTES_MAX {
        return Err(BadToken);
    }
    let bytes = URL_SAFE_NO_PAD.decode(text.trim()).map_err(|_| BadToken)?;
    let Some((&VERSION, rest)) = bytes.split_first() else { return Err(BadToken) };
    let (entries, rest): (Vec<Entry>, &[u8]) =
        postcard::take_from_bytes(rest).map_err(|_| BadToken)?;
    if entries.len() > limits::TOKEN_LOGS_MAX || !rest.is_empty() {
        return Err(BadToken);
    }
    Ok(entries.into_iter().map(|(region, life, position)| ((region, life), position)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn positions() -> impl Strategy<Value = Positions> {
        let codes = ["ams", "fra", "iad", "nrt", "syd"];
        let region = prop::sample::select(codes.to_vec()).prop_map(|c| c.parse().unwrap());
        let log = (region, any::<u64>().prop_map(Incarnation));
        prop::collection::btree_map(log, 1..u64::MAX, 0..=limits::TOKEN_LOGS_MAX)
    }

    proptest! {
        #[test]
        fn a_token_says_its_positions(positions in positions()) {
            let token = encode(&positions);
            prop_assert!(token.len() <= limits::TOKEN_BYTES_MAX, "{} bytes", token.len());
            prop_assert_eq!(parse(&token), Ok(positions));
        }

        #[test]
        fn other_texts_are_refused_or_tokens(text in "[A-Za-z0-9_-]{0,64}") {
            if let Ok(positions) = parse(&text) {
                prop_assert!(positions.len() <= limits::TOKEN_LOGS_MAX);
            }
        }
    }

    #[test]
    fn too_many_logs_leave_the_oldest_lives_out() {
        let region: RegionId = "fra".parse().unwrap();
        let all =
            |from: u64, to| (from..=to).map(|life| ((region, Incarnation(life)), 7)).collect();
        let max = limits::TOKEN_LOGS_MAX as u64;
        let many: Positions = all(1, max + 9);
        assert_eq!(parse(&encode(&many)), Ok(all(10, max + 9)));
    }

    #[test]
    fn foreign_texts_are_refused() {
        for bad in ["", "!", "AA", "/////", &URL_SAFE_NO_PAD.encode([1, 0xff]), &"A".repeat(9999)] {
            assert_eq!(parse(bad), Err(BadToken), "{bad}");
        }
    }
}
