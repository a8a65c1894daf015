//! The time a cap is for.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;

use crate::domain::Wall;

/// What a cap caps: all that is ever spent, that of a part of the calendar, or that of the last so long.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Period {
    Total,
    Day,
    /// From Monday on.
    Week,
    Month,
    Year,
    Rolling(Duration),
}

/// A rolling cap counts in this many steps; what was spent leaves a step late, never early.
const STEPS: u64 = 60;
/// The shortest and longest that a rolling cap may look back.
const LEAST_ROLLING: Duration = Duration::from_secs(60);
const MOST_ROLLING: Duration = Duration::from_secs(366 * 86_400);

/// Where a calendar's days begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Zone {
    name: String,
    zone: TimeZone,
}

/// A name that no time zone has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no time zone is called so; write one of the IANA names, such as Europe/Berlin or UTC")]
pub struct ZoneError;

impl Default for Zone {
    fn default() -> Self {
        Self {
            name: "UTC".to_owned(),
            zone: TimeZone::UTC,
        }
    }
}

impl Zone {
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl FromStr for Zone {
    type Err = ZoneError;
    fn from_str(name: &str) -> Result<Self, ZoneError> {
        let zone = TimeZone::get(name).map_err(|_| ZoneError)?;
        Ok(Self {
            name: name.to_owned(),
            zone,
        })
    }
}

/// A stretch of time, its end excluded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: Wall,
    pub end: Wall,
}

impl Span {
    pub fn holds(self, at: Wall) -> bool {
        self.start <= at && at < self.end
    }
}

impl Period {
    /// What is counted together with something spent now: the calendar's day or month, or a step of a rolling cap.
    pub(super) fn step(self, now: Wall, zone: &Zone) -> Span {
        match self {
            Self::Total => Span {
                start: Wall(0),
                end: Wall::NEVER,
            },
            Self::Rolling(back) => {
                let width = u64::try_from(back.as_millis())
                    .unwrap_or(u64::MAX)
                    .div_ceil(STEPS)
                    .max(1);
                let start = now.0 - now.0 % width;
                Span {
                    start: Wall(start),
                    end: Wall(start.saturating_add(width)),
                }
            }
            Self::Day | Self::Week | Self::Month | Self::Year => {
                self.of_calendar(now, zone).unwrap_or(Span {
                    start: Wall(0),
                    end: Wall::NEVER,
                })
            }
        }
    }

    /// How long a step counts after its end.
    pub(super) fn lingers(self) -> Duration {
        match self {
            Self::Rolling(back) => back,
            Self::Total | Self::Day | Self::Week | Self::Month | Self::Year => Duration::ZERO,
        }
    }

    /// `None` only for times no calendar has, thousands of years away.
    fn of_calendar(self, now: Wall, zone: &Zone) -> Option<Span> {
        let millis = i64::try_from(now.0).ok()?;
        let at = Timestamp::from_millisecond(millis)
            .ok()?
            .to_zoned(zone.zone.clone());
        let today = at.date();
        let (first, next) = match self {
            Self::Day => (today, today.tomorrow().ok()?),
            Self::Week => {
                let since = i64::from(today.weekday().since(Weekday::Monday));
                let monday = days(today, -since)?;
                (monday, days(monday, 7)?)
            }
            Self::Month => (
                today.first_of_month(),
                today.last_of_month().tomorrow().ok()?,
            ),
            Self::Year => (today.first_of_year(), today.last_of_year().tomorrow().ok()?),
            Self::Total | Self::Rolling(_) => return None,
        };
        Some(Span {
            start: midnight(first, zone)?,
            end: midnight(next, zone)?,
        })
    }
}

fn days(from: Date, count: i64) -> Option<Date> {
    from.checked_add(jiff::Span::new().days(count)).ok()
}

/// When a day begins there: not always at midnight, where clocks are changed.
fn midnight(day: Date, zone: &Zone) -> Option<Wall> {
    let begins = day.to_zoned(zone.zone.clone()).ok()?.start_of_day().ok()?;
    // Before 1970 nothing was spent.
    let millis = begins.timestamp().as_millisecond().max(0);
    u64::try_from(millis).ok().map(Wall)
}

/// A text that names no period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "is no period; write total, day, week, month, year, or how far back it looks: \"rolling:30d\", \"rolling:24h\", \"rolling:90m\""
)]
pub struct PeriodError;

impl FromStr for Period {
    type Err = PeriodError;
    fn from_str(text: &str) -> Result<Self, PeriodError> {
        Ok(match text {
            "total" => Self::Total,
            "day" => Self::Day,
            "week" => Self::Week,
            "month" => Self::Month,
            "year" => Self::Year,
            other => Self::Rolling(rolling(other).ok_or(PeriodError)?),
        })
    }
}

fn rolling(text: &str) -> Option<Duration> {
    let length = text.strip_prefix("rolling:")?;
    let (count, unit) = length.split_at_checked(length.len().checked_sub(1)?)?;
    let seconds: u64 = match unit {
        "m" => 60,
        "h" => 3_600,
        "d" => 86_400,
        _ => return None,
    };
    let count: u64 = count.parse().ok()?;
    let length = Duration::from_secs(count.checked_mul(seconds)?);
    (LEAST_ROLLING..=MOST_ROLLING)
        .contains(&length)
        .then_some(length)
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Total => f.write_str("total"),
            Self::Day => f.write_str("day"),
            Self::Week => f.write_str("week"),
            Self::Month => f.write_str("month"),
            Self::Year => f.write_str("year"),
            Self::Rolling(back) => {
                let seconds = back.as_secs();
                let (count, unit) = match seconds {
                    seconds if seconds % 86_400 == 0 => (seconds / 86_400, 'd'),
                    seconds if seconds % 3_600 == 0 => (seconds / 3_600, 'h'),
                    seconds => (seconds / 60, 'm'),
                };
                write!(f, "rolling:{count}{unit}")
            }
        }
    }
}
