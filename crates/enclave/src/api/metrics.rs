//! `GET /metrics`: counters in Prometheus' text format. Labels are routes and status codes, nothing that a client
//! chooses.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use casemate_engine::{Event, Usage};
use casemate_protocol::{receipt, sealed};

use super::ApiState;

/// What this server counted since it started.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: Mutex<BTreeMap<(Route, u16), u64>>,
    body_bytes: AtomicU64,
    prompt_tokens: AtomicU64,
    cached_tokens: AtomicU64,
    cache_hits: AtomicU64,
    generated_tokens: AtomicU64,
    waiting: AtomicU64,
    running: AtomicU64,
    queue_wait: Histogram,
    first_token: Histogram,
    between_tokens: Histogram,
}

/// The way of one request through the engine, from when it is handed over until it is dropped.
pub(super) struct Passage {
    metrics: Arc<Metrics>,
    handed_over: Instant,
    started: bool,
    last: Option<Instant>,
}

impl Passage {
    pub(super) fn new(metrics: Arc<Metrics>) -> Self {
        metrics.waiting.fetch_add(1, Ordering::Relaxed);
        Self { metrics, handed_over: Instant::now(), started: false, last: None }
    }

    /// Counts what comes of it. Pieces of text are what clients wait for: most are one token.
    pub(super) fn event(&mut self, event: &Event) {
        let now = Instant::now();
        match event {
            Event::Started { .. } if !self.started => {
                self.started = true;
                self.metrics.waiting.fetch_sub(1, Ordering::Relaxed);
                self.metrics.running.fetch_add(1, Ordering::Relaxed);
                self.metrics.queue_wait.observe(now.duration_since(self.handed_over));
            }
            Event::Text(_) => {
                match self.last.replace(now) {
                    None => self.metrics.first_token.observe(now.duration_since(self.handed_over)),
                    Some(last) => self.metrics.between_tokens.observe(now.duration_since(last)),
                };
            }
            Event::Started { .. } | Event::Token(_) => {}
        }
    }
}

impl Drop for Passage {
    fn drop(&mut self) {
        let gauge = if self.started { &self.metrics.running } else { &self.metrics.waiting };
        gauge.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How long something took, in classes of time.
#[derive(Debug, Default)]
struct Histogram {
    /// Observations of at most [`BOUNDS`], and beyond all of them.
    counts: [AtomicU64; BOUNDS.len() + 1],
    microseconds: AtomicU64,
}

/// Upper ends of the classes, in seconds.
const BOUNDS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

impl Histogram {
    fn observe(&self, duration: Duration) {
        let class = BOUNDS.partition_point(|bound| *bound < duration.as_secs_f64());
        if let Some(count) = self.counts.get(class) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        let microseconds = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.microseconds.fetch_add(microseconds, Ordering::Relaxed);
    }

    fn render(&self, out: &mut String, name: &str, help: &str) {
        head(out, name, "histogram", help);
        let mut total = 0;
        for (index, count) in self.counts.iter().enumerate() {
            total += count.load(Ordering::Relaxed);
            match BOUNDS.get(index) {
                Some(bound) => line(out, &format!("{name}_bucket{{le=\"{bound}\"}}"), total),
                None => line(out, &format!("{name}_bucket{{le=\"+Inf\"}}"), total),
            }
        }
        let seconds = self.microseconds.load(Ordering::Relaxed) as f64 / 1e6;
        let _ = writeln!(out, "{name}_sum {seconds}");
        line(out, &format!("{name}_count"), total);
    }
}

impl Metrics {
    pub(super) fn count_request(&self, route: Route, status: StatusCode) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        let count = requests.entry((route, status.as_u16())).or_default();
        *count = count.saturating_add(1);
    }

    pub(super) fn count_body_bytes(&self, bytes: usize) {
        self.body_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    pub(super) fn count_usage(&self, usage: Usage) {
        self.prompt_tokens.fetch_add(usage.prompt_tokens.into(), Ordering::Relaxed);
        self.cached_tokens.fetch_add(usage.cached_tokens.into(), Ordering::Relaxed);
        self.cache_hits.fetch_add((usage.cached_tokens > 0).into(), Ordering::Relaxed);
        self.generated_tokens.fetch_add(usage.completion_tokens.into(), Ordering::Relaxed);
    }

    /// Bytes of request bodies received so far on the routes that take one.
    #[must_use]
    pub fn request_body_bytes(&self) -> u64 {
        self.body_bytes.load(Ordering::Relaxed)
    }

    /// Everything, with the engine's queue, the evidence and the tenants' keys as they are now.
    fn render(&self, state: &ApiState) -> String {
        let engine = state.engine.as_ref();
        // Where the clock tells no time, the gauges are left out.
        let endorsements = state.attest.endorsements().ok();
        let mut out = String::new();
        let requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        head(&mut out, "casemate_requests_total", "counter", "Requests by route and status.");
        for ((route, status), count) in requests.iter() {
            line(
                &mut out,
                &format!("casemate_requests_total{{route=\"{}\",status=\"{status}\"}}", route.label()),
                *count,
            );
        }
        let single: [(&str, &str, &str, u64); 9] = [
            (
                "casemate_request_body_bytes_total",
                "counter",
                "Bytes of request bodies received on the routes that take one.",
                self.body_bytes.load(Ordering::Relaxed),
            ),
            (
                "casemate_prompt_tokens_total",
                "counter",
                "Tokens of prompts given to the model.",
                self.prompt_tokens.load(Ordering::Relaxed),
            ),
            (
                "casemate_prefix_cache_hits_total",
                "counter",
                "Requests whose beginning was not read again.",
                self.cache_hits.load(Ordering::Relaxed),
            ),
            (
                "casemate_prefix_cache_tokens_total",
                "counter",
                "Tokens of prompts that were not read again.",
                self.cached_tokens.load(Ordering::Relaxed),
            ),
            (
                "casemate_requests_waiting",
                "gauge",
                "Requests for answers that were handed to the engine and have not started.",
                self.waiting.load(Ordering::Relaxed),
            ),
            (
                "casemate_requests_running",
                "gauge",
                "Requests for answers that have started and not ended.",
                self.running.load(Ordering::Relaxed),
            ),
            (
                "casemate_generated_tokens_total",
                "counter",
                "Tokens generated by the model.",
                self.generated_tokens.load(Ordering::Relaxed),
            ),
            (
                "casemate_engine_queue_depth",
                "gauge",
                "Requests waiting or running in the engine.",
                engine.queue_depth() as u64,
            ),
            (
                "casemate_engine_restarts_total",
                "counter",
                "How often the engine's process was started anew.",
                engine.restarts(),
            ),
        ];
        let endorsed = endorsements.map(|health| {
            [
                (
                    "casemate_endorsements_valid_until_seconds",
                    "gauge",
                    "Last second, since 1970, at which this machine's evidence is genuine with its endorsements.",
                    health.valid_until.0,
                ),
                (
                    "casemate_endorsements_last_refresh_seconds",
                    "gauge",
                    "When the endorsements were last obtained and checked, in seconds since 1970.",
                    health.last_success.0,
                ),
                (
                    "casemate_endorsement_refresh_failures_total",
                    "counter",
                    "Attempts to renew the endorsements that failed.",
                    health.failures_total,
                ),
            ]
        });
        let evidence = state.attest.evidence_age().map(|age| {
            let help = "Age of the attestation document that is kept ready.";
            ("casemate_evidence_age_seconds", "gauge", help, age)
        });
        let keys = state.tenants.as_ref().map(|tenants| tenants.reloads());
        let keys = keys.map(|reloads| {
            [
                (
                    "casemate_api_keys_reloads_total",
                    "counter",
                    "How often the tenants' keys were read anew.",
                    reloads.done,
                ),
                (
                    "casemate_api_keys_reload_failures_total",
                    "counter",
                    "How often they were not, because the file is not usable: the older keys stay.",
                    reloads.failed,
                ),
                (
                    "casemate_api_keys_stale",
                    "gauge",
                    "1 while the newest file of keys is not usable.",
                    reloads.stale.into(),
                ),
            ]
        });
        let all = single.into_iter().chain(endorsed.into_iter().flatten());
        for (name, kind, help, value) in all.chain(evidence).chain(keys.into_iter().flatten()) {
            head(&mut out, name, kind, help);
            line(&mut out, name, value);
        }
        self.queue_wait.render(
            &mut out,
            "casemate_queue_wait_seconds",
            "From when a request for an answer is handed to the engine until it starts.",
        );
        self.first_token.render(
            &mut out,
            "casemate_time_to_first_token_seconds",
            "From when a request for an answer is handed to the engine until its first piece of text.",
        );
        self.between_tokens.render(
            &mut out,
            "casemate_inter_token_latency_seconds",
            "Between two pieces of text of an answer.",
        );
        out
    }
}

pub(super) async fn metrics(State(state): State<ApiState>) -> Response {
    let text = state.metrics.render(&state);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The routes, as labels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Route {
    Health,
    Attest,
    Infer,
    Chat,
    Completions,
    Embeddings,
    Messages,
    Models,
    Model,
    Receipt,
    Tokenize,
    Detokenize,
    Ready,
    OpenApi,
    Ohttp,
    Metrics,
    /// Every path that is none of these, so that clients cannot make labels.
    Other,
}

impl Route {
    pub(super) const ALL: [Route; 16] = [
        Route::Health,
        Route::Attest,
        Route::Infer,
        Route::Chat,
        Route::Completions,
        Route::Embeddings,
        Route::Messages,
        Route::Models,
        Route::Model,
        Route::Receipt,
        Route::Tokenize,
        Route::Detokenize,
        Route::Ready,
        Route::OpenApi,
        Route::Ohttp,
        Route::Metrics,
    ];

    pub(super) fn path(self) -> &'static str {
        match self {
            Route::Health => "/health",
            Route::Attest => "/attest",
            Route::Infer => "/infer",
            Route::Chat => "/v1/chat/completions",
            Route::Completions => "/v1/completions",
            Route::Embeddings => "/v1/embeddings",
            Route::Messages => "/v1/messages",
            Route::Models => "/v1/models",
            Route::Model => "/v1/models/{model}",
            Route::Receipt => "/v1/receipts/{id}",
            Route::Tokenize => "/tokenize",
            Route::Detokenize => "/detokenize",
            Route::Ready => "/ready",
            Route::OpenApi => "/openapi.json",
            Route::Ohttp => sealed::PATH,
            Route::Metrics => "/metrics",
            Route::Other => "",
        }
    }

    pub(super) fn label(self) -> &'static str {
        if self == Route::Other { "other" } else { self.path() }
    }

    pub(super) fn of(path: &str) -> Self {
        let one = |prefix| {
            path.strip_prefix(prefix).is_some_and(|name: &str| !name.is_empty() && !name.contains('/'))
        };
        let model = one("/v1/models/").then_some(Route::Model);
        let named = model.or(one(receipt::PATH).then_some(Route::Receipt));
        Self::ALL.into_iter().find(|route| route.path() == path).or(named).unwrap_or(Route::Other)
    }
}

fn head(out: &mut String, name: &str, kind: &str, help: &str) {
    // Writing to a string cannot fail.
    let _ = write!(out, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
}

fn line(out: &mut String, series: &str, value: u64) {
    let _ = writeln!(out, "{series} {value}");
}
