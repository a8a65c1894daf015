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
        field(out, name, value);
    }
}

fn field(out: &mut String, name: &str, value: &Value) {
    let said = match (name, value) {
        (_, Value::Null) => return,
        ("expires" | "created" | "old_secret_until", _) => day(value),
        // What only gathers others is no word of its own.
        ("grant" | "terms" | "stored", Value::Object(_)) => return fields(out, value),
        (_, Value::Object(inner)) => {
            for (inner, value) in inner {
                field(out, &format!("{name}.{inner}"), value);
            }
            return;
        }
        (_, Value::Array(all)) => {
            let between = if all.iter().any(Value::is_object) {
                "; "
            } else {
                ", "
            };
            all.iter().map(item).collect::<Vec<_>>().join(between)
        }
        (_, other) => item(other),
    };
    let _ = writeln!(out, "{:<22}  {said}", shown(name));
}

fn item(value: &Value) -> String {
    let plain = || {
        value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned)
    };
    budget(value).unwrap_or_else(|| shown(&plain()))
}

/// `500 USD per month`, if it is a budget.
fn budget(value: &Value) -> Option<String> {
    let (usd, period) = (value["usd"].as_str()?, value["period"].as_str()?);
    let period = match (period, period.strip_prefix("rolling:")) {
        ("total", _) => "in total".to_owned(),
        (_, Some(span)) => format!("in any {span}"),
        (calendar, None) => format!("per {calendar}"),
    };
    let mut said = format!("{usd} USD {period}");
    if value["hard"] == Value::Bool(false) {
        said.push_str(", soft");
    }
    let told = value["tell_at"].as_array().filter(|told| !told.is_empty());
    if let Some(told) = told {
        let shares: Vec<String> = told.iter().map(|share| format!("{share} %")).collect();
        let _ = write!(said, ", told at {}", shares.join(" and "));
    }
    Some(shown(&said))
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_tenant_is_told_in_words() {
        let told = json!({"tenant": {
            "name": "acme", "time_zone": null,
            "stored": {
                "grant": {"pools": ["fast", "careful"], "lane": "batch"},
                "terms": {"requests_per_minute": 60, "budgets": [
                    {"usd": "500", "period": "month", "hard": true, "tell_at": [80, 100]},
                    {"usd": "5", "period": "rolling:1h", "hard": false},
                    {"usd": "9", "period": "total"},
                ]},
                "teams": {"a\u{1b}b": {"grant": {"pools": ["fast"]}}},
            },
        }});
        assert_eq!(
            text(&told),
            "name                    acme\n\
             pools                   fast, careful\n\
             lane                    batch\n\
             requests_per_minute     60\n\
             budgets                 500 USD per month, told at 80 % and 100 %; 5 USD in any 1h, soft; 9 USD in total\n\
             teams.a\u{fffd}b.grant.pools   fast\n"
        );
    }
}
