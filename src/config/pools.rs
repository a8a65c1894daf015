//! What clients call a model: pools, their targets, where they fall back to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::judge::{Judge, Slash};
use super::raw::{RawPool, RawPromptClass, RawRace, RawTarget, RawTargetForm};
use super::settings::{
    HedgeSettings, PoolOrigin, PoolSettings, ProviderSettings, RaceMode, TargetSettings,
};
use crate::domain::{ModelName, PoolName, PromptClass, ProviderName, Score, Tokens, Unoffered};
use crate::policy::chain::cycle;

pub(super) fn pools(
    judge: &mut Judge<'_>,
    raw: &BTreeMap<String, RawPool>,
    providers: &[Arc<ProviderSettings>],
) -> Vec<Arc<PoolSettings>> {
    let mut pools = Vec::new();
    for (name, pool) in raw {
        let path = format!("pools.{name}");
        judge.name(&path, name, Slash::Allowed);
        if pool.targets.is_empty() {
            judge.wrong(
                format!("{path}.targets"),
                format!("pool {name:?} has no targets"),
                "add at least one \"provider/model\"",
            );
        }
        let targets = pool
            .targets
            .iter()
            .enumerate()
            .filter_map(|(index, form)| {
                target(judge, &format!("{path}.targets[{index}]"), form, providers)
            })
            .collect();
        pools.push(pool_settings(judge, name, pool, targets));
    }
    implicit_pools(&mut pools, providers);
    chains(judge, raw, &pools);
    pools.into_iter().map(Arc::new).collect()
}

pub(super) fn pool_settings(
    judge: &mut Judge<'_>,
    name: &str,
    pool: &RawPool,
    targets: Vec<TargetSettings>,
) -> PoolSettings {
    let share = pool.hedge_budget_share;
    if !(0.0..=1.0).contains(&share) {
        judge.wrong(
            format!("pools.{name}.hedge_budget_share"),
            "is not between 0 and 1",
            "0.05 is five percent",
        );
    }
    PoolSettings {
        name: name.into(),
        origin: PoolOrigin::Explicit,
        targets,
        fallback: pool
            .fallback
            .iter()
            .map(|name| PoolName::from(name.as_str()))
            .collect(),
        queue_length: pool.queue_length,
        max_wait: Duration::from_millis(pool.max_wait_ms),
        race: match pool.race {
            RawRace::Never => RaceMode::Never,
            RawRace::Marked => RaceMode::Marked,
            RawRace::Always => RaceMode::Always,
        },
        unsupported: pool.unsupported,
        unoffered_tools: pool.unoffered_tools,
        hedge: HedgeSettings {
            enabled: pool.hedge,
            budget_share: Score::new(share),
            largest_prompt: match pool.hedge_largest_prompt {
                RawPromptClass::Small => PromptClass::Small,
                RawPromptClass::Medium => PromptClass::Medium,
                RawPromptClass::Large => PromptClass::Large,
                RawPromptClass::Huge => PromptClass::Huge,
            },
        },
    }
}

pub(super) fn target(
    judge: &mut Judge<'_>,
    path: &str,
    form: &RawTargetForm,
    providers: &[Arc<ProviderSettings>],
) -> Option<TargetSettings> {
    let target = match form {
        RawTargetForm::Table(target) => target.clone(),
        RawTargetForm::Name(name) => RawTarget {
            target: name.clone(),
            weight: 1.0,
            context_window: None,
        },
    };
    let Some((provider, model)) = target
        .target
        .split_once('/')
        .filter(|(_, model)| !model.is_empty())
    else {
        judge.wrong(
            path,
            format!("{:?} names no model", target.target),
            "write it as \"provider/model\"",
        );
        return None;
    };
    if !providers
        .iter()
        .any(|known| known.name.as_str() == provider)
    {
        let known: Vec<&str> = providers.iter().map(|known| known.name.as_str()).collect();
        judge.wrong(
            path,
            format!("there is no provider {provider:?}"),
            format!(
                "add [providers.{provider}], or use one of: {}",
                known.join(", ")
            ),
        );
        return None;
    }
    if !target.weight.is_finite() || target.weight <= 0.0 || target.weight > 1e6 {
        judge.wrong(
            format!("{path}.weight"),
            "is not a positive number",
            "1 is the weight of a plain target",
        );
        return None;
    }
    Some(TargetSettings {
        provider: ProviderName::from(provider),
        model: Some(ModelName::from(model)),
        weight: target.weight,
        context_window: target.context_window.map(Tokens),
    })
}

/// Each known model under its own name and as `provider/model`, and `provider/*` for all others.
pub(super) fn implicit_pools(pools: &mut Vec<PoolSettings>, providers: &[Arc<ProviderSettings>]) {
    for provider in providers {
        for model in &provider.models {
            let target = TargetSettings {
                provider: provider.name.clone(),
                model: Some(model.clone()),
                weight: 1.0,
                context_window: None,
            };
            for name in [model.to_string(), format!("{}/{model}", provider.name)] {
                let name = PoolName::from(name);
                match pools.iter_mut().find(|pool| pool.name == name) {
                    // Two providers of one model share its pool; an operator's own pool is left alone.
                    Some(pool) if pool.origin == PoolOrigin::Implicit => {
                        pool.targets.push(target.clone())
                    }
                    Some(_) => {}
                    None => pools.push(implicit(name, PoolOrigin::Implicit, target.clone())),
                }
            }
        }
        let name = PoolName::from(format!("{}/*", provider.name));
        let any = TargetSettings {
            provider: provider.name.clone(),
            model: None,
            weight: 1.0,
            context_window: None,
        };
        pools.push(implicit(name, PoolOrigin::Wildcard, any));
    }
}

pub(super) fn implicit(name: PoolName, origin: PoolOrigin, target: TargetSettings) -> PoolSettings {
    let defaults = RawPool::default();
    PoolSettings {
        name,
        origin,
        targets: vec![target],
        fallback: Vec::new(),
        queue_length: defaults.queue_length,
        max_wait: Duration::from_millis(defaults.max_wait_ms),
        race: RaceMode::Marked,
        unsupported: None,
        unoffered_tools: Unoffered::Flag,
        hedge: HedgeSettings {
            enabled: false,
            budget_share: Score::new(defaults.hedge_budget_share),
            largest_prompt: PromptClass::Medium,
        },
    }
}

pub(super) fn chains(
    judge: &mut Judge<'_>,
    raw: &BTreeMap<String, RawPool>,
    pools: &[PoolSettings],
) {
    let next = |name: &PoolName| {
        pools
            .iter()
            .find(|pool| pool.name == *name)
            .map(|pool| pool.fallback.clone())
            .unwrap_or_default()
    };
    for (name, pool) in raw {
        for (index, fallback) in pool.fallback.iter().enumerate() {
            if !pools.iter().any(|pool| pool.name.as_str() == fallback) {
                judge.wrong(
                    format!("pools.{name}.fallback[{index}]"),
                    format!("there is no pool {fallback:?}"),
                    format!("add [pools.{fallback}], or remove it here"),
                );
            }
        }
        if let Some(way) = cycle(&PoolName::from(name.as_str()), next) {
            let way: Vec<&str> = way.iter().map(PoolName::as_str).collect();
            judge.wrong(
                format!("pools.{name}.fallback"),
                format!("the chain leads back to itself: {}", way.join(" -> ")),
                "remove one of these links",
            );
        }
    }
}
