//! A fault of a scenario made ready: rows of the catalogue by number, and primitives by name.

use std::sync::Arc;
use std::time::Duration;

use super::ground::{self, DiskFault};
use super::{Reach, Variant, by_number, disorder, doors, front, row, s08, s09, s10};
use crate::front::{FrontFault, NamesFault, Speaks};
use crate::mock::{Behaviour, Dialect, Door, Weather};

/// What a scenario says about a fault beyond its name.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Terms {
    pub number: Option<u64>,
    pub time: Option<Duration>,
    pub actor: Option<String>,
    /// Of requests; those faults in whose making it plays no part are drawn by whoever makes them.
    pub share: f64,
}

type Answer = Arc<dyn Fn(Dialect, Weather) -> Option<Behaviour> + Send + Sync>;

/// Where and how a fault is made.
#[derive(Clone)]
pub enum Made {
    /// In a mock's answers; `None` where a dialect has no such form.
    Answer(Answer),
    /// At a mock's listening socket.
    Door(Door),
    /// To a mock's open connections, once.
    ResetConnections,
    /// To the mock's idle connections, again and again.
    CloseIdle,
    /// The mock refuses the key it was given.
    RevokeKey,
    /// At what stands before a mock.
    Front(FrontFault),
    /// To the name of a mock.
    Names(NamesFault),
    /// To the gateway's process, one of its actors, or what it stands on.
    Gateway(ToGateway),
}

impl Made {
    /// What a scenario must say of a mock for it, and whether one with this front, and a name or none, does.
    #[must_use]
    pub fn needs(&self, front: Option<Speaks>, named: bool) -> Option<(&'static str, bool)> {
        match self {
            Self::Front(fault) => {
                let needed = match fault {
                    FrontFault::Tls(_) => "front = \"tls\"",
                    FrontFault::H2(..) => "front = \"h2\"",
                };
                Some((
                    needed,
                    front.is_some_and(|speaks| fault.is_possible(speaks)),
                ))
            }
            Self::Names(_) => Some(("named = true", named)),
            Self::Answer(_)
            | Self::Door(_)
            | Self::ResetConnections
            | Self::CloseIdle
            | Self::RevokeKey
            | Self::Gateway(_) => None,
        }
    }
}

/// A fault of the gateway itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToGateway {
    /// SIGKILL and a fresh start, again after each `every`.
    Kill { every: Option<Duration> },
    /// SIGSTOP, and SIGCONT at the end.
    Pause,
    /// An actor panics or is killed by way of the admin listener, again after each `every`.
    Actor {
        path: String,
        how: &'static str,
        every: Option<Duration>,
    },
    /// The configuration is written anew, valid or broken, again after each `every`.
    Reload {
        broken: bool,
        every: Option<Duration>,
    },
    /// The wall clock is set by so many seconds, and right again at the end.
    Clock { seconds: i64 },
    /// The journal's disk.
    Disk(DiskFault),
}

/// What a scenario can say about a fault; most faults take only some of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// Names of mocks; without one there is nobody to meet the fault.
    On,
    /// Of the requests, and so also the shape `ramp`.
    Share,
    Number,
    Time,
    /// A time after which it happens again.
    Again,
    /// A time by which something is moved.
    Step,
    Actor,
}

impl Key {
    /// What it is called in a scenario.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::On => "on",
            Self::Share => "share",
            Self::Number => "number",
            Self::Time | Self::Again | Self::Step => "time",
            Self::Actor => "actor",
        }
    }
}

/// All that a row of the catalogue takes when it is made in answers.
const IN_ANSWERS: &[Key] = &[Key::On, Key::Share];

/// A primitive and what it needs.
#[derive(Debug, Clone, Copy)]
pub struct Primitive {
    pub name: &'static str,
    pub what: &'static str,
    /// What it takes; a scenario that says more is refused.
    pub keys: &'static [Key],
    pub(super) make: fn(&Terms) -> Result<Made, String>,
}

/// Everything that can be asked for by name instead of by number.
pub fn primitives() -> impl Iterator<Item = &'static Primitive> {
    [PRIMITIVES, front::PRIMITIVES, ground::PRIMITIVES]
        .into_iter()
        .flatten()
}

/// The primitive of that name.
#[must_use]
pub fn primitive(name: &str) -> Option<&'static Primitive> {
    primitives().find(|primitive| primitive.name == name)
}

const PRIMITIVES: &[Primitive] = &[
    Primitive {
        name: "http",
        what: "an empty answer with status `number` (500)",
        keys: &[Key::On, Key::Share, Key::Number],
        make: |terms| {
            let status = u16::try_from(terms.number.unwrap_or(500)).unwrap_or(0);
            if !(200..600).contains(&status) {
                return Err("number is a status from 200 to 599".to_owned());
            }
            Ok(answer(move |_, _| Behaviour::status(status)))
        },
    },
    Primitive {
        name: "ttft",
        what: "healthy, but `time` (2s) later",
        keys: &[Key::On, Key::Share, Key::Time],
        make: |terms| {
            let late = terms.time.unwrap_or(Duration::from_secs(2));
            Ok(answer(move |_, weather| {
                Behaviour::from(weather).delayed(late)
            }))
        },
    },
    Primitive {
        name: "slow",
        what: "every time of the mock's weather `number` (10) times as long",
        keys: &[Key::On, Key::Share, Key::Number],
        make: |terms| {
            let factor = u32::try_from(terms.number.unwrap_or(10)).unwrap_or(u32::MAX);
            Ok(answer(move |_, weather| {
                Behaviour::from(weather.slower(factor))
            }))
        },
    },
    Primitive {
        name: "gap",
        what: "pauses of `time` (1s) between chunks",
        keys: &[Key::On, Key::Share, Key::Time],
        make: |terms| {
            let gap = terms.time.unwrap_or(Duration::from_secs(1));
            Ok(answer(move |_, weather| Behaviour::from(weather.gap(gap))))
        },
    },
    Primitive {
        name: "hang",
        what: "no answer at all, the connection stays open",
        keys: IN_ANSWERS,
        make: |_| {
            Ok(answer(|_, weather| {
                Behaviour::from(weather).delayed(Duration::from_secs(86_400))
            }))
        },
    },
    Primitive {
        name: "stall",
        what: "silence after `number` (20) chunks",
        keys: &[Key::On, Key::Share, Key::Number],
        make: |terms| after(terms, s08),
    },
    Primitive {
        name: "cut",
        what: "RST after `number` (20) chunks",
        keys: &[Key::On, Key::Share, Key::Number],
        make: |terms| after(terms, s09),
    },
    Primitive {
        name: "cut_clean",
        what: "a proper end after `number` (20) chunks, as if that were all",
        keys: &[Key::On, Key::Share, Key::Number],
        make: |terms| after(terms, s10),
    },
    Primitive {
        name: "garble",
        what: "a chunk that is no JSON",
        keys: IN_ANSWERS,
        make: |_| Ok(row_answer("S12/json")),
    },
    Primitive {
        name: "dup",
        what: "an event sent twice",
        keys: IN_ANSWERS,
        make: |_| Ok(row_answer("S13")),
    },
    Primitive {
        name: "disorder",
        what: "events in another order than they should come, another disorder each time",
        keys: IN_ANSWERS,
        make: |_| {
            Ok(Made::Answer(Arc::new(|dialect, _| {
                let forms = disorder(dialect);
                (!forms.is_empty()).then(|| one_after_another(forms))
            })))
        },
    },
    Primitive {
        name: "usage",
        what: "no usage told",
        keys: IN_ANSWERS,
        make: |_| Ok(row_answer("P29")),
    },
    Primitive {
        name: "tcp_refuse",
        what: "connections are refused, and those that are open are reset",
        keys: &[Key::On],
        make: |_| Ok(Made::Door(Door::Refusing)),
    },
    Primitive {
        name: "tcp_silent",
        what: "connections are accepted and nothing is read; those that are open are reset",
        keys: &[Key::On],
        make: |_| Ok(Made::Door(Door::Silent)),
    },
    Primitive {
        name: "tcp_reset",
        what: "every open connection is reset, once",
        keys: &[Key::On],
        make: |_| Ok(Made::ResetConnections),
    },
    Primitive {
        name: "tcp_close_idle",
        what: "idle connections are closed all the time",
        keys: &[Key::On],
        make: |_| Ok(Made::CloseIdle),
    },
    Primitive {
        name: "key_revoked",
        what: "the provider refuses our key (of several the first)",
        keys: &[Key::On],
        make: |_| Ok(Made::RevokeKey),
    },
    Primitive {
        name: "kill",
        what: "the gateway is killed with SIGKILL and started again, every `time` if given",
        keys: &[Key::Again],
        make: |terms| Ok(Made::Gateway(ToGateway::Kill { every: terms.time })),
    },
    Primitive {
        name: "pause",
        what: "the gateway is stopped with SIGSTOP until the fault ends",
        keys: &[],
        make: |_| Ok(Made::Gateway(ToGateway::Pause)),
    },
    Primitive {
        name: "panic",
        what: "the actor at path `actor` panics, every `time` if given",
        keys: &[Key::Actor, Key::Again],
        make: |terms| to_actor(terms, "panic"),
    },
    Primitive {
        name: "kill_actor",
        what: "the actor at path `actor` is killed, every `time` if given",
        keys: &[Key::Actor, Key::Again],
        make: |terms| to_actor(terms, "kill"),
    },
    Primitive {
        name: "config",
        what: "the configuration file is touched, every `time` if given",
        keys: &[Key::Again],
        make: |terms| reload(terms, false),
    },
    Primitive {
        name: "config_broken",
        what: "the configuration file becomes nonsense, every `time` if given",
        keys: &[Key::Again],
        make: |terms| reload(terms, true),
    },
];

fn answer(make: impl Fn(Dialect, Weather) -> Behaviour + Send + Sync + 'static) -> Made {
    Made::Answer(Arc::new(move |dialect, weather| {
        Some(make(dialect, weather))
    }))
}

fn one_after_another(forms: Vec<Variant>) -> Behaviour {
    Behaviour::choose(move |asked| {
        let place = asked.number % (forms.len() as u64).max(1);
        let form = usize::try_from(place)
            .ok()
            .and_then(|place| forms.get(place));
        form.map_or_else(Behaviour::healthy, |form| form.behaviour.clone())
    })
}

fn row_answer(number: &str) -> Made {
    let number = number.to_owned();
    Made::Answer(Arc::new(move |dialect, _| by_number(&number, dialect)))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one form for all makers of primitives"
)]
fn after(terms: &Terms, make: fn(usize) -> Behaviour) -> Result<Made, String> {
    let chunks = usize::try_from(terms.number.unwrap_or(20)).unwrap_or(usize::MAX);
    Ok(answer(move |_, _| make(chunks)))
}

fn to_actor(terms: &Terms, how: &'static str) -> Result<Made, String> {
    let path = terms
        .actor
        .clone()
        .ok_or("actor names the path, as /admin/tree shows it: \"root/router\"")?;
    Ok(Made::Gateway(ToGateway::Actor {
        path,
        how,
        every: terms.time,
    }))
}

#[expect(
    clippy::unnecessary_wraps,
    reason = "one form for all makers of primitives"
)]
fn reload(terms: &Terms, broken: bool) -> Result<Made, String> {
    Ok(Made::Gateway(ToGateway::Reload {
        broken,
        every: terms.time,
    }))
}

/// The fault of that name.
///
/// # Errors
/// When there is none, or it needs what the terms do not say; the text says the cure.
pub fn made(name: &str, terms: &Terms) -> Result<Made, String> {
    if let Some(primitive) = primitive(name) {
        return (primitive.make)(terms);
    }
    let (bare, form) = name
        .split_once('/')
        .map_or((name, None), |(bare, form)| (bare, Some(form)));
    let Some(row) = row(bare) else {
        return Err(
            "there is no such fault; `switchyard chaos list` shows the rows and primitives"
                .to_owned(),
        );
    };
    match row.reach {
        Reach::Elsewhere(instead) => Err(format!("a mock cannot make this one; use {instead}")),
        Reach::By(names) => match by(names, form) {
            Some(primitive) => (primitive.make)(terms),
            None => Err(format!(
                "{bare} has no form of that name; its forms are {}",
                names.join(", ")
            )),
        },
        Reach::Door(_) => match doors(bare).first() {
            Some(door) => Ok(Made::Door(*door)),
            None => Err("this row has no door".to_owned()),
        },
        Reach::Answer(_) => {
            let known = Dialect::ALL
                .iter()
                .any(|dialect| by_number(name, *dialect).is_some());
            if known {
                Ok(row_answer(name))
            } else {
                Err(format!(
                    "{bare} has no form of that name; `switchyard chaos explain {bare}` lists its forms"
                ))
            }
        }
    }
}

/// The primitive that makes a row, or the form of it that is named as the primitive is.
fn by(names: &[&str], form: Option<&str>) -> Option<&'static Primitive> {
    let wanted = |name: &&&str| form.is_none_or(|form| **name == form);
    primitive(names.iter().find(wanted)?)
}

/// What a fault of that name takes; `None` when there is no such fault.
#[must_use]
pub fn keys(name: &str) -> Option<&'static [Key]> {
    if let Some(primitive) = primitive(name) {
        return Some(primitive.keys);
    }
    let (bare, form) = name
        .split_once('/')
        .map_or((name, None), |(bare, form)| (bare, Some(form)));
    match row(bare)?.reach {
        Reach::By(names) => Some(by(names, form)?.keys),
        Reach::Answer(_) => Some(IN_ANSWERS),
        Reach::Door(_) => Some(&[Key::On]),
        Reach::Elsewhere(_) => None,
    }
}

/// Whether a fault only means something inside an event stream; whole answers stay healthy then.
#[must_use]
pub fn streams_only(name: &str) -> bool {
    name.starts_with(['S', 's']) && row(name.split('/').next().unwrap_or_default()).is_some()
        || [
            "stall",
            "cut",
            "cut_clean",
            "garble",
            "dup",
            "disorder",
            "gap",
        ]
        .contains(&name)
}
