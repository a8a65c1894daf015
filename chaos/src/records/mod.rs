//! The gateway's own records, read from outside: its journal, its metrics, its webhooks, its process.

mod alerts;
mod books;
mod journal;
mod machine;
mod scrape;
mod secrets;

pub use alerts::{Delivery, Reply, Said, signature};
pub use books::{Books, Purse, Spend, TenantBooks, books};
pub use journal::{Attempt, Intent, Journal, Outcome, Tokens, audit};
pub use machine::Machine;
pub use scrape::{Sample, Scrape, parse, process, scrape, scrape_text};
pub use secrets::{secrets_in, secrets_of};
