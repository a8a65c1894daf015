//! Texts to vectors, in no one's wire format.

use serde::Serialize;

use super::{Tokens, Usage};

/// What is to be embedded, and how.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct EmbeddingRequest {
    pub inputs: Vec<Input>,
    /// Numbers in a vector; `None` leaves it to the model.
    pub dimensions: Option<u64>,
    /// What the vectors are for; `None` when the client did not say.
    pub task: Option<EmbeddingTask>,
    /// Where its client says so.
    pub task_field: &'static str,
    /// How the client wants its vectors written.
    pub form: VectorForm,
    /// What has no canonical form and does not change the vectors' meaning.
    pub dropped: Vec<&'static str>,
}

/// One thing to embed.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Input {
    Text(String),
    /// Numbers that stand for text in one model's alphabet.
    Tokens(Vec<u64>),
}

/// What vectors are compared for: better models ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EmbeddingTask {
    Query,
    Document,
    Similarity,
    Classification,
    Clustering,
    QuestionAnswering,
    FactVerification,
    CodeQuery,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum VectorForm {
    #[default]
    Numbers,
    /// Little-endian single precision.
    Base64,
}

/// The vectors, one for each input and in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Embedded {
    pub vectors: Vec<Vec<f32>>,
    /// As the provider names it; `None` when it does not.
    pub model: Option<String>,
    /// `None` when the provider does not say.
    pub usage: Option<Usage>,
}

impl EmbeddingTask {
    /// Whether it is asked with: a question looks for documents and is embedded differently.
    pub fn is_asked(self) -> bool {
        match self {
            Self::Query | Self::QuestionAnswering | Self::FactVerification | Self::CodeQuery => {
                true
            }
            Self::Document | Self::Similarity | Self::Classification | Self::Clustering => false,
        }
    }
}

impl Embedded {
    /// Whether every input has its vector, all of one length, none empty and no number that is none: a vector
    /// too few would be taken for that of another text.
    pub fn answers(&self, inputs: usize) -> bool {
        let length = self.vectors.first().map_or(0, Vec::len);
        let whole = |vector: &Vec<f32>| {
            vector.len() == length && vector.iter().all(|number| number.is_finite())
        };
        length > 0 && self.vectors.len() == inputs && self.vectors.iter().all(whole)
    }

    /// Input tokens are all there is to count.
    pub fn counted(input: Option<u64>) -> Option<Usage> {
        // What cannot be true counts as not reported (fault P29).
        let input = input.filter(|count| (1..100_000_000).contains(count))?;
        Some(Usage {
            input: Tokens(input),
            ..Usage::default()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn p14_a_vector_too_few_or_uneven_or_no_number_is_no_answer() {
        let answers = |vectors: &[&[f32]], inputs| {
            let vectors = vectors.iter().map(|vector| vector.to_vec()).collect();
            let embedded = Embedded {
                vectors,
                ..Embedded::default()
            };
            embedded.answers(inputs)
        };
        assert!(answers(&[&[0.5, 1.0], &[0.0, 0.0]], 2));
        assert!(!answers(&[&[0.5]], 2));
        assert!(!answers(&[&[0.5], &[0.5]], 1));
        assert!(!answers(&[&[0.5], &[0.5, 0.5]], 2));
        assert!(!answers(&[&[]], 1));
        assert!(!answers(&[], 0));
        assert!(!answers(&[&[f32::NAN]], 1));
    }
}
