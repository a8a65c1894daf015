//! What a file may say, and how its mistakes are told.

use proptest::prelude::*;

use super::*;

#[test]
fn every_mistake_is_told_with_its_place_and_its_cure() {
    let told = mistakes(
        r#"
        [openai."gpt-5"]
        can = ["chat", "telepathy"]
        contxt = 1
        output_limit = -1
        price = { input = 1.25, output = "1e3", bananas = "1" }
        "#,
    );
    let expect = [
        ("openai.gpt-5.price.input", "not exact"),
        (
            "openai.gpt-5.price.output",
            "\"1e3\" is not a decimal number",
        ),
        (
            "openai.gpt-5.price.bananas",
            "use one of: input, cached_input",
        ),
        ("openai.gpt-5.can", "\"telepathy\" is not known"),
        ("openai.gpt-5.output_limit", "above zero"),
        ("openai.gpt-5: does not say where", "confirmed"),
        ("openai.gpt-5.contxt", "is not a key known here"),
    ];
    for (path, what) in expect {
        let found = told
            .iter()
            .any(|line| line.starts_with(path) && line.contains(what));
        assert!(found, "{path} … {what} is missing in {told:#?}");
    }
}

#[test]
fn a_name_two_models_claim_is_a_mistake() {
    let twice = r#"
        [p.a]
        can = ["chat"]
        aliases = ["x", "b", "w*"]
        unconfirmed = true
        [p.b]
        can = ["chat"]
        aliases = ["x"]
        versions = ["w*"]
        unconfirmed = true
    "#;
    let told = mistakes(twice);
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(
        told[0].starts_with("p.a: \"b\" is already a name of \"b\""),
        "{told:#?}"
    );
}

#[test]
fn a_successor_that_is_missing_or_runs_in_a_circle_is_a_mistake() {
    let entry = |name: &str, next: &str| {
        format!(
            "[p.{name}]\ncan = [\"chat\"]\nretired = \"2026-01-01\"\nsuccessor = \"{next}\"\nunconfirmed = true\n"
        )
    };
    let told = mistakes(&[entry("a", "b"), entry("b", "a"), entry("c", "nobody")].concat());
    assert_eq!(told.len(), 3, "{told:#?}");
    assert!(
        told.iter()
            .any(|line| line.contains("leads back to itself"))
    );
    assert!(
        told.iter()
            .any(|line| line.contains("\"nobody\" is not a model of p"))
    );
}

#[test]
fn what_contradicts_itself_is_a_mistake() {
    let cases = [
        ("price = { input = \"1\" }", "does not say where"),
        ("confirmed = \"x\"", "price: is missing"),
        (
            "unconfirmed = true\nconfirmed = \"x\"\nprice = { input = \"1\" }",
            "contradicts confirmed",
        ),
        (
            "unconfirmed = true\nbatch_factor = \"0.5\"",
            "parts of it are there",
        ),
        (
            "unconfirmed = true\ncontext = 5\noutput_limit = 6",
            "more than the context holds",
        ),
        (
            "unconfirmed = true\nretired = \"2026-01-01\"\ndeprecated = \"2026-02-01\"",
            "before deprecated",
        ),
        (
            "unconfirmed = true\nsuccessor = \"m\"",
            "a model that stays",
        ),
        (
            "unconfirmed = true\nprice = { input = \"2\", output = \"1\" }\nlong_context = [{ above = 5, input = \"3\" }]",
            "no price for output",
        ),
        (
            "unconfirmed = true\nprice = { input = \"2\" }\nlong_context = [{ above = 5, input = \"1\" }]",
            "costs less (1)",
        ),
        (
            "unconfirmed = true\nprice = { input = \"2\" }\nlong_context = [{ input = \"3\" }]",
            "has no length",
        ),
        (
            "unconfirmed = true\nprice = { input = \"2\" }\nlong_context = [{ above = 5, input = \"3\" }, { above = 5, input = \"4\" }]",
            "not longer than the one before",
        ),
    ];
    for (text, what) in cases {
        let told = mistakes(&format!("[p.m]\ncan = [\"chat\"]\n{text}\n"));
        assert!(
            told.iter().any(|line| line.contains(what)),
            "{text}: {told:#?}"
        );
    }
    for name in ["\"*\"", "\"a*b\""] {
        let told = mistakes(&format!("[p.{name}]\ncan = [\"chat\"]\nunconfirmed = true"));
        assert!(told[0].contains("is not a name of a model"), "{told:?}");
    }
    assert!(mistakes("[same_as]\nazure = \"openai\"")[0].contains("is not another provider"));
    assert!(mistakes("facts = \"x\"\n[p.m\n")[0].contains("is not TOML in line 2"));
}

proptest! {
    #[test]
    fn no_text_panics_the_reader(at in 0..BOOK.len(), cut in 0..40_usize, junk in "[\\[\\]{}=\"a-z0-9.*\n]{0,8}") {
        let mut text = BOOK.to_owned();
        let end = (at + cut).min(text.len());
        text.replace_range(at..end, &junk);
        let _ = Registry::parse(&text);
        let _ = book().with_own(&text);
    }
}
