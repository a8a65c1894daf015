//! Events in, events out, in order, with what they say decided by the rules.
//!
//! # Why whole events wait
//! Nothing is made up: an event whose text ends in half a placeholder waits, with its place, until the other half
//! has come in a later event. What is behind it waits too, so nothing overtakes anything.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use serde_json::Value;

use super::splice::{Edits, applied, rewrite};
use super::structured::fits;
use super::{Guarded, form_of};
use crate::dialects::sse::{Event, Framer};
use crate::dialects::texts::{
    Channel as Name, EventTexts, Finish, TextKind, TextSpan, event_texts, read_text, write_text,
};
use crate::dialects::{AnswerTerms, filtered_completion, filtered_end};
use crate::domain::{ClientDialect, Operation, StreamFacts, StreamFault};
use crate::policy::guard::{Channel, Decided, RuleId, Tally};

/// Events wait for no more bytes than this; then what they hold is decided as it stands (ground rule G14).
const MOST_WAITING: usize = 64 * 1024;
/// More texts at once than any answer has.
const MOST_CHANNELS: usize = 256;
/// An answer longer than this is not held against a schema, and does not fit.
const LARGEST_STRUCTURED: usize = 1 << 20;

/// A piece of a text that is not decided yet, or that has become something else.
struct Slot {
    number: u64,
    span: TextSpan,
    text: String,
    is_whole: bool,
}

/// An event that waits for its texts.
struct Waiting {
    event: Event,
    slots: Vec<Slot>,
    /// Texts that stand in it as a whole, changed.
    edits: Edits,
}

/// A stream's events on their way.
pub(super) struct Sieve {
    guarded: Arc<Guarded>,
    speaks: ClientDialect,
    terms: AnswerTerms,
    framer: Framer,
    waiting: VecDeque<Waiting>,
    bytes_waiting: usize,
    channels: HashMap<Name, Channel>,
    next_slot: u64,
    tally: Tally,
    /// The last event that said something: who answers.
    last: Bytes,
    /// The block of text that a client of Anthropic's has open.
    open_block: Option<u32>,
    /// What the model said, for its schema.
    structured: HashMap<Name, String>,
    told: bool,
}

impl Sieve {
    pub(super) fn new(guarded: Arc<Guarded>, speaks: ClientDialect, terms: AnswerTerms) -> Self {
        Self {
            guarded,
            speaks,
            terms,
            framer: Framer::default(),
            waiting: VecDeque::new(),
            bytes_waiting: 0,
            channels: HashMap::new(),
            next_slot: 0,
            tally: Tally::default(),
            last: Bytes::new(),
            open_block: None,
            structured: HashMap::new(),
            told: false,
        }
    }

    /// One that tells nobody what it finds, because another one does.
    pub(super) fn silent(guarded: Arc<Guarded>, speaks: ClientDialect, terms: AnswerTerms) -> Self {
        let mut sieve = Self::new(guarded, speaks, terms);
        sieve.told = true;
        sieve
    }

    /// Takes whole events, and at the end decides whatever still waits. Answers the rule that ends the stream.
    pub(super) fn take(
        &mut self,
        events: &Bytes,
        is_end: bool,
        out: &mut BytesMut,
    ) -> Result<Option<RuleId>, StreamFault> {
        self.framer
            .push(events)
            .map_err(|_| StreamFault::TooLarge)?;
        let mut blocked = None;
        while blocked.is_none()
            && let Some(event) = self.framer.next_event()
        {
            let event = event.map_err(|_| StreamFault::TooLarge)?;
            blocked = self.event(event)?;
            if blocked.is_none() && self.bytes_waiting > MOST_WAITING {
                blocked = self.close(|_| true);
            }
            self.release(out);
        }
        if is_end && blocked.is_none() {
            blocked = self.close(|_| true);
            self.release(out);
            if blocked.is_none() {
                self.tell(None);
                self.check_structure(|_| true)?;
            }
        }
        Ok(blocked)
    }

    fn event(&mut self, event: Event) -> Result<Option<RuleId>, StreamFault> {
        let texts = if event.data.is_empty() || &event.data[..] == b"[DONE]" {
            EventTexts {
                pieces: Vec::new(),
                wholes: Vec::new(),
                finish: Finish::All,
            }
        } else {
            event_texts(self.speaks, &event.data).map_err(|_| StreamFault::Unguarded)?
        };
        // What went on elsewhere has ended before this event; its rest belongs to events before it.
        let mut blocked = self.close_others(&texts);
        let (edits, forbidden) = self.wholes(&event.data, &texts.wholes)?;
        blocked = blocked.or(forbidden);
        if blocked.is_some() {
            return Ok(blocked);
        }
        self.note(&event, &texts);
        let is_last = self.is_last(&event, &texts.finish);
        let mut slots = Vec::with_capacity(texts.pieces.len());
        let mut pushed = Vec::new();
        for (name, span) in texts.pieces.iter().cloned() {
            let written = event.data.get(span.range.clone()).unwrap_or_default();
            let text = read_text(written).ok_or(StreamFault::Unguarded)?;
            let number = self.next_slot;
            self.next_slot += 1;
            self.push(&name, span.kind, (number, &text))?;
            slots.push(Slot {
                number,
                span,
                text: String::new(),
                is_whole: false,
            });
            pushed.push(name);
        }
        self.bytes_waiting += event.raw.len();
        self.waiting.push_back(Waiting {
            event,
            slots,
            edits,
        });
        for name in &pushed {
            blocked = blocked.or_else(|| self.decide(name, false));
        }
        if blocked.is_some() {
            return Ok(blocked);
        }
        let is_over = |name: &Name| match &texts.finish {
            Finish::None => false,
            Finish::All => true,
            Finish::Of(choices) => name
                .numbers
                .first()
                .is_some_and(|one| choices.contains(one)),
        };
        blocked = self.close(is_over);
        if blocked.is_none() && is_last {
            self.check_structure(is_over)?;
        }
        Ok(blocked)
    }

    fn push(
        &mut self,
        name: &Name,
        kind: TextKind,
        (slot, text): (u64, &str),
    ) -> Result<(), StreamFault> {
        if self.channels.len() >= MOST_CHANNELS && !self.channels.contains_key(name) {
            return Err(StreamFault::TooLarge);
        }
        let channel = self
            .channels
            .entry(name.clone())
            .or_insert_with(|| Channel::new(form_of(kind)));
        channel.push(slot, text);
        Ok(())
    }

    /// Texts of the same choice under another name, and blocks before this one, go no further.
    fn close_others(&mut self, texts: &EventTexts) -> Option<RuleId> {
        let pieces = &texts.pieces;
        if pieces.is_empty() {
            return None;
        }
        let sequential = match self.speaks {
            ClientDialect::Openai => false,
            ClientDialect::Anthropic | ClientDialect::Responses | ClientDialect::Gemini => true,
        };
        let is_over = |name: &Name| {
            let here = pieces.iter().any(|(piece, _)| piece == name);
            let replaced = pieces.iter().any(|(piece, _)| {
                sequential
                    || (piece.numbers.first() == name.numbers.first() && piece.name != name.name)
            });
            !here && replaced
        };
        self.close(is_over)
    }

    fn close(&mut self, is_over: impl Fn(&Name) -> bool) -> Option<RuleId> {
        let over = self
            .channels
            .iter()
            .filter(|(_, channel)| !channel.is_empty());
        let mut over: Vec<Name> = over
            .map(|(name, _)| name.clone())
            .filter(|name| is_over(name))
            .collect();
        over.sort_by(|one, other| (&one.numbers, &one.name).cmp(&(&other.numbers, &other.name)));
        over.iter().find_map(|name| self.decide(name, true))
    }

    fn decide(&mut self, name: &Name, is_end: bool) -> Option<RuleId> {
        let guarded = Arc::clone(&self.guarded);
        let channel = self.channels.get_mut(name)?;
        let Decided {
            said,
            tally,
            blocked,
        } = channel.decide(guarded.search(), is_end);
        self.tally.add(&tally);
        for said in said {
            if guarded.schema.is_some() && matches!(&*name.name, "content" | "text" | "delta") {
                let whole = self.structured.entry(name.clone()).or_default();
                if whole.len() <= LARGEST_STRUCTURED {
                    whole.push_str(&said.text);
                }
            }
            let mut slots = self
                .waiting
                .iter_mut()
                .flat_map(|waiting| &mut waiting.slots);
            if let Some(slot) = slots.find(|slot| slot.number == said.slot) {
                slot.text.push_str(&said.text);
                slot.is_whole |= said.is_whole;
            }
        }
        blocked
    }

    /// Texts that stand in one event as a whole, such as all of a block at its end.
    fn wholes(
        &mut self,
        data: &[u8],
        spans: &[TextSpan],
    ) -> Result<(Edits, Option<RuleId>), StreamFault> {
        let guarded = Arc::clone(&self.guarded);
        let mut forbidden = None;
        // What they hold was counted when it came in pieces.
        let edits = rewrite(data, spans, &mut |text, kind, _| {
            let mut channel = Channel::new(form_of(kind));
            channel.push(0, text);
            let decided = channel.decide(guarded.search(), true);
            forbidden = forbidden.or(decided.blocked);
            let said: String = decided.said.into_iter().map(|said| said.text).collect();
            (said != text).then_some(said)
        });
        Ok((edits.map_err(|_| StreamFault::Unguarded)?, forbidden))
    }

    /// Lets go what is decided, from the front.
    fn release(&mut self, out: &mut BytesMut) {
        while self
            .waiting
            .front()
            .is_some_and(|waiting| waiting.slots.iter().all(|slot| slot.is_whole))
            && let Some(waiting) = self.waiting.pop_front()
        {
            self.bytes_waiting = self.bytes_waiting.saturating_sub(waiting.event.raw.len());
            write(waiting, out);
        }
    }

    /// What is decided of what waits, and nothing of the rest: no half of a placeholder leaves (fault S20).
    pub(super) fn give_up(&mut self, out: &mut BytesMut) {
        self.tell(None);
        while let Some(waiting) = self.waiting.pop_front() {
            let is_whole = waiting.slots.iter().all(|slot| slot.is_whole);
            let says = waiting.slots.iter().any(|slot| !slot.text.is_empty());
            if is_whole || says {
                write(waiting, out);
            }
            if !is_whole {
                break;
            }
        }
        self.waiting.clear();
        self.channels.clear();
    }

    /// The search itself broke.
    pub(super) fn panicked(&self) {
        let metrics = &self.guarded.news.metrics;
        metrics.blocked_by("policy_unavailable");
    }

    /// Lets go what stands before a forbidden place.
    pub(super) fn cut_off(&mut self, rule: RuleId, out: &mut BytesMut) {
        self.tell(Some(rule));
        self.give_up(out);
    }

    /// Ends the stream as a filter ends it (fault S21), where its form has an end of that kind.
    pub(super) fn filtered_end(
        &mut self,
        facts: &StreamFacts,
        out: &mut BytesMut,
    ) -> Result<(), StreamFault> {
        if let Some(block) = self
            .open_block
            .filter(|_| self.speaks == ClientDialect::Anthropic)
        {
            let data = format!("{{\"type\":\"content_block_stop\",\"index\":{block}}}");
            out.extend_from_slice(
                format!("event: content_block_stop\ndata: {data}\n\n").as_bytes(),
            );
        }
        let last: Value = serde_json::from_slice(&self.last).unwrap_or_default();
        let text = |places: [&str; 3]| {
            let found = places
                .iter()
                .find_map(|place| last.pointer(place)?.as_str());
            found.unwrap_or_default().to_owned()
        };
        let id = text(["/id", "/response/id", "/responseId"]);
        let model = text(["/model", "/response/model", "/modelVersion"]);
        let model = if model.is_empty() {
            facts.served_model.clone().unwrap_or_default()
        } else {
            model
        };
        match self.guarded.operation {
            Operation::Chat | Operation::Responses => {
                filtered_end(self.speaks, &self.terms, (id, model), out);
            }
            Operation::Completions => filtered_completion(&self.terms, (&id, &model), out),
            // Transcripts and pictures have no word for it.
            Operation::Embeddings
            | Operation::EmbedOne
            | Operation::Moderations
            | Operation::Rerank
            | Operation::Images
            | Operation::ImageEdits
            | Operation::ImageVariations
            | Operation::Speech
            | Operation::Transcriptions
            | Operation::Translations
            | Operation::CountTokens => return Err(StreamFault::Forbidden),
        }
        Ok(())
    }

    /// What an end has to know of how it began.
    fn note(&mut self, event: &Event, texts: &EventTexts) {
        let says = !texts.pieces.is_empty();
        if says && self.speaks != ClientDialect::Anthropic {
            self.last = event.data.clone();
        }
        if self.speaks == ClientDialect::Anthropic {
            let block = texts
                .pieces
                .first()
                .and_then(|(name, _)| name.numbers.first());
            self.open_block = match event.name.as_deref() {
                Some(b"content_block_stop") => None,
                _ => block.copied().or(self.open_block),
            };
        }
    }

    fn tell(&mut self, blocked: Option<RuleId>) {
        if !std::mem::replace(&mut self.told, true) {
            self.guarded.tell_answer(&self.tally, blocked);
        }
    }

    /// Whether a choice, or the whole answer, ends with this event: only then can its form be judged.
    fn is_last(&self, event: &Event, finish: &Finish) -> bool {
        match self.speaks {
            ClientDialect::Openai | ClientDialect::Gemini => *finish != Finish::None,
            ClientDialect::Anthropic => event.name.as_deref() == Some(b"message_delta"),
            ClientDialect::Responses => {
                let ends: [&[u8]; 2] = [b"response.completed", b"response.incomplete"];
                event
                    .name
                    .as_deref()
                    .is_some_and(|name| ends.contains(&name))
            }
        }
    }

    /// Holds what was said against the schema before the end of it is told. What fails is not let go.
    fn check_structure(&mut self, is_over: impl Fn(&Name) -> bool) -> Result<(), StreamFault> {
        let Some(schema) = &self.guarded.schema else {
            return Ok(());
        };
        let over = self.structured.extract_if(|name, _| is_over(name));
        let over: Vec<String> = over.map(|(_, said)| said).collect();
        let mut said = over.iter().filter(|said| !said.is_empty());
        if said.all(|said| said.len() <= LARGEST_STRUCTURED && fits(schema, said)) {
            return Ok(());
        }
        if self.guarded.misses_its_schema() {
            self.waiting.pop_back();
            return Err(StreamFault::Forbidden);
        }
        Ok(())
    }
}

impl Drop for Sieve {
    fn drop(&mut self) {
        // The client left: what was found is told all the same.
        self.tell(None);
    }
}

/// The event as it came where nothing changed, else with the new texts in their places.
fn write(waiting: Waiting, out: &mut BytesMut) {
    let Waiting {
        event,
        slots,
        mut edits,
    } = waiting;
    for slot in slots {
        let written = event.data.get(slot.span.range.clone()).unwrap_or_default();
        let same = read_text(written).is_some_and(|text| text == slot.text);
        if !same {
            edits.push((slot.span.range, write_text(&slot.text)));
        }
    }
    if edits.is_empty() {
        out.extend_from_slice(&event.raw);
        return;
    }
    edits.sort_by_key(|(range, _)| range.start);
    if let Some(name) = &event.name {
        out.extend_from_slice(b"event: ");
        out.extend_from_slice(name);
        out.extend_from_slice(b"\n");
    }
    for line in applied(&event.data, &edits).split(|byte| *byte == b'\n') {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.extend_from_slice(b"\n");
    }
    out.extend_from_slice(b"\n");
}
