//! How long a provider asks us to stay away (ground rule G5).

use std::time::{Duration, SystemTime};

use super::fields::Fields;

/// Nothing asks us away for longer.
pub const LONGEST: Duration = Duration::from_secs(3_600);

/// What the headers and the body say together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Pushback {
    pub wait: Option<Duration>,
    /// Something was there, but it was no time.
    pub invalid: bool,
}

/// Reads pushback in the order of the rule; `from_body` is what a dialect found in the error's body.
pub fn pushback(fields: &Fields, from_body: Option<Duration>, wall: SystemTime) -> Pushback {
    let mut invalid = false;
    let mut longest = |name: &str, read: &dyn Fn(&str) -> Option<Duration>| {
        let mut found = None;
        for value in fields.all(name) {
            match value.and_then(|text| read(text.trim())) {
                Some(wait) => found = found.max(Some(wait)),
                None => invalid = true,
            }
        }
        found
    };
    let ms = |text: &str| seconds(text).map(|wait| wait / 1_000);
    let server_date = fields.text("date").and_then(http_date);
    let after = |text: &str| {
        seconds(text).or_else(|| {
            Some(
                http_date(text)?
                    .duration_since(server_date.unwrap_or(wall))
                    .unwrap_or_default(),
            )
        })
    };
    let mut wait = longest("retry-after-ms", &ms);
    wait = wait.or_else(|| longest("x-ms-retry-after-ms", &ms));
    wait = wait.or_else(|| longest("retry-after", &after));
    let wait = wait.or_else(|| exhausted_reset(fields, wall)).or(from_body);
    Pushback {
        wait: wait.map(|wait| wait.min(LONGEST)),
        invalid,
    }
}

/// The reset of whichever told limit is used up.
fn exhausted_reset(fields: &Fields, wall: SystemTime) -> Option<Duration> {
    super::limits::told(fields, || wall)
        .into_iter()
        .filter(|told| told.remaining == Some(0))
        .filter_map(|told| told.reset_in)
        .max()
}

/// Seconds, whole or not. Negative, not-a-number and infinite are no time.
fn seconds(text: &str) -> Option<Duration> {
    if !text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
        || text.is_empty()
    {
        return None;
    }
    let seconds: f64 = text.parse().ok()?;
    Some(Duration::try_from_secs_f64(seconds).unwrap_or(LONGEST))
}

/// `6m0s`, `1s`, `20ms`, `1h2m3.5s`.
pub(super) fn duration_text(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = Duration::ZERO;
    if rest.is_empty() || rest.len() > 32 {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit_len = tail
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit_len)?;
        let scale = match unit {
            "ms" => 0.001,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3_600.0,
            "d" => 86_400.0,
            _ => return None,
        };
        let number: f64 = number.parse().ok()?;
        total = total.saturating_add(Duration::try_from_secs_f64(number * scale).ok()?);
        rest = tail;
    }
    Some(total)
}

fn http_date(text: &str) -> Option<SystemTime> {
    httpdate::parse_http_date(text).ok()
}

/// How long until a date that an error text names, such as `2026-12-01` or a full RFC 3339 time.
pub fn date_wait(text: &str, wall: SystemTime) -> Option<Duration> {
    let full = if text.len() == 10 {
        rfc3339(&format!("{text}T00:00:00Z"))
    } else {
        rfc3339(text)
    };
    full?.duration_since(wall).ok()
}

/// `2026-11-20T10:00:30.5Z` or with an offset. Written here because nothing else needs a calendar.
pub(super) fn rfc3339(text: &str) -> Option<SystemTime> {
    let bytes = text.as_bytes();
    let number = |from: usize, to: usize| -> Option<i64> { text.get(from..to)?.parse().ok() };
    let at = |place: usize, what: &[u8]| bytes.get(place).is_some_and(|byte| what.contains(byte));
    if !(at(4, b"-") && at(7, b"-") && at(10, b"Tt ") && at(13, b":") && at(16, b":")) {
        return None;
    }
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    let in_range = (1970..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..=60).contains(&second);
    if !in_range {
        return None;
    }
    let rest = text.get(19..)?;
    let zone_at = rest.find(['Z', 'z', '+', '-'])?;
    let (fraction, zone) = rest.split_at_checked(zone_at)?;
    let fraction: f64 = if fraction.is_empty() {
        0.0
    } else {
        fraction.parse().ok()?
    };
    let offset = zone_offset(zone)?;
    let unix =
        days_since_1970(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second - offset;
    let unix = u64::try_from(unix).ok()?;
    let fraction = Duration::try_from_secs_f64(fraction).ok()?;
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(unix) + fraction)
}

fn zone_offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, digits) = (if zone.starts_with('-') { -1 } else { 1 }, zone.get(1..)?);
    let (hours, minutes) = digits.split_once(':')?;
    let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
    ((0..24).contains(&hours) && (0..60).contains(&minutes))
        .then_some(sign * (hours * 3_600 + minutes * 60))
}

/// Howard Hinnant's days-from-civil, for years from 1970 on.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year / 400;
    let year_of_era = year % 400;
    let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn wait_of(pairs: &[(&'static str, &str)]) -> Pushback {
        let fields: Fields = pairs.iter().copied().collect();
        pushback(&fields, None, SystemTime::UNIX_EPOCH)
    }

    fn secs(seconds: f64) -> Option<Duration> {
        Some(Duration::from_secs_f64(seconds))
    }

    #[test]
    fn p01_whole_seconds() {
        assert_eq!(wait_of(&[("retry-after", "7")]).wait, secs(7.0));
    }

    #[test]
    fn p02_a_date_is_measured_against_the_answers_own_clock() {
        let skewed = [
            ("date", "Fri, 20 Nov 2026 10:05:00 GMT"),
            ("retry-after", "Fri, 20 Nov 2026 10:05:07 GMT"),
        ];
        assert_eq!(wait_of(&skewed).wait, secs(7.0));
    }

    #[test]
    fn p03_milliseconds_come_first_and_fractions_are_not_rounded_to_zero() {
        assert_eq!(
            wait_of(&[("retry-after-ms", "1250"), ("retry-after", "60")]).wait,
            secs(1.25)
        );
        assert_eq!(wait_of(&[("retry-after", "0.5")]).wait, secs(0.5));
    }

    #[test]
    fn p04_absurd_values_are_absent_or_clamped_and_of_two_the_longer_counts() {
        for absurd in ["-1", "abc", "", "NaN", "inf", "1e9"] {
            assert_eq!(
                wait_of(&[("retry-after", absurd)]),
                Pushback {
                    wait: None,
                    invalid: true
                },
                "{absurd:?}"
            );
        }
        assert_eq!(wait_of(&[("retry-after", "999999")]).wait, Some(LONGEST));
        assert_eq!(
            wait_of(&[("retry-after", "3"), ("retry-after", "9")]).wait,
            secs(9.0)
        );
    }

    #[test]
    fn g5_the_reset_of_an_exhausted_limit_comes_next_and_the_body_last() {
        let exhausted = [
            ("x-ratelimit-remaining-tokens", "0"),
            ("x-ratelimit-reset-tokens", "6m0s"),
            ("x-a", "b"),
        ];
        assert_eq!(wait_of(&exhausted).wait, secs(360.0));
        let body = pushback(&Fields::default(), secs(45.5), SystemTime::UNIX_EPOCH);
        assert_eq!(body.wait, secs(45.5));
    }

    #[test]
    fn durations_and_dates_as_providers_write_them() {
        assert_eq!(duration_text("20ms"), secs(0.02));
        assert_eq!(duration_text("1h2m3.5s"), secs(3_723.5));
        assert_eq!(duration_text("5 parsecs"), None);
        let unix = |text| {
            rfc3339(text).map(|time| {
                time.duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap()
                    .as_secs()
            })
        };
        assert_eq!(unix("2026-11-20T10:00:00Z"), Some(1_795_168_800));
        assert_eq!(unix("2026-11-20T12:00:00.25+02:00"), Some(1_795_168_800));
        assert_eq!(unix("2000-02-29T00:00:00Z"), Some(951_782_400));
        assert_eq!(unix("2026-13-01T00:00:00Z"), None);
    }

    proptest! {
        #[test]
        fn no_header_panics_and_no_wait_is_above_an_hour(text in "[ -~]{0,40}", name in 0..5_usize) {
            let name = ["retry-after", "retry-after-ms", "x-ms-retry-after-ms", "x-ratelimit-reset-tokens", "date"][name];
            let fields: Fields = [(name, text.as_str()), ("x-ratelimit-remaining-tokens", "0")]
                .into_iter()
                .collect();
            let wait = pushback(&fields, None, SystemTime::UNIX_EPOCH).wait;
            prop_assert!(wait.unwrap_or_default() <= LONGEST);
            let _ = (rfc3339(&text), duration_text(&text));
        }
    }
}
