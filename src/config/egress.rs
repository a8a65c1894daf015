//! The way out: which providers are reached through the operator's HTTP proxy.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};

use super::secret::Secret;
use super::settings::ProxySettings;

/// What is wrong with a value, and the cure. Never holds the value: there may be a password in it.
type Fault = (&'static str, &'static str);

const FORM: &str = "write it as \"http://proxy.example:3128\"";

/// Reads `http://[user:password@]host:port`.
pub(super) fn proxy(url: &str) -> Result<ProxySettings, Fault> {
    let rest = url
        .strip_prefix("http://")
        .ok_or(("is no address of an HTTP proxy", FORM))?;
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let (user, place) = match rest.rsplit_once('@') {
        Some((user, place)) => (Some(user), place),
        None => (None, rest),
    };
    let (host, port) = place.rsplit_once(':').ok_or(("names no port", FORM))?;
    let port = port
        .parse()
        .ok()
        .filter(|port| *port > 0)
        .ok_or(("has a port that is none", FORM))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if !is_host(host) {
        return Err(("has no plain host", FORM));
    }
    Ok(ProxySettings {
        host: host.to_ascii_lowercase(),
        port,
        authorization: user.map(authorization).transpose()?,
    })
}

fn is_host(host: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte);
    !host.is_empty() && host.len() <= 253 && host.bytes().all(plain)
}

/// RFC 7617, of what a URL holds percent-encoded.
fn authorization(user: &str) -> Result<Secret, Fault> {
    let (name, password) = user.split_once(':').unwrap_or((user, ""));
    let odd = (
        "has a user name or password that cannot be sent",
        "percent-encode what is neither letter nor digit; a user name holds no colon",
    );
    let (Some(name), Some(password)) = (decoded(name), decoded(password)) else {
        return Err(odd);
    };
    if name.contains(&b':') || name.iter().chain(&password).any(u8::is_ascii_control) {
        return Err(odd);
    }
    let pair = [&name[..], b":", &password].concat();
    Ok(Secret::new(format!("Basic {}", base64(&pair))))
}

/// Percent-decoding; `None` for a `%` without two digits.
fn decoded(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte != b'%' {
            out.push(byte);
            continue;
        }
        let mut digit = || char::from(bytes.next()?).to_digit(16);
        let value = digit()? * 16 + digit()?;
        out.push(u8::try_from(value).ok()?);
    }
    Some(out)
}

/// RFC 4648, section 4.
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut out = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for three in bytes.chunks(3) {
        let group = (0..3).fold(0_u32, |group, at| {
            (group << 8) | u32::from(three.get(at).copied().unwrap_or(0))
        });
        for at in 0..4_usize {
            let sixth = usize::try_from((group >> (18 - 6 * at)) & 63).unwrap_or(0);
            let letter = LETTERS.get(sixth).filter(|_| at <= three.len());
            // Writing to memory cannot fail.
            let _ = out.write_char(letter.map_or('=', |letter| char::from(*letter)));
        }
    }
    out
}

/// An address of a name server: `10.0.0.2`, `127.0.0.1:5353`, `[fd00::2]:53`.
pub(super) fn name_server(written: &str) -> Option<SocketAddr> {
    let address = written.parse::<SocketAddr>().ok();
    let bare = || {
        let ip = written.trim_start_matches('[').trim_end_matches(']');
        ip.parse::<IpAddr>().ok().map(|ip| SocketAddr::new(ip, 53))
    };
    address.or_else(bare).filter(|server| server.port() > 0)
}

/// Whether an entry of `no_proxy` can mean anything.
pub(super) fn is_exception(entry: &str) -> bool {
    let host = entry.strip_prefix('.').unwrap_or(entry);
    is_host(host) && (!host.contains(':') || host.parse::<std::net::Ipv6Addr>().is_ok())
}

/// Whether the host of `base_url` is reached without the proxy: `host` means itself, `.suffix` what ends so.
pub(super) fn is_direct(base_url: &str, no_proxy: &[String]) -> bool {
    let rest = base_url
        .split_once("://")
        .map_or(base_url, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    let host = match authority.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    no_proxy.iter().any(|entry| {
        let entry = entry.to_ascii_lowercase();
        if entry.starts_with('.') {
            host.ends_with(&entry)
        } else {
            host == entry
        }
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(url: &str) -> (String, u16, Option<String>) {
        let proxy = proxy(url).unwrap();
        let sent = proxy.authorization.map(|secret| secret.expose().to_owned());
        (proxy.host, proxy.port, sent)
    }

    #[test]
    fn n14_a_proxy_is_read_with_its_password() {
        assert_eq!(
            read("http://Proxy.example:3128"),
            ("proxy.example".to_owned(), 3_128, None)
        );
        // RFC 7617's own example, with the space percent-encoded.
        assert_eq!(
            read("http://Aladdin:open%20sesame@10.0.0.1:80/").2.unwrap(),
            "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="
        );
        assert_eq!(read("http://u:p%40%3A@[::1]:8080").0, "::1");
        assert_eq!(read("http://user@h:1").2.unwrap(), "Basic dXNlcjo=");
    }

    #[test]
    fn n14_what_is_no_proxy_is_a_mistake_that_does_not_tell_the_password() {
        for odd in [
            "",
            "proxy:3128",
            "https://proxy:3128",
            "socks5://proxy:1080",
            "http://proxy",
            "http://proxy:0",
            "http://proxy:99999",
            "http://:3128",
            "http://a b:3128",
            "http://proxy:3128/path",
            "http://hunter2:%zz@proxy:3128",
            "http://hunter2:%0d%0a@proxy:3128",
            "http://hun%3Ater2:x@proxy:3128",
            "http://hunter2:%4@proxy:3128",
        ] {
            let (what, cure) = proxy(odd).unwrap_err();
            assert!(
                !what.contains("hunter2") && !cure.contains("hunter2"),
                "{odd}"
            );
        }
    }

    #[test]
    fn n14_exceptions_mean_a_host_or_what_ends_so() {
        let no_proxy = ["local.example", ".corp", "127.0.0.1", "::1"].map(str::to_owned);
        for (url, direct) in [
            ("https://local.example/v1", true),
            ("https://LOCAL.example:8443/v1", true),
            ("https://not-local.example/v1", false),
            ("https://a.local.example/v1", false),
            ("https://llm.corp/v1", true),
            ("https://llm.corp./v1", true),
            ("https://corp/v1", false),
            ("https://evilcorp/v1", false),
            ("https://llm.corp.example/v1", false),
            ("http://127.0.0.1:11434/v1", true),
            ("http://[::1]:11434/v1", true),
            ("http://example/127.0.0.1", false),
        ] {
            assert_eq!(is_direct(url, &no_proxy), direct, "{url}");
        }
        for (entry, good) in [
            ("a.b", true),
            (".b", true),
            ("::1", true),
            ("a:80", false),
            ("http://a", false),
            (".", false),
            ("", false),
            ("*.b", false),
        ] {
            assert_eq!(is_exception(entry), good, "{entry}");
        }
    }

    #[test]
    fn n01_a_name_server_is_an_address_and_no_name() {
        for (written, read) in [
            ("10.0.0.2", Some("10.0.0.2:53")),
            ("127.0.0.1:5353", Some("127.0.0.1:5353")),
            ("fd00::2", Some("[fd00::2]:53")),
            ("[fd00::2]", Some("[fd00::2]:53")),
            ("[fd00::2]:5353", Some("[fd00::2]:5353")),
            ("dns.example", None),
            ("127.0.0.1:0", None),
            ("127.0.0.1:x", None),
            ("udp://127.0.0.1", None),
            ("", None),
        ] {
            let told = name_server(written).map(|server| server.to_string());
            assert_eq!(told.as_deref(), read, "{written}");
        }
    }

    proptest! {
        #[test]
        fn n14_base64_is_undone_by_its_definition(bytes: Vec<u8>) {
            let text = base64(&bytes);
            prop_assert_eq!(text.len() % 4, 0);
            let mut bits = Vec::new();
            for letter in text.bytes().filter(|letter| *letter != b'=') {
                let value = match letter {
                    b'A'..=b'Z' => letter - b'A',
                    b'a'..=b'z' => letter - b'a' + 26,
                    b'0'..=b'9' => letter - b'0' + 52,
                    b'+' => 62,
                    _ => 63,
                };
                bits.extend((0..6).rev().map(|bit| (value >> bit) & 1));
            }
            let undone: Vec<u8> = bits
                .chunks_exact(8)
                .map(|bits| bits.iter().fold(0, |byte, bit| (byte << 1) | bit))
                .collect();
            prop_assert_eq!(undone, bytes);
        }

        #[test]
        fn n14_no_address_panics(url in "(http://)?[a-z%:@\\[\\]./0-9]{0,40}") {
            let _ = proxy(&url);
            let _ = is_direct(&url, &[".a".to_owned(), url.clone()]);
            let _ = is_exception(&url);
        }
    }
}
