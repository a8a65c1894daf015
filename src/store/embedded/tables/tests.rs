//! Files of every schema there was open, with what was in them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken step is a failed test"
)]

use rusqlite::Connection;

use super::migrations;
use crate::store::embedded::schema::{latest, migrate, number};

/// What a file of each schema held, and how it is found after all later steps: (schema, written, asked, answer).
/// A new step adds a line; the lines there are stay.
const HELD: &[(u32, &str, &str, &str)] = &[
    (
        1,
        "INSERT INTO meta (name, value) VALUES ('fixture', x'01')",
        "SELECT hex(value) FROM meta WHERE name = 'fixture'",
        "01",
    ),
    (
        2,
        "INSERT INTO responses (row, owner, id, previous, created, expires, standing, bytes, answer, input, events)
             VALUES (1, 'app', 'resp_1', NULL, 1, 2, 1, 3, x'01', x'02', x'');
         INSERT INTO response_items (owner, item, row) VALUES ('app', 'msg_1', 1)",
        "SELECT owner || id || item || hex(answer) || hex(input) || standing FROM responses JOIN response_items USING (row, owner)",
        "appresp_1msg_101021" ,
    ),
    (
        3,
        "INSERT INTO spend VALUES (900, 'acme', 'search', 'app', 'a', 'm-a', 1, 0, 0, 5, 6, 0, 0, 0, 0, 0, 0, 11, 0);
         INSERT INTO spend_labels VALUES (900, 'acme', 0, 'nightly', 1, 0, 0, 5, 6, 0, 0, 0, 0, 0, 0, 11, 0);
         INSERT INTO spend_position VALUES (1, 7, 8)",
        "SELECT tenant || team || client || provider || model || spend.cost_nano || value || seq || at_ms
             FROM spend JOIN spend_labels USING (tenant) JOIN spend_position",
        "acmesearchappam-a11nightly78",
    ),
    (
        4,
        "INSERT INTO issued_keys VALUES ('k1', 'acme', 'app', 0, '{}', x'01', x'02', 9, 'once', 1, NULL);
         INSERT INTO issued_tenants VALUES ('acme', '{}', 2, NULL);
         UPDATE issued_changes SET number = 2",
        "SELECT id || tenant || k.name || hex(digest) || hex(before) || before_until || once || k.version || number
             FROM issued_keys k JOIN issued_tenants t ON t.name = tenant JOIN issued_changes",
        "k1acmeapp01029once12",
    ),
    (
        5,
        "INSERT INTO spend_providers VALUES ('b', 900, 12)",
        "SELECT provider || quarter || cost_nano FROM spend_providers WHERE provider = 'b'",
        "b90012",
    ),
    (
        6,
        "INSERT INTO spend_margins VALUES ('acme', 900, 'search', 'app', '', 2)",
        "SELECT tenant || team || client || tag || margin_nano FROM spend_margins",
        "acmesearchapp2",
    ),
    (
        7,
        "INSERT INTO budget_alerts VALUES ('acme: 80 % of 100 USD (month)', 3)",
        "SELECT what || at_ms FROM budget_alerts",
        "acme: 80 % of 100 USD (month)3",
    ),
    (
        8,
        "INSERT INTO spend_bought VALUES ('z', 900, 3, 4)",
        "SELECT provider || cost_nano || tokens FROM spend_bought WHERE provider = 'z'",
        "z34",
    ),
];

/// The first eight bytes of SHA-256 of each step: files of it exist, so it never changes.
const STEPS: &[(u32, &str)] = &[
    (1, "774d1057682480f1"),
    (2, "40419e8f7803c6df"),
    (3, "4d0f3ab4fdeae939"),
    (4, "24bf565cfbb6bd84"),
    (5, "a30a58196b715185"),
    (6, "07dc04e8aa07d569"),
    (7, "46009f30fc689ef9"),
    (8, "fb2011b1b9102303"),
];

fn fingerprint(sql: &str) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, sql.as_bytes());
    digest
        .as_ref()
        .iter()
        .take(8)
        .map(|byte| format!("{byte:02x}"))
        .collect()
}

fn dump(connection: &Connection) -> Vec<String> {
    let mut asked = connection
        .prepare(
            "SELECT type || ' ' || name || ' ' || coalesce(sql, '') FROM sqlite_schema ORDER BY 1",
        )
        .unwrap();
    let rows = asked.query_map([], |row| row.get(0)).unwrap();
    rows.map(Result::unwrap).collect()
}

#[test]
fn the_steps_are_numbered_without_gaps_and_each_has_its_fixture() {
    let numbers: Vec<u32> = migrations().iter().map(|step| step.number).collect();
    let wanted: Vec<u32> = (1..=latest()).collect();
    assert_eq!(numbers, wanted);
    let held: Vec<u32> = HELD.iter().map(|(number, ..)| *number).collect();
    assert_eq!(held, wanted);
    assert_eq!(STEPS.len(), wanted.len());
}

#[test]
fn a_released_step_is_never_changed() {
    for (step, (number, wanted)) in migrations().iter().zip(STEPS) {
        assert_eq!(
            (step.number, fingerprint(step.sql).as_str()),
            (*number, *wanted)
        );
    }
}

#[test]
fn x18_a_file_of_every_schema_comes_to_the_latest_with_all_it_held() {
    let fresh = Connection::open_in_memory().unwrap();
    migrate(&fresh, 0, latest(), "fresh").unwrap();
    for released in 1..=latest() {
        let file = Connection::open_in_memory().unwrap();
        migrate(&file, 0, released, "old").unwrap();
        assert_eq!(number(&file, "old").unwrap(), released);
        for (_, written, ..) in HELD.iter().filter(|(number, ..)| *number <= released) {
            file.execute_batch(written).unwrap();
        }
        migrate(&file, released, latest(), "old").unwrap();
        assert_eq!(number(&file, "old").unwrap(), latest());
        assert_eq!(dump(&file), dump(&fresh), "from {released}");
        for (_, _, asked, wanted) in HELD.iter().filter(|(number, ..)| *number <= released) {
            let found: String = file.query_row(asked, [], |row| row.get(0)).unwrap();
            assert_eq!(found, *wanted, "from {released}");
        }
    }
}

#[test]
fn x18_a_step_that_fails_leaves_the_file_at_the_schema_it_had() {
    let file = Connection::open_in_memory().unwrap();
    migrate(&file, 0, 1, "old").unwrap();
    // In the way of a later table.
    file.execute_batch("CREATE TABLE response_items (theirs)")
        .unwrap();
    let before = dump(&file);
    assert!(migrate(&file, 1, latest(), "old").is_err());
    assert_eq!(number(&file, "old").unwrap(), 1);
    assert_eq!(dump(&file), before);
}
