//! What this program says to other nodes, so that it can be compared with what they know.

use crate::logic::register::{Answer, Ask};
use crate::types::record::{Record, RecordId};

use super::message::{ChangeBody, Request, Response};
use super::registers::{RegisterRequest, RegisterResponse};
use super::{frame, kinds, message};

/// Versions and kinds of everything that goes between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Spoken {
    /// Nodes with different ones do not understand each other.
    pub frames: u8,
    pub messages: u8,
    /// Names of the kinds of each part of a message, in the order of their numbers.
    pub kinds: Vec<(&'static str, Vec<String>)>,
}

/// What this program says.
pub fn spoken() -> Spoken {
    let kinds = [
        ("question", kinds::variants::<Request>()),
        ("answer", kinds::variants::<Response>()),
        ("register question", kinds::variants::<RegisterRequest>()),
        ("register answer", kinds::variants::<RegisterResponse>()),
        ("question to an acceptor", kinds::variants::<Ask<Record>>()),
        ("answer of an acceptor", kinds::variants::<Answer<Record>>()),
        ("change", kinds::variants::<ChangeBody>()),
        ("record", kinds::variants::<Record>()),
        ("name of a record", kinds::variants::<RecordId>()),
    ];
    let names = |text: String| text.split_whitespace().map(str::to_owned).collect();
    let kinds = kinds.map(|(of, text)| (of, names(text))).into();
    Spoken { frames: frame::VERSION, messages: message::VERSION, kinds }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_named_in_the_order_of_its_number() {
        let spoken = spoken();
        assert!(spoken.kinds.iter().all(|(_, names)| names.len() > 1), "{spoken:?}");
        let (of, questions) = &spoken.kinds[0];
        assert_eq!(
            (*of, questions[0].as_str(), questions[3].as_str()),
            ("question", "Ping", "Heads")
        );
        assert_eq!(questions.last().map(String::as_str), Some("Admin"));
    }
}
