//! Going on behind a bookmark reads what reading anew would, and nothing twice.

use super::*;

fn seqs(lines: impl Iterator<Item = Result<Line, ReadError>>) -> Vec<u64> {
    lines.map(|line| line.unwrap().seq).collect()
}

/// Reads on from where the last call ended, as books do.
fn read_on(folder: &Path, mark: &mut Option<Bookmark>) -> Vec<u64> {
    let mut lines = match mark.as_ref() {
        Some(mark) => costs_behind(folder, mark).unwrap(),
        None => costs(folder, 0),
    };
    let read = seqs(lines.by_ref());
    *mark = lines.bookmark().cloned().or(mark.take());
    read
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    /// Over restarts and new segments (4 KiB each), whatever is written between two readings.
    #[test]
    fn what_is_read_in_parts_is_what_is_read_at_once(parts in prop::collection::vec(0_u128..9, 1..6)) {
        let folder = tempfile::tempdir().unwrap();
        let (mut mark, mut read, mut number) = (None, Vec::new(), 0);
        for part in parts {
            write(folder.path(), number..number + part);
            number += part;
            read.extend(read_on(folder.path(), &mut mark));
            prop_assert_eq!(read_on(folder.path(), &mut mark), Vec::<u64>::new());
        }
        prop_assert_eq!(read, seqs(costs(folder.path(), 0)));
    }

    /// Wherever the bound is, what is behind it is neither read nor passed over.
    #[test]
    fn what_is_read_up_to_a_bound_goes_on_behind_it(requests in 1_u128..30, last in 0_u64..120) {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), 0..requests);
        let all = seqs(costs(folder.path(), 0));
        let mut lines = costs(folder.path(), 0).up_to(last);
        let mut read = seqs(lines.by_ref());
        let before = all.iter().copied().filter(|seq| *seq <= last);
        prop_assert_eq!(&read, &before.collect::<Vec<_>>());
        let mut mark = lines.bookmark().cloned();
        read.extend(read_on(folder.path(), &mut mark));
        prop_assert_eq!(read, all);
    }
}

#[test]
fn what_stands_before_a_bookmark_is_not_read_again() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..3);
    let mut mark = None;
    // An attempt and an outcome of each request.
    assert_eq!(read_on(folder.path(), &mut mark).len(), 6);
    write(folder.path(), 3..4);
    let path = segment::segments(folder.path()).unwrap().remove(0);
    let mut text = fs::read(&path).unwrap();
    let marked = text
        .windows(8)
        .rposition(|window| window == b"{\"seq\":1")
        .unwrap();
    // Of one length, so that the marked line stays where it is.
    text[..marked - 1].fill(b'x');
    fs::write(&path, text).unwrap();
    assert!(
        costs(folder.path(), 0).any(|line| line.is_err()),
        "read from the beginning"
    );
    assert_eq!(read_on(folder.path(), &mut mark).len(), 2);
}

#[test]
fn a_bookmark_in_a_journal_that_is_another_now_is_of_no_use() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), 0..3);
    let mut mark = None;
    read_on(folder.path(), &mut mark);
    let mark = mark.unwrap();
    assert!(costs_behind(folder.path(), &mark).is_some());
    let path = segment::segments(folder.path()).unwrap().remove(0);
    let whole = fs::read_to_string(&path).unwrap();
    let (seq, at) = mark.record();
    let other = whole.replace(
        &format!("{{\"seq\":{seq},\"at\":{at},"),
        &format!("{{\"seq\":{seq},\"at\":{},", at - 1),
    );
    assert_ne!(whole, other);
    let short = &whole[..whole.len() / 2];
    for text in [other.as_str(), short, ""] {
        fs::write(&path, text).unwrap();
        assert!(costs_behind(folder.path(), &mark).is_none());
    }
    fs::remove_file(&path).unwrap();
    assert!(costs_behind(folder.path(), &mark).is_none());
}
