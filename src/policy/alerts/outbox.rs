//! What one receiver is still to be told.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::notice::{AlertKind, Facts, Notice};
use crate::domain::Wall;

/// Alerts that are not told yet, on their way and resting ones included (ground rule G14).
const MOST: usize = 1_000;
/// On their way at once: who does not answer must not keep the others waiting for long.
const AT_ONCE: usize = 4;
/// Things told of and remembered, so as not to tell of them again at once.
const MOST_REMEMBERED: usize = 4_096;
const FIRST_REST: Duration = Duration::from_secs(1);
const LONGEST_REST: Duration = Duration::from_secs(300);

/// An alert on its way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parcel {
    pub id: Arc<str>,
    pub body: Arc<str>,
    /// How often it was sent.
    pub tries: u32,
}

/// How sending it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    Taken,
    /// Nobody answered, or with an error that may pass.
    Failed,
    /// It is of no use to send it again: the receiver is gone, or leads elsewhere.
    Refused,
}

/// What became of a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taken {
    Waits,
    /// Told of the same a short while ago.
    Quiet,
    /// There is no room.
    Full,
}

/// What follows a delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    Done,
    /// It was tried as often as it may be, or is refused.
    GivenUp,
    /// Hand it in again after this long.
    Rest(Parcel, Duration),
}

#[derive(Debug, Default)]
pub struct Outbox {
    waiting: VecDeque<Parcel>,
    /// Sent, and not answered yet.
    under_way: usize,
    /// To be handed in again.
    resting: usize,
    told: HashMap<(AlertKind, String), Wall>,
}

impl Outbox {
    /// Takes a notice, unless the same kind of thing about the same subject was told of within `quiet`. Budgets are
    /// told once a period by who counts them.
    pub fn take(&mut self, notice: &Notice, quiet: Duration) -> Taken {
        if self.open() >= MOST {
            return Taken::Full;
        }
        if matches!(notice.facts, Facts::Words(_)) {
            self.told.retain(|_, at| notice.at.since(*at) < quiet);
            let of = (notice.kind, notice.subject.clone());
            if self.told.contains_key(&of) {
                return Taken::Quiet;
            }
            if self.told.len() < MOST_REMEMBERED {
                self.told.insert(of, notice.at);
            }
        }
        self.waiting.push_back(Parcel {
            id: notice.id().into(),
            body: notice.body().to_string().into(),
            tries: 0,
        });
        Taken::Waits
    }

    /// The next to be sent, while not too many are.
    pub fn send(&mut self) -> Option<Parcel> {
        if self.under_way >= AT_ONCE {
            return None;
        }
        let mut parcel = self.waiting.pop_front()?;
        self.under_way += 1;
        parcel.tries = parcel.tries.saturating_add(1);
        Some(parcel)
    }

    /// A parcel's way has ended; `draw` in 0..1 spreads the next try.
    pub fn ended(&mut self, parcel: Parcel, how: Delivery, most_tries: u32, draw: f64) -> Next {
        self.under_way = self.under_way.saturating_sub(1);
        match how {
            Delivery::Taken => Next::Done,
            Delivery::Failed if parcel.tries < most_tries => {
                self.resting += 1;
                let rest = rest(parcel.tries, draw);
                Next::Rest(parcel, rest)
            }
            Delivery::Failed | Delivery::Refused => Next::GivenUp,
        }
    }

    /// Takes back what has rested.
    pub fn again(&mut self, parcel: Parcel) {
        self.resting = self.resting.saturating_sub(1);
        self.waiting.push_back(parcel);
    }

    /// How many are not told yet.
    pub fn open(&self) -> usize {
        self.waiting.len() + self.under_way + self.resting
    }
}

/// `1 s · 2ⁿ`, half of it by chance: never at once, and never all receivers' parcels together.
fn rest(tries: u32, draw: f64) -> Duration {
    let doubled = 1_u32 << tries.saturating_sub(1).min(16);
    let ceiling = FIRST_REST.saturating_mul(doubled).min(LONGEST_REST);
    ceiling.mul_f64(draw.clamp(0.0, 1.0) / 2.0 + 0.5)
}
