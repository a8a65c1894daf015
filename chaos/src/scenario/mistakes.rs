//! Reading a scenario: every mistake with its place and its cure, before anything is started.

use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

use super::{Expectation, Fault, MOCKS, Mock, Of, Scenario, Shape, VERSION, Workload};
use crate::fault::{self, Key};
use crate::mock::Dialect;

/// Why a scenario cannot be run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BadScenario {
    /// The file's or pack's name.
    pub of: String,
    pub mistakes: Vec<String>,
}

impl fmt::Display for BadScenario {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, mistake) in self.mistakes.iter().enumerate() {
            if place > 0 {
                out.write_str("\n")?;
            }
            write!(out, "{}: {mistake}", self.of)?;
        }
        Ok(())
    }
}

/// Reads and judges one scenario for the harness's own mocks.
///
/// # Errors
/// All mistakes at once, except that text which is no TOML is told alone.
pub fn parse(of: &str, text: &str) -> Result<Scenario, BadScenario> {
    parse_for(of, text, None)
}

/// Reads and judges one scenario for a configuration with these providers, or for the harness's own mocks.
///
/// # Errors
/// As [`parse`].
pub fn parse_for(
    of: &str,
    text: &str,
    providers: Option<&[String]>,
) -> Result<Scenario, BadScenario> {
    let scenario: Scenario = toml::from_str(text).map_err(|error| BadScenario {
        of: of.to_owned(),
        mistakes: vec![error.to_string().trim_end().to_owned()],
    })?;
    check(of, &scenario, providers)?;
    Ok(scenario)
}

/// Judges a scenario that was changed, or is to be run on a configuration with these providers.
///
/// # Errors
/// All mistakes at once.
pub fn check(
    of: &str,
    scenario: &Scenario,
    providers: Option<&[String]>,
) -> Result<(), BadScenario> {
    let mistakes = mistakes(scenario, providers);
    if mistakes.is_empty() {
        return Ok(());
    }
    Err(BadScenario {
        of: of.to_owned(),
        mistakes,
    })
}

/// The mocks there will be.
fn mocks<'a>(scenario: &'a Scenario, providers: Option<&'a [String]>) -> Vec<&'a str> {
    match providers {
        Some(providers) => providers.iter().map(String::as_str).collect(),
        None if scenario.mocks.is_empty() => MOCKS.to_vec(),
        None => scenario
            .mocks
            .iter()
            .map(|mock| mock.name.as_str())
            .collect(),
    }
}

fn mistakes(scenario: &Scenario, providers: Option<&[String]>) -> Vec<String> {
    let mocks = mocks(scenario, providers);
    let mut found = Vec::new();
    if scenario.version != VERSION {
        found.push(format!(
            "version = {}: this harness reads version {VERSION}",
            scenario.version
        ));
    }
    let plain = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == '-';
    if scenario.name.is_empty() || !scenario.name.chars().all(plain) {
        found.push(format!(
            "name = {:?}: use letters, digits, - and _",
            scenario.name
        ));
    }
    if scenario.workloads.is_empty() {
        found.push("no [[workload]]: nothing would be asked".to_owned());
    }
    let mut names = BTreeSet::new();
    for mock in &scenario.mocks {
        if !names.insert(mock.name.as_str()) {
            found.push(format!("mock {:?} is named twice", mock.name));
        }
        if Dialect::by_name(&mock.dialect).is_none() {
            let known = Dialect::ALL.map(Dialect::name).join(", ");
            found.push(format!(
                "mock {:?}: there is no dialect {:?}; the dialects are {known}",
                mock.name, mock.dialect
            ));
        }
    }
    workloads(scenario, &mut found);
    super::payers::mistakes(scenario, &mut found);
    for (place, fault) in scenario.faults.iter().enumerate() {
        let place = format!("fault {} ({})", place + 1, fault.fault);
        self::fault(fault, &place, &mut found);
        times(scenario, fault, &place, &mut found);
        stands(scenario, fault, &place, providers.is_some(), &mut found);
        for on in &fault.on {
            if on != "*" && !mocks.contains(&on.as_str()) {
                found.push(format!(
                    "{place}: there is no mock {on:?}; there are {}",
                    mocks.join(", ")
                ));
            }
        }
    }
    for (place, expectation) in scenario.expectations.iter().enumerate() {
        let place = format!("expect {} ({})", place + 1, expectation.what.label());
        limits(scenario, expectation, &place, &mut found);
        if let Some(mistake) = of(scenario, expectation, &mocks) {
            found.push(format!("{place}: {mistake}"));
        }
    }
    if providers.is_some() {
        misplaced(scenario, &mut found);
    }
    found
}

/// What a user's configuration takes the place of.
fn misplaced(scenario: &Scenario, found: &mut Vec<String>) {
    if !scenario.mocks.is_empty() {
        found.push(
            "[[mock]] does nothing with --config: each provider there becomes a mock; leave it out"
                .to_owned(),
        );
    }
    if !scenario.clients.is_empty() || !scenario.tenants.is_empty() {
        found.push(
            "[[client]] and [[tenant]] do nothing with --config: your clients' keys are not read; leave them out"
                .to_owned(),
        );
    }
    if !scenario.gateway.config.is_empty() {
        found.push(
            "[gateway.config] does nothing with --config: write it into your configuration"
                .to_owned(),
        );
    }
}

fn workloads(scenario: &Scenario, found: &mut Vec<String>) {
    let mut names = BTreeSet::new();
    for workload in &scenario.workloads {
        let name = &workload.name;
        if !names.insert(name) {
            found.push(format!("workload {name:?} is named twice"));
        }
        match (workload.per_second, workload.at_once) {
            (Some(rate), None) if rate > 0.0 && rate <= 100_000.0 => {}
            (None, Some(1..=100_000)) => {}
            (Some(_), Some(_)) => found.push(format!(
                "workload {name:?}: per_second and at_once exclude each other"
            )),
            (Some(_), None) => found.push(format!(
                "workload {name:?}: per_second lies between 0 and 100000"
            )),
            (None, Some(_)) => found.push(format!(
                "workload {name:?}: at_once lies between 1 and 100000"
            )),
            (None, None) => found.push(format!(
                "workload {name:?}: say per_second (open loop) or at_once (closed loop)"
            )),
        }
        if !(0.0..=1.0).contains(&workload.leave_share) {
            found.push(format!(
                "workload {name:?}: leave_share lies between 0 and 1"
            ));
        }
        let [least, most] = workload.prompt_bytes;
        if least > most || most > 64 << 20 {
            found.push(format!(
                "workload {name:?}: prompt_bytes is [least, most], at most 64 MiB"
            ));
        }
        if workload.leave_between[0] > workload.leave_between[1] {
            found.push(format!(
                "workload {name:?}: leave_between is [earliest, latest]"
            ));
        }
        repeats(workload, &scenario.gateway.config, found);
        let odd = |text: &str| text.contains(['\r', '\n', '\0']);
        if workload
            .headers
            .iter()
            .any(|(field, value)| odd(field) || odd(value))
        {
            found.push(format!("workload {name:?}: a header holds a line break"));
        }
    }
}

fn repeats(workload: &Workload, config: &toml::Table, found: &mut Vec<String>) {
    let Some(repeats) = workload.repeats else {
        return;
    };
    let name = &workload.name;
    let times = repeats.at_once.saturating_add(repeats.later);
    if repeats.at_once == 0 || !(2..=100).contains(&times) {
        found.push(format!(
            "workload {name:?}: repeats.at_once is at least 1, and with later 2 to 100"
        ));
    }
    if workload.abuse.is_some() || workload.spied_on_by.is_some() {
        found.push(format!(
            "workload {name:?}: repeats goes with neither abuse nor spied_on_by"
        ));
    }
    let is_key = |field: &String| field.to_lowercase().ends_with("idempotency-key");
    if workload.headers.keys().any(is_key) {
        found.push(format!(
            "workload {name:?}: repeats makes a key for each request; leave the header out"
        ));
    }
    let mut headers = workload.headers.keys();
    let is_raced = headers.any(|field| field.eq_ignore_ascii_case("x-switchyard-race"));
    if let Some(set) =
        set_in(config, &["race", "hedge", "max_attempts"]).or(is_raced.then_some("race"))
    {
        found.push(format!(
            "workload {name:?}: repeats counts what each request may be sent and paid for, and {set} changes that; leave it out"
        ));
    }
}

/// The first of these options that is set anywhere in a configuration.
fn set_in<'n>(config: &toml::Table, names: &[&'n str]) -> Option<&'n str> {
    config.iter().find_map(|(name, value)| {
        // A pool may be named like an option.
        let mut names_of = names.iter().filter(|_| !value.is_table());
        let named = names_of.find(|known| *known == name).copied();
        named.or_else(|| set_in(value.as_table()?, names))
    })
}

fn fault(fault: &Fault, place: &str, found: &mut Vec<String>) {
    if let Err(why) = fault::made(&fault.fault, &terms(fault)) {
        found.push(format!("{place}: {why}"));
    }
    if !(0.0..=1.0).contains(&fault.share) || fault.share == 0.0 {
        found.push(format!("{place}: share lies above 0 and at most at 1"));
    }
    if let Some(taken) = fault::keys(&fault.fault) {
        keys(fault, taken, place, found);
    }
}

/// A key that does nothing would let a scenario claim what never happens.
fn keys(fault: &Fault, taken: &[Key], place: &str, found: &mut Vec<String>) {
    let takes = |key: Key| taken.contains(&key);
    let timed = takes(Key::Time) || takes(Key::Again) || takes(Key::Step);
    for (key, is_said, is_taken) in [
        (Key::On, !fault.on.is_empty(), takes(Key::On)),
        (Key::Share, fault.share < 1.0, takes(Key::Share)),
        (Key::Number, fault.number.is_some(), takes(Key::Number)),
        (Key::Time, fault.time.is_some(), timed),
        (Key::Actor, fault.actor.is_some(), takes(Key::Actor)),
    ] {
        if is_said && !is_taken {
            let mut known: Vec<&str> = taken.iter().map(|key| key.label()).collect();
            known.extend(["at", "for", "shape", "period"]);
            found.push(format!(
                "{place}: {} does nothing here; this fault takes {}",
                key.label(),
                known.join(", ")
            ));
        }
    }
    if takes(Key::On) && fault.on.is_empty() {
        found.push(format!(
            "{place}: on names the mocks it is made at, [\"*\"] all of them"
        ));
    }
    if fault.shape == Shape::Ramp && !takes(Key::Share) {
        found.push(format!(
            "{place}: shape = \"ramp\" grows a share of requests, and this fault has none"
        ));
    }
    let again = fault.time.filter(|_| takes(Key::Again));
    if again.is_some_and(|again| again.0 < SHORTEST) {
        found.push(format!(
            "{place}: time, after which it happens again, is at least {} ms",
            SHORTEST.as_millis()
        ));
    }
}

/// What must stand before a mock for the fault to be possible.
fn stands(
    scenario: &Scenario,
    fault: &Fault,
    place: &str,
    is_users: bool,
    found: &mut Vec<String>,
) {
    let Ok(made) = fault::made(&fault.fault, &terms(fault)) else {
        return;
    };
    let Some((needed, _)) = made.needs(None, false) else {
        return;
    };
    if fault.shape == Shape::Ramp {
        found.push(format!(
            "{place}: shape = \"ramp\" grows a share of answers; this fault is made before them"
        ));
    }
    if is_users || scenario.mocks.is_empty() {
        found.push(format!(
            "{place}: needs mocks of the scenario's own: [[mock]] with {needed}"
        ));
        return;
    }
    let all = fault.on.iter().any(|on| on == "*");
    let meant = |mock: &&Mock| all || fault.on.contains(&mock.name);
    for mock in scenario.mocks.iter().filter(meant) {
        let stands = made.needs(mock.front, mock.named);
        if stands.is_some_and(|(_, stands)| !stands) {
            found.push(format!("{place}: mock {:?} needs {needed}", mock.name));
        }
    }
}

/// What comes again sooner never lets anything be in between.
const SHORTEST: Duration = Duration::from_millis(50);

fn times(scenario: &Scenario, fault: &Fault, place: &str, found: &mut Vec<String>) {
    let repeats = matches!(fault.shape, Shape::Flap | Shape::Random);
    if repeats != fault.period.is_some() {
        found.push(format!(
            "{place}: period goes with shape = \"flap\" or \"random\", and they with it"
        ));
    }
    if fault.period.is_some_and(|period| period.0 < SHORTEST) {
        found.push(format!(
            "{place}: period is at least {} ms",
            SHORTEST.as_millis()
        ));
    }
    if fault.lasts.is_some_and(|lasts| lasts.0.is_zero()) {
        found.push(format!(
            "{place}: for = \"0s\" is no time for a fault to act"
        ));
    }
    let faults = scenario.phases.faults;
    if fault.at >= faults {
        found.push(format!(
            "{place}: at = {} ms lies beyond the faults phase of {} ms",
            fault.at.millis(),
            faults.millis()
        ));
    }
}

/// What a fault is made of, as the catalogue wants to know it.
pub(crate) fn terms(fault: &Fault) -> fault::Terms {
    fault::Terms {
        number: fault.number,
        time: fault.time.map(|span| span.0),
        actor: fault.actor.clone(),
        share: fault.share,
    }
}

fn limits(scenario: &Scenario, wanted: &Expectation, place: &str, found: &mut Vec<String>) {
    let limit = match (wanted.at_most, wanted.at_least) {
        (Some(_), Some(_)) | (None, None) => {
            found.push(format!("{place}: say at_most or at_least, one of them"));
            None
        }
        (most, least) => most.or(least),
    };
    if limit.is_some_and(|limit| !limit.is_finite()) {
        found.push(format!(
            "{place}: the limit is a number that something can lie beyond"
        ));
    }
    if wanted.samples == 0 {
        found.push(format!("{place}: samples = 0 would be no evidence"));
    }
    let faults = scenario.faults.len();
    if wanted
        .during
        .is_some_and(|number| !(1..=faults).contains(&number))
    {
        found.push(format!(
            "{place}: during is the number of a fault, from 1 to {faults}"
        ));
    }
}

/// What is wrong with whom an expectation is about.
fn of(scenario: &Scenario, wanted: &Expectation, mocks: &[&str]) -> Option<String> {
    let kind = wanted.what.of();
    let Some(of) = &wanted.of else {
        let needed = kind == Of::ThisMock;
        return needed.then(|| "of names the mock it is about".to_owned());
    };
    let workloads: Vec<&str> = scenario
        .workloads
        .iter()
        .map(|workload| workload.name.as_str())
        .collect();
    let known = match kind {
        Of::Mock | Of::ThisMock => mocks,
        Of::Workload => &workloads,
        Of::Nothing => &[],
    };
    if known.contains(&of.as_str()) {
        return None;
    }
    let mut mistake = format!("of = {of:?} is {}", kind.refusal());
    if !known.is_empty() {
        mistake.push_str(&format!("; it is one of {}", known.join(", ")));
    }
    Some(mistake)
}
