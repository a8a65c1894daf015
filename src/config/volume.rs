//! What a provider takes off its prices for who buys much in a month.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::judge::Judge;
use super::raw::RawProvider;
use crate::domain::NanoUsd;
use crate::domain::money::AmountError;
use crate::pricing::{Factor, Measure, Volume, VolumeStep};

#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct RawVolumeStep {
    from_usd: Option<String>,
    from_tokens: Option<u64>,
    discount_percent: String,
}

const MOST_STEPS: usize = 16;

pub(super) fn settings(
    judge: &mut Judge<'_>,
    path: &str,
    raw: &RawProvider,
) -> Option<Arc<Volume>> {
    if raw.volume.is_empty() {
        return None;
    }
    let path = format!("{path}.volume");
    let before = judge.mistakes.len();
    if raw.free == Some(true) {
        judge.wrong(
            &path,
            "takes something off what costs nothing",
            "leave out volume, or free",
        );
    }
    if raw.volume.len() > MOST_STEPS {
        judge.wrong(&path, "has more than 16 steps", "keep those in use");
    }
    let steps = raw.volume.iter().enumerate();
    let steps: Vec<(Measure, VolumeStep)> = steps
        .filter_map(|(nth, step)| one(judge, &format!("{path}[{nth}]"), step))
        .collect();
    let (measure, _) = *steps.first()?;
    if steps.iter().any(|(other, _)| *other != measure) {
        judge.wrong(
            &path,
            "counts dollars in one step and tokens in another",
            "write from_usd in all of them, or from_tokens",
        );
    }
    let volume = Volume::new(measure, steps.into_iter().map(|(_, step)| step).collect());
    if volume.is_none() && judge.mistakes.len() == before {
        judge.wrong(
            &path,
            "does not rise: each step begins later than the one before it and takes more off",
            "write the steps as the contract has them, the smallest first",
        );
    }
    volume.map(Arc::new)
}

fn one(judge: &mut Judge<'_>, path: &str, raw: &RawVolumeStep) -> Option<(Measure, VolumeStep)> {
    let from = match (&raw.from_usd, raw.from_tokens) {
        (Some(text), None) => match text.parse::<NanoUsd>() {
            Ok(amount) => Some((Measure::Money, amount.0)),
            Err(error) => {
                judge.wrong(
                    format!("{path}.from_usd"),
                    format!("{text:?} is no amount: {error}"),
                    "write dollars as a text, such as \"100000\"",
                );
                None
            }
        },
        (None, Some(tokens)) => Some((Measure::Tokens, tokens)),
        (Some(_), Some(_)) | (None, None) => {
            judge.wrong(
                path,
                "begins nowhere, or twice",
                "write from_usd = \"100000\" or from_tokens = 1000000000",
            );
            None
        }
    };
    let text = raw.discount_percent.as_str();
    let rest = Factor::less_percent(text).map_err(|error: AmountError| {
        judge.wrong(
            format!("{path}.discount_percent"),
            format!("{text:?} is no share of a price: {error}"),
            "write a text from \"0.0001\" to \"100\", such as \"10\"",
        );
    });
    let (measure, from) = from?;
    Some((
        measure,
        VolumeStep {
            from,
            rest: rest.ok()?,
        },
    ))
}
