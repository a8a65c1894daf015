//! Keys and tenants made while the gateway runs, and the number of their last change.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{Table, nothing};
use crate::store::embedded::schema::{Migration, fault};
use crate::store::embedded::{Embedded, unix_now};
use crate::store::keys::{
    Digest, KeyChange, KeyChanged, KeyStore, KeyUse, Roll, StoredKey, StoredTenant,
};
use crate::store::{Pending, StoreError};

pub(super) const TABLE: Table = Table {
    migrations: &[Migration {
        number: 4,
        sql: "
CREATE TABLE issued_keys (
    id TEXT PRIMARY KEY,
    tenant TEXT NOT NULL,
    name TEXT NOT NULL,
    admin INTEGER NOT NULL,
    record TEXT NOT NULL,
    digest BLOB NOT NULL,
    before BLOB,
    before_until INTEGER,
    once TEXT UNIQUE,
    version INTEGER NOT NULL,
    gone INTEGER
) STRICT, WITHOUT ROWID;
CREATE UNIQUE INDEX issued_key_names ON issued_keys (admin, tenant, name) WHERE gone IS NULL;
CREATE INDEX issued_key_versions ON issued_keys (version);
CREATE TABLE issued_tenants (
    name TEXT PRIMARY KEY,
    record TEXT NOT NULL,
    version INTEGER NOT NULL,
    gone INTEGER
) STRICT, WITHOUT ROWID;
CREATE TABLE issued_changes (
    only INTEGER PRIMARY KEY CHECK (only = 1),
    number INTEGER NOT NULL,
    held INTEGER NOT NULL
) STRICT;
INSERT INTO issued_changes (only, number, held) VALUES (1, 0, 0)",
    }],
    started: nothing,
    expire,
    evict: nothing,
};

/// What is gone is told to those who look for changes, and after a day nobody asks any more: who has not looked for
/// an hour reads everything anew.
const TOLD_FOR: u64 = 86_400;
/// Keys there may be at once: what is held in memory is bounded (ground rule G14).
const MOST_KEYS: u64 = 250_000;

fn expire(connection: &Connection, now: u64) -> rusqlite::Result<u64> {
    let before = now.saturating_sub(TOLD_FOR);
    let keys = connection.execute("DELETE FROM issued_keys WHERE gone < ?1", [before])?;
    let tenants = connection.execute("DELETE FROM issued_tenants WHERE gone < ?1", [before])?;
    Ok((keys + tenants) as u64)
}

pub(in crate::store::embedded) fn changes(connection: &Connection) -> rusqlite::Result<u64> {
    connection
        .prepare_cached("SELECT number FROM issued_changes")?
        .query_row([], |row| row.get(0))
}

/// Brings what is known as of `roll.changes` up to now. Reads within one transaction of the caller's.
pub(in crate::store::embedded) fn read(
    connection: &Connection,
    roll: &mut Roll,
    path: &str,
) -> Result<(), StoreError> {
    let wrong = |error| fault(&error, path);
    let since = roll.changes;
    let now = changes(connection).map_err(wrong)?;
    let mut asked = connection
        .prepare_cached("SELECT name, record, version, gone FROM issued_tenants WHERE version > ?1")
        .map_err(wrong)?;
    let mut rows = asked.query([since]).map_err(wrong)?;
    while let Some(row) = rows.next().map_err(wrong)? {
        let name: String = row.get(0).map_err(wrong)?;
        match tenant(row).map_err(wrong)? {
            None => drop(roll.tenants.remove(&name)),
            Some((record, version)) => {
                let form = serde_json::from_str(&record).map_err(|_| StoreError::Unreadable)?;
                let tenant = StoredTenant {
                    name: name.clone(),
                    form,
                    version,
                };
                roll.tenants.insert(name, Arc::new(tenant));
            }
        }
    }
    let mut asked = connection
        .prepare_cached(
            "SELECT id, record, digest, before, before_until, version, gone FROM issued_keys WHERE version > ?1",
        )
        .map_err(wrong)?;
    let mut rows = asked.query([since]).map_err(wrong)?;
    while let Some(row) = rows.next().map_err(wrong)? {
        let id: String = row.get(0).map_err(wrong)?;
        match key(row)? {
            None => drop(roll.keys.remove(&id)),
            Some(key) => drop(roll.keys.insert(id, Arc::new(key))),
        }
    }
    roll.changes = now;
    Ok(())
}

fn tenant(row: &Row<'_>) -> rusqlite::Result<Option<(String, u64)>> {
    let gone: Option<u64> = row.get(3)?;
    Ok(match gone {
        Some(_) => None,
        None => Some((row.get(1)?, row.get(2)?)),
    })
}

/// `None` for one that is gone.
fn key(row: &Row<'_>) -> Result<Option<StoredKey>, StoreError> {
    let unreadable = |_| StoreError::Unreadable;
    let gone: Option<u64> = row.get(6).map_err(unreadable)?;
    if gone.is_some() {
        return Ok(None);
    }
    let record: String = row.get(1).map_err(unreadable)?;
    let mut key: StoredKey = serde_json::from_str(&record).map_err(|_| StoreError::Unreadable)?;
    key.digest = row.get(2).map_err(unreadable)?;
    let before: Option<Digest> = row.get(3).map_err(unreadable)?;
    let until: Option<u64> = row.get(4).map_err(unreadable)?;
    key.before = before.zip(until);
    key.version = row.get(5).map_err(unreadable)?;
    Ok(Some(key))
}

/// Makes one change. The caller's transaction holds it together.
pub(in crate::store::embedded) fn change(
    connection: &Connection,
    change: &KeyChange,
    path: &str,
) -> Result<KeyChanged, StoreError> {
    let number = changes(connection).map_err(|error| fault(&error, path))? + 1;
    let changed = match change {
        KeyChange::Add { key, once } => add(connection, key, once.as_deref(), number),
        KeyChange::Replace(key) => replace(connection, key, number),
        KeyChange::Remove { id } => remove(connection, id, number),
        KeyChange::PutTenant(tenant) => put_tenant(connection, tenant, number),
        KeyChange::RemoveTenant { name } => remove_tenant(connection, name, number),
    };
    let changed = changed.map_err(|error| fault(&error, path))?;
    if let KeyChanged::Done(number) = changed {
        connection
            .execute("UPDATE issued_changes SET number = ?1", [number])
            .map_err(|error| fault(&error, path))?;
    }
    Ok(changed)
}

fn add(
    connection: &Connection,
    key: &StoredKey,
    once: Option<&str>,
    number: u64,
) -> rusqlite::Result<KeyChanged> {
    if let Some(once) = once
        && made_once(connection, once)?.is_some()
    {
        return Ok(KeyChanged::Again);
    }
    let held: u64 = connection
        .prepare_cached("SELECT held FROM issued_changes")?
        .query_row([], |row| row.get(0))?;
    if held >= MOST_KEYS {
        return Ok(KeyChanged::TooMany);
    }
    let tenant = key.tenant.as_deref().unwrap_or_default();
    let admin = key.r#use == KeyUse::Admin;
    let mut insert = connection.prepare_cached(
        "INSERT INTO issued_keys (id, tenant, name, admin, record, digest, once, version)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO NOTHING",
    )?;
    let added = insert.execute((
        &key.id,
        tenant,
        &key.name,
        admin,
        serde_json::to_string(key).unwrap_or_default(),
        key.digest,
        once,
        number,
    ))?;
    if added == 0 {
        return Ok(KeyChanged::Taken);
    }
    connection.execute("UPDATE issued_changes SET held = held + 1", [])?;
    Ok(KeyChanged::Done(number))
}

fn replace(connection: &Connection, key: &StoredKey, number: u64) -> rusqlite::Result<KeyChanged> {
    let replaced = connection.execute(
        "UPDATE OR IGNORE issued_keys SET name = ?2, record = ?3, digest = ?4, before = ?5, before_until = ?6, version = ?7
         WHERE id = ?1 AND version = ?8 AND gone IS NULL",
        (
            &key.id,
            &key.name,
            serde_json::to_string(key).unwrap_or_default(),
            key.digest,
            key.before.map(|(digest, _)| digest),
            key.before.map(|(_, until)| until),
            number,
            key.version,
        ),
    )?;
    if replaced == 1 {
        return Ok(KeyChanged::Done(number));
    }
    let version: Option<u64> = connection
        .query_row(
            "SELECT version FROM issued_keys WHERE id = ?1 AND gone IS NULL",
            [&key.id],
            |row| row.get(0),
        )
        .optional()?;
    Ok(match version {
        None => KeyChanged::Missing,
        Some(version) if version == key.version => KeyChanged::Taken,
        Some(_) => KeyChanged::Stale,
    })
}

fn remove(connection: &Connection, id: &str, number: u64) -> rusqlite::Result<KeyChanged> {
    // Nothing of it stays but that it is gone.
    let removed = connection.execute(
        "UPDATE issued_keys SET gone = ?2, version = ?3, record = '', digest = x'', before = NULL
         WHERE id = ?1 AND gone IS NULL",
        (id, unix_now(), number),
    )?;
    if removed == 0 {
        return Ok(KeyChanged::Missing);
    }
    connection.execute("UPDATE issued_changes SET held = held - 1", [])?;
    Ok(KeyChanged::Done(number))
}

fn put_tenant(
    connection: &Connection,
    tenant: &StoredTenant,
    number: u64,
) -> rusqlite::Result<KeyChanged> {
    let put = connection.execute(
        "INSERT INTO issued_tenants (name, record, version) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET record = excluded.record, version = excluded.version, gone = NULL
         WHERE ?4 = 0 OR version = ?4",
        (
            &tenant.name,
            serde_json::to_string(&tenant.form).unwrap_or_default(),
            number,
            tenant.version,
        ),
    )?;
    Ok(if put == 1 {
        KeyChanged::Done(number)
    } else {
        KeyChanged::Stale
    })
}

fn remove_tenant(connection: &Connection, name: &str, number: u64) -> rusqlite::Result<KeyChanged> {
    let used: bool = connection.query_row(
        "SELECT EXISTS (SELECT 1 FROM issued_keys WHERE tenant = ?1 AND gone IS NULL)",
        [name],
        |row| row.get(0),
    )?;
    if used {
        return Ok(KeyChanged::InUse);
    }
    let removed = connection.execute(
        "UPDATE issued_tenants SET gone = ?2, version = ?3, record = '' WHERE name = ?1 AND gone IS NULL",
        (name, unix_now(), number),
    )?;
    Ok(if removed == 1 {
        KeyChanged::Done(number)
    } else {
        KeyChanged::Missing
    })
}

pub(in crate::store::embedded) fn made_once(
    connection: &Connection,
    once: &str,
) -> rusqlite::Result<Option<String>> {
    connection
        .query_row(
            "SELECT id FROM issued_keys WHERE once = ?1",
            [once],
            |row| row.get(0),
        )
        .optional()
}

impl KeyStore for Embedded {
    fn change(&self, change: KeyChange) -> Pending<KeyChanged> {
        let path = self.path();
        self.write(1_024, move |connection, _| {
            self::change(connection, &change, &path)
        })
    }

    fn made_once(&self, once: &str) -> Pending<Option<String>> {
        let (once, path) = (once.to_owned(), self.path());
        self.read(move |connection, _| {
            made_once(connection, &once).map_err(|error| fault(&error, &path))
        })
    }
}
