//! An address taken apart, strictly: what could be read in two ways is not read at all.

/// Where an address leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaPlace {
    pub host: String,
    pub port: u16,
    /// With the query; a fragment stays with who wrote it.
    pub path: String,
}

const LONGEST: usize = 4_096;

impl MediaPlace {
    /// `None` for all but `https://` with a name of letters, a port perhaps, and a path.
    pub fn of(url: &str) -> Option<Self> {
        let rest = url.strip_prefix("https://")?;
        let plain = |byte: u8| byte.is_ascii_graphic() && !b"\\<>\"^`{|}".contains(&byte);
        if url.len() > LONGEST || !url.bytes().all(plain) {
            return None;
        }
        let (authority, path) = match rest.find(['/', '?', '#']) {
            Some(at) => rest.split_at_checked(at)?,
            None => (rest, "/"),
        };
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, port.parse().ok().filter(|port| *port > 0)?),
            None => (authority, 443),
        };
        let path = path.split('#').next().unwrap_or_default();
        Some(Self {
            host: is_name(host).then(|| host.to_ascii_lowercase())?,
            port,
            path: if path.starts_with('/') {
                path.to_owned()
            } else {
                format!("/{path}")
            },
        })
    }

    /// As the field `host` has it.
    pub(super) fn authority(&self) -> String {
        match self.port {
            443 => self.host.clone(),
            port => format!("{}:{port}", self.host),
        }
    }
}

/// A name, and no way to write a number: the last part of those is one.
fn is_name(host: &str) -> bool {
    let label = |label: &str| {
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        !label.is_empty() && label.len() <= 63 && label.bytes().all(fits)
    };
    let last = host.rsplit('.').next().unwrap_or_default();
    let is_word = last.bytes().all(|byte| byte.is_ascii_alphabetic()) || last.starts_with("xn--");
    host.len() <= 253 && host.split('.').all(label) && is_word
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a10_whatever_could_be_read_in_two_ways_is_no_address() {
        for odd in [
            "http://a.example/",
            "file:///etc/passwd",
            "https:/a.example/",
            "https://",
            "https://169.254.169.254/latest",
            "https://127.1/",
            "https://0x7f000001/",
            "https://2130706433/",
            "https://0177.0.0.1/",
            "https://[::1]/",
            "https://[::ffff:a9fe:a9fe]/",
            "https://[64:ff9b::7f00:1]/",
            "https://a.example@127.0.0.1/",
            "https://user@a.example/",
            "https://a.example:0/",
            "https://a.example:443:80/",
            "https://a.example:99999/",
            "https://a.example:/",
            "https://a..example/",
            "https://a.example./",
            "https://a.example\\@b.example/",
            "https://a.exa mple/",
            "https://a.example/\r\nx: y",
            "https://ä.example/",
            "https://%61.example/",
        ] {
            assert_eq!(MediaPlace::of(odd), None, "{odd}");
        }
        for (url, host, port, path) in [
            ("https://A.example", "a.example", 443, "/"),
            ("https://a.example?x=1", "a.example", 443, "/?x=1"),
            (
                "https://a.example:8443/b/c.png?d#e",
                "a.example",
                8443,
                "/b/c.png?d",
            ),
            ("https://xn--4ca.example/@b", "xn--4ca.example", 443, "/@b"),
        ] {
            let place = MediaPlace::of(url).unwrap();
            assert_eq!(
                (place.host.as_str(), place.port, place.path.as_str()),
                (host, port, path)
            );
        }
    }

    proptest! {
        #[test]
        fn a10_what_is_read_is_what_any_other_reader_reads(url in "https://[a-z0-9@:/.%\\\\#?\\[\\]]{0,30}") {
            if let Some(place) = MediaPlace::of(&url) {
                let theirs = reqwest::Url::parse(&url).unwrap();
                prop_assert_eq!(theirs.host_str(), Some(place.host.as_str()));
                prop_assert_eq!(theirs.port_or_known_default(), Some(place.port));
                prop_assert_eq!(theirs.username(), "");
            }
        }
    }
}
