//! Secrets: read from a reference, printed as `***`, wiped when dropped.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use zeroize::Zeroizing;

/// A secret's text. It has no `Display` and serialises to nothing, so it cannot reach a log by accident.
#[derive(Clone)]
pub struct Secret(Arc<Zeroizing<String>>);

impl Secret {
    pub fn new(text: String) -> Self {
        Self(Arc::new(Zeroizing::new(text)))
    }

    /// The text itself; for the one place that sends or compares it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Tells two secrets apart without revealing either.
    pub fn fingerprint(&self) -> [u8; 8] {
        let digest = ring::digest::digest(&ring::digest::SHA256, self.0.as_bytes());
        let mut short = [0; 8];
        for (to, from) in short.iter_mut().zip(digest.as_ref()) {
            *to = *from;
        }
        short
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl Eq for Secret {}

/// Follows a reference that was typed at a command line.
pub fn read_reference(reference: &str) -> Result<Secret, String> {
    resolve(reference, &ProcessEnvironment).map_err(|(what, cure)| format!("{what}; {cure}"))
}

/// Where environment variables come from: the process, or a test's table.
pub(super) trait Environment {
    fn get(&self, name: &str) -> Option<String>;
}

/// The environment of this process.
pub(super) struct ProcessEnvironment;

impl Environment for ProcessEnvironment {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place where the environment is read"
    )]
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
}

/// Why a reference gave no secret: what happened, and the cure. Never holds the secret.
pub(super) type SecretFault = (String, String);

/// The largest secret that is believed to be one.
const LARGEST: u64 = 16 * 1024;

/// Follows `env:NAME` or `file:path` to a secret that is one word.
pub(super) fn resolve(reference: &str, env: &dyn Environment) -> Result<Secret, SecretFault> {
    let secret = resolve_text(reference, env)?;
    if secret.expose().bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(secret);
    }
    Err((
        "the secret holds spaces or characters that no header may carry".to_owned(),
        "check for a pasted line break or quotes".to_owned(),
    ))
}

/// As [`resolve`], for a secret that is a document.
pub(super) fn resolve_text(reference: &str, env: &dyn Environment) -> Result<Secret, SecretFault> {
    let text = if let Some(name) = reference.strip_prefix("env:") {
        env.get(name).ok_or_else(|| {
            (
                format!("environment variable {name} is not set"),
                format!("export {name}=… before starting"),
            )
        })?
    } else if let Some(path) = reference.strip_prefix("file:") {
        read_file(Path::new(path))?
    } else {
        return Err((
            "secrets are not written into the configuration".to_owned(),
            "use \"env:NAME\" or \"file:/path/to/secret\"".to_owned(),
        ));
    };
    let text = text.trim();
    if text.is_empty() {
        return Err((
            "the secret is empty".to_owned(),
            format!("put the key behind {reference:?}"),
        ));
    }
    Ok(Secret::new(text.to_owned()))
}

/// A short-lived token that somebody else keeps in a file: others may read it, by how it is mounted.
pub(super) fn projected(path: &Path) -> Option<Secret> {
    if std::fs::metadata(path).ok()?.len() > LARGEST {
        return None;
    }
    let text = Zeroizing::new(std::fs::read_to_string(path).ok()?);
    let word = text.trim();
    let is_word = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic());
    is_word.then(|| Secret::new(word.to_owned()))
}

fn read_file(path: &Path) -> Result<String, SecretFault> {
    let shown = path.display();
    let meta = std::fs::metadata(path).map_err(|error| {
        (
            format!("secret file {shown} cannot be read ({})", error.kind()),
            String::new(),
        )
    })?;
    refuse_loose(path, &meta)?;
    if meta.len() > LARGEST {
        return Err((
            format!("secret file {shown} is larger than 16 KiB"),
            "is it the right file".to_owned(),
        ));
    }
    std::fs::read_to_string(path).map_err(|error| {
        (
            format!("secret file {shown} cannot be read ({})", error.kind()),
            String::new(),
        )
    })
}

/// A secret that others on the machine can read is not one (fault C07).
#[cfg(unix)]
fn refuse_loose(path: &Path, meta: &std::fs::Metadata) -> Result<(), SecretFault> {
    use std::os::unix::fs::PermissionsExt as _;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    let shown = path.display();
    Err((
        format!("secret file {shown} is readable by others (mode {mode:04o})"),
        format!("chmod 600 {shown}"),
    ))
}

#[cfg(not(unix))]
fn refuse_loose(_: &Path, _: &std::fs::Metadata) -> Result<(), SecretFault> {
    Ok(())
}
