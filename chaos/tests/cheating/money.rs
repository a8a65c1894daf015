//! Double bills, free rides, broken caps and limits, books that lie, and what crosses between tenants.

use super::*;

const MONEY: &str = r#"
version = 1
name = "money"
about = "two tenants with budgets, a limit and clients that leave"
[phases]
control = "1s"
faults = "2500ms"
heal = "1s"
[[mock]]
name = "alpha"
tokens = 20
price = { input = "3", output = "15" }
[[mock]]
name = "beta"
tokens = 20
price = { input = "0.25", output = "2" }
[[tenant]]
name = "acmecorp"
budget = "1000"
[[tenant]]
name = "globexinc"
[[client]]
name = "acme"
tenant = "acmecorp"
[[client]]
name = "globex"
tenant = "globexinc"
[[client]]
name = "limited"
tenant = "globexinc"
requests_per_minute = 10
[[workload]]
name = "streams"
client = "acme"
per_second = 30
stream = true
leave_share = 0.3
leave_between = ["150ms", "250ms"]
[[workload]]
name = "whole"
client = "globex"
per_second = 20
[[workload]]
name = "limited"
client = "limited"
per_second = 8
phases = ["faults"]
"#;

const KEPT: &str = r#"
[[workload]]
name = "kept"
client = "acme"
per_second = 5
spied_on_by = "globex"
"#;

fn books(evidence: &mut Evidence) -> &mut Books {
    evidence.own.as_mut().unwrap().books.as_mut().unwrap()
}

/// Changes what a request cost, in the journal and wherever it was added up: a lie that agrees with itself.
fn recharge(evidence: &mut Evidence, id: &str, cost: u64) {
    let outcome = outcome(evidence, id);
    let tenant = outcome.tenant.clone().unwrap();
    let before = outcome.cost.replace(cost).unwrap();
    let books = books(evidence);
    let spend = books.spend.get_mut(&tenant).unwrap();
    spend.cost = spend.cost - before + cost;
    for book in books.tenants.values_mut() {
        let purses = book.purses.iter_mut();
        for purse in purses.filter(|purse| purse.account == tenant) {
            purse.spent = purse.spent - before + cost;
        }
    }
}

impl Honest {
    /// A stream that was left after its head was read.
    fn left(&self) -> usize {
        let fits = |told: &Told| told.ended == Ended::Left && told.id.is_some();
        self.history.iter().position(fits).unwrap()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a18_double_bills_and_free_rides_are_caught() {
    let mut honest = Honest::of(&format!("{MONEY}{KEPT}")).await;
    let whole = honest.id(honest.whole(false));
    let left = honest.id(honest.left());
    let cost = honest.journal.outcomes[&whole][0].cost.unwrap();
    assert!(cost > 0);
    honest.caught("bill_matches", |billed_twice| {
        recharge(billed_twice, &whole, cost * 2);
    });
    honest.caught("bill_matches", |a_nano_dollar_short| {
        recharge(a_nano_dollar_short, &whole, cost - 1);
    });
    honest.caught("bill_matches", |who_leaves_pays_nothing| {
        recharge(who_leaves_pays_nothing, &left, 0);
    });
    honest.caught("bill_matches ledger_balances", |in_the_journal_alone| {
        outcome(in_the_journal_alone, &whole).cost = Some(cost * 2);
    });
    honest.caught("accounted_once bill_matches ledger_balances", |forgotten| {
        journal(forgotten).outcomes.remove(&whole);
    });
    honest.caught(
        "accounted_once bill_matches ledger_balances",
        |written_down_twice| {
            let outcomes = journal(written_down_twice).outcomes.get_mut(&whole);
            let outcomes = outcomes.unwrap();
            outcomes.push(outcomes[0].clone());
        },
    );
    honest.caught(
        "bill_matches",
        |leavers_whose_clients_read_no_id_pay_nothing| {
            let evidence = leavers_whose_clients_read_no_id_pay_nothing;
            let told = evidence.history.iter_mut();
            // As if it had been one of them.
            let leaver = told.filter(|told| told.id.as_ref() == Some(&left));
            leaver.for_each(|told| told.id = None);
            let known: BTreeSet<String> = evidence
                .history
                .iter()
                .filter_map(|told| told.id.clone())
                .collect();
            let nameless: Vec<String> = journal(evidence).outcomes.keys().cloned().collect();
            for id in nameless.iter().filter(|id| !known.contains(*id)) {
                recharge(evidence, id, 0);
            }
        },
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a17_broken_caps_limits_and_books_are_caught() {
    let mut honest = Honest::of(&format!("{MONEY}{KEPT}")).await;
    honest.caught("budget_kept", |more_set_aside_than_there_is| {
        let intents = journal(more_set_aside_than_there_is).intents.values_mut();
        for intent in intents.flatten() {
            intent.reserved = Some(600_000_000_000);
        }
    });
    honest.caught("budget_kept", |nothing_set_aside| {
        let intents = journal(nothing_set_aside).intents.values_mut();
        let of_acme = intents
            .flatten()
            .find(|intent| intent.tenant.as_deref() == Some("acmecorp"));
        of_acme.unwrap().reserved = None;
    });
    let run = honest.told(|less_than_the_providers_bill| {
        less_than_the_providers_bill.tenants[0].budget = Some("0.000001".to_owned());
    });
    assert_eq!(failed(&run), ["budget_kept"].into());
    let run = honest.told(|fewer_a_minute| {
        let limited = fewer_a_minute.clients.iter_mut();
        let limited = limited.filter(|client| client.requests_per_minute.is_some());
        limited.for_each(|client| client.requests_per_minute = Some(9));
    });
    assert_eq!(failed(&run), ["window"].into());
    honest.caught("ledger_balances", |still_set_aside| {
        let book = books(still_set_aside).tenants.get_mut("acmecorp").unwrap();
        book.purses[0].reserved = 1;
    });
    honest.caught("ledger_balances", |still_open| {
        books(still_open)
            .tenants
            .get_mut("acmecorp")
            .unwrap()
            .open_requests = 1;
    });
    honest.caught("ledger_balances", |books_of_another_sum| {
        let book = books(books_of_another_sum)
            .tenants
            .get_mut("acmecorp")
            .unwrap();
        book.purses[0].spent -= 1;
    });
    for tenant in ["acmecorp", "globexinc"] {
        honest.caught("ledger_balances", |a_report_of_another_sum| {
            let spend = &mut books(a_report_of_another_sum).spend;
            spend.get_mut(tenant).unwrap().cost += 1;
        });
        honest.caught("ledger_balances", |a_report_of_another_count| {
            let spend = &mut books(a_report_of_another_count).spend;
            spend.get_mut(tenant).unwrap().requests += 1;
        });
    }
    let run = honest.with(|untold| untold.own.as_mut().unwrap().books = None);
    assert_eq!((run.verdict, failed(&run)), (Verdict::Unknown, [].into()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a16_what_crosses_between_tenants_is_caught() {
    let mut honest = Honest::of(&format!("{MONEY}{KEPT}")).await;
    let (whole, stream) = (honest.whole(false), honest.whole(true));
    let id = honest.id(whole);
    honest.caught("tenant_kept", |anothers_name| {
        anothers_name.history[stream].foreign = Some("globexinc".to_owned());
    });
    honest.caught("no_crossing tenant_kept", |anothers_answer| {
        let text = anothers_answer.history[whole].text.clone();
        let shorter = &mut anothers_answer.history[stream];
        shorter.text = text;
    });
    honest.caught("ledger_balances tenant_kept", |paid_by_another| {
        outcome(paid_by_another, &id).tenant = Some("acmecorp".to_owned());
    });
    let kept = honest.plan.scenario.workloads.len() - 1;
    let place = honest.history.iter().position(|told| told.workload == kept);
    honest.caught("tenant_kept", |read_by_a_spy| {
        let told = &mut read_by_a_spy.history[place.unwrap()];
        told.ended = Ended::Indulged("spy_met_200".to_owned());
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_gateway_that_mixes_tenants_up_is_caught() {
    fn swaps(gateway: SocketAddr) -> Soon {
        Box::pin(proxy(gateway, |body, before| {
            let same = is_stream(body) == is_stream(before) && !before.is_empty();
            same.then(|| (before.to_owned(), Ends::Whole))
        }))
    }
    fn gossips(gateway: SocketAddr) -> Soon {
        Box::pin(proxy(gateway, |body, _| {
            let gossip = format!(": globexinc asked, too\n\n{body}");
            is_stream(body).then_some((gossip, Ends::Whole))
        }))
    }
    // Both kinds of answer of both tenants, and clients that stay to read them.
    let streams =
        "[[workload]]\nname = \"more\"\nclient = \"globex\"\nper_second = 30\nstream = true\n";
    let scenario = format!("{MONEY}{streams}")
        .replace("leave_share = 0.3", "leave_share = 0.0")
        .replace("requests_per_minute = 10", "requests_per_minute = 1000");
    for (between, by) in [
        (swaps as Between, "no_crossing tenant_kept"),
        (gossips, "tenant_kept"),
    ] {
        let (plan, evidence) = evidence(&scenario, Some(between)).await;
        let run = judge(&plan, &evidence);
        assert_eq!(failed(&run), by.split(' ').collect(), "{run:#?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a20_a_request_that_leaves_its_region_is_caught() {
    let mut honest = Honest::of(MONEY).await;
    let run = honest.told(|half_of_them_are_abroad| {
        half_of_them_are_abroad.tenants[0].regions = vec!["eu".to_owned()];
        half_of_them_are_abroad.mocks[0].region = Some("eu".to_owned());
        half_of_them_are_abroad.mocks[1].region = Some("us".to_owned());
    });
    assert_eq!(failed(&run), ["region_kept"].into());
    let run = honest.told(|all_are_at_home| {
        all_are_at_home.tenants[0].regions = vec!["eu".to_owned(), "us".to_owned()];
        all_are_at_home.mocks[0].region = Some("eu".to_owned());
        all_are_at_home.mocks[1].region = Some("us".to_owned());
    });
    assert_eq!(run.verdict, Verdict::Pass);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_a_gateway_that_spends_what_was_never_paid_in_is_caught() {
    let gone = "[[expect]]\nwhat = \"share\"\nof = \"alpha\"\nin = \"heal\"\nat_most = 0\n";
    // Nobody tells this gateway of a credit: it goes on at alpha as if there were no end to it.
    let mut honest = Honest::of(MONEY).await;
    let expected = parse("gone", &format!("{MONEY}{gone}")).unwrap();
    let credit = |usd: &'static str| {
        let expectations = expected.expectations.clone();
        move |terms: &mut Scenario| {
            terms.mocks[0].credit = Some(usd.to_owned());
            terms.expectations = expectations;
        }
    };
    let run = honest.told(credit("0.01"));
    assert_eq!(failed(&run), ["credit_kept", "share"].into(), "{run:#?}");
    // One that would never have run out is no proof, whatever is expected of it.
    let run = honest.told(|terms| terms.mocks[0].credit = Some("100".to_owned()));
    assert_eq!((run.verdict, failed(&run)), (Verdict::Unknown, [].into()));
    let alpha = run.invariants.iter().find(|one| one.name == "credit_kept");
    assert!(alpha.unwrap().why.contains("never ran dry"), "{alpha:#?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn r5_a_cent_more_than_was_paid_in_is_seen() {
    // So that what is set aside is little, and the last cents are used.
    let scenario = MONEY
        .replacen("name = \"alpha\"", "name = \"alpha\"\ncredit = \"0.02\"", 1)
        .replace("per_second", "tokens = 20\nper_second");
    let mut honest = Honest::of(&scenario).await;
    let run = honest.told(|less| less.mocks[0].credit = Some("0.016".to_owned()));
    assert_eq!(failed(&run), ["credit_kept"].into(), "{run:#?}");
}
