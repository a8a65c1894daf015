//! How a question reaches the keys: straight into the store, or through a running gateway.

use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::Value;
use switchyard::config::Settings;
use switchyard::keys::{Denied, KeyCommand, Office, Pepper, Principal, Roster};
use switchyard::store::embedded::{change, roll};
use switchyard::store::keys::KeyChanged;

use super::Place;
use super::remote::Remote;
use crate::command::source;

pub(super) enum Way {
    Store(Box<Settings>),
    Admin(Remote),
}

/// Why nothing was done.
#[derive(Debug)]
pub(super) enum Refused {
    NotFound,
    Told(String),
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFound => f.write_str("there is nothing of this name here"),
            Self::Told(text) => f.write_str(text),
        }
    }
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        match denied {
            Denied::NotFound => Self::NotFound,
            other @ (Denied::Mistakes(_)
            | Denied::Wider { .. }
            | Denied::Scope(_)
            | Denied::Taken
            | Denied::NoSecret) => Self::Told(other.text()),
        }
    }
}

pub(super) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

impl Way {
    pub(super) fn find(place: &Place) -> Result<Self, String> {
        if let Some(url) = &place.admin {
            let key = place.key.as_deref().unwrap_or_default();
            return Remote::new(url, key).map(Self::Admin);
        }
        let loaded = source(place.config.clone()).load();
        let settings = loaded.map_err(|error| error.to_string())?;
        Ok(Self::Store(Box::new(settings)))
    }

    pub(super) fn ask(&self, command: KeyCommand) -> Result<Value, Refused> {
        match self {
            Self::Store(settings) => in_store(settings, command),
            Self::Admin(remote) => remote.ask(command),
        }
    }
}

fn in_store(settings: &Settings, command: KeyCommand) -> Result<Value, Refused> {
    let told = |error: switchyard::store::StoreError| Refused::Told(error.to_string());
    let held = roll(&settings.store).map_err(told)?;
    let held = Arc::new(held);
    let roster = Roster::merge(settings, Arc::clone(&held), None, None);
    let by = Principal::root("command line");
    let office = Office {
        settings,
        roster: &roster,
        by: &by,
        now: now(),
    };
    let mut trouble = None;
    let decided = office.decide(command, || {
        Pepper::load(&settings.store, &settings.issued, &held).map_err(|error| {
            trouble = Some(error);
            Denied::NoSecret
        })
    });
    let decision = match (decided, trouble) {
        (Err(_), Some(error)) => return Err(told(error)),
        (decided, _) => decided?,
    };
    if let Some(wanted) = &decision.change {
        let changed = change(&settings.store, wanted).map_err(told)?;
        let why = match changed {
            KeyChanged::Done(_) | KeyChanged::Again => None,
            KeyChanged::Missing => return Err(Refused::NotFound),
            KeyChanged::Taken => return Err(Denied::Taken.into()),
            KeyChanged::Stale => Some("somebody else changed it at this moment; ask again"),
            KeyChanged::TooMany => Some("there are as many keys as there may be; delete some"),
            KeyChanged::InUse => Some("it has keys; delete them first"),
        };
        if let Some(why) = why {
            return Err(Refused::Told(why.to_owned()));
        }
    }
    let mut answer = decision.told;
    if let Some(secret) = &decision.secret {
        answer["secret"] = secret.expose().into();
    }
    Ok(answer)
}
