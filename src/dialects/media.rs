//! Pictures, documents and sounds on their way to a provider: which have to be fetched first, and which it does not
//! take. Those are refused here, with the model and the format named: over there it would be an error that names
//! neither.

use std::collections::BTreeMap;

use super::DialectError;
use super::places::place_of;
use crate::domain::chat::{ChatRequest, Part, Source};
use crate::domain::{ClientDialect, Dialect};

/// Data that was fetched from addresses.
pub type Fetched = BTreeMap<String, Source>;

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

/// Whether it is a picture, a document or a sound.
fn is_media(part: &Part) -> bool {
    matches!(
        part,
        Part::Image { .. } | Part::Document { .. } | Part::Audio { .. }
    )
}

/// Where the client wrote the first of them of which this is so.
fn place_where(
    client: ClientDialect,
    body: &[u8],
    request: &ChatRequest,
    is_it: impl Fn(&Part) -> bool,
) -> Option<String> {
    let (mut all, mut number) = (0_usize, None);
    each_part(request, &mut |part| {
        if is_media(part) {
            number = number.or_else(|| is_it(part).then_some(all));
            all = all.saturating_add(1);
        }
    });
    Some(place_of(client, body, (number?, all)))
}

/// Where the client wrote this address.
pub fn place_of_address(
    client: ClientDialect,
    body: &[u8],
    request: &ChatRequest,
    address: &str,
) -> Option<String> {
    place_where(client, body, request, |part| {
        let (Part::Image { source } | Part::Document { source, .. }) = part else {
            return false;
        };
        matches!(source, Source::Url { url } if url == address)
    })
}

/// Where the client wrote the first thing that the model is not given, because its provider does not take it.
pub fn place_of_refused(
    client: ClientDialect,
    body: &[u8],
    request: &ChatRequest,
    (dialect, model): (Dialect, &str),
) -> Option<String> {
    let taken = taken(dialect);
    place_where(client, body, request, |part| {
        taken.judge(part, model).is_err()
    })
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

/// What one provider takes; an empty list is judged by the provider itself, which says more than a table could.
struct Taken {
    images: &'static [&'static str],
    /// The most bytes of one picture.
    image_bytes: Option<usize>,
    documents: &'static [&'static str],
    audio: &'static [&'static str],
}

const WEB_IMAGES: &[&str] = &["image/png", "image/jpeg", "image/gif", "image/webp"];

/// Each provider's own page on what it takes.
fn taken(dialect: Dialect) -> Taken {
    let nothing_said = Taken {
        images: &[],
        image_bytes: None,
        documents: &[],
        audio: &[],
    };
    match dialect {
        Dialect::Openai => Taken {
            images: WEB_IMAGES,
            audio: &["wav", "mp3"],
            ..nothing_said
        },
        Dialect::Responses => Taken {
            images: WEB_IMAGES,
            ..nothing_said
        },
        Dialect::Anthropic => Taken {
            images: WEB_IMAGES,
            image_bytes: Some(5 << 20),
            documents: &["application/pdf", "text/plain"],
            ..nothing_said
        },
        Dialect::Gemini => Taken {
            images: &[
                "image/png",
                "image/jpeg",
                "image/webp",
                "image/heic",
                "image/heif",
            ],
            ..nothing_said
        },
        // Bedrock names formats itself; three and three quarters of a megabyte is its own limit.
        Dialect::Bedrock => Taken {
            images: WEB_IMAGES,
            image_bytes: Some(3_932_160),
            ..nothing_said
        },
        Dialect::Cohere => Taken {
            images: WEB_IMAGES,
            ..nothing_said
        },
        Dialect::Ollama => nothing_said,
    }
}

/// Refuses the first thing this provider cannot take.
pub(super) fn check(
    dialect: Dialect,
    request: &ChatRequest,
    model: &str,
) -> Result<(), DialectError> {
    let taken = taken(dialect);
    for (index, message) in request.messages.iter().enumerate() {
        for part in &message.parts {
            let inside = match part {
                Part::ToolResult { parts, .. } => parts.as_slice(),
                Part::Text { .. }
                | Part::Image { .. }
                | Part::Document { .. }
                | Part::Audio { .. }
                | Part::ToolCall { .. }
                | Part::Thinking { .. }
                | Part::RedactedThinking { .. }
                | Part::Refusal { .. }
                | Part::CachePoint { .. } => std::slice::from_ref(part),
            };
            for part in inside {
                taken.judge(part, model).map_err(|message| {
                    DialectError::at(format!("messages[{index}].content"), message)
                })?;
            }
        }
    }
    Ok(())
}

impl Taken {
    fn judge(&self, part: &Part, model: &str) -> Result<(), String> {
        match part {
            Part::Image {
                source: Source::Base64 { media_type, data },
            } => {
                among("images", self.images, media_type, model)?;
                let bytes = data.len() / 4 * 3;
                let most = self.image_bytes.unwrap_or(usize::MAX);
                if bytes > most {
                    return Err(format!(
                        "the model {model:?} takes images of {most} bytes at most, and this one has about {bytes}"
                    ));
                }
                Ok(())
            }
            Part::Document {
                source: Source::Base64 { media_type, .. },
                ..
            } => among("documents", self.documents, media_type, model),
            Part::Audio { format, .. } => among("audio", self.audio, format, model),
            Part::Image { .. }
            | Part::Document { .. }
            | Part::Text { .. }
            | Part::ToolCall { .. }
            | Part::ToolResult { .. }
            | Part::Thinking { .. }
            | Part::RedactedThinking { .. }
            | Part::Refusal { .. }
            | Part::CachePoint { .. } => Ok(()),
        }
    }
}

fn among(what: &str, known: &[&str], given: &str, model: &str) -> Result<(), String> {
    let plain = given.split(';').next().unwrap_or_default().trim();
    let plain = plain.to_ascii_lowercase();
    // A name that others gave it.
    let plain = if plain == "image/jpg" {
        "image/jpeg"
    } else {
        &plain
    };
    if known.is_empty() || known.contains(&plain) {
        return Ok(());
    }
    let shown: String = given.chars().take(64).collect();
    Err(format!(
        "the model {model:?} takes no {what} of type {shown:?}; send {}",
        known.join(" or ")
    ))
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
    use crate::domain::chat::{Message, Role};

    fn judged(dialect: Dialect, part: Part) -> Result<(), DialectError> {
        let parts = vec![part];
        let request = ChatRequest {
            messages: vec![Message {
                role: Role::User,
                parts,
            }],
            ..ChatRequest::default()
        };
        check(dialect, &request, "m-1")
    }

    fn image(media_type: &str, bytes: usize) -> Part {
        let data = "A".repeat(bytes.div_ceil(3) * 4);
        let media_type = media_type.to_owned();
        Part::Image {
            source: Source::Base64 { media_type, data },
        }
    }

    #[test]
    fn j_what_a_provider_cannot_take_is_refused_with_the_model_and_the_format() {
        let error = judged(Dialect::Anthropic, image("image/bmp", 9)).unwrap_err();
        assert_eq!(error.param.as_deref(), Some("messages[0].content"));
        assert!(error.message.contains("\"m-1\"") && error.message.contains("image/bmp"));
        assert!(error.message.contains("image/png"), "the cure: {error}");
        assert!(judged(Dialect::Anthropic, image("image/jpg; q=1", 9)).is_ok());
        assert!(judged(Dialect::Gemini, image("image/gif", 9)).is_err());
        assert!(judged(Dialect::Ollama, image("image/bmp", 9)).is_ok());
        let sound = |format: &str| Part::Audio {
            format: format.to_owned(),
            data: "AA==".to_owned(),
        };
        assert!(judged(Dialect::Openai, sound("flac")).is_err());
        assert!(judged(Dialect::Openai, sound("wav")).is_ok());
        assert!(judged(Dialect::Gemini, sound("flac")).is_ok());
    }

    #[test]
    fn j_a_picture_that_is_too_large_is_refused_with_its_size() {
        let error = judged(Dialect::Bedrock, image("image/png", 4_000_000)).unwrap_err();
        assert!(error.message.contains("3932160"), "{error}");
        assert!(judged(Dialect::Bedrock, image("image/png", 3_000_000)).is_ok());
    }

    #[test]
    fn j_what_a_tool_answered_is_judged_too() {
        let result = Part::ToolResult {
            id: "c".to_owned(),
            parts: vec![image("image/tiff", 9)],
            is_error: false,
        };
        assert!(judged(Dialect::Anthropic, result).is_err());
    }

    fn request(parts: serde_json::Value) -> ChatRequest {
        let message = json!({"role": "user", "parts": parts});
        serde_json::from_value(json!({"model": "m", "messages": [message]})).unwrap()
    }

    fn addressed(url: &str) -> serde_json::Value {
        json!({"type": "image", "source": Source::Url { url: url.to_owned() }})
    }

    #[test]
    fn d4_only_what_a_provider_takes_as_data_is_fetched_and_each_once() {
        let page = json!({"type": "document", "source": Source::Url { url: "https://a/b.pdf".to_owned() }});
        let result =
            json!({"type": "tool_result", "id": "1", "parts": [addressed("https://a/2.png")]});
        let request = request(json!([
            addressed("https://a/1.png"),
            addressed("https://a/1.png"),
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
}
