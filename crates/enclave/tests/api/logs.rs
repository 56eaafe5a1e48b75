//! No log holds a prompt or an answer.

use std::fmt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, MutexGuard, Once, PoisonError};

use axum::body::Body;
use axum::http::Request;
use casemate_engine::{EngineError, TemplateFault};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::stub::{Behaviour, CHAT, MESSAGES, chat_body, listen, raw_post, serve};

/// Everything that any crate of this process traces, at every level: events and spans with all their fields.
pub(crate) struct Log {
    text: Mutex<String>,
    spans: AtomicUsize,
}

pub(crate) static LOG: LazyLock<Log> =
    LazyLock::new(|| Log { text: Mutex::default(), spans: AtomicUsize::new(1) });

impl Log {
    /// Also after a case failed while it read.
    pub(crate) fn text(&self) -> MutexGuard<'_, String> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn install(&self) {
        static ONCE: Once = Once::new();
        ONCE.call_once(|| tracing::subscriber::set_global_default(Capture).unwrap());
    }

    fn write(&self, name: &str, record: impl FnOnce(&mut Fields)) {
        let mut fields = Fields(name.to_owned());
        record(&mut fields);
        let mut text = self.text();
        text.push_str(&fields.0);
        text.push('\n');
    }
}

struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        use std::fmt::Write;
        write!(self.0, " {}={value:?}", field.name()).unwrap();
    }
}

struct Capture;

impl tracing::Subscriber for Capture {
    fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
        true
    }

    fn new_span(&self, span: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        LOG.write(span.metadata().name(), |fields| span.record(fields));
        tracing::span::Id::from_u64(LOG.spans.fetch_add(1, Ordering::Relaxed) as u64)
    }

    fn record(&self, _: &tracing::span::Id, values: &tracing::span::Record<'_>) {
        LOG.write("record", |fields| values.record(fields));
    }

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        LOG.write(event.metadata().target(), |fields| event.record(fields));
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test]
async fn no_log_holds_a_prompt_or_an_answer() {
    // In pieces, so that this file is not what is found.
    let marker = ["xq7", "pineapple", "0Zk"].concat();
    let behaviours = [
        Behaviour::Echo,
        Behaviour::BreakOff,
        Behaviour::EndCancelled,
        Behaviour::Panic,
        Behaviour::Fail(EngineError::QueueFull { capacity: 1 }),
        Behaviour::Fail(EngineError::Template(TemplateFault::Refused)),
        Behaviour::Fail(EngineError::ContextOverflow {
            prompt_tokens: 1,
            max_new_tokens: 1,
            context_tokens: 1,
        }),
    ];
    let function = |text: &str| json!({"type": "function", "function": {"name": "f", "description": text}});
    let held = |schema: Value| json!({"type": "json_schema", "json_schema": {"name": "a", "schema": schema}});
    let bodies = [
        ("/infer", json!({"prompt": marker}).to_string()),
        ("/infer", json!({"prompt": marker, "max_new_tokens": 0}).to_string()),
        ("/infer", json!({"prompt": marker.repeat(400)}).to_string()),
        ("/infer", json!({"prompt": {"x": marker}}).to_string()),
        ("/infer", json!({"prompt": "a", "max_new_tokens": marker}).to_string()),
        ("/infer", json!({ marker.as_str(): "a" }).to_string()),
        ("/infer", format!("{{\"prompt\":\"{marker}")),
        ("/infer", marker.clone()),
        (CHAT, chat_body(json!({"messages": [{"role": "user", "content": marker}]})).to_string()),
        (
            CHAT,
            chat_body(json!({"stream": true, "messages": [{"role": "user", "content": marker}]})).to_string(),
        ),
        (CHAT, chat_body(json!({"messages": [{"role": marker, "content": "a"}]})).to_string()),
        (
            CHAT,
            chat_body(json!({"messages": [{"role": "user", "content": [{"type": "text", "text": marker}]}]}))
                .to_string(),
        ),
        (CHAT, chat_body(json!({"messages": [{"role": "user", "content": [{"type": marker}]}]})).to_string()),
        (CHAT, chat_body(json!({"stop": marker})).to_string()),
        (CHAT, chat_body(json!({"stop": marker.repeat(30)})).to_string()),
        (CHAT, chat_body(json!({"model": marker})).to_string()),
        (CHAT, chat_body(json!({"user": marker, "metadata": {"a": marker}})).to_string()),
        (CHAT, chat_body(json!({"tools": [marker]})).to_string()),
        (CHAT, chat_body(json!({"tools": [function(&marker)], "tool_choice": "required"})).to_string()),
        (CHAT, chat_body(json!({"tools": [function(&marker)], "tool_choice": marker})).to_string()),
        (CHAT, chat_body(json!({"response_format": held(json!({"title": marker}))})).to_string()),
        (CHAT, chat_body(json!({"response_format": held(json!(marker))})).to_string()),
        (MESSAGES, chat_body(json!({"max_tokens": 9, "system": marker, "stream": true})).to_string()),
        (MESSAGES, chat_body(json!({"max_tokens": 9, "stop_sequences": [marker]})).to_string()),
        (MESSAGES, chat_body(json!({"max_tokens": marker})).to_string()),
        (CHAT, chat_body(json!({"seed": marker})).to_string()),
        (CHAT, chat_body(json!({ marker.as_str(): 1 })).to_string()),
    ];
    let mut answered = 0;
    for behaviour in behaviours {
        let served = serve(behaviour);
        let address = listen(&served).await;
        for (path, body) in &bodies {
            let direct = served.post(path, body.clone()).await;
            answered += usize::from(direct.text().contains(&marker));
            // And through a real server, for what its crates trace.
            let mut client = tokio::net::TcpStream::connect(address).await.unwrap();
            client.write_all(&raw_post(path, body)).await.unwrap();
            let mut answer = Vec::new();
            client.read_to_end(&mut answer).await.unwrap();
            assert!(answer.starts_with(b"HTTP/1.1 "));
        }
        let text = Request::post("/infer").body(Body::from(marker.clone())).unwrap();
        served.send(text).await;
        served.get(&format!("/attest?nonce={marker}")).await;
        served.get(&format!("/{marker}")).await;
        served.get(&format!("/v1/{marker}")).await;
        let metrics = served.get("/metrics").await;
        assert!(!metrics.text().contains(&marker));
    }
    assert!(answered >= 4, "the stub does echo the marker: {answered}");
    let log = LOG.text();
    assert!(
        log.contains("request.body.malformed") && log.contains("engine.queue.full"),
        "requests are logged"
    );
    assert!(!log.contains(&marker), "{}", log.lines().find(|l| l.contains(&marker)).unwrap_or_default());
    drop(log);
    // The capture works.
    tracing::trace!(probe = %marker);
    assert!(LOG.text().contains(&marker));
}
