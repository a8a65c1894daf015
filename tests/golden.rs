//! Golden cases: wire and domain side by side. `UPDATE_GOLDEN=1` rewrites them; the diff is the review.
//!
//! `<dialect>/<case>/request.json` is decoded to `domain.json` and encoded for a provider of every other
//! dialect; `answer.json` is decoded to `domain.json` and encoded for a client of every other; `stream.sse` (or
//! `.ndjson`, or `.frames`: the events of binary frames by name, a line each) is relayed to a client of every other, and to one of its own as it came.
//! `canonical/<case>/request.json`, which no OpenAI client could have sent, is encoded to `openai.json`.
//!
//! `embeddings/` and `rerank/` hold the same for what is asked beside conversations; see `golden/operations.rs`.
//!
//! Every openai request is also encoded back, and what comes out is what went in. Where it is not,
//! `back.json` states each difference and why it is right; it is written by hand and never rewritten.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test crate"
)]

use std::fs;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use serde_json::{Value, json};
use switchyard::dialects::openai::{decode_request, encode_request};
use switchyard::dialects::{
    AnswerTerms, DialectError, Encoded, Encoder, MirrorRelay, Recipient, Relay, TranslateRelay,
    decode_answer, decode_request as decode_dialect, encode_answer,
    encode_request as encode_dialect,
};
use switchyard::domain::chat::{ChatRequest, Part, Signature};
use switchyard::domain::{ClientDialect, Dialect, Quirks, Tokens};

#[path = "golden/operations.rs"]
mod operations;

fn cases(dialect: &str, input: &str) -> Vec<PathBuf> {
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
fn same(case: &Path, name: &str, seen: &str) {
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
fn indented(text: &[u8]) -> String {
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
fn with_body(dropped: &Value, body: &[u8]) -> String {
    let body = std::str::from_utf8(body).unwrap();
    indented(format!("{{\"dropped\":{dropped},\"body\":{body}}}").as_bytes())
}

fn pretty(value: &Value) -> String {
    serde_json::to_string_pretty(value).unwrap() + "\n"
}

/// The dialects' folders and file names.
const CLIENTS: [(ClientDialect, &str); 4] = [
    (ClientDialect::Openai, "openai"),
    (ClientDialect::Anthropic, "anthropic"),
    (ClientDialect::Responses, "responses"),
    (ClientDialect::Gemini, "gemini"),
];
const PROVIDERS: [(Dialect, &str); 7] = [
    (Dialect::Openai, "openai"),
    (Dialect::Anthropic, "anthropic"),
    (Dialect::Responses, "responses"),
    (Dialect::Gemini, "gemini"),
    (Dialect::Ollama, "ollama"),
    (Dialect::Cohere, "cohere"),
    (Dialect::Bedrock, "bedrock"),
];

fn other_providers(client: ClientDialect) -> impl Iterator<Item = (Dialect, &'static str)> {
    PROVIDERS
        .into_iter()
        .filter(move |(provider, _)| *provider != client.dialect())
}

fn other_clients(provider: Dialect) -> impl Iterator<Item = (ClientDialect, &'static str)> {
    CLIENTS
        .into_iter()
        .filter(move |(client, _)| provider != client.dialect())
}

/// A stream's file, by how this dialect is framed.
fn stream_file(provider: Dialect) -> &'static str {
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

fn terms() -> AnswerTerms {
    AnswerTerms {
        request_id: "sy-golden".to_owned(),
        asked: "fast".to_owned(),
        created: 1_700_000_000,
        include_usage: true,
        logprobs: true,
        request: json!({"instructions": "be brief", "tools": []}),
    }
}

#[test]
fn requests_decode_and_cross_to_every_provider() {
    for (client, name) in CLIENTS {
        for case in cases(name, "request.json") {
            let body = fs::read(case.join("request.json")).unwrap();
            let domain = match decode_dialect(client, &body) {
                Ok(domain) => domain,
                Err(error) => {
                    let refused = json!({"refused": error.message, "param": error.param});
                    same(&case, "domain.json", &pretty(&refused));
                    continue;
                }
            };
            same(
                &case,
                "domain.json",
                &pretty(&serde_json::to_value(&domain).unwrap()),
            );
            for (provider, name) in other_providers(client) {
                let crossed = encode_dialect(provider, &domain, recipient(&Quirks::default()));
                same(&case, &format!("{name}.json"), &shown(crossed));
            }
        }
    }
}

/// A model of no particular kind.
fn recipient(quirks: &Quirks) -> Recipient<'_> {
    Recipient {
        model: "model-test",
        default_max_output: Tokens(4_096),
        quirks,
    }
}

/// A crossing, to the digit.
fn shown(encoded: Result<Encoded, DialectError>) -> String {
    match encoded {
        Ok(encoded) => with_body(&json!(encoded.dropped), &encoded.body),
        refused @ Err(_) => pretty(&crossing(refused)),
    }
}

fn crossing(encoded: Result<Encoded, DialectError>) -> Value {
    match encoded {
        Ok(encoded) => json!({
            "dropped": encoded.dropped,
            "body": serde_json::from_slice::<Value>(&encoded.body).unwrap(),
        }),
        Err(error) => json!({"refused": error.message, "param": error.param}),
    }
}

/// Every place where two values differ; a side that has nothing there is not named.
fn differences(at: &str, sent: Option<&Value>, back: Option<&Value>, found: &mut Vec<Value>) {
    match (sent, back) {
        (Some(Value::Object(left)), Some(Value::Object(right))) => {
            let only_right = right.keys().filter(|key| !left.contains_key(*key));
            for key in left.keys().chain(only_right) {
                differences(&format!("{at}/{key}"), left.get(key), right.get(key), found);
            }
        }
        (Some(Value::Array(left)), Some(Value::Array(right))) => {
            for index in 0..left.len().max(right.len()) {
                let (left, right) = (left.get(index), right.get(index));
                differences(&format!("{at}/{index}"), left, right, found);
            }
        }
        (sent, back) if sent == back => {}
        (sent, back) => {
            let mut one = json!({"at": at});
            if let Some(sent) = sent {
                one["sent"] = sent.clone();
            }
            if let Some(back) = back {
                one["back"] = back.clone();
            }
            found.push(one);
        }
    }
}

/// What the case says about its way back: nothing lost and nothing changed, unless it states otherwise.
fn stated(case: &Path) -> Value {
    let plain = json!({"dropped": [], "differs": []});
    let Ok(text) = fs::read_to_string(case.join("back.json")) else {
        return plain;
    };
    let mut stated: Value = serde_json::from_str(&text).unwrap();
    let why = stated.as_object_mut().unwrap().remove("why");
    let why = why.unwrap_or_default();
    assert!(
        why.as_str().is_some_and(|why| !why.is_empty()) && stated != plain,
        "{}: back.json states a difference and why it is right",
        case.display()
    );
    stated
}

/// A whole answer sent back as the client's form has it, as the last but one thing that was said.
fn sent_back(client: ClientDialect, answer: &[u8]) -> Value {
    let answer: Value = serde_json::from_slice(answer).unwrap();
    let said = |own: Value| {
        let asked = |text: &str| json!({"role": "user", "content": text});
        json!({"model": "m", "max_tokens": 9, "messages": [asked("a"), own, asked("b")]})
    };
    match client {
        ClientDialect::Openai => said(answer["choices"][0]["message"].clone()),
        ClientDialect::Anthropic => {
            said(json!({"role": "assistant", "content": answer["content"]}))
        }
        ClientDialect::Responses => json!({"model": "m", "input": answer["output"]}),
        ClientDialect::Gemini => json!({"contents": [
            {"role": "user", "parts": [{"text": "a"}]}, answer["candidates"][0]["content"],
        ]}),
    }
}

#[test]
fn d3_a_redacted_thought_comes_back_as_what_it_was_through_every_client() {
    let said = json!({"id": "x", "model": "m", "role": "assistant", "content": [
        {"type": "thinking", "thinking": "hm", "signature": "SIG"},
        {"type": "redacted_thinking", "data": "RED"},
        {"type": "text", "text": "hi"},
    ], "stop_reason": "end_turn", "usage": {}});
    let answer = decode_answer(Dialect::Anthropic, said.to_string().as_bytes(), "sy-1").unwrap();
    for (client, name) in CLIENTS {
        let told = encode_answer(client, &answer, &terms());
        let back = sent_back(client, &told).to_string();
        let back = decode_dialect(client, back.as_bytes()).unwrap();
        let parts: Vec<&Part> = back.messages.iter().flat_map(|one| &one.parts).collect();
        let data = Signature::new(Dialect::Anthropic, "RED");
        let redacted = Part::RedactedThinking { data };
        assert!(parts.contains(&&redacted), "{name}: {parts:?}");
        let signed = |part: &&&Part| matches!(part, Part::Thinking { signature: Some(own), .. } if own.data == "SIG");
        assert_eq!(parts.iter().filter(signed).count(), 1, "{name}: {parts:?}");
    }
}

#[test]
fn openai_requests_come_back_as_they_were_sent() {
    for case in cases("openai", "request.json") {
        let body = fs::read(case.join("request.json")).unwrap();
        let domain = decode_request(&body).unwrap();
        let seen = match encode_request(&domain, &domain.model, &Quirks::default()) {
            Ok(encoded) => {
                let sent: Value = serde_json::from_slice(&body).unwrap();
                let back: Value = serde_json::from_slice(&encoded.body).unwrap();
                let mut differs = Vec::new();
                differences("", Some(&sent), Some(&back), &mut differs);
                json!({"dropped": encoded.dropped, "differs": differs})
            }
            refused @ Err(_) => crossing(refused),
        };
        let stated = stated(&case);
        assert!(
            seen == stated,
            "{} came back with\n{}but states\n{}",
            case.display(),
            pretty(&seen),
            pretty(&stated)
        );
    }
}

#[test]
fn canonical_requests_cross_to_openai() {
    for case in cases("canonical", "request.json") {
        let text = fs::read(case.join("request.json")).unwrap();
        let request: ChatRequest = serde_json::from_slice(&text).unwrap();
        let crossed = encode_request(&request, "gpt-test", &Quirks::default());
        if let Ok(encoded) = &crossed {
            // What was sent says all of itself: nothing is left out of it a second time.
            let read = decode_request(&encoded.body).unwrap();
            let again = encode_request(&read, "gpt-test", &Quirks::default()).unwrap();
            assert!(again.dropped.is_empty(), "{}", case.display());
            let reread = decode_request(&again.body).unwrap();
            assert_eq!(reread, read, "{}", case.display());
        }
        same(&case, "openai.json", &pretty(&crossing(crossed)));
    }
}

#[test]
fn answers_decode_and_cross_to_every_client() {
    for (provider, name) in PROVIDERS {
        for case in cases(name, "answer.json") {
            let body = fs::read(case.join("answer.json")).unwrap();
            let answer = match decode_answer(provider, &body, "sy-golden") {
                Ok(answer) => answer,
                Err(fault) => {
                    same(&case, "fault.txt", &format!("{fault:#?}\n"));
                    continue;
                }
            };
            same(
                &case,
                "domain.json",
                &pretty(&serde_json::to_value(&answer).unwrap()),
            );
            for (client, name) in other_clients(provider) {
                let encoded = encode_answer(client, &answer, &terms());
                same(&case, &format!("{name}.json"), &indented(&encoded));
            }
        }
    }
}

/// The binary frames of `{"event": payload}` lines. An `exception:` is one, and of what is `cut:` half is there.
fn framed(lines: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    for line in lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let line: Value = serde_json::from_slice(line).unwrap();
        for (name, payload) in line.as_object().unwrap() {
            let (cut, name) = match name.strip_prefix("cut:") {
                Some(name) => (true, name),
                None => (false, name.as_str()),
            };
            let (kind, name) = match name.strip_prefix("exception:") {
                Some(name) => ("exception", name),
                None => ("event", name),
            };
            let mut frame = frame(kind, name, payload.to_string().as_bytes());
            if cut {
                frame.truncate(frame.len() / 2);
            }
            bytes.extend(frame);
        }
    }
    bytes.into()
}

fn frame(kind: &str, name: &str, payload: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    for (header, value) in [
        (format!(":{kind}-type"), name),
        (":content-type".to_owned(), "application/json"),
        (":message-type".to_owned(), kind),
    ] {
        headers.push(u8::try_from(header.len()).unwrap());
        headers.extend(header.as_bytes());
        headers.push(7);
        headers.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let length = u32::try_from(headers.len() + payload.len() + 16).unwrap();
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
    frame.extend(crc(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(payload);
    frame.extend(crc(&frame).to_be_bytes());
    frame
}

/// CRC-32, bit by bit, as the standard describes it.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

/// What a client of that dialect reads of a provider's stream, whatever way it was cut.
fn relayed(provider: Dialect, client: ClientDialect, stream: &Bytes, case: &Path) -> String {
    let relay = || -> Box<dyn Relay> {
        let encoder = Encoder::of(client, &terms());
        if provider == client.dialect() {
            Box::new(MirrorRelay::new(client, encoder, "sy-golden"))
        } else {
            Box::new(TranslateRelay::new(provider, encoder, "sy-golden"))
        }
    };
    let mut whole = relay();
    let mut out = BytesMut::new();
    let ended = whole
        .feed(stream, &mut out)
        .and_then(|()| whole.end(&mut out));
    // The same stream in single bytes is the same stream.
    let mut sliced = relay();
    let mut again = BytesMut::new();
    let fed = (0..stream.len()).try_for_each(|at| sliced.feed(&stream.slice(at..=at), &mut again));
    let ended_again = fed.and_then(|()| sliced.end(&mut again));
    assert_eq!(
        (&ended_again, &again[..]),
        (&ended, &out[..]),
        "{}",
        case.display()
    );
    format!(
        "{}: ended {ended:?}\n",
        String::from_utf8(out.to_vec()).unwrap()
    )
}

#[test]
fn streams_cross_to_every_client_whole_or_say_why_not() {
    for (provider, name) in PROVIDERS {
        let file = stream_file(provider);
        for case in cases(name, file) {
            let mut stream = Bytes::from(fs::read(case.join(file)).unwrap());
            if provider == Dialect::Bedrock {
                stream = framed(&stream);
            }
            for (client, name) in other_clients(provider) {
                let seen = relayed(provider, client, &stream, &case);
                same(&case, &format!("{name}.sse"), &seen);
            }
            let own = CLIENTS
                .into_iter()
                .find(|(client, _)| client.dialect() == provider);
            let mirrors = own.filter(|(client, _)| *client != ClientDialect::Openai);
            if let Some((client, _)) = mirrors {
                let mirrored = relayed(provider, client, &stream, &case);
                let (text, ended) = mirrored.rsplit_once(": ended ").unwrap();
                let repeats = case.ends_with("stream-repeated");
                if ended.starts_with("Ok(Clean") && !repeats {
                    assert_eq!(text.as_bytes(), &stream[..], "{}", case.display());
                }
            }
        }
    }
}

/// A stream with a few of its bytes changed, lost or cut off, the same each time.
fn damaged(stream: &Bytes, seed: u64) -> Bytes {
    let mut draw = fastrand::Rng::with_seed(seed);
    let mut bytes = stream.to_vec();
    for _ in 0..draw.usize(1..6) {
        let place = draw.usize(..bytes.len().max(1));
        match draw.u8(..4) {
            0 => bytes.truncate(place),
            1 if place < bytes.len() => _ = bytes.remove(place),
            2 if place < bytes.len() => bytes.insert(place, draw.u8(..)),
            _ if place < bytes.len() => bytes[place] ^= 1 << draw.u8(..8),
            _ => {}
        }
    }
    bytes.into()
}

#[test]
fn no_damage_to_a_stream_panics_and_no_cut_one_ends_as_whole() {
    for (provider, name) in PROVIDERS {
        let file = stream_file(provider);
        for case in cases(name, file) {
            let mut stream = Bytes::from(fs::read(case.join(file)).unwrap());
            if provider == Dialect::Bedrock {
                stream = framed(&stream);
            }
            let read = |stream: &Bytes| {
                let encoder = Encoder::of(ClientDialect::Openai, &terms());
                let mut relay = TranslateRelay::new(provider, encoder, "sy-golden");
                let mut out = BytesMut::new();
                let ended = relay
                    .feed(stream, &mut out)
                    .and_then(|()| relay.end(&mut out));
                (ended, out)
            };
            for seed in 0..100 {
                let _ = read(&damaged(&stream, seed));
            }
            let (_, whole) = read(&stream);
            for end in 0..stream.len() {
                let (ended, out) = read(&stream.slice(..end));
                let said = String::from_utf8(out.to_vec()).unwrap();
                // Nothing is said that the whole stream does not say, save how it ends.
                let finished = said.contains("\"finish_reason\":\"");
                assert!(ended.is_err() || finished, "{} at {end}", case.display());
                assert!(
                    ended.is_ok() || whole.starts_with(&out),
                    "{} at {end}",
                    case.display()
                );
            }
        }
    }
}

/// Every object of a request, by its place as a JSON pointer.
fn objects(at: &str, value: &Value, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            found.push(at.to_owned());
            for (name, value) in fields {
                objects(
                    &format!("{at}/{}", name.replace('~', "~0").replace('/', "~1")),
                    value,
                    found,
                );
            }
        }
        Value::Array(list) => {
            for (index, value) in list.iter().enumerate() {
                objects(&format!("{at}/{index}"), value, found);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Tools that the request itself allows no call of are not sent where nothing else forbids it.
fn is_left_out(case: &Path, place: &str) -> bool {
    (case.ends_with("named-tool") && place.starts_with("/tools/1"))
        || (case.ends_with("ask-some-tools")
            && place.starts_with("/tools/0/functionDeclarations/2"))
}

fn golden_requests() -> Vec<(ClientDialect, PathBuf, Value)> {
    let mut found = Vec::new();
    for (client, name) in CLIENTS {
        for case in cases(name, "request.json") {
            let body = fs::read(case.join("request.json")).unwrap();
            found.push((client, case, serde_json::from_slice(&body).unwrap()));
        }
    }
    found
}

#[test]
fn g_an_unknown_field_at_any_place_is_kept_or_told_or_the_request_is_refused() {
    let mut silent = Vec::new();
    for (client, case, body) in golden_requests() {
        let mut places = Vec::new();
        objects("", &body, &mut places);
        for place in places
            .into_iter()
            .filter(|place| !is_left_out(&case, place))
        {
            let top = place.split('/').nth(1).unwrap_or_default();
            let mut odd = body.clone();
            odd.pointer_mut(&place).unwrap()["zzunknown"] = "zz".into();
            let Ok(domain) = decode_dialect(client, odd.to_string().as_bytes()) else {
                continue;
            };
            for (provider, name) in other_providers(client) {
                let Ok(encoded) = encode_dialect(provider, &domain, recipient(&Quirks::default()))
                else {
                    continue;
                };
                let kept = String::from_utf8(encoded.body)
                    .unwrap()
                    .contains("zzunknown");
                let told = encoded.dropped.iter().any(|told| {
                    told.ends_with("zzunknown")
                        || told == "unknown fields"
                        || told == "thinking" && place.contains("reasoning_details")
                        || told == top
                });
                if !kept && !told {
                    silent.push(format!("{} at {place:?} to {name}", case.display()));
                }
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

/// What means nothing where it stands: without it, the request is the same.
const MEANS_NOTHING: &[&str] = &[
    // There is one kind of it.
    "/tool_calls//type",
    "/tool_choice/type",
    "/cache_control/type",
    "/format/type",
    "/summary//type",
    "/input//type",
    // The default, said aloud.
    "/response_format",
    "/stream",
    "/contents//role",
    "/generationConfig/responseMimeType",
    // A thought that is told with its block or its details is told beside them, too.
    "/reasoning_content",
    "/messages//reasoning",
    "/thinking_blocks//thinking",
    "/thinking//type",
    // A text is one, and a document by address is judged by who reads it.
    "/source/media_type",
    "/fileData/mimeType",
];

/// Nothing, said aloud.
fn is_nothing(value: &Value) -> bool {
    value.is_null() || [json!(""), json!("{}"), json!({}), json!([])].contains(value)
}

#[test]
fn g_whatever_is_said_is_read_or_told() {
    let mut silent = Vec::new();
    for (client, case, body) in golden_requests() {
        let Ok(whole) = decode_dialect(client, body.to_string().as_bytes()) else {
            continue;
        };
        let mut places = Vec::new();
        objects("", &body, &mut places);
        for place in places.iter().filter(|place| !is_left_out(&case, place)) {
            let names: Vec<String> = body
                .pointer(place)
                .unwrap()
                .as_object()
                .unwrap()
                .keys()
                .cloned()
                .collect();
            for name in names {
                let mut less = body.clone();
                let object = less.pointer_mut(place).unwrap().as_object_mut().unwrap();
                if object
                    .shift_remove(&name)
                    .is_none_or(|value| is_nothing(&value))
                {
                    continue;
                }
                let at = format!("{place}/{name}");
                let plain: String = at
                    .chars()
                    .filter(|letter| !letter.is_ascii_digit())
                    .collect();
                if MEANS_NOTHING.iter().any(|known| plain.ends_with(known)) {
                    continue;
                }
                if decode_dialect(client, less.to_string().as_bytes())
                    .is_ok_and(|less| less == whole)
                {
                    silent.push(format!("{} {at}", case.display()));
                }
            }
        }
    }
    assert!(silent.is_empty(), "{silent:#?}");
}

/// A kind of case, and what tells one.
type Kind = (&'static str, fn(&Value) -> bool);

/// What there is a case of, by the canonical answer it becomes.
const TOPICS: [Kind; 9] = [
    ("plain", |answer| {
        answer["stop"] == "end"
            && answer["parts"]
                .as_array()
                .is_some_and(|parts| parts.len() == 1)
    }),
    ("tools", |answer| calls(answer) >= 1),
    ("parallel tools", |answer| calls(answer) >= 2),
    ("length", |answer| answer["stop"] == "length"),
    ("stop sequence", |answer| answer["stop"] == "stop_sequence"),
    ("refusal", |answer| {
        answer["stop"] == "content_filter" || has(answer, "refusal")
    }),
    ("thinking", |answer| has(answer, "thinking")),
    ("caches", |answer| {
        answer["usage"]["cached_input"].as_u64() > Some(0)
    }),
    ("citations", |answer| answer["citations"].is_array()),
];

fn calls(answer: &Value) -> usize {
    let parts = answer["parts"].as_array();
    parts.map_or(0, |parts| {
        parts
            .iter()
            .filter(|part| part["type"] == "tool_call")
            .count()
    })
}

fn has(answer: &Value, kind: &str) -> bool {
    let parts = answer["parts"].as_array();
    parts.is_some_and(|parts| parts.iter().any(|part| part["type"] == kind))
}

/// What no case can be of, and why.
const NO_SUCH_ANSWER: &[(&str, &str)] = &[
    // It does not tell a sequence from an end.
    ("openai", "stop sequence"),
    ("responses", "stop sequence"),
    ("gemini", "stop sequence"),
    ("ollama", "stop sequence"),
    // It refuses nothing by a name of its own, and knows no sources.
    ("ollama", "refusal"),
    ("ollama", "citations"),
    // It counts the prompt or, where that was kept, nothing.
    ("ollama", "caches"),
];

#[test]
fn i_every_dialect_has_an_answer_of_every_kind() {
    let mut gaps = Vec::new();
    for (provider, name) in PROVIDERS {
        let mut answers = Vec::new();
        let mut failed = false;
        for case in cases(name, "answer.json") {
            let body = fs::read(case.join("answer.json")).unwrap();
            match decode_answer(provider, &body, "sy-golden") {
                Ok(answer) => answers.push(serde_json::to_value(&answer).unwrap()),
                Err(_) => failed = true,
            }
        }
        let lacks = |topic: &str, found: bool| {
            let allowed = NO_SUCH_ANSWER.contains(&(name, topic));
            assert!(!(found && allowed), "{name} has {topic} after all");
            (!found && !allowed).then(|| format!("{name}: {topic}"))
        };
        gaps.extend(lacks("error", failed));
        for (topic, is_one) in TOPICS {
            gaps.extend(lacks(topic, answers.iter().any(is_one)));
        }
    }
    assert!(gaps.is_empty(), "no answer of these kinds: {gaps:#?}");
}

/// Words that tell what a stream shows, in what an OpenAI client (or, of OpenAI's, Anthropic's) reads of it.
const STREAMED: [(&str, &[&str]); 7] = [
    ("plain", &["\"finish_reason\":\"stop\"", "\"end_turn\""]),
    (
        "tools",
        &[
            "\"finish_reason\":\"tool_calls\"",
            "\"stop_reason\":\"tool_use\"",
        ],
    ),
    (
        "length",
        &["\"finish_reason\":\"length\"", "\"max_tokens\""],
    ),
    (
        "refusal",
        &[
            "\"finish_reason\":\"content_filter\"",
            "\"refusal\":\"",
            "\"stop_reason\":\"refusal\"",
        ],
    ),
    ("thinking", &["\"reasoning_content\":", "thinking_delta"]),
    ("error", &["ended Err(Reported"]),
    ("cut", &["ended Err(Truncated"]),
];

const NO_SUCH_STREAM: &[(&str, &str)] = &[("ollama", "refusal")];

#[test]
fn i_every_dialect_has_a_stream_of_every_kind() {
    let mut gaps = Vec::new();
    for (provider, name) in PROVIDERS {
        let other = if provider == Dialect::Openai {
            "anthropic.sse"
        } else {
            "openai.sse"
        };
        let seen: Vec<String> = cases(name, stream_file(provider))
            .iter()
            .map(|case| fs::read_to_string(case.join(other)).unwrap_or_default())
            .collect();
        for (topic, words) in STREAMED {
            let found = seen
                .iter()
                .any(|seen| words.iter().any(|word| seen.contains(word)));
            if !found && !NO_SUCH_STREAM.contains(&(name, topic)) {
                gaps.push(format!("{name}: {topic}"));
            }
        }
    }
    assert!(gaps.is_empty(), "no stream of these kinds: {gaps:#?}");
}

/// What a request can hold, by the canonical chat it becomes.
const ASKED: [Kind; 10] = [
    ("system", |chat| roles(chat).contains(&"system")),
    ("multi-turn", |chat| {
        roles(chat).iter().filter(|role| **role == "user").count() > 1
            && roles(chat).contains(&"assistant")
    }),
    ("parallel tools", |chat| {
        chat["messages"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| calls(one) > 1))
    }),
    ("tool results", |chat| holds(chat, "tool_result")),
    ("structured output", |chat| {
        chat["output_format"]["schema"].is_object()
    }),
    ("stop and limit", |chat| {
        chat["stop"].is_array() && chat["max_output"].is_u64()
    }),
    ("image", |chat| holds(chat, "image")),
    ("document", |chat| holds(chat, "document")),
    ("thinking", |chat| holds(chat, "thinking")),
    ("how much to think", |chat| {
        !chat["reasoning_effort"].is_null() || !chat["reasoning_budget"].is_null()
    }),
];

/// It has no stop sequences.
const NO_SUCH_REQUEST: &[(&str, &str)] = &[("responses", "stop and limit")];

fn roles(chat: &Value) -> Vec<&str> {
    let messages = chat["messages"].as_array().into_iter().flatten();
    messages
        .filter_map(|message| message["role"].as_str())
        .collect()
}

fn holds(chat: &Value, kind: &str) -> bool {
    let messages = chat["messages"].as_array().into_iter().flatten();
    messages.into_iter().any(|message| has(message, kind))
}

#[test]
fn i_every_client_s_dialect_has_a_request_of_every_kind() {
    let mut gaps = Vec::new();
    for (client, name) in CLIENTS {
        let chats: Vec<Value> = cases(name, "request.json")
            .iter()
            .filter_map(|case| {
                decode_dialect(client, &fs::read(case.join("request.json")).unwrap()).ok()
            })
            .map(|chat| serde_json::to_value(&chat).unwrap())
            .collect();
        for (topic, is_one) in ASKED {
            let found = chats.iter().any(is_one);
            if !found && !NO_SUCH_REQUEST.contains(&(name, topic)) {
                gaps.push(format!("{name}: {topic}"));
            }
        }
    }
    assert!(gaps.is_empty(), "no request of these kinds: {gaps:#?}");
}
