//! When a token is fetched anew: long before its end, and ever more rarely while nobody gives one.

use std::time::Duration;

use super::retry::backoff;

/// A token is fetched anew when it has lived for this share of its time, a little sooner by chance: many
/// gateways that started together should not ask together (fault K08).
const SHARE: f64 = 0.8;
const SPREAD: f64 = 0.1;
/// While nobody gives one, it is asked for at most this often, and at least.
const SOONEST: Duration = Duration::from_millis(250);
const LATEST: Duration = Duration::from_secs(60);
/// No token is believed to live longer.
pub const LONGEST: Duration = Duration::from_secs(24 * 3_600);

/// How long after its coming a token with this life is fetched anew; `draw` in 0..1.
pub fn renew_after(life: Duration, draw: f64) -> Duration {
    let share = SHARE - SPREAD * draw.clamp(0.0, 1.0);
    life.min(LONGEST).mul_f64(share).max(SOONEST)
}

/// How long to wait after so many failures in a row; `draw` in 0..1.
pub fn ask_again_after(failures: u32, draw: f64) -> Duration {
    backoff(failures.saturating_sub(1), draw).clamp(SOONEST, LATEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn k08_an_hour_s_token_is_fetched_anew_with_a_fifth_of_its_life_left() {
        let hour = Duration::from_secs(3_600);
        assert_eq!(renew_after(hour, 0.0), Duration::from_secs(2_880));
        assert_eq!(renew_after(hour, 1.0), Duration::from_secs(2_520));
    }

    #[test]
    fn k08_a_token_server_that_is_down_is_not_hammered() {
        assert_eq!(ask_again_after(1, 0.0), SOONEST);
        assert!(ask_again_after(4, 1.0) > ask_again_after(2, 1.0));
        assert!(ask_again_after(1_000, 1.0) <= LATEST);
    }

    proptest! {
        #[test]
        fn k08_a_token_is_never_renewed_after_its_end(secs in 1_u64..1_000_000, draw in 0.0_f64..1.0) {
            let life = Duration::from_secs(secs);
            let after = renew_after(life, draw);
            prop_assert!(after < life && after <= LONGEST);
        }
    }
}
