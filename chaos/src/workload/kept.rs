//! An answer that the gateway keeps: read again by its owner, and not there for anybody else.

use serde_json::Value;

use super::one::{Ask, unanswered};
use crate::client::{Answer, BodyEnd, Client, ClientError};
use crate::history::{Ended, code_of};

impl Ask {
    /// Has an answer made and kept, reads it again, and lets `spy` (a client's key) ask for it.
    pub(super) async fn kept(&mut self, spy: &str) -> Ended {
        let path = format!("{}/responses", self.door.path);
        let made = match self.made(&path).await {
            Ok(made) => made,
            Err(error) => return unanswered(&error),
        };
        self.head(&made.head);
        self.watch.body(&made.body);
        if let Some(broken) = broken(made.end) {
            return broken;
        }
        let document = made.json();
        if made.status() != 200 {
            return Ended::Refused(code_of(&document));
        }
        let text = text_of(&document);
        self.told.read(&text);
        self.told.first_content_ms = Some(self.epoch.millis());
        let Some(id) = document.get("id").and_then(Value::as_str) else {
            return Ended::Indulged("kept_without_an_id".to_owned());
        };
        let place = format!("{path}/{id}");
        match self.again(&place, &self.door.key).await {
            Ok(again) if again.status() == 200 && text_of(&again.json()) == text => {}
            Ok(again) => return Ended::Indulged(format!("kept_but_{}", again.status())),
            Err(error) => return unanswered(&error),
        }
        match self.again(&place, spy).await {
            Ok(spied) if spied.status() == 404 && !holds(&spied, &text) => Ended::Whole,
            Ok(spied) => Ended::Indulged(format!("spy_met_{}", spied.status())),
            Err(error) => unanswered(&error),
        }
    }

    async fn made(&self, path: &str) -> Result<Answer, ClientError> {
        let mut client = Client::connect_with(self.door.address, self.options).await?;
        client.post_json(path, &self.fields, &self.body).await
    }

    async fn again(&self, path: &str, key: &str) -> Result<Answer, ClientError> {
        let mut client = Client::connect_with(self.door.address, self.options).await?;
        let fields = [("authorization".to_owned(), format!("Bearer {key}"))];
        client.get(path, &fields).await
    }
}

fn broken(end: BodyEnd) -> Option<Ended> {
    match end {
        BodyEnd::Whole => None,
        BodyEnd::Cut => Some(Ended::Cut),
        BodyEnd::Reset => Some(Ended::Reset),
        BodyEnd::Silent => Some(Ended::Silent),
    }
}

fn holds(answer: &Answer, text: &str) -> bool {
    !text.is_empty() && memchr::memmem::find(&answer.body, text.as_bytes()).is_some()
}

/// The words of a response, item by item.
fn text_of(document: &Value) -> String {
    let list = |value: &Value, name: &str| -> Vec<Value> {
        let found = value.get(name).and_then(Value::as_array);
        found.cloned().unwrap_or_default()
    };
    let items = list(document, "output");
    let parts = items.iter().flat_map(|item| list(item, "content"));
    parts
        .filter_map(|part| part.get("text").and_then(Value::as_str).map(str::to_owned))
        .collect()
}
