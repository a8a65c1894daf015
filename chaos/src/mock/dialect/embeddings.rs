//! Embeddings: small vectors that depend on nothing but the text, with the usage the dialect tells.

use serde_json::{Value, json};

use super::super::asked::Asked;
use super::super::wish::{list, text};
use super::{Dialect, gemini};

/// Numbers in a vector when the request does not say.
const USUAL: u64 = 8;
/// One request cannot make the mock build longer vectors.
const MOST: u64 = 4096;
/// Texts in a request, as the providers limit them.
const MOST_TEXTS: usize = 2048;

/// Whether a path is one of embeddings in this dialect.
pub(super) fn is_path(dialect: Dialect, path: &str) -> bool {
    match dialect {
        Dialect::OpenAi | Dialect::Responses => path.ends_with("/embeddings"),
        Dialect::Gemini => path.ends_with(":embedContent") || path.ends_with(":batchEmbedContents"),
        Dialect::Cohere => path.ends_with("/embed"),
        Dialect::Ollama => path.ends_with("/api/embed"),
        Dialect::Bedrock => path.ends_with("/invoke"),
        Dialect::Anthropic => false,
    }
}

/// What a real provider refuses in a request for embeddings.
pub(super) fn complaint(asked: &Asked) -> Option<String> {
    if !asked.json.is_object() {
        return Some("the request body is not a JSON object".to_owned());
    }
    if asked.model().is_none() {
        return Some("you must provide a model parameter".to_owned());
    }
    let found = match asked.dialect {
        Dialect::OpenAi | Dialect::Responses => openai_inputs(&asked.json),
        Dialect::Gemini => gemini_inputs(asked),
        Dialect::Cohere => {
            if let Some(complaint) = cohere_complaint(&asked.json) {
                return Some(complaint);
            }
            cohere_inputs(&asked.json)
        }
        Dialect::Ollama => openai_inputs(&asked.json),
        Dialect::Bedrock if is_titan(asked) => {
            let text = asked.json.get("inputText").and_then(Value::as_str);
            text.map(|text| vec![text.to_owned()])
        }
        Dialect::Bedrock => cohere_inputs(&asked.json),
        Dialect::Anthropic => None,
    };
    match found {
        None => Some("the input is neither a text nor a list of texts".to_owned()),
        Some(inputs) if inputs.is_empty() || inputs.len() > MOST_TEXTS => Some(format!(
            "the input holds {} texts; 1 to {MOST_TEXTS} are allowed",
            inputs.len()
        )),
        Some(inputs) if inputs.iter().any(String::is_empty) => {
            Some("the input holds an empty text".to_owned())
        }
        Some(_) => None,
    }
}

/// The answer, and the tokens it says went in.
pub(super) fn answer(asked: &Asked) -> (Value, u64) {
    match asked.dialect {
        Dialect::OpenAi | Dialect::Responses => openai(asked),
        Dialect::Gemini => gemini(asked),
        Dialect::Cohere => cohere(asked),
        Dialect::Ollama => ollama(asked),
        Dialect::Bedrock if is_titan(asked) => titan(asked),
        Dialect::Bedrock => cohere(asked),
        Dialect::Anthropic => (Value::Null, 0),
    }
}

/// Amazon's own models keep a form of their own; the others here are Cohere's.
fn is_titan(asked: &Asked) -> bool {
    asked.model().is_some_and(|model| model.contains("titan"))
}

fn titan(asked: &Asked) -> (Value, u64) {
    let input = text(&asked.json, "/inputText").to_owned();
    let length = asked.json.get("dimensions").and_then(Value::as_u64);
    let vector = vector(&input, length);
    let tokens = tokens(&[input]);
    let answer = json!({"embedding": vector, "inputTextTokenCount": tokens,
        "embeddingsByType": {"float": vector}});
    (answer, tokens)
}

fn ollama(asked: &Asked) -> (Value, u64) {
    let inputs = openai_inputs(&asked.json).unwrap_or_default();
    let tokens = tokens(&inputs);
    let length = asked.json.get("dimensions").and_then(Value::as_u64);
    let vectors: Vec<Vec<f32>> = inputs.iter().map(|input| vector(input, length)).collect();
    let answer = json!({"model": asked.model(), "embeddings": vectors, "total_duration": 14_143_917,
        "load_duration": 1_019_500, "prompt_eval_count": tokens});
    (answer, tokens)
}

/// Whether many texts came in one request.
fn is_batch(asked: &Asked) -> bool {
    asked.bare_path().ends_with(":batchEmbedContents")
}

fn gemini(asked: &Asked) -> (Value, u64) {
    let inputs = gemini_inputs(asked).unwrap_or_default();
    let tokens = tokens(&inputs);
    let none = Value::Null;
    let of = |at: usize| {
        let request = if is_batch(asked) {
            list(&asked.json, "/requests").get(at).unwrap_or(&none)
        } else {
            &asked.json
        };
        gemini::member(request, "outputDimensionality", "output_dimensionality")
            .and_then(Value::as_u64)
    };
    let vectors = inputs.iter().enumerate();
    let mut vectors = vectors.map(|(at, input)| json!({"values": vector(input, of(at))}));
    let usage = json!({"promptTokenCount": tokens, "totalTokenCount": tokens});
    let answer = if is_batch(asked) {
        json!({"embeddings": vectors.collect::<Vec<_>>(), "usageMetadata": usage})
    } else {
        json!({"embedding": vectors.next(), "usageMetadata": usage})
    };
    (answer, tokens)
}

/// `None` when a content is missing or a model is not that of the path.
fn gemini_inputs(asked: &Asked) -> Option<Vec<String>> {
    let said = |request: &Value| {
        let parts = list(request, "/content/parts");
        let said: String = parts.iter().map(|part| text(part, "/text")).collect();
        (!parts.is_empty()).then_some(said)
    };
    if !is_batch(asked) {
        return Some(vec![said(&asked.json)?]);
    }
    let wanted = format!("models/{}", asked.model().unwrap_or_default());
    let each = list(&asked.json, "/requests").iter().map(|request| {
        let fits = text(request, "/model") == wanted;
        fits.then(|| said(request)).flatten()
    });
    each.collect()
}

fn openai(asked: &Asked) -> (Value, u64) {
    let inputs = openai_inputs(&asked.json).unwrap_or_default();
    let tokens = tokens(&inputs);
    let length = asked.json.get("dimensions").and_then(Value::as_u64);
    let packed = text(&asked.json, "/encoding_format") == "base64";
    let one = |(index, input): (usize, &String)| {
        let vector = vector(input, length);
        let embedding = if packed {
            let bytes: Vec<u8> = vector
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect();
            json!(base64(&bytes))
        } else {
            json!(vector)
        };
        json!({"object": "embedding", "index": index, "embedding": embedding})
    };
    let data: Vec<Value> = inputs.iter().enumerate().map(one).collect();
    let answer = json!({"object": "list", "model": asked.model(), "data": data,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens}});
    (answer, tokens)
}

/// A text, texts, token numbers, or lists of them; tokens stand for themselves as text.
fn openai_inputs(request: &Value) -> Option<Vec<String>> {
    let input = request.get("input")?;
    if let Some(one) = input.as_str() {
        return Some(vec![one.to_owned()]);
    }
    let inputs = input.as_array()?;
    if !inputs.is_empty() && inputs.iter().all(Value::is_u64) {
        return Some(vec![input.to_string()]);
    }
    let each = inputs.iter().map(|one| match one {
        Value::String(one) => Some(one.clone()),
        Value::Array(tokens) if tokens.iter().all(Value::is_u64) => Some(one.to_string()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => {
            None
        }
    });
    each.collect()
}

/// What the vectors are for; newer models want to know.
const PURPOSES: [&str; 5] = [
    "search_document",
    "search_query",
    "classification",
    "clustering",
    "image",
];
/// Texts in one of Cohere's requests.
const MOST_OF_COHERE: usize = 96;

fn cohere_complaint(request: &Value) -> Option<String> {
    if !PURPOSES.contains(&text(request, "/input_type")) {
        return Some("invalid request: input_type is required".to_owned());
    }
    let kinds = list(request, "/embedding_types");
    if kinds.iter().any(|kind| kind != "float") {
        return Some("this mock knows only the embedding type float".to_owned());
    }
    let many = list(request, "/texts").len() > MOST_OF_COHERE;
    many.then(|| format!("invalid request: more than {MOST_OF_COHERE} texts"))
}

fn cohere(asked: &Asked) -> (Value, u64) {
    let inputs = cohere_inputs(&asked.json).unwrap_or_default();
    let tokens = tokens(&inputs);
    let length = asked.json.get("output_dimension").and_then(Value::as_u64);
    let vectors: Vec<Vec<f32>> = inputs.iter().map(|input| vector(input, length)).collect();
    let answer = json!({"id": "embed-mock", "response_type": "embeddings_by_type", "texts": inputs,
        "embeddings": {"float": vectors}, "meta": {"api_version": {"version": "2"}, "billed_units": {"input_tokens": tokens}}});
    (answer, tokens)
}

/// `texts`, or the texts of `inputs`.
fn cohere_inputs(request: &Value) -> Option<Vec<String>> {
    if let Some(texts) = request.get("texts") {
        let each = texts.as_array()?.iter();
        return each.map(|one| one.as_str().map(str::to_owned)).collect();
    }
    let inputs = request.get("inputs")?.as_array()?.iter();
    let said = |input: &Value| {
        list(input, "/content")
            .iter()
            .map(|part| text(part, "/text"))
            .collect()
    };
    Some(inputs.map(said).collect())
}

fn tokens(inputs: &[String]) -> u64 {
    let each = inputs.iter().map(|input| (input.len() as u64 / 4).max(1));
    each.fold(0, u64::saturating_add)
}

/// A vector of length one, the same for the same text.
#[expect(
    clippy::cast_possible_truncation,
    reason = "embeddings are of single precision"
)]
fn vector(input: &str, length: Option<u64>) -> Vec<f32> {
    // FNV-1a: the text is the seed.
    let seed = input.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3)
    });
    let mut rng = fastrand::Rng::with_seed(seed);
    let length = length.unwrap_or(USUAL).clamp(1, MOST);
    let raw: Vec<f64> = (0..length).map(|_| rng.f64() - 0.5).collect();
    let norm = raw
        .iter()
        .map(|number| number * number)
        .sum::<f64>()
        .sqrt()
        .max(1e-9);
    raw.iter().map(|number| (number / norm) as f32).collect()
}

/// RFC 4648, with padding.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3).saturating_mul(4));
    for group in bytes.chunks(3) {
        let byte = |at: usize| u32::from(group.get(at).copied().unwrap_or_default());
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let index = bits >> (18 - 6 * place) & 63;
            let letter = ALPHABET.get(index as usize).copied().unwrap_or(b'=');
            text.push(if place > group.len() {
                '='
            } else {
                char::from(letter)
            });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_is_that_of_the_standard() {
        let vectors = [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ];
        for (plain, wanted) in vectors {
            assert_eq!(base64(plain.as_bytes()), wanted, "RFC 4648, 10");
        }
        assert_eq!(base64(&[0xFB, 0xEF, 0xFF]), "++//");
    }

    #[test]
    fn a_vector_is_of_length_one_and_tells_texts_apart() {
        let one = vector("hello", None);
        assert_eq!(one.len(), 8);
        let norm: f32 = one.iter().map(|number| number * number).sum();
        assert!((norm - 1.0).abs() < 1e-5, "{norm}");
        assert_eq!(one, vector("hello", None));
        assert_ne!(one, vector("hallo", None));
        assert_eq!(vector("hello", Some(u64::MAX)).len(), 4096);
    }
}
