//! The gateway's own records, read from outside: its journal, its metrics, its process.

mod journal;
mod scrape;

pub use journal::{Attempt, Journal, Outcome, Tokens, audit, secrets_in};
pub use scrape::{Sample, Scrape, parse, process, scrape};
