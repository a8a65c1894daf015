//! Reading: defaults, then the file, then the environment.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use figment::Figment;
use figment::providers::{Env, Format as _, Toml};
use figment::value::{Dict, Tag, Value};
use serde::Deserialize as _;

use super::mistakes::{ConfigError, Mistake};
use super::raw::RawConfig;
use super::secret::{Environment, ProcessEnvironment};
use super::settings::Settings;
use super::{presets, validate};

/// A configuration file larger than this is a mistake, not a configuration.
const LARGEST_FILE: u64 = 4 << 20;
/// Deeper brackets than any sane file has; the parser below recurses.
const DEEPEST: usize = 64;

/// Where settings are read from, again and again.
#[derive(Clone, Debug, Default)]
pub struct Source {
    /// `None`: whatever the environment offers.
    pub file: Option<PathBuf>,
}

/// What the files look like: differs when any of them changed, also by a rename or a moved link.
#[derive(Clone, Debug, Default)]
pub struct Fingerprint {
    text: Option<Digest>,
    /// Those that the text names.
    files: Arc<Vec<(PathBuf, Option<Digest>)>>,
    /// Whose turn it is to be read again.
    turn: usize,
}

type Digest = [u8; 32];

/// So many of the named files are read again at each look, in turn: who keeps fifty thousand secrets in files does
/// not have all of them read every second.
const READ_AT_A_LOOK: usize = 256;
/// More files than any text names (ground rule G14).
const MOST_NAMED: usize = 100_000;

impl PartialEq for Fingerprint {
    fn eq(&self, other: &Self) -> bool {
        let same = Arc::ptr_eq(&self.files, &other.files) || self.files == other.files;
        self.text == other.text && same
    }
}

impl Eq for Fingerprint {}

fn digest_of(bytes: &[u8]) -> Option<Digest> {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    Digest::try_from(digest.as_ref()).ok()
}

fn content(path: &Path) -> Option<Digest> {
    digest_of(&std::fs::read(path).ok()?)
}

impl Source {
    pub fn load(&self) -> Result<Settings, ConfigError> {
        let text = self.file.as_deref().map(read).transpose()?;
        text.as_deref().map(check_depth).transpose()?;
        let figment = merged(text.as_deref(), true);
        settings_from(figment, self.file.clone(), &ProcessEnvironment)
    }

    /// What tells the text of the file from another one; `None` where it cannot be read.
    pub fn digest(&self) -> Option<[u8; 32]> {
        self.file.as_deref().and_then(content)
    }

    /// Looks at the files' content: times and inodes lie on some mounts, content does not. What was seen before is
    /// looked at again in turn, what is new at once.
    pub fn fingerprint(&self, before: &Fingerprint) -> Fingerprint {
        let text = self.file.as_ref().and_then(|path| std::fs::read(path).ok());
        let digest = text.as_deref().and_then(digest_of);
        if digest == before.text {
            return before.next();
        }
        let text = String::from_utf8(text.unwrap_or_default()).unwrap_or_default();
        let files = named_files(&text).map(|path| {
            let content = content(&path);
            (path, content)
        });
        Fingerprint {
            text: digest,
            files: Arc::new(files.collect()),
            turn: 0,
        }
    }
}

impl Fingerprint {
    /// The same text, some time later.
    fn next(&self) -> Self {
        let mut files = Arc::clone(&self.files);
        let end = self.turn.saturating_add(READ_AT_A_LOOK);
        let looked_at = self.files.iter().enumerate().skip(self.turn);
        for (place, (path, before)) in looked_at.take(READ_AT_A_LOOK) {
            let now = content(path);
            if now != *before
                && let Some((_, seen)) = Arc::make_mut(&mut files).get_mut(place)
            {
                *seen = now;
            }
        }
        Self {
            text: self.text,
            turn: if end < files.len() { end } else { 0 },
            files,
        }
    }
}

/// Files named in the text, found without validating it: a rotated key or a new price is a change too.
fn named_files(text: &str) -> impl Iterator<Item = PathBuf> {
    let secrets = text.split("\"file:").skip(1);
    let registry = text.split("[registry]").nth(1);
    let registry = registry.and_then(|rest| rest.split("file").nth(1)?.split_once('"'));
    let names = text.split("names_file").nth(1);
    let names = names.and_then(|rest| rest.split_once('"'));
    let others = registry.into_iter().chain(names).map(|(_, rest)| rest);
    // Those that are one of a kind first: none of the many keeps them waiting.
    others
        .chain(secrets)
        .filter_map(|rest| rest.split('"').next())
        .take(MOST_NAMED)
        .map(PathBuf::from)
}

fn read(path: &Path) -> Result<String, ConfigError> {
    let shown = path.display();
    let fail = |what: String, cure: &str| ConfigError::one(Mistake::new("", what, cure));
    let meta = std::fs::metadata(path).map_err(|error| {
        fail(
            format!("{shown} cannot be read ({})", error.kind()),
            "name an existing file with --config",
        )
    })?;
    if meta.len() > LARGEST_FILE {
        return Err(fail(
            format!("{shown} is larger than 4 MiB"),
            "is it the right file",
        ));
    }
    std::fs::read_to_string(path).map_err(|error| {
        fail(
            format!("{shown} cannot be read ({})", error.kind()),
            "save it as UTF-8",
        )
    })
}

fn merged(text: Option<&str>, environment: bool) -> Figment {
    let mut figment = Figment::new();
    if let Some(text) = text {
        figment = figment.merge(Toml::string(text));
    }
    if environment {
        // Only names with a level in them: SWITCHYARD_ADMIN_KEY alone may be somebody's secret.
        let levels = Env::prefixed("SWITCHYARD_")
            .filter(|name| name.as_str().contains("__"))
            .map(|name| name.as_str().replace("__", ".").into());
        figment = figment.merge(levels);
    }
    figment
}

#[cfg(test)]
pub(super) fn settings_from_text(
    text: &str,
    env: &dyn Environment,
) -> Result<Settings, ConfigError> {
    check_depth(text)?;
    settings_from(merged(Some(text), false), None, env)
}

fn settings_from(
    figment: Figment,
    file: Option<PathBuf>,
    env: &dyn Environment,
) -> Result<Settings, ConfigError> {
    let nothing_written = file.is_none();
    let (raw, mut mistakes) = extract(figment)?;
    let raw = presets::complete(raw, nothing_written, env);
    match validate::settings(&raw, file, env) {
        Ok(settings) if mistakes.is_empty() => Ok(settings),
        Ok(_) => Err(ConfigError { mistakes }),
        Err(more) => {
            mistakes.extend(more.mistakes);
            Err(ConfigError { mistakes })
        }
    }
}

/// A parser that recurses must not be fed brackets without end: an overflown stack cannot be caught.
fn check_depth(text: &str) -> Result<(), ConfigError> {
    let mut depth = 0_usize;
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_start();
        if line.starts_with('#') {
            continue;
        }
        for byte in line.bytes() {
            match byte {
                b'[' | b'{' => depth += 1,
                b']' | b'}' => depth = depth.saturating_sub(1),
                _ => {}
            }
            if depth > DEEPEST {
                return Err(ConfigError::one(Mistake::new(
                    "",
                    format!(
                        "line {}: brackets are nested deeper than {DEEPEST}",
                        number + 1
                    ),
                    "close them",
                )));
            }
        }
    }
    Ok(())
}

/// Reads the whole tree, collecting every unknown key and every wrong type: what is wrong is noted,
/// taken out, and the rest is read again.
fn extract(figment: Figment) -> Result<(RawConfig, Vec<Mistake>), ConfigError> {
    let mut dict: Dict = figment.extract().map_err(|error| ConfigError {
        mistakes: error.into_iter().map(|one| syntax_mistake(&one)).collect(),
    })?;
    let mut mistakes = Vec::new();
    // Each round removes at least one key, so a file of n keys ends in n rounds at the latest.
    for _ in 0..1_000 {
        match RawConfig::deserialize(&Value::Dict(Tag::Default, dict.clone())) {
            Ok(raw) => return Ok((raw, mistakes)),
            Err(error) => {
                let (mistake, path) = value_mistake(&error, &dict);
                mistakes.push(mistake);
                if !remove(&mut dict, &path) {
                    break;
                }
            }
        }
    }
    Err(ConfigError { mistakes })
}

fn syntax_mistake(error: &figment::Error) -> Mistake {
    let text = error.to_string();
    // The parser's picture of the line is on lines of its own; keep the words and the place.
    let short: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .take(5)
        .collect();
    Mistake::new(
        "",
        format!("the file is not valid TOML: {}", short.join(" ")),
        "the old settings stay in force",
    )
}

fn value_mistake(error: &figment::Error, dict: &Dict) -> (Mistake, Vec<String>) {
    use figment::error::Kind;
    let mut path = error.path.clone();
    let (what, cure) = match &error.kind {
        Kind::UnknownField(name, expected) => {
            if path.last().map(String::as_str) != Some(name) {
                path.push(name.clone());
            }
            let cure = match nearest(name, expected) {
                Some(near) => format!("did you mean {near:?}"),
                None => format!("known here: {}", expected.join(", ")),
            };
            (format!("unknown option {name:?}"), cure)
        }
        Kind::MissingField(name) => (format!("{name:?} is missing"), format!("add {name} = …")),
        Kind::InvalidType(actual, expected) => (
            format!("found {}, expected {expected}", plain(&actual.to_string())),
            String::new(),
        ),
        Kind::InvalidValue(actual, expected) => (
            format!("found {}, expected {expected}", plain(&actual.to_string())),
            String::new(),
        ),
        Kind::UnknownVariant(name, expected) => (
            format!("{:?} is not one of the choices", short(name)),
            format!("use one of: {}", expected.join(", ")),
        ),
        other @ (Kind::Message(_)
        | Kind::InvalidLength(..)
        | Kind::DuplicateField(_)
        | Kind::ISizeOutOfRange(_)
        | Kind::USizeOutOfRange(_)
        | Kind::Unsupported(_)
        | Kind::UnsupportedKey(..)) => (
            short(&other.to_string()),
            "compare with config/switchyard.toml, which lists every option".to_owned(),
        ),
    };
    let path = existing(&path, dict);
    (Mistake::new(shown_path(&path), what, cure), path)
}

/// Values in error texts could be pasted secrets: only their type is told.
fn plain(actual: &str) -> String {
    actual
        .split(['"', '`'])
        .next()
        .unwrap_or_default()
        .trim()
        .to_owned()
}

fn short(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Untagged forms report no path below them; the part that exists is the part to take out.
fn existing(path: &[String], dict: &Dict) -> Vec<String> {
    let mut found = Vec::new();
    let mut here: Option<&Value> = None;
    for part in path {
        let next = match here {
            None => dict.get(part),
            Some(Value::Dict(_, inner)) => inner.get(part),
            Some(Value::Array(_, list)) => {
                part.parse().ok().and_then(|index: usize| list.get(index))
            }
            Some(_) => None,
        };
        let Some(next) = next else { break };
        found.push(part.clone());
        here = Some(next);
    }
    found
}

fn shown_path(path: &[String]) -> String {
    let mut shown = String::new();
    for part in path {
        if part.parse::<usize>().is_ok() {
            shown.push('[');
            shown.push_str(part);
            shown.push(']');
        } else {
            if !shown.is_empty() {
                shown.push('.');
            }
            shown.push_str(part);
        }
    }
    shown
}

#[expect(
    clippy::wildcard_enum_match_arm,
    reason = "of figment's values only two hold others"
)]
fn remove(dict: &mut Dict, path: &[String]) -> bool {
    let Some((last, parents)) = path.split_last() else {
        return false;
    };
    let Some((first, rest)) = parents.split_first() else {
        return dict.remove(last).is_some();
    };
    let Some(mut here) = dict.get_mut(first) else {
        return false;
    };
    for part in rest {
        let next = match here {
            Value::Dict(_, inner) => inner.get_mut(part),
            Value::Array(_, list) => part
                .parse()
                .ok()
                .and_then(|index: usize| list.get_mut(index)),
            _ => None,
        };
        let Some(next) = next else { return false };
        here = next;
    }
    match here {
        Value::Dict(_, inner) => inner.remove(last).is_some(),
        Value::Array(_, list) => match last.parse::<usize>() {
            Ok(index) if index < list.len() => {
                list.remove(index);
                true
            }
            _ => false,
        },
        _ => false,
    }
}

/// The known name that is closest to a misspelt one, if any is close.
fn nearest<'a>(name: &str, known: &[&'a str]) -> Option<&'a str> {
    known
        .iter()
        .map(|known| (distance(name, known), *known))
        .min()
        .filter(|(distance, _)| *distance <= 3)
        .map(|(_, known)| known)
}

fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, ca) in a.chars().take(64).enumerate() {
        let mut corner = i;
        if let Some(first) = row.first_mut() {
            *first = i + 1;
        }
        for (j, cb) in b.iter().enumerate() {
            let change = corner + usize::from(ca != *cb);
            corner = row.get(j + 1).copied().unwrap_or_default();
            let best = change
                .min(corner + 1)
                .min(row.get(j).copied().unwrap_or_default() + 1);
            if let Some(place) = row.get_mut(j + 1) {
                *place = best;
            }
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c08_many_secret_files_are_read_in_turn_and_no_change_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        let secret = |nth: usize| folder.path().join(format!("{nth}"));
        let mut text = String::new();
        for nth in 0..600 {
            std::fs::write(secret(nth), "before").unwrap();
            let name = secret(nth);
            text.push_str(&format!("key = \"file:{}\"\n", name.display()));
        }
        let file = folder.path().join("switchyard.toml");
        std::fs::write(&file, &text).unwrap();
        let source = Source {
            file: Some(file.clone()),
        };
        let mut seen = source.fingerprint(&Fingerprint::default());
        for _ in 0..4 {
            let next = source.fingerprint(&seen);
            assert_eq!(next, seen, "nothing changed");
            seen = next;
        }
        // Wherever the turn is: within one round, and in the one look that reads it.
        for nth in [0, 255, 256, 599] {
            std::fs::write(secret(nth), format!("after {nth}")).unwrap();
            let mut differed = 0;
            for _ in 0..3 {
                let next = source.fingerprint(&seen);
                differed += u32::from(next != seen);
                seen = next;
            }
            assert_eq!(differed, 1, "{nth}");
        }
        seen.turn = 0;
        std::fs::write(secret(599), "later").unwrap();
        assert_eq!(source.fingerprint(&seen), seen, "not all at each look");
        // A new name is a change of the text, and is read at once.
        std::fs::write(&file, text.replacen("key", "other", 1)).unwrap();
        let next = source.fingerprint(&seen);
        assert_ne!(next, seen);
        assert_eq!(source.fingerprint(&next), next);
        std::fs::remove_file(&file).unwrap();
        assert_ne!(source.fingerprint(&next), next);
    }
}
