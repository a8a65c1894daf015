//! N01 over loopback sockets, with a name server that says what the test wants.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwap;
use tokio::net::TcpListener;
use tokio::time::advance;

use super::*;
use crate::upstream::connect::{Connector, ConnectorOptions, Link, Place};
use crate::upstream::pool::{PING_EVERY, Pool, Way};

const ONE: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 1));
const TWO: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));

/// What a name server says.
#[derive(Clone, Copy, Debug)]
enum Says {
    Address(IpAddr),
    /// The same, to be believed for so long.
    Briefly(IpAddr, Duration),
    NoSuchName,
    Nothing,
}

#[derive(Debug)]
struct FakeResolver {
    says: ArcSwap<Says>,
    asked: AtomicUsize,
}

impl FakeResolver {
    fn new(says: Says) -> Arc<Self> {
        Arc::new(Self {
            says: ArcSwap::from_pointee(says),
            asked: AtomicUsize::new(0),
        })
    }

    fn say(&self, says: Says) {
        self.says.store(Arc::new(says));
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

impl Resolve for FakeResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> BoxFuture<'a, io::Result<Found>> {
        assert_eq!(host, "provider.example");
        self.asked.fetch_add(1, Ordering::SeqCst);
        let says = **self.says.load();
        Box::pin(async move {
            let found = |address, serves_for| Found {
                addresses: vec![address],
                serves_for,
            };
            match says {
                Says::Address(address) => Ok(found(address, None)),
                Says::Briefly(address, time) => Ok(found(address, Some(time))),
                Says::NoSuchName => Err(io::ErrorKind::NotFound.into()),
                Says::Nothing => std::future::pending().await,
            }
        })
    }
}

fn connector(resolver: &Arc<FakeResolver>, port: u16) -> Connector {
    let crypto = Arc::new(rustls::crypto::ring::default_provider());
    let tls_config = rustls::ClientConfig::builder_with_provider(crypto)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Connector::new(ConnectorOptions {
        place: Place {
            secure: false,
            host: "provider.example".to_owned(),
            port,
        },
        connect: Duration::from_secs(3),
        tls: Duration::from_secs(5),
        dns: Duration::from_secs(2),
        allow_private_address: true,
        resolver: Arc::clone(resolver) as Arc<dyn Resolve>,
        proxy: None,
        judged: None,
        tls_config: Arc::new(tls_config),
    })
}

/// The address a connection leads to, or why there is none.
async fn reached(connector: &Connector) -> Result<IpAddr, ConnectFault> {
    match connector.connect().await? {
        Link::Plain(stream) => Ok(stream.peer_addr().unwrap().ip()),
        Link::Tls(_) => panic!("TLS was not asked for"),
    }
}

async fn listen_on(address: IpAddr, port: u16) -> TcpListener {
    TcpListener::bind(SocketAddr::new(address, port))
        .await
        .unwrap()
}

/// Time passes without anything happening in it.
async fn pass(time: Duration) {
    tokio::time::pause();
    advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn n01_a_name_nobody_knows_is_a_dns_failure_and_is_asked_for_again() {
    let at_one = listen_on(ONE, 0).await;
    let resolver = FakeResolver::new(Says::NoSuchName);
    let connector = connector(&resolver, at_one.local_addr().unwrap().port());
    assert_eq!(reached(&connector).await, Err(ConnectFault::Dns));
    resolver.say(Says::Address(ONE));
    assert_eq!(reached(&connector).await, Ok(ONE));
    assert_eq!(resolver.asked(), 2);
    // A fresh answer is not asked for again.
    assert_eq!(reached(&connector).await, Ok(ONE));
    assert_eq!(resolver.asked(), 2);
}

#[tokio::test(start_paused = true)]
async fn n01_a_name_server_that_says_nothing_is_waited_for_two_seconds() {
    let resolver = FakeResolver::new(Says::Nothing);
    let connector = connector(&resolver, 9);
    let begun = Instant::now();
    assert_eq!(reached(&connector).await, Err(ConnectFault::Dns));
    let waited = begun.elapsed();
    let limit = Duration::from_secs(2)..Duration::from_millis(2_010);
    assert!(limit.contains(&waited), "{waited:?}");
}

#[tokio::test]
async fn n01_when_lookups_fail_the_last_good_address_serves() {
    let at_one = listen_on(ONE, 0).await;
    let resolver = FakeResolver::new(Says::Address(ONE));
    let connector = connector(&resolver, at_one.local_addr().unwrap().port());
    assert_eq!(reached(&connector).await, Ok(ONE));
    resolver.say(Says::NoSuchName);
    pass(FRESH).await;
    assert_eq!(reached(&connector).await, Ok(ONE));
    assert_eq!(resolver.asked(), 2);
    // Nobody waits for the name server again so soon after it failed.
    assert_eq!(reached(&connector).await, Ok(ONE));
    assert_eq!(resolver.asked(), 2);
    pass(AFTER_VAIN).await;
    assert_eq!(reached(&connector).await, Ok(ONE));
    assert_eq!(resolver.asked(), 3);
    // It is well again, and the name has moved.
    let at_two = listen_on(TWO, at_one.local_addr().unwrap().port()).await;
    resolver.say(Says::Address(TWO));
    pass(AFTER_VAIN).await;
    assert_eq!(reached(&connector).await, Ok(TWO));
    drop(at_two);
}

#[tokio::test]
async fn n01_an_address_older_than_an_hour_does_not_serve() {
    let at_one = listen_on(ONE, 0).await;
    let resolver = FakeResolver::new(Says::Address(ONE));
    let connector = connector(&resolver, at_one.local_addr().unwrap().port());
    assert_eq!(reached(&connector).await, Ok(ONE));
    resolver.say(Says::NoSuchName);
    pass(LAST_GOOD - Duration::from_secs(1)).await;
    assert_eq!(reached(&connector).await, Ok(ONE));
    // Having been asked for in vain makes no address younger.
    pass(Duration::from_secs(1)).await;
    assert_eq!(reached(&connector).await, Err(ConnectFault::Dns));
}

#[tokio::test]
async fn n01_when_the_known_address_dies_the_next_dial_looks_up_anew() {
    let at_one = listen_on(ONE, 0).await;
    let port = at_one.local_addr().unwrap().port();
    let resolver = FakeResolver::new(Says::Address(ONE));
    let connector = connector(&resolver, port);
    assert_eq!(reached(&connector).await, Ok(ONE));
    let at_two = listen_on(TWO, port).await;
    drop(at_one);
    resolver.say(Says::Address(TWO));
    // Younger than a minute, so it is still believed, once.
    assert_eq!(reached(&connector).await, Err(ConnectFault::Connect));
    assert_eq!(reached(&connector).await, Ok(TWO));
    assert_eq!(resolver.asked(), 2);
    drop(at_two);
}

#[tokio::test]
async fn n01_a_name_that_moves_is_followed_within_a_minute_while_the_old_address_still_answers() {
    let at_one = listen_on(ONE, 0).await;
    let port = at_one.local_addr().unwrap().port();
    let at_two = listen_on(TWO, port).await;
    let resolver = FakeResolver::new(Says::Address(ONE));
    let connector = connector(&resolver, port);
    assert_eq!(reached(&connector).await, Ok(ONE));
    resolver.say(Says::Address(TWO));
    pass(Duration::from_secs(59)).await;
    assert_eq!(reached(&connector).await, Ok(ONE));
    pass(Duration::from_secs(1)).await;
    assert_eq!(reached(&connector).await, Ok(TWO));
    drop((at_one, at_two));
}

#[tokio::test]
async fn n01_a_name_is_asked_for_again_when_its_server_says_so_but_not_all_the_time() {
    for (told, held) in [(10, 10), (0, 1), (86_400, 60)] {
        let at_one = listen_on(ONE, 0).await;
        let port = at_one.local_addr().unwrap().port();
        let at_two = listen_on(TWO, port).await;
        let resolver = FakeResolver::new(Says::Briefly(ONE, Duration::from_secs(told)));
        let connector = connector(&resolver, port);
        assert_eq!(reached(&connector).await, Ok(ONE));
        resolver.say(Says::Address(TWO));
        pass(Duration::from_millis(held * 1_000 - 100)).await;
        assert_eq!(reached(&connector).await, Ok(ONE), "{told}");
        pass(Duration::from_millis(100)).await;
        assert_eq!(reached(&connector).await, Ok(TWO), "{told}");
        drop(at_two);
    }
}

#[tokio::test]
async fn n01_a_dead_provider_does_not_hide_behind_a_dead_name_server() {
    let at_one = listen_on(ONE, 0).await;
    let resolver = FakeResolver::new(Says::Address(ONE));
    let connector = connector(&resolver, at_one.local_addr().unwrap().port());
    assert_eq!(reached(&connector).await, Ok(ONE));
    drop(at_one);
    resolver.say(Says::NoSuchName);
    for _ in 0..5 {
        assert_eq!(reached(&connector).await, Err(ConnectFault::Connect));
    }
    // Doubted once; a name server known to be ill is not asked after each failure.
    assert_eq!(resolver.asked(), 2);
}

#[tokio::test]
async fn n01_no_connection_is_used_for_longer_than_ten_minutes() {
    let at_one = listen_on(ONE, 0).await;
    let resolver = FakeResolver::new(Says::Address(ONE));
    let pool = Pool::new(
        connector(&resolver, at_one.local_addr().unwrap().port()),
        PING_EVERY,
    );
    let mut ages = Vec::new();
    for _ in 0..8 {
        let Way::Line(mut line) = pool.open().await.unwrap() else {
            panic!("HTTP/2 was not asked for");
        };
        tokio::time::pause();
        let begun = Instant::now();
        // In use all the time, so that it never rests for too long.
        while line.is_fresh(Duration::from_secs(60)) {
            advance(Duration::from_secs(1)).await;
        }
        let age = begun.elapsed();
        tokio::time::resume();
        assert!(
            (Duration::from_secs(475)..=Duration::from_secs(600)).contains(&age),
            "{age:?}"
        );
        ages.push(age.as_secs());
    }
    ages.dedup();
    assert!(ages.len() > 1, "all end at the same moment: {ages:?}");
}
