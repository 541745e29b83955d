//! The OpenAPI 3.1 document of the admin API, and its page, both made from the table.
//! Source: OpenAPI Specification 3.1.1.

use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::{Map, Value, json};

use super::model::{ADMIN_PREFIX, ClusterHealth, ErrorBody, Health};
use super::route::{Role, Route, Shape};
use super::{OPENAPI_PATH, routes};
use crate::obs;

/// Where schemas are found in the document.
const SCHEMAS: &str = "/components/schemas";

fn generator() -> SchemaGenerator {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = SCHEMAS.into();
    settings.into_generator()
}

/// The whole document.
pub fn document() -> Value {
    let mut schemas = generator();
    let refusal = schemas.subschema_for::<ErrorBody>().to_value();
    let mut paths = Map::new();
    for (group, route) in routes::all() {
        let path = format!("{ADMIN_PREFIX}/{}", route.path);
        let entry = paths.entry(path).or_insert_with(|| json!({}));
        entry[route.verb.as_str().to_ascii_lowercase()] =
            operation(group, route, &refusal, &mut schemas);
    }
    for (path, entry) in open_paths(&mut schemas) {
        paths.insert(path, entry);
    }
    json!({
        "openapi": "3.1.1",
        "info": {
            "title": "godwit admin API",
            "version": env!("CARGO_PKG_VERSION"),
            "description": "What is asked of a node beyond S3, on the port of S3.",
        },
        "security": [{"signature": []}, {"token": []}],
        "paths": paths,
        "components": {
            "schemas": schemas.take_definitions(true),
            "securitySchemes": {
                "signature": {
                    "type": "apiKey", "in": "header", "name": "Authorization",
                    "description": "AWS Signature Version 4, as for S3: service `s3`, any region.",
                },
                "token": {
                    "type": "http", "scheme": "bearer",
                    "description": "A token that an admin key made with `POST tokens`.",
                },
            },
        },
    })
}

fn operation(group: &str, route: &Route, refusal: &Value, schemas: &mut SchemaGenerator) -> Value {
    let kind = match route.shape {
        Shape::Json => "application/json",
        Shape::Lines => "application/jsonl",
        Shape::Metrics => obs::CONTENT_TYPE,
    };
    let parameters: Vec<Value> = route
        .query
        .iter()
        .map(|param| {
            json!({
                "name": param.name, "in": "query", "required": param.required,
                "description": param.what, "schema": {"type": "string"},
            })
        })
        .collect();
    let mut out = json!({
        "operationId": operation_id(route),
        "summary": route.what,
        "tags": [group],
        "x-role": route.role.as_str(),
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "Done.",
                "content": {kind: {"schema": (route.response)(schemas)}},
            },
            "default": {
                "description": "Refused: a code, a message, and what to do.",
                "content": {"application/json": {"schema": refusal}},
            },
        },
    });
    let body = (route.request)(schemas).to_value();
    if !is_nothing(&body) {
        out["requestBody"] =
            json!({"required": true, "content": {"application/json": {"schema": body}}});
    }
    out
}

/// What is answered without a key.
fn open_paths(schemas: &mut SchemaGenerator) -> Vec<(String, Value)> {
    let health = schemas.subschema_for::<Health>().to_value();
    let entry = |id: &str, what: &str, answers: Value| {
        json!({"get": {
            "operationId": id, "summary": what, "tags": ["open"], "security": [],
            "responses": answers,
        }})
    };
    let answer = |what: &str, schema: &Value| {
        let content = json!({"application/json": {"schema": schema}});
        json!({"description": what, "content": content})
    };
    let (ok, not) = (answer("Yes.", &health), answer("Not now; why.", &health));
    let any = json!({"type": "object"});
    vec![
        (
            "/-/health/live".to_owned(),
            entry("getLive", "Whether the process answers.", json!({"200": ok.clone()})),
        ),
        (
            "/-/health/ready".to_owned(),
            entry("getReady", "Whether it should get requests.", json!({"200": ok, "503": not})),
        ),
        ("/-/health/cluster".to_owned(), of_cluster(schemas)),
        (
            OPENAPI_PATH.to_owned(),
            entry("getOpenapi", "This document.", json!({"200": answer("It.", &any)})),
        ),
    ]
}

/// The health of the cluster, which has a parameter.
fn of_cluster(schemas: &mut SchemaGenerator) -> Value {
    let schema = schemas.subschema_for::<ClusterHealth>().to_value();
    let content = json!({"application/json": {"schema": schema}});
    let answer = |what: &str| json!({"description": what, "content": content});
    json!({"get": {
        "operationId": "getClusterHealth",
        "summary": "Whether writes can be made, as seen from here; with `maintenance=true`, whether \
                    this node may be taken down now.",
        "tags": ["open"],
        "security": [],
        "parameters": [{
            "name": "maintenance", "in": "query", "required": false,
            "description": "`true`: would anything be refused or in danger without this node?",
            "schema": {"type": "string"},
        }],
        "responses": {
            "200": answer("Yes."),
            "412": answer("It is needed; why."),
            "503": answer("Not now; why."),
        },
    }})
}

/// `getStatus`, `postScrubStart`: the verb, and the words of the path.
fn operation_id(route: &Route) -> String {
    let mut id = route.verb.as_str().to_ascii_lowercase();
    for word in route.path.split(['/', '-']) {
        let (first, rest) = word.split_at(word.len().min(1));
        id += &first.to_ascii_uppercase();
        id += rest;
    }
    id
}

/// The schema of `()`.
fn is_nothing(schema: &Value) -> bool {
    schema["type"] == "null"
}

/// `docs/admin-api.md`.
pub fn page() -> String {
    let mut out = format!(
        "# Admin API\n\n\
         What is asked of a node beyond S3: the command line and the console use this and S3, and \
         nothing else.\nIt answers on the port of S3 below `{ADMIN_PREFIX}/`; `{OPENAPI_PATH}` is \
         its OpenAPI 3.1 document.\nThis page is made from the same table \
         (`GODWIT_UPDATE=1 cargo test --test cli` writes it).\n\n\
         Requests are signed as those of S3 are (Signature Version 4), or carry a token:\n\n\
         ```sh\n\
         curl --aws-sigv4 aws:amz:auto:s3 --user \"$AWS_ACCESS_KEY_ID:$AWS_SECRET_ACCESS_KEY\" \\\n\
         \x20 \"$AWS_ENDPOINT_URL_S3{ADMIN_PREFIX}/status\"\n\
         curl -H \"Authorization: Bearer $GODWIT_ADMIN_TOKEN\" \
         \"$AWS_ENDPOINT_URL_S3{ADMIN_PREFIX}/status\"\n\
         ```\n\n\
         `operator` is an admin key of the account that the cluster was made with; `admin` is a key \
         with the scope of its whole account, or a token that one made; a \
         read-only token does what is `GET`.\n\
         A refusal is JSON with `code` (the S3 error code that fits), `message`, `hint` (what to \
         do) and `request_id`.\n\
         Unknown parameters and fields are refused.\n"
    );
    let mut schemas = generator();
    let mut before = "";
    for (group, route) in routes::all() {
        if group != before {
            out += &format!("\n## {}\n", capital(group));
            before = group;
        }
        out += &row(route, &mut schemas);
    }
    out += "\n## Types\n";
    for (name, schema) in schemas.take_definitions(true) {
        out += &type_of(&name, &schema);
    }
    out
}

fn row(route: &Route, schemas: &mut SchemaGenerator) -> String {
    let mut out = format!("\n### `{} {}`\n\n{}\n\n", route.verb.as_str(), route.path, route.what);
    let who = match route.role {
        Role::Key => "any key; the route says what it needs",
        Role::Admin => "`admin`",
        Role::Operator => "`operator`: an admin key of the account that the cluster was made with",
    };
    out += &format!("* Who: {who}\n");
    for param in route.query {
        let need = if param.required { "" } else { " (optional)" };
        out += &format!("* Parameter `{}`{need}: {}\n", param.name, param.what);
    }
    let body = (route.request)(schemas).to_value();
    if !is_nothing(&body) {
        out += &format!("* Takes: {}\n", shown(&body));
    }
    let answer = shown((route.response)(schemas).as_value());
    out += &match route.shape {
        Shape::Json => format!("* Answers: {answer}\n"),
        Shape::Lines => format!("* Answers: one {answer} a line, until the client goes away\n"),
        Shape::Metrics => "* Answers: OpenMetrics text\n".to_owned(),
    };
    out
}

/// One type: its fields, or its values.
fn type_of(name: &str, schema: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().replace('\n', " ");
    let mut out = format!("\n### {name}\n\n{}\n", text(&schema["description"]));
    if let Some(fields) = schema["properties"].as_object() {
        out += "\n| Field | Type | What |\n|---|---|---|\n";
        for (field, schema) in fields {
            out +=
                &format!("| `{field}` | {} | {} |\n", shown(schema), text(&schema["description"]));
        }
    }
    for value in schema["oneOf"].as_array().into_iter().flatten() {
        let names: Vec<String> = match value["const"].as_str() {
            Some(one) => vec![one.to_owned()],
            None => value["enum"].as_array().into_iter().flatten().map(text).collect(),
        };
        let what = text(&value["description"]);
        let what = if what.is_empty() { what } else { format!(": {what}") };
        for name in names {
            out += &format!("* `{name}`{what}\n");
        }
    }
    out
}

/// A schema in a few words; a link where it has a name.
fn shown(schema: &Value) -> String {
    if let Some(target) = schema["$ref"].as_str() {
        let name = target.rsplit('/').next().unwrap_or(target);
        return format!("[{name}](#{})", name.to_ascii_lowercase());
    }
    if let Some(any) = schema["anyOf"].as_array() {
        let kinds: Vec<String> = any.iter().filter(|kind| !is_nothing(kind)).map(shown).collect();
        return format!("{} or null", kinds.join(" or "));
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return "any".to_owned(),
    };
    let one = |kind: &str| match kind {
        "array" => format!("list of {}", shown(&schema["items"])),
        "object" if schema["additionalProperties"].is_object() => {
            format!("map of {}", shown(&schema["additionalProperties"]))
        }
        other => other.to_owned(),
    };
    kinds.into_iter().map(one).collect::<Vec<_>>().join(" or ")
}

fn capital(word: &str) -> String {
    let (first, rest) = word.split_at(word.len().min(1));
    first.to_ascii_uppercase() + rest
}
