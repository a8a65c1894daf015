//! What a failure that speaks against a key costs the key.

use std::time::Duration;

use super::retry::backoff;
use crate::domain::{AttemptOutcome, Moment};

/// Pushback is never honoured for longer (ground rule G5).
pub const LONGEST_PUSHBACK: Duration = Duration::from_secs(3_600);
/// A refused key is asked about again this often (fault K01).
pub const REFUSED_FOR: Duration = Duration::from_secs(600);
/// A model that a provider does not have is not asked for again this long (fault P23).
pub const MODEL_DISABLED_FOR: Duration = Duration::from_secs(600);
/// A quota named without a date (fault K03).
const QUOTA_FOR: Duration = Duration::from_secs(3_600);
/// A date further away than this is not believed.
const LONGEST_QUOTA: Duration = Duration::from_secs(32 * 86_400);
/// A limit without pushback cools at least this long: zero jitter must not mean no cooldown.
pub const LEAST_COOLDOWN: Duration = Duration::from_millis(50);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRule {
    /// This key at this model only.
    CoolModel(Duration),
    QuarantineKey(Duration),
    DisableModel(Duration),
    None,
}

/// What is known of a failure that may speak against a key.
#[derive(Clone, Copy, Debug)]
pub struct KeyFailure {
    pub outcome: AttemptOutcome,
    pub pushback: Option<Duration>,
    /// How long until the date a spent quota comes back; `None` when none was named.
    pub until_date: Option<Duration>,
    /// Throttles in a row before this one.
    pub repeated: u32,
    pub model_only: bool,
}

/// `draw` in 0..1 jitters a back-off.
pub fn key_rule(failure: &KeyFailure, draw: f64) -> KeyRule {
    let pushback = failure.pushback.map(|wait| wait.min(LONGEST_PUSHBACK));
    if failure.outcome == AttemptOutcome::Throttled {
        let wait = pushback
            .unwrap_or_else(|| backoff(failure.repeated, draw))
            .max(LEAST_COOLDOWN);
        KeyRule::CoolModel(wait)
    } else if failure.outcome == AttemptOutcome::Quota {
        let wait = failure
            .until_date
            .map(|date| date.min(LONGEST_QUOTA))
            .or(pushback)
            .unwrap_or(QUOTA_FOR);
        KeyRule::QuarantineKey(wait)
    } else if failure.outcome == AttemptOutcome::Auth && failure.model_only {
        KeyRule::DisableModel(MODEL_DISABLED_FOR)
    } else if failure.outcome == AttemptOutcome::Auth {
        KeyRule::QuarantineKey(REFUSED_FOR)
    } else {
        KeyRule::None
    }
}

/// A cooldown only ever extends (ground rule G5).
pub fn extend(until: Moment, now: Moment, wait: Duration) -> Moment {
    until.max(now.after(wait))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn failure(outcome: AttemptOutcome) -> KeyFailure {
        KeyFailure {
            outcome,
            pushback: None,
            until_date: None,
            repeated: 0,
            model_only: false,
        }
    }

    #[test]
    fn p01_pushback_cools_this_model_for_as_long_as_it_says() {
        let told = KeyFailure {
            pushback: Some(Duration::from_secs(7)),
            ..failure(AttemptOutcome::Throttled)
        };
        assert_eq!(
            key_rule(&told, 0.5),
            KeyRule::CoolModel(Duration::from_secs(7))
        );
    }

    #[test]
    fn p04_without_pushback_the_cooldown_backs_off() {
        let first = key_rule(&failure(AttemptOutcome::Throttled), 1.0);
        assert_eq!(first, KeyRule::CoolModel(Duration::from_millis(500)));
        let third = KeyFailure {
            repeated: 2,
            ..failure(AttemptOutcome::Throttled)
        };
        assert_eq!(
            key_rule(&third, 1.0),
            KeyRule::CoolModel(Duration::from_secs(2))
        );
    }

    #[test]
    fn k01_k02_a_refused_key_rests_whole_or_for_one_model() {
        assert_eq!(
            key_rule(&failure(AttemptOutcome::Auth), 0.0),
            KeyRule::QuarantineKey(REFUSED_FOR)
        );
        let one_model = KeyFailure {
            model_only: true,
            ..failure(AttemptOutcome::Auth)
        };
        assert_eq!(
            key_rule(&one_model, 0.0),
            KeyRule::DisableModel(MODEL_DISABLED_FOR)
        );
    }

    #[test]
    fn k03_a_spent_quota_rests_to_its_date_or_an_hour() {
        assert_eq!(
            key_rule(&failure(AttemptOutcome::Quota), 0.0),
            KeyRule::QuarantineKey(QUOTA_FOR)
        );
        let dated = KeyFailure {
            until_date: Some(Duration::from_secs(86_400)),
            ..failure(AttemptOutcome::Quota)
        };
        assert_eq!(
            key_rule(&dated, 0.0),
            KeyRule::QuarantineKey(Duration::from_secs(86_400))
        );
    }

    proptest! {
        #[test]
        fn g5_a_cooldown_only_extends(until in any::<u32>(), now in any::<u32>(), wait in 0_u64..10_000) {
            let (until, now) = (Moment(u64::from(until)), Moment(u64::from(now)));
            let next = extend(until, now, Duration::from_millis(wait));
            prop_assert!(next >= until && next >= now);
        }
    }
}
