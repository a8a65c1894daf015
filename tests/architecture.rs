//! The folder tree is the architecture: a folder may use the folders below it in this table, never one above.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test crate")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each folder of `src` may use, beyond itself. Read it as the picture of the whole gateway.
const MAY_USE: &[(&str, &[&str])] = &[
    ("domain", &[]),
    ("dialects", &["domain"]),
    ("policy", &["domain"]),
    ("pricing", &["domain"]),
    ("config", &["dialects", "policy", "pricing", "domain"]),
    ("telemetry", &["config", "domain"]),
    ("store", &["config", "domain"]),
    ("keys", &["store", "config", "policy", "domain"]),
    ("upstream", &["config", "policy", "domain", "telemetry"]),
    (
        "actors",
        &[
            "keys",
            "telemetry",
            "store",
            "config",
            "policy",
            "pricing",
            "domain",
        ],
    ),
    (
        "dispatch",
        &[
            "actors",
            "upstream",
            "telemetry",
            "store",
            "config",
            "dialects",
            "policy",
            "pricing",
            "domain",
        ],
    ),
    (
        "edge",
        &[
            "dispatch",
            "actors",
            "keys",
            "telemetry",
            "store",
            "config",
            "dialects",
            "policy",
            "pricing",
            "domain",
        ],
    ),
    // Commands beside the gateway: for who reads the journal, manages keys, pays, measures.
    (
        "command",
        &["keys", "actors", "telemetry", "store", "config", "domain"],
    ),
];

/// Crates that only some folders may know.
const CRATES: &[(&str, &[&str])] = &[
    ("ractor", &["actors"]),
    ("axum", &["edge", "command"]),
    ("reqwest", &["upstream", "command"]),
    ("hyper", &["upstream", "edge"]),
    ("hyper_util", &["upstream", "edge", "command"]),
    ("rustls", &["upstream"]),
    ("figment", &["config"]),
    ("rusqlite", &["store"]),
    ("metrics_exporter_prometheus", &["telemetry"]),
    ("switchyard_chaos", &["command"]),
];

/// Folders that think and therefore may not touch the outside world.
const PURE: &[&str] = &["domain", "dialects", "policy", "pricing"];

#[test]
fn every_folder_uses_only_the_folders_it_may() {
    let may_use: BTreeMap<_, BTreeSet<_>> = MAY_USE
        .iter()
        .map(|(folder, uses)| (*folder, uses.iter().copied().collect()))
        .collect();
    let mut wrong = Vec::new();
    for file in sources() {
        let Some(allowed) = may_use.get(file.folder.as_str()) else {
            continue;
        };
        for used in file.used_folders(&may_use) {
            if used != file.folder && !allowed.contains(used.as_str()) {
                wrong.push(format!("{} uses crate::{used}", file.path.display()));
            }
        }
    }
    assert!(
        wrong.is_empty(),
        "the direction of the tree is broken:\n{}",
        wrong.join("\n")
    );
}

#[test]
fn every_folder_of_the_tree_is_in_the_table() {
    let known: BTreeSet<_> = MAY_USE.iter().map(|(folder, _)| *folder).collect();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_dir() {
            let name = entry.file_name().into_string().unwrap();
            assert!(
                known.contains(name.as_str()),
                "src/{name} has no row in MAY_USE"
            );
        }
    }
}

#[test]
fn heavy_crates_are_known_only_where_they_belong() {
    let mut wrong = Vec::new();
    for file in sources() {
        for (name, folders) in CRATES {
            let uses = file.code.contains(&format!("{name}::"))
                || file.code.contains(&format!("use {name};"));
            let own_start = file.folder.is_empty();
            if uses && !own_start && !folders.contains(&file.folder.as_str()) {
                wrong.push(format!("{} knows {name}", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn folders_that_think_touch_no_clock_socket_or_file() {
    let banned = [
        "tokio::",
        "std::fs",
        "std::net",
        "SystemTime",
        "std::env",
        "std::thread::spawn",
    ];
    let mut wrong = Vec::new();
    for file in sources() {
        if !PURE.contains(&file.folder.as_str()) {
            continue;
        }
        let code = file.without_tests();
        for word in banned {
            if code.contains(word) {
                wrong.push(format!("{} mentions {word}", file.path.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn actors_never_wait_inside_a_handler() {
    // `Member::handle` is synchronous; an actor's file therefore needs no await at all. The shell, the
    // supervisor and the slot are what runs actors, and the tree's own start; the clock is what others wait with.
    let machinery = ["member.rs", "supervisor.rs", "slot.rs", "clock.rs"];
    let mut wrong = Vec::new();
    for file in sources() {
        let name = file
            .path
            .file_name()
            .unwrap()
            .to_string_lossy()
            .into_owned();
        let runs = machinery.contains(&name.as_str()) || file.path.ends_with("system/mod.rs");
        if file.folder != "actors" || runs || name == "tests.rs" {
            continue;
        }
        // A future that is handed to the stage runs beside the actor, not inside its handler.
        let mut beside = false;
        for (number, line) in file.without_tests().lines().enumerate() {
            if line.contains("fn ") {
                beside = false;
            }
            beside |= line.contains("async move");
            if line.contains(".await") && !beside && !line.trim_start().starts_with("//") {
                wrong.push(format!("{}:{}", file.path.display(), number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "await in an actor:\n{}", wrong.join("\n"));
}

#[test]
fn the_chaos_package_never_imports_the_gateway() {
    let manifest = fs::read_to_string(root().join("chaos/Cargo.toml")).unwrap();
    assert!(
        !manifest
            .lines()
            .any(|line| line.starts_with("switchyard ") || line.starts_with("switchyard="))
    );
    let features = fs::read_to_string(root().join("Cargo.toml")).unwrap();
    let ractor = features
        .lines()
        .find(|line| line.starts_with("ractor"))
        .unwrap();
    assert!(
        ractor.contains("default-features = false"),
        "ractor's span propagation costs every message"
    );
}

struct Source {
    /// The first folder below `src`, empty for the crate's own files.
    folder: String,
    path: PathBuf,
    code: String,
}

impl Source {
    fn used_folders(&self, known: &BTreeMap<&str, BTreeSet<&str>>) -> Vec<String> {
        let mut used = Vec::new();
        for line in self
            .without_tests()
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
        {
            for (place, _) in line.match_indices("crate::") {
                let name: String = line[place + 7..]
                    .chars()
                    .take_while(|c| c.is_ascii_alphanumeric() || *c == '_')
                    .collect();
                if known.contains_key(name.as_str()) {
                    used.push(name);
                }
            }
        }
        used
    }

    /// The file up to its test module; by our layout tests come last.
    fn without_tests(&self) -> &str {
        self.code.split("#[cfg(test)]\nmod tests {").next().unwrap()
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources() -> Vec<Source> {
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    assert!(found.len() > 20, "the sources were not found");
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let inside = path.strip_prefix(root().join("src")).unwrap().to_owned();
            let mut parts = inside.components();
            let first = parts
                .next()
                .unwrap()
                .as_os_str()
                .to_string_lossy()
                .into_owned();
            let folder = if parts.next().is_some() {
                first
            } else {
                String::new()
            };
            found.push(Source {
                folder,
                code: fs::read_to_string(&path).unwrap(),
                path,
            });
        }
    }
}
