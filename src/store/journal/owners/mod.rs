//! Whose records and texts they are: aliases for end users, data keys for kept texts.
//!
//! # Why
//! A chain over what a person may demand to have erased cannot be both kept and erased. So the chain never
//! holds it: an end user stands in the records under an alias drawn at random, and a kept text is sealed with a
//! data key of its owner. Who stands behind an alias, and the wrapped data key, are one line of a file beside
//! the segments. Without that line the alias leads nowhere and the text is noise; the chain is as before.

mod file;
mod keys;

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use ring::hmac;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde::{Deserialize, Serialize};

use self::file::Entry;
use self::keys::{Key, Master};
use super::handle::JournalOptions;
use super::record::{Who, clipped};
use crate::config::{JournalMode, Secret};

/// Stands for every end user beyond the number that is kept apart.
const ANY_USER: &str = "u-other";

/// The master keys: the one in force, and the one before it while texts are still wrapped with that.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TextKeys {
    pub now: Option<Secret>,
    pub before: Option<Secret>,
}

/// Who is to be forgotten; what is `None` does not matter. All of them `None` is nobody.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Erasure {
    pub client: Option<String>,
    pub tenant: Option<String>,
    pub user: Option<String>,
}

impl Erasure {
    fn holds(&self, entry: &Entry) -> bool {
        let is = |wanted: &Option<String>, value: Option<&str>| {
            wanted.as_deref().is_none_or(|wanted| Some(wanted) == value)
        };
        *self != Self::default()
            && is(&self.client, Some(&entry.client))
            && is(&self.tenant, entry.tenant.as_deref())
            && is(&self.user, entry.user.as_deref())
    }
}

/// Where a text stands and what it is; sealed text fits no other place.
#[derive(Clone, Copy, Debug)]
pub(super) struct TextPlace<'a> {
    pub(super) request: &'a str,
    pub(super) part: &'a str,
    pub(super) owner: &'a str,
}

impl TextPlace<'_> {
    fn bound_to(&self) -> Vec<u8> {
        [self.request, self.part, self.owner].join("/").into_bytes()
    }
}

/// A hash of who somebody is: names are not held in memory.
type Index = [u8; 16];

struct Owner {
    id: Box<str>,
    /// Wrapped with the master key in force.
    key: Option<Box<str>>,
}

pub(super) struct Owners {
    journal: PathBuf,
    random: SystemRandom,
    names: hmac::Key,
    prompts: PromptKey,
    master: Option<Master>,
    known: HashMap<Index, Owner>,
    most: usize,
    file: Option<File>,
    /// Lines that the disk did not take.
    unsaved: Vec<u8>,
}

impl std::fmt::Debug for Owners {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Owners({})", self.known.len())
    }
}

impl Owners {
    /// Reads who is known, and wraps data keys anew that the key of before wraps.
    pub(super) fn open(options: &JournalOptions) -> io::Result<Self> {
        let (journal, keys) = (&options.folder, &options.text_keys);
        let durable = options.mode == JournalMode::Durable;
        let folder = file::folder(journal);
        super::segment::make_folder(&folder)?;
        let random = SystemRandom::new();
        let root = installation_key(&folder.join("installation"), durable, &random)?;
        let named =
            |purpose: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, &*keys::derived(&root, purpose));
        let mut owners = Self {
            journal: journal.clone(),
            names: named(b"names"),
            prompts: PromptKey::new(&keys::derived(&root, b"prompts")),
            random,
            master: keys.now.as_ref().map(Master::new),
            known: HashMap::new(),
            most: options.most_owners,
            file: None,
            unsaved: Vec::new(),
        };
        let mut entries = file::read(journal)?;
        if owners.rewrap(&mut entries, keys.before.as_ref()) {
            file::rewrite(journal, &entries)?;
        }
        for entry in &entries {
            owners.remember(entry);
        }
        Ok(owners)
    }

    /// Wraps anew what the key of before wraps; whether there was any.
    fn rewrap(&self, entries: &mut [Entry], before: Option<&Secret>) -> bool {
        let (Some(now), Some(before)) = (&self.master, before.map(Master::new)) else {
            return false;
        };
        let mut changed = false;
        for entry in entries {
            if entry.by.as_deref() != Some(&before.mark) {
                continue;
            }
            let data = entry
                .key
                .as_deref()
                .and_then(|wrapped| before.unwrap(wrapped, &entry.id));
            if let Some(anew) = data.and_then(|data| now.wrap(&data, &entry.id, &self.random)) {
                entry.key = Some(anew);
                entry.by = Some(now.mark.clone());
                changed = true;
            }
        }
        changed
    }

    fn remember(&mut self, entry: &Entry) {
        let index = self.index(
            &entry.client,
            entry.tenant.as_deref(),
            entry.user.as_deref(),
        );
        let mark = self.master.as_ref().map(|master| master.mark.as_str());
        let owner = Owner {
            id: Box::from(&*entry.id),
            key: entry
                .key
                .as_deref()
                .filter(|_| entry.by.as_deref() == mark)
                .map(Box::from),
        };
        self.known.insert(index, owner);
    }

    fn index(&self, client: &str, tenant: Option<&str>, user: Option<&str>) -> Index {
        let mut sum = hmac::Context::with_key(&self.names);
        for part in [Some(client), tenant, user] {
            // Told apart by their lengths; the absent from the empty by a length that no text has.
            let part = part.map(clipped);
            let length = part.map_or(u64::MAX, |part| part.len() as u64);
            sum.update(&length.to_be_bytes());
            sum.update(part.unwrap_or_default().as_bytes());
        }
        first_16(sum.sign().as_ref())
    }

    /// The key of this installation for hashes of prompts.
    pub(super) fn prompt_key(&self) -> PromptKey {
        self.prompts.clone()
    }

    pub(super) fn count(&self) -> usize {
        self.known.len()
    }

    /// The name under which the records know the end user.
    pub(super) fn alias(&mut self, who: &Who<'_>) -> String {
        match self.owner(who) {
            Some((_, id)) => alias_of(&id),
            None => ANY_USER.to_owned(),
        }
    }

    /// Seals a text with its owner's data key. `None` without a master key, beyond the number of owners kept,
    /// or when the owner's key is wrapped by a master key that is not told.
    pub(super) fn seal(
        &mut self,
        who: &Who<'_>,
        (request, part): (&str, &str),
        text: &[u8],
    ) -> Option<(String, Vec<u8>)> {
        self.master.as_ref()?;
        let (index, id) = self.owner(who)?;
        let key = self.data_key(index, &id, who)?;
        let place = TextPlace {
            request,
            part,
            owner: &id,
        };
        let sealed = keys::seal(&key, &place.bound_to(), text, &self.random)?;
        Some((id, sealed))
    }

    fn data_key(&mut self, index: Index, id: &str, who: &Who<'_>) -> Option<Key> {
        let master = self.master.as_ref()?;
        let owner = self.known.get_mut(&index)?;
        if let Some(wrapped) = &owner.key {
            return master.unwrap(wrapped, id);
        }
        let data = keys::drawn(&self.random)?;
        let wrapped = master.wrap(&data, id, &self.random)?;
        owner.key = Some(Box::from(&*wrapped));
        let mut entry = entry_of(who, id.to_owned());
        entry.key = Some(wrapped);
        entry.by = Some(master.mark.clone());
        self.save(&entry);
        Some(data)
    }

    /// The owner, drawn now if it is a new one; `None` when there are too many.
    fn owner(&mut self, who: &Who<'_>) -> Option<(Index, String)> {
        let index = self.index(who.client, who.tenant, who.user);
        if let Some(owner) = self.known.get(&index) {
            return Some((index, owner.id.to_string()));
        }
        if self.known.len() >= self.most {
            return None;
        }
        let mut drawn = [0; 16];
        self.random.fill(&mut drawn).ok()?;
        let id = keys::hex(&drawn);
        let owner = Owner {
            id: Box::from(&*id),
            key: None,
        };
        self.known.insert(index, owner);
        self.save(&entry_of(who, id.clone()));
        Some((index, id))
    }

    /// As safe as a record in fast mode: in the kernel before the record that uses it.
    fn save(&mut self, entry: &Entry) {
        self.unsaved.extend_from_slice(&entry.line());
        self.settle();
    }

    pub(super) fn journal(&self) -> &Path {
        &self.journal
    }

    /// Writes what the disk did not take before.
    pub(super) fn settle(&mut self) {
        if self.unsaved.is_empty() {
            return;
        }
        if self.file.is_none() {
            self.file = file::append(&self.journal).ok();
        }
        let written = self
            .file
            .as_mut()
            .is_some_and(|file| file.write_all(&self.unsaved).is_ok());
        if written {
            self.unsaved.clear();
        } else {
            // Whatever half line is there ends before the next is begun.
            self.file = None;
        }
    }

    /// Forgets owners for good; answers their aliases.
    pub(super) fn erase(&mut self, erasure: &Erasure) -> io::Result<Vec<String>> {
        self.settle();
        let entries = file::read(&self.journal)?;
        let (gone, kept): (Vec<_>, Vec<_>) =
            entries.into_iter().partition(|entry| erasure.holds(entry));
        if gone.is_empty() {
            return Ok(Vec::new());
        }
        file::rewrite(&self.journal, &kept)?;
        // The old file has no name any more; nothing may be written to it.
        self.file = None;
        self.known.clear();
        for entry in &kept {
            self.remember(entry);
        }
        Ok(gone.iter().map(|entry| alias_of(&entry.id)).collect())
    }
}

fn entry_of(who: &Who<'_>, id: String) -> Entry {
    Entry {
        id,
        client: clipped(who.client).to_owned(),
        tenant: who.tenant.map(|tenant| clipped(tenant).to_owned()),
        user: who.user.map(|user| clipped(user).to_owned()),
        key: None,
        by: None,
    }
}

fn alias_of(id: &str) -> String {
    format!("u-{id}")
}

fn first_16(digest: &[u8]) -> [u8; 16] {
    let mut short = [0; 16];
    for (to, from) in short.iter_mut().zip(digest) {
        *to = *from;
    }
    short
}

/// Makes hashes of prompts that nobody can compute without this installation.
///
/// # Why not HMAC-SHA-256, as everywhere else
/// It is made of every prompt, on its way out. BLAKE3, keyed, takes a quarter of the time for 32 KB.
#[derive(Clone)]
pub(super) struct PromptKey(zeroize::Zeroizing<[u8; 32]>);

impl std::fmt::Debug for PromptKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PromptKey")
    }
}

impl PromptKey {
    fn new(key: &[u8; 32]) -> Self {
        Self(zeroize::Zeroizing::new(*key))
    }

    /// Under a key of the tenant's own: who reads one tenant's records learns nothing of another's prompts by
    /// comparing (ground rule G10).
    pub(super) fn hash(&self, tenant: &str, prompt: &[u8]) -> [u8; 16] {
        let own = blake3::keyed_hash(&self.0, tenant.as_bytes());
        first_16(blake3::keyed_hash(own.as_bytes(), prompt).as_bytes())
    }
}

/// The key that this installation alone has, drawn by its first start. An empty file is one whose start was cut
/// short by a lost machine: nothing was hashed with what it did not hold.
fn installation_key(path: &Path, durable: bool, random: &SystemRandom) -> io::Result<hmac::Key> {
    if fs::metadata(path).map_or(0, |meta| meta.len()) == 0 {
        let drawn = keys::drawn(random).ok_or_else(|| io::Error::other("no randomness"))?;
        let _ = fs::remove_file(path);
        let mut file = file::private(path)?;
        writeln!(file, "{}", keys::hex(&*drawn))?;
        if durable {
            // Else left to the kernel: a start keeps nobody waiting for a disk.
            file.sync_all()?;
        }
    }
    let text = zeroize::Zeroizing::new(fs::read_to_string(path)?);
    let key = keys::unhex(text.trim()).filter(|key| key.len() == 32);
    let key = key.ok_or_else(|| {
        io::Error::other(
            "keys/installation is damaged; restore it, or remove it: users then get new aliases, and hashes of prompts cannot be compared with those of before",
        )
    })?;
    Ok(hmac::Key::new(hmac::HMAC_SHA256, &key))
}

/// The end users behind the aliases, as far as they are known and not erased.
pub fn names(journal: &Path) -> HashMap<String, String> {
    let entries = file::read(journal).unwrap_or_default();
    entries
        .into_iter()
        .filter_map(|entry| Some((alias_of(&entry.id), entry.user?)))
        .collect()
}

/// How many an erasure would forget.
pub fn count_owners(journal: &Path, erasure: &Erasure) -> io::Result<usize> {
    let entries = file::read(journal)?;
    Ok(entries.iter().filter(|entry| erasure.holds(entry)).count())
}

/// Why a sealed text cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SealedError {
    #[error("its owner was erased: the key does not exist any more")]
    Erased,
    #[error("its key is wrapped with another master key; name that one in journal.text_key")]
    OtherMaster,
    #[error("it was changed")]
    Changed,
}

/// Opens sealed texts for an operator who has the master key.
pub struct TextReader {
    entries: HashMap<String, Entry>,
    masters: Vec<Master>,
}

impl TextReader {
    pub fn open(journal: &Path, keys: &TextKeys) -> io::Result<Self> {
        let masters = keys.now.iter().chain(&keys.before).map(Master::new);
        let entries = file::read(journal)?;
        Ok(Self {
            masters: masters.collect(),
            entries: entries
                .into_iter()
                .map(|entry| (entry.id.clone(), entry))
                .collect(),
        })
    }

    pub fn unseal(&self, text: &super::ReadText) -> Result<Vec<u8>, SealedError> {
        let entry = self.entries.get(&text.owner).ok_or(SealedError::Erased)?;
        let by = entry.by.as_deref().unwrap_or_default();
        let master = self.masters.iter().find(|master| master.mark == by);
        let wrapped = entry.key.as_deref().unwrap_or_default();
        let key = master
            .and_then(|master| master.unwrap(wrapped, &entry.id))
            .ok_or(SealedError::OtherMaster)?;
        let request = text.request.text();
        let place = TextPlace {
            request: request.as_str(),
            part: &text.part,
            owner: &text.owner,
        };
        keys::open(&key, &place.bound_to(), &text.sealed).ok_or(SealedError::Changed)
    }
}
