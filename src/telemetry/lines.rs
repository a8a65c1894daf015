//! Log lines on their way to a sink that may be slow: the oldest make room, and nobody waits (fault O15).
//!
//! # Why the oldest
//! Whoever reads again after a pause wants to know how things stand, and what is still going on says so again and
//! again. The beginning of it is in the metrics.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, PoisonError};
use std::thread::{self, Thread};

#[expect(
    clippy::disallowed_types,
    reason = "held to put one line in or take one out; never while one is written"
)]
type Lock<T> = std::sync::Mutex<T>;

/// Lines that may wait for the sink.
pub(super) const WAITING_LINES: usize = 4_096;

/// The lines that wait, at most [`WAITING_LINES`] of them.
#[derive(Debug, Default)]
struct Waiting(Lock<VecDeque<Vec<u8>>>);

impl Waiting {
    /// Puts a line at the end; returns the one that had to make room, if one had to.
    fn put(&self, line: Vec<u8>) -> Option<Vec<u8>> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = (lines.len() >= WAITING_LINES).then(|| lines.pop_front());
        lines.push_back(line);
        oldest.flatten()
    }

    fn take(&self) -> Option<Vec<u8>> {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lines.pop_front()
    }
}

/// The way to the thread that writes.
#[derive(Debug)]
pub(super) struct Lines {
    waiting: Arc<Waiting>,
    writer: Thread,
}

impl Lines {
    /// Starts a thread that writes into `sink` for as long as the process lives.
    pub(super) fn into_sink(mut sink: impl Write + Send + 'static) -> std::io::Result<Self> {
        let waiting = Arc::new(Waiting::default());
        let lines = Arc::clone(&waiting);
        let writer = thread::Builder::new()
            .name("logs".to_owned())
            .spawn(move || {
                loop {
                    while let Some(line) = lines.take() {
                        // A closed sink is no reason to stop the gateway.
                        let _ = sink.write_all(&line);
                    }
                    // Whoever put a line in since has left a token, and this returns at once.
                    thread::park();
                }
            })?;
        Ok(Self {
            waiting,
            writer: writer.thread().clone(),
        })
    }

    /// Hands a line over; returns whether an older one was lost for it.
    pub(super) fn put(&self, line: Vec<u8>) -> bool {
        let lost = self.waiting.put(line);
        self.writer.unpark();
        lost.is_some()
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::mpsc::{Receiver, Sender, channel};

    use super::*;

    fn numbered(number: usize) -> Vec<u8> {
        format!("{number}\n").into_bytes()
    }

    #[test]
    fn o15_the_oldest_lines_make_room_and_the_rest_keep_their_order() {
        let waiting = Waiting::default();
        for number in 0..WAITING_LINES {
            assert_eq!(waiting.put(numbered(number)), None);
        }
        for number in 0..10 {
            let lost = waiting.put(numbered(WAITING_LINES + number));
            assert_eq!(lost, Some(numbered(number)));
        }
        for number in 10..WAITING_LINES + 10 {
            assert_eq!(waiting.take(), Some(numbered(number)));
        }
        assert_eq!(waiting.take(), None);
    }

    /// Writes a line whenever it is let.
    struct Gate(Receiver<()>, Sender<Vec<u8>>);

    impl Write for Gate {
        fn write(&mut self, line: &[u8]) -> io::Result<usize> {
            let _ = self.0.recv();
            let _ = self.1.send(line.to_vec());
            Ok(line.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn o15_a_sink_that_stands_still_is_waited_for_by_nobody_and_gets_the_newest_when_it_goes_on() {
        let (open, gate) = channel();
        let (written, sink) = channel();
        let lines = Lines::into_sink(Gate(gate, written)).unwrap();
        let put = WAITING_LINES * 3;
        let lost = (0..put).filter(|number| lines.put(numbered(*number)));
        let lost = lost.count();
        // One may be in the sink's hands.
        let kept = put - lost;
        assert!(
            (WAITING_LINES..=WAITING_LINES + 1).contains(&kept),
            "{kept}"
        );
        for _ in 0..kept {
            open.send(()).unwrap();
        }
        let told: Vec<_> = (0..kept).map(|_| sink.recv().unwrap()).collect();
        let newest: Vec<_> = (put - WAITING_LINES..put).map(numbered).collect();
        assert!(told.ends_with(&newest));
        // The thread rests now, and a line wakes it.
        assert!(!lines.put(numbered(put)));
        open.send(()).unwrap();
        assert_eq!(sink.recv().unwrap(), numbered(put));
    }
}
