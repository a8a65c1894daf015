//! Pictures and documents on their way to a provider: which have to be fetched first, and which it would not
//! take.

use std::collections::BTreeMap;

use super::DialectError;
use crate::domain::Dialect;
use crate::domain::chat::{ChatRequest, Part, Source};

/// Data that was fetched from addresses.
pub type Fetched = BTreeMap<String, Source>;

/// What providers of a dialect take of pictures. Larger than this or of another type, a request is refused
/// there as a whole, and after its upload.
struct Pictures {
    types: &'static [&'static str],
    /// Of one picture's data.
    most: usize,
    said: &'static str,
}

const USUAL: &[&str] = &["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Facts of the providers' own documents, November 2026.
fn pictures(dialect: Dialect) -> Option<Pictures> {
    let (types, most, said) = match dialect {
        Dialect::Openai | Dialect::Responses => (USUAL, 50 << 20, "50 MB"),
        Dialect::Anthropic => (USUAL, 10 << 20, "10 MB"),
        Dialect::Gemini => (
            &[
                "image/png",
                "image/jpeg",
                "image/webp",
                "image/heic",
                "image/heif",
            ][..],
            20 << 20,
            "20 MB",
        ),
        Dialect::Bedrock => (USUAL, 3_932_160, "3.75 MB"),
        Dialect::Cohere => (USUAL, 20 << 20, "20 MB"),
        // Whatever the model behind it reads.
        Dialect::Ollama => return None,
    };
    Some(Pictures { types, most, said })
}

/// The addresses whose data a provider of this dialect has to be sent, each once.
pub fn addresses(dialect: Dialect, request: &ChatRequest) -> Vec<String> {
    let mut found = Vec::new();
    each_part(request, &mut |part| {
        let (source, is_image) = if let Part::Image { source } = part {
            (source, true)
        } else if let Part::Document { source, .. } = part {
            (source, false)
        } else {
            return;
        };
        if let Source::Url { url } = source
            && url.starts_with("https://")
            && by_data_only(dialect, is_image, url)
            && !found.contains(url)
        {
            found.push(url.clone());
        }
    });
    found
}

fn by_data_only(dialect: Dialect, is_image: bool, url: &str) -> bool {
    match dialect {
        Dialect::Gemini => !url.starts_with("https://generativelanguage.googleapis.com/"),
        Dialect::Bedrock | Dialect::Ollama => true,
        // A document goes as data only.
        Dialect::Openai => !is_image,
        Dialect::Anthropic | Dialect::Responses | Dialect::Cohere => false,
    }
}

/// Puts what was fetched where its address stood.
pub fn put(request: &mut ChatRequest, fetched: &Fetched) {
    for message in &mut request.messages {
        put_into(&mut message.parts, fetched);
    }
}

fn put_into(parts: &mut [Part], fetched: &Fetched) {
    for part in parts {
        match part {
            Part::Image { source } | Part::Document { source, .. } => {
                if let Source::Url { url } = source
                    && let Some(data) = fetched.get(url)
                {
                    *source = data.clone();
                }
            }
            Part::ToolResult { parts, .. } => put_into(parts, fetched),
            Part::Text { .. }
            | Part::Audio { .. }
            | Part::ToolCall { .. }
            | Part::Thinking { .. }
            | Part::RedactedThinking { .. }
            | Part::Refusal { .. }
            | Part::CachePoint { .. } => {}
        }
    }
}

/// Refuses a picture that providers of this dialect would refuse, before it is sent.
pub fn check(dialect: Dialect, request: &ChatRequest, model: &str) -> Result<(), DialectError> {
    let Some(limits) = pictures(dialect) else {
        return Ok(());
    };
    for (index, message) in request.messages.iter().enumerate() {
        let mut wrong = None;
        each_of(&message.parts, &mut |part| {
            if let Part::Image {
                source: Source::Base64 { media_type, data },
            } = part
            {
                wrong = wrong
                    .take()
                    .or_else(|| objection(&limits, media_type, data));
            }
        });
        if let Some(what) = wrong {
            return Err(DialectError::at(
                format!("messages[{index}].content"),
                format!("the model {model:?} takes {what}"),
            ));
        }
    }
    Ok(())
}

fn objection(limits: &Pictures, media_type: &str, data: &str) -> Option<String> {
    let name = media_type.split(';').next().unwrap_or_default().trim();
    // An old name of the same.
    let name = if name == "image/jpg" {
        "image/jpeg"
    } else {
        name
    };
    if !limits.types.contains(&name) {
        let types: Vec<_> = limits
            .types
            .iter()
            .map(|name| name.trim_start_matches("image/"))
            .collect();
        return Some(format!("images as {} only", types.join(", ")));
    }
    // Four letters hold three bytes.
    let bytes = data.len() / 4 * 3;
    (bytes > limits.most).then(|| format!("images of at most {}", limits.said))
}

fn each_part<'a>(request: &'a ChatRequest, see: &mut impl FnMut(&'a Part)) {
    for message in &request.messages {
        each_of(&message.parts, see);
    }
}

fn each_of<'a>(parts: &'a [Part], see: &mut impl FnMut(&'a Part)) {
    for part in parts {
        see(part);
        // Results hold no results: decoders give them texts, pictures and documents.
        if let Part::ToolResult { parts, .. } = part {
            for part in parts {
                see(part);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn request(parts: serde_json::Value) -> ChatRequest {
        let message = json!({"role": "user", "parts": parts});
        serde_json::from_value(json!({"model": "m", "messages": [message]})).unwrap()
    }

    fn image(url: &str) -> serde_json::Value {
        json!({"type": "image", "source": Source::Url { url: url.to_owned() }})
    }

    #[test]
    fn d4_only_what_a_provider_takes_as_data_is_fetched_and_each_once() {
        let page = json!({"type": "document", "source": Source::Url { url: "https://a/b.pdf".to_owned() }});
        let result = json!({"type": "tool_result", "id": "1", "parts": [image("https://a/2.png")]});
        let request = request(json!([
            image("https://a/1.png"),
            image("https://a/1.png"),
            page,
            result
        ]));
        let all = ["https://a/1.png", "https://a/b.pdf", "https://a/2.png"];
        for (dialect, expected) in [
            (Dialect::Gemini, &all[..]),
            (Dialect::Bedrock, &all[..]),
            (Dialect::Openai, &all[1..2]),
            (Dialect::Anthropic, &[]),
        ] {
            assert_eq!(addresses(dialect, &request), expected, "{dialect:?}");
        }
        let mut filled = request.clone();
        let data = Source::Base64 {
            media_type: "image/png".to_owned(),
            data: "iVBO".to_owned(),
        };
        put(
            &mut filled,
            &all.iter()
                .map(|url| ((*url).to_owned(), data.clone()))
                .collect(),
        );
        assert!(addresses(Dialect::Gemini, &filled).is_empty());
        assert!(!serde_json::to_string(&filled).unwrap().contains("https://"));
    }

    #[test]
    fn d4_a_picture_a_model_does_not_take_is_told_with_the_model_s_name() {
        let picture = |media_type: &str, length: usize| {
            let data = "A".repeat(length);
            let source = Source::Base64 {
                media_type: media_type.to_owned(),
                data,
            };
            request(json!([{"type": "image", "source": source}]))
        };
        for (dialect, media_type, length, expected) in [
            (
                Dialect::Anthropic,
                "image/bmp",
                4,
                "png, jpeg, gif, webp only",
            ),
            (Dialect::Gemini, "image/gif", 4, "heif only"),
            (Dialect::Bedrock, "image/png", 6 << 20, "at most 3.75 MB"),
        ] {
            let error = check(dialect, &picture(media_type, length), "m-1").unwrap_err();
            assert!(
                error.message.contains(expected) && error.message.contains("\"m-1\""),
                "{error}"
            );
            assert_eq!(error.param.as_deref(), Some("messages[0].content"));
        }
        for good in ["image/png", "image/jpg", "image/jpeg; q=1"] {
            assert_eq!(
                check(Dialect::Bedrock, &picture(good, 4 << 20), "m"),
                Ok(())
            );
        }
    }
}
