//! Where the store is asked for: opened when it is first needed, and again after it failed.
//!
//! # Why
//! A gateway that keeps nothing has no store and needs no folder to write to; what does not need the store never
//! learns that it failed. The file is made when the first record is kept, and opened at the start where it exists.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout};
use tracing::{error, info};

use super::embedded::{Embedded, OpenedStore, open};
use super::keys::KeyStore;
use super::spending::SpendStore;
use super::{ResponseStore, StoreError};
use crate::config::StoreSettings;

/// A store that did not open is tried again after this long; until then the same answer is given.
const RETRY: Duration = Duration::from_secs(5);

/// The way to the store.
#[derive(Clone, Debug)]
pub struct StoreDesk(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    settings: StoreSettings,
    open: ArcSwapOption<Embedded>,
    /// Held while it is being opened; when it failed last, and why.
    failed: Mutex<Option<(Instant, StoreError)>>,
    /// As `failed`, for who must not wait.
    trouble: ArcSwapOption<StoreError>,
}

impl StoreDesk {
    pub fn new(settings: StoreSettings) -> Self {
        Self(Arc::new(Inner {
            settings,
            open: ArcSwapOption::empty(),
            failed: Mutex::new(None),
            trouble: ArcSwapOption::empty(),
        }))
    }

    pub fn settings(&self) -> &StoreSettings {
        &self.0.settings
    }

    /// Opens a store that is there, so that its mistakes are told at the start and what is over is let go.
    pub async fn take_up(&self) {
        if self.is_there().await {
            // Told in the log; whoever needs it is told again.
            let _ = self.opened().await;
        }
    }

    /// Whether there is a store: where there is none, nothing was ever kept.
    pub async fn is_there(&self) -> bool {
        if self.current().is_some() {
            return true;
        }
        let path = self.0.settings.path.clone();
        let there = tokio::task::spawn_blocking(move || path.exists()).await;
        there.unwrap_or(false)
    }

    /// Where responses are kept.
    pub async fn responses(&self) -> Result<Arc<dyn ResponseStore>, StoreError> {
        Ok(self.opened().await?)
    }

    /// Where it is added up what was spent.
    pub async fn spending(&self) -> Result<Arc<dyn SpendStore>, StoreError> {
        Ok(self.opened().await?)
    }

    /// Where keys and tenants are made and changed.
    pub async fn keys(&self) -> Result<Arc<dyn KeyStore>, StoreError> {
        Ok(self.opened().await?)
    }

    /// What is open now, without waiting for it.
    pub fn current(&self) -> Option<Arc<Embedded>> {
        self.0.open.load_full().filter(|store| store.is_alive())
    }

    /// A word on the store for `/ready`.
    pub fn state(&self) -> &'static str {
        match (self.current(), self.0.trouble.load().as_deref()) {
            (Some(store), _) if store.health().writable() => "open",
            (Some(_), _) => "unwritable",
            (None, Some(trouble)) => trouble.label(),
            (None, None) => "not needed yet",
        }
    }

    async fn opened(&self) -> Result<Arc<Embedded>, StoreError> {
        if let Some(store) = self.current() {
            return Ok(store);
        }
        let inner = Arc::clone(&self.0);
        // Of its own: a caller that leaves does not stop it half way.
        let opening = tokio::spawn(async move { inner.open_now().await });
        match timeout(self.0.settings.patience, opening).await {
            Ok(Ok(opened)) => opened,
            Ok(Err(_)) => Err(StoreError::Ended),
            Err(_) => Err(StoreError::Late),
        }
    }

    /// Writes what is waiting and ends the store.
    pub async fn close(&self) {
        if let Some(store) = self.0.open.swap(None)
            && let Err(error) = store.close().await
        {
            error!(%error, "the store did not end in order");
        }
    }
}

impl Inner {
    async fn open_now(&self) -> Result<Arc<Embedded>, StoreError> {
        let mut failed = self.failed.lock().await;
        if let Some(store) = self.open.load_full().filter(|store| store.is_alive()) {
            return Ok(store);
        }
        if let Some((at, why)) = failed.as_ref()
            && at.elapsed() < RETRY
        {
            return Err(why.clone());
        }
        let settings = self.settings.clone();
        let opened = tokio::task::spawn_blocking(move || open(&settings, true)).await;
        match opened.unwrap_or(Err(StoreError::Ended)) {
            Ok((store, found)) => {
                tell(&self.settings, found);
                let store = Arc::new(store);
                *failed = None;
                self.trouble.store(None);
                self.open.store(Some(Arc::clone(&store)));
                Ok(store)
            }
            Err(why) => {
                let told_before = failed.as_ref().is_some_and(|(_, before)| *before == why);
                if !told_before {
                    error!(error = %why, "the store cannot be used; what needs it is refused");
                }
                self.trouble.store(Some(Arc::new(why.clone())));
                *failed = Some((Instant::now(), why.clone()));
                Err(why)
            }
        }
    }
}

fn tell(settings: &StoreSettings, found: OpenedStore) {
    let path = settings.path.display();
    if found.created {
        info!(%path, "store made");
    }
    if let Some(from) = found.migrated_from {
        info!(%path, from, "store brought to this release's schema");
    }
    if found.interrupted > 0 {
        info!(%path, responses = found.interrupted, "responses were cut off when the last process ended");
    }
}
