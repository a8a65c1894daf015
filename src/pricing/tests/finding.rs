//! From names to models, and how long those answer.

use proptest::prelude::*;

use super::*;

fn found(provider: &str, name: &str) -> Option<(String, MatchedBy)> {
    let found = book().find(provider, name)?;
    Some((found.model.name.clone(), found.by))
}

#[test]
fn a_model_is_found_by_any_of_its_names() {
    for (asked, name, by) in [
        ("gpt-a", "gpt-a", MatchedBy::Name),
        ("gpt-a-latest", "gpt-a", MatchedBy::Alias),
        ("gpt-a-2026-01-02", "gpt-a", MatchedBy::Version),
        ("gpt-a-2026-03-04", "gpt-a", MatchedBy::Dated),
        ("gpt-a@20260304", "gpt-a", MatchedBy::Dated),
        ("gpt-a-20260304", "gpt-a", MatchedBy::Dated),
        ("gpt-a-2026-13-04", "gpt-a*", MatchedBy::Beginning),
        ("ft:gpt-a:me", "ft:gpt-a*", MatchedBy::Beginning),
    ] {
        let expected = Some((name.to_owned(), by));
        assert_eq!(found("openai", asked), expected, "{asked}");
    }
    assert_eq!(found("openai", "gpt-b"), None);
    assert_eq!(found("nobody", "gpt-a"), None);
    assert_eq!(found("openai", &"gpt-a".repeat(60)), None);
}

#[test]
fn the_longest_beginning_wins() {
    let text = r#"
        [p."a*"]
        can = ["chat"]
        unconfirmed = true
        [p."a-b*"]
        can = ["chat"]
        unconfirmed = true
    "#;
    let registry = Registry::parse(text).unwrap();
    assert_eq!(registry.find("p", "a-b-c").unwrap().model.name, "a-b*");
    assert_eq!(registry.find("p", "a-c").unwrap().model.name, "a*");
}

#[test]
fn a_provider_with_the_models_of_another_finds_them() {
    assert_eq!(found("azure", "gpt-a").unwrap().0, "gpt-a");
    let own = "[azure.\"gpt-a\"]\ncan = [\"chat\"]\nprice = { input = \"2\", output = \"11\" }";
    let registry = book().with_own(own).unwrap();
    let model = registry.find("azure", "gpt-a").unwrap().model;
    assert_eq!(model.provider, "azure", "its own come first");
    assert_eq!(
        registry.find("azure", "middle").unwrap().model.provider,
        "openai"
    );
}

#[test]
fn a_prefix_of_the_provider_is_not_part_of_the_name() {
    assert_eq!(found("gemini", "models/pro").unwrap().0, "pro");
    assert_eq!(found("gemini", "models/tuned/pro").unwrap().0, "pro");
    assert_eq!(found("openai", "models/gpt-a"), None);
}

proptest! {
    #[test]
    fn no_name_panics_the_search(provider in "(openai|gemini|azure|.{0,6})", name in "(gpt-a)?.{0,16}") {
        let _ = book().find(&provider, &name);
    }
}

#[test]
fn a_deprecated_model_names_the_first_successor_that_still_answers() {
    let registry = book();
    let old = model("openai", "old");
    let successor = |standing: Standing| match standing {
        Standing::Current => None,
        Standing::Deprecated { successor, .. } | Standing::Retired { successor, .. } => {
            successor.map(|model| model.name.clone())
        }
    };
    assert_eq!(
        registry.standing(&old, day("2025-12-31")),
        Standing::Deprecated {
            retires: Some(day("2026-06-01")),
            successor: Some(model("openai", "middle")),
        }
    );
    let retired = registry.standing(&old, day("2026-06-01"));
    assert!(
        matches!(retired, Standing::Retired { .. }),
        "the day itself counts"
    );
    assert_eq!(successor(retired).as_deref(), Some("middle"));
    let later = registry.standing(&old, day("2026-09-01"));
    assert_eq!(
        later.warning(&old).as_deref(),
        Some("299 - \"model old ended on 2026-06-01; use gpt-a\"")
    );
    let current = registry.standing(&model("openai", "gpt-a"), day("2099-01-01"));
    assert_eq!(current.warning(&old), None);
}

#[test]
fn a_name_cannot_break_out_of_the_warning() {
    let text =
        "[p.\"a\\\"\\r\\n b\"]\ncan = [\"chat\"]\nretired = \"2026-01-01\"\nunconfirmed = true";
    let registry = Registry::parse(text).unwrap();
    let model = registry.models().next().unwrap().clone();
    let warning = registry
        .standing(&model, day("2026-02-01"))
        .warning(&model)
        .unwrap();
    assert_eq!(warning, "299 - \"model a'?? b ended on 2026-01-01\"");
}
