#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use ractor::RpcReplyPort;
use smallvec::SmallVec;
use tokio::time::Instant;

use super::*;
use crate::config::{ConfigError, Fingerprint, Settings};
use crate::domain::{
    AttemptOutcome, Dialect, KeyName, Lane, Mode, Operation, PromptClass, ProviderName, RequestId,
    Shape, Stake, Tokens, Usage, Weight,
};
use crate::policy::residency::{Demand, Demands};

struct NoDoor;

impl IssuerDoor for NoDoor {}

impl SettingsDoor for NoDoor {
    fn load(&self) -> BoxFuture<'static, Result<Settings, ConfigError>> {
        Box::pin(std::future::pending())
    }

    fn settled(&self, _: Duration) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }

    fn fingerprint(&self, _: Fingerprint) -> BoxFuture<'static, Fingerprint> {
        Box::pin(std::future::pending())
    }

    fn publish(
        &self,
        _: Box<Settings>,
    ) -> BoxFuture<'static, Result<Option<Vec<String>>, ConfigError>> {
        Box::pin(std::future::ready(Ok(None)))
    }
}

/// Counts the probes of keys and finds every key good.
#[derive(Default)]
pub(super) struct GoodKeys(AtomicU32);

impl KeyProbe for GoodKeys {
    fn probe(&self, _: &ProviderName, _: &KeyName) -> BoxFuture<'static, KeyVerdict> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Box::pin(std::future::ready(KeyVerdict::Good))
    }
}

#[expect(clippy::too_many_lines, reason = "a table of settings")]
pub(super) fn settings(requests_per_minute: Option<u64>) -> Settings {
    use crate::config::{
        AuthSettings, KeyLimits, KeySettings, PoolOrigin, PoolSettings, ProviderSettings, RaceMode,
        Secret, TargetSettings,
    };
    let secret = Secret::new("sk-test".to_owned());
    let provider = |name: &str| {
        Arc::new(ProviderSettings {
            name: name.into(),
            dialect: Dialect::Openai,
            base_url: "http://127.0.0.1:1/v1".to_owned(),
            keys: vec![KeySettings {
                name: "k".into(),
                fingerprint: secret.fingerprint(),
                source: crate::config::KeySource::Written,
                secret: secret.clone(),
                limits: KeyLimits {
                    requests_per_minute,
                    ..KeyLimits::default()
                },
                models: None,
                handling: Arc::default(),
            }],
            models: Vec::new(),
            reasoning_models: Vec::new(),
            responses: false,
            allow_private_address: true,
            ca_pem: None,
            egress: None,
            resolvers: Default::default(),
            h2: true,
            max_in_flight: 100,
            quirks: Default::default(),
            caps: Vec::new(),
            signs_as: None,
            service_tier: None,
            volume: None,
            default_max_output: Tokens(16),
            free: false,
            auth: AuthSettings::Dialect,
        })
    };
    let target = |name: &str| TargetSettings {
        provider: name.into(),
        model: Some("m".into()),
        weight: 1.0,
        context_window: None,
    };
    let pool = PoolSettings {
        unsupported: None,
        unoffered_tools: Default::default(),
        name: "p".into(),
        origin: PoolOrigin::Explicit,
        targets: vec![target("a"), target("b")],
        fallback: Vec::new(),
        queue_length: 100,
        max_wait: Duration::from_secs(10),
        race: RaceMode::Marked,
        hedge: crate::config::HedgeSettings {
            enabled: false,
            budget_share: crate::domain::Score::new(0.05),
            largest_prompt: PromptClass::Medium,
        },
    };
    Settings {
        providers: vec![provider("a"), provider("b")],
        pools: vec![Arc::new(pool)],
        journal: crate::config::JournalSettings {
            mode: crate::config::JournalMode::Off,
            ..Default::default()
        },
        ..Settings::default()
    }
}

async fn system(requests_per_minute: Option<u64>) -> (Arc<System>, RootHandle, Arc<GoodKeys>) {
    system_of(settings(requests_per_minute)).await
}

/// The same with a third provider `c`.
async fn three() -> (Arc<System>, RootHandle, Arc<GoodKeys>) {
    let mut settings = settings(None);
    let mut third = (*settings.providers[1]).clone();
    third.name = "c".into();
    settings.providers.push(Arc::new(third));
    let mut pool = (*settings.pools[0]).clone();
    let mut target = pool.targets[1].clone();
    target.provider = "c".into();
    pool.targets.push(target);
    settings.pools = vec![Arc::new(pool)];
    system_of(settings).await
}

async fn system_of(settings: Settings) -> (Arc<System>, RootHandle, Arc<GoodKeys>) {
    system_with(settings, Arc::new(NoDoor)).await
}

pub(super) async fn system_with(
    settings: Settings,
    issuers: Arc<dyn IssuerDoor>,
) -> (Arc<System>, RootHandle, Arc<GoodKeys>) {
    started(settings, Arc::new(NoDoor), issuers).await
}

/// One whose settings come from there.
pub(super) async fn system_by(
    settings: Settings,
    door: Arc<dyn SettingsDoor>,
) -> (Arc<System>, RootHandle) {
    let (system, root, _) = started(settings, door, Arc::new(NoDoor)).await;
    (system, root)
}

async fn started(
    settings: Settings,
    door: Arc<dyn SettingsDoor>,
    issuers: Arc<dyn IssuerDoor>,
) -> (Arc<System>, RootHandle, Arc<GoodKeys>) {
    let (system, probe) = built_with(settings, door, issuers);
    let root = system.start(Vec::new()).await.unwrap();
    (system, root, probe)
}

/// One of which nothing runs.
pub(super) fn built(settings: Settings) -> Arc<System> {
    built_with(settings, Arc::new(NoDoor), Arc::new(NoDoor)).0
}

fn built_with(
    settings: Settings,
    door: Arc<dyn SettingsDoor>,
    issuers: Arc<dyn IssuerDoor>,
) -> (Arc<System>, Arc<GoodKeys>) {
    let news = Arc::new(News::unheard(settings.journal.clone()));
    let probe = Arc::new(GoodKeys::default());
    let parts = SystemParts {
        clock: Clock::start(),
        telemetry: crate::telemetry::Telemetry::install(),
        news,
        door,
        probe: Arc::clone(&probe) as Arc<dyn KeyProbe>,
        issuers,
        seed: 7,
    };
    (System::build(settings, parts), probe)
}

fn wish(system: &System) -> Wish {
    Wish {
        request: RequestId::from_draw(1),
        routes: Arc::clone(&system.published().routes),
        asked: Arc::from("p"),
        step: 0,
        operation: Operation::Chat,
        preference: None,
        shape: Shape {
            class: PromptClass::Small,
            mode: Mode::Stream,
        },
        lane: Lane::Default,
        stake: Stake {
            tenant: Arc::from("default"),
            weight: Weight::ONE,
        },
        estimate: Estimate {
            input: Tokens(10),
            output: Tokens(10),
        },
        deadline: system.clock.now().after(Duration::from_secs(60)),
        patience: Patience::None,
        purpose: Purpose::Attempt,
        tried: SmallVec::new(),
        meet_again: true,
        wider_than: None,
        direct_only: false,
        demand: None,
        bounds: Default::default(),
    }
}

async fn place(system: &System, wish: Wish) -> Result<Lease, Refusal> {
    let wish = Arc::new(wish);
    let question = |reply: RpcReplyPort<_>| RouterMessage::Place {
        wish: Arc::clone(&wish),
        reply,
    };
    system
        .router
        .ask(Instant::now() + Duration::from_secs(70), question)
        .await
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_lease_nobody_took_is_refunded() {
    let (system, _root, _) = system(Some(1)).await;
    let lease = place(&system, wish(&system)).await.unwrap();
    let window = Arc::clone(&lease.target().window);
    assert_eq!(window.requests.sum(system.clock.now()), 1);
    drop(lease);
    assert_eq!(window.requests.sum(system.clock.now()), 0);
    assert_eq!(window.in_flight.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_was_sent_counts_as_spent() {
    let (system, _root, _) = system(Some(1)).await;
    for _ in 0..2 {
        let mut lease = place(&system, wish(&system)).await.unwrap();
        lease.sent();
    }
    let refusal = place(&system, wish(&system)).await.unwrap_err();
    assert_eq!(
        refusal.why,
        RefusalKind::Limited,
        "both keys have spent their one request"
    );
    assert!(
        refusal
            .retry_after
            .is_some_and(|wait| wait > Duration::from_secs(50))
    );
}

#[tokio::test(start_paused = true)]
async fn l3_who_waits_is_served_when_the_window_opens_and_not_before() {
    let (system, _root, _) = system(Some(1)).await;
    for _ in 0..2 {
        place(&system, wish(&system)).await.unwrap().sent();
    }
    let began = Instant::now();
    let mut patient = wish(&system);
    patient.patience = Patience::Queue;
    // Longer than the pool lets anyone wait: refused at once, not after ten seconds.
    assert_eq!(
        place(&system, patient.clone()).await.unwrap_err().why,
        RefusalKind::Limited
    );
    assert!(began.elapsed() < Duration::from_secs(1));
    tokio::time::advance(Duration::from_secs(55)).await;
    patient.deadline = system.clock.now().after(Duration::from_secs(30));
    let lease = place(&system, patient).await.unwrap();
    assert!(
        began.elapsed() >= Duration::from_secs(60),
        "{:?}",
        began.elapsed()
    );
    drop(lease);
}

/// One place at each of two providers.
async fn two_places() -> (Arc<System>, RootHandle, Arc<GoodKeys>) {
    let mut settings = settings(None);
    for provider in &mut settings.providers {
        let mut narrow = (**provider).clone();
        narrow.keys[0].limits.concurrency = Some(1);
        *provider = Arc::new(narrow);
    }
    system_of(settings).await
}

fn patient(system: &System, tenant: &str, weight: u32) -> Wish {
    Wish {
        patience: Patience::Queue,
        stake: Stake {
            tenant: Arc::from(tenant),
            weight: Weight::new(weight).unwrap(),
        },
        ..wish(system)
    }
}

/// Waits for a place, keeps it for ten milliseconds, and tells whose it was.
async fn served(
    system: Arc<System>,
    wish: Wish,
    told: tokio::sync::mpsc::UnboundedSender<Arc<str>>,
) {
    let tenant = Arc::clone(&wish.stake.tenant);
    let lease = place(&system, wish).await.unwrap();
    told.send(tenant).unwrap();
    tokio::time::sleep(Duration::from_millis(10)).await;
    drop(lease);
}

#[tokio::test(start_paused = true)]
async fn o05_places_go_round_the_tenants_however_many_one_of_them_asks_for() {
    let (system, _root, _) = two_places().await;
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let all = [("noisy", 1, 60), ("quiet", 1, 6), ("heavy", 3, 12)];
    for (tenant, weight, count) in all {
        for _ in 0..count {
            tokio::spawn(served(
                Arc::clone(&system),
                patient(&system, tenant, weight),
                told.clone(),
            ));
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    drop(told);
    let mut order = Vec::new();
    while let Some(tenant) = heard.recv().await {
        order.push(tenant);
    }
    assert_eq!(order.len(), 78);
    let had = |tenant: &str, turns: usize| {
        let first = order.iter().take(turns);
        first.filter(|one| &***one == tenant).count()
    };
    // Two places were taken before the others came; of the next twenty, heavy has its twelve.
    assert_eq!(had("noisy", 2), 2, "{order:?}");
    assert_eq!(had("heavy", 22), 12, "{order:?}");
    assert!((3..=5).contains(&had("quiet", 22)), "{order:?}");
    assert_eq!(had("quiet", 27), 6, "{order:?}");
}

#[tokio::test(start_paused = true)]
async fn o05_room_belongs_to_who_waits_and_not_to_who_happens_to_come() {
    let (system, _root, _) = two_places().await;
    let first = place(&system, wish(&system)).await.unwrap();
    let _second = place(&system, wish(&system)).await.unwrap();
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(served(
        Arc::clone(&system),
        patient(&system, "quiet", 1),
        told.clone(),
    ));
    tokio::time::sleep(Duration::from_millis(1)).await;
    // The flood's question is in the mailbox before anybody hears of the room.
    let pool = Arc::clone(&first.target().pool_slot);
    let (reply, answer) = ractor::concurrency::oneshot();
    let question = PoolMessage::Place {
        wish: Arc::new(patient(&system, "noisy", 1)),
        reply: reply.into(),
    };
    pool.cast(question).unwrap();
    drop(first);
    let who = tokio::select! {
        lease = answer => {
            assert!(lease.unwrap().is_ok());
            "noisy".into()
        }
        tenant = heard.recv() => tenant.unwrap(),
    };
    assert_eq!(&*who, "quiet");
}

#[tokio::test(start_paused = true)]
async fn o05_one_tenants_wish_for_a_full_place_holds_up_nobody_elses_for_a_free_one() {
    let (system, _root, _) = two_places().await;
    let first = place(&system, wish(&system)).await.unwrap();
    let second = place(&system, wish(&system)).await.unwrap();
    let provider = |lease: &Lease| lease.target().endpoint.provider.to_string();
    let only = [provider(&first)];
    let only = Demand::default().and(&Demands {
        providers: Some(&only),
        ..Demands::default()
    });
    let (told, mut heard) = tokio::sync::mpsc::unbounded_channel();
    let choosy = Wish {
        demand: Some(Arc::new(only)),
        ..patient(&system, "choosy", 1)
    };
    tokio::spawn(served(Arc::clone(&system), choosy, told.clone()));
    tokio::time::sleep(Duration::from_millis(1)).await;
    tokio::spawn(served(
        Arc::clone(&system),
        patient(&system, "other", 1),
        told.clone(),
    ));
    tokio::time::sleep(Duration::from_millis(1)).await;
    drop(second);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(heard.try_recv().as_deref(), Ok("other"));
    drop(first);
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(heard.try_recv().as_deref(), Ok("choosy"));
}

#[tokio::test(start_paused = true)]
async fn p10_five_failures_block_an_endpoint_and_one_probe_brings_it_back() {
    let (system, _root, _) = system(None).await;
    let fail = |lease: &mut Lease| {
        lease.sent();
        lease.failed(FailedAttempt::plain(AttemptOutcome::ServerError));
    };
    let mut blocked = None;
    for _ in 0..200 {
        let mut lease = place(&system, wish(&system)).await.unwrap();
        if lease.target().endpoint.provider.as_str() == "a" {
            fail(&mut lease);
            tokio::task::yield_now().await;
            tokio::time::advance(Duration::from_millis(1)).await;
            if lease.target().endpoint.breaker().label() == "blocked" {
                blocked = Some(Arc::clone(&lease.target().endpoint));
                break;
            }
        } else {
            lease.sent();
            lease.succeeded(Some(&Usage::default()));
        }
    }
    let endpoint = blocked.expect("the breaker never blocked");
    for _ in 0..20 {
        let lease = place(&system, wish(&system)).await.unwrap();
        assert_eq!(lease.target().endpoint.provider.as_str(), "b");
    }
    tokio::time::advance(Duration::from_secs(2)).await;
    let mut probe = place(&system, wish(&system)).await.unwrap();
    assert!(probe.is_probe() && probe.target().endpoint.provider.as_str() == "a");
    for _ in 0..5 {
        assert!(
            !place(&system, wish(&system)).await.unwrap().is_probe(),
            "one probe per blocked period"
        );
    }
    probe.sent();
    probe.succeeded(None);
    drop(probe);
    tokio::time::advance(Duration::from_millis(5)).await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert_eq!(endpoint.breaker().label(), "passing");
}

#[tokio::test(start_paused = true)]
async fn p34_in_panic_whoever_answers_again_is_asked_and_nobody_is_thrown_at_the_rest() {
    let (system, _root, _) = three().await;
    let (mut well, mut ill) = (0, 0);
    // All are down, long enough for panic; then `a` is back, and the others are not.
    for turn in 0..1_200 {
        tokio::time::advance(Duration::from_millis(10)).await;
        let Ok(mut lease) = place(&system, wish(&system)).await else {
            continue;
        };
        lease.sent();
        let is_a = lease.target().endpoint.provider.as_str() == "a";
        if turn >= 300 && is_a {
            lease.succeeded(Some(&Usage::default()));
        } else {
            lease.failed(FailedAttempt::plain(AttemptOutcome::ServerError));
        }
        if turn >= 800 {
            well += u32::from(is_a);
            ill += u32::from(!is_a);
        }
        drop(lease);
        tokio::task::yield_now().await;
    }
    // In the four seconds from the fifth on; a probe of each of the others may be among them.
    assert!(well >= 380 && ill <= 4, "{well} went well, {ill} did not");
}

#[tokio::test(start_paused = true)]
async fn k01_a_refused_key_is_asked_about_again_and_returns() {
    let (system, _root, probe) = system(None).await;
    let mut lease = place(&system, wish(&system)).await.unwrap();
    let key = Arc::clone(&lease.target().key);
    lease.sent();
    lease.failed(FailedAttempt::plain(AttemptOutcome::Auth));
    drop(lease);
    tokio::time::advance(Duration::from_millis(5)).await;
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
    assert!(key.quarantine.left(system.clock.now()).is_some());
    for _ in 0..10 {
        let lease = place(&system, wish(&system)).await.unwrap();
        assert!(!Arc::ptr_eq(&lease.target().key, &key));
    }
    tokio::time::sleep(Duration::from_secs(601)).await;
    assert!(probe.0.load(Ordering::Relaxed) >= 1);
    assert!(key.quarantine.left(system.clock.now()).is_none());
}

#[tokio::test(start_paused = true)]
async fn x02_a_crashed_pool_is_back_within_ten_milliseconds_with_its_windows() {
    let (system, _root, _) = system(Some(1)).await;
    for _ in 0..2 {
        place(&system, wish(&system)).await.unwrap().sent();
    }
    assert!(system.inject("root/pools/p", InjectedFault::Panic));
    let began = Instant::now();
    let refusal = place(&system, wish(&system)).await.unwrap_err();
    assert_eq!(
        refusal.why,
        RefusalKind::Limited,
        "the window was forgotten"
    );
    assert!(
        began.elapsed() <= Duration::from_millis(10),
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn x02_who_waits_in_line_outlives_one_crash_after_another() {
    let (system, _root, _) = system(Some(1)).await;
    for _ in 0..2 {
        place(&system, wish(&system)).await.unwrap().sent();
    }
    tokio::time::advance(Duration::from_secs(55)).await;
    let mut patient = wish(&system);
    patient.patience = Patience::Queue;
    let waits = place(&system, patient);
    let crashes = async {
        for _ in 0..2 {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(system.inject("root/pools/p", InjectedFault::Panic));
        }
    };
    let (placed, ()) = tokio::join!(waits, crashes);
    assert!(placed.is_ok(), "{:?}", placed.map(drop));
}

#[tokio::test(start_paused = true)]
async fn x05_a_hanging_actor_is_killed_by_the_watchdog() {
    let (system, _root, _) = system(None).await;
    assert!(system.inject("root/pools/p", InjectedFault::Hang));
    tokio::time::sleep(Duration::from_secs(9)).await;
    assert!(place(&system, wish(&system)).await.is_ok());
    let seat = system
        .tables
        .seats()
        .into_iter()
        .find(|seat| seat.path() == "root/pools/p")
        .unwrap();
    assert_eq!(seat.restarts(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_tree_stops_when_told() {
    let (system, root, _) = system(None).await;
    root.stop(Duration::from_secs(5)).await;
    let running = system
        .tables
        .seats()
        .into_iter()
        .filter(|seat| seat.kind() != ActorKind::Root && seat.state() == SeatState::Running)
        .count();
    assert_eq!(running, 0);
}
