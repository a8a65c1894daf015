//! `list` and `explain`: what there is.

use std::fmt::Write as _;

use crate::fault::{self, PRIMITIVES, Reach, Row};
use crate::mock::Dialect;
use crate::scenario::{Scenario, packs, parse};

pub(super) fn list() -> String {
    let mut text = String::new();
    for pack in packs() {
        let _ = writeln!(text, "{:<12}{}", pack.name, pack.about);
        for (name, source) in pack.scenarios {
            if let Ok(scenario) = parse(name, source) {
                let rows = scenario.rows.join(" ");
                let _ = writeln!(text, "  {name:<22}{} [{rows}]", scenario.about);
            }
        }
    }
    let _ = writeln!(
        text,
        "{:<12}each link, and each pair of links, of your own configuration killed in turn (with --config)",
        "your-chain"
    );
    text.push_str("\nrows of the catalogue that a mock can make\n");
    for row in fault::rows() {
        let how = match row.reach {
            Reach::Answer(_) | Reach::Door(_) => "",
            Reach::Elsewhere(_) => " (not by a mock)",
        };
        let _ = writeln!(text, "  {:<5}{}{how}", row.number, row.what);
    }
    text.push_str("\nprimitives\n");
    for primitive in PRIMITIVES {
        let _ = writeln!(text, "  {:<16}{}", primitive.name, primitive.what);
    }
    text
}

pub(super) fn explain(what: &str) -> Option<String> {
    if let Some(row) = fault::row(what) {
        return Some(explain_row(row));
    }
    if let Some(primitive) = PRIMITIVES.iter().find(|known| known.name == what) {
        return Some(format!(
            "{}: {}\n\nin a scenario:\n\n[[fault]]\nfault = \"{}\"\non = [\"alpha\"]\n",
            primitive.name, primitive.what, primitive.name
        ));
    }
    if let Some(pack) = packs().iter().find(|pack| pack.name == what) {
        let names: Vec<&str> = pack.scenarios.iter().map(|(name, _)| *name).collect();
        return Some(format!(
            "{}: {}\n\n{}\n\nswitchyard chaos run {}\n",
            pack.name,
            pack.about,
            names.join("\n"),
            pack.name
        ));
    }
    packs()
        .iter()
        .flat_map(|pack| pack.scenarios)
        .find(|(name, _)| *name == what)
        .map(|(name, source)| format!("{source}\n# switchyard chaos run {name}\n"))
}

fn explain_row(row: &Row) -> String {
    let mut text = format!("{} {}\n", row.number, row.what);
    match row.reach {
        Reach::Elsewhere(instead) => {
            let _ = writeln!(text, "\nno mock can make it; use {instead}");
        }
        Reach::Door(_) => text.push_str("\nmade at the provider's listening socket\n"),
        Reach::Answer(_) => {
            for dialect in Dialect::ALL {
                let name = dialect.name();
                let forms: Vec<String> = fault::variants(row.number, dialect)
                    .iter()
                    .map(|form| format!("{}/{}", row.number, form.name))
                    .collect();
                if !forms.is_empty() {
                    let _ = writeln!(text, "\nforms in {name}: {}", forms.join(", "));
                }
            }
        }
    }
    let proving: Vec<Scenario> = packs()
        .iter()
        .flat_map(|pack| pack.scenarios)
        .filter_map(|(name, source)| parse(name, source).ok())
        .filter(|scenario| scenario.rows.iter().any(|known| known == row.number))
        .collect();
    for scenario in proving {
        let _ = writeln!(
            text,
            "\nproven by {}: {}\n  switchyard chaos run {}",
            scenario.name, scenario.about, scenario.name
        );
    }
    text
}
