//! The store's key: the operator's, or a random one in a file beside the store.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use ring::rand::{SecureRandom as _, SystemRandom};
use rusqlite::{Connection, OptionalExtension as _};
use zeroize::Zeroizing;

use super::schema::fault;
use super::seal::Sealer;
use crate::config::StoreSettings;
use crate::store::StoreError;

const CHECK: &str = "key check";
/// What the check says when it opens.
const OPENED: &[u8] = b"switchyard";

fn file_of(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    PathBuf::from(name)
}

/// The key of a store that exists (or is about to, when `create` is set).
pub(super) fn sealer(settings: &StoreSettings, create: bool) -> Result<Sealer, StoreError> {
    if let Some(key) = &settings.key {
        return Ok(Sealer::new(key.expose().as_bytes()));
    }
    let secret = beside(&settings.path, "key", create)?;
    Ok(Sealer::new(secret.as_bytes()))
}

/// A secret in a file beside the store; a random one is made where there is none and `create` is set.
pub(super) fn beside(
    path: &Path,
    ending: &str,
    create: bool,
) -> Result<Zeroizing<String>, StoreError> {
    let file = file_of(path, ending);
    match fs::read_to_string(&file) {
        Ok(text) => {
            let text = Zeroizing::new(text);
            private(&file)?;
            // Half a file is no key: what it sealed could never be opened with the whole one.
            if text.trim().len() != 64 {
                return Err(no_key(
                    &file,
                    "is not whole; restore it from where it is kept",
                ));
            }
            Ok(Zeroizing::new(text.trim().to_owned()))
        }
        Err(error) if error.kind() == ErrorKind::NotFound && create => made(&file),
        Err(error) if error.kind() == ErrorKind::NotFound => Err(no_key(
            &file,
            "is missing; restore it from where it is kept, or move the store aside to begin with an empty one",
        )),
        Err(error) => Err(no_key(&file, &format!("cannot be read ({})", error.kind()))),
    }
}

fn private(file: &Path) -> Result<(), StoreError> {
    let meta = fs::metadata(file).map_err(|error| StoreError::open(file, error.kind()))?;
    let mode = meta.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(no_key(
        file,
        &format!("is readable by others (mode {mode:04o}); chmod 600 it"),
    ))
}

fn no_key(file: &Path, why: &str) -> StoreError {
    StoreError::Key {
        path: file.display().to_string(),
        why: why.to_owned(),
    }
}

/// A new random key, on the disk before anything is sealed with it.
fn made(file: &Path) -> Result<Zeroizing<String>, StoreError> {
    let mut random = Zeroizing::new([0_u8; 32]);
    SystemRandom::new()
        .fill(random.as_mut())
        .map_err(|_| no_key(file, "cannot be made: the system gives no random numbers"))?;
    let text: Zeroizing<String> =
        Zeroizing::new(random.iter().map(|byte| format!("{byte:02x}")).collect());
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)
        .and_then(|mut opened| {
            opened.write_all(text.as_bytes())?;
            opened.sync_all()
        });
    written.map_err(|error| StoreError::open(file, error.kind()))?;
    Ok(text)
}

/// Refuses a key that is not the one the store was made with; a new store takes it for its own.
pub(super) fn check(
    connection: &Connection,
    sealer: &Sealer,
    path: &str,
) -> Result<(), StoreError> {
    let known: Option<Vec<u8>> = connection
        .query_row("SELECT value FROM meta WHERE name = ?1", [CHECK], |row| {
            row.get(0)
        })
        .optional()
        .map_err(|error| fault(&error, path))?;
    if let Some(sealed) = known {
        return match sealer.open(&["meta", CHECK], &sealed) {
            Ok(text) if text == OPENED => Ok(()),
            Ok(_) | Err(_) => Err(StoreError::Key {
                path: path.to_owned(),
                why: "is another one than it was made with; name the old one in store.key, or move the store aside"
                    .to_owned(),
            }),
        };
    }
    let sealed = sealer.seal(&["meta", CHECK], OPENED)?;
    connection
        .execute(
            "INSERT INTO meta (name, value) VALUES (?1, ?2)",
            (CHECK, sealed),
        )
        .map_err(|error| fault(&error, path))?;
    Ok(())
}
