//! Policies from their JSON.

use serde_json::{Map, Value};

use super::condition::Condition;
use super::{ARN, Listed, Malformed, Policy, Principal, Statement};

pub(super) type Read<T> = Result<T, Malformed>;

pub(super) fn malformed<T>(why: impl Into<String>) -> Read<T> {
    Err(Malformed(why.into()))
}

/// A policy that names `principals` or is attached to one.
pub(super) fn policy(text: &str, principals: bool) -> Read<Policy> {
    let value: Value = match serde_json::from_str(text) {
        Ok(value) => value,
        Err(why) => return malformed(format!("Policies must be valid JSON: {why}")),
    };
    let Value::Object(fields) = value else {
        return malformed("Policies must be valid JSON and the first byte must be '{'");
    };
    known(&fields, &["Version", "Id", "Statement"])?;
    match fields.get("Version") {
        None => {}
        Some(Value::String(v)) if v == "2012-10-17" || v == "2008-10-17" => {}
        Some(_) => return malformed("The policy must contain a valid version string"),
    }
    let statement = |value: &Value| statement(value, principals);
    let statements = match fields.get("Statement") {
        None => return malformed("Missing required field Statement"),
        Some(Value::Array(all)) if all.is_empty() => {
            return malformed("Could not parse the policy: Statement is empty!");
        }
        Some(Value::Array(all)) => all.iter().map(statement).collect::<Read<Vec<_>>>()?,
        Some(one) => vec![statement(one)?],
    };
    Ok(Policy { statements })
}

fn known(fields: &Map<String, Value>, names: &[&str]) -> Read<()> {
    match fields.keys().find(|name| !names.contains(&name.as_str())) {
        Some(name) => malformed(format!("Unknown field {name}")),
        None => Ok(()),
    }
}

fn statement(value: &Value, named: bool) -> Read<Statement> {
    let Value::Object(fields) = value else {
        return malformed("A statement must be an object");
    };
    let names = [
        "Sid",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
    ];
    known(fields, &names)?;
    if !named && (fields.contains_key("Principal") || fields.contains_key("NotPrincipal")) {
        return malformed("A policy that is attached has no Principal");
    }
    if !matches!(fields.get("Sid"), None | Some(Value::String(_))) {
        return malformed("Sid must be a string");
    }
    let allow = match fields.get("Effect") {
        Some(Value::String(effect)) if effect == "Allow" => true,
        Some(Value::String(effect)) if effect == "Deny" => false,
        Some(other) => return malformed(format!("Invalid effect: {other}")),
        None => return malformed("Missing required field Effect"),
    };
    if allow && fields.contains_key("NotPrincipal") {
        // It would allow everyone but those named, also those without a key.
        return malformed("Allow with NotPrincipal is not allowed");
    }
    Ok(Statement {
        allow,
        principals: match named {
            true => either(fields, "Principal", "NotPrincipal", principals)?,
            false => Listed::In(vec![Principal::Anyone]),
        },
        actions: either(fields, "Action", "NotAction", |value| each(value, action))?,
        resources: either(fields, "Resource", "NotResource", |value| each(value, resource))?,
        conditions: match fields.get("Condition") {
            None => Vec::new(),
            Some(value) => conditions(value)?,
        },
    })
}

/// An element or its opposite; exactly one of them.
fn either<T>(
    fields: &Map<String, Value>,
    name: &str,
    not: &str,
    read: impl Fn(&Value) -> Read<Vec<T>>,
) -> Read<Listed<T>> {
    match (fields.get(name), fields.get(not)) {
        (Some(value), None) => Ok(Listed::In(read(value)?)),
        (None, Some(value)) => Ok(Listed::NotIn(read(value)?)),
        (None, None) => malformed(format!("Missing required field {name}")),
        (Some(_), Some(_)) => malformed(format!("{name} and {not} exclude each other")),
    }
}

/// One text or a list of them, none empty.
pub(super) fn texts(value: &Value) -> Read<Vec<String>> {
    let text = |value: &Value| match value {
        Value::String(text) => Ok(text.clone()),
        Value::Bool(_) | Value::Number(_) => Ok(value.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => malformed("A value must be a string"),
    };
    match value {
        Value::Array(all) if all.is_empty() => malformed("A list must not be empty"),
        Value::Array(all) => all.iter().map(text).collect(),
        one => Ok(vec![text(one)?]),
    }
}

fn each<T>(value: &Value, read: impl Fn(&str) -> Read<T>) -> Read<Vec<T>> {
    texts(value)?.iter().map(|text| read(text)).collect()
}

/// Text without variables; those are not known here.
pub(super) fn plain(text: &str) -> Read<&str> {
    match text.contains("${") {
        true => malformed(format!("Policy variables are not supported: {text}")),
        false => Ok(text),
    }
}

fn action(text: &str) -> Read<String> {
    let lower = text.to_ascii_lowercase();
    if lower == "*" || lower.strip_prefix("s3:").is_some_and(|name| !name.is_empty()) {
        return Ok(lower);
    }
    malformed(format!("Policy has invalid action: {text}"))
}

fn resource(text: &str) -> Read<String> {
    if plain(text)? == "*" || text.strip_prefix(ARN).is_some_and(|name| !name.is_empty()) {
        return Ok(text.to_owned());
    }
    malformed(format!("Policy has invalid resource: {text}"))
}

fn principals(value: &Value) -> Read<Vec<Principal>> {
    let fields = match value {
        Value::String(text) if text == "*" => return Ok(vec![Principal::Anyone]),
        Value::Object(fields) if !fields.is_empty() => fields,
        _ => return malformed(format!("Invalid principal in policy: {value}")),
    };
    let mut all = Vec::new();
    for (kind, value) in fields {
        for text in texts(value)? {
            all.push(match kind.as_str() {
                "AWS" => aws(&text)?,
                "CanonicalUser" => Principal::Account(text),
                "Federated" => Principal::Nobody,
                "Service" => Principal::Service(text),
                _ => return malformed(format!("Invalid principal in policy: {kind}")),
            });
        }
    }
    Ok(all)
}

/// An account: its id, or an ARN with it. What an ARN says of a user or a role in an account is not
/// known here, so that only whole accounts and the forms that name a user by the account's id match.
fn aws(text: &str) -> Read<Principal> {
    if text == "*" {
        return Ok(Principal::Anyone);
    }
    let is_id = |id: &str| !id.is_empty() && id.bytes().all(|b| b.is_ascii_alphanumeric());
    if is_id(text) && text.len() >= 12 {
        return Ok(Principal::Account(text.to_owned()));
    }
    let rest = text.strip_prefix("arn:aws:iam::").and_then(|rest| rest.split_once(':'));
    match rest {
        Some((account, "root")) if is_id(account) => Ok(Principal::Account(account.to_owned())),
        Some(("", user)) if user.strip_prefix("user/").is_some_and(is_id) => {
            Ok(Principal::Account(user["user/".len()..].to_owned()))
        }
        Some((account, name)) if is_id(account) && name.contains('/') => Ok(Principal::Nobody),
        Some(_) | None => malformed(format!("Invalid principal in policy: {text}")),
    }
}

fn conditions(value: &Value) -> Read<Vec<Condition>> {
    let Value::Object(operators) = value else {
        return malformed("Condition must be an object");
    };
    let mut conditions = Vec::new();
    for (operator, keys) in operators {
        let Value::Object(keys) = keys else {
            return malformed(format!("{operator} must be an object"));
        };
        for (key, values) in keys {
            conditions.push(Condition::read(operator, key, texts(values)?)?);
        }
    }
    Ok(conditions)
}
