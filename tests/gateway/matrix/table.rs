//! The matrix as the README shows it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use switchyard_chaos::mock::Dialect;

use super::Spoken;
use super::cell::{Outcome, Row};
use super::speaker::CLIENTS;

const BEGIN: &str = "<!-- matrix: written by tests/gateway/matrix -->\n";
const END: &str = "<!-- end of the matrix -->\n";

#[derive(Debug)]
pub struct Table {
    columns: Vec<&'static str>,
    cells: Vec<Vec<Vec<Outcome>>>,
}

/// What is said under the table, each once.
#[derive(Debug, Default)]
struct Notes(Vec<String>);

impl Notes {
    fn mark(&mut self, note: String) -> String {
        let at = self
            .0
            .iter()
            .position(|known| *known == note)
            .unwrap_or_else(|| {
                self.0.push(note);
                self.0.len() - 1
            });
        format!("({})", at + 1)
    }

    fn of(&mut self, outcome: &Outcome) -> String {
        match outcome {
            Outcome::Works => "✓".to_owned(),
            Outcome::Without(dropped) => format!("✓ {}", self.mark(format!("without `{dropped}`"))),
            Outcome::Refused(message) => format!("400 {}", self.mark(message.clone())),
            Outcome::HasNone => "–".to_owned(),
            Outcome::Wrong => "✗".to_owned(),
        }
    }
}

fn title(spoken: Spoken) -> &'static str {
    match spoken {
        Spoken::Azure => "Azure",
        Spoken::Plain(Dialect::OpenAi) => "OpenAI chat",
        Spoken::Plain(Dialect::Responses) => "OpenAI responses",
        Spoken::Plain(Dialect::Anthropic) => "Anthropic",
        Spoken::Plain(Dialect::Gemini) => "Gemini",
        Spoken::Plain(Dialect::Bedrock) => "Bedrock",
        Spoken::Plain(Dialect::Cohere) => "Cohere",
        Spoken::Plain(Dialect::Ollama) => "Ollama",
    }
}

impl Table {
    pub fn new(columns: &[Spoken]) -> Self {
        Self {
            columns: columns.iter().copied().map(title).collect(),
            cells: Vec::new(),
        }
    }

    pub fn push(&mut self, column: Vec<Vec<Outcome>>) {
        self.cells.push(column);
    }

    fn markdown(&self) -> String {
        let mut notes = Notes::default();
        let mut out = format!(
            "| | {} |\n|---|{}\n",
            self.columns.join(" | "),
            "---|".repeat(self.columns.len())
        );
        for (at, row) in Row::ALL.into_iter().enumerate() {
            let _ = write!(out, "| {}", row.title());
            for column in &self.cells {
                let _ = write!(out, " | {}", cell(&column[at], &mut notes));
            }
            out.push_str(" |\n");
        }
        out.push('\n');
        for (at, note) in notes.0.iter().enumerate() {
            let _ = writeln!(out, "{}. {note}", at + 1);
        }
        out
    }

    /// Panics when the README says something else.
    #[expect(
        clippy::disallowed_methods,
        reason = "what a test is asked to write is no setting of the gateway"
    )]
    pub fn hold_against_readme(&self) {
        let seen = self.markdown();
        assert!(
            !seen.contains('✗'),
            "what did not hold is told above\n{seen}"
        );
        fs::write(
            Path::new(env!("CARGO_TARGET_TMPDIR")).join("matrix.md"),
            &seen,
        )
        .unwrap();
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md");
        let readme = fs::read_to_string(&path).unwrap();
        let (before, rest) = readme
            .split_once(BEGIN)
            .expect("the README has lost the matrix's begin");
        let (told, after) = rest
            .split_once(END)
            .expect("the README has lost the matrix's end");
        if std::env::var_os("SWITCHYARD_WRITE_MATRIX").is_some() {
            fs::write(&path, format!("{before}{BEGIN}{seen}{END}{after}")).unwrap();
            return;
        }
        assert_eq!(
            told, seen,
            "the README says otherwise: run this test with SWITCHYARD_WRITE_MATRIX=1"
        );
    }
}

/// One mark where all clients have the same, else each other one with the clients it is for.
fn cell(outcomes: &[Outcome], notes: &mut Notes) -> String {
    let mut groups: Vec<(String, Vec<&str>)> = Vec::new();
    for (client, outcome) in CLIENTS.iter().zip(outcomes) {
        let mark = notes.of(outcome);
        let who = title(Spoken::Plain(*client));
        match groups.iter_mut().find(|(known, _)| *known == mark) {
            Some((_, clients)) => clients.push(who),
            None => groups.push((mark, vec![who])),
        }
    }
    if let [(mark, _)] = groups.as_slice() {
        return mark.clone();
    }
    // The mark most clients have stands for itself.
    let most = groups
        .iter()
        .map(|(_, clients)| clients.len())
        .max()
        .unwrap_or_default();
    groups.sort_by_key(|(_, clients)| clients.len() < most);
    let mut parts = groups.into_iter();
    let first = parts.next().map(|(mark, _)| mark).unwrap_or_default();
    let rest = parts.map(|(mark, clients)| format!("{}: {mark}", clients.join(", ")));
    std::iter::once(first)
        .chain(rest)
        .collect::<Vec<_>>()
        .join("; ")
}
