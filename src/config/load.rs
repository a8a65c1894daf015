//! Reading: defaults, then the file, then the environment.

use std::path::{Path, PathBuf};

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
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fingerprint(Vec<Option<[u8; 32]>>);

impl Source {
    pub fn load(&self) -> Result<Settings, ConfigError> {
        let text = self.file.as_deref().map(read).transpose()?;
        let figment = merged(text.as_deref(), true);
        settings_from(figment, self.file.clone(), &ProcessEnvironment)
    }

    /// Looks at the file's content: times and inodes lie on some mounts, content does not.
    pub fn fingerprint(&self) -> Fingerprint {
        let content = |path: &PathBuf| {
            let bytes = std::fs::read(path).ok()?;
            let digest = ring::digest::digest(&ring::digest::SHA256, &bytes);
            <[u8; 32]>::try_from(digest.as_ref()).ok()
        };
        let mut seen: Vec<_> = self.file.iter().map(content).collect();
        seen.extend(self.named_files().iter().map(content));
        Fingerprint(seen)
    }

    /// Files named in the text, found without validating it: a rotated key or a new price is a change too.
    fn named_files(&self) -> Vec<PathBuf> {
        let Some(text) = self
            .file
            .as_ref()
            .and_then(|path| std::fs::read_to_string(path).ok())
        else {
            return Vec::new();
        };
        let secrets = text.split("\"file:").skip(1);
        let registry = text.split("[registry]").nth(1);
        let registry = registry.and_then(|rest| rest.split("file").nth(1)?.split_once('"'));
        let names = text.split("names_file").nth(1);
        let names = names.and_then(|rest| rest.split_once('"'));
        secrets
            .chain(registry.into_iter().chain(names).map(|(_, rest)| rest))
            .filter_map(|rest| rest.split('"').next())
            .take(256)
            .map(PathBuf::from)
            .collect()
    }
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
    if let Some(text) = file.as_deref().map(read).transpose()? {
        check_depth(&text)?;
    }
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
