//! Section 2: network faults, as far as a plain TCP server can make them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use tokio::net::{TcpListener, TcpSocket, TcpStream};

use super::{Reach, Row, Variant, answer, elsewhere, variant};
use crate::mock::{After, Behaviour, Dialect, Door, Ending, Form, Healthy, Step, edit};

pub(super) const ROWS: &[Row] = &[
    Row {
        number: "N01",
        what: "name lookup fails or moves",
        reach: Reach::By(&[
            "dns_servfail",
            "dns_nxdomain",
            "dns_silent",
            "dns_empty",
            "dns_moved",
            "dns_dead_first",
        ]),
    },
    elsewhere(
        "N02",
        "name lookup lies",
        "a name that resolves to a private address without allow_private_address, which every mock has",
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
    Row {
        number: "N05",
        what: "TLS certificate or version wrong",
        reach: Reach::By(&[
            "tls_expired",
            "tls_other_name",
            "tls_unknown_ca",
            "tls_old",
            "tls_alert",
            "tls_close",
        ]),
    },
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
    Row {
        number: "N09",
        what: "GOAWAY",
        reach: Reach::By(&["h2_goaway", "h2_goaway_after"]),
    },
    Row {
        number: "N10",
        what: "HTTP/2 stream refused",
        reach: Reach::By(&["h2_refused", "h2_calm", "h2_internal"]),
    },
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
        "S08 for the silence, h2_no_pong for pings; lost packets need a firewall or a simulated network",
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
