//! One request: drawn, sent, read, told.

use std::hash::{DefaultHasher, Hasher as _};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until, timeout};

use super::abuse::{Abuse, abuse};
use super::repeated::{self, Sends};
use super::{Party, Traffic};
use crate::client::{
    AnswerHead, BodyEnd, Client, ClientError, ConnectOptions, ReadPace, SseReader,
};
use crate::history::{Ended, Told, code_of};
use crate::http1::Fields;
use crate::lab::config::ADMIN_KEY;
use crate::lab::{CLIENT_MARK, Door, Epoch, HOOK_MARK, client_key};
use crate::scenario::Workload;

/// What no client may ever read, by its name.
const SECRETS: [(&str, &str); 4] = [
    ("a provider's key", "sk-chaos-provider-"),
    ("the admin key", ADMIN_KEY),
    ("a client's key", CLIENT_MARK),
    ("what webhooks are signed with", HOOK_MARK),
];

/// Everything about a request before it is made.
#[derive(Clone)]
pub(super) struct Ask {
    pub(super) told: Told,
    pub(super) door: Door,
    pub(super) epoch: Epoch,
    pub(super) fields: Vec<(String, String)>,
    pub(super) body: Value,
    pub(super) options: ConnectOptions,
    pub(super) leave_at: Option<Instant>,
    patience: Duration,
    abuse: Option<Abuse>,
    /// What an abuser asks for.
    model: String,
    pub(super) watch: Watch,
    /// The key of whoever asks for what is another's.
    spy: Option<String>,
    /// It is sent several times under one key.
    pub(super) sends: Option<Sends>,
    /// Told the id of what says 200.
    pub(super) heard: Option<watch::Sender<Option<String>>>,
}

impl Ask {
    pub(super) fn draw(
        number: u64,
        place: usize,
        workload: &Workload,
        traffic: &Traffic,
        due: Instant,
    ) -> Self {
        let mut rng = fastrand::Rng::with_seed(
            traffic.seed
                ^ (place as u64).rotate_left(40)
                ^ number.wrapping_mul(0x9E37_79B9_7F4A_7C15),
        );
        let [least, most] = workload.prompt_bytes;
        let party = traffic.parties.get(place).cloned().unwrap_or_default();
        let length = rng.usize(least..=most.max(least));
        let prompt = prompt(length, place, number, &party.tenant);
        let model = workload
            .model
            .clone()
            .unwrap_or_else(|| traffic.model.clone());
        let mut body = match &workload.spied_on_by {
            None => json!({"model": model, "messages": [{"role": "user", "content": prompt}]}),
            Some(_) => json!({"model": model, "input": prompt, "store": true}),
        };
        if let Some(members) = body.as_object_mut() {
            if workload.stream {
                members.insert("stream".into(), true.into());
            }
            if let Some(tokens) = workload.tokens {
                members.insert("max_tokens".into(), tokens.into());
            }
        }
        let leave_at = leaving(workload, due, &mut rng);
        let mut door = traffic.door.now();
        if let Some(client) = &workload.client {
            door.key = client_key(client);
        }
        let due_ms = traffic.epoch.of(due);
        Self {
            told: Told::new(number, place, workload.stream, due_ms),
            fields: fields(workload, &door),
            door,
            epoch: traffic.epoch,
            body,
            options: ConnectOptions {
                patience: workload.patience.0,
                receive_buffer: workload.bytes_per_second.map(|_| 8_192),
                pace: workload.bytes_per_second.map(pace),
            },
            leave_at,
            patience: workload.patience.0,
            abuse: workload.abuse,
            model,
            watch: Watch::of(&party),
            spy: workload.spied_on_by.as_deref().map(client_key),
            sends: workload.repeats.map(|repeats| Sends {
                repeats,
                nth: party.nth,
                doorway: Arc::clone(&traffic.door),
                leaves: (1..repeats.at_once)
                    .map(|_| leaving(workload, due, &mut rng))
                    .collect(),
            }),
            heard: None,
        }
    }

    /// Not made, because too many were under way.
    pub(super) fn unsent(mut self) -> Told {
        self.told.end_ms = self.epoch.millis();
        self.told
    }

    pub(super) async fn make(mut self) -> Told {
        if let Some(sends) = self.sends.take() {
            return repeated::make(self, sends).await;
        }
        self.make_once().await
    }

    /// However often it is to be sent.
    pub(super) async fn make_once(mut self) -> Told {
        if let Some(kind) = self.abuse {
            let (met, answer) = abuse(kind, &self.door, &self.model).await;
            if let Some(answer) = answer {
                self.told.status = Some(answer.status());
                self.watch.fields(&answer.head.fields);
                self.watch.body(&answer.body);
            }
            self.watch.tell(&mut self.told);
            self.told.ended = kind.judge(met);
            self.told.end_ms = self.epoch.millis();
            return self.told;
        }
        // A reader that takes a little for ever would hold the run.
        let most = self.patience.saturating_mul(5);
        let leave_at = self.leave_at;
        let leaving = async {
            match leave_at {
                Some(at) => sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        let ended = tokio::select! {
            ended = timeout(most, self.exchange()) => ended.unwrap_or(Ended::Silent),
            // Dropping the connection is how a client leaves.
            () = leaving => Ended::Left,
        };
        self.watch.tell(&mut self.told);
        self.told.ended = ended;
        self.told.end_ms = self.epoch.millis();
        self.told
    }

    async fn exchange(&mut self) -> Ended {
        if let Some(spy) = self.spy.take() {
            return self.kept(&spy).await;
        }
        let mut client = match Client::connect_with(self.door.address, self.options).await {
            Ok(client) => client,
            Err(error) => return unanswered(&error),
        };
        let path = format!("{}/chat/completions", self.door.path);
        let sent = client.stream(&path, &self.fields, &self.body).await;
        let reader = match sent {
            Ok(reader) => reader,
            Err(error) => return unanswered(&error),
        };
        let head = reader.head();
        self.head(head);
        let streams = head
            .header("content-type")
            .is_some_and(|form| form.starts_with("text/event-stream"));
        if streams {
            self.stream(reader).await
        } else {
            self.whole(reader).await
        }
    }

    /// Notes what an answer's head says.
    pub(super) fn head(&mut self, head: &AnswerHead) {
        self.told.head_ms = Some(self.epoch.millis());
        self.told.status = Some(head.status);
        self.watch.fields(&head.fields);
        self.told.id = head.header("x-request-id").map(str::to_owned);
        self.told.attempts = head
            .header("x-switchyard-attempts")
            .and_then(|attempts| attempts.parse().ok());
        self.told.retry_after = head.header("retry-after").is_some();
        self.told.replayed = head.header("x-switchyard-idempotent").is_some();
        if let Some(heard) = self.heard.as_ref().filter(|_| head.status == 200) {
            let id = self.told.id.clone().unwrap_or_default();
            heard.send_if_modified(|first| {
                let is_first = first.is_none();
                first.get_or_insert(id);
                is_first
            });
        }
    }

    async fn whole(&mut self, mut reader: SseReader<'_>) -> Ended {
        let end = loop {
            let more = reader.read_more().await;
            self.watch.body(reader.raw());
            match more {
                Ok(None) => {}
                Ok(Some(end)) => break end,
                Err(_) => return Ended::Cut,
            }
        };
        let document: Value = serde_json::from_slice(reader.raw()).unwrap_or_default();
        match end {
            BodyEnd::Cut => return Ended::Cut,
            BodyEnd::Reset => return Ended::Reset,
            BodyEnd::Silent => return Ended::Silent,
            BodyEnd::Whole => {}
        }
        if self.told.status != Some(200) {
            return Ended::Refused(code_of(&document));
        }
        let text = document
            .pointer("/choices/0/message/content")
            .and_then(Value::as_str)
            .unwrap_or_default();
        self.told.read(text);
        self.told.first_content_ms = Some(self.epoch.millis());
        if self.heard.is_some() {
            let mut said = DefaultHasher::new();
            said.write(reader.raw());
            self.told.said = Some(said.finish());
        }
        Ended::Whole
    }

    async fn stream(&mut self, mut reader: SseReader<'_>) -> Ended {
        let mut text = String::new();
        let mut terminal = false;
        let mut error = None;
        while reader.end().is_none() {
            let more = reader.read_more().await;
            // Piece by piece, because whoever leaves does not come to the end.
            self.watch.body(reader.raw());
            while let Some(event) = reader.ready() {
                if event.data == "[DONE]" {
                    terminal = true;
                    self.told.done_after_error |= error.is_some();
                    continue;
                }
                let document: Value = serde_json::from_str(&event.data).unwrap_or_default();
                if event.event == "error" || document.get("error").is_some_and(|e| !e.is_null()) {
                    error = Some(code_of(&document));
                }
                let piece = document
                    .pointer("/choices/0/delta/content")
                    .and_then(Value::as_str)
                    .unwrap_or_default();
                if !piece.is_empty() {
                    self.told
                        .first_content_ms
                        .get_or_insert_with(|| self.epoch.millis());
                    text.push_str(piece);
                }
            }
            if more.is_err() {
                return self.read(&text, Ended::Cut);
            }
        }
        let ended = match (error, terminal, reader.end()) {
            (Some(code), _, _) => Ended::ErrorEvent(code),
            (None, true, _) => {
                self.told.said = self.heard.is_some().then(|| spoken(reader.raw()));
                Ended::Whole
            }
            (None, false, Some(BodyEnd::Reset)) => Ended::Reset,
            (None, false, Some(BodyEnd::Silent)) => Ended::Silent,
            (None, false, _) => Ended::Cut,
        };
        self.read(&text, ended)
    }

    fn read(&mut self, text: &str, ended: Ended) -> Ended {
        self.told.read(text);
        ended
    }
}

/// A digest of a stream, byte for byte but for what keeps its connection alive: comments, and a blank line that ends
/// nothing but a comment.
fn spoken(raw: &[u8]) -> u64 {
    let mut said = DefaultHasher::new();
    let (mut in_event, mut in_comment) = (false, false);
    for line in raw.split_inclusive(|byte| *byte == b'\n') {
        let is_blank = matches!(line, b"\n" | b"\r\n");
        let is_comment = line.starts_with(b":");
        let keeps_alive = is_comment || is_blank && in_comment && !in_event;
        if !keeps_alive {
            said.write(line);
        }
        in_event = !is_blank && (in_event || !is_comment);
        in_comment = !is_blank && (in_comment || is_comment);
    }
    said.finish()
}

/// When a client leaves, if it does.
fn leaving(workload: &Workload, due: Instant, rng: &mut fastrand::Rng) -> Option<Instant> {
    let leaves = rng.f64() < workload.leave_share;
    let [earliest, latest] = workload.leave_between;
    let between = latest.0.saturating_sub(earliest.0);
    let after = earliest.0.saturating_add(between.mul_f64(rng.f64()));
    leaves.then(|| due.checked_add(after)).flatten()
}

/// Looks at everything a client reads, as it comes.
#[derive(Debug, Clone, Default)]
pub(super) struct Watch {
    /// The name of the first secret found.
    found: Option<&'static str>,
    strangers: Vec<String>,
    /// The first of them found.
    foreign: Option<String>,
    /// Bytes of the body looked at.
    seen: usize,
}

impl Watch {
    fn of(party: &Party) -> Self {
        Self {
            strangers: party.strangers.clone(),
            ..Self::default()
        }
    }

    fn tell(&mut self, told: &mut Told) {
        told.leaked = self.found;
        told.foreign = self.foreign.take();
    }

    pub(super) fn fields(&mut self, fields: &Fields) {
        for (name, value) in fields {
            self.look(name.as_bytes());
            self.look(value.as_bytes());
        }
    }

    /// The body so far; what was looked at before is passed over, but for a secret that began there.
    pub(super) fn body(&mut self, body: &[u8]) {
        let strangers = self.strangers.iter().map(String::len);
        let longest = SECRETS
            .iter()
            .map(|(_, secret)| secret.len())
            .chain(strangers)
            .max();
        let from = self.seen.saturating_sub(longest.unwrap_or(0));
        self.look(body.get(from..).unwrap_or_default());
        self.seen = body.len();
    }

    fn look(&mut self, text: &[u8]) {
        let holds = |secret: &str| memchr::memmem::find(text, secret.as_bytes()).is_some();
        let found = SECRETS.iter().find(|(_, secret)| holds(secret));
        self.found = self.found.or(found.map(|(name, _)| *name));
        if self.foreign.is_none() {
            let stranger = self.strangers.iter().find(|name| holds(name));
            self.foreign = stranger.cloned();
        }
    }
}

fn pace(bytes_per_second: u32) -> ReadPace {
    // Ten reads a second, so that progress is steady.
    ReadPace {
        bytes: (bytes_per_second / 10).max(1) as usize,
        gap: Duration::from_millis(100),
    }
}

fn fields(workload: &Workload, door: &Door) -> Vec<(String, String)> {
    let mut fields = vec![("authorization".to_owned(), format!("Bearer {}", door.key))];
    let mut add = |name: &str, value: String| fields.push((name.to_owned(), value));
    if let Some(deadline) = workload.deadline {
        add("x-switchyard-timeout-ms", deadline.millis().to_string());
    }
    let lane = workload.lane.as_deref().unwrap_or("default");
    add("x-switchyard-lane", lane.to_owned());
    for (name, value) in &workload.headers {
        add(name, value.clone());
    }
    fields
}

/// Words, and marks that must never be seen outside the body: whose request it is, and who pays for it.
fn prompt(bytes: usize, place: usize, number: u64, tenant: &str) -> String {
    let mut text = format!("{PROMPT_MARK} {place}.{number}: {tenant} ");
    while text.len() < bytes {
        text.push_str("tell me more about it and do not leave anything out ");
    }
    text.truncate(bytes.max(PROMPT_MARK.len() + 24));
    text
}

/// Begins every prompt; found in a log or a record, it proves a leak.
pub(crate) const PROMPT_MARK: &str = "chaos-prompt-canary";

/// Whose request a body carries: the workload's place and the request's number there.
pub(crate) fn mark_of(body: &[u8]) -> Option<(usize, u64)> {
    let at = memchr::memmem::find(body, PROMPT_MARK.as_bytes())?;
    let rest = body.get(at.checked_add(PROMPT_MARK.len())?..)?;
    let end = rest.iter().take(64).position(|byte| *byte == b':')?;
    let text = std::str::from_utf8(rest.get(..end)?).ok()?.trim();
    let (place, number) = text.split_once('.')?;
    Some((place.parse().ok()?, number.parse().ok()?))
}

pub(super) fn unanswered(error: &ClientError) -> Ended {
    Ended::Unanswered(match error {
        ClientError::Connect(_) => "connect",
        ClientError::Send(_) => "send",
        ClientError::ResetBeforeHead => "reset_before_head",
        ClientError::ClosedBeforeHead => "closed_before_head",
        ClientError::CutInHead => "cut_in_head",
        ClientError::Silent(_) => return Ended::Silent,
        ClientError::Wire(_) => "malformed",
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_found_wherever_it_is_cut() {
        let body = format!("data: x\n\n: {ADMIN_KEY} and more").into_bytes();
        for cut in 1..body.len() {
            let mut watch = Watch::default();
            watch.body(&body[..cut]);
            watch.body(&body);
            assert_eq!(watch.found, Some("the admin key"), "{cut}");
        }
    }

    #[test]
    fn a_secret_in_a_field_is_found_and_an_honest_answer_holds_none() {
        let field = |value: &str| vec![("x-upstream".to_owned(), value.to_owned())];
        let mut watch = Watch::default();
        watch.fields(&field("alpha"));
        watch.body(b"data: [DONE]");
        assert_eq!(watch.found, None);
        watch.fields(&field("Bearer sk-chaos-provider-alpha-0123456789"));
        assert_eq!(watch.found, Some("a provider's key"));
    }

    /// What a client of a gateway that says just this, and then nothing, is told to have seen.
    async fn told_by(said: &'static str, workload: &Workload) -> Told {
        use std::sync::Arc;

        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

        use crate::lab::Doorway;
        use crate::scenario::Phases;

        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let door = Door {
            address: listener.local_addr().unwrap(),
            path: "/v1".to_owned(),
            key: "sk".to_owned(),
        };
        let gateway = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = [0; 4096];
            let _ = stream.read(&mut request).await;
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
            stream
                .write_all(format!("{head}{said}").as_bytes())
                .await
                .unwrap();
            std::future::pending::<()>().await;
        });
        let traffic = Traffic {
            door: Arc::new(Doorway::new(door)),
            epoch: Epoch::now(),
            seed: 1,
            phases: Phases::default(),
            model: "chat".to_owned(),
            parties: Arc::default(),
        };
        let told = Ask::draw(0, 0, workload, &traffic, Instant::now())
            .make()
            .await;
        gateway.abort();
        told
    }

    #[tokio::test]
    async fn a_secret_is_found_in_what_a_client_read_before_it_left() {
        let span = crate::scenario::Span(Duration::from_millis(300));
        let leaver = Workload {
            stream: true,
            leave_share: 1.0,
            leave_between: [span, span],
            ..Workload::named("leavers")
        };
        let said = "25\r\n: sk-chaos-provider-alpha-0123456789\n\r\n";
        let told = told_by(said, &leaver).await;
        assert_eq!(
            (told.ended, told.leaked),
            (Ended::Left, Some("a provider's key"))
        );
        let told = told_by("9\r\n: hello\n\n\r\n", &leaver).await;
        assert_eq!((told.ended, told.leaked), (Ended::Left, None));
    }

    #[tokio::test]
    async fn a_secret_is_found_in_a_stream_that_broke() {
        let stays = Workload {
            stream: true,
            ..Workload::named("stays")
        };
        let said = "25\r\n: sk-chaos-provider-alpha-0123456789\n\r\nno chunk at all\r\n";
        let told = told_by(said, &stays).await;
        assert_eq!(
            (told.ended, told.leaked),
            (Ended::Cut, Some("a provider's key"))
        );
    }

    #[test]
    fn l12_what_a_stream_said_is_every_byte_but_what_keeps_it_alive() {
        let said = spoken(b"data: a\n\ndata: b\n\n");
        for kept_alive in [
            &b": still here\n\ndata: a\n\n: and here\r\n\r\ndata: b\n\n: bye\n\n"[..],
            b"data: a\n: within\n\ndata: b\n: within\n\n",
            b":\n:\n\ndata: a\n\ndata: b\n\n",
        ] {
            assert_eq!(spoken(kept_alive), said, "{}", kept_alive.escape_ascii());
        }
        for other in [
            &b"data:a\n\ndata: b\n\n"[..],
            b"data: a\r\n\ndata: b\n\n",
            b"id: 1\ndata: a\n\ndata: b\n\n",
            b"data: a\n\n\ndata: b\n\n",
            b"data: a\n\ndata: b\n",
            b"data: a\ndata: b\n\n",
        ] {
            assert_ne!(spoken(other), said, "{}", other.escape_ascii());
        }
    }

    #[test]
    fn a_prompt_says_whose_it_is() {
        assert_eq!(mark_of(prompt(200, 3, 17, "").as_bytes()), Some((3, 17)));
        assert_eq!(mark_of(b"chaos-prompt-canary 2.x: "), None);
        assert_eq!(mark_of(b"hello"), None);
    }
}
