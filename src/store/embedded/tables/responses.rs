//! Stored responses: who, which and when in the clear, what was said sealed.

use bytes::Bytes;
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::Table;
use crate::domain::ClientName;
use crate::store::embedded::schema::{Migration, fault};
use crate::store::embedded::seal::Sealer;
use crate::store::embedded::{Embedded, unix_now};
use crate::store::{
    Conversation, Link, Pending, ResponseKey, ResponseStore, Standing, StoreError, StoredResponse,
};

pub(super) const TABLE: Table = Table {
    migrations: &[Migration {
        number: 2,
        sql: "
CREATE TABLE responses (
    row INTEGER PRIMARY KEY,
    owner TEXT NOT NULL,
    id TEXT NOT NULL,
    previous TEXT,
    created INTEGER NOT NULL,
    expires INTEGER NOT NULL,
    standing INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    answer BLOB NOT NULL,
    input BLOB NOT NULL,
    events BLOB NOT NULL,
    UNIQUE (owner, id)
) STRICT;
CREATE INDEX responses_by_end ON responses (expires);
CREATE INDEX responses_by_size ON responses (owner, bytes);
CREATE TABLE response_items (
    owner TEXT NOT NULL,
    item TEXT NOT NULL,
    row INTEGER NOT NULL REFERENCES responses (row) ON DELETE CASCADE,
    PRIMARY KEY (owner, item, row)
) STRICT, WITHOUT ROWID;
CREATE INDEX response_items_by_row ON response_items (row)",
    }],
    started,
    expire,
    evict,
};

/// A conversation of more turns than this is not put together again.
const LONGEST: usize = 1_000;
/// Rows deleted in one go.
const HANDFUL: u32 = 32;

const UNDER_WAY: i64 = 0;
const ENDED: i64 = 1;
const INTERRUPTED: i64 = 2;

fn number(standing: Standing) -> i64 {
    match standing {
        Standing::UnderWay => UNDER_WAY,
        Standing::Ended => ENDED,
        Standing::Interrupted => INTERRUPTED,
    }
}

fn started(connection: &Connection) -> rusqlite::Result<u64> {
    let changed = connection.execute(
        "UPDATE responses SET standing = ?1 WHERE standing = ?2",
        [INTERRUPTED, UNDER_WAY],
    )?;
    Ok(changed as u64)
}

fn expire(connection: &Connection, now: u64) -> rusqlite::Result<u64> {
    let deleted = connection.execute("DELETE FROM responses WHERE expires <= ?1", [now])?;
    Ok(deleted as u64)
}

/// Whoever keeps most gives first: nobody can push out what others keep.
fn evict(connection: &Connection) -> rusqlite::Result<u64> {
    let deleted = connection.execute(
        "DELETE FROM responses WHERE row IN (
             SELECT row FROM responses WHERE owner = (
                 SELECT owner FROM responses GROUP BY owner ORDER BY sum(bytes) DESC LIMIT 1
             ) AND standing <> ?1 ORDER BY row LIMIT ?2)",
        (UNDER_WAY, HANDFUL),
    )?;
    Ok(deleted as u64)
}

/// A sealed column of a response.
#[derive(Clone, Copy)]
enum Column {
    Answer,
    Input,
    Events,
}

impl Column {
    fn place<'a>(self, owner: &'a str, id: &'a str) -> [&'a str; 4] {
        let name = match self {
            Self::Answer => "answer",
            Self::Input => "input",
            Self::Events => "events",
        };
        ["responses", name, owner, id]
    }
}

struct Sealed {
    answer: Vec<u8>,
    input: Vec<u8>,
    events: Vec<u8>,
}

impl Sealed {
    fn of(response: &StoredResponse, sealer: &Sealer) -> Result<Self, StoreError> {
        let (owner, id) = (response.key.owner.as_str(), response.key.id.as_str());
        let seal = |column: Column, text: &[u8]| sealer.seal(&column.place(owner, id), text);
        Ok(Self {
            answer: seal(Column::Answer, &response.answer)?,
            input: seal(Column::Input, &response.input)?,
            events: seal(Column::Events, &response.events)?,
        })
    }

    fn bytes(&self) -> usize {
        self.answer.len() + self.input.len() + self.events.len()
    }
}

fn size(response: &StoredResponse) -> usize {
    response.answer.len() + response.input.len() + response.events.len()
}

impl ResponseStore for Embedded {
    fn begin(&self, response: StoredResponse) -> Pending<()> {
        let (expires, bytes) = (self.expires(response.created), size(&response));
        let path = self.path();
        self.write(bytes, move |connection, sealer| {
            let sealed = Sealed::of(&response, sealer)?;
            insert(connection, &response, &sealed, expires).map_err(|error| fault(&error, &path))
        })
    }

    fn goes_on(&self, key: &ResponseKey, answer: Bytes) -> Pending<bool> {
        let (key, path) = (key.clone(), self.path());
        self.write(answer.len(), move |connection, sealer| {
            let (owner, id) = (key.owner.as_str(), key.id.as_str());
            let sealed = sealer.seal(&Column::Answer.place(owner, id), &answer)?;
            connection
                .prepare_cached(
                    "UPDATE responses SET answer = ?3, bytes = bytes - length(answer) + length(?3)
                     WHERE owner = ?1 AND id = ?2 AND standing = ?4",
                )
                .and_then(|mut update| update.execute((owner, id, &sealed, UNDER_WAY)))
                .map(|updated| updated > 0)
                .map_err(|error| fault(&error, &path))
        })
    }

    fn finish(&self, response: StoredResponse) -> Pending<bool> {
        let (path, bytes) = (self.path(), size(&response));
        self.write(bytes, move |connection, sealer| {
            let sealed = Sealed::of(&response, sealer)?;
            update(connection, &response, &sealed).map_err(|error| fault(&error, &path))
        })
    }

    fn get(&self, key: &ResponseKey) -> Pending<Option<StoredResponse>> {
        let (key, path) = (key.clone(), self.path());
        self.read(move |connection, sealer| {
            let found = find(connection, &key).map_err(|error| fault(&error, &path))?;
            found.map(|row| row.response(key, sealer)).transpose()
        })
    }

    fn delete(&self, key: &ResponseKey) -> Pending<bool> {
        let (key, path) = (key.clone(), self.path());
        self.write(0, move |connection, _| {
            connection
                .prepare_cached(
                    "DELETE FROM responses WHERE owner = ?1 AND id = ?2 AND expires > ?3",
                )
                .and_then(|mut delete| delete.execute((key.owner.as_str(), &key.id, unix_now())))
                .map(|deleted| deleted > 0)
                .map_err(|error| fault(&error, &path))
        })
    }

    fn conversation(&self, key: &ResponseKey, most_bytes: usize) -> Pending<Conversation> {
        let (mut key, path) = (key.clone(), self.path());
        self.read(move |connection, sealer| {
            let (mut links, mut bytes) = (Vec::new(), 0_usize);
            loop {
                let found = find(connection, &key).map_err(|error| fault(&error, &path))?;
                let Some(row) = found else {
                    return Ok(match links.is_empty() {
                        true => Conversation::Absent,
                        false => Conversation::Torn,
                    });
                };
                bytes = bytes.saturating_add(row.answer.len() + row.input.len());
                if bytes > most_bytes || links.len() == LONGEST {
                    return Ok(Conversation::TooLong);
                }
                let previous = row.previous.clone();
                links.push(row.link(&key, sealer)?);
                match previous {
                    Some(previous) => key.id = previous,
                    None => break,
                }
            }
            links.reverse();
            Ok(Conversation::Whole(links))
        })
    }

    fn holding(&self, owner: &ClientName, items: Vec<String>) -> Pending<Vec<Link>> {
        let (owner, path) = (owner.clone(), self.path());
        self.read(move |connection, sealer| {
            let mut links: Vec<Link> = Vec::new();
            for item in items {
                let id = holder(connection, &owner, &item).map_err(|error| fault(&error, &path))?;
                let Some(id) = id.filter(|id| links.iter().all(|link| link.id != *id)) else {
                    continue;
                };
                let key = ResponseKey {
                    owner: owner.clone(),
                    id,
                };
                let found = find(connection, &key).map_err(|error| fault(&error, &path))?;
                if let Some(row) = found {
                    links.push(row.link(&key, sealer)?);
                }
            }
            Ok(links)
        })
    }
}

fn holder(
    connection: &Connection,
    owner: &ClientName,
    item: &str,
) -> rusqlite::Result<Option<String>> {
    connection
        .prepare_cached(
            "SELECT id FROM response_items JOIN responses USING (row)
             WHERE response_items.owner = ?1 AND item = ?2 ORDER BY row DESC LIMIT 1",
        )?
        .query_row((owner.as_str(), item), |row| row.get(0))
        .optional()
}

fn insert(
    connection: &Connection,
    response: &StoredResponse,
    sealed: &Sealed,
    expires: u64,
) -> rusqlite::Result<()> {
    let (owner, id) = (response.key.owner.as_str(), response.key.id.as_str());
    connection
        .prepare_cached(
            "INSERT INTO responses
                 (owner, id, previous, created, expires, standing, bytes, answer, input, events)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute((
            owner,
            id,
            &response.previous,
            response.created,
            expires,
            number(response.standing),
            sealed.bytes(),
            &sealed.answer,
            &sealed.input,
            &sealed.events,
        ))?;
    keep_items(
        connection,
        owner,
        connection.last_insert_rowid(),
        &response.items,
    )?;
    if let Some(previous) = &response.previous {
        keep_line(connection, owner, previous, expires)?;
    }
    Ok(())
}

/// What it goes on from is kept as long as it is itself: a conversation ends as a whole.
fn keep_line(
    connection: &Connection,
    owner: &str,
    previous: &str,
    expires: u64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "WITH RECURSIVE line (row, previous) AS (
                 SELECT row, previous FROM responses WHERE owner = ?1 AND id = ?2
                 UNION
                 SELECT before.row, before.previous FROM responses AS before
                 JOIN line ON before.owner = ?1 AND before.id = line.previous
                 LIMIT ?4)
             UPDATE responses SET expires = max(expires, ?3) WHERE row IN (SELECT row FROM line)",
        )?
        .execute((owner, previous, expires, LONGEST))?;
    Ok(())
}

fn keep_items(
    connection: &Connection,
    owner: &str,
    row: i64,
    items: &[String],
) -> rusqlite::Result<()> {
    let mut insert = connection.prepare_cached(
        "INSERT OR IGNORE INTO response_items (owner, item, row) VALUES (?1, ?2, ?3)",
    )?;
    for item in items {
        insert.execute((owner, item, row))?;
    }
    Ok(())
}

fn update(
    connection: &Connection,
    response: &StoredResponse,
    sealed: &Sealed,
) -> rusqlite::Result<bool> {
    let owner = response.key.owner.as_str();
    let row: Option<i64> = connection
        .prepare_cached(
            "UPDATE responses SET standing = ?3, bytes = ?4, answer = ?5, input = ?6, events = ?7
             WHERE owner = ?1 AND id = ?2 AND standing = ?8 RETURNING row",
        )?
        .query_row(
            (
                owner,
                &response.key.id,
                number(response.standing),
                sealed.bytes(),
                &sealed.answer,
                &sealed.input,
                &sealed.events,
                UNDER_WAY,
            ),
            |row| row.get(0),
        )
        .optional()?;
    if let Some(row) = row {
        keep_items(connection, owner, row, &response.items)?;
    }
    Ok(row.is_some())
}

/// A row as it lies in the file.
struct Found {
    previous: Option<String>,
    created: u64,
    standing: Standing,
    answer: Vec<u8>,
    input: Vec<u8>,
    events: Vec<u8>,
}

impl Found {
    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        let standing = match row.get(2)? {
            UNDER_WAY => Standing::UnderWay,
            ENDED => Standing::Ended,
            INTERRUPTED => Standing::Interrupted,
            other => return Err(rusqlite::Error::IntegralValueOutOfRange(2, other)),
        };
        Ok(Self {
            previous: row.get(0)?,
            created: row.get(1)?,
            standing,
            answer: row.get(3)?,
            input: row.get(4)?,
            events: row.get(5)?,
        })
    }

    fn response(self, key: ResponseKey, sealer: &Sealer) -> Result<StoredResponse, StoreError> {
        Ok(StoredResponse {
            answer: opened(Column::Answer, &key, sealer, &self.answer)?,
            input: opened(Column::Input, &key, sealer, &self.input)?,
            events: opened(Column::Events, &key, sealer, &self.events)?,
            previous: self.previous,
            created: self.created,
            standing: self.standing,
            items: Vec::new(),
            key,
        })
    }

    fn link(self, key: &ResponseKey, sealer: &Sealer) -> Result<Link, StoreError> {
        Ok(Link {
            id: key.id.clone(),
            standing: self.standing,
            answer: opened(Column::Answer, key, sealer, &self.answer)?,
            input: opened(Column::Input, key, sealer, &self.input)?,
        })
    }
}

fn opened(
    column: Column,
    key: &ResponseKey,
    sealer: &Sealer,
    sealed: &[u8],
) -> Result<Bytes, StoreError> {
    sealer
        .open(&column.place(key.owner.as_str(), &key.id), sealed)
        .map(Bytes::from)
}

fn find(connection: &Connection, key: &ResponseKey) -> rusqlite::Result<Option<Found>> {
    connection
        .prepare_cached(
            "SELECT previous, created, standing, answer, input, events FROM responses
             WHERE owner = ?1 AND id = ?2 AND expires > ?3",
        )?
        .query_row((key.owner.as_str(), &key.id, unix_now()), Found::read)
        .optional()
}
