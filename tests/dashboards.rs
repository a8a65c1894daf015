//! Every metric and label that the dashboard and the alert rules name exists in the gateway's own table.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test crate")]

use std::collections::BTreeSet;
use std::path::Path;

use switchyard::telemetry::{MetricKind, table};

fn read(path: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// Words of an expression, in order.
fn words(expression: &str) -> Vec<String> {
    expression
        .split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

fn check(expression: &str) -> usize {
    let mut found = 0;
    let mut labels: BTreeSet<&str> = BTreeSet::new();
    for word in words(expression) {
        let ours = word.starts_with("switchyard_")
            || table()
                .iter()
                .any(|row| row.name.starts_with("gen_ai_") && word.starts_with(row.name));
        if !ours {
            continue;
        }
        let row = table()
            .iter()
            .find(|row| {
                word == row.name
                    || (row.kind == MetricKind::Histogram
                        && ["_bucket", "_sum", "_count"]
                            .iter()
                            .any(|end| word == format!("{}{end}", row.name)))
            })
            .unwrap_or_else(|| panic!("there is no metric {word:?} in the table ({expression})"));
        labels.extend(row.labels);
        found += 1;
    }
    labels.insert("le");
    for group in expression.split("by (").skip(1) {
        for label in group.split(')').next().unwrap().split(',') {
            assert!(
                labels.contains(label.trim()),
                "{label:?} is no label of the metrics in {expression}"
            );
        }
    }
    for selector in expression.split('{').skip(1) {
        let label = selector.split(['=', '!']).next().unwrap().trim();
        assert!(
            labels.contains(label),
            "{label:?} is no label of the metrics in {expression}"
        );
    }
    found
}

#[test]
fn o1_the_dashboard_names_only_metrics_that_exist() {
    let dashboard: serde_json::Value =
        serde_json::from_str(&read("config/grafana/switchyard.json")).unwrap();
    let mut found = 0;
    for panel in dashboard["panels"].as_array().unwrap() {
        for target in panel["targets"].as_array().into_iter().flatten() {
            found += check(target["expr"].as_str().unwrap());
        }
    }
    assert!(found >= 20, "{found}");
}

#[test]
fn o1_the_alert_rules_name_only_metrics_that_exist_and_say_the_cure() {
    let text = read("config/alerts/switchyard.yml");
    let expressions: Vec<&str> = text
        .lines()
        .filter_map(|line| line.trim().strip_prefix("expr: "))
        .collect();
    assert!(expressions.len() >= 9);
    for expression in &expressions {
        assert!(check(expression) > 0, "{expression}");
    }
    assert_eq!(text.matches("description:").count(), expressions.len());
}

#[test]
fn a_metric_that_does_not_exist_would_be_found() {
    assert!(
        std::panic::catch_unwind(|| check("rate(switchyard_no_such_thing_total[5m])")).is_err()
    );
    assert!(std::panic::catch_unwind(|| check("sum by (colour) (switchyard_conns)")).is_err());
}
