//! What is drawn of the metrics, and what wakes a person: the files in `deploy/grafana` are made
//! from the lists in `panels.rs` and `alerts.rs`. As Grafana and Prometheus read them, with each
//! query, they are read by `npm run check` in `src/console/web` (`tools/dashboard.mjs`, `rules.mjs`).

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use godwit::obs::METRICS;
use serde_json::{Value, json};

use super::alerts::{ALERTS, Alert};
use super::assert_kept;
use super::panels::{Draw, PANELS, Panel};

const DASHBOARD: &str = "deploy/grafana/godwit.json";
const RULES: &str = "deploy/grafana/alerts.yml";

/// The grid of a dashboard has so many columns. Source: Grafana, "Dashboard JSON model".
const COLUMNS: u64 = 24;

fn source() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

fn panel(id: usize, panel: &Panel, at: (u64, u64)) -> Value {
    let (kind, height, width) = panel.draw.shape();
    let targets = panel.queries.iter().zip("ABCDEFGH".chars()).map(|((expr, legend), id)| {
        let id = id.to_string();
        json!({ "refId": id, "datasource": source(), "expr": expr, "legendFormat": legend })
    });
    json!({
        "id": id,
        "type": kind,
        "title": panel.title,
        "description": panel.what,
        "datasource": source(),
        "gridPos": { "h": height, "w": width, "x": at.0, "y": at.1 },
        "fieldConfig": { "defaults": { "unit": panel.unit, "min": 0 }, "overrides": [] },
        "options": panel.draw.options(),
        "targets": targets.collect::<Vec<_>>(),
    })
}

/// Panels from left to right, and rows below each other.
fn panels() -> Vec<Value> {
    let (mut out, mut x, mut y, mut tallest) = (Vec::new(), 0, 0, 0);
    for (index, each) in PANELS.iter().enumerate() {
        let (_, height, width) = each.draw.shape();
        if x + width > COLUMNS || each.draw == Draw::Row {
            (x, y, tallest) = (0, y + tallest, 0);
        }
        out.push(panel(index + 1, each, (x, y)));
        (x, tallest) = (x + width, height.max(tallest));
        if each.draw == Draw::Row {
            (x, y, tallest) = (0, y + height, 0);
            let row = out.last_mut().unwrap().as_object_mut().unwrap();
            row.retain(|field, _| {
                !["description", "fieldConfig", "options", "targets", "datasource"]
                    .contains(&field.as_str())
            });
            row.insert("collapsed".to_owned(), json!(false));
            row.insert("panels".to_owned(), json!([]));
        }
    }
    out
}

fn dashboard() -> String {
    let instances = "label_values(godwit_build_info, instance)";
    let document = json!({
        "uid": "godwit-overview",
        "title": "godwit",
        "description": "Regions of a godwit cluster: requests, reads, replication, disks.",
        "tags": ["godwit"],
        "schemaVersion": 39,
        "version": 1,
        "editable": true,
        "graphTooltip": 1,
        "timezone": "browser",
        "time": { "from": "now-6h", "to": "now" },
        "refresh": "30s",
        "annotations": { "list": [] },
        "links": [],
        "templating": { "list": [
            { "name": "datasource", "label": "Data source", "type": "datasource",
              "query": "prometheus", "refresh": 1 },
            { "name": "instance", "label": "Node", "type": "query", "datasource": source(),
              "query": { "query": instances, "refId": "instances" },
              "includeAll": true, "multi": true, "refresh": 2, "sort": 1,
              "current": { "text": "All", "value": "$__all" } },
        ] },
        "panels": panels(),
    });
    serde_json::to_string_pretty(&document).unwrap() + "\n"
}

/// A rule file. A JSON string is a YAML string in double quotes.
fn rules() -> String {
    let text = |text: &str| Value::from(text).to_string();
    let mut out = String::from(
        "# Made from tests/cli/alerts.rs: GODWIT_UPDATE=1 cargo test --test cli -- dashboard::\n\
         groups:\n  - name: godwit\n    rules:\n",
    );
    for Alert { name, expr, after, severity, summary, what_to_do } in ALERTS {
        let (expr, summary, what) = (text(expr), text(summary), text(what_to_do));
        out += &format!("      - alert: {name}\n        expr: {expr}\n        for: {after}\n");
        out += &format!("        labels:\n          severity: {severity}\n");
        out += &format!(
            "        annotations:\n          summary: {summary}\n          description: {what}\n"
        );
    }
    out
}

fn readme() -> String {
    let mut out = String::from(
        "# Grafana and Prometheus\n\n\
         * `godwit.json`: a dashboard. Grafana, Dashboards, New, Import; choose the Prometheus \
         data source at its top.\n\
         * `alerts.yml`: alerting rules, for `rule_files` of Prometheus. What to do stands in each \
         one's description, and below.\n\n\
         What Prometheus scrapes (the operations port; no credentials, so keep it off the \
         internet):\n\n\
         ```yaml\n\
         scrape_configs:\n  - job_name: godwit\n    static_configs:\n      \
         - targets: [\"fra.example.internal:9091\", \"iad.example.internal:9091\"]\n\
         ```\n\n\
         Every metric: [docs/metrics.md](../../docs/metrics.md). These files are made from lists in \
         `tests/cli` (`panels.rs`, `alerts.rs`): `GODWIT_UPDATE=1 cargo test --test cli -- \
         dashboard::` writes them. `npm run check` in `src/console/web`, which CI runs, reads them \
         back: the dashboard as a value of the types that Grafana publishes of its schema, the \
         alerts by the rules of Prometheus' rule files, every query by Prometheus' own grammar, \
         with only metrics, labels and legends that a node's answers have.\n\n\
         | Alert | After | Says | What to do |\n|---|---|---|---|\n",
    );
    for Alert { name, after, severity, summary, what_to_do, .. } in ALERTS {
        let summary = summary.replace("{{ $labels.instance }}", "a node");
        let summary = summary.replace("{{ $labels.region }}", "a region");
        out += &format!("| `{name}` ({severity}) | {after} | {summary} | {what_to_do} |\n");
    }
    out
}

#[test]
fn the_files_for_grafana_and_prometheus_are_what_their_lists_say() {
    assert_kept(DASHBOARD, &dashboard());
    assert_kept(RULES, &rules());
    assert_kept("deploy/grafana/README.md", &readme());
}

fn stored() -> Value {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(DASHBOARD);
    serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()
}

#[test]
fn the_dashboard_has_what_grafanas_model_needs() {
    let document = stored();
    assert!(document.get("id").is_none_or(Value::is_null), "the importing Grafana gives it");
    assert!(document["uid"].as_str().unwrap().len() <= 40, "the longest that Grafana takes");
    for (field, is) in [
        ("title", Value::is_string as fn(&Value) -> bool),
        ("schemaVersion", Value::is_u64),
        ("version", Value::is_u64),
        ("tags", Value::is_array),
        ("time", Value::is_object),
    ] {
        assert!(is(&document[field]), "{field}");
    }
    assert!(document["annotations"]["list"].is_array());
    let variables = document["templating"]["list"].as_array().unwrap();
    let of = |name: &str| variables.iter().find(|variable| variable["name"] == name).unwrap();
    assert_eq!(of("datasource")["type"], "datasource");
    assert_eq!(of("datasource")["query"], "prometheus");
    let panels = document["panels"].as_array().unwrap();
    assert!(panels.len() > 30, "the panels were read");
    let mut ids = BTreeSet::new();
    let mut taken = BTreeSet::new();
    for panel in panels {
        let title = panel["title"].as_str().unwrap();
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "{title}: its id stands twice");
        let side = |name: &str| panel["gridPos"][name].as_u64().unwrap();
        let (x, y, w, h) = (side("x"), side("y"), side("w"), side("h"));
        assert!(w >= 1 && h >= 1 && x + w <= COLUMNS, "{title} leaves the grid");
        for cell in (y..y + h).flat_map(|y| (x..x + w).map(move |x| (x, y))) {
            assert!(taken.insert(cell), "{title} lies over another panel at {cell:?}");
        }
        if panel["type"] == "row" {
            assert!(panel["panels"].is_array() && panel.get("targets").is_none(), "{title}");
            continue;
        }
        assert!(["timeseries", "stat"].contains(&panel["type"].as_str().unwrap()), "{title}");
        assert!(!panel["description"].as_str().unwrap().is_empty(), "{title} says what it is");
        assert_eq!(panel["datasource"], source(), "{title}");
        assert!(panel["fieldConfig"]["overrides"].is_array(), "{title}");
        let targets = panel["targets"].as_array().unwrap();
        assert!(!targets.is_empty(), "{title}");
        let refs: BTreeSet<&str> =
            targets.iter().map(|target| target["refId"].as_str().unwrap()).collect();
        assert_eq!(refs.len(), targets.len(), "{title}: a refId stands twice");
        for target in targets {
            assert_eq!(target["datasource"], source(), "{title}");
            assert!(!target["expr"].as_str().unwrap().is_empty(), "{title}");
        }
    }
}

#[test]
fn every_alert_asks_what_there_is_and_says_what_to_do() {
    let mut names = BTreeSet::new();
    for alert in ALERTS {
        assert!(names.insert(alert.name), "{} stands twice", alert.name);
        assert!(alert.name.starts_with("Godwit"), "{}", alert.name);
        assert!(["page", "ticket"].contains(&alert.severity), "{}", alert.name);
        assert!(alert.after.ends_with(['m', 'h']), "{}", alert.name);
        assert!(alert.what_to_do.len() > 40, "{}", alert.name);
        assert!(!alert.expr.contains('$'), "{}: rules have no variables", alert.name);
        let stands = METRICS.iter().any(|metric| alert.expr.contains(metric.name));
        assert!(stands || alert.expr.contains("up{"), "{}", alert.name);
    }
}
