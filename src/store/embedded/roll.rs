//! Keys as somebody sees them who has a connection of their own: the gateway that follows them, and a command beside
//! it. Neither takes the store's lock: what is written is one transaction, and readers wait for nobody.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::open::{Access, connect};
use super::schema::{fault, latest, number};
use super::tables::keys;
use super::{key, open};
use crate::config::{Secret, StoreSettings};
use crate::store::StoreError;
use crate::store::keys::{KeyChange, KeyChanged, Roll};

/// Who has not looked for so long reads everything anew: what is gone is told for a day only.
const ANEW_AFTER: Duration = Duration::from_secs(3_600);
/// How long one who looks waits for a writer; the next look is near.
const BRIEF: Duration = Duration::from_millis(200);

/// Follows the keys of a store.
#[derive(Debug)]
pub struct RollWatch {
    settings: StoreSettings,
    open: Option<OpenRoll>,
    known: Arc<Roll>,
    looked: Option<Instant>,
}

#[derive(Debug)]
struct OpenRoll {
    connection: Connection,
    /// Device and number of the file.
    file: (u64, u64),
}

impl RollWatch {
    /// `known` is what somebody read before, so that only what is new is read.
    pub fn new(settings: StoreSettings, known: Arc<Roll>) -> Self {
        Self {
            settings,
            open: None,
            looked: (known.changes > 0).then(Instant::now),
            known,
        }
    }

    /// What there is now: the same as before when nothing changed. Blocks.
    pub fn look(&mut self) -> Result<Arc<Roll>, StoreError> {
        match self.try_look() {
            Ok(()) => {
                self.looked = Some(Instant::now());
                Ok(Arc::clone(&self.known))
            }
            Err(error) => {
                self.open = None;
                Err(error)
            }
        }
    }

    fn try_look(&mut self) -> Result<(), StoreError> {
        let path = self.settings.path.clone();
        let shown = path.display().to_string();
        let file = match fs::metadata(&path) {
            Ok(meta) => (meta.dev(), meta.ino()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.open = None;
                // Nothing was ever made: then there is nothing to miss.
                return if self.known.changes == 0 {
                    Ok(())
                } else {
                    Err(StoreError::Missing { path: shown })
                };
            }
            Err(error) => return Err(StoreError::open(&path, error.kind())),
        };
        let replaced = self.known.file.is_some_and(|known| known != file);
        let stale = self.looked.is_some_and(|at| at.elapsed() > ANEW_AFTER);
        if self.open.as_ref().is_none_or(|open| open.file != file) {
            let connection = connect(&path, Access::Write)?;
            connection
                .busy_timeout(BRIEF)
                .and_then(|()| connection.execute_batch("PRAGMA query_only = ON"))
                .map_err(|error| fault(&error, &shown))?;
            self.open = Some(OpenRoll { connection, file });
        }
        let Some(OpenRoll { connection, .. }) = &self.open else {
            return Ok(());
        };
        if number(connection, &shown)? < latest() {
            // Of an older release: it has no keys until it is brought to this one's schema.
            return Ok(());
        }
        let now = keys::changes(connection).map_err(|error| fault(&error, &shown))?;
        // A store that was restored counts from before.
        let anew = replaced || stale || now < self.known.changes;
        if now == self.known.changes && !anew {
            return Ok(());
        }
        let mut roll = if anew {
            Roll::default()
        } else {
            Roll::clone(&self.known)
        };
        connection
            .execute_batch("BEGIN")
            .map_err(|error| fault(&error, &shown))?;
        let read = keys::read(connection, &mut roll, &shown);
        let _ = connection.execute_batch("ROLLBACK");
        read?;
        roll.file = Some(file);
        self.known = Arc::new(roll);
        Ok(())
    }
}

/// What digests of keys are keyed with; made when there is none and `create` is set.
pub fn pepper(
    settings: &StoreSettings,
    own: Option<&Secret>,
    create: bool,
) -> Result<Zeroizing<Vec<u8>>, StoreError> {
    if let Some(own) = own {
        return Ok(Zeroizing::new(own.expose().as_bytes().to_vec()));
    }
    key::beside(&settings.path, "pepper", create)
        .map(|text| Zeroizing::new(text.as_bytes().to_vec()))
}

/// The keys of a store as one who is about to change them has to know them. Makes the store where there is none.
pub fn roll(settings: &StoreSettings) -> Result<Roll, StoreError> {
    let connection = to_change(settings)?;
    let mut roll = Roll::default();
    keys::read(&connection, &mut roll, &settings.path.display().to_string())?;
    Ok(roll)
}

/// Makes one change, also while a gateway uses the store.
pub fn change(settings: &StoreSettings, wanted: &KeyChange) -> Result<KeyChanged, StoreError> {
    let mut changed = KeyChanged::Missing;
    change_many(settings, std::slice::from_ref(wanted), |how| changed = how)?;
    Ok(changed)
}

/// Makes changes in one transaction and tells how each went.
pub fn change_many(
    settings: &StoreSettings,
    wanted: &[KeyChange],
    mut tell: impl FnMut(KeyChanged),
) -> Result<(), StoreError> {
    let shown = settings.path.display().to_string();
    let connection = to_change(settings)?;
    let wrong = |error: rusqlite::Error| fault(&error, &shown);
    connection
        .execute_batch("PRAGMA synchronous = FULL; BEGIN IMMEDIATE")
        .map_err(wrong)?;
    for one in wanted {
        // An error ends the connection, and the transaction with it.
        tell(keys::change(&connection, one, &shown)?);
    }
    connection.execute_batch("COMMIT").map_err(wrong)
}

/// A connection to a store of this release's schema. One of an older release is brought there, unless a gateway of
/// that release uses it.
fn to_change(settings: &StoreSettings) -> Result<Connection, StoreError> {
    let shown = settings.path.display().to_string();
    let current = || -> Result<Option<Connection>, StoreError> {
        if !settings.path.exists() {
            return Ok(None);
        }
        let connection = connect(&settings.path, Access::Write)?;
        let number = number(&connection, &shown)?;
        Ok((number == latest()).then_some(connection))
    };
    if let Some(connection) = current()? {
        return Ok(connection);
    }
    match open(settings, true) {
        // A store that is moved while its log is not written back leaves behind what the log holds.
        Ok((store, _)) => store.end(),
        // A gateway that makes it at this moment.
        Err(StoreError::InUse { .. }) => {}
        Err(error) => return Err(error),
    }
    current()?.ok_or(StoreError::InUse { path: shown })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::keys::{KeyUse, StoredKey};

    fn settings(path: &std::path::Path) -> StoreSettings {
        StoreSettings {
            path: path.to_owned(),
            ..StoreSettings::default()
        }
    }

    fn add(settings: &StoreSettings, id: &str) {
        let key = StoredKey {
            id: id.to_owned(),
            r#use: KeyUse::Client,
            env: "live".to_owned(),
            name: id.to_owned(),
            tenant: Some("default".to_owned()),
            team: None,
            grant: Default::default(),
            terms: Default::default(),
            scopes: Vec::new(),
            expires: None,
            blocked: false,
            created: 1,
            created_by: "test".to_owned(),
            changed_by: "test".to_owned(),
            pepper: "00".to_owned(),
            digest: [1; 32],
            before: None,
            version: 0,
        };
        let once = None;
        let added = change(
            settings,
            &KeyChange::Add {
                key: Box::new(key),
                once,
            },
        );
        assert!(matches!(added, Ok(KeyChanged::Done(_))), "{added:?}");
    }

    fn ids(roll: &Roll) -> Vec<&str> {
        roll.keys.keys().map(String::as_str).collect()
    }

    #[tokio::test]
    async fn a03_no_key_of_another_store_outlives_it_however_many_changes_the_next_has_seen() {
        let folder = tempfile::tempdir().unwrap();
        let here = settings(&folder.path().join("here.db"));
        let there = settings(&folder.path().join("there.db"));
        add(&here, "a");
        for id in ["b", "c", "d"] {
            add(&there, id);
        }
        let mut watch = RollWatch::new(here.clone(), Arc::default());
        assert_eq!(ids(&watch.look().unwrap()), ["a"]);
        // Away, as far as one who looks can see, and then another in its place.
        std::fs::rename(&here.path, folder.path().join("old.db")).unwrap();
        assert!(matches!(watch.look(), Err(StoreError::Missing { .. })));
        std::fs::rename(&there.path, &here.path).unwrap();
        assert_eq!(ids(&watch.look().unwrap()), ["b", "c", "d"]);
        // The same to one who took over what somebody else had read.
        let known = watch.look().unwrap();
        std::fs::rename(folder.path().join("old.db"), &here.path).unwrap();
        for id in ["e", "f", "g", "h"] {
            add(&here, id);
        }
        let mut next = RollWatch::new(here, known);
        assert_eq!(ids(&next.look().unwrap()), ["a", "e", "f", "g", "h"]);
    }

    #[tokio::test]
    async fn only_what_is_new_is_read_and_what_did_not_change_stays_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let here = settings(&folder.path().join("here.db"));
        add(&here, "a");
        let mut watch = RollWatch::new(here.clone(), Arc::default());
        let before = watch.look().unwrap();
        assert!(Arc::ptr_eq(&before, &watch.look().unwrap()));
        add(&here, "b");
        let after = watch.look().unwrap();
        assert_eq!(ids(&after), ["a", "b"]);
        assert!(Arc::ptr_eq(
            before.keys.get("a").unwrap(),
            after.keys.get("a").unwrap()
        ));
    }
}
