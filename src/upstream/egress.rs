//! The way out through an HTTP proxy: CONNECT, and what its answer means (fault N14).
//!
//! # Whose fault
//! A proxy that cannot be reached, refuses us or says what is no answer is ill itself: every provider behind
//! it is cut off, and none of them is to blame. When it says 502, 503 or 504 it speaks of the provider, which
//! it could not reach either; that counts as if we had dialled in vain, so that failover and breakers work
//! through a proxy as they do without one.

use std::fmt::Write as _;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::error::{ConnectFault, EgressFault};
use crate::config::ProxySettings;

/// An answer to CONNECT that is longer is none.
const LARGEST_HEAD: usize = 16 * 1024;
const MOST_FIELDS: usize = 64;

/// Asks for a tunnel; on success everything that follows on the stream is the provider's.
pub(super) async fn tunnel(
    stream: &mut TcpStream,
    proxy: &ProxySettings,
    host: &str,
    port: u16,
) -> Result<(), ConnectFault> {
    let gone = |_| ConnectFault::Egress(EgressFault::Answer);
    stream
        .write_all(request(proxy, host, port).as_bytes())
        .await
        .map_err(gone)?;
    let mut head = Vec::with_capacity(512);
    loop {
        let mut piece = [0; 1_024];
        let read = stream.read(&mut piece).await.map_err(gone)?;
        head.extend_from_slice(piece.get(..read).unwrap_or_default());
        match judged(&head) {
            Answer::More if read > 0 && head.len() < LARGEST_HEAD => {}
            Answer::More => return Err(ConnectFault::Egress(EgressFault::Answer)),
            Answer::Tunnel => return Ok(()),
            Answer::Fault(fault) => return Err(fault),
        }
    }
}

fn request(proxy: &ProxySettings, host: &str, port: u16) -> String {
    let authority = if host.contains(':') {
        format!("[{host}]:{port}")
    } else {
        format!("{host}:{port}")
    };
    let mut head = format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n");
    if let Some(authorization) = &proxy.authorization {
        // Writing to memory cannot fail.
        let _ = write!(head, "proxy-authorization: {}\r\n", authorization.expose());
    }
    head.push_str("\r\n");
    head
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Answer {
    More,
    Tunnel,
    Fault(ConnectFault),
}

/// What the proxy has said so far.
fn judged(head: &[u8]) -> Answer {
    let ill = |fault| Answer::Fault(ConnectFault::Egress(fault));
    let mut fields = [httparse::EMPTY_HEADER; MOST_FIELDS];
    let mut response = httparse::Response::new(&mut fields);
    let length = match response.parse(head) {
        Ok(httparse::Status::Complete(length)) => length,
        Ok(httparse::Status::Partial) => return Answer::More,
        Err(_) => return ill(EgressFault::Answer),
    };
    match response.code.unwrap_or_default() {
        200..=299 => {
            // A tunnel has no body, and the provider speaks only when spoken to: this is a page.
            let is_page = head.len() > length || response.headers.iter().any(announces_a_body);
            if is_page {
                ill(EgressFault::Answer)
            } else {
                Answer::Tunnel
            }
        }
        407 => ill(EgressFault::Auth),
        502..=504 => Answer::Fault(ConnectFault::Connect),
        _ => ill(EgressFault::Answer),
    }
}

fn announces_a_body(field: &httparse::Header<'_>) -> bool {
    if field.name.eq_ignore_ascii_case("content-length") {
        return field.value.trim_ascii() != b"0";
    }
    field.name.eq_ignore_ascii_case("transfer-encoding")
        || field.name.eq_ignore_ascii_case("content-type")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use std::sync::Arc;

    use super::*;
    use crate::config::{ProviderSettings, Secret};
    use crate::upstream::vanished::provider;
    use crate::upstream::{ProbeResult, Prober};

    fn proxy(authorization: Option<&str>) -> ProxySettings {
        ProxySettings {
            host: "proxy.example".to_owned(),
            port: 3_128,
            authorization: authorization.map(|text| Secret::new(text.to_owned())),
        }
    }

    #[test]
    fn n14_a_tunnel_is_asked_for_by_name_and_with_the_password() {
        assert_eq!(
            request(&proxy(None), "api.example", 443),
            "CONNECT api.example:443 HTTP/1.1\r\nhost: api.example:443\r\n\r\n"
        );
        let asked = request(&proxy(Some("Basic dTpw")), "2001:db8::1", 8_443);
        assert!(asked.starts_with("CONNECT [2001:db8::1]:8443 HTTP/1.1\r\n"));
        assert!(asked.contains("\r\nproxy-authorization: Basic dTpw\r\n"));
        assert!(asked.ends_with("\r\n\r\n"));
    }

    #[test]
    fn n14_an_answer_is_a_tunnel_an_ill_proxy_or_an_unreachable_provider() {
        let ill = |fault| Answer::Fault(ConnectFault::Egress(fault));
        let unreachable = Answer::Fault(ConnectFault::Connect);
        for (said, means) in [
            (
                "HTTP/1.1 200 Connection established\r\n\r\n",
                Answer::Tunnel,
            ),
            ("HTTP/1.0 200 OK\r\nvia: squid\r\n\r\n", Answer::Tunnel),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
                Answer::Tunnel,
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n",
                ill(EgressFault::Answer),
            ),
            (
                "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\n\r\n",
                ill(EgressFault::Answer),
            ),
            ("HTTP/1.1 200 OK\r\n\r\n<html>", ill(EgressFault::Answer)),
            ("HTTP/1.1 407 Who\r\n\r\n", ill(EgressFault::Auth)),
            (
                "HTTP/1.1 403 No\r\ncontent-type: text/html\r\n\r\n<html>",
                ill(EgressFault::Answer),
            ),
            (
                "HTTP/1.1 302 Log in\r\nlocation: http://x/\r\n\r\n",
                ill(EgressFault::Answer),
            ),
            ("HTTP/1.1 100 Continue\r\n\r\n", ill(EgressFault::Answer)),
            ("HTTP/1.1 502 Bad Gateway\r\n\r\n", unreachable),
            (
                "HTTP/1.1 503 No\r\ncontent-length: 4\r\n\r\npage",
                unreachable,
            ),
            ("HTTP/1.1 504 Late\r\n\r\n", unreachable),
            ("<html>not found</html>\r\n\r\n", ill(EgressFault::Answer)),
            ("HTTP/1.1 20", Answer::More),
            ("", Answer::More),
        ] {
            assert_eq!(judged(said.as_bytes()), means, "{said:?}");
        }
    }

    #[tokio::test]
    async fn n14_a_key_is_asked_about_through_the_proxy_too_and_an_ill_proxy_says_nothing_about_it()
    {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let provider = ProviderSettings {
            egress: Some(Arc::new(ProxySettings {
                host: "127.0.0.1".to_owned(),
                port: listener.local_addr().unwrap().port(),
                ..proxy(Some("Basic dTpw"))
            })),
            ..provider("https://provider.example/v1".to_owned())
        };
        let asked = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                head.push(char::from(stream.read_u8().await.unwrap()));
            }
            let refused = b"HTTP/1.1 407 No\r\ncontent-length: 0\r\n\r\n";
            stream.write_all(refused).await.unwrap();
            head.to_ascii_lowercase()
        };
        let prober = Prober::new(&provider).unwrap();
        let (head, result) = tokio::join!(asked, prober.probe(&provider.keys[0], None));
        assert!(head.starts_with("connect provider.example:443 "), "{head}");
        assert!(
            head.contains("proxy-authorization: basic dtpw\r\n"),
            "{head}"
        );
        assert_eq!(result, ProbeResult::Unreachable);
    }

    proptest! {
        #[test]
        fn n14_no_bytes_panic_and_only_a_2xx_is_a_tunnel(said: Vec<u8>) {
            if judged(&said) == Answer::Tunnel {
                prop_assert!(said.starts_with(b"HTTP/1."));
            }
        }

        #[test]
        fn n14_an_answer_means_the_same_however_it_is_sliced(cut in 0_usize..60) {
            let said = b"HTTP/1.1 200 Connection established\r\nproxy-agent: x\r\n\r\n";
            let part = said.get(..cut).unwrap_or(said);
            let expected = if part.len() < said.len() { Answer::More } else { Answer::Tunnel };
            prop_assert_eq!(judged(part), expected);
        }
    }
}
