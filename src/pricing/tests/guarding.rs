//! Which new registry may replace the one in use.

use super::*;

fn shop(models: impl IntoIterator<Item = (usize, &'static str)>) -> Registry {
    let entries = models.into_iter().map(|(index, price)| {
        let provider = if index == 0 { "small" } else { "large" };
        format!("[{provider}.m{index}]\ncan = [\"chat\"]\nprice = {{ input = \"{price}\" }}\nunconfirmed = true\n")
    });
    Registry::parse(&entries.collect::<String>()).unwrap()
}

fn objections(old: &Registry, new: &Registry) -> Vec<Objection> {
    admit(old, new, false).map_or_else(|refused| refused.objections, |()| Vec::new())
}

#[test]
fn c05_a_registry_that_lost_more_than_a_fifth_is_refused_unless_forced() {
    let old = shop((0..10).map(|index| (index, "1")));
    let enough = shop((0..8).map(|index| (index, "1")));
    assert_eq!(objections(&old, &enough), []);
    let too_few = shop((0..7).map(|index| (index, "1")));
    assert_eq!(
        objections(&old, &too_few),
        [Objection::Shrunk { from: 10, kept: 7 }]
    );
    assert_eq!(admit(&old, &too_few, true), Ok(()));
}

#[test]
fn other_models_do_not_make_up_for_those_that_went() {
    let old = shop((0..10).map(|index| (index, "1")));
    let renamed = shop((0..2).chain(20..40).map(|index| (index, "1")));
    assert_eq!(
        objections(&old, &renamed),
        [Objection::Shrunk { from: 10, kept: 2 }]
    );
}

#[test]
fn a_provider_that_vanished_is_told_however_small() {
    let old = shop((0..10).map(|index| (index, "1")));
    let without = shop((1..10).map(|index| (index, "1")));
    let gone = Objection::ProviderGone {
        provider: "small".to_owned(),
    };
    assert_eq!(objections(&old, &without), [gone]);
}

#[test]
fn c05_a_price_that_jumps_more_than_tenfold_is_refused() {
    let old = shop([(1, "1")]);
    for belief in ["10", "0.1", "1"] {
        assert_eq!(objections(&old, &shop([(1, belief)])), [], "{belief}");
    }
    for beyond in ["10.000000001", "0.099999999", "0"] {
        let jump = Objection::PriceJump {
            path: "large.m1.price.input".to_owned(),
            from: "1".to_owned(),
            to: beyond.to_owned(),
        };
        assert_eq!(objections(&old, &shop([(1, beyond)])), [jump]);
    }
}

#[test]
fn a_price_that_vanished_is_told() {
    let new = BOOK.replace(
        "price = { input = \"3\", output = \"12\" }\nconfirmed = \"a test\"",
        "unconfirmed = true",
    );
    let told = objections(&book(), &Registry::parse(&new).unwrap());
    assert_eq!(
        told,
        [Objection::PriceGone {
            path: "openai.\"ft:gpt-a*\"".to_owned()
        }]
    );
}

#[test]
fn jumps_hide_neither_in_steps_nor_tiers_nor_factors() {
    let cases = [
        (
            "above = 272_000, input = \"2.5\"",
            "above = 272_000, input = \"250\"",
            "long_context.input",
        ),
        (
            "priority = { input = \"2.5\"",
            "priority = { input = \"250\"",
            "tiers.priority.input",
        ),
        ("flex = \"0.5\"", "flex = \"0.01\"", "tiers.flex"),
        (
            "batch_factor = \"0.5\"",
            "batch_factor = \"0\"",
            "batch_factor",
        ),
        (
            "cached_input = \"0.125\", ",
            "cached_input = \"0.01\", ",
            "price.cached_input",
        ),
    ];
    for (from, to, key) in cases {
        let new = Registry::parse(&BOOK.replace(from, to)).unwrap();
        let told = admit(&book(), &new, false).unwrap_err().to_string();
        assert!(
            told.contains(&format!("openai.gpt-a.{key} would change")),
            "{key}: {told}"
        );
    }
}

#[test]
fn the_same_registry_is_always_admitted() {
    let embedded = Registry::embedded().unwrap();
    assert_eq!(
        admit(&embedded, &Registry::embedded().unwrap(), false),
        Ok(())
    );
    assert_eq!(admit(&book(), &book(), false), Ok(()));
}

#[test]
fn an_empty_file_is_refused() {
    let told = objections(&book(), &Registry::parse("").unwrap());
    assert!(
        told.contains(&Objection::Shrunk { from: 8, kept: 0 }),
        "{told:?}"
    );
}
