//! Who may spend how much: accounts in a tree, what each has spent, what is set aside, what is admitted.
//!
//! A request is paid for exactly once. Before it is sent, the most it can cost is set aside in every account on
//! its path (organisation, team, key, tags, end user), all or none; when it ends, what it did cost takes its
//! place. Rates and concurrency are admitted in the same step, so that neither can be had without the other.
//!
//! | type | is |
//! |---|---|
//! | [`Period`] | the time one cap is for: a calendar's month in a zone, or the last so many hours |
//! | [`Purse`] | one cap and what was spent and set aside under it |
//! | [`Quota`] | requests and tokens of any rolling minute, and how many at once |
//! | [`Books`] | all accounts of one tenant, and the requests that are open |
//!
//! # Why the moment of admission counts
//! What is set aside in one month and settled in the next belongs to the month in which it was allowed. So a
//! budget that was kept when the request came in is kept for ever, and books rebuilt from the journal come out
//! the same.
//!
//! # Why each cost counts once
//! A cap that comes late, or with a new process, is told the history up to a border in the journal, and counts itself what
//! ends: of that, all whose record stands before the border is in the history and nothing else is. So a [`Purse`] counts
//! what stands behind its border, and what no journal has ([`Settled::recorded`]), whenever it is told of it.

mod books;
mod period;
mod purse;
mod quota;
#[cfg(test)]
mod tests;

pub use books::{
    AccountName, AccountTerms, AccountView, Admitted, Alert, Ask, Books, Denied, Expired, Settled,
    Short,
};
pub use period::{Period, PeriodError, Span, Zone, ZoneError};
pub use purse::{Cap, Purse, PurseView};
pub use quota::{Quota, QuotaKind, QuotaTerms, Standing};
