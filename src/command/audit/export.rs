//! `switchyard audit export`: one row per request, for spreadsheets and for programs.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::ValueEnum;
use switchyard::store::journal::{Row, rows};

use super::{Place, Wanted, dollars, time};
use crate::command::complain;

#[derive(clap::Args)]
pub(crate) struct Export {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    wanted: Wanted,
    #[arg(long, value_enum, default_value_t = Format::Jsonl)]
    format: Format,
    /// Write to this file, which must not exist; without it, to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Clone, Copy, ValueEnum)]
enum Format {
    /// One JSON document a line: intent, attempts, outcome.
    Jsonl,
    /// One line per request; texts that a spreadsheet would run as a formula begin with an apostrophe.
    Csv,
}

/// Told every so many records.
const PROGRESS: u64 = 1_000_000;

pub(super) fn run(export: &Export) -> ExitCode {
    let folder = match export.place.folder() {
        Ok(folder) => folder,
        Err(error) => {
            complain(&error);
            return ExitCode::from(2);
        }
    };
    let out: io::Result<Box<dyn Write>> = match &export.out {
        Some(path) => create(path).map(|file| Box::new(file) as Box<dyn Write>),
        None => Ok(Box::new(io::stdout().lock())),
    };
    let written = out.and_then(|out| {
        write(
            &mut BufWriter::with_capacity(1 << 18, out),
            rows(&folder, export.wanted.selection(None)),
            export.format,
        )
    });
    match written {
        Ok(Told { rows, unreadable }) => {
            complain(&format!("{rows} requests exported"));
            if unreadable == 0 {
                return ExitCode::SUCCESS;
            }
            complain(&format!(
                "{unreadable} records could not be read: the export is not whole"
            ));
            ExitCode::FAILURE
        }
        // Whoever read along has seen enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("the export cannot be written: {error}"));
            ExitCode::from(2)
        }
    }
}

/// Who asked for what is nobody else's business, and no file of before is overwritten.
fn create(path: &PathBuf) -> io::Result<File> {
    let mut options = File::options();
    options.write(true).create_new(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt as _;
        options.mode(0o600);
    }
    options.open(path)
}

struct Told {
    rows: u64,
    unreadable: u64,
}

fn write(
    out: &mut impl Write,
    mut rows: switchyard::store::journal::Rows,
    format: Format,
) -> io::Result<Told> {
    let mut told = Told {
        rows: 0,
        unreadable: 0,
    };
    if let Format::Csv = format {
        let names: Vec<_> = COLUMNS.iter().map(|(name, _)| *name).collect();
        write!(out, "{}\r\n", names.join(","))?;
    }
    let mut next_word = PROGRESS;
    while let Some(row) = rows.next() {
        match row {
            Ok(row) => {
                match format {
                    Format::Jsonl => {
                        serde_json::to_writer(&mut *out, &row)?;
                        out.write_all(b"\n")?;
                    }
                    Format::Csv => csv_line(out, &row)?,
                }
                told.rows += 1;
            }
            Err(error) => {
                complain(&error.to_string());
                told.unreadable += 1;
            }
        }
        if rows.seen() >= next_word {
            next_word += PROGRESS;
            complain(&format!(
                "{} records read, {} requests exported",
                rows.seen(),
                told.rows
            ));
        }
    }
    out.flush()?;
    Ok(told)
}

type Column = (&'static str, fn(&Row) -> Option<Cell>);

enum Cell {
    /// Digits and the like, made here.
    Plain(String),
    /// Words that others chose.
    Text(String),
}

fn plain(value: impl ToString) -> Option<Cell> {
    Some(Cell::Plain(value.to_string()))
}

fn text(value: &str) -> Option<Cell> {
    Some(Cell::Text(value.to_owned()))
}

macro_rules! outcome {
    ($row:ident, $field:ident) => {
        $row.outcome
            .as_ref()
            .and_then(|outcome| outcome.$field.as_deref())
            .and_then(text)
    };
}

macro_rules! tokens {
    ($row:ident, $field:ident) => {
        $row.outcome
            .as_ref()
            .and_then(|outcome| outcome.usage)
            .and_then(|usage| plain(usage.$field.0))
    };
}

#[rustfmt::skip]
const COLUMNS: &[Column] = &[
    ("time", |row| plain(time::rfc3339(row.intent.at))),
    ("request", |row| plain(row.intent.request)),
    ("tenant", |row| row.intent.tenant.as_deref().and_then(text)),
    ("team", |row| row.intent.team.as_deref().and_then(text)),
    ("client", |row| text(&row.intent.client)),
    ("user", |row| row.intent.user.as_deref().and_then(text)),
    ("tags", |row| text(&row.intent.tags.join(" "))),
    ("asked", |row| text(&row.intent.asked)),
    ("stream", |row| plain(row.intent.stream)),
    ("lane", |row| text(&row.intent.lane)),
    ("region", |row| row.intent.region.as_deref().and_then(text)),
    ("policy", |row| text(&row.intent.policy.join(" "))),
    ("prompt_hash", |row| row.intent.prompt_hash.as_deref().and_then(text)),
    ("config", |row| row.intent.config.and_then(|version| plain(format!("{version:016x}")))),
    ("price_list", |row| row.intent.price.and_then(|version| plain(format!("{version:016x}")))),
    ("outcome", |row| text(row.how())),
    ("reason", |row| row.outcome.as_ref().and_then(|outcome| text(&outcome.reason))),
    ("status", |row| row.outcome.as_ref().and_then(|outcome| plain(outcome.status))),
    ("provider", |row| outcome!(row, provider)),
    ("model", |row| outcome!(row, model)),
    ("served_model", |row| outcome!(row, served_model)),
    ("attempts", |row| plain(row.attempts.len())),
    ("tried", |row| text(&tried(row))),
    ("race", |row| outcome!(row, race)),
    ("input_tokens", |row| tokens!(row, input)),
    ("output_tokens", |row| tokens!(row, output)),
    ("cached_input_tokens", |row| tokens!(row, cached_input)),
    ("cache_write_tokens", |row| tokens!(row, cache_write)),
    ("reasoning_tokens", |row| tokens!(row, reasoning)),
    ("tokens_estimated", |row| row.outcome.as_ref().and_then(|outcome| plain(outcome.estimated))),
    ("reserved_usd", |row| row.intent.reserved_nano.and_then(|nano| plain(dollars(nano)))),
    ("cost_usd", |row| row.outcome.as_ref()?.cost_nano.and_then(|nano| plain(dollars(nano)))),
    ("cost_estimated", |row| row.outcome.as_ref().and_then(|outcome| plain(outcome.cost_estimated))),
    ("first_content_ms", |row| row.outcome.as_ref()?.first_content_ms.and_then(plain)),
    ("took_ms", |row| row.outcome.as_ref().and_then(|outcome| plain(outcome.took_ms))),
];

/// Each attempt with its end: `openai/gpt-5:overloaded azure/gpt-5:ok`.
fn tried(row: &Row) -> String {
    let each: Vec<_> = row
        .attempts
        .iter()
        .map(|attempt| format!("{}/{}:{}", attempt.provider, attempt.model, attempt.outcome))
        .collect();
    each.join(" ")
}

fn csv_line(out: &mut impl Write, row: &Row) -> io::Result<()> {
    for (index, (_, value)) in COLUMNS.iter().enumerate() {
        if index > 0 {
            out.write_all(b",")?;
        }
        match value(row) {
            None => {}
            Some(Cell::Plain(value)) => out.write_all(value.as_bytes())?,
            Some(Cell::Text(value)) => csv_text(out, &value)?,
        }
    }
    out.write_all(b"\r\n")
}

/// A text in quotes where it needs them. What a spreadsheet would run gets an apostrophe in front: names of
/// models, users and tags come from outside.
fn csv_text(out: &mut impl Write, value: &str) -> io::Result<()> {
    // Spreadsheets pass over spaces, and some take the full-width signs for the plain ones.
    let runs = value
        .trim_start_matches(' ')
        .starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    let guard = if runs { "'" } else { "" };
    if runs || value.contains(['"', ',', ';', '\r', '\n']) {
        write!(out, "\"{guard}{}\"", value.replace('"', "\"\""))
    } else {
        out.write_all(value.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn csv(value: &str) -> String {
        let mut out = Vec::new();
        csv_text(&mut out, value).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a12_nothing_in_a_csv_runs_as_a_formula_or_breaks_its_line() {
        for evil in [
            "=1+1",
            "+1",
            "-1",
            "@SUM(A1)",
            "\t=1",
            "\r=1",
            "\n=1",
            "  =1",
            "＝1",
            "=HYPERLINK(\"http://x\",\"y\")",
        ] {
            assert!(csv(evil).starts_with("\"'"), "{evil:?}: {}", csv(evil));
        }
        assert_eq!(csv("plain"), "plain");
        assert_eq!(csv("a,b"), "\"a,b\"");
        assert_eq!(csv("say \"a\"\nb"), "\"say \"\"a\"\"\nb\"");
    }

    #[test]
    fn dollars_keep_every_digit() {
        assert_eq!(dollars(0), "0.000000000");
        assert_eq!(dollars(1), "0.000000001");
        assert_eq!(dollars(u64::MAX), "18446744073.709551615");
    }
}
