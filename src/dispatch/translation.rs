//! What one attempt sends and how its answer is read, by the two dialects of the conversation.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::guard::{GuardRelay, Sifted};
use super::next::AttemptFailure;
use super::request::Request;
use super::tools::Tools;
use super::unix_now;
use super::watch::{Watch, WatchedRelay};
use crate::actors::{Lease, Target};
use crate::config::{AuthSettings, ProviderSettings};
use crate::dialects::anthropic::{ends_in_results, for_vertex};
use crate::dialects::json::{edited, exact};
use crate::dialects::media::{self, Fetched};
use crate::dialects::openai::{SpliceEdit, SpliceRelay, adapt, inspect_answer, splice_request};
use crate::dialects::{
    AnswerFacts, AnswerFault, AnswerTerms, Cutter, DialectError, Encoder, Marker, MirrorRelay,
    RawRelay, Recipient, Relay, TranslateRelay, UpstreamError, answer_from_stream, decode_answer,
    decode_error, decode_request, encode_answer, encode_by, lost_of, own_place, stream_from_answer,
    with_whole_calls,
};
use crate::domain::chat::{ChatAnswer, StopReason};
use crate::domain::{
    AttemptOutcome, ClientDialect, Dialect, FailureKind, Operation, SignerName, StreamFacts,
    StreamFault, Unsupported,
};
use crate::upstream::Rope;

/// What has no canonical form would be lost without a word.
const UNSAYABLE: AnswerFault = AnswerFault::Untranslatable(
    "the answer says what cannot be said in the form that was asked for",
);

/// What to send, and what could not be said.
pub(super) struct Prepared {
    pub(super) body: Rope,
    pub(super) dropped: Vec<Cow<'static, str>>,
}

/// A whole answer in the client's dialect.
pub(crate) struct Whole {
    pub body: Bytes,
    pub facts: AnswerFacts,
    /// What the client's form has no place for.
    pub dropped: Vec<&'static str>,
    /// The body as the journal keeps it; `None` where that is the same.
    pub record: Option<Bytes>,
    /// It calls a tool that was not offered.
    pub unoffered: bool,
}

impl Whole {
    /// With nothing left out.
    pub(super) fn as_it_came(facts: AnswerFacts, body: Bytes) -> Self {
        Self {
            body,
            facts,
            dropped: Vec::new(),
            record: None,
            unoffered: false,
        }
    }
}

/// Reads answers of one dialect for one request.
#[derive(Clone, Copy)]
pub(super) struct Translation<'a> {
    /// The provider's.
    pub(super) dialect: Dialect,
    pub(super) request: &'a Request,
    pub(super) unsupported: Unsupported,
    /// Who signs at the provider.
    pub(super) signer: &'a SignerName,
    /// Who is asked.
    target: &'a Target,
}

impl From<DialectError> for AttemptFailure {
    fn from(error: DialectError) -> Self {
        Self {
            kind: FailureKind::InvalidRequest,
            message: Some(error.message),
            param: error.param,
            ..Self::plain(AttemptOutcome::Rejected)
        }
    }
}

/// The error with the place that the client wrote.
fn in_own_words(speaks: ClientDialect, error: DialectError) -> DialectError {
    let named = error.param.as_deref();
    let Some((place, own)) = named.and_then(|place| Some((place, own_place(speaks, place)?)))
    else {
        return error;
    };
    DialectError {
        message: error.message.replace(place, &own),
        param: Some(own),
    }
}

impl<'a> Translation<'a> {
    /// A provider that speaks two of OpenAI's forms is spoken to in the client's.
    pub(super) fn between(
        request: &'a Request,
        target: &'a Target,
        signer: &'a SignerName,
    ) -> Self {
        let provider = &target.provider;
        let dialect = if request.speaks == ClientDialect::Responses && provider.responses {
            Dialect::Responses
        } else {
            provider.dialect
        };
        Self {
            dialect,
            request,
            unsupported: request.unsupported(target),
            signer,
            target,
        }
    }

    /// Where the provider is asked.
    pub(super) fn operation(&self, provider: &ProviderSettings) -> Operation {
        if self.dialect == provider.dialect {
            self.request.operation
        } else {
            Operation::Responses
        }
    }
}

impl Translation<'_> {
    /// Both sides speak the same: bytes are passed on, not built anew.
    pub(super) fn is_plain(&self) -> bool {
        self.dialect == self.request.speaks.dialect()
    }

    /// A stream of this provider looks like a whole answer at first.
    pub(super) fn is_in_lines(&self) -> bool {
        self.dialect == Dialect::Ollama
    }

    /// The request as this target's provider wants it.
    pub(super) fn prepare(
        &self,
        lease: &Lease,
        media: Option<&Fetched>,
    ) -> Result<Prepared, AttemptFailure> {
        let prepared = self.adapted(self.encode(lease, media)?, lease);
        let at_vertex = matches!(lease.target().provider.auth, AuthSettings::Vertex { .. });
        if !at_vertex
            || self.dialect != Dialect::Anthropic
            || self.request.operation != Operation::Chat
        {
            return Ok(prepared);
        }
        let body = Bytes::from(for_vertex(&prepared.body.joined())?);
        Ok(Prepared {
            body: [body].into_iter().collect(),
            ..prepared
        })
    }

    /// As this provider wants it that copies the form with differences.
    fn adapted(&self, prepared: Prepared, lease: &Lease) -> Prepared {
        let quirks = &lease.target().provider.quirks;
        if quirks.is_none()
            || self.dialect != Dialect::Openai
            || self.request.operation != Operation::Chat
        {
            return prepared;
        }
        match adapt(&prepared.body.joined(), quirks) {
            None => prepared,
            Some((body, more)) => {
                let mut dropped = prepared.dropped;
                dropped.extend(more.into_iter().map(Cow::Borrowed));
                Prepared {
                    body: [Bytes::from(body)].into_iter().collect(),
                    dropped,
                }
            }
        }
    }

    fn encode(&self, lease: &Lease, fetched: Option<&Fetched>) -> Result<Prepared, AttemptFailure> {
        let body = self.request.body();
        let operation = self.request.operation;
        if operation != Operation::Chat {
            return self.prepare_operation(lease);
        }
        if self.is_plain() {
            return Ok(self.spliced(&body, lease));
        }
        let mut canonical = decode_request(self.request.speaks, &body)?;
        let peek = &self.request.peek;
        canonical.model.clone_from(&peek.model);
        canonical.stream = peek.stream;
        // Who is billed by a stream asks what it used, and takes out again what the client did not ask for.
        canonical.include_usage = peek.stream;
        if let Some(fetched) = fetched {
            media::put(&mut canonical, fetched);
        }
        self.settle(&mut canonical);
        let provider = &lease.target().provider;
        let recipient = Recipient {
            model: lease.model().as_str(),
            default_max_output: provider.default_max_output,
            quirks: &provider.quirks,
        };
        let speaks = self.request.speaks;
        let encoded = encode_by(self.unsupported, self.dialect, &mut canonical, recipient)
            .map_err(|error| {
                let place = media::place_of_refused(
                    speaks,
                    &body,
                    &canonical,
                    (self.dialect, recipient.model),
                );
                let error = match place {
                    Some(place) => error.placed(place),
                    None => error,
                };
                in_own_words(speaks, error)
            })?;
        let dropped = encoded.dropped.into_iter();
        let own = |name: Cow<'static, str>| own_place(speaks, &name).map_or(name, Cow::Owned);
        Ok(Prepared {
            body: [Bytes::from(encoded.body)].into_iter().collect(),
            dropped: dropped.map(own).collect(),
        })
    }

    /// The client's own bytes, save the model's name and what this provider could not understand.
    pub(super) fn spliced(&self, body: &Bytes, lease: &Lease) -> Prepared {
        let operation = self.request.operation;
        let foreign = self.foreign(body, lease);
        let edit = SpliceEdit {
            model: lease.model().as_str(),
            ask_usage: operation == Operation::Chat && self.dialect == Dialect::Openai,
        };
        let pieces = match self.request.speaks {
            // The model stands in the address.
            ClientDialect::Gemini => edited(body, foreign.edits),
            ClientDialect::Openai | ClientDialect::Anthropic | ClientDialect::Responses => {
                splice_request(body, &self.request.peek, &edit, foreign.edits)
            }
        };
        Prepared {
            body: pieces.into_iter().collect(),
            dropped: foreign.dropped.into_iter().map(Cow::Borrowed).collect(),
        }
    }

    pub(super) fn relay(&self) -> Box<dyn Relay> {
        if self.request.operation == Operation::Speech && !self.request.peek.stream {
            // Sound has no text to look at.
            return Box::new(RawRelay::default());
        }
        let mut relay = self.unguarded_relay();
        if let Some(watch) = self.watch() {
            relay = Box::new(WatchedRelay::new(relay, watch));
        }
        match &self.request.guarded {
            Some(guarded) if guarded.looks_at_answers() => Box::new(GuardRelay::new(
                relay,
                Arc::clone(guarded),
                self.request.speaks,
                self.terms(),
            )),
            Some(_) | None => relay,
        }
    }

    /// A stream that is there as a whole, as the guard lets it out.
    pub(super) fn sifted(
        &self,
        held: BytesMut,
        facts: &StreamFacts,
    ) -> Result<Sifted, StreamFault> {
        match &self.request.guarded {
            Some(guarded) => {
                let client = (self.request.speaks, self.terms());
                guarded.sift_whole(client, held, facts)
            }
            None => Ok(Sifted {
                out: held,
                record: None,
            }),
        }
    }

    /// What looks at calls; only conversations have tools.
    fn watch(&self) -> Option<Watch> {
        let request = self.request;
        if request.operation != Operation::Chat {
            return None;
        }
        let tools = Tools::of(&request.tools, request.body());
        let action = request.unoffered(self.target);
        let name = &self.target.provider.name;
        Some(Watch::new((request.speaks, tools), action, name))
    }

    fn watched(&self, whole: Whole) -> Result<Whole, AnswerFault> {
        let Some(mut watch) = self.watch() else {
            return Ok(whole);
        };
        let unoffered = watch.whole(&whole.body)?;
        Ok(Whole { unoffered, ..whole })
    }

    fn unguarded_relay(&self) -> Box<dyn Relay> {
        let peek = &self.request.peek;
        let id = self.request.id.text();
        let operation = self.request.operation;
        if operation == Operation::Completions {
            return Box::new(MirrorRelay::completions(self.encoder()));
        } else if operation != Operation::Chat {
            return Box::new(MirrorRelay::typed(self.encoder()));
        }
        match (self.is_plain(), self.request.speaks) {
            (true, ClientDialect::Openai) => {
                Box::new(SpliceRelay::new(peek.choices, !peek.wants_usage()))
            }
            (true, speaks) => {
                let relay = MirrorRelay::new(speaks, self.encoder(), id.as_str());
                Box::new(relay.marking(Marker::of(speaks, &self.stamp())))
            }
            (false, _) => {
                let encoder = self.encoder();
                let relay = TranslateRelay::new(self.dialect, encoder, id.as_str())
                    .cutting(self.cutter())
                    .telling_tokens(self.tells_tokens())
                    .stamped(self.stamp());
                Box::new(relay)
            }
        }
    }

    /// For stops that the provider was not told.
    fn cutter(&self) -> Option<Cutter> {
        if self.unsupported != Unsupported::Emulate || self.is_plain() {
            return None;
        }
        let asked = decode_request(self.request.speaks, &self.request.body()).ok()?;
        Cutter::of(self.dialect, &asked.stop)
    }

    /// The answer as far as it goes, and whose thoughts it holds.
    fn finished(&self, mut answer: ChatAnswer) -> ChatAnswer {
        self.stamp().answer(&mut answer);
        if !self.tells_tokens() {
            answer.logprobs.clear();
        }
        if let Some(cutter) = self.cutter() {
            cutter.answer(&mut answer);
        }
        answer
    }

    /// Whether the client asked how likely the tokens of the answer were.
    fn tells_tokens(&self) -> bool {
        let body = self.request.body();
        !self.is_plain()
            && memmem::find(&body, b"ogprobs").is_some()
            && decode_request(self.request.speaks, &body).is_ok_and(|asked| asked.wants_logprobs())
    }

    fn encoder(&self) -> Encoder {
        Encoder::of(self.request.speaks, &self.terms())
    }

    fn terms(&self) -> AnswerTerms {
        let request = self.request;
        let echoed = request.speaks == ClientDialect::Responses && !self.is_plain();
        AnswerTerms {
            request_id: request.id.text().as_str().to_owned(),
            asked: request.asked.to_string(),
            created: unix_now(),
            include_usage: request.peek.wants_usage(),
            logprobs: self.tells_tokens(),
            request: if echoed {
                exact::read(&request.body()).unwrap_or_default()
            } else {
                serde_json::Value::Null
            },
        }
    }

    /// What is passed on as it came is for the client to judge.
    fn decode(&self, body: &[u8]) -> Result<ChatAnswer, AnswerFault> {
        let answer = decode_answer(self.dialect, body, self.request.id.text().as_str())?;
        if answer.is_silent() && !self.may_say_nothing() {
            return Err(AnswerFault::Empty("the answer has no content"));
        }
        if self.is_plain() {
            Ok(answer)
        } else {
            with_whole_calls(answer)
        }
    }

    /// Whether a plain end without a word may be all of the answer.
    ///
    /// # Why
    /// Anthropic's models end their turn so when the results of tools leave nothing to add, as its documentation
    /// tells; asked again they do it again, and each time is paid for. Anywhere else it is no answer (fault P14).
    pub(super) fn may_say_nothing(&self) -> bool {
        if self.request.operation != Operation::Chat || self.dialect != Dialect::Anthropic {
            return false;
        }
        let body = self.request.body();
        match self.request.speaks {
            // It may hold what has no canonical form.
            ClientDialect::Anthropic => ends_in_results(&body),
            speaks @ (ClientDialect::Openai | ClientDialect::Responses | ClientDialect::Gemini) => {
                decode_request(speaks, &body).is_ok_and(|asked| asked.ends_in_results())
            }
        }
    }

    /// The answer in the client's form, if all of it can be said there.
    fn encoded(&self, answer: &ChatAnswer) -> Result<Whole, AnswerFault> {
        if answer.foreign || answer.stop == StopReason::Unknown {
            return Err(UNSAYABLE);
        }
        Ok(Whole {
            dropped: lost_of(answer),
            body: encode_answer(self.request.speaks, answer, &self.terms()).into(),
            facts: facts(answer),
            record: None,
            unoffered: false,
        })
    }

    /// A whole answer that came whole.
    pub(super) fn whole(&self, body: Bytes) -> Result<Whole, AnswerFault> {
        if self.request.operation != Operation::Chat {
            return self.whole_operation(body);
        }
        let whole = match (self.is_plain(), self.dialect) {
            // The provider's own bytes, untouched.
            (true, Dialect::Openai) => {
                inspect_answer(&body).map(|facts| Whole::as_it_came(facts, body))
            }
            (true, _) => {
                let facts = facts(&self.decode(&body)?);
                let marker = Marker::of(self.request.speaks, &self.stamp());
                let body = marker.map_or_else(|| body.clone(), |mut marker| marker.whole(&body));
                Ok(Whole::as_it_came(facts, body))
            }
            (false, _) => self.encoded(&self.finished(self.decode(&body)?)),
        };
        self.watched(whole?)
    }

    /// A whole answer that came as a stream (fault P17).
    pub(super) fn whole_from_stream(&self, body: &Bytes) -> Result<Whole, AnswerFault> {
        if self.request.operation != Operation::Chat {
            return Err(AnswerFault::Malformed(
                "a stream came where none was asked for",
            ));
        }
        let id = self.request.id.text();
        let answer = answer_from_stream(self.dialect, body, id.as_str())?;
        self.watched(self.encoded(&self.finished(answer))?)
    }

    /// A stream that came whole (fault P17).
    pub(super) fn stream_from_whole(
        &self,
        body: &Bytes,
    ) -> Result<(BytesMut, StreamFacts), AnswerFault> {
        if self.request.operation != Operation::Chat {
            return Err(AnswerFault::Malformed(
                "no stream came where one was asked for",
            ));
        }
        let answer = self.finished(self.decode(body)?);
        if answer.foreign || answer.stop == StopReason::Unknown {
            return Err(UNSAYABLE);
        }
        let mut out = BytesMut::new();
        let facts = stream_from_answer(&answer, &mut self.encoder(), &mut out);
        if let Some(mut watch) = self.watch() {
            let watched = watch.events(0, &mut out);
            watched.map_err(|_| AnswerFault::Unoffered)?;
        }
        Ok((out, facts))
    }

    pub(super) fn error(&self, status: u16, body: &[u8]) -> UpstreamError {
        decode_error(self.dialect, status, body)
    }
}

fn facts(answer: &ChatAnswer) -> AnswerFacts {
    AnswerFacts {
        usage: answer.usage,
        served_model: Some(answer.model.clone()).filter(|model| !model.is_empty()),
        filtered: answer.stop == StopReason::ContentFilter,
    }
}
