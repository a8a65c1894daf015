//! Metrics in the Prometheus text form, and what the operating system says of the process.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use super::Machine;
use crate::client::{Answer, Client, ConnectOptions};

/// One line of a scrape.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    pub name: String,
    pub labels: BTreeMap<String, String>,
    pub value: f64,
}

/// Everything seen at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Scrape {
    /// It was asked for then: what was counted by then is in it.
    pub at_ms: u64,
    /// It had been read then: what was counted later is not in it.
    pub read_ms: u64,
    pub samples: Vec<Sample>,
    /// Secrets found anywhere in the text, by their names.
    pub leaks: Vec<&'static str>,
    /// Bytes resident.
    pub memory: Option<u64>,
    pub descriptors: Option<u32>,
    pub machine: Option<Machine>,
}

impl Scrape {
    /// The sum over all series of that name whose labels hold these.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let fits = |sample: &&Sample| {
            sample.name == name
                && labels
                    .iter()
                    .all(|(label, value)| sample.labels.get(*label).is_some_and(|has| has == value))
        };
        self.samples.iter().filter(fits).map(|one| one.value).sum()
    }
}

/// Asks the admin listener for the text of its metrics; `None` when nobody answers in time.
pub async fn scrape_text(admin: SocketAddr, key: &str) -> Option<String> {
    let answer = asked(admin, key, "/metrics").await?;
    Some(String::from_utf8_lossy(&answer.body).into_owned())
}

/// What the admin listener answers with status 200 within its time.
pub(super) async fn asked(admin: SocketAddr, key: &str, path: &str) -> Option<Answer> {
    let options = ConnectOptions {
        patience: Duration::from_secs(2),
        ..ConnectOptions::default()
    };
    let fields = [("authorization".to_owned(), format!("Bearer {key}"))];
    let mut client = Client::connect_with(admin, options).await.ok()?;
    let answer = client.get(path, &fields).await.ok()?;
    (answer.status() == 200).then_some(answer)
}

/// The samples of [`scrape_text`].
pub async fn scrape(admin: SocketAddr, key: &str) -> Option<Vec<Sample>> {
    Some(parse(&scrape_text(admin, key).await?))
}

/// What Linux tells of a process: resident bytes and open descriptors.
#[must_use]
pub fn process(pid: u32) -> (Option<u64>, Option<u32>) {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let kib = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok());
    let open = fs::read_dir(format!("/proc/{pid}/fd"))
        .ok()
        .and_then(|entries| u32::try_from(entries.count()).ok());
    (kib.map(|kib| kib.saturating_mul(1_024)), open)
}

/// Reads the text form; lines that are none are skipped.
#[must_use]
pub fn parse(text: &str) -> Vec<Sample> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(sample)
        .collect()
}

fn sample(line: &str) -> Option<Sample> {
    let (series, value) = line.rsplit_once(' ')?;
    let value = value.parse().ok()?;
    let Some((name, rest)) = series.split_once('{') else {
        return Some(Sample {
            name: series.to_owned(),
            labels: BTreeMap::new(),
            value,
        });
    };
    let mut labels = BTreeMap::new();
    let mut rest = rest.strip_suffix('}')?;
    while let Some((label, more)) = rest.split_once("=\"") {
        let (text, more) = quoted(more)?;
        labels.insert(label.trim_start_matches(',').to_owned(), text);
        rest = more;
    }
    Some(Sample {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Text up to the closing quote, with what was escaped in it.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut read = String::new();
    let mut letters = text.char_indices();
    while let Some((at, letter)) = letters.next() {
        match letter {
            '"' => return Some((read, text.get(at.saturating_add(1)..)?)),
            '\\' => match letters.next()?.1 {
                'n' => read.push('\n'),
                other => read.push(other),
            },
            other => read.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_with_and_without_labels_are_read() {
        let samples = parse(
            "# HELP a b\nup 1\na_total{x=\"1\",why=\"q\\\"uo,te=\\\"\"} 2.5\nnonsense\na_total{x=\"2\"} 4\n",
        );
        let scrape = Scrape {
            samples,
            ..Scrape::default()
        };
        assert_eq!(scrape.samples.len(), 3);
        assert!((scrape.sum("up", &[]) - 1.0).abs() < 1e-9);
        assert!((scrape.sum("a_total", &[]) - 6.5).abs() < 1e-9);
        assert!((scrape.sum("a_total", &[("why", "q\"uo,te=\"")]) - 2.5).abs() < 1e-9);
    }
}
