//! Faults of what stands before a mock: handshakes, HTTP/2, names.

use super::made::{Key, Made, Primitive, Terms};
use crate::front::{FrontFault, H2Fault, NamesFault, TlsFault};

const AT_FRONT: &[Key] = &[Key::On];
/// A share of streams, or of connections.
const OF_STREAMS: &[Key] = &[Key::On, Key::Share];

const fn primitive(
    name: &'static str,
    what: &'static str,
    keys: &'static [Key],
    make: fn(&Terms) -> Result<Made, String>,
) -> Primitive {
    Primitive {
        name,
        what,
        keys,
        make,
    }
}

macro_rules! tls {
    ($name:literal, $fault:ident, $what:literal) => {
        primitive($name, $what, AT_FRONT, |_| {
            Ok(Made::Front(FrontFault::Tls(TlsFault::$fault)))
        })
    };
}

macro_rules! h2 {
    ($name:literal, $fault:ident, $what:literal) => {
        primitive($name, $what, OF_STREAMS, |terms| {
            Ok(Made::Front(FrontFault::H2(H2Fault::$fault, terms.share)))
        })
    };
}

macro_rules! dns {
    ($name:literal, $fault:ident, $what:literal) => {
        primitive($name, $what, AT_FRONT, |_| {
            Ok(Made::Names(NamesFault::$fault))
        })
    };
}

pub(super) const PRIMITIVES: &[Primitive] = &[
    tls!(
        "tls_expired",
        Expired,
        "every handshake shows a certificate that has expired (front = \"tls\" or \"h2\")"
    ),
    tls!(
        "tls_other_name",
        OtherName,
        "every handshake shows a certificate of another name"
    ),
    tls!(
        "tls_unknown_ca",
        UnknownAuthority,
        "every handshake shows a certificate that nobody trusted has signed"
    ),
    tls!(
        "tls_old",
        Old,
        "the provider knows nothing later than TLS 1.1"
    ),
    tls!("tls_silent", Silent, "silence after the client's hello"),
    tls!("tls_alert", Alert, "every handshake ends in a fatal alert"),
    tls!(
        "tls_close",
        Close,
        "the connection is closed after the client's hello"
    ),
    h2!(
        "h2_goaway",
        GoAway,
        "GOAWAY below the request's stream: it was not looked at (front = \"h2\")"
    ),
    h2!(
        "h2_goaway_after",
        GoAwayAfter,
        "GOAWAY with the request's stream: it is answered, the connection ends"
    ),
    h2!("h2_refused", Refused, "RST_STREAM with REFUSED_STREAM"),
    h2!("h2_calm", Calm, "RST_STREAM with ENHANCE_YOUR_CALM"),
    h2!("h2_internal", Internal, "RST_STREAM with INTERNAL_ERROR"),
    h2!(
        "h2_one_stream",
        OneStream,
        "connections that allow one stream at a time"
    ),
    h2!(
        "h2_shut_window",
        ShutWindow,
        "connections that never open a window for a request's body"
    ),
    h2!(
        "h2_no_pong",
        NoPong,
        "connections on which no ping is answered"
    ),
    h2!(
        "h2_not_spoken",
        NotSpoken,
        "handshakes in which ALPN chooses HTTP/1.1"
    ),
    dns!(
        "dns_servfail",
        Trouble,
        "the name server answers SERVFAIL (named = true)"
    ),
    dns!(
        "dns_nxdomain",
        NoSuchName,
        "the name server answers that there is no such name"
    ),
    dns!("dns_silent", Silent, "the name server does not answer"),
    dns!("dns_empty", Empty, "the name has no address"),
    dns!(
        "dns_moved",
        Moved,
        "the name has another address, and nobody is at the old one"
    ),
    dns!(
        "dns_dead_first",
        DeadFirst,
        "the name has two addresses, and nobody is at the first"
    ),
];
