//! What a run was made from: what `replay` goes by, and the command that makes it again.

use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Origin {
    /// The scenario's name, its file, or `your-chain`.
    pub asked: String,
    /// The user's configuration.
    #[serde(default)]
    pub config: Option<String>,
    /// Length of the faults phase instead of the scenario's, as it was written.
    #[serde(default)]
    pub faults: Option<String>,
    /// How many requests instead, and how many times the scenario's rates, as they were written.
    #[serde(default)]
    pub requests: Option<String>,
    #[serde(default)]
    pub rate: Option<String>,
    /// Another gateway than the harness's own binary.
    #[serde(default)]
    pub other: Option<OtherGateway>,
}

/// A gateway that `compare` was pointed at. Its key is in no report.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct OtherGateway {
    pub name: String,
    pub url: String,
    pub needs_key: bool,
    /// Of the mocks it is served from.
    pub ports: Vec<u16>,
}

/// The command that runs it again, in words a shell takes as they are.
#[must_use]
pub fn command_of(origin: &Origin, seed: u64) -> String {
    let mut words = vec!["switchyard".to_owned(), "chaos".to_owned()];
    let mut add = |more: &[&str]| words.extend(more.iter().map(|word| quoted(word)));
    match &origin.other {
        None => add(&["run", &origin.asked, "--seed", &seed.to_string()]),
        Some(other) => {
            let key = if other.needs_key { "=KEY" } else { "" };
            let with = format!("{}={}{key}", other.name, other.url);
            let ports: Vec<String> = other.ports.iter().map(u16::to_string).collect();
            add(&["compare", &origin.asked, "--seed", &seed.to_string()]);
            add(&["--with", &with, "--ports", &ports.join(",")]);
        }
    }
    for (flag, value) in [
        ("--config", &origin.config),
        ("--faults", &origin.faults),
        ("--requests", &origin.requests),
        ("--rate", &origin.rate),
    ] {
        if let Some(value) = value {
            add(&[flag, value]);
        }
    }
    words.join(" ")
}

/// One word for a POSIX shell, whatever is in it.
fn quoted(word: &str) -> String {
    let is_plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./:=,@%+".contains(letter);
    if !word.is_empty() && word.chars().all(is_plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_command_says_everything_the_run_was_made_from() {
        let mut origin = Origin {
            asked: "one_down".to_owned(),
            ..Origin::default()
        };
        assert_eq!(
            command_of(&origin, 7),
            "switchyard chaos run one_down --seed 7"
        );
        origin.config = Some("my own.toml".to_owned());
        origin.faults = Some("60s".to_owned());
        assert_eq!(
            command_of(&origin, 7),
            "switchyard chaos run one_down --seed 7 --config 'my own.toml' --faults 60s"
        );
        (origin.config, origin.faults) = (None, None);
        (origin.requests, origin.rate) = (Some("1000".to_owned()), Some("2.5".to_owned()));
        assert_eq!(
            command_of(&origin, 7),
            "switchyard chaos run one_down --seed 7 --requests 1000 --rate 2.5"
        );
        origin = Origin {
            asked: "smoke".to_owned(),
            other: Some(OtherGateway {
                name: "rival".to_owned(),
                url: "http://127.0.0.1:4000/v1".to_owned(),
                needs_key: true,
                ports: vec![9101, 9102],
            }),
            ..Origin::default()
        };
        assert_eq!(
            command_of(&origin, 1),
            "switchyard chaos compare smoke --seed 1 --with rival=http://127.0.0.1:4000/v1=KEY --ports 9101,9102"
        );
    }

    #[test]
    fn a_shell_reads_each_word_as_it_was() {
        for word in [
            "a b",
            "it's",
            "$HOME",
            "`id`",
            "a;b",
            "",
            "new\nline",
            "~",
            "*",
        ] {
            let told = Command::new("sh")
                .args(["-c", &format!("printf %s {}", quoted(word))])
                .output()
                .unwrap();
            assert_eq!(String::from_utf8(told.stdout).unwrap(), word);
        }
    }
}
