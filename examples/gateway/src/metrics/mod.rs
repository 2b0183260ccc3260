//! What the gateway counts, for Prometheus.
//!
//! | metric | labels | what |
//! |---|---|---|
//! | `tollgate_requests_total` | `region`, `status` | heads of answers that were sent |
//! | `tollgate_request_duration_seconds` | `region` | from a request's head to its answer's head |
//! | `tollgate_refusals_total` | `kind` | answers of the gateway's own, by their reason |
//! | `tollgate_calls_in_flight` | | calls whose answer has not ended |
//! | `tollgate_panics_total` | | bugs that were caught |
//! | `tollgate_streams_total` | `ending` | streams: `complete`, `failed`, `left` by their caller |
//! | `tollgate_budget_…` | `workspace`, `model` | what is charged, refunded, owed, denied |
//! | `tollgate_budget_store_…` | | the store that gateways share, and what is done without it |
//! | `tollgate_upstream_…` | `region`, `upstream`, `model` | attempts, failures, breakers |
//! | `tollgate_region_…` | `region` | calls, retries; and dispatches elsewhere, which must stay 0 |
//!
//! Labels come from the configuration and from fixed sets, never from a caller.

mod budgets;
mod metric;
mod store;
mod upstreams;

use std::{
    any::Any,
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use http::{HeaderName, HeaderValue, Response, StatusCode};
use metrics::{Counter, Gauge, Histogram, Key, Label, Level, Metadata, Recorder};
use metrics_exporter_prometheus::{
    BuildError, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};
use tollgate::Rejection;

use crate::stack::Insight;

pub(crate) use self::{budgets::Budgets, upstreams::report};

/// The metrics of one gateway.
pub(crate) struct Metrics {
    recorder: PrometheusRecorder,
    handle: PrometheusHandle,
    /// By region and status: found again faster than the recorder finds them.
    answers: RwLock<HashMap<Box<str>, BTreeMap<StatusCode, Answers>>>,
}

/// How many answers, and how long they took.
type Answers = (Counter, Histogram);

impl Metrics {
    pub(crate) fn new() -> Result<Arc<Self>, BuildError> {
        let recorder = PrometheusBuilder::new()
            .set_buckets(&SECONDS)?
            .build_recorder();
        recorder.describe_counter(
            REQUESTS.into(),
            None,
            "Answers, by region and status".into(),
        );
        recorder.describe_histogram(
            DURATION.into(),
            None,
            "Seconds from a request's head to its answer's head".into(),
        );
        recorder.describe_counter(
            REFUSALS.into(),
            None,
            "Answers of the gateway's own, by their reason".into(),
        );
        recorder.describe_gauge(
            IN_FLIGHT.into(),
            None,
            "Calls whose answer has not ended".into(),
        );
        for (name, what) in budgets::DESCRIPTIONS {
            recorder.describe_counter(name.into(), None, what.into());
        }
        recorder.describe_gauge(
            budgets::OPEN.into(),
            None,
            "Calls with a reservation".into(),
        );
        recorder.describe_counter(STREAMS.into(), None, "Streams, by their ending".into());
        recorder.describe_counter(PANICS.into(), None, "Bugs that were caught".into());
        let handle = recorder.handle();
        let metrics = Self {
            recorder,
            handle,
            answers: RwLock::default(),
        };
        // What may never happen is seen not to have happened.
        metrics.counter(&Key::from_static_name(PANICS)).increment(0);
        for ending in [Ending::Complete, Ending::Failed, Ending::Left] {
            metrics.counter(&ending.key()).increment(0);
        }
        Ok(Arc::new(metrics))
    }

    /// Everything in Prometheus' text format.
    pub(crate) fn render(&self, insight: &Insight) -> String {
        let mut text = self.handle.render();
        text.push_str(&store::render(&insight.store));
        text.push_str(&upstreams::render(&insight.upstreams));
        text
    }

    /// Folds what was observed into buckets. Without a call now and then observations pile up.
    pub(crate) fn tidy(&self) {
        self.handle.run_upkeep();
    }

    /// Counts an answer whose head is about to be sent.
    pub(crate) fn answered<B>(&self, response: &Response<B>, elapsed: Duration) {
        let region = response.headers().get(REGION);
        let region = region.and_then(|name| HeaderValue::to_str(name).ok());
        let (number, duration) = self.answers(region.unwrap_or("none"), response.status());
        number.increment(1);
        duration.record(elapsed);
        if let Some(rejection) = response.extensions().get::<Rejection>() {
            let kind = Label::new("kind", snake_case(&format!("{:?}", rejection.kind())));
            self.count(&Key::from_parts(REFUSALS, vec![kind]));
        }
    }

    fn answers(&self, region: &str, status: StatusCode) -> Answers {
        let known = self.answers.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(answers) = known.get(region).and_then(|of| of.get(&status)) {
            return answers.clone();
        }
        drop(known);
        let label = Label::new("region", region.to_owned());
        let status_label = Label::new("status", status.as_str().to_owned());
        let number = Key::from_parts(REQUESTS, vec![label.clone(), status_label]);
        let duration = Key::from_parts(DURATION, vec![label]);
        let duration = self.recorder.register_histogram(&duration, &METADATA);
        let answers = (self.counter(&number), duration);
        let mut known = self.answers.write().unwrap_or_else(PoisonError::into_inner);
        let of = known.entry(region.into()).or_default();
        of.insert(status, answers.clone());
        answers
    }

    /// Counts a panic that was caught. What was thrown is dropped: the hook has said where it
    /// came from, and its text may be a caller's.
    pub(crate) fn panicked(&self, thrown: Box<dyn Any + Send>) {
        drop(thrown);
        self.count(&Key::from_static_name(PANICS));
    }

    /// Counts a stream that has ended.
    pub(crate) fn streamed(&self, ending: Ending) {
        self.count(&ending.key());
    }

    fn count(&self, key: &Key) {
        self.counter(key).increment(1);
    }

    fn counter(&self, key: &Key) -> Counter {
        self.recorder.register_counter(key, &METADATA)
    }

    fn gauge(&self, key: &Key) -> Gauge {
        self.recorder.register_gauge(key, &METADATA)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// How a stream ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ending {
    /// With `[DONE]`.
    Complete,
    /// With an error.
    Failed,
    /// By its caller, before its end.
    Left,
}

impl Ending {
    fn key(self) -> Key {
        let name = match self {
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Left => "left",
        };
        Key::from_parts(STREAMS, vec![Label::from_static_parts("ending", name)])
    }
}

/// Counts the calls in flight, up to a cap.
#[derive(Debug)]
pub(crate) struct CallsInFlight {
    number: AtomicUsize,
    cap: usize,
    gauge: Gauge,
}

impl CallsInFlight {
    pub(crate) fn new(cap: usize, metrics: &Metrics) -> Arc<Self> {
        let key = Key::from_static_name(IN_FLIGHT);
        Arc::new(Self {
            number: AtomicUsize::new(0),
            cap,
            gauge: metrics.gauge(&key),
        })
    }

    /// A place for one more call, if there is one.
    pub(crate) fn enter(self: &Arc<Self>) -> Option<InFlight> {
        let before = self.number.fetch_add(1, Ordering::Relaxed);
        self.gauge.increment(1);
        // Its drop gives the place back.
        let place = InFlight(Arc::clone(self));
        (before < self.cap).then_some(place)
    }
}

/// A call's place; it is free again once this is dropped.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<CallsInFlight>);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.number.fetch_sub(1, Ordering::Relaxed);
        self.0.gauge.decrement(1);
    }
}

fn snake_case(name: &str) -> String {
    let mut snake = String::with_capacity(name.len() + 4);
    for c in name.chars() {
        if c.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(c.to_ascii_lowercase());
    }
    snake
}

const REGION: HeaderName = HeaderName::from_static("x-tollgate-region");

const REQUESTS: &str = "tollgate_requests_total";
const DURATION: &str = "tollgate_request_duration_seconds";
const REFUSALS: &str = "tollgate_refusals_total";
const IN_FLIGHT: &str = "tollgate_calls_in_flight";
const PANICS: &str = "tollgate_panics_total";
const STREAMS: &str = "tollgate_streams_total";

const METADATA: Metadata<'static> =
    Metadata::new(module_path!(), Level::INFO, Some(module_path!()));

// Refusals take microseconds, answers of large models minutes.
const SECONDS: [f64; 14] = [
    0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0, 30.0, 60.0, 120.0,
];

#[cfg(test)]
mod tests {
    use tollgate::{RejectionKind, RequestId};

    use super::*;

    #[test]
    fn answers_are_counted_by_region_status_and_reason() {
        let metrics = Metrics::new().unwrap();
        let mut response = Response::new(());
        response
            .headers_mut()
            .insert("x-tollgate-region", HeaderValue::from_static("eu"));
        metrics.answered(&response, Duration::from_millis(3));
        metrics.answered(&response, Duration::from_millis(3));
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
            .extensions_mut()
            .insert(Rejection::new(RejectionKind::ModelNotFound));
        response.extensions_mut().insert(RequestId::mint());
        metrics.answered(&response, Duration::from_millis(3));

        let text = metrics.handle.render();
        for line in [
            "tollgate_requests_total{region=\"eu\",status=\"200\"} 2",
            "tollgate_requests_total{region=\"eu\",status=\"404\"} 1",
            "tollgate_refusals_total{kind=\"model_not_found\"} 1",
            "tollgate_request_duration_seconds_bucket{region=\"eu\",le=\"0.0025\"} 0",
            "tollgate_request_duration_seconds_bucket{region=\"eu\",le=\"0.005\"} 3",
        ] {
            assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn a_place_is_free_again_after_its_call() {
        let metrics = Metrics::new().unwrap();
        let calls = CallsInFlight::new(1, &metrics);
        let first = calls.enter();
        assert!(first.is_some());
        assert!(calls.enter().is_none());
        drop(first);
        assert!(calls.enter().is_some());
    }
}
