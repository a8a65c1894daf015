//! Structured logs on standard error, written by a thread of their own: a slow sink loses lines, never time.

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::MakeWriter;

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

/// Lines that may wait for the sink.
const WAITING_LINES: usize = 4_096;
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
    let (lines, waiting) = sync_channel(WAITING_LINES);
    std::thread::Builder::new()
        .name("logs".to_owned())
        .spawn(move || write_lines(&waiting))
        .map_err(LogError::Thread)?;
    let writer = LineWriter { lines };
    let subscriber = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(false)
        .with_writer(writer);
    // Fails when a subscriber is installed already, as in tests; then that one stays.
    let _ = match settings.format {
        LogFormat::Text => subscriber.try_init(),
        LogFormat::Json => subscriber.json().flatten_event(true).try_init(),
    };
    Ok(())
}

fn write_lines(waiting: &Receiver<Vec<u8>>) {
    let mut out = io::stderr();
    while let Ok(line) = waiting.recv() {
        // A closed standard error is no reason to stop the gateway.
        let _ = out.write_all(&line);
    }
}

/// Hands whole lines to the thread.
#[derive(Clone)]
struct LineWriter {
    lines: SyncSender<Vec<u8>>,
}

impl<'a> MakeWriter<'a> for LineWriter {
    type Writer = OneLine;

    fn make_writer(&'a self) -> OneLine {
        OneLine {
            lines: self.lines.clone(),
            line: Vec::with_capacity(256),
        }
    }
}

/// One event on its way to the thread; sent when dropped.
struct OneLine {
    lines: SyncSender<Vec<u8>>,
    line: Vec<u8>,
}

impl Write for OneLine {
    fn write(&mut self, text: &[u8]) -> io::Result<usize> {
        self.line.extend_from_slice(text);
        Ok(text.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for OneLine {
    fn drop(&mut self) {
        let line = one_line(std::mem::take(&mut self.line));
        if let Err(TrySendError::Full(_)) = self.lines.try_send(line) {
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
