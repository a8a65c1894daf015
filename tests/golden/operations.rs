//! Golden cases of what is asked beside conversations.
//!
//! `embeddings/<client>-…/request.json` is decoded to `domain.json` and encoded for every provider that embeds;
//! `embeddings/answer-<provider>-…/answer.json` answers two texts (one, where a call takes no more), is decoded to
//! `domain.json` and encoded for every client. `rerank/<case>/` holds a question and its answer, before and behind
//! Cohere.

use std::fs;

use serde_json::{Value, json};
use switchyard::dialects::{
    AnswerFault, EmbeddingTerms, decode_embedded, decode_embedding, decode_reranked,
    encode_embedded, encode_embedding, encode_rerank,
};
use switchyard::domain::{ClientDialect, Dialect, Operation, Tokens, VectorForm};

use super::cases::{cases, crossing, pretty, same};

/// Each provider that embeds, by the name of its file, with a model of its kind.
const PROVIDERS: [(Dialect, &str, &str); 6] = [
    (Dialect::Openai, "openai", "text-embedding-3-small"),
    (Dialect::Gemini, "gemini", "gemini-embedding-001"),
    (Dialect::Cohere, "cohere", "embed-v4.0"),
    (Dialect::Ollama, "ollama", "all-minilm"),
    (Dialect::Bedrock, "bedrock-cohere", "eu.cohere.embed-v4:0"),
    (
        Dialect::Bedrock,
        "bedrock-titan",
        "amazon.titan-embed-text-v2:0",
    ),
];

fn name(case: &std::path::Path) -> String {
    case.file_name().unwrap().to_string_lossy().into_owned()
}

#[test]
fn e5_what_is_to_be_embedded_crosses_to_every_provider() {
    for case in cases("embeddings", "request.json") {
        let (client, operation) = match name(&case).as_str() {
            name if name.starts_with("google-one-") => (ClientDialect::Gemini, Operation::EmbedOne),
            name if name.starts_with("google-many-") => {
                (ClientDialect::Gemini, Operation::Embeddings)
            }
            _ => (ClientDialect::Openai, Operation::Embeddings),
        };
        let body = fs::read(case.join("request.json")).unwrap();
        let request = match decode_embedding(client, operation, &body) {
            Ok(request) => request,
            Err(error) => {
                let refused = json!({"refused": error.message, "param": error.param});
                same(&case, "domain.json", &pretty(&refused));
                continue;
            }
        };
        let domain = serde_json::to_value(&request).unwrap();
        same(&case, "domain.json", &pretty(&domain));
        for (provider, name, model) in PROVIDERS {
            let crossed = encode_embedding(provider, &request, model);
            same(&case, &format!("{name}.json"), &pretty(&crossing(crossed)));
        }
    }
}

fn refused(fault: &AnswerFault) -> Value {
    match fault {
        AnswerFault::Disguised(error) => json!({"error": error.outcome.label()}),
        AnswerFault::Empty(what)
        | AnswerFault::Malformed(what)
        | AnswerFault::Untranslatable(what) => json!({"no_answer": what}),
        AnswerFault::Unoffered => json!({"no_answer": "it calls what was not offered"}),
    }
}

#[test]
fn e5_vectors_cross_to_every_client() {
    for case in cases("embeddings", "answer.json") {
        let name = name(&case);
        let provider = PROVIDERS
            .iter()
            .find(|(_, file, _)| {
                let kind = file.split('-').next().unwrap_or(file);
                name.starts_with(&format!("answer-{kind}-"))
            })
            .unwrap();
        let inputs = if name.ends_with("titan") { 1 } else { 2 };
        let body = fs::read(case.join("answer.json")).unwrap();
        let embedded = match decode_embedded(provider.0, &body, Some(inputs)) {
            Ok(embedded) => embedded,
            Err(fault) => {
                same(&case, "domain.json", &pretty(&refused(&fault)));
                continue;
            }
        };
        let domain = serde_json::to_string_pretty(&embedded).unwrap() + "\n";
        same(&case, "domain.json", &domain);
        let mut terms = EmbeddingTerms {
            operation: Operation::Embeddings,
            form: VectorForm::Numbers,
            asked: "fast",
            estimate: Tokens(7),
        };
        let written = |client, terms: &EmbeddingTerms<'_>| {
            String::from_utf8(encode_embedded(client, &embedded, terms)).unwrap() + "\n"
        };
        same(
            &case,
            "to-openai.json",
            &written(ClientDialect::Openai, &terms),
        );
        same(
            &case,
            "to-gemini.json",
            &written(ClientDialect::Gemini, &terms),
        );
        terms.form = VectorForm::Base64;
        same(
            &case,
            "to-openai-base64.json",
            &written(ClientDialect::Openai, &terms),
        );
    }
}

#[test]
fn e5_a_ranking_crosses_to_cohere_and_back() {
    for case in cases("rerank", "request.json") {
        let question = fs::read(case.join("request.json")).unwrap();
        let crossed = encode_rerank(&question, "rerank-v3.5");
        same(&case, "cohere.json", &pretty(&crossing(crossed)));
        let Ok(answer) = fs::read(case.join("answer.json")) else {
            continue;
        };
        let told = match decode_reranked(&answer, &question, "fast") {
            Ok((answer, facts)) => {
                let answer: Value = serde_json::from_slice(&answer).unwrap();
                json!({"answer": answer, "input_tokens": facts.usage.map(|usage| usage.input.0)})
            }
            Err(fault) => refused(&fault),
        };
        same(&case, "told.json", &pretty(&told));
    }
}
