//! A healthy answer to nobody: what prebuilt answers and faults take their parts from.

use std::time::Duration;

use bytes::Bytes;

use super::asked::Asked;
use super::behaviour::{Form, Healthy, Words};
use super::dialect::Dialect;
use super::draft::{Body, Draft, Event, Kind, Payload};
use super::plan::Plan;
use super::weather::Weather;

/// The answer of a mock called `name` that says these pieces.
pub(super) fn draft(dialect: Dialect, name: &str, pieces: Vec<String>, form: Form) -> Draft {
    let healthy = Healthy {
        form,
        words: Words::Given(pieces),
        ..Healthy::default()
    };
    let asked = Asked {
        dialect,
        number: 1,
        connection: 1,
        reuse: 0,
        at: Duration::ZERO,
        method: "POST".to_owned(),
        path: dialect.path_of(form == Form::Stream).to_owned(),
        fields: Vec::new(),
        body: Bytes::new(),
        json: dialect.sample_request("sample", form == Form::Stream),
    };
    let plan = Plan::new(name, &asked, &healthy, &Weather::default(), 0);
    dialect.draft(&plan)
}

/// The events of a stream that says `text`, or nothing, in one piece.
pub(crate) fn events(dialect: Dialect, text: Option<&str>) -> Vec<Event> {
    let pieces = text.map(str::to_owned).into_iter().collect();
    match draft(dialect, "sample", pieces, Form::Stream).body {
        Body::Events(events) => events,
        Body::Document(_) => Vec::new(),
    }
}

/// A content event in every way but its payload.
pub(crate) fn frame(dialect: Dialect, payload: &[u8]) -> Bytes {
    let sample = events(dialect, Some("sample"));
    let content = sample.iter().find(|event| event.kind == Kind::Content);
    let name = match content.map(|event| &event.payload) {
        Some(Payload::Json { event, .. }) => *event,
        Some(Payload::Raw(_)) | None => None,
    };
    dialect.framing().wrap(name, payload)
}

/// The events of one kind in a stream that says `text`, as bytes.
pub(crate) fn bytes(dialect: Dialect, text: Option<&str>, kind: Kind) -> Bytes {
    let wanted = events(dialect, text);
    let wanted = wanted.iter().filter(|event| event.kind == kind);
    wanted
        .map(Event::render)
        .collect::<Vec<_>>()
        .concat()
        .into()
}
