//! Where the cases are, how they are compared, and what every kind of them shares.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use switchyard::dialects::{AnswerTerms, DialectError, Encoded, Recipient};
use switchyard::domain::{ClientDialect, Dialect, Quirks, Tokens};

pub(crate) fn cases(dialect: &str, input: &str) -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(dialect);
    let mut found: Vec<PathBuf> = fs::read_dir(root)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|case| case.join(input).exists())
        .collect();
    found.sort();
    assert!(found.len() >= 5, "the cases of {dialect} were not found");
    found
}

/// Compares with the file beside it, or writes it anew.
pub(crate) fn same(case: &Path, name: &str, seen: &str) {
    let path = case.join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, seen).unwrap();
        return;
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(
        kept,
        seen,
        "{} differs; UPDATE_GOLDEN=1 rewrites it",
        path.display()
    );
}

/// A text of one line, indented as serde would and to the digit as it is: no number is read.
pub(crate) fn indented(text: &[u8]) -> String {
    let (mut out, mut depth, mut quoted, mut escaped) = (String::new(), 0, false, false);
    let text = std::str::from_utf8(text).unwrap();
    let newline = |out: &mut String, depth: usize| {
        out.push('\n');
        out.push_str(&"  ".repeat(depth));
    };
    for letter in text.chars() {
        if quoted || letter == '"' {
            quoted = !quoted || letter != '"' || escaped;
            escaped = letter == '\\' && !escaped;
            out.push(letter);
            continue;
        }
        match letter {
            '{' | '[' => {
                depth += 1;
                out.push(letter);
                newline(&mut out, depth);
            }
            '}' | ']' => {
                depth -= 1;
                let empty = out.trim_end().ends_with(['{', '[']);
                out.truncate(out.trim_end().len());
                if !empty {
                    newline(&mut out, depth);
                }
                out.push(letter);
            }
            ',' => {
                out.push(letter);
                newline(&mut out, depth);
            }
            ':' => out.push_str(": "),
            other => out.push(other),
        }
    }
    out + "\n"
}

/// The text of a value whose member `body` is a text already.
pub(crate) fn with_body(dropped: &Value, body: &[u8]) -> String {
    let body = std::str::from_utf8(body).unwrap();
    indented(format!("{{\"dropped\":{dropped},\"body\":{body}}}").as_bytes())
}

pub(crate) fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

/// The dialects' folders and file names.
pub(crate) const CLIENTS: [(ClientDialect, &str); 4] = [
    (ClientDialect::Openai, "openai"),
    (ClientDialect::Anthropic, "anthropic"),
    (ClientDialect::Responses, "responses"),
    (ClientDialect::Gemini, "gemini"),
];
pub(crate) const PROVIDERS: [(Dialect, &str); 7] = [
    (Dialect::Openai, "openai"),
    (Dialect::Anthropic, "anthropic"),
    (Dialect::Responses, "responses"),
    (Dialect::Gemini, "gemini"),
    (Dialect::Ollama, "ollama"),
    (Dialect::Cohere, "cohere"),
    (Dialect::Bedrock, "bedrock"),
];

pub(crate) fn other_providers(
    client: ClientDialect,
) -> impl Iterator<Item = (Dialect, &'static str)> {
    PROVIDERS
        .into_iter()
        .filter(move |(provider, _)| *provider != client.dialect())
}

pub(crate) fn other_clients(
    provider: Dialect,
) -> impl Iterator<Item = (ClientDialect, &'static str)> {
    CLIENTS
        .into_iter()
        .filter(move |(client, _)| provider != client.dialect())
}

/// A stream's file, by how this dialect is framed.
pub(crate) fn stream_file(provider: Dialect) -> &'static str {
    match provider {
        Dialect::Openai
        | Dialect::Anthropic
        | Dialect::Responses
        | Dialect::Gemini
        | Dialect::Cohere => "stream.sse",
        Dialect::Ollama => "stream.ndjson",
        Dialect::Bedrock => "stream.frames",
    }
}

pub(crate) fn terms() -> AnswerTerms {
    AnswerTerms {
        request_id: "sy-golden".to_owned(),
        asked: "fast".to_owned(),
        created: 1_700_000_000,
        include_usage: true,
        logprobs: true,
        request: json!({"instructions": "be brief", "tools": []}),
    }
}

/// A crossing, to the digit.
pub(crate) fn shown(encoded: Result<Encoded, DialectError>) -> String {
    match encoded {
        Ok(encoded) => with_body(&json!(encoded.dropped), &encoded.body),
        refused @ Err(_) => pretty(&crossing(refused)),
    }
}

pub(crate) fn crossing(encoded: Result<Encoded, DialectError>) -> Value {
    match encoded {
        Ok(encoded) => json!({
            "dropped": encoded.dropped,
            "body": serde_json::from_slice::<Value>(&encoded.body).unwrap(),
        }),
        Err(error) => json!({"refused": error.message, "param": error.param}),
    }
}

/// A model of no particular kind.
pub(crate) fn recipient(quirks: &Quirks) -> Recipient<'_> {
    Recipient {
        model: "model-test",
        default_max_output: Tokens(4_096),
        quirks,
    }
}
