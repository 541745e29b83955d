//! Made-up bucket names: `polished-thunder-5646`.

use crate::env::Env;
use crate::types::name::BucketName;

const FIRST: [&str; 64] = [
    "amber",
    "ancient",
    "autumn",
    "bitter",
    "blazing",
    "bold",
    "brave",
    "breezy",
    "bright",
    "broad",
    "calm",
    "clear",
    "cold",
    "crimson",
    "damp",
    "dawn",
    "deep",
    "distant",
    "dry",
    "dusky",
    "eager",
    "early",
    "empty",
    "evening",
    "faint",
    "fleet",
    "floral",
    "foggy",
    "fragrant",
    "frosty",
    "gentle",
    "golden",
    "green",
    "hidden",
    "hollow",
    "icy",
    "late",
    "lively",
    "lone",
    "lunar",
    "misty",
    "mossy",
    "muddy",
    "nameless",
    "northern",
    "open",
    "patient",
    "plain",
    "polished",
    "quick",
    "quiet",
    "restless",
    "rough",
    "salty",
    "shy",
    "silent",
    "silver",
    "small",
    "snowy",
    "solitary",
    "spring",
    "still",
    "warm",
    "wandering",
];

const SECOND: [&str; 64] = [
    "bay", "beach", "bird", "breeze", "brook", "cliff", "cloud", "coast", "creek", "current",
    "dawn", "delta", "dew", "dune", "dust", "estuary", "feather", "fen", "field", "fire", "flock",
    "flood", "flower", "fog", "forest", "frost", "glade", "gull", "harbor", "haze", "heron",
    "hill", "island", "lagoon", "lake", "leaf", "marsh", "meadow", "mist", "moon", "morning",
    "mountain", "mud", "night", "passage", "pebble", "pond", "rain", "reef", "ridge", "river",
    "sand", "sea", "shore", "sky", "snow", "star", "storm", "sun", "surf", "thunder", "tide",
    "wave", "wind",
];

/// A name that nobody else is likely to have.
pub(super) fn bucket_name(env: &Env) -> BucketName {
    let random = env.random_u64();
    let pick = |shift: u32, count: u64| {
        usize::try_from((random >> shift) % count).expect("below a small count")
    };
    let name = format!(
        "{}-{}-{:04}",
        FIRST[pick(0, FIRST.len() as u64)],
        SECOND[pick(16, SECOND.len() as u64)],
        pick(32, 10_000)
    );
    BucketName::parse(&name).expect("two short words and four digits are a bucket name")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_words_is_a_bucket_name() {
        for first in FIRST {
            for second in SECOND {
                assert!(BucketName::parse(&format!("{first}-{second}-0000")).is_ok());
            }
        }
    }
}
