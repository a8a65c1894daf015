//! The fault catalogue's rows as behaviours of a mock, by number.
//!
//! A row often names several forms of one fault; each is a [`Variant`]. `by_number("P04", …)` gives the first,
//! `by_number("P04/negative", …)` the named one. Rows with a number in them (seconds, counts) also have a
//! function that takes it: `p01`, `p20`, `s09`, …

pub mod bomb;
mod client;
mod front;
mod ground;
mod key;
mod made;
mod network;
mod process;
mod provider;
mod stream;
#[cfg(test)]
mod tests;

pub use ground::{DiskFault, Ground};
pub use key::k08_token;
pub use made::{
    Key, Made, Primitive, Terms, ToGateway, keys, made, primitive, primitives, streams_only,
};
pub use network::{BlackHole, n06, n07, n08, n12, n14};
pub use provider::{p01, p03, p05, p08, p10, p11, p12, p20, p21, p22, p27, p28, p34};
pub(crate) use stream::disorder;
pub use stream::{s02, s05, s06, s08, s09, s10, s12, s18, s21};

use crate::mock::{Behaviour, Dialect, Door};

/// One form of a fault.
#[derive(Debug, Clone)]
pub struct Variant {
    pub name: &'static str,
    pub behaviour: Behaviour,
}

/// Where a fault can be made.
#[derive(Debug, Clone, Copy)]
pub enum Reach {
    /// In the answer to a request.
    Answer(fn(Dialect) -> Vec<Variant>),
    /// At the listening socket, see [`crate::mock::MockProvider::door`].
    Door(&'static [Door]),
    /// By these primitives, the first of them when none is named (`N05/tls_old`).
    By(&'static [&'static str]),
    /// Not by one behaviour of a plain HTTP/1.1 server; says what to use instead.
    Elsewhere(&'static str),
}

/// One row of the catalogue.
#[derive(Debug, Clone, Copy)]
pub struct Row {
    pub number: &'static str,
    pub what: &'static str,
    pub reach: Reach,
}

/// Every row of sections 1 to 4, those of section 6 that have primitives of their own, and those of clients and tenants
/// that scenarios prove.
pub const ALL: &[&[Row]] = &[
    provider::ROWS,
    network::ROWS,
    key::ROWS,
    stream::ROWS,
    process::ROWS,
    client::ROWS,
];

/// Every row, flat.
pub fn rows() -> impl Iterator<Item = &'static Row> {
    ALL.iter().flat_map(|section| section.iter())
}

/// The row of that number.
#[must_use]
pub fn row(number: &str) -> Option<&'static Row> {
    rows().find(|row| row.number.eq_ignore_ascii_case(number))
}

/// Every form of a fault this dialect can show; empty for a row that is made elsewhere.
#[must_use]
pub fn variants(number: &str, dialect: Dialect) -> Vec<Variant> {
    match row(number).map(|row| row.reach) {
        Some(Reach::Answer(variants)) => variants(dialect),
        Some(Reach::Door(_) | Reach::By(_) | Reach::Elsewhere(_)) | None => Vec::new(),
    }
}

/// `P04` or `P04/negative`; `None` when there is no such answer in this dialect.
#[must_use]
pub fn by_number(number: &str, dialect: Dialect) -> Option<Behaviour> {
    let (number, wanted) = number
        .split_once('/')
        .map_or((number, None), |(number, name)| (number, Some(name)));
    let mut variants = variants(number, dialect).into_iter();
    let found = match wanted {
        None => variants.next(),
        Some(name) => variants.find(|variant| variant.name == name),
    };
    found.map(|variant| variant.behaviour)
}

/// The doors of a row that is made at the listening socket.
#[must_use]
pub fn doors(number: &str) -> &'static [Door] {
    match row(number).map(|row| row.reach) {
        Some(Reach::Door(doors)) => doors,
        Some(Reach::Answer(_) | Reach::By(_) | Reach::Elsewhere(_)) | None => &[],
    }
}

const fn answer(
    number: &'static str,
    what: &'static str,
    variants: fn(Dialect) -> Vec<Variant>,
) -> Row {
    Row {
        number,
        what,
        reach: Reach::Answer(variants),
    }
}

const fn elsewhere(number: &'static str, what: &'static str, instead: &'static str) -> Row {
    Row {
        number,
        what,
        reach: Reach::Elsewhere(instead),
    }
}

fn variant(name: &'static str, behaviour: Behaviour) -> Variant {
    Variant { name, behaviour }
}
