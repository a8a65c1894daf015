//! `switchyard audit erase`: forgets a person, a client or a tenant, and leaves the chain as it is.

use std::path::Path;
use std::process::ExitCode;
use std::sync::mpsc::channel;
use std::time::Duration;

use switchyard::config::JournalMode;
use switchyard::store::journal::{
    Erasure, JournalOptions, Keep, TextKeys, ask_to_erase, count_owners, open,
};

use super::Place;
use crate::command::{complain, say};

#[derive(clap::Args)]
pub(crate) struct Erase {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    whom: Whom,
}

#[derive(clap::Args)]
#[group(required = true, multiple = true)]
struct Whom {
    /// The end user, as the client named them; of all clients, unless --client or --tenant says which.
    #[arg(long)]
    user: Option<String>,
    /// The client, with all its end users and texts.
    #[arg(long)]
    client: Option<String>,
    /// The tenant, with all its end users and texts.
    #[arg(long)]
    tenant: Option<String>,
}

/// A running gateway looks every second.
const PATIENCE: Duration = Duration::from_secs(15);

pub(super) fn run(erase: &Erase) -> ExitCode {
    match forget(erase) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::from(2)
        }
    }
}

fn forget(erase: &Erase) -> Result<ExitCode, String> {
    let folder = erase.place.folder()?;
    let erasure = Erasure {
        client: erase.whom.client.clone(),
        tenant: erase.whom.tenant.clone(),
        user: erase.whom.user.clone(),
    };
    let count = |word: &str| {
        count_owners(&folder, &erasure)
            .map_err(|error| format!("{}: {error}; {word}", folder.display()))
    };
    let found = count("name the journal's folder with --journal")?;
    if found == 0 {
        complain("the journal knows nobody of that name");
        return Ok(ExitCode::FAILURE);
    }
    let asked = ask_to_erase(&folder, &erasure).map_err(|error| error.to_string())?;
    // Where no gateway writes, its part is done here.
    let own = own_writer(&folder);
    let waiting = wait(&asked);
    drop(own);
    if waiting.is_err() || count("look again")? > 0 {
        return Err(
            "not done yet: the gateway that writes this journal will do it; is it running, and as the user who owns the folder?"
                .to_owned(),
        );
    }
    say(&format!(
        "{found} owners erased: their aliases lead nowhere and their texts cannot be read; erase copies of the folder {} too",
        folder.join("keys").display()
    ));
    Ok(ExitCode::SUCCESS)
}

/// Writes the journal until it is dropped; nobody when a gateway does.
fn own_writer(folder: &Path) -> Option<impl Drop + use<>> {
    let (ended, end) = channel();
    let options = JournalOptions {
        folder: folder.to_owned(),
        mode: JournalMode::Durable,
        segment_bytes: u64::MAX,
        keep: Keep::default(),
        text_keys: TextKeys::default(),
        most_owners: usize::MAX,
        look_back: JournalOptions::LOOK_BACK,
    };
    let (handle, _) = open(options, move || ended.send(()).unwrap_or_default()).ok()?;
    Some(OnDrop(Some(move || {
        drop(handle);
        let _ = end.recv_timeout(PATIENCE);
    })))
}

struct OnDrop<F: FnOnce()>(Option<F>);

impl<F: FnOnce()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        if let Some(work) = self.0.take() {
            work();
        }
    }
}

/// Waits until a file is gone.
#[expect(
    clippy::disallowed_methods,
    reason = "a command that does one thing has no runtime to hold up"
)]
fn wait(asked: &Path) -> Result<(), ()> {
    let step = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    while asked.exists() {
        if waited > PATIENCE {
            return Err(());
        }
        std::thread::sleep(step);
        waited += step;
    }
    Ok(())
}
