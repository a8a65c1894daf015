//! What the README tells a stranger to type is what the programs take.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The blocks of one language, each with the line it begins at.
fn blocks(language: &str) -> Vec<(usize, String)> {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).unwrap();
    let mut blocks = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for (at, line) in readme.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(named)) if named == language => open = Some((at + 2, String::new())),
            (None, _) => {}
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (Some((_, text)), None) => {
                text.push_str(line);
                text.push('\n');
            }
        }
    }
    assert!(open.is_none(), "a block of the README has no end");
    blocks
}

/// Commands of shell blocks: continued lines joined, comments and settings of the environment taken off.
fn commands() -> Vec<(usize, String)> {
    let mut commands = Vec::new();
    for (start, text) in blocks("sh") {
        let joined = text.replace("\\\n", " ");
        for line in joined.lines() {
            let line = line.split("  #").next().unwrap_or_default();
            let each = line
                .split("&&")
                .map(str::trim)
                .filter(|one| !one.is_empty());
            commands.extend(each.map(|one| (start, one.to_owned())));
        }
    }
    commands
}

fn run(arguments: &[&str], folder: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
    command.args(arguments).current_dir(folder).env_clear();
    // Every secret the examples name.
    for name in [
        "APP_KEY",
        "OPENAI_API_KEY",
        "ANTHROPIC_API_KEY",
        "ACME_KEY",
        "ALERT_SECRET",
    ] {
        command.env(name, "sk-readme-test-key-000001");
    }
    command.output().unwrap()
}

/// With `--help` behind it a command line is read to its end and nothing is done.
fn is_taken(arguments: &str, folder: &Path) -> bool {
    let mut arguments: Vec<&str> = arguments.split_whitespace().collect();
    // A value that is cut short for the eye says nothing, and its option would not take it.
    if let Some(at) = arguments
        .iter()
        .position(|argument| argument.ends_with('…'))
        && at > 0
        && arguments[at - 1].starts_with("--")
    {
        arguments.drain(at - 1..=at);
    }
    arguments.push("--help");
    let output = run(&arguments, folder);
    output.status.success() && String::from_utf8_lossy(&output.stdout).contains("Usage: switchyard")
}

#[test]
fn every_command_of_the_readme_is_one_there_is() {
    let folder = tempfile::tempdir().unwrap();
    let commands = commands();
    assert!(commands.len() >= 10, "{commands:?}");
    for (line, command) in commands {
        let (program, rest) = command.split_once(' ').unwrap_or((&command, ""));
        let known = match program {
            "sh" | "bash" => Path::new(ROOT).join(rest).is_file(),
            "switchyard" => is_taken(rest, folder.path()),
            "curl" => {
                let body = rest.split('\'').find(|part| part.starts_with('{'));
                body.is_none_or(|body| serde_json::from_str::<Value>(body).is_ok())
            }
            // The first one gives a key its place before it.
            _ => command
                .split_once("cargo run --release")
                .is_some_and(|(_, rest)| {
                    is_taken(rest.trim().trim_start_matches("--").trim(), folder.path())
                }),
        };
        assert!(known, "README.md:{line}: {command}");
    }
}

#[test]
fn every_configuration_of_the_readme_is_accepted() {
    let mut checked = 0;
    for (line, text) in blocks("toml") {
        // Scenarios of the harness have a version, and a test of their own.
        if text.starts_with("version") {
            continue;
        }
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("models.own.toml"), "").unwrap();
        fs::write(folder.path().join("switchyard.toml"), &text).unwrap();
        let output = run(&["check", "--config", "switchyard.toml"], folder.path());
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "README.md:{line}: {told}");
        checked += 1;
    }
    assert!(checked >= 3, "{checked}");
}

#[test]
fn what_is_no_command_is_not_taken_for_one() {
    let folder = tempfile::tempdir().unwrap();
    assert!(is_taken("check --explain fast", folder.path()));
    assert!(!is_taken("check --explian fast", folder.path()));
    assert!(!is_taken("chaos run --fault 60s", folder.path()));
    assert!(!is_taken("serf", folder.path()));
}
