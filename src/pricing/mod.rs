//! What models there are, what they can do and what they cost: plain facts, and sums over them.
//!
//! [`Registry`] is read from `config/models.toml` (embedded), replaced by a newer file if [`admit`]
//! lets it, and overridden by the operator's entries. [`Registry::find`] knows a model by any of its
//! names; [`Model::cost`] prices a [`Meter`]. A model without a price is [`Cost::Unpriced`], never free.
//!
//! # Why
//! Money is whole numbers ([`NanoUsd`]), rounded up once: a budget that adds floats disagrees with
//! itself. Nothing here reads a file or a clock: who calls brings the text and the day.

mod cost;
mod date;
mod guard;
mod lookup;
mod margin;
mod meter;
mod mistake;
mod model;
mod money;
mod price;
mod read;
mod registry;
mod section;
#[cfg(test)]
mod tests;
mod tiers;
mod volume;

pub use crate::domain::{NanoUsd, money::AmountError};
pub use cost::{Cost, Extent, Missing, Terms};
pub use date::{Date, DateError};
pub use guard::{Objection, Refused, admit};
pub use lookup::{Found, MatchedBy, Standing};
pub use margin::{Due, Margin};
pub use meter::Meter;
pub use mistake::{Mistake, RegistryError};
pub use model::{Capability, Class, LongContext, Model, Prices, Source, TierPrice};
pub use money::{Factor, Rate};
pub use price::{Bounds, Price};
pub use registry::Registry;
pub use tiers::Tiers;
pub use volume::{Measure, Volume, VolumeStep, month_of};
