use super::*;

#[test]
fn every_scenario_that_ships_is_right_and_has_its_name() {
    for pack in packs() {
        let scenarios = find(pack.name)
            .unwrap()
            .unwrap_or_else(|bad| panic!("{bad}"));
        assert_eq!(scenarios.len(), pack.scenarios.len());
        for (scenario, (name, _)) in scenarios.iter().zip(pack.scenarios) {
            assert_eq!(scenario.name, *name);
            assert!(!scenario.expectations.is_empty(), "{name} expects nothing");
            assert!(!scenario.about.is_empty());
        }
    }
    assert!(find("nothing-of-that-name").is_none());
}

#[test]
fn the_scenario_in_the_readme_is_right() {
    let readme = include_str!("../../../README.md");
    let blocks = readme.split("```toml\n").skip(1);
    let texts = blocks.filter_map(|block| block.split("```").next());
    let scenarios: Vec<&str> = texts.filter(|text| text.starts_with("version")).collect();
    assert_eq!(scenarios.len(), 1);
    let scenario = parse("README.md", scenarios[0]).unwrap_or_else(|bad| panic!("{bad}"));
    assert!(!scenario.expectations.is_empty());
}

/// The mistakes of a fault with these lines.
fn told(fault: &str) -> String {
    match parse("x", &format!("{GOOD}[[fault]]\n{fault}")) {
        Ok(_) => String::new(),
        Err(bad) => bad.to_string(),
    }
}

#[test]
fn a_fault_of_what_stands_before_a_mock_needs_something_to_stand_there() {
    let mocks = "[[mock]]\nname = \"alpha\"\nfront = \"h2\"\n[[mock]]\nname = \"beta\"\nfront = \"tls\"\n[[mock]]\nname = \"gamma\"\nnamed = true\n";
    let told = |fault: &str, mocks: &str| {
        let text = format!("{GOOD}[[fault]]\n{fault}\n{mocks}");
        parse("x", &text).err().map(|bad| bad.to_string())
    };
    for (fault, wrong) in [
        ("fault = \"tls_expired\"\non = [\"alpha\", \"beta\"]", None),
        (
            "fault = \"N05/tls_old\"\non = [\"gamma\"]",
            Some("\"gamma\" needs front = \"tls\""),
        ),
        (
            "fault = \"h2_refused\"\non = [\"alpha\"]\nshare = 0.5",
            None,
        ),
        (
            "fault = \"N10\"\non = [\"beta\"]",
            Some("\"beta\" needs front = \"h2\""),
        ),
        ("fault = \"dns_moved\"\non = [\"gamma\"]", None),
        (
            "fault = \"N01\"\non = [\"*\"]",
            Some("\"alpha\" needs named = true"),
        ),
        (
            "fault = \"h2_calm\"\non = [\"alpha\"]\nshape = \"ramp\"",
            Some("before them"),
        ),
        (
            "fault = \"N05/unheard_of\"\non = [\"alpha\"]",
            Some("has no form"),
        ),
    ] {
        let found = told(fault, mocks);
        match wrong {
            None => assert_eq!(found, None, "{fault}"),
            Some(wrong) => assert!(
                found.as_ref().is_some_and(|found| found.contains(wrong)),
                "{fault}: {found:?}"
            ),
        }
    }
    let alone = told("fault = \"tls_expired\"\non = [\"alpha\"]", "");
    assert!(alone.is_some_and(|told| told.contains("[[mock]] with front")));
}

#[test]
fn a_key_that_does_nothing_is_refused_with_those_that_do() {
    for (fault, said) in [
        (
            "fault = \"kill\"\non = [\"alpha\"]",
            "on does nothing here; this fault takes time",
        ),
        (
            "fault = \"tcp_refuse\"\non = [\"*\"]\nshare = 0.5",
            "share does nothing",
        ),
        (
            "fault = \"tcp_refuse\"\non = [\"*\"]\nnumber = 5",
            "number does nothing",
        ),
        (
            "fault = \"P10\"\non = [\"*\"]\ntime = \"1s\"",
            "time does nothing",
        ),
        (
            "fault = \"N03\"\non = [\"*\"]\nshape = \"ramp\"",
            "grows a share",
        ),
        (
            "fault = \"hang\"\non = [\"*\"]\nactor = \"root\"",
            "actor does nothing",
        ),
        ("fault = \"P10\"", "on names the mocks"),
        ("fault = \"tcp_silent\"", "on names the mocks"),
        ("fault = \"kill\"\ntime = \"0s\"", "at least 50 ms"),
        ("fault = \"kill\"\nfor = \"0s\"", "no time for a fault"),
        (
            "fault = \"P10\"\non = [\"*\"]\nshare = 0.0",
            "share lies above 0",
        ),
        (
            "fault = \"P10\"\non = [\"*\"]\nshape = \"flap\"\nperiod = \"1ms\"",
            "period is at least",
        ),
    ] {
        let told = told(fault);
        assert!(
            told.contains(said),
            "{fault}\n{told:?} does not say {said:?}"
        );
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    assert_eq!(
        told("fault = \"cut\"\non = [\"*\"]\nnumber = 3\nshare = 0.5"),
        ""
    );
    assert_eq!(
        told("fault = \"panic\"\nactor = \"root/router\"\ntime = \"50ms\""),
        ""
    );
}

const GOOD: &str =
    "version = 1\nname = \"x\"\nabout = \"y\"\n[[workload]]\nname = \"w\"\nper_second = 1\n";

#[test]
fn every_mistake_is_told_at_once_with_its_place() {
    assert!(parse("good", GOOD).is_ok());
    let bad = format!(
        "{}at_once = 3\nleave_share = 2.0\n[[fault]]\nfault = \"P99\"\non = [\"nobody\"]\nat = \"1h\"\n[[fault]]\nfault = \"panic\"\n[[expect]]\nwhat = \"share\"\n[[mock]]\nname = \"m\"\n",
        GOOD.replace("version = 1", "version = 2")
    );
    let told = parse("bad.toml", &bad).unwrap_err().to_string();
    for said in [
        "version = 2",
        "exclude each other",
        "leave_share",
        "there is no such fault",
        "beyond the faults phase",
        "no mock \"nobody\"",
        "actor names the path",
        "at_most or at_least",
        "of names the mock",
    ] {
        assert!(told.contains(said), "{said:?} is not in:\n{told}");
    }
    assert!(told.lines().all(|line| line.starts_with("bad.toml: ")));
}

#[test]
fn l12_a_request_is_sent_several_times_or_not_at_all() {
    let told = |more: &str| match parse("x", &format!("{GOOD}{more}")) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    };
    for good in ["{}", "{ at_once = 1 }", "{ at_once = 100, later = 0 }"] {
        assert_eq!(told(&format!("repeats = {good}")), "");
    }
    for (bad, said) in [
        (
            "repeats = { at_once = 0, later = 3 }",
            "at_once is at least 1",
        ),
        (
            "repeats = { at_once = 1, later = 0 }",
            "with later 2 to 100",
        ),
        ("repeats = { at_once = 100 }", "with later 2 to 100"),
        ("repeats = {}\nabuse = \"garbage\"", "neither abuse"),
        (
            "repeats = {}\nheaders = { Idempotency-Key = \"k\" }",
            "leave the header out",
        ),
        (
            "repeats = {}\nheaders = { X-Switchyard-Race = \"dual\" }",
            "race changes that",
        ),
        (
            "repeats = {}\n[gateway.config.pools.p]\nhedge = true",
            "hedge changes that",
        ),
        (
            "repeats = {}\n[gateway.config.failover]\nmax_attempts = 5",
            "max_attempts changes that",
        ),
    ] {
        let told = told(bad);
        assert!(told.contains(said), "{bad}: {told:?}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn every_dialect_of_the_mocks_is_known_to_scenarios_and_no_other() {
    let speaking = |name: &str| format!("{GOOD}[[mock]]\nname = \"m\"\ndialect = \"{name}\"\n");
    for dialect in crate::mock::Dialect::ALL {
        assert!(
            parse("good", &speaking(dialect.name())).is_ok(),
            "{dialect:?}"
        );
    }
    let told = parse("odd", &speaking("klingon")).unwrap_err().to_string();
    assert!(
        told.contains("klingon") && told.contains("openai, anthropic"),
        "{told}"
    );
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let told = parse("odd", &format!("{GOOD}per_minute = 3\n"))
        .unwrap_err()
        .to_string();
    assert!(
        told.contains("per_minute") && told.contains("line"),
        "{told}"
    );
    let told = parse(
        "odd",
        &GOOD.replace("per_second = 1", "patience = \"soon\""),
    )
    .unwrap_err();
    assert!(told.to_string().contains("250ms"), "{told}");
}

/// A pool of two links that falls back to one of a third.
fn chains() -> crate::lab::config::Facts {
    use crate::lab::config::{PoolFacts, TargetFacts};
    let pool = |name: &str, targets: &[&str], chain: &[&str]| PoolFacts {
        name: name.to_owned(),
        targets: targets
            .iter()
            .map(|provider| TargetFacts {
                provider: (*provider).to_owned(),
            })
            .collect(),
        chain: chain.iter().map(|name| (*name).to_owned()).collect(),
        asked: true,
    };
    crate::lab::config::Facts {
        providers: Vec::new(),
        pools: vec![
            pool("fast", &["a", "b"], &["fast", "slow"]),
            pool("slow", &["c"], &["slow"]),
        ],
    }
}

#[test]
fn whoever_a_hanging_provider_keeps_waiting_is_not_to_meet_the_next_death() {
    let made = your_chain(&chains());
    for two in made[0].faults.windows(2) {
        let between = two[1].at.millis() - two[0].at.millis();
        let wanted = if two[0].fault == "hang" {
            33_000
        } else {
            8_000
        };
        assert_eq!(between, wanted, "after {}", two[0].fault);
    }
}

#[test]
fn a_chain_is_killed_link_by_link_and_pair_by_pair() {
    let mut facts = chains();
    let made = your_chain(&facts);
    let deaths: Vec<&[String]> = made[0].faults.iter().map(|fault| &fault.on[..]).collect();
    assert_eq!(deaths.len(), 12, "three links in three ways, three pairs");
    for link in ["a", "b", "c"] {
        let ways: Vec<&str> = made[0]
            .faults
            .iter()
            .filter(|fault| fault.on == [link])
            .map(|fault| fault.fault.as_str())
            .collect();
        assert_eq!(ways, ["tcp_refuse", "P10", "hang"]);
    }
    for number in 1..=12 {
        let of_it = made[0]
            .expectations
            .iter()
            .filter(|wanted| wanted.during == Some(number));
        let limits: Vec<_> = of_it.map(|wanted| (wanted.what, wanted.at_most)).collect();
        assert_eq!(limits, [(Measure::Errors, Some(0.0))], "fault {number}");
    }
    // A chain of one cannot survive: no error would mean that nobody died.
    let alone = &made[1];
    assert_eq!(alone.faults.len(), 3);
    for number in [1, 2] {
        let dies = |wanted: &&Expectation| {
            wanted.during == Some(number)
                && wanted.what == Measure::ErrorCount
                && wanted.at_least == Some(1.0)
        };
        assert!(alone.expectations.iter().any(|wanted| dies(&wanted)));
        let told_in_time = |wanted: &Expectation| {
            wanted.during == Some(number) && wanted.what == Measure::P99Error
        };
        assert!(alone.expectations.iter().any(told_in_time));
    }
    for scenario in &made {
        let names = facts.behind(&scenario.name["your-chain-".len()..]);
        assert_eq!(check("made", scenario, Some(&names)), Ok(()));
    }
    facts.names_only(|pool| pool.name == "fast");
    assert_eq!(your_chain(&facts).len(), 1);
}

/// The mistakes of an expectation with these lines.
fn told_of(expectation: &str) -> String {
    let text =
        format!("{GOOD}[[fault]]\nfault = \"P10\"\non = [\"alpha\"]\n[[expect]]\n{expectation}");
    match parse("x", &text) {
        Ok(_) => String::new(),
        Err(bad) => bad.to_string(),
    }
}

#[test]
fn an_expectation_that_could_not_fail_is_refused() {
    for (expectation, said) in [
        (
            "what = \"share\"\nof = \"alhpa\"\nat_most = 0",
            "\"alhpa\" is no mock; it is one of alpha, beta, gamma",
        ),
        (
            "what = \"share\"\nof = \"w\"\nat_most = 0",
            "\"w\" is no mock",
        ),
        (
            "what = \"error_count\"\nof = \"typo\"\nat_most = 0",
            "\"typo\" is no workload; it is one of w",
        ),
        (
            "what = \"errors\"\nof = \"alpha\"\nat_most = 0",
            "\"alpha\" is no workload",
        ),
        (
            "what = \"growth\"\nof = \"w\"\nat_most = 1",
            "of no meaning here",
        ),
        (
            "what = \"detected\"\nat_most = 0",
            "of names the mock it is about",
        ),
        ("what = \"errors\"\nat_most = inf", "can lie beyond"),
        ("what = \"errors\"\nat_most = nan", "can lie beyond"),
        ("what = \"errors\"\nat_most = 0\nsamples = 0", "no evidence"),
        ("what = \"errors\"\nat_most = 0\nduring = 2", "from 1 to 1"),
        ("what = \"errors\"\nat_most = 0\nduring = 0", "from 1 to 1"),
    ] {
        let told = told_of(expectation);
        assert!(told.contains(said), "{expectation}\n{told:?}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
    for right in [
        "what = \"share\"\nof = \"gamma\"\nat_most = 0",
        "what = \"errors\"\nof = \"w\"\nat_most = 0\nduring = 1",
        "what = \"recovered\"\nat_most = 5",
    ] {
        assert_eq!(told_of(right), "");
    }
}

#[test]
fn with_a_configuration_its_providers_are_the_mocks() {
    let providers = ["openai".to_owned()];
    let fault = |on: &str| format!("{GOOD}[[fault]]\nfault = \"P10\"\non = [\"{on}\"]\n");
    let read = |text: &str| parse_for("x", text, Some(&providers)).map_err(|bad| bad.to_string());
    assert!(read(&fault("openai")).is_ok());
    let told = read(&fault("alpha")).unwrap_err();
    assert!(
        told.contains("no mock \"alpha\"; there are openai"),
        "{told}"
    );
    let own = format!("{GOOD}[[mock]]\nname = \"openai\"\n[gateway.config.timeouts]\ngap_ms = 1\n");
    let told = read(&own).unwrap_err();
    assert!(
        told.contains("[[mock]] does nothing with --config"),
        "{told}"
    );
    assert!(told.contains("[gateway.config] does nothing"), "{told}");
}

#[test]
fn a_shorter_faults_phase_is_judged_anew() {
    let late = format!("{GOOD}[[fault]]\nfault = \"P10\"\non = [\"alpha\"]\nat = \"4s\"\n");
    let mut scenario = parse("x", &late).unwrap();
    scenario.phases.faults = Span(Duration::from_secs(3));
    let told = check("x", &scenario, None).unwrap_err().to_string();
    assert!(
        told.contains("beyond the faults phase of 3000 ms"),
        "{told}"
    );
}

#[test]
fn who_pays_is_judged_before_anything_is_started() {
    let priced = |price: &str| format!("[[mock]]\nname = \"alpha\"\nprice = {price}\n");
    let tenant = "[[tenant]]\nname = \"acme\"\nbudget = \"5\"\n";
    let good = format!(
        "{GOOD}{}{tenant}[[client]]\nname = \"app\"\ntenant = \"acme\"\n",
        priced("{ input = \"3\", output = \"0.125\" }")
    );
    assert!(parse("x", &good).is_ok(), "{:?}", parse("x", &good));
    let users = ["alpha".to_owned()];
    let bad = check("x", &parse("x", &good).unwrap(), Some(&users)).err();
    let told = bad.map(|bad| bad.to_string()).unwrap_or_default();
    assert!(
        told.contains("[[client]] and [[tenant]] do nothing"),
        "{told}"
    );
    for (more, wrong) in [
        (
            priced("{ input = \"3.0001\", output = \"1\" }"),
            "three decimals",
        ),
        (
            format!(
                "{}[[mock]]\nname = \"beta\"\n",
                priced("{ input = \"3\", output = \"1\" }")
            ),
            "\"beta\" has no price",
        ),
        (
            "[[tenant]]\nname = \"acme\"\nbudget = \"much\"\n".to_owned(),
            "nine decimals",
        ),
        (format!("{tenant}{tenant}"), "named twice"),
        ("[[tenant]]\nname = \"Acme 1\"\n".to_owned(), "lower-case"),
        (
            "[[client]]\nname = \"app\"\ntenant = \"acme\"\n".to_owned(),
            "there is no tenant \"acme\"",
        ),
        ("[[client]]\nname = \"chaos\"\n".to_owned(), "own client"),
        (
            "[[workload]]\nname = \"w\"\nper_second = 1\nclient = \"nobody\"\n".to_owned(),
            "there is no client \"nobody\"",
        ),
        (
            "[[workload]]\nname = \"w\"\nper_second = 1\nspied_on_by = \"nobody\"\n".to_owned(),
            "there is no client \"nobody\"",
        ),
    ] {
        let told = parse("x", &format!("{GOOD}{more}"))
            .err()
            .map(|bad| bad.to_string());
        let told = told.unwrap_or_default();
        assert!(told.contains(wrong), "{wrong}: {told}");
    }
}

#[test]
fn r5_a_credit_is_an_amount_that_bills_can_use_up() {
    let told = |more: &str| {
        let text = format!("{GOOD}[[mock]]\nname = \"alpha\"\n{more}");
        parse("x", &text).map_or_else(|bad| bad.to_string(), |_| String::new())
    };
    let price = "price = { input = \"3\", output = \"1\" }\n";
    assert_eq!(told(&format!("{price}credit = \"0.5\"")), "");
    let amount = told(&format!("{price}credit = \"-1\""));
    assert!(amount.contains("credit is an amount"), "{amount}");
    let unpriced = told("credit = \"1\"");
    assert!(unpriced.contains("credit is used up"), "{unpriced}");
}

#[test]
fn m2_whoever_is_told_of_a_budget_is_there_and_so_is_the_budget() {
    let told = |more: &str| {
        let price = "price = { input = \"3\", output = \"1\" }\n";
        let text = format!("{GOOD}[[mock]]\nname = \"alpha\"\n{price}{more}");
        parse("x", &text).map_or_else(|bad| bad.to_string(), |_| String::new())
    };
    let tenant = "[[tenant]]\nname = \"acme\"\n";
    let tells = format!("{tenant}soft_budget = \"1\"\ntell_at = [50, 100]\n");
    let finance = "[[receiver]]\nname = \"finance\"\n";
    assert_eq!(told(&format!("{tells}{finance}refuses = 3\n")), "");
    for (more, said) in [
        (tells.clone(), "tell_at tells nobody"),
        (
            format!("credit = \"5\"\n{tells}{finance}"),
            "told to every [[receiver]] as well",
        ),
        (
            format!("{tenant}budget = \"1\"\nsoft_budget = \"1.0\"\ntell_at = [50]\n{finance}"),
            "could not be told apart",
        ),
        (format!("{tenant}{finance}"), "give one tell_at"),
        (format!("{tells}{finance}{finance}"), "named twice"),
        (
            format!("{tells}{finance}refuses = 9\n"),
            "refuses is at most 3",
        ),
        (
            format!("{tenant}tell_at = [50]\n{finance}"),
            "percents from 1 on",
        ),
        (
            format!("{tenant}budget = \"1\"\ntell_at = [0]\n{finance}"),
            "percents from 1 on",
        ),
        (format!("{tenant}soft_budget = \"much\"\n"), "nine decimals"),
    ] {
        let told = told(&more);
        assert!(told.contains(said), "{more}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}
