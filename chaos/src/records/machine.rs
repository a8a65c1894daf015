//! How the machine spends its cores: whether what ran slowly was given the time to run.

use std::fs;

/// Time of all cores, in the kernel's ticks since some moment of its own; only differences mean something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Machine {
    pub all: u64,
    pub idle: u64,
    /// Spent on anything but the gateway and this harness.
    pub others: u64,
}

impl Machine {
    /// `None` where the system does not tell it.
    #[must_use]
    pub fn now(gateway: u32) -> Option<Self> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let (all, idle) = of_all(stat.lines().next()?)?;
        // What has ended and was waited for counts as the harness's own.
        let harness = of_process("/proc/self/stat", 4)?;
        let gateway = of_process(&format!("/proc/{gateway}/stat"), 2)?;
        let ours = harness.saturating_add(gateway);
        Some(Self {
            all,
            idle,
            others: all.saturating_sub(idle).saturating_sub(ours),
        })
    }

    /// The share that others took since `before`, where nothing was left over that could have been had instead.
    #[must_use]
    pub fn crowded_since(self, before: Self) -> Option<f64> {
        let all = self.all.saturating_sub(before.all) as f64;
        let share = |now: u64, then: u64| now.saturating_sub(then) as f64 / all.max(1.0);
        let others = share(self.others, before.others);
        let full = share(self.idle, before.idle) < MOST_IDLE;
        (all > 0.0 && full && others > MOST_OTHERS).then_some(others)
    }
}

/// More than this idle, and everyone got what they wanted.
const MOST_IDLE: f64 = 0.10;
/// As much is the system's own housekeeping.
const MOST_OTHERS: f64 = 0.15;

/// All ticks of the line of all cores, and those in which nothing was done.
fn of_all(line: &str) -> Option<(u64, u64)> {
    let mut words = line.split_whitespace();
    words.next().filter(|word| *word == "cpu")?;
    // user, nice, system, idle, iowait, irq, softirq, steal; guests are in user already.
    let ticks: Vec<u64> = words.take(8).map_while(|word| word.parse().ok()).collect();
    let idle = ticks.get(3)?.saturating_add(*ticks.get(4)?);
    let all = ticks
        .iter()
        .fold(0, |sum: u64, one| sum.saturating_add(*one));
    Some((all, idle))
}

/// The first of user, system, children's user, children's system.
fn of_process(path: &str, fields: usize) -> Option<u64> {
    let stat = fs::read_to_string(path).ok()?;
    // A name may hold anything, its closing bracket too.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: Vec<u64> = rest
        .split_whitespace()
        .skip(11)
        .take(fields)
        .map_while(|word| word.parse().ok())
        .collect();
    (ticks.len() == fields).then(|| {
        ticks
            .iter()
            .fold(0, |sum: u64, one| sum.saturating_add(*one))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_crowded_where_others_took_what_was_left() {
        let at = |all, idle, others| Machine { all, idle, others };
        let before = at(1_000, 500, 100);
        let share = at(2_000, 550, 600).crowded_since(before);
        assert!(
            share.is_some_and(|share| (share - 0.5).abs() < 1e-9),
            "{share:?}"
        );
        assert_eq!(
            at(2_000, 700, 600).crowded_since(before),
            None,
            "a fifth was left"
        );
        assert_eq!(
            at(2_000, 500, 200).crowded_since(before),
            None,
            "it was ours"
        );
        assert_eq!(before.crowded_since(before), None);
    }

    #[test]
    fn lines_of_the_kernel_are_read_or_not_believed() {
        assert_eq!(of_all("cpu  1 2 3 40 5 6 7 8 9 9"), Some((72, 45)));
        for line in ["", "cpu", "cpu0 1 2 3 4 5", "cpu 1 2 x 4 5"] {
            assert_eq!(of_all(line), None, "{line}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn what_this_process_does_is_none_of_others() {
        let own = std::process::id();
        assert!(Machine::now(own).is_some_and(|now| now.all > now.idle));
        assert_eq!(Machine::now(u32::MAX), None);
    }
}
