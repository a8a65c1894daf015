//! Fault O05: one tenant asks for many times its share, and the others notice nothing of it.

use std::time::Duration;

use switchyard_chaos::mock::{Behaviour, MockProvider};
use tokio::time::{Instant, sleep};

use crate::frame::{Gateway, PATH, chat, mock};

const TENANTS: &str = "[tenants.noisy]\n[tenants.quiet]\n[[clients]]\nname = \"noisy\"\nkey = \"file:FOLDER/noisy\"\ntenant = \"noisy\"\n[[clients]]\nname = \"quiet\"\nkey = \"file:FOLDER/quiet\"\ntenant = \"quiet\"\n";

/// A provider that serves so many at once, and a gateway that lets in so many.
async fn gateway(a: &MockProvider, at_once: u32, max_in_flight: u32) -> Gateway {
    let config = format!(
        "{TENANTS}[listen]\naddress = \"127.0.0.1:0\"\ndrain_ms = 2000\nmax_in_flight = {max_in_flight}\n[providers.a]\nbase_url = \"{}\"\nallow_private_address = true\nmodels = [\"m-a\"]\nkeys = [{{ name = \"k0\", secret = \"file:FOLDER/a-k0\", concurrency = {at_once} }}]\n[pools.p]\ntargets = [\"a/m-a\"]\nqueue_length = 50\n",
        a.base_url()
    );
    Gateway::start(&config).await
}

/// The status of one request of a tenant's, and how long it took.
async fn ask(gateway: &Gateway, tenant: &str) -> (u16, Duration) {
    let fields = vec![(
        "authorization".to_owned(),
        format!("Bearer sk-canary-{tenant}"),
    )];
    let mut client = gateway.client().await;
    let begun = Instant::now();
    let answer = client.post_json(PATH, &fields, &chat("p")).await.unwrap();
    (answer.status(), begun.elapsed())
}

/// Keeps so many requests of the noisy tenant going until it is dropped.
async fn flood(gateway: &Gateway, at_once: usize) -> (u32, u32) {
    let until = Instant::now() + Duration::from_secs(3);
    let one = || async move {
        let (mut good, mut refused) = (0, 0);
        while Instant::now() < until {
            match ask(gateway, "noisy").await.0 {
                200 => good += 1,
                429 | 503 => {
                    refused += 1;
                    sleep(Duration::from_millis(5)).await;
                }
                other => panic!("{other}"),
            }
        }
        (good, refused)
    };
    let all = futures_util::future::join_all((0..at_once).map(|_| one())).await;
    all.into_iter()
        .fold((0, 0), |sum, one| (sum.0 + one.0, sum.1 + one.1))
}

/// What one after the other of the quiet tenant's requests saw.
async fn quiet(gateway: &Gateway) -> Vec<(u16, Duration)> {
    sleep(Duration::from_millis(500)).await;
    let mut seen = Vec::new();
    for _ in 0..20 {
        seen.push(ask(gateway, "quiet").await);
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o05_in_the_line_a_flood_waits_for_itself_and_is_shed_for_itself() {
    let a = mock("a").await;
    let gateway = gateway(&a, 4, 20_000).await;
    a.set(Behaviour::healthy().delayed(Duration::from_millis(40)));
    let ((good, refused), seen) = tokio::join!(flood(&gateway, 80), quiet(&gateway));
    assert!(good > 50 && refused > 0, "{good} served, {refused} refused");
    let statuses: Vec<u16> = seen.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200; 20]);
    // The line is forty long and served a hundred times a second: behind it, each would wait 400 ms.
    let mut waits: Vec<Duration> = seen.iter().map(|(_, took)| *took).collect();
    waits.sort_unstable();
    assert!(waits[10] < Duration::from_millis(200), "{waits:?}");
    let metrics = gateway.metrics().await;
    let shed = metrics
        .lines()
        .filter(|line| line.starts_with("switchyard_shed_total"));
    let shed: Vec<&str> = shed.collect();
    assert!(!shed.is_empty(), "{metrics}");
    assert!(
        !shed.iter().any(|line| line.contains("within_share")),
        "{shed:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn o05_at_the_door_a_flood_leaves_room_for_who_has_less_than_its_share() {
    let a = mock("a").await;
    let gateway = gateway(&a, 1_000, 32).await;
    a.set(Behaviour::healthy().delayed(Duration::from_millis(100)));
    let ((good, refused), seen) = tokio::join!(flood(&gateway, 80), quiet(&gateway));
    assert!(good > 50 && refused > 0, "{good} served, {refused} refused");
    let statuses: Vec<u16> = seen.iter().map(|(status, _)| *status).collect();
    assert_eq!(statuses, [200; 20]);
    let metrics = gateway.metrics().await;
    let shed = "switchyard_shed_total{lane=\"default\",why=\"in_flight\",tenant_class=";
    assert!(
        metrics.contains(&format!("{shed}\"beyond_share\"")),
        "{metrics}"
    );
    assert!(
        !metrics.contains(&format!("{shed}\"within_share\"")),
        "{metrics}"
    );
}
