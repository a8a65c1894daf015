//! Collects mistakes while settings are built: every one is found before any is reported.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use super::mistakes::{ConfigError, Mistake};
use super::secret::{Environment, Secret, resolve, resolve_text};
use super::settings::Settings;

/// Collects mistakes while building; what could not be built is left out.
pub(super) struct Judge<'a> {
    pub(super) mistakes: Vec<Mistake>,
    pub(super) warnings: Vec<Mistake>,
    env: &'a dyn Environment,
}

impl Judge<'static> {
    /// The defaults need no environment and hold no mistakes.
    pub(super) fn of_defaults() -> Self {
        Self::new(&NoEnvironment)
    }
}

impl<'a> Judge<'a> {
    pub(super) fn new(env: &'a dyn Environment) -> Self {
        Self {
            mistakes: Vec::new(),
            warnings: Vec::new(),
            env,
        }
    }

    /// The settings, if there were no mistakes.
    pub(super) fn done(self, mut settings: Settings) -> Result<Settings, ConfigError> {
        if !self.mistakes.is_empty() {
            return Err(ConfigError {
                mistakes: self.mistakes,
            });
        }
        settings.warnings = self.warnings;
        Ok(settings)
    }

    pub(super) fn wrong(
        &mut self,
        path: impl Into<String>,
        what: impl Into<String>,
        cure: impl Into<String>,
    ) {
        self.mistakes.push(Mistake::new(path, what, cure));
    }

    pub(super) fn secret(&mut self, path: &str, reference: &str) -> Option<Secret> {
        let resolved = resolve(reference, self.env);
        resolved
            .map_err(|(what, cure)| self.wrong(path, what, cure))
            .ok()
    }

    /// A secret that is a document.
    pub(super) fn text(&mut self, path: &str, reference: &str) -> Option<Secret> {
        let resolved = resolve_text(reference, self.env);
        resolved
            .map_err(|(what, cure)| self.wrong(path, what, cure))
            .ok()
    }

    pub(super) fn file(&mut self, path: &str, file: &str) -> Option<Arc<[u8]>> {
        let read = std::fs::read(file);
        let told = |error: std::io::Error| {
            let what = format!("{file} cannot be read ({})", error.kind());
            self.wrong(path, what, "name an existing file");
        };
        read.map_err(told).ok().map(Arc::from)
    }

    /// A variable that says something.
    pub(super) fn variable(&self, name: &str) -> Option<String> {
        let value = self.env.get(name)?.trim().to_owned();
        (!value.is_empty()).then_some(value)
    }

    pub(super) fn address(&mut self, path: &str, text: &str) -> SocketAddr {
        text.parse().unwrap_or_else(|_| {
            self.wrong(
                path,
                format!("{text:?} is no address"),
                "write it as \"127.0.0.1:8080\"",
            );
            SocketAddr::from(([127, 0, 0, 1], 0))
        })
    }

    pub(super) fn positive(&mut self, path: &str, value: u64) -> u64 {
        if value == 0 {
            self.wrong(path, "must not be 0", "leave it out for the default");
        }
        value.max(1)
    }

    pub(super) fn millis(&mut self, path: &str, value: u64) -> Duration {
        // A day is more than any timer here means.
        if value > 86_400_000 {
            self.wrong(path, "is longer than a day", "the unit is milliseconds");
        }
        Duration::from_millis(self.positive(path, value).min(86_400_000))
    }

    /// Names become parts of paths, labels and `provider/model`.
    pub(super) fn name(&mut self, path: &str, name: &str, slash: Slash) {
        let fits = |c: char| {
            c.is_ascii_alphanumeric()
                || "-_.:@".contains(c)
                || (slash == Slash::Allowed && c == '/')
        };
        if name.is_empty() || name.len() > 128 || !name.chars().all(fits) {
            self.wrong(
                path,
                format!("{name:?} is no name"),
                "use up to 128 letters, digits and - _ . : @",
            );
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Slash {
    Allowed,
    Refused,
}

/// The host a key may be sent to is decided here and nowhere else (attack A09).
pub(super) fn base_url_mistakes(judge: &mut Judge<'_>, path: &str, url: &str) {
    let rest = url
        .strip_prefix("https://")
        .or_else(|| url.strip_prefix("http://"));
    let Some(rest) = rest else {
        judge.wrong(
            path,
            "is no http(s) address",
            "write it as \"https://api.example.com/v1\"",
        );
        return;
    };
    let host = rest.split('/').next().unwrap_or_default();
    let odd = host.is_empty()
        || host.contains('@')
        || !url.is_ascii()
        || url.contains(['?', '#', ' ', '\\']);
    if odd {
        judge.wrong(
            path,
            "has no plain host and path",
            "leave out user names, queries and fragments",
        );
    }
}

pub(super) struct NoEnvironment;

impl Environment for NoEnvironment {
    fn get(&self, _: &str) -> Option<String> {
        None
    }
}
