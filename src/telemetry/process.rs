//! What the kernel says of this process. Read from `/proc`; where there is none, nothing is known.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Descriptors this process may have open; `None` when that is unlimited or unknown.
pub fn descriptor_limit() -> Option<u64> {
    parse_descriptor_limit(&fs::read_to_string("/proc/self/limits").ok()?)
}

/// The soft limit: the first of the two numbers behind the name (proc_pid_limits(5)).
fn parse_descriptor_limit(limits: &str) -> Option<u64> {
    limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// Bytes of memory in use by this process.
pub fn resident_bytes() -> Option<u64> {
    let pages = parse_resident_pages(&fs::read_to_string("/proc/self/statm").ok()?)?;
    pages.checked_mul(page_size())
}

/// The second number (proc_pid_statm(5)).
fn parse_resident_pages(statm: &str) -> Option<u64> {
    statm.split_ascii_whitespace().nth(1)?.parse().ok()
}

fn page_size() -> u64 {
    static SIZE: OnceLock<u64> = OnceLock::new();
    *SIZE.get_or_init(|| {
        let auxv = fs::read("/proc/self/auxv").unwrap_or_default();
        parse_page_size(&auxv).unwrap_or(4_096)
    })
}

/// Pairs of words, a kind and its value; kind 6 is the size of a page (getauxval(3)).
fn parse_page_size(auxv: &[u8]) -> Option<u64> {
    const WORD: usize = size_of::<usize>();
    const PAGE_SIZE: usize = 6;
    let words: Vec<usize> = auxv
        .chunks_exact(WORD)
        .filter_map(|word| Some(usize::from_ne_bytes(word.try_into().ok()?)))
        .collect();
    words.chunks_exact(2).find_map(|pair| match pair {
        [PAGE_SIZE, size] if size.is_power_of_two() => u64::try_from(*size).ok(),
        _ => None,
    })
}

/// Bytes this process's container may use; `None` when it may use all there are.
pub fn memory_limit() -> Option<u64> {
    let cgroup = fs::read_to_string("/proc/self/cgroup").ok()?;
    memory_limit_under(Path::new("/sys/fs/cgroup"), &cgroup)
}

/// The tightest limit on the way from the process's group to the root. Inside a container the path told is
/// the host's, and only its root is there to be read.
fn memory_limit_under(root: &Path, cgroup: &str) -> Option<u64> {
    cgroup
        .lines()
        .filter_map(limit_file)
        .flat_map(|(hierarchy, path, file)| {
            let group = PathBuf::from(path.trim_start_matches('/'));
            let groups: Vec<PathBuf> = group.ancestors().map(Path::to_path_buf).collect();
            groups
                .into_iter()
                .map(move |group| root.join(hierarchy).join(group).join(file))
        })
        .filter_map(|file| parse_memory_limit(&fs::read_to_string(file).ok()?))
        .min()
}

/// `id:controllers:path` (cgroups(7)): where the hierarchy is mounted, the group, the file of its limit.
fn limit_file(line: &str) -> Option<(&'static str, &str, &'static str)> {
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?);
    if controllers.is_empty() {
        Some(("", path, "memory.max"))
    } else if controllers.split(',').any(|one| one == "memory") {
        Some(("memory", path, "memory.limit_in_bytes"))
    } else {
        None
    }
}

/// `max` is none, and so is what version 1 says instead: more than any machine has.
fn parse_memory_limit(text: &str) -> Option<u64> {
    let limit = text.trim().parse::<u64>().ok()?;
    (1..1 << 60).contains(&limit).then_some(limit)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn o09_the_soft_limit_is_read() {
        let limits = "Limit                     Soft Limit           Hard Limit           Units     \n\
                      Max processes             127544               127544               processes \n\
                      Max open files            1024                 524288               files     \n";
        assert_eq!(parse_descriptor_limit(limits), Some(1_024));
        assert_eq!(
            parse_descriptor_limit("Max open files            unlimited            unlimited\n"),
            None
        );
        assert_eq!(parse_descriptor_limit("Max open files\n"), None);
        assert_eq!(parse_descriptor_limit(""), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn o09_this_process_has_a_limit() {
        assert!(descriptor_limit().is_none_or(|limit| limit >= 16));
        assert!(fs::exists("/proc/self/limits").unwrap());
    }

    #[test]
    fn o08_the_memory_in_use_is_what_the_kernel_says() {
        assert_eq!(
            parse_resident_pages("5120 1234 800 1 0 300 0\n"),
            Some(1_234)
        );
        assert_eq!(parse_resident_pages("5120"), None);
        assert_eq!(parse_resident_pages("a b"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn o08_the_memory_in_use_grows_with_what_is_used() {
        let before = resident_bytes().unwrap();
        let filled = vec![7_u8; 64 << 20];
        let after = resident_bytes().unwrap();
        assert!(after >= before + (32 << 20), "{before} {after}");
        assert_eq!(filled.last(), Some(&7));
        // The kernel's own word for the same, in KiB.
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let told: u64 = status
            .lines()
            .find_map(|line| line.strip_prefix("VmRSS:"))
            .and_then(|text| text.trim().strip_suffix(" kB")?.parse().ok())
            .unwrap();
        let (low, high) = (told * 1_024 / 2, told * 1_024 * 2);
        assert!(
            (low..high).contains(&after),
            "{after} is not about {told} KiB"
        );
    }

    #[test]
    fn o08_the_page_size_is_found_among_other_words() {
        let words = |words: &[usize]| -> Vec<u8> {
            words.iter().flat_map(|word| word.to_ne_bytes()).collect()
        };
        assert_eq!(
            parse_page_size(&words(&[16, 6, 6, 16_384, 0, 0])),
            Some(16_384)
        );
        assert_eq!(parse_page_size(&words(&[16, 6, 6])), None);
        assert_eq!(parse_page_size(&words(&[6, 5_000])), None);
        assert_eq!(parse_page_size(b"odd"), None);
    }

    #[test]
    fn o08_the_tightest_limit_above_the_process_counts() {
        let root = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let limit = |cgroup: &str| memory_limit_under(root.path(), cgroup);
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/b/memory.max", "max\n");
        assert_eq!(limit("0::/a/b\n"), None);
        write("a/memory.max", "2000000\n");
        assert_eq!(limit("0::/a/b\n"), Some(2_000_000));
        write("a/b/memory.max", "1000000\n");
        assert_eq!(limit("0::/a/b\n"), Some(1_000_000));
        // A container sees its own group as the root of what it can read.
        write("memory.max", "500000\n");
        assert_eq!(limit("0::/docker/0123\n"), Some(500_000));
        // Version 1, with its number for none.
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        let first = "5:cpu,cpuacct:/x\n4:hugetlb,memory:/x/y\n";
        assert_eq!(limit(first), None);
        write("memory/x/memory.limit_in_bytes", "300000\n");
        assert_eq!(limit(first), Some(300_000));
        for odd in ["", "\n", "0:", "::", "4:memory", "0::../../etc"] {
            assert!(limit(odd).is_none_or(|limit| limit == 500_000), "{odd}");
        }
    }
}
