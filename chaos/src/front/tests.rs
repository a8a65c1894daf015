//! Each fault seen by a client of the front, on the wire.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::Request;
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject as _};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::*;
use crate::client::Client;
use crate::fault;
use crate::mock::{Behaviour, Dialect, Leaving, MockOptions, MockProvider, Step, Weather};

const HOST: &str = "alpha.mock.test";
const SOON: Duration = Duration::from_secs(5);

struct World {
    authority: Authority,
    mock: MockProvider,
    front: Front,
}

impl World {
    async fn new(speaks: Speaks) -> Self {
        let authority = Authority::new().unwrap();
        let options = MockOptions::for_dialect(Dialect::OpenAi);
        let mock = MockProvider::start(options).await.unwrap();
        let front = Front::start(speaks, &authority, HOST, mock.address());
        let front = front.await.unwrap();
        Self {
            authority,
            mock,
            front,
        }
    }

    async fn shake(&self, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        let pem = self.authority.pem();
        let root = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        roots.add(root).unwrap();
        let crypto = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = ClientConfig::builder_with_provider(crypto)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        config.alpn_protocols = protocols.iter().map(|one| one.as_bytes().into()).collect();
        let stream = TcpStream::connect(self.front.address()).await.unwrap();
        let name = ServerName::try_from(HOST).unwrap();
        TlsConnector::from(Arc::new(config))
            .connect(name, stream)
            .await
    }

    async fn h2(&self) -> SendRequest<Bytes> {
        let stream = self.shake(&["h2", "http/1.1"]).await.unwrap();
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let (sender, connection) = h2::client::handshake(stream).await.unwrap();
        tokio::spawn(connection);
        sender.ready().await.unwrap()
    }
}

fn body() -> Bytes {
    Bytes::from(Dialect::OpenAi.sample_request("hi", true).to_string())
}

fn ask(sender: &mut SendRequest<Bytes>) -> ResponseFuture {
    let uri = format!("https://{HOST}/v1/chat/completions");
    let request = Request::post(uri).header("x-test", "1").body(()).unwrap();
    let (answer, mut sending) = sender.send_request(request, false).unwrap();
    sending.send_data(body(), true).unwrap();
    answer
}

/// The whole text of an answer, or the reason why its stream was reset.
async fn read(answer: ResponseFuture) -> Result<String, Option<Reason>> {
    let reading = async {
        let answer = answer.await.map_err(|error| error.reason())?;
        assert_eq!(answer.status(), 200);
        let mut body = answer.into_body();
        let mut text = Vec::new();
        while let Some(piece) = body.data().await {
            let piece = piece.map_err(|error| error.reason())?;
            body.flow_control().release_capacity(piece.len()).unwrap();
            text.extend_from_slice(&piece);
        }
        Ok(String::from_utf8(text).unwrap())
    };
    timeout(SOON, reading).await.unwrap()
}

#[tokio::test]
async fn a_healthy_answer_comes_whole_through_every_front() {
    let plain = World::new(Speaks::Plain).await;
    let mut client = Client::connect(plain.front.address()).await.unwrap();
    let asked = Dialect::OpenAi.sample_request("hi", true);
    let answer = client.post_json("/v1/chat/completions", &[], &asked).await;
    assert_eq!(answer.unwrap().status(), 200);

    let tls = World::new(Speaks::Tls).await;
    let mut stream = tls.shake(&["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let fields = [("connection".to_owned(), "close".to_owned())];
    let request = crate::client::request_bytes(
        tls.front.address(),
        "POST",
        "/v1/chat/completions",
        &fields,
        &body(),
    );
    stream.write_all(&request).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    assert!(text.contains("[DONE]"), "{text}");

    let h2 = World::new(Speaks::H2).await;
    let mut sender = h2.h2().await;
    let (one, other) = (ask(&mut sender), ask(&mut sender));
    let (one, other) = tokio::join!(read(one), read(other));
    assert!(one.unwrap().contains("[DONE]") && other.unwrap().contains("[DONE]"));
    assert_eq!(h2.mock.requests(), 2);
    let seen = h2.mock.last().unwrap().asked;
    assert_eq!(crate::http1::field(&seen.fields, "x-test"), Some("1"));
    assert_eq!(
        (seen.body.clone(), seen.path.as_str()),
        (body(), "/v1/chat/completions")
    );
    assert_eq!(h2.front.met(), 0);
}

#[tokio::test]
async fn n05_handshakes_that_must_not_be_trusted_are_shown_on_the_wire() {
    let world = World::new(Speaks::H2).await;
    for fault in [
        TlsFault::Expired,
        TlsFault::OtherName,
        TlsFault::UnknownAuthority,
        TlsFault::Old,
        TlsFault::Alert,
        TlsFault::Close,
    ] {
        let before = world.front.met();
        world.front.fault(Some(FrontFault::Tls(fault)));
        let error = timeout(SOON, world.shake(&["h2"])).await.unwrap();
        let error = error.map(drop).unwrap_err();
        let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
        let told = match (fault, inner) {
            (TlsFault::Expired, Some(rustls::Error::InvalidCertificate(why))) => matches!(
                why,
                CertificateError::Expired | CertificateError::ExpiredContext { .. }
            ),
            (TlsFault::OtherName, Some(rustls::Error::InvalidCertificate(why))) => matches!(
                why,
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. }
            ),
            (TlsFault::UnknownAuthority, Some(rustls::Error::InvalidCertificate(why))) => {
                *why == CertificateError::UnknownIssuer || *why == CertificateError::BadSignature
            }
            (TlsFault::Old, Some(rustls::Error::AlertReceived(alert))) => {
                *alert == AlertDescription::ProtocolVersion
            }
            (TlsFault::Alert, Some(rustls::Error::AlertReceived(alert))) => {
                *alert == AlertDescription::HandshakeFailure
            }
            (TlsFault::Close, None) => error.kind() == std::io::ErrorKind::UnexpectedEof,
            _ => false,
        };
        assert!(told, "{fault:?}: {error:?}");
        assert_eq!(world.front.met(), before + 1, "{fault:?}");
    }
    world.front.fault(None);
    assert!(world.shake(&["h2"]).await.is_ok());
    assert_eq!(world.mock.requests(), 0);
}

#[tokio::test]
async fn n04_a_handshake_that_hangs_says_nothing_until_the_fault_is_over() {
    let world = World::new(Speaks::Tls).await;
    world.front.fault(Some(FrontFault::Tls(TlsFault::Silent)));
    let shake = world.shake(&["http/1.1"]);
    tokio::pin!(shake);
    let silent = timeout(Duration::from_millis(200), &mut shake).await;
    assert!(silent.is_err(), "{silent:?}");
    assert_eq!(world.front.met(), 1);
    world.front.fault(None);
    assert!(timeout(SOON, shake).await.unwrap().is_err(), "it is reset");
}

#[tokio::test]
async fn n10_a_stream_is_refused_with_the_reason_that_was_asked_for() {
    let world = World::new(Speaks::H2).await;
    let mut sender = world.h2().await;
    for (fault, reason) in [
        (H2Fault::Refused, Reason::REFUSED_STREAM),
        (H2Fault::Calm, Reason::ENHANCE_YOUR_CALM),
        (H2Fault::Internal, Reason::INTERNAL_ERROR),
    ] {
        world.front.fault(Some(FrontFault::H2(fault, 1.0)));
        assert_eq!(read(ask(&mut sender)).await, Err(Some(reason)));
    }
    // One that was refused was not looked at; the others may have been worked on.
    assert_eq!((world.front.met(), world.mock.requests()), (3, 2));
    world.front.fault(None);
    assert!(read(ask(&mut sender)).await.is_ok(), "the same connection");
}

#[tokio::test]
async fn n10_a_share_of_streams_meets_the_fault() {
    let world = World::new(Speaks::H2).await;
    world
        .front
        .fault(Some(FrontFault::H2(H2Fault::Refused, 0.3)));
    let mut sender = world.h2().await;
    let mut refused = 0;
    for _ in 0..100 {
        refused += u64::from(read(ask(&mut sender)).await.is_err());
    }
    assert!(
        (15..45).contains(&refused),
        "{refused} of 100 for a share of 0.3"
    );
    assert_eq!(world.front.met(), refused);
}

#[tokio::test]
async fn n09_a_goaway_below_a_stream_disowns_it_and_what_was_under_way_is_finished() {
    let world = World::new(Speaks::H2).await;
    let slow = Weather::default().gap(Duration::from_millis(20));
    world.mock.set(Behaviour::from(slow));
    let mut sender = world.h2().await;
    let under_way = tokio::spawn(read(ask(&mut sender)));
    assert!(world.mock.wait_for(1, SOON).await);
    world
        .front
        .fault(Some(FrontFault::H2(H2Fault::GoAway, 1.0)));
    let disowned = ask(&mut sender).await.map(drop).unwrap_err();
    assert!(
        disowned.is_go_away() && disowned.is_remote(),
        "{disowned:?}"
    );
    assert!(under_way.await.unwrap().unwrap().contains("[DONE]"));
    assert_eq!((world.front.met(), world.mock.requests()), (1, 1));
}

#[tokio::test]
async fn n09_a_goaway_behind_a_stream_lets_it_end() {
    let world = World::new(Speaks::H2).await;
    world
        .front
        .fault(Some(FrontFault::H2(H2Fault::GoAwayAfter, 1.0)));
    let mut sender = world.h2().await;
    assert!(read(ask(&mut sender)).await.unwrap().contains("[DONE]"));
    let gone = timeout(SOON, sender.ready()).await.unwrap();
    assert!(gone.is_err());
    assert_eq!((world.front.met(), world.mock.requests()), (1, 1));
}

#[tokio::test]
async fn n11_one_stream_at_a_time_is_announced() {
    let world = World::new(Speaks::H2).await;
    world
        .front
        .fault(Some(FrontFault::H2(H2Fault::OneStream, 1.0)));
    let mut sender = world.h2().await;
    assert!(read(ask(&mut sender)).await.is_ok());
    assert_eq!(sender.current_max_send_streams(), 1);
    assert_eq!(world.front.met(), 1);
}

#[tokio::test]
async fn n11_a_window_that_stays_shut_takes_no_body() {
    let world = World::new(Speaks::H2).await;
    world
        .front
        .fault(Some(FrontFault::H2(H2Fault::ShutWindow, 1.0)));
    let mut sender = world.h2().await;
    // The first of a connection may leave before the settings have come.
    let _ = timeout(Duration::from_millis(200), ask(&mut sender)).await;
    let before = (world.front.met(), world.mock.requests());
    let answer = timeout(Duration::from_millis(300), read(ask(&mut sender))).await;
    assert!(answer.is_err(), "{answer:?}");
    assert_eq!(
        (world.front.met(), world.mock.requests()),
        (before.0 + 1, before.1)
    );
}

#[tokio::test]
async fn n13_pings_stay_unanswered_while_requests_are_served() {
    let world = World::new(Speaks::H2).await;
    world
        .front
        .fault(Some(FrontFault::H2(H2Fault::NoPong, 1.0)));
    let stream = world.shake(&["h2"]).await.unwrap();
    let (mut sender, mut connection) = h2::client::handshake(stream).await.unwrap();
    let mut pings = connection.ping_pong().unwrap();
    tokio::spawn(connection);
    assert!(read(ask(&mut sender)).await.is_ok());
    let pong = timeout(Duration::from_millis(200), pings.ping(h2::Ping::opaque())).await;
    assert!(pong.is_err());
    assert_eq!(world.front.met(), 1);
}

#[tokio::test]
async fn a_front_that_does_not_speak_h2_any_more_says_so_in_the_handshake() {
    let world = World::new(Speaks::H2).await;
    world
        .front
        .fault(Some(FrontFault::H2(H2Fault::NotSpoken, 1.0)));
    let stream = world.shake(&["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    assert_eq!(world.front.met(), 1);
}

#[tokio::test]
async fn connections_that_are_retired_finish_what_is_under_way() {
    let world = World::new(Speaks::H2).await;
    let slow = Weather::default().gap(Duration::from_millis(20));
    world.mock.set(Behaviour::from(slow));
    let mut sender = world.h2().await;
    let under_way = tokio::spawn(read(ask(&mut sender)));
    assert!(world.mock.wait_for(1, SOON).await);
    let fault = FrontFault::H2(H2Fault::OneStream, 1.0);
    world.front.fault(Some(fault));
    assert!(under_way.await.unwrap().unwrap().contains("[DONE]"));
    assert!(timeout(SOON, sender.ready()).await.unwrap().is_err());
    let mut fresh = world.h2().await;
    assert!(read(ask(&mut fresh)).await.is_ok());
    assert_eq!(world.front.met(), 1);
}

#[tokio::test]
async fn a_reset_goes_through_in_both_directions() {
    let world = World::new(Speaks::H2).await;
    let mut sender = world.h2().await;
    world
        .mock
        .script(vec![fault::s09(3), Behaviour::steps(vec![Step::Hold])]);
    assert_eq!(
        read(ask(&mut sender)).await,
        Err(Some(Reason::INTERNAL_ERROR))
    );
    let given_up = ask(&mut sender);
    assert!(world.mock.wait_for(2, SOON).await);
    drop(given_up);
    let left = world
        .mock
        .wait_for_close(2, SOON)
        .await
        .unwrap()
        .left
        .unwrap();
    assert_eq!(left.1, Leaving::Fin);
    // In plain, a reset stays a reset.
    let plain = World::new(Speaks::Plain).await;
    plain.mock.set(fault::n06());
    let mut client = Client::connect(plain.front.address()).await.unwrap();
    client.patience(SOON);
    let asked = Dialect::OpenAi.sample_request("hi", true);
    assert!(
        client
            .post_json("/v1/chat/completions", &[], &asked)
            .await
            .is_err()
    );
}

#[tokio::test]
async fn n01_a_front_that_moves_leaves_nobody_behind() {
    let world = World::new(Speaks::Plain).await;
    let old = world.front.address();
    let mut warm = TcpStream::connect(old).await.unwrap();
    world.front.move_to(IpAddr::from([127, 0, 0, 2])).unwrap();
    let read = timeout(SOON, warm.read(&mut [0; 1])).await.unwrap();
    assert!(read.is_err() || matches!(read, Ok(0)));
    assert!(TcpStream::connect(old).await.is_err());
    assert_eq!(world.front.address().port(), old.port());
    assert!(TcpStream::connect(world.front.address()).await.is_ok());
    let new = world.front.address();
    let mut client = Client::connect(new).await.unwrap();
    world.front.move_gently(old.ip()).unwrap();
    assert!(TcpStream::connect(old).await.is_ok());
    let asked = Dialect::OpenAi.sample_request("hi", true);
    let served_on = client.post_json("/v1/chat/completions", &[], &asked).await;
    assert_eq!(served_on.unwrap().status(), 200);
    assert!(TcpStream::connect(new).await.is_err());
}
