//! The gateway under test, looked at while it runs and taken apart at the end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::{ADMIN, OwnRecords, process_of};
use crate::client::{Client, ConnectOptions};
use crate::lab::config::{ADMIN_KEY, ConfigError, Facts};
use crate::lab::{CANARY_MARK, CLIENT_MARK, Epoch, GatewayProcess, HOOK_MARK, SmallDisk};
use crate::records::{
    Books, Journal, Machine, Scrape, audit, books, parse, scrape_text, secrets_in, secrets_of,
};
use crate::workload::PROMPT_MARK;

const SCRAPE_EVERY: Duration = Duration::from_millis(250);

/// What no file and no metric may hold, by its name.
const SECRETS: [(&str, &str); 5] = [
    ("a provider's key", "sk-chaos-provider-"),
    ("the admin key", ADMIN_KEY),
    ("a client key", CLIENT_MARK),
    ("what webhooks are signed with", HOOK_MARK),
    ("prompt text", PROMPT_MARK),
];

/// Scrapes until it is told to stop.
pub(super) async fn scrape_on(
    gateway: Option<Arc<Mutex<GatewayProcess>>>,
    epoch: Epoch,
    mut stop: oneshot::Receiver<()>,
) -> Vec<Scrape> {
    let mut seen = Vec::new();
    let Some(gateway) = gateway else { return seen };
    let mut tick = interval(SCRAPE_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            _ = &mut stop => return seen,
        }
        seen.extend(look(&gateway, epoch).await);
    }
}

/// One look.
pub(super) async fn look(gateway: &Mutex<GatewayProcess>, epoch: Epoch) -> Option<Scrape> {
    let (admin, pid) = {
        let gateway = gateway.lock().await;
        (gateway.admin, gateway.pid())
    };
    let asked_ms = epoch.millis();
    let text = scrape_text(admin, ADMIN).await?;
    let (memory, descriptors) = process_of(pid);
    Some(Scrape {
        at_ms: asked_ms,
        read_ms: epoch.millis(),
        samples: parse(&text),
        leaks: secrets_of(text.as_bytes(), &SECRETS),
        memory,
        descriptors,
        machine: pid.and_then(Machine::now),
    })
}

/// What the running gateway says of its configuration.
pub(super) async fn known_to(admin: SocketAddr) -> Result<Facts, ConfigError> {
    let cannot = |why: &str| ConfigError::Untold(why.to_owned());
    let options = ConnectOptions {
        patience: Duration::from_secs(5),
        ..ConnectOptions::default()
    };
    let fields = [("authorization".to_owned(), format!("Bearer {ADMIN}"))];
    let asked = async {
        let mut client = Client::connect_with(admin, options).await?;
        client.get("/admin/config", &fields).await
    };
    let answer = asked.await.map_err(|error| cannot(&error.to_string()))?;
    serde_json::from_slice(&answer.body).map_err(|error| cannot(&error.to_string()))
}

/// Reports lie behind the journal by two seconds; a busy machine may need more.
const BOOKED: Duration = Duration::from_secs(10);

/// The books, once the reports hold as many requests as the journal, or the patience for that is over.
async fn booked(admin: SocketAddr, folder: &Path) -> Option<Books> {
    let begun = Instant::now();
    loop {
        let told = books(admin, ADMIN).await;
        let journal = Journal::read(&folder.join("journal")).unwrap_or_default();
        let outcomes: usize = journal.outcomes.values().map(Vec::len).sum();
        let settled = told
            .as_ref()
            .is_some_and(|told| told.requests() == outcomes as u64);
        if settled || begun.elapsed() > BOOKED {
            return told;
        }
        sleep(SCRAPE_EVERY).await;
    }
}

/// Stops the gateway and reads what it leaves behind.
pub(super) async fn close(
    gateway: &Mutex<GatewayProcess>,
    binary: &Path,
    folder: &Path,
    has_tenants: bool,
) -> OwnRecords {
    let mut gateway = gateway.lock().await;
    let books = match has_tenants {
        true => booked(gateway.admin, folder).await,
        false => None,
    };
    let stopped = gateway.stop(Duration::from_secs(20)).await;
    let mut unreadable = Vec::new();
    if let Some(Err(error)) = gateway.lodging.disk.as_ref().map(SmallDisk::keep) {
        unreadable.push(format!("the journal's disk cannot be read: {error}"));
    }
    let mut cannot = |what: &str, error: std::io::Error| {
        unreadable.push(format!("the {what} cannot be read: {error}"));
    };
    let path = folder.join("journal");
    let journal = Journal::read(&path).unwrap_or_else(|error| {
        cannot("journal", error);
        Journal::default()
    });
    let audit = audit(binary, &path).unwrap_or_else(|error| {
        cannot("verdict of audit verify", error);
        Ok(())
    });
    let mut leaks = Vec::new();
    for file in ["gateway.log", "journal"] {
        match secrets_in(&folder.join(file), &SECRETS) {
            Ok(found) => {
                leaks.extend(
                    found
                        .into_iter()
                        .map(|name| (file.to_owned(), name.to_owned())),
                );
            }
            Err(error) => cannot(file, error),
        }
    }
    OwnRecords {
        journal,
        audit,
        leaks,
        unreadable,
        books,
        stopped,
        starts: gateway.starts,
    }
}

/// What no webhook may hold, by its name: neither the secrets, nor what is for clients alone.
pub(crate) fn told_in(body: &[u8]) -> Vec<&'static str> {
    let mut found = secrets_of(body, &SECRETS);
    found.extend(secrets_of(body, &[("answer text", CANARY_MARK)]));
    found
}

/// The words of answers are for clients alone.
pub(super) fn find_answers(folder: &Path, own: &mut OwnRecords) {
    let words = [("answer text", CANARY_MARK)];
    for file in ["gateway.log", "journal"] {
        // What cannot be read was told when it was read for the other secrets.
        let found = secrets_in(&folder.join(file), &words).unwrap_or_default();
        let leaks = found.into_iter();
        own.leaks
            .extend(leaks.map(|name| (file.to_owned(), name.to_owned())));
    }
}
