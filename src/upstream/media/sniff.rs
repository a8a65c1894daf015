//! What data is, by its first bytes: a server's word alone is not taken.

/// The type of what came, if it is one that is passed on and the server does not call it something else.
pub(super) fn media_type(data: &[u8], claimed: Option<&str>) -> Option<&'static str> {
    let found = by_magic(data)?;
    let claimed = claimed
        .unwrap_or_default()
        .split(';')
        .next()
        .unwrap_or_default();
    let claimed = claimed.trim().to_ascii_lowercase();
    let agrees = match claimed.as_str() {
        // Stores that do not know say one of these.
        "" | "application/octet-stream" | "binary/octet-stream" => true,
        "image/jpg" => found == "image/jpeg",
        other => other == found,
    };
    agrees.then_some(found)
}

fn by_magic(data: &[u8]) -> Option<&'static str> {
    const PNG: &[u8] = b"\x89PNG\r\n\x1a\n";
    let webp = data.starts_with(b"RIFF") && data.get(8..12) == Some(b"WEBP");
    if data.starts_with(PNG) {
        Some("image/png")
    } else if data.starts_with(b"\xff\xd8\xff") {
        Some("image/jpeg")
    } else if data.starts_with(b"GIF87a") || data.starts_with(b"GIF89a") {
        Some("image/gif")
    } else if webp {
        Some("image/webp")
    } else if data.starts_with(b"%PDF-") {
        Some("application/pdf")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a10_data_is_what_its_first_bytes_say_and_its_server_must_agree() {
        let png = b"\x89PNG\r\n\x1a\nrest";
        assert_eq!(media_type(png, Some("image/png; x=y")), Some("image/png"));
        assert_eq!(media_type(png, None), Some("image/png"));
        assert_eq!(media_type(png, Some("text/html")), None);
        assert_eq!(
            media_type(b"RIFF\x01\x00\x00\x00WEBP", Some("image/webp")),
            Some("image/webp")
        );
        assert_eq!(
            media_type(b"\xff\xd8\xff\xe0", Some("IMAGE/JPG")),
            Some("image/jpeg")
        );
        for other in [
            &b"<html>"[..],
            b"",
            b"RIFF",
            b"{\"AccessKeyId\":1}",
            b"<svg/>",
        ] {
            assert_eq!(media_type(other, Some("image/png")), None);
        }
    }
}
