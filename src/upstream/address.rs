//! Which addresses are public. A provider's name that leads elsewhere is a lie or an attack (fault N02).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Whether the address belongs to the open internet. What is not surely public is not.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    let special = a == 0
        || a == 10
        || a == 127
        || (a == 100 && (64..128).contains(&b)) // shared by carriers
        || (a == 169 && b == 254) // link-local, metadata services
        || (a == 172 && (16..32).contains(&b))
        || (a == 192 && b == 168)
        || (a == 192 && b == 0 && (c == 0 || c == 2))
        || (a == 192 && b == 88 && c == 99) // 6to4 relays
        || (a == 198 && (b == 18 || b == 19)) // benchmarks
        || (a == 198 && b == 51 && c == 100)
        || (a == 203 && b == 0 && c == 113)
        || a >= 224;
    !special
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let embedded = |high: u16, low: u16| {
        let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match (a, b) {
        // v4-mapped and v4-compatible: as public as the address inside.
        (0, 0) if c == 0 && d == 0 && e == 0 && (f == 0xffff || f == 0) => {
            f == 0xffff && embedded(g, h)
        }
        // NAT64, well-known and local-use.
        (0x64, 0xff9b) => c == 0 && d == 0 && e == 0 && f == 0 && embedded(g, h),
        // 6to4 carries a v4 address in its prefix.
        (0x2002, _) => embedded(b, c),
        // Teredo, ORCHID, documentation.
        (0x2001, 0..=0x1ff) | (0x2001, 0xdb8) | (0x3fff, _) => false,
        // Only 2000::/3 is handed out; unique-local, link-local, site-local and multicast lie outside.
        _ => a & 0xe000 == 0x2000,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn n02_addresses_inside_are_not_public_however_they_are_dressed() {
        for inside in [
            "10.0.0.5",
            "127.0.0.1",
            "169.254.169.254",
            "172.16.0.1",
            "172.31.255.255",
            "192.168.1.1",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "192.0.0.8",
            "198.18.0.1",
            "::",
            "::1",
            "fe80::1",
            "fec0::1",
            "fc00::1",
            "fd12::1",
            "ff02::1",
            "::ffff:169.254.169.254",
            "::ffff:127.0.0.1",
            "64:ff9b::a00:1",
            "2002:7f00:1::",
            "2001::1",
            "2001:db8::1",
            "::7f00:1",
        ] {
            assert!(!is_public(inside.parse().unwrap()), "{inside}");
        }
        for outside in [
            "1.1.1.1",
            "8.8.8.8",
            "172.32.0.1",
            "100.128.0.1",
            "2606:4700::1111",
            "64:ff9b::808:808",
        ] {
            assert!(is_public(outside.parse().unwrap()), "{outside}");
        }
    }
}
