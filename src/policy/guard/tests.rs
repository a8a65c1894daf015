#![allow(clippy::unwrap_used, reason = "tests")]

use std::sync::OnceLock;

use proptest::prelude::*;

use super::*;

fn finder() -> &'static Finder {
    static FINDER: OnceLock<Finder> = OnceLock::new();
    FINDER.get_or_init(|| {
        let pattern = Pattern {
            name: "order-number".to_owned(),
            regex: r"\bORD-\d{6}\b".to_owned(),
            in_answers: true,
        };
        let lists = Lists {
            names: vec!["Anna Müller".to_owned(), "Bo".to_owned()],
            patterns: vec![pattern],
        };
        Finder::new(&lists).unwrap()
    })
}

fn all(action: Action) -> Actions {
    let mut actions = Actions::default();
    for class in Class::ALL {
        actions.set(class.rule(), action);
    }
    actions.set(RuleId::of_pattern(0).unwrap(), action);
    actions
}

fn found(text: &str) -> Vec<(&str, String)> {
    let finder = finder();
    let hits = finder.find(text, 0, &all(Action::Mark));
    hits.into_iter()
        .map(|hit| (&text[hit.range.clone()], finder.word(hit.rule).to_owned()))
        .collect()
}

/// What is there has to be found as this, and as nothing else; for each also inside a sentence.
fn is_found(word: &str, texts: &[&str]) {
    for text in texts {
        for sentence in [
            (*text).to_owned(),
            format!("It is {text}, he said."),
            format!("({text})"),
            format!("über\n{text}\n"),
        ] {
            let found = found(&sentence);
            assert_eq!(found, [(*text, word.to_owned())], "{sentence:?}");
        }
    }
}

fn is_clean(texts: &[&str]) {
    for text in texts {
        assert_eq!(found(text), [], "{text:?}");
    }
}

#[test]
fn addresses_of_mail_are_found() {
    is_found(
        "EMAIL",
        &[
            "anna@example.com",
            "a.b+tag@sub.example.co.uk",
            "müller@straße.de",
            "x_1@xn--bcher-kva.ch",
        ],
    );
    is_clean(&[
        "a@b",
        "@user",
        "a@b.c",
        "1 @ 2.5",
        "foo@.com",
        "a..b@",
        "user@host",
    ]);
    assert_eq!(found("邮箱是foo@bar.com。")[0].0, "foo@bar.com");
    assert_eq!(found("mail a@b.de. Then")[0].0, "a@b.de");
}

#[test]
fn cards_need_an_issuer_and_a_check_digit() {
    is_found(
        "CARD",
        &[
            "4111111111111111",
            "4111 1111 1111 1111",
            "5500-0000-0000-0004",
            "378282246310005",
            "3782 822463 10005",
            "6011000990139424",
            "2223003122003222",
        ],
    );
    is_clean(&[
        "4111111111111112",
        "1234567812345670",
        "0000000000000000",
        "x4111111111111111",
        "4111111111111111a",
    ]);
    assert_eq!(
        found("2024 4111 1111 1111 1111")[0].0,
        "4111 1111 1111 1111"
    );
}

#[test]
fn account_numbers_need_their_countrys_length_and_remainder() {
    is_found(
        "IBAN",
        &[
            "DE89370400440532013000",
            "DE89 3704 0044 0532 0130 00",
            "GB29 NWBK 6016 1331 9268 19",
            "FR14 2004 1010 0505 0001 3M02 606",
            "NO9386011117947",
            "de89370400440532013000",
        ],
    );
    is_clean(&[
        "DE89370400440532013001",
        "XX89370400440532013000",
        "ADE89370400440532013000",
    ]);
}

#[test]
fn national_numbers_are_found_by_form_and_check() {
    is_found(
        "NATIONAL_ID",
        &[
            "123-45-6789",
            "AB123456C",
            "AB 12 34 56 C",
            "86095742719",
            "86 095 742 719",
            "255081416802538",
            "2 55 08 14 168 025 38",
            "12345678Z",
            "12345678-Z",
            "X1234567L",
            "RSSMRA85T10A562S",
            "529.982.247-25",
            "2341 2341 2346",
        ],
    );
    is_clean(&[
        "000-45-6789",
        "666-45-6789",
        "123456789",
        "12345678A",
        "86095742710",
        "RSSMRA85T10A562T",
        "529.982.247-26",
        "2341 2341 2347",
        "DA123456C",
    ]);
    assert_eq!(found("bsn 111222333").len(), 1);
    assert_eq!(found("my SSN is 123456789").len(), 1);
    assert_eq!(found("nummer 111222333").len(), 0);
}

#[test]
fn telephones_are_found_and_other_numbers_are_not() {
    is_found(
        "PHONE",
        &[
            "+49 170 1234567",
            "+1 (212) 555-0123",
            "+33123456789",
            "(212) 555-0123",
            "212-555-0123",
            "1-212-555-0123",
            "01 23 45 67 89",
            "07700 900123",
            "030/1234567",
            "0049 170 1234567",
            "(11) 91234-5678",
        ],
    );
    is_clean(&[
        "2024-11-21",
        "21.11.2024",
        "01.02.2024 12:30",
        "1,234,567.89",
        "10000000",
        "+1",
        "+5 points",
        "3.14159265358979",
        "1234567890",
        "page 12-14",
        "2024 2025 2026",
        "0.123456789",
        "ISBN 978-3-16-148410-0",
        "12345678901234567890123",
    ]);
    assert_eq!(found("Mobile: 98765 43210").len(), 1);
}

#[test]
fn addresses_of_the_internet_are_found() {
    is_found(
        "IP",
        &[
            "192.168.17.5",
            "8.8.8.8",
            "2001:db8::8a2e:370:7334",
            "fe80::1",
        ],
    );
    is_clean(&[
        "127.0.0.1",
        "::1",
        "256.1.1.1",
        "1.2.3",
        "1.2.3.4.5",
        "core::net",
        "a::b",
        "12:30:45",
        "01.02.03.04",
    ]);
}

#[test]
fn names_are_whole_words_in_any_case() {
    for text in ["Anna Müller", "ANNA MÜLLER", "anna müller", "Bo"] {
        assert_eq!(
            found(&format!("Dear {text}, hello")),
            [(text, "PERSON".to_owned())]
        );
    }
    is_clean(&["Bob", "Anna Müllers", "Annabo"]);
}

#[test]
fn secrets_are_found_by_their_mark_or_by_what_stands_before_them() {
    is_found(
        "SECRET",
        &[
            concat!("sk-", "ant-api03-abcdefghij-klmnop1234567"),
            "sk-proj-abcdefghijklmnopqrstuvwx1",
            "AIzaSyA1234567890abcdefghijklmnopqrstuv",
            "AKIAIOSFODNN7EXAMPLE",
            "ghp_abcdefghijklmnopqrstuvwxyz0123456789",
            "xoxb-123456789012-abcdefABCDEF",
            "sy_live_k1abc_0123456789abcdefghijkl_9f3c",
            "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w5N",
            "-----BEGIN RSA PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc=\n-----END RSA PRIVATE KEY-----",
        ],
    );
    is_clean(&[
        "sk-learn-is-a-library-for-learning-machines",
        "task-sk-1",
        "AKIA",
        "eyJhbGciOiJIUzI1NiJ9",
        "the password is wrong",
        "token: abcdefghijklmnop",
        "-----BEGIN CERTIFICATE-----",
        "https://example.com/a@b",
    ]);
    assert_eq!(found("password = \"x9$kQ2mP7#vL\"")[0].0, "x9$kQ2mP7#vL");
    assert_eq!(found("redis://app:s3cr3t@cache:6379")[0].0, "s3cr3t");
    assert_eq!(found("Bearer a8Fk29sLq0Zx7Yw1")[0].0, "a8Fk29sLq0Zx7Yw1");
}

#[test]
fn a_private_key_without_an_end_is_one_to_the_end() {
    let cut = "-----BEGIN PRIVATE KEY-----\nMIIEowIBAAKCAQEA\nabc";
    assert_eq!(found(cut)[0].0, cut);
}

#[test]
fn overlapping_hits_become_one_that_leaves_nothing_behind() {
    let finder = finder();
    let mut actions = all(Action::Redact);
    actions.set(Class::Secret.rule(), Action::Block);
    // The password in the address ends where the address of mail begins to its left.
    let text = "x://u:p4ss.word@example.com";
    let hits = finder.find(text, 0, &actions);
    assert_eq!(hits.len(), 1);
    assert_eq!(&text[hits[0].range.clone()], "p4ss.word@example.com");
    assert_eq!(hits[0].rule, Class::Email.rule());
    assert_eq!(hits[0].action, Action::Block, "the strictest decides");
}

#[test]
fn a25_patterns_are_linear_and_bounded() {
    let refused = |regex: &str, in_answers| {
        let patterns = vec![Pattern {
            name: "x".to_owned(),
            regex: regex.to_owned(),
            in_answers,
        }];
        let lists = Lists {
            patterns,
            ..Lists::default()
        };
        Finder::new(&lists).is_err()
    };
    for regex in [
        "(",
        "a*",
        "(a+)\\1",
        "(?=x)",
        "\\w{1000}{1000}",
        &"a".repeat(2_000),
    ] {
        assert!(refused(regex, false), "{regex:.30}");
    }
    assert!(refused("a+", true), "no end to what would be held back");
    assert!(!refused("a+", false));
    let patterns = vec![Pattern {
        name: "slow".to_owned(),
        regex: "(a+)+b".to_owned(),
        in_answers: false,
    }];
    let finder = Finder::new(&Lists {
        patterns,
        ..Lists::default()
    })
    .unwrap();
    // A search that goes back over what it has seen would not end.
    finder.find(&"a".repeat(100_000), 0, &all(Action::Mark));
}

#[test]
fn placeholders_are_stable_and_never_those_of_the_prompt() {
    let (finder, actions) = (finder(), all(Action::Redact));
    let text = "a@x.de b@x.de a@x.de <EMAIL_2>";
    let mut vault = Vault::default();
    let found = redact(finder, &actions, text, (&mut vault, text.as_bytes()));
    let with: Vec<&str> = found.edits.iter().map(|edit| &*edit.with).collect();
    assert_eq!(with, ["<EMAIL_3>", "<EMAIL_4>", "<EMAIL_3>"]);
    assert_eq!(
        found.tally.met().collect::<Vec<_>>(),
        [(Class::Email.rule(), 3)]
    );
    assert_eq!(
        back(&vault, "to <EMAIL_3>, <EMAIL_2>"),
        "to a@x.de, <EMAIL_2>"
    );
}

fn applied(text: &str, edits: &[Edit]) -> String {
    let mut out = text.to_owned();
    for edit in edits.iter().rev() {
        out.replace_range(edit.range.clone(), &edit.with);
    }
    out
}

#[test]
fn t2_names_get_back_what_went_out_without_brackets() {
    let mut vault = Vault::default();
    let texts = ["a@b.de", "c@d.de"];
    for text in texts {
        let found = redact(finder(), &all(Action::Redact), text, (&mut vault, b""));
        assert_eq!(found.edits.len(), 1);
    }
    let back = |text: &str| {
        let said = streamed(
            finder(),
            &Actions::default(),
            &vault,
            (Form::Label, &[text]),
        );
        said.0.concat()
    };
    assert_eq!(back("EMAIL_1"), "a@b.de");
    assert_eq!(back("\u{e9} EMAIL_2, EMAIL_1!"), "\u{e9} c@d.de, a@b.de!");
    for other in ["EMAIL_10", "xEMAIL_1", "EMAIL_1_", "EMAIL_3", ""] {
        assert_eq!(back(other), other);
    }
}

fn back(vault: &Vault, text: &str) -> String {
    streamed(finder(), &Actions::default(), vault, (Form::Text, &[text]))
        .0
        .concat()
}

/// A text through a channel in pieces: what each piece became, and what ended it.
fn streamed(
    finder: &Finder,
    actions: &Actions,
    vault: &Vault,
    (form, pieces): (Form, &[&str]),
) -> (Vec<String>, Option<RuleId>) {
    let search = Searched {
        finder,
        actions,
        vault,
    };
    let mut channel = Channel::new(form);
    let mut out = vec![String::new(); pieces.len()];
    let mut take = |decided: Decided| {
        for said in decided.said {
            out[usize::try_from(said.slot).unwrap()].push_str(&said.text);
        }
        decided.blocked
    };
    for (slot, piece) in pieces.iter().enumerate() {
        channel.push(slot as u64, piece);
        if let Some(rule) = take(channel.decide(search, false)) {
            return (out, Some(rule));
        }
    }
    let blocked = take(channel.decide(search, true));
    (out, blocked)
}

#[test]
fn s20_a_placeholder_cut_anywhere_is_restored_and_little_is_held() {
    let (finder, actions) = (finder(), all(Action::Redact));
    let prompt = "anna@example.com";
    let mut vault = Vault::default();
    let found = redact(finder, &actions, prompt, (&mut vault, prompt.as_bytes()));
    assert_eq!(applied(prompt, &found.edits), "<EMAIL_1>");
    let said = "Write to <EMAIL_1> now, a < b <EMAIL";
    for cut in 0..=said.len() {
        let pieces = [&said[..cut], &said[cut..]];
        let (out, _) = streamed(finder, &Actions::default(), &vault, (Form::Text, &pieces));
        assert_eq!(
            out.concat(),
            "Write to anna@example.com now, a < b <EMAIL",
            "{cut}"
        );
    }
    let search = Searched {
        finder,
        actions: &Actions::default(),
        vault: &vault,
    };
    let mut channel = Channel::new(Form::Text);
    channel.push(0, "plain words go on at once <EMA");
    let said = channel.decide(search, false).said;
    assert_eq!(said[0].text, "plain words go on at once ");
    assert!(!said[0].is_whole);
}

#[test]
fn s20_in_arguments_it_comes_back_as_json_however_its_brackets_are_spelt() {
    let mut vault = Vault::default();
    let hidden = "a \"b\"\n";
    assert_eq!(vault.hide("PERSON", hidden, b""), "<PERSON_1>");
    let finder = finder();
    for spelt in ["<PERSON_1>", "\\u003cPERSON_1\\u003e", "\\u003CPERSON_1>"] {
        let said = format!("{{\"to\":\"x\\n{spelt}\\\"\"}}");
        for cut in (0..=said.len()).filter(|cut| said.is_char_boundary(*cut)) {
            let pieces = [&said[..cut], &said[cut..]];
            let (out, _) = streamed(finder, &all(Action::Redact), &vault, (Form::Json, &pieces));
            let value: serde_json::Value = serde_json::from_str(&out.concat()).unwrap();
            assert_eq!(value["to"], "x\na \"b\"\n\"", "{cut} {spelt}");
        }
    }
}

#[test]
fn s21_nothing_behind_a_forbidden_place_leaves() {
    let (finder, mut actions) = (finder(), all(Action::Off));
    actions.set(Class::Card.rule(), Action::Block);
    let said = "The card is 4111 1111 1111 1111 and more";
    for cut in 0..=said.len() {
        let pieces = [&said[..cut], &said[cut..]];
        let (out, blocked) = streamed(finder, &actions, &Vault::default(), (Form::Text, &pieces));
        assert_eq!(out.concat(), "The card is ", "{cut}");
        assert_eq!(blocked, Some(Class::Card.rule()));
    }
}

#[test]
fn an_escape_in_arguments_is_never_cut_and_belongs_to_nothing() {
    let finder = finder();
    let said = r#"{"a":"x\nanna@example.com\u00fc"}"#;
    for cut in 0..=said.len() {
        let pieces = [&said[..cut], &said[cut..]];
        let (out, _) = streamed(
            finder,
            &all(Action::Redact),
            &Vault::default(),
            (Form::Json, &pieces),
        );
        assert_eq!(out.concat(), r#"{"a":"x\n<EMAIL>\u00fc"}"#, "{cut}");
    }
}

#[test]
fn a_schema_is_held_against_values_and_told_when_it_says_more_than_is_understood() {
    let schema = serde_json::json!({
        "type": "object", "required": ["name", "tags"], "additionalProperties": false,
        "properties": {
            "name": {"type": "string", "minLength": 1, "maxLength": 5, "pattern": "^[a-zé]+$"},
            "tags": {"type": "array", "minItems": 1, "items": {"$ref": "#/$defs/tag"}},
            "n": {"anyOf": [{"type": "integer", "minimum": 1, "exclusiveMaximum": 3}, {"type": "null"}]},
        },
        "$defs": {"tag": {"enum": ["a", "b"]}},
    });
    let schema = Schema::new(schema).unwrap();
    let fits = |text: &str| schema.fits(&serde_json::from_str(text).unwrap());
    assert!(fits(r#"{"name":"é","tags":["a"],"n":null}"#));
    assert!(fits(r#"{"name":"ab","tags":["a","b"],"n":2}"#));
    for wrong in [
        r#"{"tags":["a"]}"#,
        r#"{"name":"","tags":["a"]}"#,
        r#"{"name":"abcdef","tags":["a"]}"#,
        r#"{"name":"A","tags":["a"]}"#,
        r#"{"name":"a","tags":[]}"#,
        r#"{"name":"a","tags":["c"]}"#,
        r#"{"name":"a","tags":["a"],"n":3}"#,
        r#"{"name":"a","tags":["a"],"n":1.5}"#,
        r#"{"name":"a","tags":["a"],"x":1}"#,
        "[]",
    ] {
        assert!(!fits(wrong), "{wrong}");
    }
    for told in [
        serde_json::json!({"contains": {}}),
        serde_json::json!({"$ref": "https://example.com/x"}),
        serde_json::json!({"properties": {"a": {"pattern": "("}}}),
        serde_json::json!({"items": 5}),
    ] {
        assert!(Schema::new(told.clone()).is_err(), "{told}");
    }
    let circle = Schema::new(serde_json::json!({"$ref": "#"})).unwrap();
    assert!(!circle.fits(&serde_json::json!(1)), "a circle ends");
}

fn texts() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        Just(" ".to_owned()),
        Just("\n".to_owned()),
        Just(", ".to_owned()),
        Just("anna@example.com".to_owned()),
        Just("4111 1111 1111 1111".to_owned()),
        Just("DE89 3704 0044 0532 0130 00".to_owned()),
        Just("GB29 NWBK 6016 1331 9268 19".to_owned()),
        Just("+49 170 1234567".to_owned()),
        Just("(212) 555-0123".to_owned()),
        Just("030 1234567".to_owned()),
        Just("123-45-6789".to_owned()),
        Just("2 55 08 14 168 025 38".to_owned()),
        Just("AB 12 34 56 C".to_owned()),
        Just("192.168.17.5".to_owned()),
        Just("2001:db8::8a2e:370:7334".to_owned()),
        Just(concat!("sk-", "ant-api03-abcdefghij-klmnop1234567").to_owned()),
        Just("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3".to_owned()),
        Just("-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----".to_owned()),
        Just("password: ".to_owned()),
        Just("x9kQ2mP7vLz81".to_owned()),
        Just("phone ".to_owned()),
        Just("Anna Müller".to_owned()),
        Just("Anna".to_owned()),
        Just("Bo".to_owned()),
        Just("ORD-123456".to_owned()),
        Just("<EMAIL_1>".to_owned()),
        Just("<EMAIL_".to_owned()),
        "[a-z ]{0,12}",
        "[0-9 .()+-]{0,14}",
        "[A-Z0-9]{0,8}",
        "\\PC{0,6}",
    ];
    prop::collection::vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

/// The nearest place where the text may be cut.
fn cut_at(text: &str, cut: &prop::sample::Index) -> usize {
    let mut place = cut.index(text.len() + 1);
    while !text.is_char_boundary(place) {
        place -= 1;
    }
    place
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn a_text_without_hits_is_as_it_was(text in "[a-zäöü ,;!?\n]{0,200}") {
        let (finder, actions) = (finder(), all(Action::Redact));
        let mut vault = Vault::default();
        let found = redact(finder, &actions, &text, (&mut vault, text.as_bytes()));
        prop_assume!(found.tally.is_empty());
        prop_assert_eq!(found.edits.len(), 0);
        let (out, blocked) = streamed(finder, &actions, &vault, (Form::Text, &[&text]));
        prop_assert_eq!((out.concat(), blocked), (text, None));
    }

    #[test]
    fn what_is_taken_out_comes_back_as_it_was(text in texts()) {
        let (finder, actions) = (finder(), all(Action::Redact));
        let mut vault = Vault::default();
        let found = redact(finder, &actions, &text, (&mut vault, text.as_bytes()));
        let sent = applied(&text, &found.edits);
        prop_assert_eq!(back(&vault, &sent), text);
    }

    #[test]
    fn nothing_is_found_in_what_is_sent(text in texts()) {
        let (finder, actions) = (finder(), all(Action::Redact));
        let mut vault = Vault::default();
        let found = redact(finder, &actions, &text, (&mut vault, text.as_bytes()));
        for edit in &found.edits {
            prop_assert!(!edit.range.is_empty());
        }
        let ranges: Vec<_> = found.edits.windows(2).map(|pair| pair[0].range.end <= pair[1].range.start).collect();
        prop_assert!(ranges.iter().all(|ordered| *ordered));
    }

    #[test]
    fn no_hit_is_missed_over_any_two_pieces(text in texts(), cut in any::<prop::sample::Index>()) {
        let (finder, actions) = (finder(), all(Action::Redact));
        let mut vault = Vault::default();
        vault.hide("EMAIL", "hidden@example.org", b"");
        let cut = cut_at(&text, &cut);
        let (whole, _) = streamed(finder, &actions, &vault, (Form::Text, &[&text]));
        let (pieces, _) = streamed(finder, &actions, &vault, (Form::Text, &[&text[..cut], &text[cut..]]));
        prop_assert_eq!(pieces.concat(), whole.concat());
    }

    #[test]
    fn no_hit_is_missed_over_single_characters(text in texts()) {
        let (finder, actions) = (finder(), all(Action::Redact));
        let vault = Vault::default();
        let pieces: Vec<String> = text.chars().map(String::from).collect();
        let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
        for form in [Form::Text, Form::Json] {
            let (whole, _) = streamed(finder, &actions, &vault, (form, &[&text]));
            let (single, _) = streamed(finder, &actions, &vault, (form, &pieces));
            prop_assert_eq!(single.concat(), whole.concat());
        }
    }

    #[test]
    fn no_text_panics_and_hits_are_ordered(text in "\\PC{0,80}", noise in "[\\x00-\\x7f]{0,80}") {
        let finder = finder();
        for text in [text, noise] {
            let hits = finder.find(&text, 0, &all(Action::Redact));
            for hit in &hits {
                prop_assert!(text.get(hit.range.clone()).is_some(), "cuts a character");
            }
            prop_assert!(hits.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
            prop_assert!(finder.open_from(&text, &all(Action::Redact)) <= text.len());
        }
    }
}

#[test]
fn what_follows_a_backslash_that_escapes_nothing_is_searched() {
    let (finder, actions, vault) = (finder(), all(Action::Redact), Vault::default());
    let text = "\\DE89 3704 0044 0532 0130 00 anna@example.com";
    let pieces: Vec<String> = text.chars().map(String::from).collect();
    let pieces: Vec<&str> = pieces.iter().map(String::as_str).collect();
    for pieces in [&[text][..], &pieces] {
        let (told, _) = streamed(finder, &actions, &vault, (Form::Json, pieces));
        assert_eq!(told.concat(), "\\<IBAN> <EMAIL>");
    }
}
