//! As much of JSON Schema 2020-12 as the admin API's document uses. A word that it does not know is
//! a failure, so that nothing passes unread.

use serde_json::Value;

/// What is wrong with `value`, with the place of it.
pub fn check(document: &Value, schema: &Value, value: &Value, at: &str) -> Result<(), String> {
    if let Some(accepts) = schema.as_bool() {
        return if accepts { Ok(()) } else { Err(format!("{at} must not be there")) };
    }
    for (word, rule) in schema.as_object().ok_or_else(|| format!("{at}: no schema"))? {
        match word.as_str() {
            "$ref" => {
                let target = rule.as_str().unwrap().trim_start_matches('#');
                let target = document.pointer(target).ok_or_else(|| format!("{rule}: nothing"))?;
                check(document, target, value, at)?;
            }
            "type" => check_type(rule, value, at)?,
            "properties" => {
                for (name, schema) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        check(document, schema, value, &format!("{at}.{name}"))?;
                    }
                }
            }
            "required" => {
                for name in rule.as_array().unwrap() {
                    if value.get(name.as_str().unwrap()).is_none() {
                        return Err(format!("{at} has no {name}"));
                    }
                }
            }
            "items" => {
                for (index, value) in value.as_array().into_iter().flatten().enumerate() {
                    check(document, rule, value, &format!("{at}[{index}]"))?;
                }
            }
            "additionalProperties" => check_others(document, schema, rule, value, at)?,
            "anyOf" | "oneOf" => {
                let fits = |rule: &Value| check(document, rule, value, at).is_ok();
                if !rule.as_array().unwrap().iter().any(fits) {
                    return Err(format!("{at} is none of {rule}"));
                }
            }
            "enum" if !rule.as_array().unwrap().contains(value) => {
                return Err(format!("{at} is not one of {rule}"));
            }
            "const" if rule != value => return Err(format!("{at} is not {rule}")),
            "minimum" if value.is_number() && value.as_f64() < rule.as_f64() => {
                return Err(format!("{at} < {rule}"));
            }
            "enum" | "const" | "minimum" | "maximum" => {}
            "description" | "title" | "default" | "format" | "$schema" => {}
            other => return Err(format!("{at}: the check does not know `{other}`")),
        }
    }
    Ok(())
}

fn check_type(rule: &Value, value: &Value, at: &str) -> Result<(), String> {
    let is = |kind: &Value| match kind.as_str().unwrap() {
        "null" => value.is_null(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "string" => value.is_string(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("no type is called {other}"),
    };
    let fits = match rule {
        Value::Array(kinds) => kinds.iter().any(is),
        kind => is(kind),
    };
    if fits { Ok(()) } else { Err(format!("{at} is no {rule}: {value}")) }
}

fn check_others(
    document: &Value,
    schema: &Value,
    rule: &Value,
    value: &Value,
    at: &str,
) -> Result<(), String> {
    for (name, value) in value.as_object().into_iter().flatten() {
        if schema["properties"].get(name).is_none() {
            check(document, rule, value, &format!("{at}.{name}"))?;
        }
    }
    Ok(())
}
