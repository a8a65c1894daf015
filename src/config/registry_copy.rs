//! The last good copy of a registry of models that was fetched, on disk: a restart begins with it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::settings::ProxySettings;
use crate::pricing::{Registry, admit};

/// Where newer facts about models come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistrySettings {
    pub url: String,
    pub every: Duration,
    pub copy: PathBuf,
    /// What comes is taken whatever it holds.
    pub force: bool,
    pub proxy: Option<Arc<ProxySettings>>,
}

/// What was fetched, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryCopy {
    pub etag: Option<String>,
    /// Unix seconds.
    pub fetched: u64,
    pub text: Arc<str>,
}

/// Why what was fetched is not kept.
#[derive(Debug, thiserror::Error)]
pub enum NotKept {
    #[error("{0}")]
    Refused(crate::pricing::Refused),
    #[error("it is no registry of models: {0}")]
    Malformed(crate::pricing::RegistryError),
    #[error("the copy cannot be written ({0})")]
    Unwritable(std::io::ErrorKind),
}

const ETAG: &str = "# etag: ";
const FETCHED: &str = "# fetched: ";
/// The largest copy that is read.
pub const LARGEST_REGISTRY: usize = 8 << 20;

impl RegistryCopy {
    /// `None` when there is none.
    pub fn read(path: &Path) -> Option<Self> {
        let length = std::fs::metadata(path).ok()?.len();
        if usize::try_from(length).ok()? > LARGEST_REGISTRY + 4_096 {
            return None;
        }
        let whole = std::fs::read_to_string(path).ok()?;
        let (first, rest) = whole.split_once('\n')?;
        let (second, text) = rest.split_once('\n')?;
        Some(Self {
            etag: first
                .strip_prefix(ETAG)
                .filter(|etag| !etag.is_empty())
                .map(str::to_owned),
            fetched: second.strip_prefix(FETCHED)?.parse().ok()?,
            text: text.into(),
        })
    }

    pub fn of(etag: Option<String>, text: &str) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        // It stands in a line of its own.
        let plain = |etag: &String| {
            etag.bytes()
                .all(|byte| byte.is_ascii_graphic() || byte == b' ')
        };
        Self {
            etag: etag.filter(plain),
            fetched: since.map_or(0, |since| since.as_secs()),
            text: text.into(),
        }
    }

    /// Keeps it, if it may replace the registry in use; a crash leaves the old copy or the new one.
    pub fn keep(&self, path: &Path, in_use: &Registry, force: bool) -> Result<(), NotKept> {
        let new = Registry::parse(&self.text).map_err(NotKept::Malformed)?;
        admit(in_use, &new, force).map_err(NotKept::Refused)?;
        let etag = self.etag.as_deref().unwrap_or_default();
        let whole = format!("{ETAG}{etag}\n{FETCHED}{}\n{}", self.fetched, self.text);
        let unwritable = |error: std::io::Error| NotKept::Unwritable(error.kind());
        let beside = path.with_extension("new");
        std::fs::write(&beside, whole).map_err(unwritable)?;
        std::fs::rename(&beside, path).map_err(unwritable)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = include_str!("../../config/models.toml");

    #[test]
    fn m1_a_copy_is_read_as_it_was_kept_and_nonsense_is_not_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("registry.toml");
        assert_eq!(RegistryCopy::read(&path), None);
        let in_use = Registry::embedded().unwrap();
        let copy = RegistryCopy::of(Some("\"v1\"".to_owned()), TEXT);
        copy.keep(&path, &in_use, false).unwrap();
        assert_eq!(RegistryCopy::read(&path), Some(copy.clone()));
        let few = "[openai.\"gpt-x\"]\ncan = [\"chat\"]\nunconfirmed = true\n";
        for (text, force, expected) in [
            ("<html>", false, "no registry"),
            (few, false, "would stay"),
            ("<html>", true, "no registry"),
        ] {
            let refused = RegistryCopy::of(None, text)
                .keep(&path, &in_use, force)
                .unwrap_err();
            assert!(refused.to_string().contains(expected), "{refused}");
            assert_eq!(
                RegistryCopy::read(&path),
                Some(copy.clone()),
                "the last good one stays"
            );
        }
        let odd = RegistryCopy::of(Some("a\nb".to_owned()), few);
        odd.keep(&path, &in_use, true).unwrap();
        assert_eq!(RegistryCopy::read(&path).unwrap().etag, None);
    }
}
