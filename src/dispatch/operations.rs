//! What is asked of models beside conversations: passed on where both sides share the form, said anew where not.

use bytes::Bytes;

use super::next::AttemptFailure;
use super::translation::{Prepared, Translation, Whole};
use crate::actors::Lease;
use crate::dialects::openai::{inspect_result, inspect_text};
use crate::dialects::{
    AnswerFacts, AnswerFault, EmbeddingTerms, Encoded, count_answer, count_request, counted,
    decode_embedded, decode_embedding, decode_reranked, encode_embedded, encode_embedding,
    encode_rerank, gemini,
};
use crate::domain::{ClientDialect, Dialect, Embedded, Operation, VectorForm};

/// How an operation is said to one provider.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Crossing {
    /// As the client said it.
    None,
    /// As the client said it, in Google's form, which names the model inside as well.
    Readdressed,
    Embedding,
    Count,
    Rerank,
}

impl Translation<'_> {
    fn crossing(&self) -> Crossing {
        let operation = self.request.operation;
        if operation == Operation::Rerank && self.dialect == Dialect::Cohere {
            return Crossing::Rerank;
        }
        let embeds = matches!(operation, Operation::Embeddings | Operation::EmbedOne);
        if !embeds && operation != Operation::CountTokens || self.is_openai_s() {
            Crossing::None
        } else if self.is_plain() && self.dialect == Dialect::Gemini {
            Crossing::Readdressed
        } else if self.is_plain() {
            Crossing::None
        } else if embeds {
            Crossing::Embedding
        } else {
            Crossing::Count
        }
    }

    /// Both speak OpenAI's forms, of which all but two are the same.
    fn is_openai_s(&self) -> bool {
        let client = match self.request.speaks {
            ClientDialect::Openai | ClientDialect::Responses => true,
            ClientDialect::Anthropic | ClientDialect::Gemini => false,
        };
        client && matches!(self.dialect, Dialect::Openai | Dialect::Responses)
    }

    /// An operation as this target's provider wants it.
    pub(super) fn prepare_operation(&self, lease: &Lease) -> Result<Prepared, AttemptFailure> {
        let (body, request) = (self.request.body(), self.request);
        let model = lease.model().as_str();
        let encoded = match self.crossing() {
            Crossing::None => return Ok(self.spliced(&body, lease)),
            Crossing::Readdressed => Encoded {
                body: gemini::readdress(&body, model)?,
                dropped: Vec::new(),
            },
            Crossing::Embedding => {
                let wanted = decode_embedding(request.speaks, request.operation, &body)?;
                encode_embedding(self.dialect, &wanted, model)?
            }
            Crossing::Count => {
                count_request(request.speaks, self.dialect, &body, model, |asked| {
                    self.settle(asked)
                })?
            }
            Crossing::Rerank => encode_rerank(&body, model)?,
        };
        Ok(Prepared {
            body: [Bytes::from(encoded.body)].into_iter().collect(),
            dropped: encoded.dropped,
        })
    }

    /// A whole answer to an operation, in the client's form.
    pub(super) fn whole_operation(&self, body: Bytes) -> Result<Whole, AnswerFault> {
        let request = self.request;
        match self.crossing() {
            Crossing::None if request.operation == Operation::CountTokens => {
                let facts = counted(self.dialect, &body).map(|_| AnswerFacts::default())?;
                Ok(Whole::as_it_came(facts, body))
            }
            Crossing::None if request.peek.plain_text => {
                inspect_text(&body).map(|facts| Whole::as_it_came(facts, body))
            }
            Crossing::None => {
                inspect_result(request.operation, &body).map(|facts| Whole::as_it_came(facts, body))
            }
            Crossing::Readdressed if request.operation == Operation::CountTokens => {
                let facts = counted(self.dialect, &body).map(|_| AnswerFacts::default())?;
                Ok(Whole::as_it_came(facts, body))
            }
            Crossing::Readdressed => {
                let facts = AnswerFacts::from(&self.embedded(&body)?.0);
                Ok(Whole::as_it_came(facts, body))
            }
            Crossing::Embedding => {
                let (embedded, form) = self.embedded(&body)?;
                let terms = EmbeddingTerms {
                    operation: request.operation,
                    form,
                    asked: &request.asked,
                    estimate: request.estimate.input,
                };
                let body = encode_embedded(request.speaks, &embedded, &terms);
                Ok(Whole::as_it_came(AnswerFacts::from(&embedded), body.into()))
            }
            Crossing::Count => {
                let count = counted(self.dialect, &body)?;
                let body = count_answer(request.speaks, count);
                Ok(Whole::as_it_came(AnswerFacts::default(), body.into()))
            }
            Crossing::Rerank => {
                let (body, facts) = decode_reranked(&body, &request.body(), &request.asked)?;
                Ok(Whole::as_it_came(facts, body.into()))
            }
        }
    }

    /// The vectors of an answer, held against what was asked.
    fn embedded(&self, answer: &[u8]) -> Result<(Embedded, VectorForm), AnswerFault> {
        let request = self.request;
        let asked = decode_embedding(request.speaks, request.operation, &request.body());
        // Between two of Google's kind more may be said than crosses; then the answer alone is judged.
        let (inputs, form) = match &asked {
            Ok(asked) => (Some(asked.inputs.len()), asked.form),
            Err(_) => (None, VectorForm::default()),
        };
        let embedded = decode_embedded(self.dialect, answer, inputs)?;
        Ok((embedded, form))
    }
}
