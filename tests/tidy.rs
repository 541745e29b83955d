//! Keeps the house tidy: layers, packages by layer, headers, sizes, marks, links. It reads the
//! repository as text and depends on nothing.
#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "a test that reads files")]

use std::fs;
use std::path::{Path, PathBuf};

/// Layers from the bottom up; a file imports only from its own layer's folder or from lower ones.
/// Folders of one row are siblings and do not know each other.
const LAYERS: &[&[&str]] = &[
    &["types", "limits", "obs", "env", "config"],
    &["logic"],
    &["store", "net"],
    &["cluster"],
    &["engine"],
    &["s3", "admin", "console"],
    &["node"],
    &["cli"],
];

/// Imports that go sideways on purpose, with the reason.
const SIDEWAYS: &[(&str, &str, &str)] = &[
    ("admin", "s3", "the admin API answers on the S3 port, and takes the front's signatures"),
    ("console", "s3", "the console hands its requests to the front, and answers with its bodies"),
];

/// Packages that belong to some layers alone.
const PACKAGES: &[(&str, &[&str])] = &[
    ("redb", &["store"]),
    ("moka", &["store", "s3", "engine"]),
    ("quinn", &["net"]),
    ("foca", &["logic"]),
    ("crdts", &["types", "logic"]),
    ("quick_xml", &["s3", "cli"]),
    ("hyper", &["s3", "admin", "console", "node", "cli"]),
    ("aws_sigv4", &["s3", "cli", "engine", "admin", "console"]),
    ("clap", &["cli", "main"]),
    ("ratatui", &["cli"]),
    ("rustls", &["net", "node", "s3", "cli"]),
];

/// Files and functions over the limits, each with the length that it has today: none may grow.
const LONG_FILES: &[(&str, usize)] = &[];
const LONG_FUNCTIONS: &[(&str, usize)] = &[("start", 74)];

const FILE_LINES_MAX: usize = 800;
const FUNCTION_LINES_MAX: usize = 70;
/// rustfmt breaks code at 100; what it cannot break may go over by a few characters.
const WIDTH_MAX: usize = 104;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Files below `dir` with this ending, sorted, as paths from the root.
fn files(dir: &str, ending: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![root().join(dir)];
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for entry in entries.map(|entry| entry.unwrap().path()) {
            let name = entry.file_name().unwrap().to_string_lossy().into_owned();
            if entry.is_dir() {
                if name != "target" && name != "node_modules" && !name.starts_with('.') {
                    folders.push(entry);
                }
            } else if name.ends_with(ending) {
                found.push(entry.strip_prefix(root()).unwrap().to_owned());
            }
        }
    }
    found.sort();
    found
}

fn sources() -> Vec<(PathBuf, String)> {
    let all = files("src", ".rs").into_iter();
    all.map(|path| (path.clone(), fs::read_to_string(root().join(path)).unwrap())).collect()
}

fn assert_none(what: &str, findings: &[String]) {
    assert!(findings.is_empty(), "{what}:\n  {}", findings.join("\n  "));
}

/// The folder, or the file, right below `src`.
fn place(path: &Path) -> String {
    let first = path.components().nth(1).unwrap().as_os_str().to_string_lossy().into_owned();
    first.trim_end_matches(".rs").to_owned()
}

fn layer(place: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&place))
}

/// The code without its inline tests; those come last in a file.
fn code(text: &str) -> &str {
    text.split("#[cfg(test)]\nmod tests {").next().unwrap()
}

fn is_test(path: &Path) -> bool {
    path.components().any(|part| part.as_os_str() == "tests")
        || path.file_stem().unwrap().to_string_lossy().ends_with("tests")
        || ["harness", "random", "exhaustive"].iter().any(|stem| path.file_stem().unwrap() == *stem)
}

#[test]
fn imports_go_down_only() {
    let mut findings = Vec::new();
    for (path, text) in sources() {
        let own = place(&path);
        let Some(own_layer) = layer(&own).filter(|_| !is_test(&path)) else { continue };
        for (number, line) in code(&text).lines().enumerate() {
            let uses =
                line.split("crate::").skip(1).filter(|_| !line.trim_start().starts_with("//"));
            for rest in uses {
                let to: String =
                    rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
                let Some(to_layer) = layer(&to) else { continue };
                let sideways = SIDEWAYS.iter().any(|(a, b, _)| *a == own && *b == to);
                if to != own && to_layer >= own_layer && own_layer != 0 && !sideways {
                    let at = path.display();
                    findings.push(format!("{at}:{}: {own} imports {to}", number + 1));
                }
                if own_layer == 0 && to_layer > 0 {
                    findings.push(format!("{}:{}: {own} imports {to}", path.display(), number + 1));
                }
            }
        }
    }
    assert_none("imports against the layers", &findings);
}

#[test]
fn packages_stay_in_their_layers() {
    let mut findings = Vec::new();
    for (path, text) in sources() {
        let own = place(&path);
        for (number, line) in code(&text).lines().enumerate() {
            let line = line.trim_start();
            for (package, homes) in PACKAGES {
                let used = line.starts_with(&format!("use {package}::"))
                    || line.contains(&format!(" {package}::"));
                if used && !line.starts_with("//") && !homes.contains(&own.as_str()) {
                    findings.push(format!("{}:{}: {package}", path.display(), number + 1));
                }
            }
            if own == "logic" && line.contains("tokio::") && !is_test(&path) {
                findings.push(format!("{}:{}: tokio in logic", path.display(), number + 1));
            }
        }
    }
    assert_none("packages outside their layers", &findings);
}

#[test]
fn every_file_says_what_it_is_for() {
    let dirs = ["src", "tests", "benches"];
    let all = dirs.iter().flat_map(|dir| files(dir, ".rs"));
    let findings: Vec<String> = all
        .filter(|path| !fs::read_to_string(root().join(path)).unwrap().starts_with("//!"))
        .map(|path| path.display().to_string())
        .collect();
    assert_none("files without `//!` on their first line", &findings);
}

#[test]
fn files_and_functions_are_short() {
    let mut findings = Vec::new();
    for (path, text) in sources() {
        let name = path.display().to_string();
        let lines = code(&text).lines().count();
        let allowed =
            LONG_FILES.iter().find(|(file, _)| *file == name).map_or(FILE_LINES_MAX, |f| f.1);
        if lines > allowed && !is_test(&path) {
            findings.push(format!("{name}: {lines} lines"));
        }
        for (function, lines) in functions(code(&text)) {
            let allowed = LONG_FUNCTIONS.iter().find(|(long, _)| *long == function);
            if lines > allowed.map_or(FUNCTION_LINES_MAX, |f| f.1) {
                findings.push(format!("{name}: fn {function} has {lines} lines"));
            }
        }
    }
    assert_none("too long", &findings);
}

/// Names and lengths of functions, by indentation.
fn functions(text: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = text.lines().collect();
    let mut found = Vec::new();
    for (at, line) in lines.iter().enumerate() {
        let trimmed = line.trim_start();
        let indent = line.len() - trimmed.len();
        let Some(after) = trimmed.split("fn ").nth(1).filter(|_| {
            ["fn ", "pub", "async fn", "const fn"].iter().any(|start| trimmed.starts_with(start))
        }) else {
            continue;
        };
        let name: String = after.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let close = format!("{}}}", " ".repeat(indent));
        if let Some(end) = lines[at..].iter().position(|line| *line == close) {
            found.push((name, end + 1));
        }
    }
    found
}

#[test]
fn no_marks_sleeps_or_long_lines_are_left() {
    let marks = ["FIX", "XX", "HA"].map(|head| match head {
        "FIX" => "FIXME".to_owned(),
        "XX" => "XXX".to_owned(),
        _ => "HACK:".to_owned(),
    });
    let calls = ["todo", "unimplemented", "dbg"].map(|name| format!("{name}!("));
    let sleep = ["thread", "sleep"].join("::");
    let mut findings = Vec::new();
    for path in ["src", "tests", "benches"].iter().flat_map(|dir| files(dir, ".rs")) {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        for (number, line) in text.lines().enumerate() {
            let at = format!("{}:{}", path.display(), number + 1);
            if line.chars().count() > WIDTH_MAX {
                findings.push(format!("{at}: wider than {WIDTH_MAX}"));
            }
            let own = path.ends_with("tidy.rs");
            if !own && marks.iter().chain(&calls).any(|mark| line.contains(mark.as_str())) {
                findings.push(format!("{at}: {}", line.trim()));
            }
            let waits = text.contains("deadline") || text.contains("fn eventually");
            if line.contains(&sleep) && path.starts_with("tests") && !waits {
                findings.push(format!("{at}: waits blindly"));
            }
        }
    }
    assert_none("marks, long lines, sleeps", &findings);
}

#[test]
fn documents_have_one_title_and_no_dead_links() {
    let mut findings = Vec::new();
    for path in files(".", ".md") {
        let text = fs::read_to_string(root().join(&path)).unwrap();
        let mut in_code = false;
        let mut titles = 0;
        for (number, line) in text.lines().enumerate() {
            in_code ^= line.trim_start().starts_with("```");
            if in_code {
                continue;
            }
            titles += usize::from(line.starts_with("# "));
            for link in line.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
                let file = link.split('#').next().unwrap();
                let outside = link.contains("://") || link.starts_with("mailto:");
                let folder = path.parent().unwrap();
                if !outside && !file.is_empty() && !root().join(folder).join(file).exists() {
                    findings.push(format!("{}:{}: {link}", path.display(), number + 1));
                }
            }
        }
        if titles != 1 {
            findings.push(format!("{}: {titles} titles", path.display()));
        }
    }
    assert_none("documents", &findings);
}
