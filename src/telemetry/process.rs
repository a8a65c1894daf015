//! What the kernel says of this process. Read from `/proc`; where there is none, nothing is known.

use std::fs;

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
}
