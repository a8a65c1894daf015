//! Requests that make every endpoint fail: known by a hash, refused for a minute (fault P27).

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::domain::Moment;

const REFUSED_FOR: Duration = Duration::from_secs(60);
const PLACES: usize = 256;

/// A small table of hashes, each in one of two places; the older of two makes room. Bounded by its size.
#[derive(Debug)]
pub struct PoisonList {
    hashes: [AtomicU64; PLACES],
    until: [AtomicU64; PLACES],
    /// Whether anything was ever marked: the common path looks no further.
    marked: AtomicU64,
}

impl Default for PoisonList {
    fn default() -> Self {
        Self {
            hashes: std::array::from_fn(|_| AtomicU64::new(0)),
            until: std::array::from_fn(|_| AtomicU64::new(0)),
            marked: AtomicU64::new(0),
        }
    }
}

fn places(hash: u64) -> [usize; 2] {
    let place = |bits: u64| usize::try_from(bits % PLACES as u64).unwrap_or_default();
    [place(hash), place(hash >> 32)]
}

impl PoisonList {
    /// Whether any mark may still hold.
    pub fn is_quiet(&self, now: Moment) -> bool {
        self.marked.load(Ordering::Relaxed) <= now.0
    }

    pub fn mark(&self, hash: u64, now: Moment) {
        let until = now.after(REFUSED_FOR).0;
        let age = |place: usize| self.until[place].load(Ordering::Relaxed);
        let [one, other] = places(hash);
        let place = if age(one) <= age(other) { one } else { other };
        self.hashes[place].store(hash, Ordering::Relaxed);
        self.until[place].store(until, Ordering::Relaxed);
        self.marked.fetch_max(until, Ordering::Relaxed);
    }

    /// How much longer this request is refused; `None` when it is not.
    pub fn refused_for(&self, hash: u64, now: Moment) -> Option<Duration> {
        places(hash)
            .into_iter()
            .filter(|place| self.hashes[*place].load(Ordering::Relaxed) == hash)
            .map(|place| Moment(self.until[place].load(Ordering::Relaxed)).since(now))
            .find(|left| !left.is_zero())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p27_a_poison_request_is_refused_for_a_minute_and_no_other() {
        let list = PoisonList::default();
        let now = Moment::from_secs(100);
        assert!(list.is_quiet(now));
        list.mark(0xdead_beef_0000_0001, now);
        assert!(!list.is_quiet(now));
        assert_eq!(
            list.refused_for(0xdead_beef_0000_0001, now),
            Some(REFUSED_FOR)
        );
        assert_eq!(list.refused_for(0xdead_beef_0000_0002, now), None);
        assert_eq!(
            list.refused_for(0xdead_beef_0000_0001, now.after(REFUSED_FOR)),
            None
        );
    }

    #[test]
    fn it_never_grows() {
        let list = PoisonList::default();
        for hash in 1..100_000_u64 {
            list.mark(
                hash.wrapping_mul(0x9e37_79b9_7f4a_7c15),
                Moment::from_secs(hash),
            );
        }
        assert!(std::mem::size_of_val(&list) < 5_000);
    }
}
