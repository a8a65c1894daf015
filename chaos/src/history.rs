//! What the clients saw, request by request: the first of the four records.

use serde_json::Value;

use crate::canary::{self, Broken, Origin};

/// How a request ended for its client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// Status 200, and an end that claims to be whole.
    Whole,
    /// An error answer, with the code it named.
    Refused(String),
    /// An error event inside a stream, with the code it named.
    ErrorEvent(String),
    /// The stream or body stopped: the client can see that it is not whole.
    Cut,
    /// The connection was reset in the middle.
    Reset,
    /// No byte within the client's patience.
    Silent,
    /// No answer at all: refused, reset or closed before a head.
    Unanswered(&'static str),
    /// The client left of its own will.
    Left,
    /// An abusive client was refused as it must be: the status, or `closed`.
    Repelled(String),
    /// An abusive client got what nobody like it may get.
    Indulged(String),
}

impl Ended {
    /// What totals and cases call it.
    #[must_use]
    pub fn label(&self) -> String {
        match self {
            Self::Whole => "ok".to_owned(),
            Self::Refused(code) | Self::ErrorEvent(code) => code.clone(),
            Self::Cut => "cut".to_owned(),
            Self::Reset => "reset".to_owned(),
            Self::Silent => "silent".to_owned(),
            Self::Unanswered(why) => (*why).to_owned(),
            Self::Left => "left".to_owned(),
            Self::Repelled(how) => format!("repelled_{how}"),
            Self::Indulged(how) => how.clone(),
        }
    }

    #[must_use]
    pub fn is_failure(&self) -> bool {
        !matches!(self, Self::Whole | Self::Left | Self::Repelled(_))
    }
}

/// One request as its client saw it. Times are milliseconds of the run.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    pub number: u64,
    /// Place of the workload in the scenario.
    pub workload: usize,
    pub stream: bool,
    /// When it should have been sent; an open loop does not wait for the gateway.
    pub due_ms: u64,
    pub head_ms: Option<u64>,
    pub first_content_ms: Option<u64>,
    pub end_ms: u64,
    pub status: Option<u16>,
    /// `x-request-id`.
    pub id: Option<String>,
    /// `x-switchyard-attempts`.
    pub attempts: Option<u32>,
    pub retry_after: bool,
    pub ended: Ended,
    /// An error event was followed by the mark of a whole stream.
    pub done_after_error: bool,
    /// What the text proves; `None` when there was none.
    pub text: Option<Result<Origin, Broken>>,
    /// A secret that was found in the answer, by its name.
    pub leaked: Option<&'static str>,
    /// The name of another tenant that was found in anything its client read.
    pub foreign: Option<String>,
    /// `x-switchyard-idempotent`: it is told what another sending of the same request was told.
    pub replayed: bool,
    /// A digest of what a request with a key was told, whole; of a stream, of all but its comments.
    pub said: Option<u64>,
    /// Each sending of a request that is sent several times under one key; empty for all others.
    pub sendings: Vec<Sending>,
}

/// When and how a request was sent once more under its key (L12).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Again {
    /// Together with the others.
    AtOnce,
    /// When those had ended.
    Later,
    /// Under the same key, with another body.
    Otherwise,
}

/// One sending of a request that is sent several times under one key.
#[derive(Debug, Clone, PartialEq)]
pub struct Sending {
    pub again: Again,
    pub told: Told,
    /// The id of the execution that had said 200 before another body was sent under its key.
    pub heard: Option<String>,
}

impl Told {
    #[must_use]
    pub fn new(number: u64, workload: usize, stream: bool, due_ms: u64) -> Self {
        Self {
            number,
            workload,
            stream,
            due_ms,
            head_ms: None,
            first_content_ms: None,
            end_ms: due_ms,
            status: None,
            id: None,
            attempts: None,
            retry_after: false,
            ended: Ended::Unanswered("unsent"),
            done_after_error: false,
            text: None,
            leaked: None,
            foreign: None,
            replayed: false,
            said: None,
            sendings: Vec::new(),
        }
    }

    /// A request as all its sendings saw it: as the first that failed, else as the first that was whole. What was
    /// executed more than once, or may have been, has no id that could be held against one execution.
    #[must_use]
    pub fn of(sendings: Vec<Sending>) -> Option<Self> {
        let same = || sendings.iter().filter(|one| one.again != Again::Otherwise);
        let failed = same().find(|one| one.told.ended.is_failure());
        let whole = || same().find(|one| one.told.ended == Ended::Whole);
        let shown = failed.or_else(whole).or(same().next())?;
        let all_of_one = same().all(|one| {
            one.told.ended == Ended::Whole && one.told.id.is_some() && one.told.id == shown.told.id
        });
        let mut told = shown.told.clone();
        told.id = told.id.filter(|_| all_of_one);
        let due = sendings.iter().map(|one| one.told.due_ms).min();
        let end = sendings.iter().map(|one| one.told.end_ms).max();
        told.due_ms = due.unwrap_or(told.due_ms);
        told.end_ms = end.unwrap_or(told.end_ms);
        told.leaked = sendings.iter().find_map(|one| one.told.leaked);
        told.foreign = sendings.iter().find_map(|one| one.told.foreign.clone());
        told.done_after_error = sendings.iter().any(|one| one.told.done_after_error);
        told.sendings = sendings;
        Some(told)
    }

    /// The sendings of a request that was sent several times, or the one.
    pub fn each(&self) -> impl Iterator<Item = &Self> {
        let one = self.sendings.is_empty().then_some(self);
        one.into_iter()
            .chain(self.sendings.iter().map(|one| &one.told))
    }

    /// Judges the text that came.
    pub fn read(&mut self, text: &str) {
        if !text.trim().is_empty() {
            self.text = Some(canary::verify(text));
        }
    }

    /// How long the client waited for the first content.
    #[must_use]
    pub fn waited(&self) -> Option<u64> {
        self.first_content_ms
            .map(|first| first.saturating_sub(self.due_ms))
    }
}

/// The code of an error document in any dialect; `unnamed` when there is none.
#[must_use]
pub fn code_of(document: &Value) -> String {
    let error = document.get("error").unwrap_or(document);
    ["code", "type", "status"]
        .iter()
        .find_map(|name| error.get(*name).and_then(Value::as_str))
        .unwrap_or("unnamed")
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sending(again: Again, ended: Ended, id: Option<&str>) -> Sending {
        let mut told = Told::new(1, 0, false, 10);
        told.ended = ended;
        told.id = id.map(str::to_owned);
        Sending {
            again,
            told,
            heard: None,
        }
    }

    #[test]
    fn l12_what_failed_once_failed_and_what_may_be_two_executions_has_no_id() {
        let (first, later) = (Again::AtOnce, Again::Later);
        let conflict = Ended::Refused("conflict".to_owned());
        let other = || sending(Again::Otherwise, conflict.clone(), Some("c"));
        let whole = |again, id| sending(again, Ended::Whole, Some(id));
        let told = |sendings| {
            let told = Told::of(sendings).unwrap();
            (told.ended.label(), told.id)
        };
        let one = Some("a".to_owned());
        let ok = "ok".to_owned();
        let all = vec![whole(first, "a"), other(), whole(later, "a")];
        assert_eq!(told(all), (ok.clone(), one));
        assert_eq!(told(vec![whole(first, "a"), whole(later, "b")]).1, None);
        let left = sending(first, Ended::Left, None);
        assert_eq!(told(vec![left, whole(later, "a")]), (ok, None));
        let cut = sending(first, Ended::Cut, Some("a"));
        assert_eq!(told(vec![cut, whole(later, "b")]).0, "cut");
        assert_eq!(Told::of(vec![other()]), None);
    }
}
