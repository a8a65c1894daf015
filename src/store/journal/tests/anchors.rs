//! Attack A27 from outside the chain: what only a head kept elsewhere can show.

use super::*;

/// Writes the lines of a journal anew, with a chain that fits.
fn chain_anew(lines: &[String]) -> String {
    let (mut out, mut chain) = (Vec::new(), crate::store::journal::segment::FIRST_CHAIN);
    for (seq, line) in (1..).zip(lines) {
        let (body, _) = crate::store::journal::segment::split_line(line.as_bytes()).unwrap();
        let members = &body[body.iter().position(|byte| *byte == b',').unwrap() + 1..];
        chain = crate::store::journal::segment::push_line(&mut out, seq, members, &chain);
    }
    String::from_utf8(out).unwrap()
}

fn rebuilt(change: impl FnOnce(&mut Vec<String>)) -> (VerifyReport, VerifyReport) {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..4);
    let kept = anchor(folder.path()).unwrap().unwrap();
    let path = last_segment(folder.path());
    let text = fs::read_to_string(&path).unwrap();
    let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
    change(&mut lines);
    fs::write(&path, chain_anew(&lines)).unwrap();
    (
        verify(folder.path()).unwrap(),
        verify_against(folder.path(), &[kept]).unwrap(),
    )
}

#[test]
fn a27_a_journal_that_grew_since_still_holds_its_anchor() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..4);
    let kept = anchor(folder.path()).unwrap().unwrap();
    write(folder.path(), 4..60);
    let report = verify_against(folder.path(), &[kept]).unwrap();
    assert!(report.intact(), "{report}");
    let newest = anchor(folder.path()).unwrap().unwrap();
    assert_eq!(
        newest.to_string(),
        format!("{}:{}", report.last, report.head)
    );
    assert_eq!(newest.to_string().parse::<Anchor>(), Ok(newest));
}

#[test]
fn a27_a_chain_computed_anew_passes_alone_and_fails_its_anchor() {
    let (alone, against) =
        rebuilt(|lines| lines[3] = lines[3].replace("\"output\":4", "\"output\":1"));
    assert!(alone.intact(), "{alone}");
    assert!(!against.intact(), "{against}");
    assert!(against.to_string().contains("DIFFERS"), "{against}");
}

#[test]
fn a27_records_cut_from_the_end_pass_alone_and_fail_their_anchor() {
    let (alone, against) = rebuilt(|lines| lines.truncate(lines.len() - 3));
    assert!(alone.intact(), "{alone}");
    assert!(!against.intact() && against.to_string().contains("MISSING"));
}

#[test]
fn an_anchor_is_read_over_half_a_record_and_not_from_nonsense() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 1..4);
    let kept = anchor(folder.path()).unwrap();
    let path = last_segment(folder.path());
    let mut text = fs::read_to_string(&path).unwrap();
    text.push_str("{\"seq\":99,\"at\"");
    fs::write(&path, text).unwrap();
    assert_eq!(anchor(folder.path()).unwrap(), kept);
    for wrong in ["", "1", "1:", "x:00", &format!("1:{}", "A".repeat(64))] {
        assert_eq!(wrong.parse::<Anchor>(), Err(AnchorError), "{wrong}");
    }
}
