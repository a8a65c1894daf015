//! What the command line asks of what was spent, beside a running gateway or without one.

use rusqlite::TransactionBehavior;

use super::backup::there;
use super::open::{Access, connect};
use super::schema::{fault, latest, number};
use super::tables::spend;
use crate::config::StoreSettings;
use crate::store::StoreError;
use crate::store::spending::{Batch, ByQuarter, Position, SpendLine, SpendQuestion};

/// A report, as far as the journal is booked.
pub fn spend_report(
    settings: &StoreSettings,
    question: &SpendQuestion,
) -> Result<Vec<SpendLine>, StoreError> {
    let shown = settings.path.display().to_string();
    let connection = there(settings)?;
    number(&connection, &shown)?;
    spend::report(&connection, question).map_err(|error| fault(&error, &shown))
}

/// How far the journal is booked.
pub fn booked_to(settings: &StoreSettings) -> Result<Position, StoreError> {
    let shown = settings.path.display().to_string();
    let connection = there(settings)?;
    number(&connection, &shown)?;
    spend::position(&connection).map_err(|error| fault(&error, &shown))
}

/// What is booked in these quarters (unix seconds, the end excluded), as the reports have it.
pub fn booked_in(settings: &StoreSettings, quarters: (u64, u64)) -> Result<ByQuarter, StoreError> {
    let shown = settings.path.display().to_string();
    let connection = there(settings)?;
    number(&connection, &shown)?;
    spend::booked(&connection, quarters).map_err(|error| fault(&error, &shown))
}

/// Puts a batch that was priced anew in the place of what is booked in these quarters (unix seconds, the end
/// excluded), all of it or nothing. It stays there whatever becomes of the journal.
pub fn reprice(
    settings: &StoreSettings,
    quarters: (u64, u64),
    batch: &Batch,
) -> Result<(), StoreError> {
    let shown = settings.path.display().to_string();
    // An older file is brought to this schema by a start of the gateway, not by a report.
    let found = number(&there(settings)?, &shown)?;
    if found != latest() {
        return Err(StoreError::Failed {
            why: format!(
                "the store has schema {found}; start the gateway once, it brings it to {}",
                latest()
            ),
        });
    }
    let mut connection = connect(&settings.path, Access::Write)?;
    let done = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .and_then(|transaction| {
            spend::replace(&transaction, quarters, batch)?;
            transaction.commit()
        });
    done.map_err(|error| fault(&error, &shown))
}
