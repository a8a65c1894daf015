//! What a request needs of the store before it is sent anywhere.

use std::sync::Arc;

use bytes::Bytes;
use ring::rand::{SecureRandom as _, SystemRandom};
use serde_json::Value;

use super::background::Background;
use super::keep::Keep;
use super::{unavailable, wrong};
use crate::actors::Published;
use crate::config::{KeepResponses, ProviderSettings};
use crate::dialects::DialectError;
use crate::dialects::responses::state::{
    Shift, Stamp, StateAsk, loses_thoughts, read_state, rewritten, said_again, thinker, used_items,
};
use crate::dispatch::Prompt;
use crate::domain::{ClientName, Dialect, Failure, FailureKind, ModelName, Stake};
use crate::edge::chat::Admission;
use crate::edge::{Edge, body};
use crate::pricing::{Capability, Found};
use crate::store::{Conversation, Link, ResponseKey, ResponseStore};

/// What becomes of a request and its answer.
pub(super) struct Plan {
    pub(super) prompt: Prompt,
    /// What is said of the answer beside what it says; `None`: it passes as it is.
    pub(super) stamp: Option<Stamp>,
    /// `None`: the answer is not kept.
    pub(super) keep: Option<Keep>,
    /// The answer is made while nobody waits.
    pub(super) background: Option<Background>,
    /// It would have been kept, but cannot be.
    pub(super) unkept: bool,
    /// Something that was thought before could not be told again.
    pub(super) forgets: bool,
    /// Where what the client sent stands in the prompt.
    pub(super) shift: Shift,
}

impl Plan {
    fn passing(prompt: Prompt) -> Self {
        Self {
            prompt,
            stamp: None,
            keep: None,
            background: None,
            unkept: false,
            forgets: false,
            shift: Shift::default(),
        }
    }
}

/// Whether the client wants its response kept, and whether it said so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Wish {
    Keep { asked: bool },
    Leave,
}

fn wish(ask: &StateAsk, policy: KeepResponses) -> Result<Wish, DialectError> {
    let refused = |param: &str, message: &str| Err(DialectError::at(param, message));
    if ask.background && ask.store == Some(false) {
        return refused(
            "background",
            "a response that is made in the background has to be kept; leave \"store\" out",
        );
    }
    if policy != KeepResponses::Never {
        let asked = ask.store == Some(true) || ask.background;
        let usual = policy == KeepResponses::Usual && ask.store.is_none();
        return Ok(match asked || usual {
            true => Wish::Keep { asked },
            false => Wish::Leave,
        });
    }
    const CURE: &str = "this gateway is configured to keep no responses; send the whole conversation in \"input\", and \"store\": false or nothing";
    for (param, named) in [
        ("previous_response_id", ask.previous.is_some()),
        ("background", ask.background),
        ("store", ask.store == Some(true)),
        ("input", !ask.references.is_empty()),
    ] {
        if named {
            return refused(param, CURE);
        }
    }
    Ok(Wish::Leave)
}

/// The store, or why nothing can be done without it; `None` where it is not needed and cannot be had.
async fn opened(edge: &Edge, is_needed: bool) -> Result<Option<Arc<dyn ResponseStore>>, Failure> {
    match edge.news.store.responses().await {
        Ok(store) => Ok(Some(store)),
        Err(error) if is_needed => Err(unavailable(edge, &error)),
        // Nobody asked for it by name: it is served all the same, and said not to be kept.
        Err(error) => {
            edge.news.metrics.store_refused(error.label());
            Ok(None)
        }
    }
}

pub(super) async fn plan(
    edge: &Arc<Edge>,
    admission: &Admission,
    prompt: Prompt,
) -> Result<Plan, Failure> {
    let mut ask = read_state(prompt.bytes()).map_err(wrong)?;
    let policy = edge.news.store.settings().responses;
    let wish = wish(&ask, policy).map_err(wrong)?;
    let needs = ask.previous.is_some() || !ask.references.is_empty();
    if wish == Wish::Leave && !needs {
        return Ok(Plan::passing(prompt));
    }
    let store = opened(edge, needs || wish == (Wish::Keep { asked: true })).await?;
    let most = admission.published.settings.listen.max_body_bytes;
    let owner = &admission.client.owner();
    let (before, referred) = match &store {
        Some(store) => Seeker { edge, store, owner }.all(&ask, most).await?,
        None => Default::default(),
    };
    ask.thinks = Some(is_thought_about(&ask, &before, &admission.published));
    let items = &before.items;
    let made = rewritten(prompt.bytes(), &ask, items, &referred, &mut draw).map_err(wrong)?;
    let stake = admission.client.stake();
    let prompt = grown((edge, &stake), prompt, made.body, most).await?;
    let kept = match (wish, &store) {
        (Wish::Keep { .. }, Some(store)) => Some(Keep {
            news: Arc::clone(&edge.news),
            store: Arc::clone(store),
            key: ResponseKey {
                owner: owner.clone(),
                id: format!("resp_{}", draw()),
            },
            previous: ask.previous.clone(),
            input: serde_json::to_vec(&made.input).unwrap_or_default().into(),
            created: unix_now(),
        }),
        (Wish::Keep { .. } | Wish::Leave, _) => None,
    };
    let stamp = Stamp {
        id: kept.as_ref().map(|keep| keep.key.id.clone()),
        previous: ask.previous,
        background: ask.background,
    };
    let (keep, background) = match ask.background {
        true => (
            None,
            kept.map(|keep| Background {
                keep,
                streams: ask.stream,
            }),
        ),
        false => (kept, None),
    };
    Ok(Plan {
        prompt,
        stamp: Some(stamp),
        keep,
        background,
        unkept: store.is_none(),
        forgets: before.forgets || made.forgets,
        shift: made.shift,
    })
}

/// By the client's word, or by what is known of the model: beforehand, or since it was seen to think.
fn is_thought_about(ask: &StateAsk, before: &Before, published: &Published) -> bool {
    let model = ask.model.as_deref().unwrap_or_default();
    let known = || thinks(published, model, before.thought_by.as_deref());
    ask.thinks.unwrap_or_else(known)
}

/// Whether every model that is spoken to in the client's own form thinks without being asked to. One that does not
/// would refuse to be asked for its thoughts.
fn thinks(published: &Published, model: &str, thought_by: Option<&str>) -> bool {
    let settings = &published.settings;
    let Some(route) = published.routes.find(model) else {
        return false;
    };
    let targets = route.chain.iter().flat_map(|pool| &pool.settings.targets);
    let mut own = targets.filter_map(|target| {
        let mut providers = settings.providers.iter();
        let provider = providers.find(|known| known.name == target.provider)?;
        let speaks = provider.responses || provider.dialect == Dialect::Responses;
        speaks.then_some((provider, target.model.as_ref()))
    });
    let reasons = |(provider, model): (&Arc<ProviderSettings>, Option<&ModelName>)| {
        let Some(model) = model else { return false };
        let known = settings.models.registry();
        let known = known.find(provider.name.as_str(), model.as_str());
        let can = |found: Found| found.model.capabilities.contains(&Capability::Reasoning);
        // Its answers name it with its version.
        let was_seen = thought_by.is_some_and(|name| name.starts_with(model.as_str()));
        was_seen || provider.reasons(model.as_str()) || known.is_some_and(can)
    };
    own.next().is_some_and(&reasons) && own.all(reasons)
}

/// What a request goes on from.
#[derive(Default)]
struct Before {
    items: Vec<Value>,
    /// A thought of it cannot be told again.
    forgets: bool,
    /// The model that was the last to think, as it was named by its answer.
    thought_by: Option<String>,
}

/// Looks for what one client had kept.
struct Seeker<'a> {
    edge: &'a Edge,
    store: &'a Arc<dyn ResponseStore>,
    owner: &'a ClientName,
}

impl Seeker<'_> {
    /// What was said before, and what is only named.
    async fn all(&self, ask: &StateAsk, most: usize) -> Result<(Before, Vec<Value>), Failure> {
        let before = match &ask.previous {
            Some(previous) => self.before(previous, most).await?,
            None => Before::default(),
        };
        Ok((before, self.referred(ask).await?))
    }

    /// All that was said up to and with this response.
    async fn before(&self, previous: &str, most: usize) -> Result<Before, Failure> {
        let refused = |message: &'static str| {
            let mut failure =
                Failure::new(FailureKind::InvalidRequest, message).at("previous_response_id");
            failure.code = Some("previous_response_not_found".into());
            failure
        };
        let key = ResponseKey {
            owner: self.owner.clone(),
            id: previous.to_owned(),
        };
        let found = self.store.conversation(&key, most).await;
        let links = match found.map_err(|error| unavailable(self.edge, &error))? {
            Conversation::Whole(links) => links,
            Conversation::Absent => {
                return Err(refused(
                    "there is no such response among those that are kept for you; send the whole conversation in \"input\"",
                ));
            }
            Conversation::Torn => {
                return Err(refused(
                    "a response that this one goes on from was deleted; send the whole conversation in \"input\"",
                ));
            }
            Conversation::TooLong => {
                return Err(Failure::new(
                    FailureKind::InvalidRequest,
                    "the conversation so far is longer than a request may be; begin a new one",
                )
                .at("previous_response_id"));
            }
        };
        let mut before = Before::default();
        for link in &links {
            let (input, response) = read(link);
            let output = response.get("output").and_then(Value::as_array);
            before.forgets |=
                loses_thoughts(&input) || output.is_some_and(|all| loses_thoughts(all));
            if let Some(model) = thinker(&response) {
                before.thought_by = Some(model.to_owned());
            }
            let said = said_again(&input, &response).map_err(wrong)?;
            before.items.extend(said);
        }
        Ok(before)
    }

    async fn referred(&self, ask: &StateAsk) -> Result<Vec<Value>, Failure> {
        if ask.references.is_empty() {
            return Ok(Vec::new());
        }
        let found = self.store.holding(self.owner, ask.references.clone()).await;
        let links = found.map_err(|error| unavailable(self.edge, &error))?;
        let turns = links.iter().map(|link| {
            let (input, response) = read(link);
            (input, Some(response))
        });
        Ok(used_items(turns.collect()))
    }
}

/// What a turn asked and what was answered.
pub(super) fn read(link: &Link) -> (Vec<Value>, Value) {
    (
        serde_json::from_slice(&link.input).unwrap_or_default(),
        serde_json::from_slice(&link.answer).unwrap_or_default(),
    )
}

/// The request in its new form, with the memory it takes.
async fn grown(
    (edge, stake): (&Edge, &Stake),
    prompt: Prompt,
    made: Vec<u8>,
    most: usize,
) -> Result<Prompt, Failure> {
    if made.len() > most {
        return Err(Failure::new(
            FailureKind::RequestTooLarge,
            format!("with what it goes on from the request is larger than {most} bytes; begin a new conversation, or raise listen.max_body_bytes"),
        )
        .at("previous_response_id"));
    }
    // Given back first: who holds one share and waits for another may wait for itself.
    drop(prompt);
    let permit = body::granted(&edge.body_memory, stake, made.len()).await?;
    Ok(Prompt::new(Bytes::from(made), permit))
}

/// 160 bits that nobody guesses, in hex.
pub(super) fn draw() -> String {
    let mut bytes = [0_u8; 20];
    if SystemRandom::new().fill(&mut bytes).is_err() {
        // Without the system's randomness ids are only unlikely to be guessed; they belong to their owner all the same.
        bytes.fill_with(|| fastrand::u8(..));
    }
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(super) fn unix_now() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs()
}
