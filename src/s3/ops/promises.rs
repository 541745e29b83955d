//! What a bucket promises beyond S3: how many regions acknowledge a write, how many have a copy
//! soon, whether everything in it is in one order, and whether regions hold read leases. Asked for
//! by headers where a bucket is made, and in its JSON document later.

use serde_json::{Value, json};

use crate::engine::Promises;
use crate::limits;
use crate::s3::error::S3Error;
use crate::s3::request::Req;
use crate::types::bucket::{Ack, BucketConfig, Consistency};

/// Names in the JSON document; `x-godwit-` before them is the header.
pub(super) const NAMES: [&str; 4] = ["ack", "consistency", "copies", "leases"];

/// What the headers of a request that makes a bucket ask for.
pub(super) fn of_headers(req: &Req) -> Result<Promises, S3Error> {
    let mut promises = Promises::default();
    for name in NAMES {
        let header = format!("x-godwit-{name}");
        if let Some(value) = req.header(&header)? {
            set(&mut promises, name, value.trim()).map_err(|why| {
                let value = value.to_owned();
                S3Error::argument(&header, &value, why)
            })?;
        }
    }
    Ok(promises)
}

/// Takes one field of the JSON document in; false: it is none of these.
pub(super) fn of_json(promises: &mut Promises, name: &str, value: &Value) -> Result<bool, S3Error> {
    if !NAMES.contains(&name) {
        return Ok(false);
    }
    let text = match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    set(promises, name, &text).map_err(|why| S3Error::argument(name, &text, why))?;
    Ok(true)
}

/// The bucket's promises as fields of its JSON document.
pub(super) fn show(config: &BucketConfig, document: &mut Value) {
    document["ack"] = match config.ack {
        Ack::Default => json!("default"),
        Ack::Count(count) => json!(count),
        Ack::Majority => json!("majority"),
    };
    document["consistency"] = match config.consistency {
        Consistency::Eventual => json!("eventual"),
        Consistency::Strong | Consistency::Leased => json!("strong"),
    };
    document["copies"] = json!(config.copies);
    document["leases"] = json!(config.consistency.has_leases());
}

fn set(promises: &mut Promises, name: &str, value: &str) -> Result<(), &'static str> {
    let number = || {
        let number = value.parse::<u8>().ok();
        number.filter(|number| (1..=limits::REGIONS_MAX).contains(&usize::from(*number)))
    };
    match (name, value) {
        ("ack", "default") => promises.ack = Some(Ack::Default),
        ("ack", "majority") => promises.ack = Some(Ack::Majority),
        ("ack", _) => {
            let why =
                "It is a number of regions, `majority`, or `default` (two where there are two).";
            promises.ack = Some(Ack::Count(number().ok_or(why)?));
        }
        ("consistency", "eventual") => promises.consistency = Some(Consistency::Eventual),
        ("consistency", "strong") => promises.consistency = Some(Consistency::Strong),
        ("consistency", _) => return Err("It is `strong` or `eventual`."),
        ("leases", "on" | "true") => promises.leases = Some(true),
        ("leases", "off" | "false") => promises.leases = Some(false),
        ("leases", _) => return Err("It is `on` or `off`."),
        (_, _) => promises.copies = Some(number().ok_or("It is a number of regions.")?),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_as_text_and_as_numbers_and_nonsense_is_refused() {
        let of = |name: &str, value: Value| {
            let mut promises = Promises::default();
            of_json(&mut promises, name, &value).map(|_| promises).ok()
        };
        assert_eq!(of("ack", json!(3)).unwrap().ack, Some(Ack::Count(3)));
        assert_eq!(of("ack", json!("majority")).unwrap().ack, Some(Ack::Majority));
        assert_eq!(of("copies", json!("5")).unwrap().copies, Some(5));
        let strong = of("consistency", json!("strong")).unwrap();
        assert_eq!(strong.consistency, Some(Consistency::Strong));
        assert_eq!(of("leases", json!(true)).unwrap().leases, Some(true));
        assert_eq!(of("leases", json!("off")).unwrap().leases, Some(false));
        for (name, value) in [
            ("leases", json!("maybe")),
            ("ack", json!(0)),
            ("ack", json!(1.5)),
            ("ack", json!("all")),
            ("copies", json!(null)),
            ("copies", json!(99)),
            ("consistency", json!(true)),
        ] {
            assert_eq!(of(name, value.clone()), None, "{name} {value}");
        }
        assert_eq!(of("colour", json!("red")), Some(Promises::default()));
    }
}
