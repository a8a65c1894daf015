//! `run` and `compare`: what was asked for becomes plans.

use std::net::ToSocketAddrs as _;
use std::path::{Path, PathBuf};

use super::carry::{Planned, carry_out};
use super::{CompareOptions, RunOptions, complain, say};
use crate::conduct::{self, Plan, Subject};
use crate::lab::Door;
use crate::report::{Origin, OtherGateway};
use crate::scenario::{self, PhaseName, Phases, Scenario, Span};

/// What cannot be run at all ends with this.
pub(super) const CANNOT: u8 = 2;

pub(super) async fn run(options: &RunOptions, binary: &Path) -> u8 {
    match planned(options, binary) {
        Ok(plans) => carry_out(plans, &options.report, options.quiet).await,
        Err(why) => {
            complain(&why);
            CANNOT
        }
    }
}

fn planned(options: &RunOptions, binary: &Path) -> Result<Vec<Planned>, String> {
    if options.seeds == 0 {
        return Err("--seeds 0 runs nothing; say 1 or more".to_owned());
    }
    let asked = Asked {
        config: options.config.clone(),
        faults: options.faults.clone(),
        requests: options.requests.clone(),
        rate: options.rate.clone(),
        binary,
    };
    let mut plans = Vec::new();
    for (scenario, word) in asked.scenarios(&options.what)? {
        for turn in 0..options.seeds {
            plans.push(Planned {
                plan: Plan {
                    scenario: scenario.clone(),
                    seed: options.seed.wrapping_add(u64::from(turn)),
                    subject: asked.subject(),
                    between: None,
                },
                origin: asked.origin(&word),
            });
        }
    }
    Ok(plans)
}

/// What scenarios are made from, besides their names.
pub(super) struct Asked<'a> {
    pub(super) config: Option<PathBuf>,
    /// As it was written.
    pub(super) faults: Option<String>,
    pub(super) requests: Option<String>,
    pub(super) rate: Option<String>,
    pub(super) binary: &'a Path,
}

impl Asked<'_> {
    pub(super) fn subject(&self) -> Subject {
        Subject::Binary {
            binary: self.binary.to_owned(),
            config: self.config.clone(),
        }
    }

    pub(super) fn origin(&self, word: &str) -> Origin {
        let asked = if word.ends_with(".toml") {
            from_anywhere(Path::new(word))
        } else {
            word.to_owned()
        };
        Origin {
            asked,
            config: self.config.as_deref().map(from_anywhere),
            faults: self.faults.clone(),
            requests: self.requests.clone(),
            rate: self.rate.clone(),
            other: None,
        }
    }

    /// The scenarios of packs, names and files, each with the word it was asked for by.
    pub(super) fn scenarios(&self, what: &[String]) -> Result<Vec<(Scenario, String)>, String> {
        let providers = match &self.config {
            Some(config) => {
                Some(conduct::providers(self.binary, config).map_err(|error| error.to_string())?)
            }
            None => None,
        };
        let providers = providers.as_deref();
        let faults = match self.faults.as_deref() {
            Some(text) => Some(
                Span::parse(text)
                    .ok_or_else(|| format!("--faults {text}: a length is \"60s\" or \"5m\""))?,
            ),
            None => None,
        };
        let rate = numbered("--rate", self.rate.as_deref())?;
        let requests = numbered("--requests", self.requests.as_deref())?;
        let mut all = Vec::new();
        for word in what {
            all.extend(self.of_word(word, providers)?);
        }
        for (scenario, word) in &mut all {
            for rated in scenario
                .workloads
                .iter_mut()
                .filter_map(|one| one.per_second.as_mut())
            {
                *rated *= rate.unwrap_or(1.0);
            }
            if let Some(faults) = faults {
                scenario.phases.faults = faults;
            }
            if let Some(requests) = requests {
                scenario.phases.faults = time_for(scenario, requests)?;
            }
            // Shortened, or on other providers, it may say what can no longer be.
            scenario::check(word, scenario, providers).map_err(|bad| bad.to_string())?;
        }
        Ok(all)
    }

    fn of_word(
        &self,
        word: &str,
        providers: Option<&[String]>,
    ) -> Result<Vec<(Scenario, String)>, String> {
        let by_word = |all: Vec<Scenario>| all.into_iter().map(|one| (one, word.to_owned()));
        if word == "your-chain" {
            let config = self
                .config
                .as_deref()
                .ok_or("your-chain needs --config: it is made from your chains")?;
            let made = conduct::chains(self.binary, config).map_err(|error| error.to_string())?;
            if made.is_empty() {
                return Err(format!(
                    "{}: none of its pools has a provider behind it, so there is no chain",
                    config.display()
                ));
            }
            return Ok(by_word(made).collect());
        }
        if word.ends_with(".toml") {
            let text = std::fs::read_to_string(word).map_err(|why| format!("{word}: {why}"))?;
            let scenario =
                scenario::parse_for(word, &text, providers).map_err(|bad| bad.to_string())?;
            return Ok(by_word(vec![scenario]).collect());
        }
        match scenario::find(word) {
            Some(Ok(found)) => Ok(found
                .into_iter()
                .map(|scenario| (scenario.name.clone(), scenario))
                .map(|(name, scenario)| (scenario, name))
                .collect()),
            Some(Err(bad)) => Err(bad.to_string()),
            None => Err(format!(
                "there is no pack or scenario {word:?}; `switchyard chaos list` shows them, a file's name ends in .toml"
            )),
        }
    }
}

/// A number above nothing, if one was given.
fn numbered(flag: &str, text: Option<&str>) -> Result<Option<f64>, String> {
    let Some(text) = text else { return Ok(None) };
    let number = text.parse::<f64>().ok();
    let good = number.filter(|number| number.is_finite() && *number > 0.0);
    good.map(Some)
        .ok_or_else(|| format!("{flag} {text}: a number above 0 is wanted"))
}

/// How long the faults phase takes until so many requests have come in all.
fn time_for(scenario: &Scenario, requests: f64) -> Result<Span, String> {
    let rate = |phase: PhaseName| -> f64 {
        let workloads = scenario.workloads.iter();
        let on = workloads.filter(|one| one.phases.is_empty() || one.phases.contains(&phase));
        on.filter_map(|one| one.per_second).sum()
    };
    let Phases { control, heal, .. } = scenario.phases;
    let before = rate(PhaseName::Control) * control.0.as_secs_f64();
    let after = rate(PhaseName::Heal) * heal.0.as_secs_f64();
    let seconds = (requests - before - after).max(0.0) / rate(PhaseName::Faults);
    let told = format!("{seconds:.3}s");
    Span::parse(&told).ok_or_else(|| {
        format!(
            "{}: --requests {requests} takes {told} at its rates, which is more than a day or never; raise --rate",
            scenario.name
        )
    })
}

/// A path that is right in whatever folder it is read.
fn from_anywhere(path: &Path) -> String {
    let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    path.display().to_string()
}

pub(super) async fn compare(options: &CompareOptions, binary: &Path) -> u8 {
    let plans = match compared(options, binary) {
        Ok(plans) => plans,
        Err(why) => {
            complain(&why);
            return CANNOT;
        }
    };
    let ports: Vec<String> = options
        .ports
        .iter()
        .map(|port| format!("http://127.0.0.1:{port}/v1"))
        .collect();
    say(&format!(
        "the other gateways must serve the model `chat` from {}",
        ports.join(", ")
    ));
    carry_out(plans, &options.report, options.quiet).await
}

fn compared(options: &CompareOptions, binary: &Path) -> Result<Vec<Planned>, String> {
    let asked = Asked {
        config: None,
        faults: None,
        requests: None,
        rate: None,
        binary,
    };
    let others: Vec<Other> = options
        .with
        .iter()
        .map(|with| Other::parse(with))
        .collect::<Result<_, _>>()?;
    let mut plans = Vec::new();
    for (scenario, word) in asked.scenarios(&options.what)? {
        let plan = |subject: Subject| Plan {
            scenario: scenario.clone(),
            seed: options.seed,
            subject,
            between: None,
        };
        plans.push(Planned {
            plan: plan(asked.subject()),
            origin: asked.origin(&word),
        });
        for other in &others {
            plans.push(Planned {
                plan: plan(other.subject(&options.ports)),
                origin: Origin {
                    other: Some(other.said(&options.ports)),
                    ..asked.origin(&word)
                },
            });
        }
    }
    Ok(plans)
}

/// Said where another gateway asks for no key.
const NO_KEY: &str = "none";

/// A gateway that runs already: `name=url` or `name=url=key`.
pub(super) struct Other {
    name: String,
    url: String,
    door: Door,
}

impl Other {
    pub(super) fn parse(with: &str) -> Result<Self, String> {
        let (name, rest) = with.split_once('=').unwrap_or((with, ""));
        let (url, key) = rest.split_once('=').unwrap_or((rest, NO_KEY));
        // What follows may be a key: it is not told again.
        let form = || format!("--with {name}=…: say name=http://host:port/v1 or name=url=key");
        let place = url.strip_prefix("http://").ok_or_else(form)?;
        let (host, path) = place.split_at(place.find('/').unwrap_or(place.len()));
        let named = if host.contains(':') {
            host.to_owned()
        } else {
            format!("{host}:80")
        };
        let address = named
            .to_socket_addrs()
            .ok()
            .and_then(|mut all| all.next())
            .ok_or_else(|| format!("--with {name}: {host} has no address"))?;
        Ok(Self {
            name: name.to_owned(),
            url: url.to_owned(),
            door: Door {
                address,
                path: path.trim_end_matches('/').to_owned(),
                key: key.to_owned(),
            },
        })
    }

    pub(super) fn subject(&self, ports: &[u16]) -> Subject {
        Subject::Url {
            name: self.name.clone(),
            door: self.door.clone(),
            ports: ports.to_vec(),
        }
    }

    fn said(&self, ports: &[u16]) -> OtherGateway {
        OtherGateway {
            name: self.name.clone(),
            url: self.url.clone(),
            needs_key: self.door.key != NO_KEY,
            ports: ports.to_vec(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options() -> RunOptions {
        RunOptions {
            what: vec!["one_down".to_owned()],
            config: None,
            seed: 5,
            seeds: 2,
            faults: Some("9s".to_owned()),
            requests: None,
            rate: None,
            report: PathBuf::from("report"),
            quiet: true,
        }
    }

    fn refused(options: &RunOptions) -> String {
        planned(options, Path::new("gateway")).err().unwrap()
    }

    #[test]
    fn each_seed_is_a_plan_of_its_own_that_says_what_it_was_made_from() {
        let plans = planned(&options(), Path::new("gateway")).unwrap();
        let told: Vec<_> = plans
            .iter()
            .map(|planned| {
                (
                    planned.plan.seed,
                    planned.plan.scenario.phases.faults.millis(),
                )
            })
            .collect();
        assert_eq!(told, [(5, 9_000), (6, 9_000)]);
        assert_eq!(plans[0].origin.asked, "one_down");
        assert_eq!(plans[0].origin.faults.as_deref(), Some("9s"));
    }

    #[test]
    fn what_would_run_nothing_or_prove_nothing_is_refused() {
        let none = RunOptions {
            seeds: 0,
            ..options()
        };
        assert!(refused(&none).contains("--seeds 0"));
        for (faults, said) in [
            ("0s", "beyond the faults phase of 0 ms"),
            ("soon", "a length is"),
        ] {
            let short = RunOptions {
                faults: Some(faults.to_owned()),
                ..options()
            };
            let why = refused(&short);
            assert!(why.contains(said), "{why}");
        }
        let chain = RunOptions {
            what: vec!["your-chain".to_owned()],
            ..options()
        };
        assert!(refused(&chain).contains("needs --config"));
    }

    #[test]
    fn so_many_requests_take_the_time_that_the_rates_need_for_them() {
        let asked = RunOptions {
            what: vec!["two_tenants".to_owned()],
            faults: None,
            requests: Some("1000000".to_owned()),
            rate: Some("10".to_owned()),
            ..options()
        };
        let plans = planned(&asked, Path::new("gateway")).unwrap();
        let scenario = &plans[0].plan.scenario;
        let streams = &scenario.workloads[0];
        assert_eq!(streams.per_second, Some(400.0));
        // 1,300 a second for seven seconds beside 1,380 in the faults.
        assert_eq!(scenario.phases.faults.millis(), 718_043);
        assert_eq!(plans[0].origin.requests.as_deref(), Some("1000000"));
        for (requests, rate, said) in [
            ("many", "1", "--requests many: a number"),
            ("10", "0", "--rate 0: a number"),
            ("1e12", "1", "more than a day"),
        ] {
            let wrong = RunOptions {
                requests: Some(requests.to_owned()),
                rate: Some(rate.to_owned()),
                ..asked.clone()
            };
            let why = refused(&wrong);
            assert!(why.contains(said), "{why}");
        }
    }

    #[test]
    fn a_file_is_remembered_by_a_path_that_holds_everywhere() {
        let asked = Asked {
            config: Some(PathBuf::from("own.toml")),
            faults: None,
            requests: None,
            rate: None,
            binary: Path::new("gateway"),
        };
        let origin = asked.origin("mine.toml");
        for path in [origin.asked, origin.config.unwrap()] {
            assert!(Path::new(&path).is_absolute(), "{path}");
        }
        assert_eq!(asked.origin("smoke").asked, "smoke");
    }

    #[test]
    fn another_gateways_key_is_not_told_again() {
        for with in ["rival=https://x/v1=sk-secret", "rival=nonsense=sk-secret"] {
            let why = Other::parse(with).err().unwrap();
            assert!(!why.contains("sk-secret"), "{why}");
        }
        let other = Other::parse("rival=http://127.0.0.1:4000/v1=sk-secret").unwrap();
        let said = serde_json::to_string(&other.said(&[9101])).unwrap();
        assert!(said.contains("\"needs_key\":true") && !said.contains("sk-secret"));
    }
}
