//! A bucket's quota as fields of its JSON document.

use serde_json::{Value, json};

use crate::s3::error::S3Error;
use crate::types::usage::Quota;

/// Takes one field of the JSON document in; false: it is none of these. `null` and 0 end a quota.
pub(super) fn of_json(quota: &mut Quota, name: &str, value: &Value) -> Result<bool, S3Error> {
    let field = match name {
        "quota_bytes" => &mut quota.bytes,
        "quota_objects" => &mut quota.objects,
        _ => return Ok(false),
    };
    let number = match value {
        Value::Null => Some(0),
        Value::String(text) => text.parse().ok(),
        other => other.as_u64(),
    };
    let why = "It is a number, or null for no quota.";
    let number: u64 =
        number.ok_or_else(|| S3Error::argument(name, value.to_string().as_str(), why))?;
    *field = Some(number).filter(|number| *number > 0);
    Ok(true)
}

pub(super) fn show(quota: Quota, document: &mut Value) {
    for (name, number) in [("quota_bytes", quota.bytes), ("quota_objects", quota.objects)] {
        if let Some(number) = number {
            document[name] = json!(number);
        }
    }
}
