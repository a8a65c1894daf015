//! The summary in a terminal: a heading for each run, a line for each claim, one line for all.
//!
//! No line is wrapped: what does not fit is cut, and in a narrow terminal the columns of least use go first. Only the
//! command that replays a run is never cut, for a command with its end missing is no command.

use super::said::{self, Said};
use super::tally::Tally;
use super::{Finding, Report, Run, Verdict, plain};

/// What everything came to, for a terminal of `width` columns.
#[must_use]
pub fn summary(report: &Report, width: usize, colour: bool) -> String {
    let page = Page {
        width,
        paint: Paint(colour),
    };
    let mut lines = Vec::new();
    for run in &report.runs {
        page.run(run, &mut lines);
        lines.push(String::new());
    }
    lines.push(page.total(report));
    lines.push(String::new());
    lines.join("\n")
}

/// One run alone, told as soon as it is over.
#[must_use]
pub fn of_run(run: &Run, width: usize, colour: bool) -> String {
    let page = Page {
        width,
        paint: Paint(colour),
    };
    let mut lines = Vec::new();
    page.run(run, &mut lines);
    lines.push(String::new());
    lines.join("\n")
}

/// The last line alone.
#[must_use]
pub fn total(report: &Report, width: usize, colour: bool) -> String {
    Page {
        width,
        paint: Paint(colour),
    }
    .total(report)
}

/// Colour, or nothing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint(pub(super) bool);

impl Paint {
    /// `code` is the number of an SGR sequence: 1 bold, 2 faint, 31 red, 32 green, 33 yellow.
    pub(super) fn with(self, code: &str, text: &str) -> String {
        if !self.0 || text.is_empty() {
            return text.to_owned();
        }
        format!("\u{1b}[{code}m{text}\u{1b}[0m")
    }

    fn verdict(self, verdict: Verdict, text: &str) -> String {
        let code = match verdict {
            Verdict::Pass => "32",
            Verdict::Unknown => "33",
            Verdict::Fail => "1;31",
        };
        self.with(code, text)
    }

    fn faint(self, text: &str) -> String {
        self.with("2", text)
    }
}

fn mark(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "✓",
        Verdict::Unknown => "?",
        Verdict::Fail => "✗",
    }
}

struct Page {
    width: usize,
    paint: Paint,
}

/// How wide each column is; 0 leaves it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Widths {
    name: usize,
    claim: usize,
    value: usize,
    limit: usize,
    margin: usize,
}

/// The mark and the spaces around it.
const LEAD: usize = 4;
/// Between two columns.
const SPACE: usize = 2;
/// A claim cut shorter says nothing.
const CLAIM: usize = 16;
/// Where the lines under a claim begin their text.
const UNDER: usize = 13;

impl Widths {
    fn of<'a>(findings: &'a [(&'a Finding, Said)], width: usize) -> Self {
        let widest = |of: fn(&'a (&'a Finding, Said)) -> &'a str, head: &str| {
            let all = findings.iter().map(|row| plain::columns(of(row)));
            all.max().unwrap_or(0).max(head.len())
        };
        let mut widths = Self {
            name: widest(|row| &row.0.name, "").min(24),
            claim: widest(|row| &row.0.claim, "").max(CLAIM),
            value: widest(|row| &row.1.value, "value"),
            limit: widest(|row| &row.1.limit, "limit"),
            margin: widest(|row| &row.1.margin, "margin"),
        };
        let claim = widths.claim;
        // Of least use first: the margin follows from the others, the name is the claim in short.
        for narrower in [
            |_: &mut Self| (),
            |widths: &mut Self| widths.margin = 0,
            |widths: &mut Self| widths.name = widths.name.min(12),
            |widths: &mut Self| widths.limit = 0,
            |widths: &mut Self| widths.value = 0,
        ] {
            narrower(&mut widths);
            widths.claim = 0;
            let room = width.saturating_sub(widths.taken() + SPACE);
            widths.claim = room.min(claim);
            if room >= CLAIM {
                break;
            }
        }
        widths
    }

    fn taken(self) -> usize {
        let columns = [self.name, self.claim, self.value, self.limit, self.margin];
        let shown = columns.iter().filter(|columns| **columns > 0);
        LEAD + shown.map(|columns| columns + SPACE).sum::<usize>() - SPACE
    }
}

impl Page {
    fn run(&self, run: &Run, lines: &mut Vec<String>) {
        lines.push(self.heading(run));
        let rows: Vec<(&Finding, Said)> = run.findings().map(|it| (it, Said::of(it))).collect();
        let widths = Widths::of(&rows, self.width);
        if !rows.is_empty() {
            lines.push(self.paint.faint(&self.fitted(&Self::head(widths))));
        }
        for (finding, said) in &rows {
            lines.push(self.finding(finding, said, widths));
            if finding.verdict != Verdict::Pass {
                if plain::columns(&finding.claim) > widths.claim {
                    let room = self.width.saturating_sub(UNDER);
                    lines.push(self.under("claim", &plain::cut(&finding.claim, room)));
                }
                self.reasons(run, finding, lines);
            }
        }
        for doubt in run.doubts() {
            let text = self.fitted(&format!("  ! {doubt}"));
            lines.push(self.paint.verdict(Verdict::Unknown, &text));
        }
        if run.verdict != Verdict::Pass {
            lines.push(self.under("replay", &plain::one_line(&run.replay)));
        }
    }

    fn heading(&self, run: &Run) -> String {
        let errors = run.errors();
        let mut facts = format!(
            "seed {}  {} requests  {} errors",
            run.seed,
            said::whole(run.totals.requests),
            said::whole(errors)
        );
        if errors > 0 && run.totals.requests > 0 {
            let share = errors as f64 / run.totals.requests as f64;
            facts.push_str(&format!(" ({})", said::percent(share)));
        }
        let took = said::millis(run.totals.took_ms as f64);
        facts.push_str(&format!("  {took}  {}", run.gateway));
        let verdict = run.verdict.label().to_uppercase();
        let scenario = plain::cut(
            &run.scenario,
            self.width.saturating_sub(verdict.len() + 4).min(40),
        );
        let used = 2 + plain::columns(&scenario) + 2 + verdict.len() + 3;
        let facts = plain::cut(&facts, self.width.saturating_sub(used));
        let title = format!(
            "{} {}  {}",
            self.paint.verdict(run.verdict, mark(run.verdict)),
            self.paint.with("1", &scenario),
            self.paint.verdict(run.verdict, &verdict)
        );
        format!("{title}   {facts}").trim_end().to_owned()
    }

    fn head(widths: Widths) -> String {
        Self::row("    ", widths, ["claim", ""], ["value", "limit", "margin"])
    }

    fn row(lead: &str, widths: Widths, words: [&str; 2], numbers: [&str; 3]) -> String {
        let mut cells = Vec::new();
        // A claim without numbers may run on where they would stand.
        let claim = match numbers.iter().all(|text| text.is_empty()) {
            true => widths.taken().saturating_sub(LEAD + widths.name + SPACE),
            false => widths.claim,
        };
        for (width, text) in [widths.name, claim].into_iter().zip(words) {
            if width > 0 {
                cells.push(plain::left(&plain::cut(text, width), width));
            }
        }
        let columns = [widths.value, widths.limit, widths.margin];
        for (width, text) in columns.into_iter().zip(numbers) {
            if width > 0 {
                cells.push(plain::right(text, width));
            }
        }
        format!("{lead}{}", cells.join("  ")).trim_end().to_owned()
    }

    fn finding(&self, finding: &Finding, said: &Said, widths: Widths) -> String {
        let words = [finding.name.as_str(), finding.claim.as_str()];
        let numbers = [said.value.as_str(), &said.limit, &said.margin];
        let line = self.fitted(&Self::row("", widths, words, numbers));
        let line = plain::cut(&line, self.width.saturating_sub(LEAD));
        let lead = format!(
            "  {} ",
            self.paint.verdict(finding.verdict, mark(finding.verdict))
        );
        match finding.verdict {
            Verdict::Pass => format!("{lead}{line}"),
            Verdict::Unknown | Verdict::Fail => {
                format!("{lead}{}", self.paint.verdict(finding.verdict, &line))
            }
        }
    }

    fn reasons(&self, run: &Run, finding: &Finding, lines: &mut Vec<String>) {
        let room = self.width.saturating_sub(UNDER);
        if !finding.why.is_empty() {
            lines.push(self.under("why", &plain::cut(&finding.why, room)));
        }
        if let Some(window) = finding.window {
            let phase = run.phase_at(window.0).map(|name| format!(", {name}"));
            let text = format!("{}{}", said::stretch(window), phase.unwrap_or_default());
            lines.push(self.under("window", &plain::cut(&text, room)));
        }
    }

    fn under(&self, word: &str, text: &str) -> String {
        let word = plain::left(word, UNDER - LEAD - SPACE);
        format!("      {}{text}", self.paint.faint(&word))
    }

    fn total(&self, report: &Report) -> String {
        let runs = Tally::of(report.runs.iter().map(|run| run.verdict));
        let all = report.runs.iter().flat_map(Run::findings);
        let claims = Tally::of(all.map(|finding| finding.verdict));
        let verdict = report.verdict.label().to_uppercase();
        let rest = format!(
            "   {}: {}   {}: {}",
            said::many(runs.all(), "run"),
            runs.told(),
            said::many(claims.all(), "claim"),
            claims.told()
        );
        let used = 2 + verdict.len();
        let title = self.paint.verdict(
            report.verdict,
            &format!("{} {verdict}", mark(report.verdict)),
        );
        format!(
            "{title}{}",
            plain::cut(&rest, self.width.saturating_sub(used))
        )
    }

    fn fitted(&self, line: &str) -> String {
        plain::cut(line, self.width)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    /// The lines without the replay commands, which are never cut.
    fn cuttable(text: &str) -> impl Iterator<Item = &str> {
        text.lines().filter(|line| !line.contains("replay"))
    }

    #[test]
    fn every_claim_has_its_line_with_mark_value_limit_and_margin() {
        let text = summary(&fixture::report(), 140, false);
        let line = |of: &str| {
            text.lines()
                .find(|line| line.contains(of))
                .unwrap()
                .to_owned()
        };
        let passed = line("no_splice");
        assert!(passed.starts_with("  ✓ no_splice"), "{passed}");
        let failed = line("p99_first_content  ");
        assert!(failed.starts_with("  ✓ p99_first_content"), "{failed}");
        let broken = line("✗ errors");
        for part in ["no client error while alpha is down", "31", "≤ 0"] {
            assert!(broken.contains(part), "{part} in {broken}");
        }
        assert!(line("? amplification").contains("1.12×"));
    }

    #[test]
    fn a_failed_claim_says_why_when_and_how_to_see_it_again() {
        let report = fixture::report();
        let text = summary(&report, 100, false);
        let after = text.split("✗ errors").nth(1).unwrap();
        let mut lines = after.lines().skip(1).map(str::trim);
        assert!(lines.next().unwrap().starts_with("why    31 of 8,112"));
        assert_eq!(lines.next().unwrap(), "window 20.4 s to 23.1 s, faults");
        assert!(text.contains(&report.runs[1].replay));
        let passing = text.split("✗").next().unwrap();
        assert!(!passing.contains("replay"), "{passing}");
    }

    #[test]
    fn a_failed_claim_that_had_to_be_cut_is_told_again_beneath() {
        let whole = "claim  no client error while alpha is down";
        assert!(summary(&fixture::report(), 80, false).contains(whole));
        assert!(!summary(&fixture::report(), 140, false).contains(whole));
    }

    #[test]
    fn no_line_is_wider_than_the_terminal() {
        for report in [fixture::report(), fixture::hostile()] {
            for width in 0..200 {
                let text = summary(&report, width, false);
                for line in cuttable(&text) {
                    // Below the lead there is nothing left to cut.
                    let width = width.max(UNDER);
                    assert!(plain::columns(line) <= width, "{line:?} at {width}");
                }
            }
        }
    }

    #[test]
    fn the_numbers_stand_under_each_other() {
        let text = summary(&fixture::report(), 120, false);
        let of_second: Vec<&str> = text
            .lines()
            .skip_while(|line| !line.starts_with('✗'))
            .collect();
        let head = of_second[1];
        let end = |line: &str, of: &str| plain::columns(&line[..line.find(of).unwrap() + of.len()]);
        let limit = end(head, "limit");
        let row = of_second
            .iter()
            .find(|line| line.contains("p99_first_content"))
            .unwrap();
        assert_eq!(end(row, "≤ 1.2 s"), limit, "{head}\n{row}");
    }

    #[test]
    fn a_number_is_shown_whole_or_its_column_is_left_out() {
        for width in 50..200 {
            let text = summary(&fixture::report(), width, false);
            let row = text
                .lines()
                .find(|line| line.contains("✓ memory_ret"))
                .unwrap();
            let ends = ["…", "48.2 MiB", "≤ 64.0 MiB", "+25%"];
            assert!(
                ends.iter().any(|end| row.ends_with(end)),
                "{row:?} at {width}"
            );
            assert_eq!(
                row.contains("+25%"),
                text.contains("margin"),
                "{row:?} at {width}"
            );
            assert_eq!(
                row.contains("≤ 64.0 MiB"),
                text.contains("limit"),
                "{row:?} at {width}"
            );
            assert!(
                !row.ends_with('…') || !text.contains("value"),
                "{row:?} at {width}"
            );
        }
    }

    #[test]
    fn without_colour_there_are_no_codes_and_with_colour_the_text_is_the_same() {
        for report in [fixture::report(), fixture::hostile()] {
            let bare = summary(&report, 100, false);
            assert!(!bare.contains('\u{1b}'));
            let mut painted = summary(&report, 100, true);
            assert!(painted.contains("\u{1b}[1;31m"));
            for code in ["0", "1", "2", "32", "33", "1;31"] {
                painted = painted.replace(&format!("\u{1b}[{code}m"), "");
            }
            assert_eq!(painted, bare);
        }
    }

    #[test]
    fn doubts_of_a_run_are_told_beside_its_findings() {
        let text = summary(&fixture::report(), 120, false);
        assert!(
            text.contains("  ! N07 on beta: the wire log never shows it"),
            "{text}"
        );
    }

    #[test]
    fn the_last_line_is_the_verdict_over_all() {
        let text = summary(&fixture::report(), 120, false);
        let last = text.lines().last().unwrap();
        assert!(
            last.starts_with("✗ FAIL   2 runs: 1 failed, 1 passed   "),
            "{last}"
        );
        let none = Report {
            runs: Vec::new(),
            verdict: Verdict::Unknown,
            ..fixture::report()
        };
        assert_eq!(
            summary(&none, 80, false),
            "? UNKNOWN   0 runs: none   0 claims: none\n"
        );
    }
}
