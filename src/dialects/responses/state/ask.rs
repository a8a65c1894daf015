//! What a request says of the state, and the request without it.

use serde_json::{Value, json};

use super::Draw;
use super::items::{again, loses_thoughts, with_ids};
use crate::dialects::DialectError;
use crate::dialects::json::scan_object;

/// Ids are short; longer ones are nobody's.
const LONGEST_ID: usize = 256;
/// References in one request.
const MOST_REFERENCES: usize = 1_000;
const ENCRYPTED: &str = "reasoning.encrypted_content";

/// What of a request is about what is kept.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateAsk {
    /// `None`: the client does not say.
    pub store: Option<bool>,
    pub previous: Option<String>,
    pub background: bool,
    pub stream: bool,
    /// As it is written; `None` where it is not.
    pub model: Option<String>,
    /// Whether it is to be thought about; `None`: the client leaves it to the model.
    pub thinks: Option<bool>,
    /// Ids of items that are named and not sent.
    pub references: Vec<String>,
}

/// Reads a body that need not be sound: what is no JSON is told by whoever reads all of it.
pub fn read_state(body: &[u8]) -> Result<StateAsk, DialectError> {
    let mut ask = StateAsk::default();
    for (name, value) in members(body) {
        let flag = |value: &[u8]| match value {
            b"true" => Ok(Some(true)),
            b"false" => Ok(Some(false)),
            b"null" => Ok(None),
            _ => Err(DialectError::at(name, "must be true or false")),
        };
        match name {
            "store" => ask.store = flag(value)?,
            "background" => ask.background = flag(value)? == Some(true),
            // Anything else is refused by whoever reads all of it.
            "stream" => ask.stream = value == b"true",
            "previous_response_id" => ask.previous = id(name, value)?,
            "conversation" if value != b"null" => {
                return Err(DialectError::at(
                    name,
                    "conversations are not kept by this gateway; go on from a response with \"previous_response_id\", or send the whole of it in \"input\"",
                ));
            }
            "reasoning" => {
                let reasoning: Value = serde_json::from_slice(value).unwrap_or_default();
                let effort = reasoning.get("effort").and_then(Value::as_str);
                // Who asks to be shown a summary of the thoughts asks for thoughts.
                let summary = reasoning.get("summary").and_then(Value::as_str);
                ask.thinks = effort
                    .map(|effort| effort != "none")
                    .or(summary.filter(|how| *how != "none").map(|_| true));
            }
            "model" => ask.model = serde_json::from_slice(value).ok(),
            "input" => ask.references = references(value)?,
            _ => {}
        }
    }
    Ok(ask)
}

fn id(name: &str, value: &[u8]) -> Result<Option<String>, DialectError> {
    let read: Option<String> = serde_json::from_slice(value)
        .map_err(|_| DialectError::at(name, "must be the id of a response"))?;
    if read.as_ref().is_some_and(|id| id.len() > LONGEST_ID) {
        return Err(DialectError::at(name, "is longer than any id"));
    }
    Ok(read)
}

fn references(input: &[u8]) -> Result<Vec<String>, DialectError> {
    if memchr::memmem::find(input, b"item_reference").is_none() {
        return Ok(Vec::new());
    }
    let items: Vec<Value> = serde_json::from_slice(input).unwrap_or_default();
    let mut named = Vec::new();
    for (index, item) in items.iter().enumerate() {
        if item.get("type").and_then(Value::as_str) != Some("item_reference") {
            continue;
        }
        let id = item.get("id").and_then(Value::as_str);
        let id = id.filter(|id| id.len() <= LONGEST_ID).ok_or_else(|| {
            DialectError::at(format!("input[{index}].id"), "must be the id of an item")
        })?;
        named.push(id.to_owned());
        if named.len() > MOST_REFERENCES {
            return Err(DialectError::at("input", "refers to more than 1000 items"));
        }
    }
    Ok(named)
}

/// Items, of each its place in what the client sent, and whether a thought was named that cannot be told again.
type Added = (Vec<Value>, Vec<usize>, bool);

/// Where the items a client sent stand among those that are sent on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shift {
    /// So many of what was said before stand in front.
    before: usize,
    /// Of each item behind them, its place in what the client sent.
    own: Vec<usize>,
}

impl Shift {
    /// A place of what is sent on, as the client knows it; what was said before is known by the response it stands in.
    pub fn told(&self, place: &str) -> String {
        let parts = place
            .strip_prefix("input[")
            .and_then(|rest| rest.split_once(']'));
        let Some((Ok(index), below)) = parts.map(|(index, below)| (index.parse::<usize>(), below))
        else {
            return place.to_owned();
        };
        let own = index.checked_sub(self.before);
        match own.map(|own| self.own.get(own)) {
            None => "previous_response_id".to_owned(),
            Some(Some(own)) => format!("input[{own}]{below}"),
            // The provider counts otherwise.
            Some(None) => place.to_owned(),
        }
    }
}

/// A request that any provider can read.
#[derive(Clone, Debug, PartialEq)]
pub struct Rewritten {
    pub body: Vec<u8>,
    /// What it adds to the conversation, each with an id.
    pub input: Vec<Value>,
    /// Where what the client sent stands in what is sent.
    pub shift: Shift,
    /// It names a thought that cannot be told again.
    pub forgets: bool,
}

/// The request with what it goes on from, without what it asks of the state. What is not about the state stays
/// as it was written, byte for byte. The provider keeps nothing.
pub fn rewritten(
    body: &[u8],
    ask: &StateAsk,
    before: &[Value],
    referred: &[Value],
    draw: Draw<'_>,
) -> Result<Rewritten, DialectError> {
    let (mut kept, mut input, mut include) = (Vec::new(), None, None);
    for (name, value) in members(body) {
        match name {
            "store" | "background" | "previous_response_id" | "conversation" => {}
            "input" => input = Some(value),
            "include" => include = Some(value),
            _ => kept.push((name, value)),
        }
    }
    let raw = input.unwrap_or(b"null");
    let (added, own, forgets) = match added(raw, referred)? {
        Some((added, own, forgets)) => (Some(added), own, forgets),
        None => (None, Vec::new(), false),
    };
    let mut out = b"{".to_vec();
    for (name, value) in kept {
        out.extend_from_slice(format!("\"{name}\":").as_bytes());
        out.extend_from_slice(value);
        out.push(b',');
    }
    put(
        &mut out,
        "include",
        &included(include, ask.thinks == Some(true)),
    );
    match &added {
        // Nothing is put before it: it goes on as it came.
        Some(_) if before.is_empty() && ask.references.is_empty() => {
            out.extend_from_slice(b"\"input\":");
            out.extend_from_slice(raw);
            out.push(b',');
        }
        Some(added) => {
            let whole: Vec<&Value> = before.iter().chain(added).collect();
            put(&mut out, "input", &Some(json!(whole)));
        }
        None => {}
    }
    out.extend_from_slice(b"\"store\":false}");
    Ok(Rewritten {
        body: out,
        input: with_ids(added.unwrap_or_default(), draw),
        shift: Shift {
            before: before.len(),
            own,
        },
        forgets,
    })
}

/// Members with their names; none where the body is not sound. The scanner lets no name pass that could be read in
/// two ways, so none of those that are looked for is written with escapes.
fn members(body: &[u8]) -> impl Iterator<Item = (&str, &[u8])> {
    let spans = scan_object(body).unwrap_or_default();
    spans.into_iter().filter_map(|span| {
        let name = std::str::from_utf8(body.get(span.key)?).ok()?;
        Some((name, body.get(span.value)?))
    })
}

fn put(out: &mut Vec<u8>, name: &str, value: &Option<Value>) {
    if let Some(value) = value {
        out.extend_from_slice(format!("\"{name}\":{value},").as_bytes());
    }
}

/// What a model thought can only be given back to it when it was asked for in a form that can be kept.
fn included(said: Option<&[u8]>, thinks: bool) -> Option<Value> {
    let said: Option<Value> = said.and_then(|raw| serde_json::from_slice(raw).ok());
    if !thinks {
        return said;
    }
    let mut list = match said {
        Some(Value::Array(list)) => list,
        None | Some(Value::Null) => Vec::new(),
        // No list: whoever reads all of it says so.
        Some(other) => return Some(other),
    };
    if !list.iter().any(|one| one == ENCRYPTED) {
        list.push(ENCRYPTED.into());
    }
    Some(list.into())
}

/// The items of this request, with those that are only named in their places, and of each its place in what the
/// client sent. `None`: it has no input.
fn added(raw: &[u8], referred: &[Value]) -> Result<Option<Added>, DialectError> {
    let items = match serde_json::from_slice(raw).unwrap_or_default() {
        Value::String(text) => vec![json!({"type": "message", "role": "user", "content": text})],
        Value::Array(items) => items,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Ok(None),
    };
    let of = |id: &Value| referred.iter().find(|known| known.get("id") == Some(id));
    let (mut added, mut own, mut forgets) = (Vec::new(), Vec::new(), false);
    for (index, item) in items.into_iter().enumerate() {
        if item.get("type").and_then(Value::as_str) != Some("item_reference") {
            added.push(item);
            own.push(index);
            continue;
        }
        let known = item.get("id").and_then(of).ok_or_else(|| {
            DialectError::at(
                format!("input[{index}].id"),
                "there is no such item among the responses that are kept for you; send the item itself",
            )
        })?;
        // A thought that cannot be given back is left out, as it is where a whole conversation is put together.
        forgets |= loses_thoughts(std::slice::from_ref(known));
        if let Some(known) = again(known) {
            added.push(known);
            own.push(index);
        }
    }
    Ok(Some((added, own, forgets)))
}
