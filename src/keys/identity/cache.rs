//! Tokens that were found good lately, by a digest of the whole of them.
//!
//! # Why a table of places
//! It is read for every request and written for few, cannot grow, and needs no lock: a token has one place, and the
//! next one that has the same puts it out. Only what was proven is written, so nobody fills it who has no good token.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;

use super::Bearer;
use crate::domain::Moment;

const PLACES: usize = 1_024;
/// A good token is looked at again so often.
const LONGEST: Duration = Duration::from_secs(60);

pub(super) struct Cache {
    places: Box<[ArcSwapOption<Entry>]>,
}

struct Entry {
    digest: [u8; 32],
    until: Moment,
    bearer: Arc<Bearer>,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            places: (0..PLACES).map(|_| ArcSwapOption::empty()).collect(),
        }
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Cache")
    }
}

impl Cache {
    /// The digest is keyed with a secret of this process: nobody chooses another's place.
    fn place(&self, digest: &[u8; 32]) -> Option<&ArcSwapOption<Entry>> {
        let [one, two, ..] = *digest;
        let place = usize::from(u16::from_be_bytes([one, two]));
        self.places.get(place % PLACES)
    }

    pub(super) fn get(&self, digest: &[u8; 32], now: Moment) -> Option<Arc<Bearer>> {
        let entry = self.place(digest)?.load();
        let entry = entry.as_ref()?;
        let is_it = entry.digest == *digest && now < entry.until;
        is_it.then(|| Arc::clone(&entry.bearer))
    }

    /// Keeps what was proven, `now` included up to a minute and never beyond the token's own end.
    pub(super) fn keep(&self, digest: [u8; 32], bearer: Bearer, (now, end): (Moment, Moment)) {
        if let Some(place) = self.place(&digest) {
            place.store(Some(Arc::new(Entry {
                digest,
                until: end.min(now.after(LONGEST)),
                bearer: Arc::new(bearer),
            })));
        }
    }
}
