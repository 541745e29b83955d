//! Help, manual pages, completions, and the examples of the help, which are run.

use std::fs;
use std::process::{Command, Stdio};

use godwit::cli::manual;

use super::{World, assert_kept, eventually, run, text};

#[test]
fn the_page_of_the_command_line_is_what_the_commands_say() {
    assert_kept("docs/cli.md", &manual::page());
}

#[test]
fn the_page_of_the_console_says_of_every_command_where_it_is() {
    let page = fs::read_to_string("docs/console.md").unwrap();
    let told: Vec<&str> = page
        .lines()
        .filter_map(|line| line.strip_prefix("| `godwit ")?.split('`').next())
        .collect();
    let leaves: Vec<String> = manual::commands().into_iter().map(|(words, _)| words).collect();
    for words in &leaves {
        assert!(told.contains(&words.as_str()), "docs/console.md lacks `godwit {words}`");
    }
    // `dev` and `conflicts` do something of their own besides having commands below.
    for words in told.iter().filter(|words| !["dev", "conflicts"].contains(words)) {
        assert!(leaves.iter().any(|leaf| leaf == words), "there is no `godwit {words}`");
    }
}

#[test]
fn help_of_every_command_is_kept() {
    let mut all = text(&run(&["--help"]).stdout).to_owned();
    for (words, command) in manual::commands() {
        all += &format!("\n== godwit {words}\n{}", manual::help(&command));
    }
    assert!(!all.contains('\u{1b}'), "no colours where nobody looks");
    assert_kept("tests/golden/cli/help.txt", &all);
}

#[test]
fn every_shell_gets_completions_and_every_command_a_manual_page() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = run(&["completions", shell]);
        assert!(output.status.success() && text(&output.stdout).contains("presign"), "{shell}");
    }
    let page = run(&["man", "bucket", "set"]);
    assert!(text(&page.stdout).starts_with(".ie") || text(&page.stdout).contains(".TH"));
    assert_eq!(run(&["man", "nothing"]).status.code(), Some(2));
}

/// Makes what the examples speak of.
fn prepare(world: &World) -> String {
    for bucket in ["demo", "photos", "archive"] {
        world.run(&["bucket", "rm", "-y", "--force", bucket]);
    }
    let _ = fs::remove_dir_all(world.file("photos"));
    fs::create_dir_all(world.file("photos")).unwrap();
    fs::write(world.file("photos/photo.jpg"), b"jpg").unwrap();
    // Too large to ride in its row.
    fs::write(world.file("photo.jpg"), vec![7_u8; 8192]).unwrap();
    let policy = "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\
                  \"Principal\":\"*\",\"Action\":\"s3:GetObject\",\
                  \"Resource\":\"arn:aws:s3:::photos/*\"}]}";
    fs::write(world.file("policy.json"), policy).unwrap();
    fs::write(world.file("notes.txt"), b"notes").unwrap();
    world.ok(&["bucket", "create", "demo"]);
    world.ok(&["cp", "notes.txt", "s3://demo/notes.txt"]);
    for at in ["photos", "synced", "all"] {
        world.ok(&["cp", "photo.jpg", &format!("s3://demo/{at}/photo.jpg")]);
    }
    let key = world.json(&["keys", "create", "--bucket", "demo"]);
    key["access_key"].as_str().unwrap().to_owned()
}

#[test]
fn the_examples_of_every_command_work_as_they_stand() {
    let world = World::start();
    let binary = std::path::Path::new(env!("CARGO_BIN_EXE_godwit")).parent().unwrap();
    let path = format!("{}:{}", binary.display(), std::env::var("PATH").unwrap());
    let mut ran = 0;
    for (words, command) in manual::commands() {
        let examples = manual::examples(&command);
        ran += examples.len();
        for example in examples {
            assert!(example.starts_with(&format!("godwit {words}")), "{words}: {example}");
            let other = prepare(&world);
            if words.starts_with("bucket") && words != "bucket create" {
                world.ok(&["bucket", "create", "photos"]);
            }
            let mut shell = Command::new("sh");
            shell.args(["-c", &example]).current_dir(world.file("")).envs(world.dev.variables());
            shell.env("GODWIT_CONTEXTS", world.file("contexts.toml"));
            shell.env("PATH", &path).env("OTHER_KEY", other).stdin(Stdio::null());
            shell.env("GODWIT_REGIONS", concat!(env!("CARGO_MANIFEST_DIR"), "/regions"));
            match words.as_str() {
                "trace" => traced(&world, &mut shell, &example),
                _ => {
                    let output = shell.output().unwrap();
                    let code = output.status.code();
                    // What is wrong with this machine is not the example's fault.
                    let fine = code == Some(0) || (words == "doctor" && code == Some(10));
                    assert!(fine, "{example}: {}", text(&output.stderr));
                }
            }
        }
    }
    assert!(ran > 40, "the examples were found: {ran}");
    world.end();
}

/// A trace goes on until it is stopped: it has to be listening, which a request that it shows proves
/// where it shows any.
fn traced(world: &World, shell: &mut Command, example: &str) {
    let mut child = shell.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    if !example.contains("--count") {
        // It runs until now, so that its arguments were taken.
        eventually("the trace is there", || {
            let listening = world.ok(&["top", "--once", "--every", "1"]);
            (!listening.is_empty()).then_some(())
        });
        assert!(child.try_wait().unwrap().is_none(), "{example} ended by itself");
        child.kill().unwrap();
        child.wait().unwrap();
        return;
    }
    eventually("the trace has heard enough", || {
        world.run(&["cat", "s3://demo/nothing"]);
        child.try_wait().unwrap()
    });
}
