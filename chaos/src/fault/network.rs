//! Section 2: network faults, as far as a plain TCP server can make them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Reach, Row, Variant, answer, elsewhere, variant};
use crate::mock::{After, Behaviour, Dialect, Door, Ending, Form, Healthy, Step, edit};

pub(super) const ROWS: &[Row] = &[
    elsewhere(
        "N01",
        "name lookup fails or moves",
        "a resolver under the test's control",
    ),
    elsewhere(
        "N02",
        "name lookup lies",
        "a resolver under the test's control",
    ),
    Row {
        number: "N03",
        what: "refused, or a black hole (see `BlackHole`)",
        reach: Reach::Door(&[Door::Refusing]),
    },
    Row {
        number: "N04",
        what: "TLS stall: silence after the hello",
        reach: Reach::Door(&[Door::Silent]),
    },
    elsewhere(
        "N05",
        "TLS certificate or version wrong",
        "a TLS listener with a bad certificate",
    ),
    answer("N06", "reset before the answer", |_| {
        vec![variant("reset", n06())]
    }),
    answer("N07", "reset inside the body", |_| {
        vec![variant("half", n07(50)), variant("head_only", n07(0))]
    }),
    answer("N08", "stale keep-alive", |_| {
        vec![
            variant("fin_on_reuse", n08(After::FinOnReuse)),
            variant("reset_on_reuse", n08(After::ResetOnReuse)),
            variant(
                "fin_while_idle",
                n08(After::CloseIdle(Duration::from_millis(20))),
            ),
        ]
    }),
    elsewhere("N09", "GOAWAY", "an HTTP/2 server"),
    elsewhere("N10", "HTTP/2 stream refused", "an HTTP/2 server"),
    Row {
        number: "N11",
        what: "the request body is not read",
        reach: Reach::Door(&[Door::HeadOnly]),
    },
    answer("N12", "thin, sliced link", |_| {
        vec![
            variant("bytewise", n12(1, Duration::ZERO)),
            variant("thin", n12(100, Duration::from_millis(10))),
            variant("three_bytes", n12(3, Duration::ZERO)),
        ]
    }),
    elsewhere(
        "N13",
        "vanished peer",
        "S08 for the silence; lost packets need a firewall or a simulated network",
    ),
    answer("N14", "egress proxy ill", n14),
];

/// RST once the request has been read whole.
#[must_use]
pub fn n06() -> Behaviour {
    Behaviour::steps(vec![Step::Reset])
}

/// RST behind this share (in percent) of a JSON body.
#[must_use]
pub fn n07(percent: usize) -> Behaviour {
    let unary = Healthy {
        form: Form::Unary,
        ..Healthy::default()
    };
    Behaviour::from(unary).edit(edit::cut_document(percent, Ending::Reset))
}

/// A whole answer, and a connection that fails the next request: by FIN while idle (a pool may see that in time),
/// or, made certain, once the next request has been written.
#[must_use]
pub fn n08(after: After) -> Behaviour {
    Behaviour::healthy().then(after)
}

/// A healthy answer in pieces of `bytes`, `gap` apart: 100 bytes every 10 ms are 10 KB/s.
#[must_use]
pub fn n12(bytes: usize, gap: Duration) -> Behaviour {
    Behaviour::healthy().sliced(bytes, gap)
}

/// What an ill proxy answers, be it to `CONNECT` (by a rule) or to a request.
#[must_use]
pub fn n14(_: Dialect) -> Vec<Variant> {
    let denied = "<html><body><h1>Proxy authentication required</h1></body></html>";
    vec![
        variant(
            "407",
            Behaviour::status(407)
                .header("proxy-authenticate", "Basic realm=\"egress\"")
                .body("text/html", denied),
        ),
        variant("html", Behaviour::status(200).body("text/html", denied)),
    ]
}

/// A port on which SYNs vanish: its accept queue is full and nobody accepts (N03, dropped).
///
/// Linux drops a SYN when the queue is full, so a client sees exactly the silence of a black hole.
#[derive(Debug)]
pub struct BlackHole {
    address: SocketAddr,
    _listener: TcpListener,
    _queued: Vec<TcpStream>,
}

impl BlackHole {
    /// # Errors
    /// When no port could be bound, or connections still succeed with the queue as full as it gets.
    pub async fn start() -> io::Result<Self> {
        const MOST: usize = 16;
        let socket = TcpSocket::new_v4()?;
        socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)))?;
        let listener = socket.listen(1)?;
        let address = listener.local_addr()?;
        let mut queued = Vec::new();
        for _ in 0..MOST {
            // On the loopback a handshake takes microseconds: one that takes this long is not answered at all.
            match tokio::time::timeout(Duration::from_millis(100), TcpStream::connect(address))
                .await
            {
                Ok(stream) => queued.push(stream?),
                Err(_) => {
                    return Ok(Self {
                        address,
                        _listener: listener,
                        _queued: queued,
                    });
                }
            }
        }
        Err(io::Error::other(
            "the accept queue does not fill up on this system",
        ))
    }

    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}
