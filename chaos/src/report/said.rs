//! How numbers are said, the same in every form.
//!
//! A ratio whose limit is at most 1 is a share and is said in percent; any other is a factor (`1.30×`). The value and
//! the limit of one finding always have the same form.

use super::Finding;

/// What a finding measured, in words.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Said {
    /// Empty when there was nothing to measure.
    pub(super) value: String,
    /// With the side it bounds, where that is plain: `≤ 500 ms`.
    pub(super) limit: String,
    /// `+42%` is room left, `−30%` is beyond.
    pub(super) margin: String,
}

impl Said {
    pub(super) fn of(finding: &Finding) -> Self {
        let unit = finding.unit.as_str();
        let share = finding.limit.or(finding.value).is_some_and(|it| it <= 1.0);
        let amount = |number| amount(number, unit, share);
        let mut value = finding.value.map(amount).unwrap_or_default();
        let mut limit = finding.limit.map(amount).unwrap_or_default();
        if let (Some(measured), Some(allowed)) = (finding.value, finding.limit)
            && value == limit
            && measured != allowed
        {
            // "500 ms is beyond 500 ms" explains nothing: here the digits matter.
            value = exact(measured, unit);
            limit = exact(allowed, unit);
        }
        if !limit.is_empty() {
            limit = format!("{}{limit}", side(finding));
        }
        Self {
            value,
            limit,
            margin: finding.margin.map(margin).unwrap_or_default(),
        }
    }
}

/// Which side the limit bounds, as far as value, limit and margin tell.
fn side(finding: &Finding) -> &'static str {
    let (Some(value), Some(limit)) = (finding.value, finding.limit) else {
        return "";
    };
    let inside = match finding.margin {
        Some(margin) if margin > 0.0 => true,
        Some(margin) if margin < 0.0 => false,
        _ => match finding.verdict {
            super::Verdict::Pass => true,
            super::Verdict::Fail => false,
            super::Verdict::Unknown => return "",
        },
    };
    match value.partial_cmp(&limit) {
        Some(std::cmp::Ordering::Less) => {
            if inside {
                "≤ "
            } else {
                "≥ "
            }
        }
        Some(std::cmp::Ordering::Greater) => {
            if inside {
                "≥ "
            } else {
                "≤ "
            }
        }
        Some(std::cmp::Ordering::Equal) | None => "",
    }
}

fn amount(number: f64, unit: &str, share: bool) -> String {
    if !number.is_finite() {
        return if number.is_nan() {
            "not a number"
        } else {
            "without bound"
        }
        .to_owned();
    }
    match unit {
        "ms" => millis(number),
        "ratio" if share => percent(number),
        "ratio" => format!("{number:.2}×"),
        "bytes" => bytes(number),
        "usd" => dollars(number),
        "count" | "" => count(number),
        other => format!("{} {other}", count(number)),
    }
}

fn exact(number: f64, unit: &str) -> String {
    let digits = trimmed(format!("{number:.6}"));
    match unit {
        "count" | "ratio" | "" => digits,
        other => format!("{digits} {other}"),
    }
}

/// Without the zeros (and the point) that say nothing.
fn trimmed(digits: String) -> String {
    if !digits.contains('.') {
        return digits;
    }
    digits
        .trim_end_matches('0')
        .trim_end_matches('.')
        .to_owned()
}

/// `0.4 ms`, `412 ms`, `1.2 s`, `2 min 05 s`.
pub(super) fn millis(ms: f64) -> String {
    let sign = if ms < 0.0 { "−" } else { "" };
    let ms = ms.abs();
    if ms < 9.95 {
        return format!("{sign}{} ms", trimmed(format!("{ms:.1}")));
    }
    if ms < 999.5 {
        return format!("{sign}{ms:.0} ms");
    }
    if ms < 59_950.0 {
        return format!("{sign}{:.1} s", ms / 1e3);
    }
    let seconds = (ms / 1e3).round();
    let (minutes, rest) = ((seconds / 60.0).floor(), seconds % 60.0);
    if minutes < 60.0 {
        return format!("{sign}{minutes:.0} min {rest:02.0} s");
    }
    format!(
        "{sign}{:.0} h {:02.0} min",
        (minutes / 60.0).floor(),
        minutes % 60.0
    )
}

/// `35%`, `0.02%`, `99.95%`. What is not zero is never said to be, and what is not all neither.
pub(super) fn percent(share: f64) -> String {
    let number = share * 100.0;
    if number > 0.0 && number < 0.005 {
        return "<0.01%".to_owned();
    }
    if (99.995..100.0).contains(&number) {
        return ">99.99%".to_owned();
    }
    format!("{}%", trimmed(format!("{number:.2}")))
}

/// `64 B`, `12.0 KiB`, `48.2 MiB`, `1.50 GiB`.
pub(super) fn bytes(number: f64) -> String {
    const KIB: f64 = 1024.0;
    let size = number.abs();
    if size < KIB {
        format!("{number:.0} B")
    } else if size < 0.1 * KIB * KIB {
        format!("{:.1} KiB", number / KIB)
    } else if size < KIB * KIB * KIB {
        format!("{:.1} MiB", number / KIB / KIB)
    } else {
        format!("{:.2} GiB", number / KIB / KIB / KIB)
    }
}

fn dollars(number: f64) -> String {
    let sign = if number < 0.0 { "−" } else { "" };
    let digits = format!("{:.6}", number.abs());
    let short = trimmed(digits);
    // Cents are always two digits; finer amounts keep what they have, down to the microdollar.
    match short.split_once('.') {
        Some((_, fraction)) if fraction.len() >= 2 => format!("{sign}${short}"),
        _ => format!("{sign}${:.2}", number.abs()),
    }
}

/// `12,480`, `1.5`.
pub(super) fn count(number: f64) -> String {
    if number.abs() >= 1e15 {
        return format!("{number:.3e}");
    }
    let digits = trimmed(format!("{:.2}", number.abs()));
    let (whole, fraction) = digits.split_once('.').unwrap_or((&digits, ""));
    let mut out = String::new();
    if number < 0.0 {
        out.push('−');
    }
    for (place, digit) in whole.chars().enumerate() {
        if place > 0 && (whole.len() - place) % 3 == 0 {
            out.push(',');
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push('.');
        out.push_str(fraction);
    }
    out
}

/// `12,480`.
pub(super) fn whole(number: u64) -> String {
    count(number as f64)
}

/// `1 run`, `2 runs`.
pub(super) fn many(number: usize, one: &str) -> String {
    let end = if number == 1 { "" } else { "s" };
    format!("{} {one}{end}", whole(number as u64))
}

fn margin(share: f64) -> String {
    let sign = if share < 0.0 { "−" } else { "+" };
    let size = (share * 100.0).abs();
    if size == 0.0 {
        return "0%".to_owned();
    }
    if size >= 999.5 {
        return format!("{sign}>999%");
    }
    if size >= 9.95 {
        return format!("{sign}{size:.0}%");
    }
    if size < 0.005 {
        return format!("{sign}<0.01%");
    }
    format!("{sign}{}%", trimmed(format!("{size:.2}")))
}

/// A moment of a run: `12.5 s`. Seconds only, so that it compares with every other one.
pub(super) fn moment(ms: u64) -> String {
    format!("{:.1} s", ms as f64 / 1e3)
}

/// `12.0 s to 14.2 s`.
pub(super) fn stretch((from, to): (u64, u64)) -> String {
    format!("{} to {}", moment(from), moment(to))
}

/// Seconds since 1970 as `2026-11-21 06:27:34 UTC` with `' '`, or as XML wants it with `'T'`.
pub(super) fn date(seconds: u64, between: char) -> String {
    // Days to civil date: Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms", for days after 1970.
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let of_era = days % 146_097;
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    let end = if between == 'T' { "Z" } else { " UTC" };
    format!("{year:04}-{month:02}-{day:02}{between}{hour:02}:{minute:02}:{second:02}{end}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Verdict;

    fn finding(value: f64, limit: f64, margin: Option<f64>, unit: &str) -> Finding {
        Finding {
            value: Some(value),
            limit: Some(limit),
            margin,
            unit: unit.to_owned(),
            ..Finding::default()
        }
    }

    fn said(value: f64, limit: f64, margin: Option<f64>, unit: &str) -> [String; 3] {
        let said = Said::of(&finding(value, limit, margin, unit));
        [said.value, said.limit, said.margin]
    }

    #[test]
    fn times_are_said_in_the_unit_a_reader_would_choose() {
        let told: Vec<String> = [
            0.0,
            0.44,
            9.96,
            412.4,
            999.6,
            1_234.0,
            59_960.0,
            125_000.0,
            3_720_000.0,
            -5.0,
        ]
        .into_iter()
        .map(millis)
        .collect();
        let wanted = [
            "0 ms",
            "0.4 ms",
            "10 ms",
            "412 ms",
            "1.0 s",
            "1.2 s",
            "1 min 00 s",
            "2 min 05 s",
            "1 h 02 min",
            "−5 ms",
        ];
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_share_is_said_in_percent_and_a_factor_is_not() {
        assert_eq!(
            said(0.31, 0.35, Some(0.11), "ratio"),
            ["31%", "≤ 35%", "+11%"]
        );
        assert_eq!(
            said(1.04, 1.3, Some(0.2), "ratio"),
            ["1.04×", "≤ 1.30×", "+20%"]
        );
        assert_eq!(
            said(0.9, 1.3, Some(0.31), "ratio"),
            ["0.90×", "≤ 1.30×", "+31%"]
        );
        assert_eq!(
            said(1.2, 1.0, Some(-0.2), "ratio"),
            ["120%", "≤ 100%", "−20%"]
        );
    }

    #[test]
    fn nearly_nothing_is_not_nothing_and_nearly_all_is_not_all() {
        assert_eq!(
            [0.0, 0.000_001, 0.9995, 0.999_999, 1.0].map(percent),
            ["0%", "<0.01%", "99.95%", ">99.99%", "100%"]
        );
        assert_eq!(margin(-0.000_001), "−<0.01%");
    }

    #[test]
    fn a_value_beyond_its_limit_never_reads_like_the_limit() {
        assert_eq!(
            said(500.3, 500.0, Some(-0.0006), "ms"),
            ["500.3 ms", "≤ 500 ms", "−0.06%"]
        );
        assert_eq!(
            said(0.350_01, 0.35, Some(-0.000_03), "ratio"),
            ["0.35001", "≤ 0.35", "−<0.01%"]
        );
    }

    #[test]
    fn the_side_of_a_limit_is_told_only_when_it_is_plain() {
        assert_eq!(said(0.99, 0.95, Some(0.04), "ratio")[1], "≥ 95%");
        assert_eq!(said(0.90, 0.95, Some(-0.05), "ratio")[1], "≥ 95%");
        assert_eq!(said(0.0, 0.0, None, "count")[1], "0");
        let mut broken = finding(3.0, 0.0, None, "count");
        broken.verdict = Verdict::Fail;
        assert_eq!(Said::of(&broken).limit, "≤ 0");
        broken.verdict = Verdict::Unknown;
        assert_eq!(Said::of(&broken).limit, "0");
    }

    #[test]
    fn sizes_money_and_counts_keep_the_digits_that_matter() {
        assert_eq!(
            [64.0, 12_288.0, 50_541_363.2, 1.61e9].map(bytes),
            ["64 B", "12.0 KiB", "48.2 MiB", "1.50 GiB"]
        );
        assert_eq!(
            [0.0, 12.5, 0.001_234, -3.0].map(dollars),
            ["$0.00", "$12.50", "$0.001234", "−$3.00"]
        );
        assert_eq!(
            [0.0, 999.0, 12_480.0, 1_234_567.5, -1_000.0].map(count),
            ["0", "999", "12,480", "1,234,567.5", "−1,000"]
        );
        assert_eq!(whole(u64::MAX), "1.845e19");
    }

    #[test]
    fn what_is_no_number_does_not_look_like_one() {
        assert_eq!(
            said(f64::NAN, f64::INFINITY, Some(f64::NAN), "ms")[..2],
            ["not a number", "without bound"]
        );
        assert_eq!(Said::of(&Finding::default()), Said::default());
    }

    #[test]
    fn dates_follow_the_calendar() {
        assert_eq!(date(0, ' '), "1970-01-01 00:00:00 UTC");
        assert_eq!(date(951_782_399, ' '), "2000-02-28 23:59:59 UTC");
        assert_eq!(date(951_782_400, 'T'), "2000-02-29T00:00:00Z");
        assert_eq!(date(1_795_242_454, ' '), "2026-11-21 06:27:34 UTC");
        assert!(date(u64::MAX, ' ').ends_with("UTC"));
    }
}
