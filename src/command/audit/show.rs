//! `switchyard audit show`: one request in whole, with its texts for whoever has the key.

use std::process::ExitCode;

use switchyard::store::journal::{ReadRecord, ReadText, Selection, TextReader, read, rows};

use super::{Place, search};
use crate::command::{complain, say};

#[derive(clap::Args)]
pub(crate) struct Show {
    /// The request, by the id its answer carried.
    request: String,
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(show: &Show) -> ExitCode {
    match tell(show) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}

fn tell(show: &Show) -> Result<ExitCode, String> {
    let folder = show.place.folder()?;
    let keys = show.place.text_keys()?;
    let selection = Selection {
        request: Some(show.request.clone()),
        ..Selection::default()
    };
    let row = rows(&folder, selection).find_map(Result::ok);
    let Some(row) = row else {
        complain("the journal holds no such request");
        return Ok(ExitCode::FAILURE);
    };
    say(search::story(&row).trim_end());
    let reader = TextReader::open(&folder, &keys).map_err(|error| error.to_string())?;
    let texts: Vec<ReadText> = read(&folder, 0)
        .filter_map(Result::ok)
        .filter_map(|line| match line.record {
            ReadRecord::Text(text) => Some(text),
            ReadRecord::Intent(_)
            | ReadRecord::Attempt(_)
            | ReadRecord::Outcome(_)
            | ReadRecord::Event(_)
            | ReadRecord::Other => None,
        })
        .filter(|text| text.request == row.intent.request)
        .collect();
    if texts.is_empty() {
        say("\nno text was kept; journal.text_of names the clients whose texts are");
    }
    let mut unread = false;
    for text in &texts {
        let cut = if text.cut {
            ", of which the beginning was kept"
        } else {
            ""
        };
        say(&format!("\n--- {} ({} bytes{cut})", text.part, text.bytes));
        match reader.unseal(text) {
            Ok(plain) => say(&harmless(&String::from_utf8_lossy(&plain))),
            Err(error) => {
                unread = true;
                say(&format!("cannot be read: {error}"));
            }
        }
    }
    Ok(if unread {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

/// A text that commands no terminal (attack A12).
fn harmless(text: &str) -> String {
    text.chars()
        .map(|sign| {
            if sign.is_control() && sign != '\n' && sign != '\t' {
                '\u{fffd}'
            } else {
                sign
            }
        })
        .collect()
}
