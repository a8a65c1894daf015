//! The operator's entries over those of the file.

use proptest::prelude::*;

use super::*;

#[test]
fn an_own_price_changes_that_price_and_nothing_else() {
    let registry = book()
        .with_own("[openai.\"gpt-a\"]\nprice = { output = \"7\" }")
        .unwrap();
    let own = registry.find("openai", "gpt-a").unwrap().model;
    let before = model("openai", "gpt-a");
    let expected = Model {
        prices: before
            .prices
            .iter()
            .map(|(class, rate)| {
                (
                    class,
                    if class == Class::Output {
                        "7".parse().unwrap()
                    } else {
                        rate
                    },
                )
            })
            .collect(),
        source: Source::Confirmed("the operator".to_owned()),
        ..(*before).clone()
    };
    assert_eq!(*own, expected);
}

#[test]
fn a_new_model_needs_no_more_than_a_price() {
    let own = "[mine.\"llama\"]\ncan = [\"chat\"]\nprice = { input = \"0.1\", output = \"0.2\" }";
    let registry = book().with_own(own).unwrap();
    assert!(registry.find("mine", "llama").is_some());
    assert_eq!(registry.len(), book().len() + 1);
}

#[test]
fn a_replaced_entry_keeps_nothing() {
    let own = "[openai.\"gpt-a\"]\nreplace = true\ncan = [\"chat\"]\nprice = { input = \"1\" }";
    let registry = book().with_own(own).unwrap();
    let replaced = registry.find("openai", "gpt-a").unwrap().model;
    assert!(replaced.long_context.is_empty() && replaced.prices.get(Class::Output).is_none());
}

#[test]
fn a_name_the_operator_gives_away_leaves_its_old_model() {
    let own = "[openai.mine]\ncan = [\"chat\"]\naliases = [\"gpt-a-latest\"]\nprice = { input = \"1\" }\n\
               [openai.\"gpt-a-2026-01-02\"]\ncan = [\"chat\"]\nprice = { input = \"1\" }";
    let registry = book().with_own(own).unwrap();
    assert_eq!(
        registry.find("openai", "gpt-a-latest").unwrap().model.name,
        "mine"
    );
    let version = registry.find("openai", "gpt-a-2026-01-02").unwrap();
    assert_eq!(
        (version.model.name.as_str(), version.by),
        ("gpt-a-2026-01-02", MatchedBy::Name)
    );
}

#[test]
fn own_entries_are_checked_like_all_others() {
    let error = book()
        .with_own("[openai.\"gpt-a\"]\nprize = { output = \"7\" }")
        .unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("openai.gpt-a.prize: is not a key"),
        "{error}"
    );
    assert!(book().with_own("openai = 5").is_err());
    assert!(book().with_own("[openai]\n\"gpt-a\" = 5").is_err());
    assert!(book().with_own("same_as = 5").is_err());
}

proptest! {
    #[test]
    fn what_own_entries_do_not_name_stays(which in 0..9_usize, price in 1..1_000_u32) {
        let book = book();
        let names: Vec<_> = book.models().cloned().collect();
        let named = &names[which % names.len()];
        let own = format!("[{}.\"{}\"]\nreplace = true\ncan = [\"chat\"]\nprice = {{ input = \"{price}\" }}", named.provider, named.name);
        let registry = book.with_own(&own).unwrap();
        for model in &names {
            let after = registry.models().find(|after| after.provider == model.provider && after.name == model.name).unwrap();
            prop_assert_eq!(after == model, model != named, "{}", model.name);
        }
    }
}
