//! Moments as people write and read them, in UTC.

const DAY_MS: u64 = 86_400_000;

/// Milliseconds since 1970 as `2026-11-21T08:30:00.000Z`.
pub(crate) fn rfc3339(ms: u64) -> String {
    let (year, month, day) = civil(ms / DAY_MS);
    let ms = ms % DAY_MS;
    let (hour, minute, second) = (ms / 3_600_000, ms / 60_000 % 60, ms / 1_000 % 60);
    format!(
        "{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z",
        ms % 1_000
    )
}

/// A day, a day with a time, or how long ago.
pub(crate) fn parse(text: &str) -> Result<u64, String> {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default();
    parse_at(text, u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
        .ok_or_else(|| "write 2026-11-21, 2026-11-21T08:30:00Z, or 90m, 24h, 7d ago".to_owned())
}

fn parse_at(text: &str, now_ms: u64) -> Option<u64> {
    for (unit, ms) in [('s', 1_000), ('m', 60_000), ('h', 3_600_000), ('d', DAY_MS)] {
        if let Some(count) = text.strip_suffix(unit) {
            return now_ms.checked_sub(number(count)?.checked_mul(ms)?);
        }
    }
    let (day, time) = match text.split_once('T') {
        Some((day, time)) => (day, time.strip_suffix('Z')?),
        None => (text, "00:00:00"),
    };
    let mut parts = day.split('-').map(number);
    let (year, month, date) = (parts.next()??, parts.next()??, parts.next()??);
    let days = days_of(year, month, date)?;
    if parts.next().is_some() || civil(days) != (year, month, date) {
        return None;
    }
    let mut parts = time.split(':');
    let (hour, minute) = (number(parts.next()?)?, number(parts.next()?)?);
    let (second, millis) = match parts.next().unwrap_or("0").split_once('.') {
        Some((second, fraction)) if fraction.len() <= 3 => (
            number(second)?,
            number(fraction)? * [1_000, 100, 10, 1].get(fraction.len())?,
        ),
        Some(_) => return None,
        None => (number(time.split(':').nth(2).unwrap_or("0"))?, 0),
    };
    if parts.next().is_some() || hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    Some(days * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1_000 + millis)
}

fn number(text: &str) -> Option<u64> {
    let plain = text.len() <= 9 && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

/// Days since 1970 of a day from then on; a month or day that does not exist gives another day.
fn days_of(year: u64, month: u64, day: u64) -> Option<u64> {
    if !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    // Years that begin in March put the odd day at their end.
    let (year, month) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let before = year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1;
    before.checked_sub(719_468)
}

/// The day this many days after 1970-01-01.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days.min(20_000_000) + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + later, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_250_000_000;

    #[test]
    fn what_is_printed_is_read_back() {
        for ms in [
            0,
            951_782_399_999,
            951_782_400_000,
            1_709_164_800_001,
            NOW,
            4_102_444_799_999,
        ] {
            assert_eq!(parse_at(&rfc3339(ms), NOW), Some(ms), "{}", rfc3339(ms));
        }
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
    }

    #[test]
    fn days_times_and_spans_are_understood() {
        assert_eq!(parse_at("1970-01-02", NOW), Some(DAY_MS));
        assert_eq!(parse_at("1970-01-01T00:01:01.5Z", NOW), Some(61_500));
        assert_eq!(parse_at("1970-01-01T00:01Z", NOW), Some(60_000));
        assert_eq!(parse_at("90m", NOW), Some(NOW - 5_400_000));
        assert_eq!(parse_at("7d", NOW), Some(NOW - 7 * DAY_MS));
        for wrong in [
            "",
            "d",
            "-1d",
            "2026-02-30",
            "2026-13-01",
            "1969-12-31",
            "2026-11-21T24:00:00Z",
            "2026-11-21 08:00",
            "99999d",
            "2026-11-21-3",
        ] {
            assert_eq!(parse_at(wrong, NOW), None, "{wrong}");
        }
    }
}
