//! Files of every schema there was open, with what was in them.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a broken step is a failed test"
)]

use std::collections::BTreeMap;

use proptest::prelude::*;
use rusqlite::Connection;

use super::{migrations, spend};
use crate::store::embedded::schema::{latest, migrate, number};
use crate::store::journal::ReadOutcome;
use crate::store::spending::{
    Batch, Label, LabelKind, MarginPlace, Slice, SpendBy, SpendLine, SpendQuestion, Sum,
};

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
    (
        9,
        "INSERT INTO spend_days VALUES (86400, 'beta', 'search', 'app', 'a', 'm-a', 1, 0, 0, 5, 6, 0, 0, 0, 0, 0, 0, 13, 0)",
        "SELECT tenant || team || client || provider || model || cost_nano FROM spend_days WHERE quarter = 86400",
        "betasearchappam-a13",
    ),
    (
        10,
        "INSERT INTO spend_repriced VALUES (900, 1800); INSERT INTO spend_anew VALUES (1, 900)",
        "SELECT r.begins || ends || only || a.begins FROM spend_repriced AS r JOIN spend_anew AS a",
        "90018001900",
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
    (9, "f313af3b60f98d57"),
    (10, "a214f5025e5447e4"),
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

// --- hours and days ---

const QUARTER: u64 = 900;

/// What somebody spent: quarter, tenant, client, model, tag, cost.
type Spent = (u64, usize, usize, usize, usize, u64);

fn spent(quarters: u64) -> impl Strategy<Value = Spent> {
    (
        0..quarters,
        0..3_usize,
        0..2_usize,
        0..3_usize,
        0..3_usize,
        1..1_000_u64,
    )
}

fn batch(all: &[Spent]) -> Batch {
    let mut batch = Batch::default();
    for (quarter, tenant, client, model, tag, cost) in all {
        let (quarter, tenant) = (quarter * QUARTER, format!("t{tenant}"));
        let sum = Sum {
            requests: 1,
            output: 7,
            cost_nano: *cost,
            ..Sum::default()
        };
        let slice = Slice {
            quarter,
            tenant: tenant.clone(),
            team: format!("team-{}", client % 2),
            client: format!("c{client}"),
            provider: format!("p{}", model % 2),
            model: format!("m{model}"),
        };
        let margin = |team: &str, client: &str, tag: &str| MarginPlace {
            quarter,
            tenant: tenant.clone(),
            team: team.to_owned(),
            client: client.to_owned(),
            tag: tag.to_owned(),
        };
        let tagged = format!("tag-{tag}");
        for place in [
            margin(&slice.team, &slice.client, ""),
            margin("", "", &tagged),
        ] {
            *batch.margins.entry(place).or_default() += cost.cast_signed() / 5;
        }
        let labels = [
            (LabelKind::Tag, tagged),
            (LabelKind::User, format!("u{tag}")),
        ];
        for (kind, value) in labels {
            let label = Label {
                quarter,
                tenant: tenant.clone(),
                kind,
                value,
            };
            let of_label = batch.labels.entry(label).or_default();
            *of_label = of_label.plus(&sum);
        }
        let of_slice = batch.slices.entry(slice).or_default();
        *of_slice = of_slice.plus(&sum);
    }
    batch
}

/// What was spent, told from what was spent and nothing else: name, (cost, requests, margin).
fn expected(all: &[Spent], question: &SpendQuestion) -> BTreeMap<String, (u64, u64, Option<i64>)> {
    let mut lines = BTreeMap::new();
    for (quarter, tenant, client, model, tag, cost) in all {
        let at = quarter * QUARTER;
        let tenant = format!("t{tenant}");
        let other = question.tenant.as_ref().is_some_and(|only| *only != tenant);
        if other || at < question.from || at >= question.to {
            continue;
        }
        let (day, hour) = (at / 86_400 + 1, at % 86_400 / 3_600);
        let name = match question.by {
            SpendBy::Tenant => tenant,
            SpendBy::Team => format!("{tenant}/team-{}", client % 2),
            SpendBy::Client => format!("{tenant}#c{client}"),
            SpendBy::Provider => format!("p{}", model % 2),
            SpendBy::Model => format!("p{}/m{model}", model % 2),
            SpendBy::Tag => format!("{tenant}+tag-{tag}"),
            SpendBy::User => format!("{tenant}@u{tag}"),
            SpendBy::Day => format!("1970-01-{day:02}"),
            SpendBy::Hour => format!("1970-01-{day:02}T{hour:02}:00Z"),
        };
        let nobodys = matches!(
            question.by,
            SpendBy::Provider | SpendBy::Model | SpendBy::User
        );
        let line = lines.entry(name).or_insert((0, 0, (!nobodys).then_some(0)));
        line.0 += cost;
        line.1 += 1;
        line.2 = line.2.map(|margin| margin + cost.cast_signed() / 5);
    }
    lines
}

fn told(lines: Vec<SpendLine>) -> BTreeMap<String, (u64, u64, Option<i64>)> {
    lines
        .into_iter()
        .map(|line| {
            (
                line.name,
                (line.sum.cost_nano, line.sum.requests, line.margin_nano),
            )
        })
        .collect()
}

/// A file with these batches booked one after the other.
fn booked(batches: &[Vec<Spent>]) -> Connection {
    let file = Connection::open_in_memory().unwrap();
    migrate(&file, 0, latest(), "fresh").unwrap();
    for all in batches {
        // In the place of nothing: at a quarter that none of them has.
        spend::replace(&file, (u64::MAX / 4, u64::MAX / 4), &batch(all)).unwrap();
    }
    file
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn m4_a_report_is_the_sum_of_what_was_spent_in_its_stretch_wherever_that_begins_and_ends(
        batches in prop::collection::vec(prop::collection::vec(spent(300), 0..40), 1..4),
        anew in prop::option::of((prop::collection::vec(spent(300), 0..20), 0_u64..300, 0_u64..300)),
        stretches in prop::collection::vec((0_u64..300_000, 0_u64..300_000, any::<bool>()), 1..4),
        only in prop::option::of(0_usize..4),
    ) {
        let file = booked(&batches);
        let mut all: Vec<Spent> = batches.concat();
        if let Some((mut anew, one, other)) = anew {
            let (from, to) = (one.min(other), one.max(other));
            anew.retain(|spent| (from..to).contains(&spent.0));
            spend::replace(&file, (from * QUARTER, to * QUARTER), &batch(&anew)).unwrap();
            all.retain(|spent| !(from..to).contains(&spent.0));
            all.extend(anew);
        }
        for (one, other, endless) in stretches {
            for by in SpendBy::ALL {
                let question = SpendQuestion {
                    by,
                    from: one.min(other),
                    to: if endless { u64::MAX } else { one.max(other) },
                    tenant: only.map(|tenant| format!("t{tenant}")),
                };
                let found = told(spend::report(&file, &question).unwrap());
                prop_assert_eq!(found, expected(&all, &question), "{:?}", question);
            }
        }
    }
}

#[test]
fn x18_what_an_older_release_booked_is_added_up_by_hours_and_days_as_well() {
    let all: Vec<Spent> = (0..400)
        .map(|nth| {
            (
                nth * 7 % 290,
                nth as usize % 3,
                1,
                nth as usize % 3,
                1,
                nth + 1,
            )
        })
        .collect();
    let file = booked(std::slice::from_ref(&all));
    let rolled = [
        "spend_hours",
        "spend_days",
        "spend_label_days",
        "spend_margin_days",
    ];
    let rows = |table: &str| -> Vec<String> {
        let mut asked = file
            .prepare(&format!(
                "SELECT * FROM {table} ORDER BY tenant, quarter, 3, 4, 5"
            ))
            .unwrap();
        let columns = asked.column_count();
        let rows = asked.query_map([], |row| {
            let cells = (0..columns).map(|nth| row.get::<_, rusqlite::types::Value>(nth));
            Ok(format!("{:?}", cells.collect::<Result<Vec<_>, _>>()?))
        });
        rows.unwrap().map(Result::unwrap).collect()
    };
    let before = rolled.map(rows);
    assert!(before.iter().all(|rows| rows.len() > 2));
    // As if the step had never been made.
    for table in rolled {
        file.execute_batch(&format!("DROP TABLE {table}")).unwrap();
    }
    file.pragma_update(None, "user_version", 8).unwrap();
    migrate(&file, 8, 9, "old").unwrap();
    assert_eq!(rolled.map(rows), before);
}

/// How many requests a report tells of each line.
fn requests(file: &Connection, by: SpendBy) -> Vec<u64> {
    let question = SpendQuestion {
        by,
        from: 0,
        to: u64::MAX,
        tenant: None,
    };
    let lines = spend::report(file, &question).unwrap();
    lines.iter().map(|line| line.sum.requests).collect()
}

#[test]
fn m4_users_of_a_day_go_with_the_last_of_their_quarters() {
    let all: Vec<Spent> = vec![(0, 0, 0, 0, 0, 5), (1, 0, 0, 0, 0, 5), (200, 0, 0, 0, 1, 5)];
    let file = booked(&[all]);
    for wanted in [vec![2, 1], vec![1], vec![]] {
        (spend::TABLE.evict)(&file).unwrap();
        assert_eq!(requests(&file, SpendBy::User), wanted);
    }
}

#[test]
fn x07_a_full_store_forgets_nothing_that_a_tags_budget_rests_on() {
    let all = |tag| -> Vec<Spent> { (0..200).map(|nth| (nth, 0, 0, 0, tag, 5)).collect() };
    let file = booked(&[all(0), all(1)]);
    let by_tag = |file: &Connection| -> u64 {
        let spent = spend::spent(file, "t0", 0).unwrap();
        let tagged = spent.iter().filter(|spent| spent.tag == "tag-0");
        tagged.map(|spent| spent.cost.0).sum()
    };
    let before = by_tag(&file);
    // 5 and a margin of 1, two hundred times.
    assert_eq!(before, 1_200);
    let limits = super::Limits { max_bytes: 0 };
    let full = || {
        for _ in 0..16 {
            super::tidy(&file, &limits, 0).unwrap();
        }
    };
    // Which tags have one is not known yet.
    full();
    assert_eq!(requests(&file, SpendBy::User), Vec::<u64>::new());
    assert_eq!(requests(&file, SpendBy::Tag), [200, 200]);
    let of = |tenant: &str| vec![(tenant.to_owned(), "tag-0".to_owned())];
    spend::keep(&file, &of("t0")).unwrap();
    full();
    assert_eq!(by_tag(&file), before);
    assert_eq!(requests(&file, SpendBy::Tag), [200]);
    // It has none any more.
    spend::keep(&file, &of("t1")).unwrap();
    full();
    assert_eq!(requests(&file, SpendBy::Tag), Vec::<u64>::new());
}

#[test]
fn x07_responses_give_room_before_what_was_spent_does() {
    let file = booked(&[vec![(0, 0, 0, 0, 0, 5)]]);
    // More of them than one tidying lets go of.
    let mut insert = file
        .prepare(
            "INSERT INTO responses (row, owner, id, previous, created, expires, standing, bytes, answer, input, events)
             VALUES (?1, 'app', 'resp_' || ?1, NULL, 1, 9, 1, 3, x'01', x'02', x'')",
        )
        .unwrap();
    for row in 0..5_000 {
        insert.execute([row]).unwrap();
    }
    let limits = super::Limits { max_bytes: 0 };
    let users = || requests(&file, SpendBy::User);
    let tidied = super::tidy(&file, &limits, 0).unwrap();
    assert!(tidied.evicted > 1_000 && tidied.evicted < 5_000);
    assert_eq!(users(), [1]);
    for _ in 0..3 {
        super::tidy(&file, &limits, 0).unwrap();
    }
    assert_eq!(users(), Vec::<u64>::new());
}

#[test]
fn m1_what_was_charged_stays_whatever_its_cost_is_found_to_be() {
    for cost_after in [Some(4), Some(10), Some(50), None] {
        let line = r#"{"at":900000,"request":"sy-00000000000000000000000000000001","client":"app","tenant":"acme","team":"search","tags":["nightly"],"how":"ok","cost_nano":10,"charged_nano":12}"#;
        let outcome: ReadOutcome = serde_json::from_str(line).unwrap();
        let file = booked(&[]);
        let mut first = Batch::default();
        first.add(&(&outcome).into(), Some(10));
        spend::replace(&file, (0, 1_800), &first).unwrap();
        let mut anew = Batch::default();
        anew.add(&(&outcome).into(), cost_after);
        spend::replace(&file, (900, 1_800), &anew).unwrap();
        // As a budget is told after a restart, by client and by tag.
        let spent = spend::spent(&file, "acme", 0).unwrap();
        let mut told: Vec<_> = spent.iter().map(|one| (&*one.tag, one.cost.0)).collect();
        told.sort_unstable();
        assert_eq!(told, [("", 12), ("nightly", 12)], "{cost_after:?}");
        for by in [SpendBy::Tenant, SpendBy::Tag, SpendBy::Day] {
            let question = SpendQuestion {
                by,
                from: 0,
                to: u64::MAX,
                tenant: None,
            };
            let lines = spend::report(&file, &question).unwrap();
            let told: Vec<_> = lines.iter().map(SpendLine::charged_nano).collect();
            assert_eq!(told, [Some(12)], "{cost_after:?} by {by:?}");
            assert_eq!(lines[0].sum.cost_nano, cost_after.unwrap_or_default());
        }
    }
}
