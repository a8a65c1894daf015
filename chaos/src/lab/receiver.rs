//! Whom the gateway tells what needs somebody: the harness itself, which takes some webhooks at the third time only.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};
use toml::{Table, Value};

use super::Epoch;
use super::config::{ConfigError, secret};
use crate::http1::unix_now;
use crate::records::{Delivery, Reply};
use crate::scenario::{Receiver, Scenario};

/// Begins what the webhooks of a run are signed with; found anywhere, it proves a leak.
pub const HOOK_MARK: &str = "sk-chaos-hook-";
/// What they are signed with.
pub const HOOK_SECRET: &str = "sk-chaos-hook-0123456789abcdef";

/// The gateway waits so long for an answer.
const TIMEOUT_MS: i64 = 500;
/// What is answered within this time of its coming the gateway has heard.
const HEARD: Duration = Duration::from_millis(300);
/// Nothing new for so long: everything that was to be told was told once at least.
const CALM: Duration = Duration::from_millis(500);
/// A webhook is small; more is not read.
const MOST_BYTES: usize = 64 * 1024;
/// Whoever is not answered has given up long before.
const PATIENCE: Duration = Duration::from_secs(5);

/// All receivers of a run, and what they were told.
#[derive(Debug, Default)]
pub struct Receivers {
    places: Vec<(String, SocketAddr)>,
    told: Option<mpsc::UnboundedReceiver<Noted>>,
    ids: Arc<Mutex<Ids>>,
    /// Ends with the run.
    tasks: JoinSet<()>,
}

/// How often each alert came to each receiver, and whether it was taken.
type Ids = HashMap<(String, String), (u32, bool)>;

#[derive(Debug)]
struct Noted {
    at: Instant,
    delivery: Delivery,
}

impl Receivers {
    /// # Errors
    /// When there is no port to listen on.
    pub async fn start(scenario: &Scenario) -> io::Result<Self> {
        let (tell, told) = mpsc::unbounded_channel();
        let mut all = Self {
            told: Some(told),
            ..Self::default()
        };
        for terms in &scenario.receivers {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            all.places
                .push((terms.name.clone(), listener.local_addr()?));
            let desk = Desk {
                terms: terms.clone(),
                ids: Arc::clone(&all.ids),
                tell: tell.clone(),
            };
            all.tasks.spawn(listen(listener, Arc::new(desk)));
        }
        Ok(all)
    }

    /// Tells the gateway where they are.
    ///
    /// # Errors
    /// When the folder cannot be written.
    pub fn let_in(&self, config: &mut Table, folder: &Path) -> Result<(), ConfigError> {
        let mut alerts = Vec::new();
        for (name, address) in &self.places {
            let reference = secret(folder, &format!("receiver-{name}-secret"), HOOK_SECRET)?;
            let mut one = Table::new();
            one.insert("name".into(), name.clone().into());
            one.insert("url".into(), format!("http://{address}/told").into());
            one.insert("secret".into(), reference.into());
            one.insert("allow_private_address".into(), true.into());
            one.insert("timeout_ms".into(), TIMEOUT_MS.into());
            let events = ["budget.reached", "budget.exhausted"].map(Value::from);
            one.insert("events".into(), Value::Array(events.into()));
            alerts.push(Value::from(one));
        }
        if !alerts.is_empty() {
            config.insert("alerts".into(), alerts.into());
        }
        Ok(())
    }

    /// Waits until each alert that came once was taken and no other comes, or the patience for it is over.
    pub async fn settled(&self, patience: Duration) {
        let begun = Instant::now();
        let (mut calm_since, mut known) = (begun, 0);
        while begun.elapsed() < patience && !self.places.is_empty() {
            let ids = self.ids.lock().await;
            if ids.len() != known || !ids.values().all(|(_, taken)| *taken) {
                (calm_since, known) = (Instant::now(), ids.len());
            }
            drop(ids);
            if calm_since.elapsed() >= CALM {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// Everything that was delivered so far, in its order.
    pub fn told(&mut self, epoch: Epoch) -> Vec<Delivery> {
        let mut all = Vec::new();
        while let Some(noted) = self.told.as_mut().and_then(|told| told.try_recv().ok()) {
            let at_ms = epoch.of(noted.at);
            all.push(Delivery {
                at_ms,
                ..noted.delivery
            });
        }
        all
    }
}

/// One receiver.
struct Desk {
    terms: Receiver,
    ids: Arc<Mutex<Ids>>,
    tell: mpsc::UnboundedSender<Noted>,
}

async fn listen(listener: TcpListener, desk: Arc<Desk>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    let desk = Arc::clone(&desk);
                    connections.spawn(async move {
                        // Whoever says nothing, or nothing whole, has delivered nothing.
                        let _ = timeout(PATIENCE.saturating_mul(2), desk.serve(stream)).await;
                    });
                }
                // Out of descriptors, most likely: wait for some to come back.
                Err(_) => sleep(Duration::from_millis(10)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

impl Desk {
    /// One request; then the connection ends.
    async fn serve(&self, mut stream: TcpStream) -> io::Result<()> {
        let came = Instant::now();
        let Some((fields, body)) = request(&mut stream).await? else {
            return Ok(());
        };
        let of = |name: &str| fields.get(name).cloned().unwrap_or_default();
        let id = of("webhook-id");
        let reply = self.reply(&id).await;
        let (at, unix) = (Instant::now(), unix_now());
        let status = match reply {
            Reply::Taken | Reply::Late => Some("204 No Content"),
            Reply::Error => Some("500 Internal Server Error"),
            Reply::Silence => None,
        };
        let answered = match status {
            Some(status) => answer(&mut stream, status).await,
            None => Ok(()),
        };
        let is_late = answered.is_err() || came.elapsed() > HEARD;
        let delivery = Delivery {
            to: self.terms.name.clone(),
            at_ms: 0,
            unix,
            timestamp: of("webhook-timestamp"),
            signature: of("webhook-signature"),
            body,
            reply: if reply == Reply::Taken && is_late {
                Reply::Late
            } else {
                reply
            },
            id,
        };
        // Nobody listens only when the run was given up.
        let _ = self.tell.send(Noted { at, delivery });
        if status.is_none() {
            // Until the gateway has had enough.
            let _ = timeout(PATIENCE, stream.read_u8()).await;
        }
        answered
    }

    async fn reply(&self, id: &str) -> Reply {
        let mut ids = self.ids.lock().await;
        let (times, taken) = ids
            .entry((self.terms.name.clone(), id.to_owned()))
            .or_default();
        let before = *times;
        *times = times.saturating_add(1);
        let reply = match before {
            before if before >= self.terms.refuses => Reply::Taken,
            before if before.is_multiple_of(2) => Reply::Error,
            _ => Reply::Silence,
        };
        *taken |= reply == Reply::Taken;
        reply
    }
}

async fn answer(stream: &mut TcpStream, status: &str) -> io::Result<()> {
    let head = format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
    stream.write_all(head.as_bytes()).await?;
    stream.shutdown().await
}

/// The fields, by their names in lower case, and the body of a POST; `None` when it is none, or too large.
async fn request(stream: &mut TcpStream) -> io::Result<Option<(HashMap<String, String>, Bytes)>> {
    let mut read = BytesMut::new();
    loop {
        if let Some((fields, begins)) = head(&read) {
            let length = fields.get("content-length");
            let length: Option<usize> = length.and_then(|length| length.parse().ok());
            let ends = length.and_then(|length| begins.checked_add(length));
            match ends.filter(|ends| *ends <= MOST_BYTES) {
                None => return Ok(None),
                Some(ends) if read.len() >= ends => {
                    let body = read.get(begins..ends).unwrap_or_default();
                    return Ok(Some((fields, Bytes::copy_from_slice(body))));
                }
                Some(_) => {}
            }
        }
        if read.len() > MOST_BYTES || stream.read_buf(&mut read).await? == 0 {
            return Ok(None);
        }
    }
}

/// A whole head, and where the body begins.
fn head(read: &[u8]) -> Option<(HashMap<String, String>, usize)> {
    let mut fields = [httparse::EMPTY_HEADER; 64];
    let mut request = httparse::Request::new(&mut fields);
    let httparse::Status::Complete(begins) = request.parse(read).ok()? else {
        return None;
    };
    let fields = request.headers.iter().map(|field| {
        let value = String::from_utf8_lossy(field.value).into_owned();
        (field.name.to_ascii_lowercase(), value)
    });
    Some((fields.collect(), begins))
}
