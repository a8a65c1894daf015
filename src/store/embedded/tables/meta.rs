//! Facts about the store itself.

use super::{Table, nothing};
use crate::store::embedded::schema::Migration;

pub(super) const TABLE: Table = Table {
    migrations: &[Migration {
        number: 1,
        sql: "CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID",
    }],
    started: nothing,
    expire: |_, _| Ok(0),
    evict: nothing,
};
