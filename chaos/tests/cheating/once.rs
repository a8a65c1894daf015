//! Keys that are forgotten, answers that differ from one sending to the next, and other bodies under the same key.

use std::collections::HashMap;
use std::sync::Arc;

use switchyard_chaos::canary::Broken;
use switchyard_chaos::history::{Again, Sending};
use switchyard_chaos::mock::{Leaving, Reported};

use super::*;

const ONCE: &str = r#"
version = 1
name = "once"
about = "requests are sent several times under one key"
[phases]
control = "1s"
faults = "2500ms"
heal = "1s"
[[mock]]
name = "alpha"
first_content = "60ms"
[[mock]]
name = "beta"
first_content = "60ms"
[[workload]]
name = "streams"
per_second = 6
stream = true
repeats = { at_once = 3, later = 1, pause = "50ms" }
[[workload]]
name = "leavers"
per_second = 6
leave_share = 0.3
leave_between = ["5ms", "150ms"]
repeats = { at_once = 3, later = 1, pause = "50ms" }
[[workload]]
name = "whole"
per_second = 6
repeats = { at_once = 3, later = 1, pause = "50ms" }
[[fault]]
fault = "P10"
on = ["alpha"]
"#;

fn sendings(history: &[Told]) -> Vec<&Sending> {
    history.iter().flat_map(|told| &told.sendings).collect()
}

/// The first sending of this kind of a request whose sendings all read one answer.
fn sending(evidence: &mut Evidence, again: Again) -> &mut Sending {
    let told = evidence.history.iter_mut();
    let mut told = told.filter(|told| told.id.is_some() && !told.sendings.is_empty());
    let sendings = &mut told.next().unwrap().sendings;
    let found = sendings.iter_mut().find(|one| one.again == again);
    found.unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_a_gateway_that_forgets_keys_is_caught() {
    /// Passes everything on but the key.
    fn forgets(gateway: SocketAddr) -> Soon {
        Box::pin(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(without_key(client, gateway));
                }
            });
            address
        })
    }
    let (plan, evidence) = evidence(ONCE, Some(forgets)).await;
    let run = judge(&plan, &evidence);
    assert_eq!(failed(&run), ["repeats"].into(), "{run:#?}");
}

async fn without_key(mut client: TcpStream, gateway: SocketAddr) -> Option<()> {
    let mut request = Vec::new();
    let end = loop {
        client
            .read_buf(&mut request)
            .await
            .ok()
            .filter(|read| *read > 0)?;
        if let Some(end) = memchr::memmem::find(&request, b"\r\n\r\n") {
            break end;
        }
    };
    let key = memchr::memmem::find(&request[..end], b"idempotency-key")?;
    request[key..key + 4].copy_from_slice(b"lost");
    let mut gateway = TcpStream::connect(gateway).await.ok()?;
    gateway.write_all(&request).await.ok()?;
    // Ends with whoever leaves first.
    let _ = tokio::io::copy_bidirectional(&mut client, &mut gateway).await;
    Some(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_whoever_is_told_something_else_than_the_others_is_seen() {
    let mut honest = Honest::of(ONCE).await;
    let sent = sendings(&honest.history);
    let replayed = sent.iter().filter(|one| one.told.replayed).count();
    let refused = sent.iter().filter(|one| one.told.status == Some(409));
    assert!(replayed > 100 && refused.count() > 50, "{replayed}");
    honest.caught("repeats", |another_body| {
        let said = &mut sending(another_body, Again::Later).told.said;
        *said = said.map(|said| said ^ 1);
    });
    honest.caught("no_crossing repeats", |another_text| {
        let other = another_text.history.last().unwrap().text.clone();
        sending(another_text, Again::Later).told.text = other;
    });
    honest.caught("accounted_once metrics_agree repeats", |an_id_of_nothing| {
        sending(an_id_of_nothing, Again::AtOnce).told.id = Some("another".to_owned());
    });
    honest.caught("repeats", |as_if_it_were_the_first| {
        sending(as_if_it_were_the_first, Again::Later).told.replayed = false;
    });
    honest.caught("repeats", |all_as_if_they_were_the_first| {
        for told in &mut all_as_if_they_were_the_first.history {
            let sent = told.sendings.iter_mut();
            let sent = sent.filter(|one| one.again == Again::AtOnce);
            sent.for_each(|one| one.told.replayed = false);
        }
    });
    honest.caught("repeats", |all_as_if_none_were_the_first| {
        let told = all_as_if_none_were_the_first.history.iter_mut();
        let mut told = told.filter(|told| told.id.is_some() && !told.sendings.is_empty());
        let sent = told.next().unwrap().sendings.iter_mut();
        sent.for_each(|one| one.told.replayed = true);
    });
    honest.caught("repeats", |turned_away_later| {
        let told = &mut sending(turned_away_later, Again::Later).told;
        told.id = Some("of_what_was_not_placed".to_owned());
        told.ended = Ended::Refused("conflict".to_owned());
        told.status = Some(409);
    });
    for (taken, by) in [
        (200, "accounted_once repeats"),
        (422, "repeats"),
        (500, "repeats"),
    ] {
        honest.caught(by, |another_body_is_not_refused| {
            let one = sending(another_body_is_not_refused, Again::Otherwise);
            one.told.status = Some(taken);
        });
    }
    honest.caught("repeats", |paid_twice| {
        // What failed at alpha and went on to beta, as if alpha had answered as well.
        let failed = paid_twice.wire.iter_mut();
        let mut failed = failed.filter(|(_, exchange)| exchange.fault.is_some());
        let exchange = &mut failed.next().unwrap().1;
        exchange.fault = None;
        exchange.reported = Some(Reported::default());
        assert!(exchange.finished && exchange.left.is_none());
    });
    honest.caught("accounted_once repeats", |written_down_twice| {
        let id = sending(written_down_twice, Again::Later).told.id.clone();
        let intents = journal(written_down_twice).intents.get_mut(&id.unwrap());
        let intents = intents.unwrap();
        intents.push(intents[0].clone());
    });
    let run = honest.with(|nobody_is_told_again| {
        for told in &mut nobody_is_told_again.history {
            let replayed = |one: &Sending| one.told.replayed;
            told.sendings
                .retain(|one| one.again != Again::Later || !replayed(one));
            // Each answer is read to its end by the one who caused it.
            for one in told.sendings.iter_mut().filter(|one| replayed(one)) {
                one.told.ended = Ended::Left;
            }
        }
    });
    assert_eq!((run.verdict, failed(&run)), (Verdict::Unknown, [].into()));
}

/// The first request whose answer one client read whole and another, that came with it, did not wait for.
fn partly_left(evidence: &mut Evidence) -> &mut Told {
    let mut told = evidence.history.iter_mut();
    let found = told.find(|told| {
        let together = told
            .sendings
            .iter()
            .filter(|one| one.again == Again::AtOnce);
        let mut ended = together.map(|one| &one.told.ended);
        ended.clone().any(|how| *how == Ended::Whole) && ended.any(|how| *how == Ended::Left)
    });
    found.unwrap()
}

fn left(told: &mut Told) -> &mut Told {
    let mut sent = told.sendings.iter_mut().map(|one| &mut one.told);
    sent.find(|one| one.ended == Ended::Left).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_each_sending_is_judged_and_not_only_the_one_that_is_shown() {
    let mut honest = Honest::of(ONCE).await;
    honest.caught("no_splice", |two_answers_to_one_that_left| {
        let told = partly_left(two_answers_to_one_that_left);
        left(told).text = Some(Err(Broken::Empty));
    });
    let other = honest.history.iter().find(|told| told.workload == 2);
    let other = other.unwrap().text.clone();
    assert!(matches!(other, Some(Ok(_))));
    honest.caught("no_crossing", |anothers_answer_to_one_that_left| {
        let told = partly_left(anothers_answer_to_one_that_left);
        left(told).text = other;
    });
    let place = honest.whole(true);
    let id = honest.id(place);
    honest.caught("honest_break", |the_second_just_stops| {
        let mut sent = std::mem::take(&mut the_second_just_stops.history[place].sendings);
        let same = |one: &&mut Sending| one.again != Again::Otherwise;
        for (nth, one) in sent.iter_mut().filter(same).enumerate() {
            one.told.ended = match nth {
                1 => Ended::Cut,
                _ => Ended::ErrorEvent("upstream_reset".to_owned()),
            };
        }
        the_second_just_stops.history[place] = Told::of(sent).unwrap();
        outcome(the_second_just_stops, &id).how = "failed".to_owned();
        *counted(the_second_just_stops, COUNTERS[1]) -= 1.0;
    });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_only_who_read_no_id_excuses_what_nobody_asked_for() {
    let mut honest = Honest::of(ONCE).await;
    let sent = sendings(&honest.history);
    let nameless = sent.iter().filter(|one| one.told.id.is_none()).count();
    let id = honest.id(honest.whole(true));
    honest.caught("accounted_once", |requests_nobody_made| {
        let journal = journal(requests_nobody_made);
        for nth in 0..=nameless {
            let phantom = format!("phantom-{nth}");
            let (intents, outcomes) = (journal.intents[&id].clone(), journal.outcomes[&id].clone());
            journal.intents.insert(phantom.clone(), intents);
            journal.outcomes.insert(phantom, outcomes);
        }
    });
    honest.caught("accounted_once", |failed_for_who_left_and_who_stayed| {
        let told = partly_left(failed_for_who_left_and_who_stayed);
        let whole = |one: &&Sending| one.told.ended == Ended::Whole;
        let id = told.sendings.iter().find(whole).unwrap().told.id.clone();
        outcome(failed_for_who_left_and_who_stayed, &id.unwrap()).how = "failed".to_owned();
    });
    honest.caught("metrics_agree", |each_replay_counted| {
        // Where all have read one id, more than one was never allowed.
        let apart = each_replay_counted.history.iter();
        let apart = apart.filter(|told| told.id.is_none());
        let replays = apart.flat_map(|told| &told.sendings);
        let replays = replays.filter(|one| one.told.replayed && one.told.ended == Ended::Whole);
        let replays = replays.count() as f64;
        *counted(each_replay_counted, COUNTERS[1]) += replays;
    });
}

/// A healthy exchange at beta that carried this request.
fn at_beta(wire: &[(String, Exchange)], told: &Told) -> Option<Exchange> {
    let mark = format!("chaos-prompt-canary {}.{}:", told.workload, told.number);
    let mut wire = wire.iter().filter(|(mock, _)| mock == "beta");
    let carries = |one: &Exchange| memchr::memmem::find(&one.asked.body, mark.as_bytes()).is_some();
    let found = wire.find(|(_, one)| one.left.is_none() && carries(one))?;
    Some(found.1.clone())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_what_is_run_for_each_sending_and_hung_up_on_is_paid_as_well() {
    let mut honest = Honest::of(ONCE).await;
    let leavers = honest.history.iter().enumerate();
    let leavers = leavers.filter(|(_, told)| told.workload == 1 && told.id.is_none());
    let mut found = leavers.filter_map(|(place, told)| {
        let mut sent = told.sendings.iter();
        let whole = sent.find(|one| {
            let whole = one.told.ended == Ended::Whole && one.told.attempts == Some(1);
            whole && one.again == Again::AtOnce
        });
        let id = whole?.told.id.clone()?;
        Some((place, id, at_beta(&honest.wire, told)?))
    });
    let (place, id, exchange) = found.next().unwrap();
    drop(found);
    honest.caught("repeats", |run_again_and_hung_up_on| {
        let mut asked = (*exchange.asked).clone();
        asked.number = 1_000_000;
        let again = Exchange {
            left: Some((asked.at, Leaving::Fin)),
            asked: asked.into(),
            finished: false,
            ..exchange
        };
        // Whoever leaves early may have been alone, and what was begun for nobody else is stopped.
        let told = &mut run_again_and_hung_up_on.history[place];
        for one in &mut told.sendings {
            let is_left = one.told.ended == Ended::Left;
            one.told.end_ms += if is_left { 1_000 } else { 0 };
        }
        run_again_and_hung_up_on
            .wire
            .push(("beta".to_owned(), again));
        // It is written down and counted: only its clients are told of one attempt less.
        let attempts = &mut journal(run_again_and_hung_up_on).attempts;
        let attempt = attempts.iter().find(|attempt| attempt.request == id);
        attempts.push(attempt.unwrap().clone());
        *counted(run_again_and_hung_up_on, COUNTERS[0]) += 1.0;
    });
}

const SHARED: &str = r#"
version = 1
name = "shared"
about = "two tenants whose clients use the same keys"
[phases]
control = "1s"
faults = "1500ms"
heal = "1s"
[[mock]]
name = "alpha"
[[tenant]]
name = "acmecorp"
[[tenant]]
name = "globexinc"
[[client]]
name = "acme"
tenant = "acmecorp"
[[client]]
name = "globex"
tenant = "globexinc"
[[workload]]
name = "mine"
client = "acme"
per_second = 6
repeats = { at_once = 2, later = 1, pause = "200ms" }
[[workload]]
name = "theirs"
client = "globex"
per_second = 6
repeats = { at_once = 2, later = 1, pause = "200ms" }
[[workload]]
name = "more_of_mine"
client = "acme"
per_second = 6
stream = true
repeats = { at_once = 2, later = 1, pause = "200ms" }
"#;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn l12_a_key_that_means_the_same_to_another_tenant_is_caught() {
    /// Tells whoever sends a key what another client was told under it.
    fn blind(gateway: SocketAddr) -> Soon {
        Box::pin(async move {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let kept = Arc::new(Kept::default());
            tokio::spawn(async move {
                while let Ok((client, _)) = listener.accept().await {
                    tokio::spawn(by_key_alone(client, gateway, Arc::clone(&kept)));
                }
            });
            address
        })
    }
    let mut honest = Honest::of(SHARED).await;
    let theirs = honest.history.iter().find(|told| told.workload == 1);
    let theirs = theirs.unwrap().text.clone();
    honest.caught("no_crossing repeats tenant_kept", |theirs_told_later| {
        let mine = theirs_told_later.history.iter_mut();
        let mut mine = mine.filter(|told| told.workload == 0);
        let mut sent = mine.next().unwrap().sendings.iter_mut();
        let later = sent.find(|one| one.again == Again::Later);
        later.unwrap().told.text = theirs;
    });
    let (plan, evidence) = evidence(SHARED, Some(blind)).await;
    let run = judge(&plan, &evidence);
    let by = ["no_crossing", "repeats", "tenant_kept"].into();
    assert!(failed(&run).is_superset(&by), "{run:#?}");
}

/// By its key, whose answer, and the answer.
type Kept = Mutex<HashMap<String, (String, Vec<u8>)>>;

async fn by_key_alone(mut client: TcpStream, gateway: SocketAddr, kept: Arc<Kept>) -> Option<()> {
    let mut request = Vec::new();
    let head = loop {
        let read = client.read_buf(&mut request).await.ok()?;
        let end = memchr::memmem::find(&request, b"\r\n\r\n");
        if let Some(end) = end {
            break String::from_utf8_lossy(&request[..end]).to_lowercase();
        }
        if read == 0 {
            return None;
        }
    };
    let field = |name: &str| {
        let mut lines = head.lines();
        lines.find_map(|line| Some(line.strip_prefix(name)?.to_owned()))
    };
    let (key, whose) = (field("idempotency-key: ")?, field("authorization: ")?);
    let known = kept.lock().await.get(&key).cloned();
    if let Some((_, answer)) = known.filter(|(other, _)| *other != whose) {
        return client.write_all(&answer).await.ok();
    }
    let mut gateway = TcpStream::connect(gateway).await.ok()?;
    gateway.write_all(&request).await.ok()?;
    let (mut from_client, mut to_client) = client.split();
    let (mut from_gateway, mut to_gateway) = gateway.split();
    let back = async {
        let mut answer = Vec::new();
        let mut some = [0; 4096];
        while let Some(read) = from_gateway
            .read(&mut some)
            .await
            .ok()
            .filter(|read| *read > 0)
        {
            to_client.write_all(&some[..read]).await.ok()?;
            answer.extend_from_slice(&some[..read]);
            if answer.starts_with(b"HTTP/1.1 200") {
                let told = (whose.clone(), answer.clone());
                kept.lock().await.insert(key.clone(), told);
            }
        }
        Some(())
    };
    tokio::select! {
        _ = tokio::io::copy(&mut from_client, &mut to_gateway) => None,
        done = back => done,
    }
}
