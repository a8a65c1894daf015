//! Section 1: provider faults.

mod content;
mod framing;
mod health;
mod limits;

use std::time::Duration;

pub use content::p28;
use content::{LOGIN, p13, p14, p15, p17, p23, p24, p25, p29};
use framing::{p18, p19, p31, p32, p33};
use health::{overloaded_name, p09};
pub use health::{p08, p10, p11, p12, p20, p21, p22, p27, p34};
pub(super) use limits::{healthy_with, remaining, remaining_fields};
pub use limits::{p01, p03, p05};
use limits::{p02, p04, p06, p07};

use super::{Row, answer, variant};
use crate::mock::Behaviour;

pub(super) const ROWS: &[Row] = &[
    answer("P01", "rate limit, integer", |dialect| {
        vec![variant("7s", p01(dialect, 7))]
    }),
    answer("P02", "rate limit as a date, by a skewed clock", p02),
    answer(
        "P03",
        "rate limit in milliseconds and fractions",
        |dialect| {
            vec![
                variant("ms", p03(dialect, "retry-after-ms", "1250")),
                variant("fraction", p03(dialect, "retry-after", "0.5")),
            ]
        },
    ),
    answer("P04", "absurd pushback", p04),
    answer("P05", "limits told on 200", |dialect| {
        let told = p05(dialect, Duration::from_secs(360));
        told.map(|told| variant("tokens", told))
            .into_iter()
            .collect()
    }),
    answer("P06", "Anthropic's limits told on 200", p06),
    answer("P07", "limit in the body only", p07),
    answer("P08", "overloaded", |dialect| {
        vec![
            variant(overloaded_name(dialect), p08(dialect)),
            variant("503", Behaviour::status(503)),
        ]
    }),
    answer("P09", "CDN error page", p09),
    answer("P10", "hard down", |dialect| {
        vec![variant("500", p10(dialect))]
    }),
    answer("P11", "partly failing", |dialect| {
        vec![variant("30_percent", p11(dialect, 0.3, 11))]
    }),
    answer("P12", "flapping", |dialect| {
        vec![variant(
            "5s",
            p12(dialect, Duration::from_secs(5), Duration::from_secs(5)),
        )]
    }),
    answer("P13", "200 with an error in its body", p13),
    answer("P14", "200 without an answer", p14),
    answer("P15", "broken JSON", p15),
    answer("P16", "HTML with 200", |_| {
        vec![variant(
            "login",
            Behaviour::status(200).body("text/html; charset=utf-8", LOGIN),
        )]
    }),
    answer("P17", "wrong form", p17),
    answer("P18", "wrong length", p18),
    answer("P19", "ambiguous framing", p19),
    answer("P20", "slow head", |_| {
        vec![variant("45s", p20(Duration::from_secs(45)))]
    }),
    answer("P21", "pings only", |dialect| {
        let (every, until) = (Duration::from_secs(5), Duration::from_secs(60));
        vec![variant("60s", p21(dialect, every, until))]
    }),
    answer("P22", "brown-out", |_| vec![variant("ten_times", p22(10))]),
    answer("P23", "model gone", p23),
    answer("P24", "context too long", p24),
    answer("P25", "content filter", p25),
    answer(
        "P26",
        "region down (set on every mock of the region)",
        |dialect| vec![variant("500", p10(dialect))],
    ),
    answer("P27", "poison request", |dialect| {
        vec![variant("marker", p27(dialect, "[[poison]]"))]
    }),
    answer("P28", "model swapped", |dialect| {
        let swapped = p28(dialect, "another-model");
        swapped
            .map(|swapped| variant("other", swapped))
            .into_iter()
            .collect()
    }),
    answer("P29", "usage wrong", p29),
    answer("P30", "redirect", |_| {
        [("302", 302), ("307", 307)]
            .map(|(name, status)| {
                variant(
                    name,
                    Behaviour::status(status).header("location", "http://127.0.0.2:1/v1/elsewhere"),
                )
            })
            .into()
    }),
    answer("P31", "odd statuses", p31),
    answer("P32", "oversize answer", p32),
    answer("P33", "compression bomb", p33),
    answer(
        "P34",
        "correlated half failure (set on every mock, each with its seed)",
        |dialect| vec![variant("half", p34(dialect, 34))],
    ),
    answer("P35", "all down (set on every mock)", |dialect| {
        vec![variant("500", p10(dialect))]
    }),
];
