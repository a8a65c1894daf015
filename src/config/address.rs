//! What the address of a server says of where it is, before anybody connects.

use std::net::IpAddr;

/// The address that stands in a URL as its host. What only whoever connects takes for one (2852039166) is none here.
pub(super) fn written_address(url: &str) -> Option<IpAddr> {
    let host = host(url)?;
    let address: IpAddr = host.trim_matches(['[', ']']).parse().ok()?;
    Some(address.to_canonical())
}

/// Whether who wrote this means a server of their own network: this machine, or a private address. A name does not
/// say so, whatever it leads to, and where clouds answer for their machines' secrets nobody has a server.
pub(super) fn is_inside(url: &str) -> bool {
    let this_machine = |host: String| host == "localhost" || host.ends_with(".localhost");
    host(url).is_some_and(this_machine)
        || written_address(url).is_some_and(|address| match address {
            IpAddr::V4(address) => address.is_loopback() || address.is_private(),
            IpAddr::V6(address) => address.is_loopback() || is_unique_local(address.segments()),
        })
}

fn host(url: &str) -> Option<String> {
    let url: http::Uri = url.parse().ok()?;
    url.host().map(str::to_owned)
}

/// `fc00::/7` but for `fd00:ec2::/32`, where a cloud has its services.
fn is_unique_local(segments: [u16; 8]) -> bool {
    let [first, second, ..] = segments;
    first & 0xfe00 == 0xfc00 && (first, second) != (0xfd00, 0x0ec2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_writes_an_inside_address_means_it_and_a_name_may_lead_anywhere() {
        for inside in [
            "http://127.0.0.1:8000/v1",
            "http://localhost:11434",
            "http://api.localhost/v1",
            "https://10.1.2.3/v1",
            "http://192.168.0.7",
            "http://172.16.0.1",
            "http://[::1]:8000",
            "http://[fd12:3456::1]/v1",
            "http://[::ffff:10.0.0.1]",
        ] {
            assert!(is_inside(inside), "{inside}");
        }
        for outside in [
            "https://api.openai.com/v1",
            "http://169.254.169.254/latest",
            "http://2852039166/",
            "http://[fd00:ec2::254]/",
            "http://[fe80::1]/",
            "http://8.8.8.8",
            "http://localhost.example.com",
            "http://0.0.0.0",
            "nonsense",
            "",
        ] {
            assert!(!is_inside(outside), "{outside}");
        }
    }
}
