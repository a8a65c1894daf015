//! Structured logs on standard error, written by a thread of their own: a slow sink loses lines, never time.

use std::io::{self, Write};
use std::panic;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

use super::lines::Lines;
use super::metrics::log_line_dropped;
use crate::config::{LogFormat, LogSettings};

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error(
        "logs.level {level:?} is not understood ({why}); use error, warn, info, debug or trace"
    )]
    Level { level: String, why: String },
    #[error("the log thread could not be started ({0})")]
    Thread(io::Error),
}

/// Longer lines are cut: nobody reads them, and a client may have made them long (attack A12).
const LONGEST_LINE: usize = 4_096;

/// Sets up logging for the process; a second call changes nothing.
pub fn init(settings: &LogSettings) -> Result<(), LogError> {
    // The actor library wraps every line of an actor in spans of its own; the path says more.
    let filter =
        EnvFilter::try_new(format!("{},ractor=error", settings.level)).map_err(|error| {
            LogError::Level {
                level: settings.level.clone(),
                why: error.to_string(),
            }
        })?;
    let lines = Lines::into_sink(io::stderr()).map_err(LogError::Thread)?;
    let writer = LineWriter { lines };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(writer);
    let installed = match settings.format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    // Fails when a subscriber is installed already, as in tests; then that one stays.
    if installed.is_ok() {
        panic::set_hook(Box::new(log_panic));
    }
    Ok(())
}

/// A panic is a line like any other. The usual hook writes to standard error itself and would hold the worker for
/// as long as nobody reads there (fault O15); and what a panic says may quote a prompt (ground rule G9).
fn log_panic(panic: &panic::PanicHookInfo<'_>) {
    let place = panic.location().map(ToString::to_string);
    let thread = std::thread::current();
    tracing::error!(
        place = place.as_deref().unwrap_or("unknown"),
        thread = thread.name().unwrap_or("unnamed"),
        "panicked"
    );
}

/// Hands whole lines to the thread.
struct LineWriter {
    lines: Lines,
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = OneLine<'a>;

    fn make_writer(&'a self) -> OneLine<'a> {
        OneLine {
            lines: &self.lines,
            line: Vec::with_capacity(256),
        }
    }
}

/// One event on its way to the thread; sent when dropped.
struct OneLine<'a> {
    lines: &'a Lines,
    line: Vec<u8>,
}

impl Write for OneLine<'_> {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for OneLine<'_> {
    fn drop(&mut self) {
        let line = one_line(std::mem::take(&mut self.line));
        if self.lines.put(line) {
            log_line_dropped();
        }
    }
}

/// What an event wrote, as exactly one line: control characters would forge a second (attack A12).
fn one_line(mut line: Vec<u8>) -> Vec<u8> {
    while line.last() == Some(&b'\n') {
        line.pop();
    }
    line.truncate(LONGEST_LINE);
    for byte in &mut line {
        if *byte < 0x20 || *byte == 0x7f {
            *byte = b' ';
        }
    }
    line.push(b'\n');
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a12_an_event_is_always_one_line_without_control_characters() {
        let forged = b"asked model=\"x\nERROR forged\x1b[31m\"\n".to_vec();
        let line = one_line(forged);
        assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
        assert!(!line.contains(&0x1b));
        assert!(one_line(vec![b'a'; 100_000]).len() <= LONGEST_LINE + 1);
    }

    #[test]
    fn an_unknown_level_is_a_clear_error() {
        let settings = LogSettings {
            format: LogFormat::Text,
            level: "loud=very=much".to_owned(),
        };
        assert!(matches!(init(&settings), Err(LogError::Level { .. })));
    }
}
