//! Which pictures and documents may be fetched for providers that take data only.

use std::sync::Arc;
use std::time::Duration;

use super::egress;
use super::judge::Judge;
use super::raw::RawConfig;
use super::settings::{EgressSettings, ProxySettings};

/// What the operator allows; with nothing allowed, nothing is fetched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaSettings {
    pub fetch: bool,
    /// Hosts, and with a dot in front ends of hosts; the port with them where it is not 443.
    pub hosts: Vec<String>,
    /// Over all that one request names.
    pub timeout: Duration,
    pub max_bytes: usize,
    pub allow_private_address: bool,
    pub ca_pem: Option<Arc<[u8]>>,
    /// As everything else that leaves.
    pub egress: EgressSettings,
}

impl MediaSettings {
    /// The proxy that leads to this host; `None`: it is reached straight.
    pub fn proxy(&self, host: &str) -> Option<Arc<ProxySettings>> {
        let straight = egress::is_direct(&format!("https://{host}/"), &self.egress.no_proxy);
        self.egress.proxy.clone().filter(|_| !straight)
    }

    pub fn allows(&self, host: &str, port: u16) -> bool {
        self.fetch
            && self.hosts.iter().any(|entry| {
                let (name, allowed) = split(entry);
                allowed == port && matches(name, host)
            })
    }
}

fn split(entry: &str) -> (&str, u16) {
    match entry.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().unwrap_or(0)),
        None => (entry, 443),
    }
}

fn matches(name: &str, host: &str) -> bool {
    if name.starts_with('.') {
        let cut = host.len().checked_sub(name.len());
        cut.and_then(|at| host.get(at..))
            .is_some_and(|end| end.eq_ignore_ascii_case(name))
    } else {
        name.eq_ignore_ascii_case(host)
    }
}

pub(super) fn settings(
    judge: &mut Judge<'_>,
    raw: &RawConfig,
    egress: &EgressSettings,
) -> MediaSettings {
    let media = &raw.media;
    if media.fetch && media.hosts.is_empty() {
        judge.wrong(
            "media.hosts",
            "is empty, so nothing could be fetched",
            "name the hosts that may be asked, such as \"images.example.com\" or \".example.com\"",
        );
    }
    for (index, entry) in media.hosts.iter().enumerate() {
        let path = format!("media.hosts[{index}]");
        let (name, port) = split(entry);
        let has_word = name.rsplit('.').next().is_some_and(|last| {
            // As the addresses of prompts are read: a number in any form is no host there.
            let is_word = last.bytes().all(|byte| byte.is_ascii_alphabetic());
            !last.is_empty() && (is_word || last.starts_with("xn--"))
        });
        if port == 0 || !has_word || !egress::is_exception(name) || name.contains(':') {
            judge.wrong(
                &path,
                format!("{entry:?} is no host"),
                "write a host, or \".suffix\" for all hosts that end so, with :port where it is not 443",
            );
        }
    }
    MediaSettings {
        fetch: media.fetch,
        hosts: media.hosts.clone(),
        timeout: judge.millis("media.timeout_ms", media.timeout_ms),
        max_bytes: usize::try_from(judge.positive("media.max_bytes", media.max_bytes))
            .unwrap_or(usize::MAX),
        allow_private_address: media.allow_private_address,
        ca_pem: media
            .ca_file
            .as_ref()
            .and_then(|file| judge.file("media.ca_file", file)),
        egress: egress.clone(),
    }
}
