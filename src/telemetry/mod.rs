//! Metrics and logs: every name declared once, every label from an enum or the configuration.

mod lines;
pub mod logs;
pub mod metrics;
pub mod process;

use std::sync::Arc;

use ::metrics::set_global_recorder;
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};

pub use logs::LogError;
pub use metrics::{MetricKind, MetricRow, table};

/// The recorder behind every metric, and what a scrape reads.
pub struct Telemetry {
    handle: PrometheusHandle,
}

impl Telemetry {
    /// Installs the recorder for this process. A second call in one process (tests) shares the first.
    pub fn install() -> Arc<Self> {
        static INSTALLED: std::sync::OnceLock<Arc<Telemetry>> = std::sync::OnceLock::new();
        Arc::clone(INSTALLED.get_or_init(|| {
            let recorder = builder().build_recorder();
            let handle = recorder.handle();
            // Fails only when something else was installed before; then nothing is recorded here.
            let _ = set_global_recorder(recorder);
            metrics::describe();
            Arc::new(Self { handle })
        }))
    }

    /// What a scrape gets. Asks no actor.
    pub fn render(&self) -> String {
        self.handle.render()
    }

    /// Moves recorded samples into their buckets; without it histograms grow between scrapes.
    pub fn upkeep(&self) {
        self.handle.run_upkeep();
    }
}

fn builder() -> PrometheusBuilder {
    metrics::BUCKETS
        .iter()
        .fold(PrometheusBuilder::new(), |builder, (suffix, buckets)| {
            let matcher = Matcher::Suffix((*suffix).to_owned());
            // Only an empty list of buckets is refused, and none is.
            builder
                .set_buckets_for_metric(matcher, buckets)
                .unwrap_or_else(|_| PrometheusBuilder::new())
        })
}
