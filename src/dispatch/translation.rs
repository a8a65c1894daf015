//! What one attempt sends and how its answer is read, by the two dialects of the conversation.

use std::borrow::Cow;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use memchr::memmem;

use super::guard::{GuardRelay, Sifted};
use super::next::AttemptFailure;
use super::request::Request;
use super::unix_now;
use crate::actors::{Lease, Target};
use crate::config::{AuthSettings, ProviderSettings};
use crate::dialects::anthropic::{ends_in_results, for_vertex};
use crate::dialects::json::{edited, exact};
use crate::dialects::media::{self, Fetched};
use crate::dialects::openai::{SpliceEdit, SpliceRelay, adapt, inspect_answer, splice_request};
use crate::dialects::{
    AnswerFacts, AnswerFault, AnswerTerms, Cutter, DialectError, Encoder, Foreign, Home,
    MirrorRelay, RawRelay, Relay, TranslateRelay, UpstreamError, answer_from_stream, cut_foreign,
    decode_answer, decode_error, decode_request, encode_answer, encode_by, lost_of, own_place,
    stream_from_answer, with_whole_calls,
};
use crate::domain::chat::{ChatAnswer, FOREIGN_SIGNATURE, StopReason};
use crate::domain::{
    AttemptOutcome, ClientDialect, Dialect, FailureKind, Operation, StreamFacts, StreamFault,
    Unsupported,
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
}

impl Whole {
    /// With nothing left out.
    pub(super) fn as_it_came(facts: AnswerFacts, body: Bytes) -> Self {
        Self {
            body,
            facts,
            dropped: Vec::new(),
            record: None,
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
    pub(super) fn between(request: &'a Request, target: &Target) -> Self {
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

    /// Whether the conversation may have been elsewhere. A chat is not searched where its pools have nothing but
    /// providers of its own dialect: that would cost every request for the sake of few.
    fn may_be_foreign(&self) -> bool {
        self.dialect != Dialect::Openai || self.request.route.crosses
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
        let most = lease.target().provider.default_max_output;
        let terms = (lease.model().as_str(), most);
        let speaks = self.request.speaks;
        let encoded = encode_by(self.unsupported, self.dialect, &mut canonical, terms)
            .map_err(|error| in_own_words(speaks, error))?;
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

    /// What another provider signed would be refused here.
    fn foreign(&self, body: &[u8], lease: &Lease) -> Foreign {
        // What is counted is what would be asked.
        let operation = self.request.operation;
        let counted = operation == Operation::CountTokens;
        let conversation = counted || operation == Operation::Chat && self.is_plain();
        if !conversation || !self.may_be_foreign() {
            return Foreign::default();
        }
        let marks: &[&str] = match self.dialect {
            // Fields that other gateways and Google's own form taught clients; OpenAI itself refuses them.
            Dialect::Openai => &["\"thinking_blocks\"", "\"thought_signature\""],
            Dialect::Anthropic
            | Dialect::Responses
            | Dialect::Gemini
            | Dialect::Bedrock
            | Dialect::Cohere
            | Dialect::Ollama => &[FOREIGN_SIGNATURE],
        };
        if !marks
            .iter()
            .any(|mark| memmem::find(body, mark.as_bytes()).is_some())
        {
            return Foreign::default();
        }
        let home = Home {
            model: lease.model().as_str(),
            google: lease.target().provider.base_url.contains(".googleapis.com"),
        };
        cut_foreign(self.request.speaks, body, home)
    }

    pub(super) fn relay(&self) -> Box<dyn Relay> {
        if self.request.operation == Operation::Speech && !self.request.peek.stream {
            // Sound has no text to look at.
            return Box::new(RawRelay::default());
        }
        let relay = self.unguarded_relay();
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
            (true, speaks) => Box::new(MirrorRelay::new(speaks, self.encoder(), id.as_str())),
            (false, _) => {
                let encoder = self.encoder();
                let relay = TranslateRelay::new(self.dialect, encoder, id.as_str());
                Box::new(relay.cutting(self.cutter()))
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

    /// The answer as far as it goes.
    fn cut(&self, mut answer: ChatAnswer) -> ChatAnswer {
        if let Some(cutter) = self.cutter() {
            cutter.answer(&mut answer);
        }
        answer
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
        })
    }

    /// A whole answer that came whole.
    pub(super) fn whole(&self, body: Bytes) -> Result<Whole, AnswerFault> {
        if self.request.operation != Operation::Chat {
            return self.whole_operation(body);
        }
        match (self.is_plain(), self.dialect) {
            // The provider's own bytes, untouched.
            (true, Dialect::Openai) => {
                inspect_answer(&body).map(|facts| Whole::as_it_came(facts, body))
            }
            (true, _) => self
                .decode(&body)
                .map(|answer| Whole::as_it_came(facts(&answer), body)),
            (false, _) => self.encoded(&self.cut(self.decode(&body)?)),
        }
    }

    /// A whole answer that came as a stream (fault P17).
    pub(super) fn whole_from_stream(&self, body: &Bytes) -> Result<Whole, AnswerFault> {
        if self.request.operation != Operation::Chat {
            return Err(AnswerFault::Malformed(
                "a stream came where none was asked for",
            ));
        }
        let id = self.request.id.text();
        self.encoded(&self.cut(answer_from_stream(self.dialect, body, id.as_str())?))
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
        let answer = self.cut(self.decode(body)?);
        if answer.foreign || answer.stop == StopReason::Unknown {
            return Err(UNSAYABLE);
        }
        let mut out = BytesMut::new();
        let facts = stream_from_answer(&answer, &mut self.encoder(), &mut out);
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
