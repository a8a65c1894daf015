//! Requests that carry a key so that they are executed once, however often they are sent (fault L12).
//!
//! A table of what was asked under which key, and where its answer is. It knows nothing of answers but their size.
//!
//! # What a key stands for
//! A name begins with the tenant and the client, so that a key means nothing to anybody else (ground rule G10). It
//! is taken from the moment of the first request until its answer has been kept for its time. What did not succeed
//! is not kept: whoever asks again is served anew.
//!
//! # What is bounded
//! Every name and every byte of an answer counts against one limit. When it is reached, the client that keeps most
//! loses what it has kept longest, the key with the answer; requests under way are never forgotten, nor is an answer
//! that somebody reads: it would take its memory all the same, and nobody would count it.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use crate::domain::{ClientName, Moment};

/// What a name costs beside its answer, in bytes: about what the table and the tape of an answer take.
pub const NAME_BYTES: usize = 1_024;
/// Nobody waits for more than this many names to be forgotten; the rest goes with the next request.
const FORGOTTEN_AT_ONCE: usize = 64;

/// Whose a key is.
type Owner = (Arc<str>, ClientName);

/// A key, and whose it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Name {
    owner: Owner,
    key: Box<str>,
}

impl Name {
    pub fn new(tenant: Arc<str>, client: ClientName, key: &str) -> Self {
        Self {
            owner: (tenant, client),
            key: Box::from(key),
        }
    }
}

/// A digest of all that must be the same.
pub type Asked = [u8; 32];

/// How much is kept, and for how long.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// From the end of the answer.
    pub keep: Duration,
    /// Of all names and answers; 0: none is taken.
    pub most_bytes: usize,
    /// Of one answer.
    pub answer_bytes: usize,
}

/// Where an answer is.
pub trait Answer: Clone {
    /// Whether somebody reads it at the moment.
    fn is_read(&self) -> bool;
}

/// What somebody reads is kept for at least so long again.
const READ_ON: Duration = Duration::from_secs(1);
/// So many of a client's answers are looked at to find one that nobody reads.
const LOOKED_AT: usize = 64;

/// Tickets without an entry that are not worth a look at all of them.
const MOST_LOOSE: usize = 64;

/// One execution under a name. A name that was forgotten and taken again has another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    name: Arc<Name>,
    serial: u64,
}

/// What becomes of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered<R> {
    /// It is the first: it is to be executed.
    First(Ticket),
    /// It was asked before, and its answer is here, or will be.
    Again {
        ticket: Ticket,
        tape: R,
        under_way: bool,
    },
    /// Under this key something else was asked.
    Differs,
    /// It was executed, and its answer was too large to be kept.
    NotKept,
    /// There is no room for another key.
    Full,
}

enum Standing<R> {
    /// The tape, and how much of it was granted so far.
    UnderWay {
        tape: R,
        bytes: usize,
    },
    Kept {
        tape: R,
        bytes: usize,
        until: Moment,
    },
    NotKept {
        until: Moment,
    },
}

impl<R: Answer> Standing<R> {
    fn is_read(&self) -> bool {
        match self {
            Self::UnderWay { .. } => true,
            Self::Kept { tape, .. } => tape.is_read(),
            Self::NotKept { .. } => false,
        }
    }
}

impl<R> Standing<R> {
    fn bytes(&self) -> usize {
        match self {
            Self::UnderWay { bytes, .. } | Self::Kept { bytes, .. } => NAME_BYTES + bytes,
            Self::NotKept { .. } => NAME_BYTES,
        }
    }

    /// `None` while it is under way.
    fn until(&self) -> Option<Moment> {
        match self {
            Self::UnderWay { .. } => None,
            Self::Kept { until, .. } | Self::NotKept { until } => Some(*until),
        }
    }
}

struct Entry<R> {
    serial: u64,
    asked: Asked,
    standing: Standing<R>,
}

/// What one client keeps.
#[derive(Default)]
struct Share {
    /// In the order in which they ended. Some may be gone already, but never the first.
    ended: VecDeque<Ticket>,
    bytes: usize,
}

/// `R` is where an answer is, or will be.
pub struct Table<R> {
    entries: HashMap<Arc<Name>, Entry<R>>,
    /// Those whose requests have ended, in the order in which they did. Some may be gone already.
    ended: VecDeque<Ticket>,
    shares: HashMap<Owner, Share>,
    bytes: usize,
    /// Of these: of requests that have ended.
    ended_bytes: usize,
    serial: u64,
    forgotten: u64,
}

impl<R> Default for Table<R> {
    fn default() -> Self {
        Self {
            entries: HashMap::new(),
            ended: VecDeque::new(),
            shares: HashMap::new(),
            bytes: 0,
            ended_bytes: 0,
            serial: 0,
            forgotten: 0,
        }
    }
}

impl<R: Answer> Table<R> {
    /// A request comes with a key. `tape` is where its answer goes if it is the first.
    pub fn enter(
        &mut self,
        (name, asked): (&Arc<Name>, &Asked),
        tape: &R,
        now: Moment,
        terms: &Terms,
    ) -> Entered<R> {
        self.forget_old(now, terms.keep);
        match self.entries.get(name) {
            Some(entry)
                if entry.standing.until().is_none_or(|until| now < until)
                    || entry.standing.is_read() =>
            {
                if entry.asked != *asked {
                    return Entered::Differs;
                }
                let (tape, under_way) = match &entry.standing {
                    Standing::UnderWay { tape, .. } => (tape.clone(), true),
                    Standing::Kept { tape, .. } => (tape.clone(), false),
                    Standing::NotKept { .. } => return Entered::NotKept,
                };
                let ticket = Ticket {
                    name: Arc::clone(name),
                    serial: entry.serial,
                };
                return Entered::Again {
                    ticket,
                    tape,
                    under_way,
                };
            }
            // Its time is over, and only the tidying has not come to it yet.
            Some(_) => self.remove(name),
            None => {}
        }
        if !self.make_room(NAME_BYTES, terms) {
            return Entered::Full;
        }
        self.serial += 1;
        self.bytes += NAME_BYTES;
        let standing = Standing::UnderWay {
            tape: tape.clone(),
            bytes: 0,
        };
        let entry = Entry {
            serial: self.serial,
            asked: *asked,
            standing,
        };
        self.entries.insert(Arc::clone(name), entry);
        Entered::First(Ticket {
            name: Arc::clone(name),
            serial: self.serial,
        })
    }

    /// Grants an answer under way so many bytes more; `false`: it will not be kept.
    pub fn grow(&mut self, ticket: &Ticket, more: usize, terms: &Terms) -> bool {
        let Some(so_far) = self.granted(ticket) else {
            return false;
        };
        if so_far.saturating_add(more) > terms.answer_bytes || !self.make_room(more, terms) {
            return false;
        }
        if let Some(Entry {
            standing: Standing::UnderWay { bytes, .. },
            ..
        }) = self.entries.get_mut(&ticket.name)
        {
            *bytes += more;
            self.bytes += more;
        }
        true
    }

    /// The request has succeeded, and this many bytes are its answer; `false`: it is not kept after all.
    pub fn keep(&mut self, ticket: &Ticket, bytes: usize, now: Moment, terms: &Terms) -> bool {
        let Some(granted) = self.granted(ticket) else {
            return false;
        };
        let more = bytes.saturating_sub(granted);
        if more > 0 && !self.grow(ticket, more, terms) {
            self.spend(ticket, now, terms);
            return false;
        }
        self.end(ticket, |standing| match standing {
            Standing::UnderWay { tape, .. } => Standing::Kept {
                tape: tape.clone(),
                bytes,
                until: now.after(terms.keep),
            },
            Standing::Kept { .. } | Standing::NotKept { .. } => Standing::NotKept {
                until: now.after(terms.keep),
            },
        });
        true
    }

    /// The request has succeeded, and its answer is not kept.
    pub fn spend(&mut self, ticket: &Ticket, now: Moment, terms: &Terms) {
        let until = now.after(terms.keep);
        self.end(ticket, |_| Standing::NotKept { until });
    }

    /// The request has not succeeded, or nobody wants its answer: its key is free.
    pub fn forget(&mut self, ticket: &Ticket) {
        if self.is_of(ticket) {
            self.remove(&ticket.name);
        }
    }

    /// Forgets what has been kept for its time, so many at most; returns when to look again, if ever. What somebody
    /// reads is kept for once as long again.
    pub fn forget_old(&mut self, now: Moment, keep: Duration) -> Option<Moment> {
        for _ in 0..FORGOTTEN_AT_ONCE {
            let oldest = self.ended.front()?;
            match self.until(oldest) {
                Some(until) if until > now => return Some(until),
                Some(_) => {
                    let oldest = oldest.clone();
                    // Never at once again, however short it is kept.
                    let longer = now.after(keep.max(READ_ON));
                    if self.is_read_on(&oldest, longer) {
                        self.ended.push_back(oldest);
                    } else {
                        self.remove(&oldest.name);
                    }
                }
                None => {}
            }
            self.ended.pop_front();
        }
        Some(now)
    }

    /// Lets an answer that somebody reads be kept until then; whether there is one.
    fn is_read_on(&mut self, ticket: &Ticket, longer: Moment) -> bool {
        match self.entries.get_mut(&ticket.name) {
            Some(Entry {
                standing: Standing::Kept { tape, until, .. },
                ..
            }) if tape.is_read() => {
                *until = longer;
                true
            }
            Some(_) | None => false,
        }
    }

    /// Gives up all answers that nobody reads. Their keys stay, so that nothing is executed twice.
    pub fn give_up(&mut self) -> u64 {
        let mut given_up = 0;
        for (name, entry) in &mut self.entries {
            let Standing::Kept { tape, bytes, until } = &entry.standing else {
                continue;
            };
            if tape.is_read() {
                continue;
            }
            let (bytes, until) = (*bytes, *until);
            entry.standing = Standing::NotKept { until };
            self.bytes -= bytes;
            self.ended_bytes -= bytes;
            if let Some(share) = self.shares.get_mut(&name.owner) {
                share.bytes -= bytes;
            }
            given_up += 1;
        }
        given_up
    }

    /// Bytes that names and answers take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Names that are taken.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// How many had to be forgotten before their time since this was last asked.
    pub fn take_forgotten(&mut self) -> u64 {
        std::mem::take(&mut self.forgotten)
    }

    // --- the parts ---

    fn is_of(&self, ticket: &Ticket) -> bool {
        let entry = self.entries.get(&ticket.name);
        entry.is_some_and(|entry| entry.serial == ticket.serial)
    }

    /// How much a request under way was granted; `None` when it is not under way.
    fn granted(&self, ticket: &Ticket) -> Option<usize> {
        let entry = self.entries.get(&ticket.name)?;
        match entry.standing {
            Standing::UnderWay { bytes, .. } if entry.serial == ticket.serial => Some(bytes),
            Standing::UnderWay { .. } | Standing::Kept { .. } | Standing::NotKept { .. } => None,
        }
    }

    /// How long it is kept; `None` when there is nothing any more.
    fn until(&self, ticket: &Ticket) -> Option<Moment> {
        let entry = self.entries.get(&ticket.name)?;
        entry
            .standing
            .until()
            .filter(|_| entry.serial == ticket.serial)
    }

    /// Makes room for so many bytes; `false`: there is none to be had.
    fn make_room(&mut self, more: usize, terms: &Terms) -> bool {
        let under_way = self.bytes - self.ended_bytes;
        if under_way.saturating_add(more) > terms.most_bytes {
            return false;
        }
        while self.bytes.saturating_add(more) > terms.most_bytes {
            let largest = self.shares.values().max_by_key(|share| share.bytes);
            let unread = largest.and_then(|share| self.oldest_unread(share));
            // It may all be read; then the others' has to do.
            let unread = unread.or_else(|| {
                let mut shares = self.shares.values();
                shares.find_map(|share| self.oldest_unread(share))
            });
            let Some(name) = unread else {
                return false;
            };
            self.remove(&name);
            self.forgotten += 1;
        }
        self.tidy();
        true
    }

    fn oldest_unread(&self, share: &Share) -> Option<Arc<Name>> {
        let mut ended = share.ended.iter().take(LOOKED_AT);
        let oldest = ended.find(|ticket| {
            let entry = self.entries.get(&ticket.name);
            entry.is_some_and(|entry| entry.serial == ticket.serial && !entry.standing.is_read())
        });
        oldest.map(|ticket| Arc::clone(&ticket.name))
    }

    /// Lets go of the tickets of those that were forgotten before their time: they hold names, which nobody counts.
    fn tidy(&mut self) {
        if self.ended.len() <= self.entries.len() * 2 + MOST_LOOSE {
            return;
        }
        let entries = &self.entries;
        let is_there = |ticket: &Ticket| {
            let entry = entries.get(&ticket.name);
            entry.is_some_and(|entry| entry.serial == ticket.serial)
        };
        self.ended.retain(is_there);
        for share in self.shares.values_mut() {
            share.ended.retain(is_there);
        }
    }

    fn end(&mut self, ticket: &Ticket, to: impl FnOnce(&Standing<R>) -> Standing<R>) {
        if self.granted(ticket).is_none() {
            return;
        }
        let Some(entry) = self.entries.get_mut(&ticket.name) else {
            return;
        };
        self.bytes -= entry.standing.bytes();
        entry.standing = to(&entry.standing);
        let bytes = entry.standing.bytes();
        self.bytes += bytes;
        self.ended_bytes += bytes;
        self.ended.push_back(ticket.clone());
        let share = self.shares.entry(ticket.name.owner.clone()).or_default();
        share.bytes += bytes;
        share.ended.push_back(ticket.clone());
    }

    fn remove(&mut self, name: &Arc<Name>) {
        let Some(entry) = self.entries.remove(name) else {
            return;
        };
        let bytes = entry.standing.bytes();
        self.bytes -= bytes;
        if entry.standing.until().is_none() {
            return;
        }
        self.ended_bytes -= bytes;
        let entries = &self.entries;
        let is_gone = |ticket: &Ticket| {
            let entry = entries.get(&ticket.name);
            entry.is_none_or(|entry| entry.serial != ticket.serial)
        };
        if let Some(share) = self.shares.get_mut(&name.owner) {
            share.bytes -= bytes;
            while share.ended.front().is_some_and(is_gone) {
                share.ended.pop_front();
            }
            if share.ended.is_empty() {
                self.shares.remove(&name.owner);
            }
        }
    }
}
