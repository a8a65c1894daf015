//! Forgeries, and what is none (attack A26).
#![allow(
    clippy::unwrap_used,
    clippy::too_many_lines,
    reason = "tests: proptest's macro writes functions, and forgeries stand in lists"
)]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;
use ring::hmac;
use serde_json::{Value, json};

use super::forge::{Signer, b64, set};
use super::*;

const NOW: u64 = 1_800_000_000;
const ISSUER: &str = "https://login.example";
fn rules() -> Rules {
    Rules {
        issuer: ISSUER.to_owned(),
        audiences: vec!["gateway".to_owned(), "gateway-2".to_owned()],
        algorithms: vec![Algorithm::Rs256, Algorithm::Es256],
        leeway: 30,
        longest: 16_384,
    }
}

fn claims() -> Value {
    json!({"iss": ISSUER, "aud": "gateway", "sub": "ada", "exp": NOW + 300, "iat": NOW})
}

fn es256(id: &str) -> Value {
    json!({"alg": "ES256", "typ": "JWT", "kid": id})
}

fn proven(token: &str, keys: &KeySet) -> Result<Claims, Fault> {
    Unproven::read(token.as_bytes())?.proven(&rules(), keys, NOW)
}

/// The claims with others over them; `null` takes one away.
fn with(more: &Value) -> Value {
    let mut all = claims();
    for (name, value) in more.as_object().unwrap() {
        if value.is_null() {
            all.as_object_mut().unwrap().remove(name);
        } else {
            all[name] = value.clone();
        }
    }
    all
}

#[test]
fn a26_what_the_issuer_signed_for_us_is_believed_with_every_algorithm() {
    let p384 = Signer::ec("P-384", &ring::signature::ECDSA_P384_SHA384_FIXED_SIGNING);
    for (name, signer) in [
        ("RS256", Signer::rsa()),
        ("PS256", Signer::rsa()),
        ("ES256", Signer::p256()),
        ("ES384", p384),
        ("EdDSA", Signer::ed()),
    ] {
        let keys = set(&[signer.jwk("k1")]);
        let token = signer.token(&json!({"alg": name, "kid": "k1"}), &claims());
        assert!(looks_like_one(token.as_bytes()), "{token}");
        let mut rules = rules();
        rules.algorithms = vec![name.parse().unwrap()];
        let read = Unproven::read(token.as_bytes()).unwrap();
        let read = read.proven(&rules, &keys, NOW).unwrap();
        let sub = ClaimName::read("sub").unwrap();
        assert_eq!(read.text(&sub), Some("ada"), "{name}");
        // Nobody pinned another one.
        let other = Unproven::read(token.as_bytes()).unwrap();
        rules.algorithms = vec![Algorithm::Rs512];
        assert_eq!(other.proven(&rules, &keys, NOW), Err(Fault::Algorithm));
    }
}

#[test]
fn a26_a_token_without_a_signature_or_with_one_that_anyone_can_make_is_refused() {
    let signer = Signer::rsa();
    let keys = set(&[signer.jwk("k1")]);
    for name in [
        "none", "None", "NONE", "nOnE", "", "HS256", "rs256", "RS256 ",
    ] {
        let header = json!({"alg": name, "kid": "k1"}).to_string();
        let text = format!("{}.{}", b64(header), b64(claims().to_string()));
        for signature in ["", "AAAA"] {
            let token = format!("{text}.{signature}");
            assert_eq!(proven(&token, &keys), Err(Fault::Algorithm), "{token}");
        }
    }
    // The public key as the secret of an HMAC, in the forms in which it lies about.
    let header = json!({"alg": "HS256", "kid": "k1"}).to_string();
    let text = format!("{}.{}", b64(header), b64(claims().to_string()));
    let jwk = signer.jwk("k1");
    for secret in [jwk.to_string(), jwk["n"].as_str().unwrap().to_owned()] {
        let key = hmac::Key::new(hmac::HMAC_SHA256, secret.as_bytes());
        let token = format!("{text}.{}", b64(hmac::sign(&key, text.as_bytes())));
        assert_eq!(proven(&token, &keys), Err(Fault::Algorithm));
    }
    // An `oct` key in the set makes nobody take it.
    let oct = json!({"kty": "oct", "kid": "k1", "k": b64("secret")});
    let document = json!({"keys": [oct]}).to_string();
    assert_eq!(KeySet::parse(document.as_bytes()), Err(NoKeys::Empty));
}

#[test]
fn a26_a_key_is_found_by_its_id_and_must_fit_and_nothing_else_is_asked() {
    let (one, two) = (Signer::p256(), Signer::p256());
    let keys = set(&[one.jwk("k1"), two.jwk("k2"), Signer::rsa().jwk("r1")]);
    for (id, expected) in [
        ("k1", Ok(())),
        ("k2", Err(Fault::Signature)),
        // Of the other algorithm's kind.
        ("r1", Err(Fault::Key)),
        ("k", Err(Fault::Key)),
        ("K1", Err(Fault::Key)),
        ("", Err(Fault::Key)),
        ("../../../../dev/null", Err(Fault::Key)),
        ("/proc/self/environ", Err(Fault::Key)),
        ("https://evil.example/keys", Err(Fault::Key)),
        ("k1' OR '1'='1", Err(Fault::Key)),
        ("k1\u{0}", Err(Fault::Key)),
    ] {
        let told = proven(&one.token(&es256(id), &claims()), &keys).map(drop);
        assert_eq!(told, expected, "{id}");
    }
    // Without an id there must be no choice.
    let bare = one.token(&json!({"alg": "ES256"}), &claims());
    assert_eq!(proven(&bare, &keys), Err(Fault::Key));
    assert!(proven(&bare, &set(&[one.jwk("k1"), Signer::rsa().jwk("r1")])).is_ok());
    // A key that was taken out of the set signs no more.
    let old = one.token(&es256("k1"), &claims());
    assert_eq!(proven(&old, &set(&[two.jwk("k2")])), Err(Fault::Key));
    // Keys a token brings along are not looked at.
    for (name, value) in [
        ("jwk", two.jwk("k1")),
        ("jku", json!("https://evil.example/keys")),
        ("x5u", json!("https://evil.example/chain")),
        ("x5c", json!(["AAAA"])),
    ] {
        let mut header = es256("k1");
        header[name] = value;
        let told = proven(&two.token(&header, &claims()), &keys);
        assert_eq!(told, Err(Fault::Signature), "{name}");
        assert!(
            proven(&one.token(&header, &claims()), &keys).is_ok(),
            "{name}"
        );
    }
}

#[test]
fn a26_keys_that_are_too_short_for_something_else_or_told_in_full_are_left_out() {
    let signer = Signer::rsa();
    let good = signer.jwk("k1");
    let changed = |name: &str, value: Value| {
        let mut jwk = good.clone();
        jwk[name] = value;
        jwk
    };
    let modulus = |bytes: usize, first: u8| {
        let mut modulus = vec![0xa5; bytes];
        modulus[0] = first;
        json!(b64(modulus))
    };
    let ec = Signer::p256().jwk("k1");
    let mut short = ec.clone();
    short["x"] = json!(b64([1; 31]));
    let mut other_curve = ec.clone();
    other_curve["crv"] = "secp256k1".into();
    for jwk in [
        changed("n", modulus(128, 0xff)),
        changed("n", modulus(256, 0x7f)),
        changed("n", modulus(1_100, 0xff)),
        changed("n", json!("")),
        changed("n", json!("not base64 =")),
        changed("use", json!("enc")),
        changed("key_ops", json!(["encrypt"])),
        changed("alg", json!("RSA-OAEP")),
        changed("alg", json!("HS256")),
        changed("d", json!("AAAA")),
        changed("kid", json!(7)),
        changed("kty", json!("oct")),
        short,
        other_curve,
    ] {
        let document = json!({"keys": [jwk]}).to_string();
        assert_eq!(
            KeySet::parse(document.as_bytes()),
            Err(NoKeys::Empty),
            "{document}"
        );
    }
    // A sign in front of the number, as some write it.
    let n = URL_SAFE_NO_PAD.decode(good["n"].as_str().unwrap()).unwrap();
    let signed = changed("n", json!(b64([&[0], &n[..]].concat())));
    let token = signer.token(&json!({"alg": "RS256", "kid": "k1"}), &claims());
    assert!(proven(&token, &set(&[signed])).is_ok());
    // A key that is for one algorithm is not used with another.
    let only = set(&[changed("alg", json!("RS512"))]);
    assert_eq!(proven(&token, &only), Err(Fault::Key));
    for document in [
        "",
        "[]",
        "{}",
        "{\"keys\":{}}",
        "{\"keys\":[],\"keys\":[]}",
        "<html>",
    ] {
        assert_eq!(
            KeySet::parse(document.as_bytes()),
            Err(NoKeys::Malformed),
            "{document}"
        );
    }
    let large = format!("{{\"keys\":[{good}]{}}}", " ".repeat(LARGEST_SET));
    assert_eq!(KeySet::parse(large.as_bytes()), Err(NoKeys::Malformed));
}

#[test]
fn a26_a_point_that_is_not_on_the_curve_proves_nothing() {
    let signer = Signer::p256();
    let mut jwk = signer.jwk("k1");
    jwk["y"] = json!(b64([3; 32]));
    let token = signer.token(&es256("k1"), &claims());
    assert_eq!(proven(&token, &set(&[jwk])), Err(Fault::Signature));
}

#[test]
fn a26_issuer_audience_and_times_must_all_be_right() {
    let signer = Signer::p256();
    let keys = set(&[signer.jwk("k1")]);
    let ok = Ok(());
    for (more, expected) in [
        (json!({}), ok),
        (json!({"aud": ["other", "gateway-2"]}), ok),
        (json!({"exp": NOW - 29}), ok),
        (
            json!({"exp": NOW + 1, "nbf": NOW + 30, "iat": NOW + 30}),
            ok,
        ),
        (json!({"exp": 1_800_000_000.5, "iat": null}), ok),
        (json!({"iss": "https://login.example/"}), Err(Fault::Issuer)),
        (json!({"iss": "https://LOGIN.example"}), Err(Fault::Issuer)),
        (
            json!({"iss": ["https://login.example"]}),
            Err(Fault::Issuer),
        ),
        (json!({"iss": null}), Err(Fault::Issuer)),
        (json!({"aud": "gatewa"}), Err(Fault::Audience)),
        (json!({"aud": ["gateway-3"]}), Err(Fault::Audience)),
        (json!({"aud": [["gateway"]]}), Err(Fault::Audience)),
        (json!({"aud": {"gateway": 1}}), Err(Fault::Audience)),
        (json!({"aud": []}), Err(Fault::Audience)),
        (json!({"aud": null}), Err(Fault::Audience)),
        (json!({"exp": NOW - 30}), Err(Fault::Expired)),
        (json!({"exp": 0}), Err(Fault::Expired)),
        (json!({"exp": null}), Err(Fault::Expired)),
        (json!({"exp": "1900000000"}), Err(Fault::Claim)),
        (json!({"exp": -1}), Err(Fault::Claim)),
        (json!({"exp": 1e300}), Err(Fault::Claim)),
        (json!({"exp": u64::MAX}), Err(Fault::Claim)),
        (json!({"nbf": NOW + 31}), Err(Fault::NotYet)),
        (json!({"iat": NOW + 31}), Err(Fault::NotYet)),
        (json!({"nbf": true}), Err(Fault::Claim)),
    ] {
        let token = signer.token(&es256("k1"), &with(&more));
        assert_eq!(proven(&token, &keys).map(drop), expected, "{more}");
    }
}

#[test]
fn a26_what_a_header_demands_and_nobody_does_is_refused() {
    let signer = Signer::p256();
    let keys = set(&[signer.jwk("k1")]);
    for (name, value, expected) in [
        ("typ", json!("at+JWT"), Ok(())),
        ("typ", json!("application/jwt"), Ok(())),
        ("cty", json!("x"), Ok(())),
        ("crit", json!(["exp"]), Err(Fault::Header)),
        ("crit", json!([]), Err(Fault::Header)),
        ("typ", json!("logout+jwt"), Err(Fault::Header)),
        ("typ", json!(1), Err(Fault::Header)),
        ("kid", json!(["k1"]), Err(Fault::Header)),
        ("alg", json!(["ES256"]), Err(Fault::Algorithm)),
        ("alg", json!(null), Err(Fault::Algorithm)),
    ] {
        let mut header = es256("k1");
        header[name] = value;
        let token = signer.token(&header, &claims());
        assert_eq!(proven(&token, &keys).map(drop), expected, "{header}");
    }
}

#[test]
fn a26_what_is_said_twice_or_too_deep_or_otherwise_than_strictly_is_refused() {
    let signer = Signer::p256();
    let keys = set(&[signer.jwk("k1")]);
    let (header, said) = (es256("k1"), claims().to_string());
    let more = |text: &str| format!("{},{text}}}", &said[..said.len() - 1]);
    let deep = |levels: usize| {
        let (open, close) = ("[".repeat(levels), "]".repeat(levels));
        more(&format!("\"deep\":{open}{close}"))
    };
    let plain = |claims: &str| signer.raw(&header.to_string(), claims, &header);
    assert!(proven(&plain(&deep(14)), &keys).is_ok());
    for claims in [
        more("\"sub\":\"eve\""),
        more("\"s\\u0075b\":\"eve\""),
        more("\"a\":{\"b\":1,\"b\":2}"),
        deep(16),
        deep(6_000),
        format!("{said} x"),
        format!("{said}{said}"),
        format!("[{said}]"),
        "null".to_owned(),
        String::new(),
    ] {
        assert_eq!(
            proven(&plain(&claims), &keys),
            Err(Fault::Malformed),
            "{claims}"
        );
    }
    let twice = "{\"alg\":\"none\",\"kid\":\"k1\",\"alg\":\"ES256\"}";
    assert_eq!(
        proven(&signer.raw(twice, &said, &header), &keys),
        Err(Fault::Malformed)
    );
    let token = plain(&said);
    let (text, signature) = token.rsplit_once('.').unwrap();
    for odd in [
        format!("{token}="),
        format!("{token}.AAAA"),
        format!(" {token}"),
        format!("{token}\n"),
        text.to_owned(),
        format!("{text}."),
        format!("{text}.{}+/", &signature[..signature.len() - 2]),
        "..".to_owned(),
        String::new(),
    ] {
        assert!(proven(&odd, &keys).is_err(), "{odd}");
    }
}

#[test]
fn a26_no_signature_stands_for_another_text_and_no_changed_one_for_its_own() {
    for signer in [Signer::p256(), Signer::rsa()] {
        let keys = set(&[signer.jwk("k1")]);
        let name = if matches!(signer, Signer::Rsa(_)) {
            "RS256"
        } else {
            "ES256"
        };
        let header = json!({"alg": name, "kid": "k1"});
        let token = signer.token(&header, &claims());
        let (text, signature) = token.rsplit_once('.').unwrap();
        let (head, _) = text.split_once('.').unwrap();
        let other = b64(with(&json!({"sub": "eve"})).to_string());
        let swapped = format!("{head}.{other}.{signature}");
        assert_eq!(proven(&swapped, &keys), Err(Fault::Signature));
        let bytes = URL_SAFE_NO_PAD.decode(signature).unwrap();
        for (place, bit) in (0..bytes.len()).flat_map(|place| [(place, 1), (place, 0x80)]) {
            let mut changed = bytes.clone();
            changed[place] ^= bit;
            let forged = format!("{text}.{}", b64(changed));
            assert_eq!(proven(&forged, &keys), Err(Fault::Signature), "{place}");
        }
        for length in [0, 1, bytes.len() - 1] {
            let cut = format!("{text}.{}", b64(&bytes[..length]));
            assert_eq!(proven(&cut, &keys), Err(Fault::Signature), "{length}");
        }
        let longer = format!("{text}.{}", b64([&bytes[..], &[0]].concat()));
        assert_eq!(proven(&longer, &keys), Err(Fault::Signature));
        // All of r and s nought: what some libraries took for any text.
        let nought = format!("{text}.{}", b64(vec![0; bytes.len()]));
        assert_eq!(proven(&nought, &keys), Err(Fault::Signature));
    }
}

#[test]
fn claims_are_read_by_name_or_by_path_and_say_one_thing_or_several() {
    let signer = Signer::p256();
    let keys = set(&[signer.jwk("k1")]);
    let said = with(&json!({
        "a/b.c": "flat", "realm": {"roles": ["x", "y", 3]}, "scope": "p:1  p:2", "one": ["only"], "ok": true
    }));
    let claims = proven(&signer.token(&es256("k1"), &said), &keys).unwrap();
    let name = |text: &str| ClaimName::read(text).unwrap();
    assert_eq!(claims.text(&name("a/b.c")), Some("flat"));
    assert_eq!(claims.text(&name("one")), Some("only"));
    assert_eq!(claims.text(&name("/realm/roles/1")), Some("y"));
    assert_eq!(claims.text(&name("/realm/roles")), None);
    assert_eq!(claims.texts(&name("/realm/roles")), Some(vec!["x", "y"]));
    assert_eq!(claims.texts(&name("scope")), Some(vec!["p:1", "p:2"]));
    assert_eq!(claims.texts(&name("exp")), None);
    assert!(claims.says(&name("ok"), &[json!(true)]));
    assert!(claims.says(&name("/realm/roles"), &[json!("z"), json!("y")]));
    assert!(!claims.says(&name("/realm/roles"), &[json!("z")]));
    assert!(!claims.says(&name("nothing"), &[Value::Null]));
    assert!(ClaimName::read("").is_none());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a26_no_change_of_a_token_is_believed(place in 0_usize..4_096, new in any::<u8>()) {
        use std::sync::LazyLock;
        static GOOD: LazyLock<(String, KeySet)> = LazyLock::new(|| {
            let signer = Signer::p256();
            (signer.token(&es256("k1"), &claims()), set(&[signer.jwk("k1")]))
        });
        let (token, keys) = &*GOOD;
        let mut bytes = token.clone().into_bytes();
        let place = place % bytes.len();
        prop_assume!(bytes[place] != new);
        bytes[place] = new;
        let told = Unproven::read(&bytes).and_then(|read| read.proven(&rules(), keys, NOW));
        prop_assert!(told.is_err());
    }

    #[test]
    fn a26_whatever_comes_is_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300), parts in proptest::collection::vec("[ -~]{0,60}", 3)) {
        let keys = set(&[Signer::ed().jwk("k1")]);
        looks_like_one(&bytes);
        if let Ok(read) = Unproven::read(&bytes) {
            prop_assert!(read.proven(&rules(), &keys, NOW).is_err());
        }
        let dressed: Vec<String> = parts.iter().map(b64).collect();
        if let Ok(read) = Unproven::read(dressed.join(".").as_bytes()) {
            prop_assert!(read.proven(&rules(), &keys, NOW).is_err());
        }
        let _ = KeySet::parse(&bytes);
    }
}
