//! Streams, relayed to every client: whole, damaged, cut.

use std::fs;
use std::path::Path;

use bytes::{Bytes, BytesMut};
use serde_json::Value;
use switchyard::dialects::{Encoder, MirrorRelay, Relay, TranslateRelay};
use switchyard::domain::{ClientDialect, Dialect};

use super::cases::{CLIENTS, PROVIDERS, cases, other_clients, same, stream_file, terms};

/// The binary frames of `{"event": payload}` lines. An `exception:` is one, and of what is `cut:` half is there.
fn framed(lines: &[u8]) -> Bytes {
    let mut bytes = Vec::new();
    for line in lines
        .split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let line: Value = serde_json::from_slice(line).unwrap();
        for (name, payload) in line.as_object().unwrap() {
            let (cut, name) = match name.strip_prefix("cut:") {
                Some(name) => (true, name),
                None => (false, name.as_str()),
            };
            let (kind, name) = match name.strip_prefix("exception:") {
                Some(name) => ("exception", name),
                None => ("event", name),
            };
            let mut frame = frame(kind, name, payload.to_string().as_bytes());
            if cut {
                frame.truncate(frame.len() / 2);
            }
            bytes.extend(frame);
        }
    }
    bytes.into()
}

fn frame(kind: &str, name: &str, payload: &[u8]) -> Vec<u8> {
    let mut headers = Vec::new();
    for (header, value) in [
        (format!(":{kind}-type"), name),
        (":content-type".to_owned(), "application/json"),
        (":message-type".to_owned(), kind),
    ] {
        headers.push(u8::try_from(header.len()).unwrap());
        headers.extend(header.as_bytes());
        headers.push(7);
        headers.extend(u16::try_from(value.len()).unwrap().to_be_bytes());
        headers.extend(value.as_bytes());
    }
    let length = u32::try_from(headers.len() + payload.len() + 16).unwrap();
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(u32::try_from(headers.len()).unwrap().to_be_bytes());
    frame.extend(crc(&frame).to_be_bytes());
    frame.extend(headers);
    frame.extend(payload);
    frame.extend(crc(&frame).to_be_bytes());
    frame
}

/// CRC-32, bit by bit, as the standard describes it.
fn crc(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte), |crc, _| {
            (crc >> 1) ^ (0xedb8_8320 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}

/// What a client of that dialect reads of a provider's stream, whatever way it was cut.
fn relayed(provider: Dialect, client: ClientDialect, stream: &Bytes, case: &Path) -> String {
    let relay = || -> Box<dyn Relay> {
        let encoder = Encoder::of(client, &terms());
        if provider == client.dialect() {
            Box::new(MirrorRelay::new(client, encoder, "sy-golden"))
        } else {
            Box::new(TranslateRelay::new(provider, encoder, "sy-golden"))
        }
    };
    let mut whole = relay();
    let mut out = BytesMut::new();
    let ended = whole
        .feed(stream, &mut out)
        .and_then(|()| whole.end(&mut out));
    // The same stream in single bytes is the same stream.
    let mut sliced = relay();
    let mut again = BytesMut::new();
    let fed = (0..stream.len()).try_for_each(|at| sliced.feed(&stream.slice(at..=at), &mut again));
    let ended_again = fed.and_then(|()| sliced.end(&mut again));
    assert_eq!(
        (&ended_again, &again[..]),
        (&ended, &out[..]),
        "{}",
        case.display()
    );
    format!(
        "{}: ended {ended:?}\n",
        String::from_utf8(out.to_vec()).unwrap()
    )
}

#[test]
fn streams_cross_to_every_client_whole_or_say_why_not() {
    for (provider, name) in PROVIDERS {
        let file = stream_file(provider);
        for case in cases(name, file) {
            let mut stream = Bytes::from(fs::read(case.join(file)).unwrap());
            if provider == Dialect::Bedrock {
                stream = framed(&stream);
            }
            for (client, name) in other_clients(provider) {
                let seen = relayed(provider, client, &stream, &case);
                same(&case, &format!("{name}.sse"), &seen);
            }
            let own = CLIENTS
                .into_iter()
                .find(|(client, _)| client.dialect() == provider);
            let mirrors = own.filter(|(client, _)| *client != ClientDialect::Openai);
            if let Some((client, _)) = mirrors {
                let mirrored = relayed(provider, client, &stream, &case);
                let (text, ended) = mirrored.rsplit_once(": ended ").unwrap();
                let repeats = case.ends_with("stream-repeated");
                if ended.starts_with("Ok(Clean") && !repeats {
                    assert_eq!(text.as_bytes(), &stream[..], "{}", case.display());
                }
            }
        }
    }
}

/// A stream with a few of its bytes changed, lost or cut off, the same each time.
fn damaged(stream: &Bytes, seed: u64) -> Bytes {
    let mut draw = fastrand::Rng::with_seed(seed);
    let mut bytes = stream.to_vec();
    for _ in 0..draw.usize(1..6) {
        let place = draw.usize(..bytes.len().max(1));
        match draw.u8(..4) {
            0 => bytes.truncate(place),
            1 if place < bytes.len() => _ = bytes.remove(place),
            2 if place < bytes.len() => bytes.insert(place, draw.u8(..)),
            _ if place < bytes.len() => bytes[place] ^= 1 << draw.u8(..8),
            _ => {}
        }
    }
    bytes.into()
}

#[test]
fn no_damage_to_a_stream_panics_and_no_cut_one_ends_as_whole() {
    for (provider, name) in PROVIDERS {
        let file = stream_file(provider);
        for case in cases(name, file) {
            let mut stream = Bytes::from(fs::read(case.join(file)).unwrap());
            if provider == Dialect::Bedrock {
                stream = framed(&stream);
            }
            let read = |stream: &Bytes| {
                let encoder = Encoder::of(ClientDialect::Openai, &terms());
                let mut relay = TranslateRelay::new(provider, encoder, "sy-golden");
                let mut out = BytesMut::new();
                let ended = relay
                    .feed(stream, &mut out)
                    .and_then(|()| relay.end(&mut out));
                (ended, out)
            };
            for seed in 0..100 {
                let _ = read(&damaged(&stream, seed));
            }
            let (_, whole) = read(&stream);
            for end in 0..stream.len() {
                let (ended, out) = read(&stream.slice(..end));
                let said = String::from_utf8(out.to_vec()).unwrap();
                // Nothing is said that the whole stream does not say, save how it ends.
                let finished = said.contains("\"finish_reason\":\"");
                assert!(ended.is_err() || finished, "{} at {end}", case.display());
                assert!(
                    ended.is_ok() || whole.starts_with(&out),
                    "{} at {end}",
                    case.display()
                );
            }
        }
    }
}
