#![allow(clippy::unwrap_used, reason = "proptest's macro writes the functions")]
use proptest::prelude::*;

use super::*;

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn at(regions: &[&str]) -> Handling {
    Handling::new(owned(regions), false, None)
}

fn demand(regions: &[&str]) -> Demand {
    let regions = owned(regions);
    Demand::default().and(&Demands {
        regions: Some(&regions),
        ..Demands::default()
    })
}

fn served(demand: &Demand, handling: &Handling, model: &str) -> Result<(), Violation> {
    demand.allows(Server {
        provider: "p",
        handling,
        model,
    })
}

#[test]
fn a20_a_region_lies_in_its_jurisdiction_and_in_no_other() {
    for (place, group) in [
        ("eu-central-1", "eu"),
        ("eu-west-2", "uk"),
        ("eu-central-2", "ch"),
        ("eusc-de-east-1", "eu"),
        ("us-gov-west-1", "us"),
        ("europe-west4", "eu"),
        ("europe-west2", "uk"),
        ("europe-west6", "ch"),
        ("europe-southwest1", "eu"),
        ("northamerica-northeast1", "ca"),
        ("us-east5", "us"),
        ("germanywestcentral", "eu"),
        ("norwayeast", "no"),
        ("switzerlandnorth", "ch"),
        ("eastus2", "us"),
        ("eu", "eu"),
        ("our-cellar", "our-cellar"),
    ] {
        for wanted in ["eu", "uk", "ch", "us", "ca", "no", "our-cellar"] {
            let inside = served(&demand(&[wanted]), &at(&[place]), "m").is_ok();
            assert_eq!(inside, wanted == group, "{place} in {wanted}");
        }
        assert!(served(&demand(&[place]), &at(&[place]), "m").is_ok());
    }
    assert!(served(&demand(&["eu-*"]), &at(&["eu-west-2"]), "m").is_ok());
    // Somewhere in the Union is not in Frankfurt.
    let frankfurt = served(&demand(&["eu-central-1"]), &at(&["eu"]), "m");
    assert_eq!(frankfurt, Err(Violation::Region));
}

#[test]
fn a20_what_nobody_promises_is_not_assumed() {
    let silent = Handling::default();
    assert_eq!(
        served(&demand(&["eu"]), &silent, "m"),
        Err(Violation::Region)
    );
    // One of two regions is not the one that was demanded.
    let either = at(&["eu", "us"]);
    assert_eq!(
        served(&demand(&["eu"]), &either, "m"),
        Err(Violation::Region)
    );
    assert!(served(&demand(&["eu", "us"]), &either, "m").is_ok());
    let strict = Demand::default().and(&Demands {
        zero_retention: true,
        no_training: true,
        ..Demands::default()
    });
    for (zero, trains, verdict) in [
        (false, None, Err(Violation::Retention)),
        (false, Some(false), Err(Violation::Retention)),
        (true, None, Ok(())),
        (true, Some(false), Ok(())),
        (true, Some(true), Err(Violation::Training)),
    ] {
        let handling = Handling::new(Vec::new(), zero, trains);
        assert_eq!(served(&strict, &handling, "m"), verdict, "{handling:?}");
    }
    assert!(served(&Demand::default(), &silent, "m").is_ok());
}

#[test]
fn a20_a_profile_of_bedrock_is_where_its_name_says() {
    let frankfurt = at(&["eu-central-1"]).by_model();
    let (eu, here) = (demand(&["eu"]), demand(&["eu-central-1"]));
    for (model, in_eu, is_here) in [
        ("anthropic.claude-x-v1:0", true, true),
        ("eu.anthropic.claude-x-v1:0", true, false),
        ("us.anthropic.claude-x-v1:0", false, false),
        ("global.anthropic.claude-x-v1:0", false, false),
        (
            "arn:aws:bedrock:eu-central-1:1:inference-profile/global.anthropic.x",
            false,
            false,
        ),
        (
            "arn:aws:bedrock:eu-central-1:1:application-inference-profile/ab12",
            false,
            false,
        ),
        (
            "arn:aws:bedrock:eu-central-1:1:prompt-router/ab12",
            false,
            false,
        ),
        (
            "arn:aws:bedrock:eu-central-1:1:default-prompt-router/anthropic.claude:1",
            false,
            false,
        ),
        ("zz.anthropic.claude-x-v1:0", false, false),
        (
            "arn:aws:bedrock:eu-central-1::foundation-model/anthropic.x",
            true,
            true,
        ),
    ] {
        assert_eq!(served(&eu, &frankfurt, model).is_ok(), in_eu, "{model}");
        assert_eq!(served(&here, &frankfurt, model).is_ok(), is_here, "{model}");
    }
    assert_eq!(frankfurt.place_of("global.x"), Some("anywhere"));
    assert_eq!(frankfurt.place_of("amazon.x"), Some("eu-central-1"));
    // Elsewhere a dot in a name is a dot in a name.
    assert!(served(&eu, &at(&["eu"]), "global.model").is_ok());
}

#[test]
fn t3_names_of_providers_are_a_filter_too() {
    let (only, not) = (owned(&["a*", "b"]), owned(&["ab"]));
    let demand = Demand::default().and(&Demands {
        providers: Some(&only),
        not_providers: &not,
        ..Demands::default()
    });
    let handling = Handling::default();
    let allowed = |provider| {
        demand
            .allows(Server {
                provider,
                handling: &handling,
                model: "m",
            })
            .is_ok()
    };
    let verdicts = ["a", "aa", "ab", "b", "bb"].map(allowed);
    assert_eq!(verdicts, [true, true, false, true, false]);
    assert_eq!(demand.words(), ["providers", "not_providers"]);
    assert_eq!(demand.region(), None);
    assert!(!demand.is_none() && Demand::default().is_none());
}

#[test]
fn t3_a_narrower_list_inside_a_wider_one_is_told_from_one_beyond_it() {
    let organisation = demand(&["eu"]);
    assert_eq!(organisation.beyond(&owned(&["eu-central-1", "eu"])), None);
    let beyond = owned(&["eu-central-1", "us"]);
    assert_eq!(organisation.beyond(&beyond), Some(&"us".to_owned()));
    let team = owned(&["eu-central-1"]);
    let both = organisation.and(&Demands {
        regions: Some(&team),
        ..Demands::default()
    });
    assert_eq!(both.region(), Some("eu & eu-central-1"));
    assert!(served(&both, &at(&["eu-central-1"]), "m").is_ok());
    assert!(served(&both, &at(&["eu-north-1"]), "m").is_err());
    assert!(both.allows_at(&team).is_ok());
    assert_eq!(both.allows_at(&owned(&["us"])), Err(Violation::Region));
    assert_eq!(both.allows_at(&[]), Err(Violation::Region));
}

#[derive(Clone, Debug)]
struct Wanted {
    regions: Option<Vec<String>>,
    zero_retention: bool,
    no_training: bool,
    providers: Option<Vec<String>>,
    not_providers: Vec<String>,
}

impl Wanted {
    fn demands(&self) -> Demands<'_> {
        Demands {
            regions: self.regions.as_deref(),
            zero_retention: self.zero_retention,
            no_training: self.no_training,
            providers: self.providers.as_deref(),
            not_providers: &self.not_providers,
        }
    }
}

fn names(from: &'static [&'static str], least: usize) -> impl Strategy<Value = Vec<String>> {
    let name = proptest::sample::select(from).prop_map(str::to_owned);
    proptest::collection::vec(name, least..4)
}

const PLACES: &[&str] = &[
    "eu",
    "us",
    "eu-central-1",
    "eu-west-2",
    "westeurope",
    "eu-*",
];

fn wanted() -> impl Strategy<Value = Wanted> {
    (
        proptest::option::of(names(PLACES, 1)),
        any::<bool>(),
        any::<bool>(),
        proptest::option::of(names(&["a", "b", "a*"], 1)),
        names(&["a", "b", "c"], 0),
    )
        .prop_map(
            |(regions, zero_retention, no_training, providers, not_providers)| Wanted {
                regions,
                zero_retention,
                no_training,
                providers,
                not_providers,
            },
        )
}

fn handling() -> impl Strategy<Value = Handling> {
    let regions = names(&["eu", "us", "eu-central-1", "eu-west-2", "westeurope"], 0);
    let trains = proptest::option::of(any::<bool>());
    (regions, any::<bool>(), trains, any::<bool>()).prop_map(
        |(regions, zero_retention, trains, by_model)| {
            let handling = Handling::new(regions, zero_retention, trains);
            if by_model {
                handling.by_model()
            } else {
                handling
            }
        },
    )
}

proptest! {
    /// Whoever demands, in whatever order: all of it holds, and nothing more.
    #[test]
    fn a20_demands_taken_together_are_met_by_exactly_those_who_meet_each(
        one in wanted(),
        two in wanted(),
        handling in handling(),
        provider in proptest::sample::select(vec!["a", "b", "ab", "c"]),
        model in proptest::sample::select(vec!["m", "eu.m", "global.m"]),
    ) {
        let none = Demand::default();
        let meets = |demand: &Demand| {
            demand.allows(Server { provider, handling: &handling, model }).is_ok()
        };
        let each = meets(&none.and(&one.demands())) && meets(&none.and(&two.demands()));
        let both = none.and(&one.demands()).and(&two.demands());
        prop_assert_eq!(meets(&both), each);
        prop_assert_eq!(meets(&none.and(&two.demands()).and(&one.demands())), each);
    }
}
