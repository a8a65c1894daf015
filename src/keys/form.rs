//! How a key of the gateway's own looks: `sy_<env>_<id>_<secret>_<sum>`, `sya_…` for the admin listener.
//!
//! The id is public: it stands in lists, journals and logs. The secret is 256 random bits and shown once. The sum
//! (CRC-32 of all before it) tells a slip of the pen from a wrong key without asking anyone, and lets a scanner of
//! repositories know a key when it sees one.

use crate::config::Secret;

/// Looked up, because every letter of every request's key is asked about.
const IS_LETTER: [bool; 256] = {
    let mut is = [false; 256];
    let mut place = 0;
    while place < LETTERS.len() {
        is[LETTERS[place] as usize] = true;
        place += 1;
    }
    is
};

/// Which listener a key opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    Client,
    Admin,
}

impl KeyKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Client => "sy",
            Self::Admin => "sya",
        }
    }
}

/// What can be read off a key that is whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyParts<'a> {
    pub kind: KeyKind,
    /// What it is for, such as `live` or `test`.
    pub env: &'a str,
    pub id: &'a str,
}

/// A key that was just made.
#[derive(Clone, Debug)]
pub struct MadeKey {
    pub id: String,
    pub text: Secret,
}

/// Bytes of randomness in a key: its id's, then its secret's.
pub const RANDOM: usize = ID_BYTES + SECRET_BYTES;
const ID_BYTES: usize = 10;
const SECRET_BYTES: usize = 32;
const ID: usize = 16;
const SECRET: usize = 52;
const SUM: usize = 7;
const LONGEST_ENV: usize = 16;

/// Crockford's: no letter that is taken for another.
const LETTERS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// Whether a key may say that it is for this.
pub fn is_env(env: &str) -> bool {
    (1..=LONGEST_ENV).contains(&env.len())
        && env
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// Makes a key of these random bytes; an `id` that is given stays what it is.
pub fn make(kind: KeyKind, env: &str, id: Option<&str>, random: &[u8; RANDOM]) -> MadeKey {
    let (for_id, for_secret) = random.split_at(ID_BYTES);
    let id = id.map_or_else(|| spell(for_id, ID), str::to_owned);
    let secret = spell(for_secret, SECRET);
    let head = format!("{}_{env}_{id}_{secret}", kind.prefix());
    let sum = sum(head.as_bytes());
    MadeKey {
        id,
        text: Secret::new(format!("{head}_{sum}")),
    }
}

/// Reads a key; `None` for anything that is none, or not whole.
pub fn read(text: &[u8]) -> Option<KeyParts<'_>> {
    let text = std::str::from_utf8(text).ok()?;
    let (head, told) = text.rsplit_once('_')?;
    let mut parts = head.split('_');
    let kind = match parts.next()? {
        "sy" => KeyKind::Client,
        "sya" => KeyKind::Admin,
        _ => return None,
    };
    let (env, id, secret) = (parts.next()?, parts.next()?, parts.next()?);
    let whole = parts.next().is_none()
        && is_env(env)
        && is_spelt(id, ID)
        && is_spelt(secret, SECRET)
        && is_sum(head.as_bytes(), told);
    whole.then_some(KeyParts { kind, env, id })
}

/// Whether this could be the id of a key.
pub fn is_id(text: &str) -> bool {
    is_spelt(text, ID)
}

fn is_spelt(text: &str, length: usize) -> bool {
    text.len() == length && text.bytes().all(|byte| IS_LETTER[usize::from(byte)])
}

/// Five bits a letter; the last letter is filled up with zeros.
fn spell(bytes: &[u8], length: usize) -> String {
    let mut letters = String::with_capacity(length);
    let (mut held, mut bits) = (0_u32, 0_u32);
    let mut rest = bytes.iter();
    while letters.len() < length {
        if bits < 5 {
            held = (held << 8) | u32::from(rest.next().copied().unwrap_or_default());
            bits += 8;
        }
        bits -= 5;
        let letter = LETTERS.get((held >> bits) as usize & 31);
        letters.push(char::from(letter.copied().unwrap_or(b'0')));
    }
    letters
}

fn sum(bytes: &[u8]) -> String {
    spell(&crc32(bytes).to_be_bytes(), SUM)
}

/// Whether these letters are the sum, without spelling it.
fn is_sum(bytes: &[u8], told: &str) -> bool {
    let wanted = u64::from(crc32(bytes)) << 3;
    let mut left = 5 * SUM as u32;
    told.len() == SUM
        && told.bytes().all(|letter| {
            left -= 5;
            LETTERS.get((wanted >> left) as usize & 31) == Some(&letter)
        })
}

/// CRC-32 as in Ethernet and zip: no change within 32 bits in a row goes unseen, so none of a single letter.
fn crc32(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(u32::MAX, |crc, byte| {
        let [low, ..] = crc.to_le_bytes();
        (crc >> 8) ^ STEPS[usize::from(low ^ byte)]
    })
}

/// What eight bits do to a sum.
const STEPS: [u32; 256] = {
    let mut steps = [0; 256];
    let mut place = 0;
    while place < 256 {
        let mut crc = place as u32;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
            bit += 1;
        }
        steps[place] = crc;
        place += 1;
    }
    steps
};

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "proptest's macro writes the functions")]
    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = (KeyKind, String, MadeKey)> {
        let kind = prop_oneof![Just(KeyKind::Client), Just(KeyKind::Admin)];
        let random = proptest::collection::vec(any::<u8>(), RANDOM);
        (kind, "[a-z0-9]{1,16}", random).prop_map(|(kind, env, random)| {
            let made = make(kind, &env, None, &random.try_into().unwrap());
            (kind, env, made)
        })
    }

    proptest! {
        #[test]
        fn t1_what_is_made_is_read(( kind, env, made) in key()) {
            let text = made.text.expose();
            let parts = KeyParts { kind, env: &env, id: &made.id };
            prop_assert_eq!(read(text.as_bytes()), Some(parts));
            // The id says nothing of the secret.
            prop_assert!(!text.rsplit('_').nth(1).unwrap().contains(&made.id));
        }

        #[test]
        fn t1_no_slip_of_one_letter_goes_unseen((_, _, made) in key(), slip in any::<u8>(), place in any::<usize>()) {
            let text = made.text.expose().as_bytes();
            let place = place % text.len();
            let mut slipped = text.to_vec();
            slipped[place] = slip;
            prop_assert_eq!(read(&slipped).is_some(), slip == text[place]);
            let mut short = text.to_vec();
            short.remove(place);
            prop_assert_eq!(read(&short), None);
            let mut long = text.to_vec();
            long.insert(place, slip);
            prop_assert_eq!(read(&long), None);
        }

        #[test]
        fn a01_anything_may_be_handed_in(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = read(&bytes);
        }
    }

    #[test]
    fn t1_every_slip_at_every_place_of_one_key_is_seen() {
        let made = make(KeyKind::Client, "live", None, &[7; RANDOM]);
        let text = made.text.expose().as_bytes();
        for place in 0..text.len() {
            for slip in 0..=u8::MAX {
                let mut slipped = text.to_vec();
                slipped[place] = slip;
                assert_eq!(read(&slipped).is_some(), slip == text[place]);
            }
        }
    }

    #[test]
    fn t1_a_secret_holds_all_of_its_256_bits() {
        let base = make(KeyKind::Client, "live", None, &[0; RANDOM]);
        for bit in 0..256 {
            let mut random = [0; RANDOM];
            random[ID_BYTES + bit / 8] = 1 << (bit % 8);
            let other = make(KeyKind::Client, "live", None, &random);
            assert_eq!(other.id, base.id);
            assert_ne!(other.text, base.text, "bit {bit}");
        }
    }

    #[test]
    fn the_sum_is_the_one_everybody_computes() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
    }
}
