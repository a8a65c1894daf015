//! `list` and `explain`: what there is.

use std::fmt::Write as _;

use crate::fault::{self, Key, Primitive, Reach, Row, Terms, primitive, primitives};
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
    text.push_str("\nrows of the catalogue that can be made\n");
    for row in fault::rows() {
        let how = match row.reach {
            Reach::Answer(_) | Reach::Door(_) | Reach::By(_) => "",
            Reach::Elsewhere(_) => " (not by a mock)",
        };
        let _ = writeln!(text, "  {:<5}{}{how}", row.number, row.what);
    }
    text.push_str("\nprimitives\n");
    for primitive in primitives() {
        let _ = writeln!(text, "  {:<16}{}", primitive.name, primitive.what);
    }
    text
}

pub(super) fn explain(what: &str) -> Option<String> {
    if let Some(row) = fault::row(what) {
        return Some(explain_row(row));
    }
    if let Some(primitive) = primitive(what) {
        return Some(explain_primitive(primitive));
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

/// With every key it takes, and none that would be refused.
fn explain_primitive(primitive: &Primitive) -> String {
    let mut text = format!(
        "{}: {}\n\nin a scenario:\n\n[[fault]]\nfault = \"{}\"\n",
        primitive.name, primitive.what, primitive.name
    );
    for key in primitive.keys {
        text.push_str(match key {
            Key::On => "on = [\"alpha\"]\n",
            Key::Share => "share = 1.0           # of the requests\n",
            Key::Number => "number = 10\n",
            Key::Time => "time = \"1s\"\n",
            Key::Again => "time = \"5s\"           # again after each; once without it\n",
            Key::Step => "time = \"1h\"\n",
            Key::Actor => "actor = \"root/router\" # as /admin/tree shows it\n",
        });
    }
    text.push_str("at = \"0s\"             # of the faults phase\nfor = \"5s\"            # to its end without it\n");
    let made = fault::made(primitive.name, &Terms::default()).ok();
    if let Some((needed, _)) = made.and_then(|made| made.needs(None, false)) {
        let _ = write!(
            text,
            "\n[[mock]]               # what it is made at\nname = \"alpha\"\n{needed}\n"
        );
    }
    text
}

fn explain_row(row: &Row) -> String {
    let mut text = format!("{} {}\n", row.number, row.what);
    match row.reach {
        Reach::Elsewhere(instead) => {
            let _ = writeln!(text, "\nno mock can make it; use {instead}");
        }
        Reach::By(names) => {
            text.push_str("\nmade by\n");
            for primitive in names.iter().filter_map(|name| primitive(name)) {
                let _ = writeln!(
                    text,
                    "  {}/{:<16}{}",
                    row.number, primitive.name, primitive.what
                );
            }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_explain_shows_of_a_primitive_is_a_fault_of_a_scenario() {
        for primitive in primitives() {
            let told = explain(primitive.name).unwrap();
            let (_, example) = told.split_once("\n\n[[fault]]").unwrap();
            // A status is a number, too.
            let example = example.replace("number = 10", "number = 500");
            let text = format!(
                "version = 1\nname = \"x\"\nabout = \"y\"\n[[workload]]\nname = \"w\"\nper_second = 1\n[[fault]]{example}"
            );
            assert!(parse("x", &text).is_ok(), "{:?}\n{text}", parse("x", &text));
        }
    }
}
