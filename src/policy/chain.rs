//! Fallback chains: which pools follow which, each once, no deeper than allowed.

use crate::domain::PoolName;

/// The pools to try in order, beginning with `start`, nearest first. Each appears once, so a cycle ends.
pub fn walk(
    start: &PoolName,
    next: impl Fn(&PoolName) -> Vec<PoolName>,
    max_depth: usize,
) -> Vec<PoolName> {
    let mut chain = vec![start.clone()];
    let mut level = vec![start.clone()];
    for _ in 0..max_depth {
        let mut below = Vec::new();
        for pool in level.iter().flat_map(&next) {
            if !chain.contains(&pool) {
                chain.push(pool.clone());
                below.push(pool);
            }
        }
        level = below;
    }
    chain
}

/// The way back to `start`, if its fallbacks lead there (fault C02).
pub fn cycle(start: &PoolName, next: impl Fn(&PoolName) -> Vec<PoolName>) -> Option<Vec<PoolName>> {
    let mut ways = vec![vec![start.clone()]];
    let mut seen = Vec::new();
    while let Some(way) = ways.pop() {
        let Some(last) = way.last() else { continue };
        for pool in next(last) {
            if pool == *start {
                let mut whole = way.clone();
                whole.push(pool);
                return Some(whole);
            }
            if !seen.contains(&pool) {
                seen.push(pool.clone());
                let mut further = way.clone();
                further.push(pool);
                ways.push(further);
            }
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(pool: &PoolName) -> Vec<PoolName> {
        let names: &[&str] = match pool.as_str() {
            "a" => &["b", "c"],
            "b" => &["d"],
            "d" => &["a"],
            _ => &[],
        };
        names.iter().map(|name| PoolName::from(*name)).collect()
    }

    fn names(chain: &[PoolName]) -> String {
        chain
            .iter()
            .map(PoolName::as_str)
            .collect::<Vec<_>>()
            .join(" ")
    }

    #[test]
    fn f1_a_chain_goes_nearest_first_and_names_each_pool_once() {
        assert_eq!(names(&walk(&"a".into(), next, 4)), "a b c d");
        assert_eq!(names(&walk(&"a".into(), next, 1)), "a b c");
        assert_eq!(names(&walk(&"a".into(), next, 0)), "a");
    }

    #[test]
    fn c02_a_cycle_is_found_and_shown() {
        assert_eq!(
            cycle(&"a".into(), next).map(|way| names(&way)),
            Some("a b d a".to_owned())
        );
        assert_eq!(cycle(&"c".into(), next), None);
    }
}
