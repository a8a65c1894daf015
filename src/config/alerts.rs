//! Who is told of what happens, and of what.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::address::written_address;
use super::egress;
use super::judge::{self, Judge, Slash};
use super::raw::RawConfig;
use super::secret::Secret;
use super::settings::{EgressSettings, ProxySettings};
use crate::policy::alerts::{AlertKind, Facts, Notice};

#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawAlert {
    name: String,
    url: String,
    secret: String,
    events: Vec<String>,
    shares: Vec<u8>,
    quiet_s: u64,
    tries: u32,
    timeout_ms: u64,
    allow_private_address: bool,
}

impl Default for RawAlert {
    fn default() -> Self {
        Self {
            name: String::new(),
            url: String::new(),
            secret: String::new(),
            events: Vec::new(),
            shares: Vec::new(),
            quiet_s: 600,
            tries: 8,
            timeout_ms: 10_000,
            allow_private_address: false,
        }
    }
}

/// A receiver of alerts.
#[derive(Clone, Debug, PartialEq)]
pub struct AlertSettings {
    pub name: String,
    pub url: String,
    pub secret: Secret,
    /// Empty: of everything.
    events: Vec<AlertKind>,
    /// Of budgets, in percent; empty: whatever each budget's `tell_at` says, and nothing that others want to hear of.
    pub(super) shares: Vec<u8>,
    /// How long the same thing is not told again.
    pub quiet: Duration,
    /// How often an alert is sent at most.
    pub tries: u32,
    pub timeout: Duration,
    pub allow_private_address: bool,
    /// `None`: reached straight.
    pub egress: Option<Arc<ProxySettings>>,
}

impl AlertSettings {
    /// Whether this receiver is to be told.
    pub fn wants(&self, notice: &Notice) -> bool {
        let share_fits = match &notice.facts {
            Facts::Budget { own, .. } if self.shares.is_empty() => *own,
            Facts::Budget { percent, .. } => self.shares.contains(percent),
            Facts::Words(_) => true,
        };
        share_fits && (self.events.is_empty() || self.events.contains(&notice.kind))
    }
}

/// The shares that receivers want to be told of, whatever the budgets say themselves: ascending, each once.
pub(super) fn shares(receivers: &[Arc<AlertSettings>]) -> Vec<u8> {
    let shares = receivers.iter().flat_map(|receiver| &receiver.shares);
    let shares: BTreeSet<u8> = shares.copied().filter(|share| *share > 0).collect();
    shares.into_iter().collect()
}

pub(super) fn settings(
    judge: &mut Judge<'_>,
    raw: &RawConfig,
    egress: &EgressSettings,
) -> Vec<Arc<AlertSettings>> {
    let alerts = raw.alerts.iter().enumerate();
    alerts
        .filter_map(|(index, alert)| {
            let path = format!("alerts[{index}]");
            let twin = raw.alerts.iter().take(index);
            if twin.into_iter().any(|other| other.name == alert.name) {
                judge.wrong(
                    format!("{path}.name"),
                    format!("{:?} is there twice", alert.name),
                    "name each receiver once",
                );
            }
            one(judge, &path, alert, egress)
        })
        .map(Arc::new)
        .collect()
}

fn one(
    judge: &mut Judge<'_>,
    path: &str,
    raw: &RawAlert,
    egress: &EgressSettings,
) -> Option<AlertSettings> {
    judge.name(&format!("{path}.name"), &raw.name, Slash::Refused);
    address_mistakes(judge, &format!("{path}.url"), raw);
    if raw.shares.contains(&0) {
        judge.wrong(
            format!("{path}.shares"),
            "0 % is reached before anything is spent",
            "write percents from 1 on",
        );
    }
    if raw.tries == 0 {
        judge.wrong(
            format!("{path}.tries"),
            "0 would tell nobody anything",
            "leave it out for the default, or remove the receiver",
        );
    }
    let events = raw.events.iter().enumerate();
    let events = events
        .filter_map(|(nth, name)| {
            let known = AlertKind::by_label(name);
            if known.is_none() {
                let all = AlertKind::ALL.map(AlertKind::label).join(", ");
                judge.wrong(
                    format!("{path}.events[{nth}]"),
                    format!("{name:?} is none of: {all}"),
                    "leave events out for all of them",
                );
            }
            known
        })
        .collect();
    let timeout = judge.millis(&format!("{path}.timeout_ms"), raw.timeout_ms);
    if raw.secret.is_empty() {
        judge.wrong(
            format!("{path}.secret"),
            "there is none, and a receiver could not tell who sends",
            "add secret = \"env:ALERT_SECRET\"",
        );
        return None;
    }
    let secret = judge.secret(&format!("{path}.secret"), &raw.secret)?;
    let proxy = egress.proxy.clone();
    Some(AlertSettings {
        name: raw.name.clone(),
        url: raw.url.clone(),
        secret,
        events,
        shares: raw.shares.clone(),
        quiet: Duration::from_secs(raw.quiet_s.min(86_400 * 366)),
        tries: raw.tries.min(100),
        timeout,
        allow_private_address: raw.allow_private_address,
        egress: proxy.filter(|_| !egress::is_direct(&raw.url, &egress.no_proxy)),
    })
}

fn address_mistakes(judge: &mut Judge<'_>, path: &str, raw: &RawAlert) {
    judge::base_url_mistakes(judge, path, &raw.url);
    if raw.url.starts_with("http://") && !raw.allow_private_address {
        judge.wrong(
            path,
            "what is spent would cross the open net unencrypted",
            "use https, or set allow_private_address = true for one inside your network",
        );
    }
    let is_local = written_address(&raw.url).is_some_and(|address| match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    });
    if is_local {
        judge.wrong(
            path,
            "is a link-local address, where clouds answer for their machines' secrets",
            "name the receiver's own address",
        );
    }
}
