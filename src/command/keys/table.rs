//! Answers as people read them.

use std::fmt::Write as _;

use serde_json::Value;

use crate::command::time::rfc3339;

pub(super) fn text(told: &Value) -> String {
    let mut out = String::new();
    if let Some(keys) = told["keys"].as_array() {
        keys_table(&mut out, keys);
    } else if let Some(tenants) = told["tenants"].as_array() {
        tenants_table(&mut out, tenants);
    } else if told["key"].is_object() {
        fields(&mut out, &told["key"]);
    } else if told["tenant"].is_object() {
        fields(&mut out, &told["tenant"]);
    } else if let Some(removed) = told["removed"].as_str() {
        let _ = writeln!(out, "{} is gone", shown(removed));
    }
    if let Some(secret) = told["secret"].as_str() {
        let _ = writeln!(
            out,
            "\n{secret}\n\nThis is the only time it is shown: only its digest is kept."
        );
    }
    out
}

fn keys_table(out: &mut String, keys: &[Value]) {
    let heads = [
        "ID", "NAME", "TENANT", "TEAM", "STATE", "EXPIRES", "MAY USE",
    ];
    let rows = keys.iter().map(|key| {
        let may = match key["use"].as_str() {
            Some("admin") => format!("admin: {}", list(&key["scopes"])),
            _ if key["grant"]["pools"].is_null() => "*".to_owned(),
            _ => list(&key["grant"]["pools"]),
        };
        [
            word(&key["id"]),
            word(&key["name"]),
            word(&key["tenant"]),
            word(&key["team"]),
            word(&key["state"]),
            day(&key["expires"]),
            may,
        ]
    });
    table(out, heads, rows);
}

fn tenants_table(out: &mut String, tenants: &[Value]) {
    let rows = tenants.iter().map(|tenant| {
        let teams = tenant["teams"].as_object();
        let teams: Vec<String> = teams
            .into_iter()
            .flatten()
            .map(|(name, _)| shown(name))
            .collect();
        [
            word(&tenant["name"]),
            word(&tenant["from"]),
            word(&tenant["time_zone"]),
            list(&tenant["grant"]["pools"]),
            teams.join(" "),
        ]
    });
    table(out, ["NAME", "FROM", "TIME ZONE", "MAY USE", "TEAMS"], rows);
}

fn table<const N: usize>(
    out: &mut String,
    heads: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let lines: Vec<[String; N]> = std::iter::once(heads.map(str::to_owned))
        .chain(rows)
        .collect();
    let mut widths = [0; N];
    for line in &lines {
        for (width, cell) in widths.iter_mut().zip(line) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for line in &lines {
        let mut text = String::new();
        for (cell, width) in line.iter().zip(widths) {
            let _ = write!(text, "{cell:width$}  ");
        }
        let _ = writeln!(out, "{}", text.trim_end());
    }
}

fn fields(out: &mut String, record: &Value) {
    for (name, value) in record.as_object().into_iter().flatten() {
        let said = match (name.as_str(), value) {
            (_, Value::Null) => continue,
            ("expires" | "created" | "old_secret_until", _) => day(value),
            (_, Value::String(text)) => shown(text),
            (_, other) => shown(&other.to_string()),
        };
        let _ = writeln!(out, "{name:<18}{said}");
    }
}

/// A name from outside, harmless to a terminal (attack A12).
fn shown(text: &str) -> String {
    text.chars()
        .map(|sign| if sign.is_control() { '\u{fffd}' } else { sign })
        .collect()
}

fn word(value: &Value) -> String {
    value.as_str().map_or_else(|| "-".to_owned(), shown)
}

fn list(value: &Value) -> String {
    let each = value.as_array().into_iter().flatten();
    let each: Vec<String> = each.filter_map(Value::as_str).map(shown).collect();
    each.join(" ")
}

fn day(value: &Value) -> String {
    match value.as_u64() {
        Some(at) => rfc3339(at.saturating_mul(1_000)).replace(".000Z", "Z"),
        None => "never".to_owned(),
    }
}
