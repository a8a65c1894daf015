//! The thread that reads.

use std::sync::mpsc::Receiver;

use rusqlite::Connection;

use super::queue::Message;

/// Answers one after another until nobody can ask any more.
pub(super) fn run(connection: Connection, messages: &Receiver<Message>) {
    while let Ok(message) = messages.recv() {
        match message {
            // Nothing is committed: what was read is what there is to say.
            Message::Run(job) => job.run(&connection).say(Ok(())),
            Message::End(answer) => {
                drop(connection);
                let _ = answer.send(Ok(()));
                return;
            }
        }
    }
}
