//! An engine that does what its prompt says.

use std::fs::File;
use std::num::NonZeroU32;
use std::ops::ControlFlow;
use std::time::Duration;

use casemate_engine::{
    Cancel, ChatSupport, Completion, EmbedInput, EmbedRequest, Embedded, Engine, EngineError, EngineOptions,
    Event, FinishReason, GenerateRequest, Input, ModelInfo, TokenBudget, TokenScore, ToolForm, Usage,
};

use crate::attempts::attempt;

pub(crate) struct Hostile(ModelInfo);

/// Takes any file for a model.
pub(crate) fn load(_: File, options: EngineOptions) -> Result<Box<dyn Engine>, EngineError> {
    Ok(Box::new(Hostile(ModelInfo {
        name: "hostile\n".into(),
        architecture: "none".into(),
        parameters: 0,
        tensor_bytes: 0,
        context_tokens: options.context_tokens.get(),
        parallel: options.parallel.get(),
        trained_context_tokens: 0,
        chat: ChatSupport::Missing,
        tools: ToolForm::None,
        dimensions: NonZeroU32::new(2),
    })))
}

impl Engine for Hostile {
    fn info(&self) -> &ModelInfo {
        &self.0
    }

    fn queue_depth(&self) -> usize {
        0
    }

    fn embed(&self, request: EmbedRequest) -> Result<Embedded, EngineError> {
        let Some(EmbedInput::Text(line)) = request.inputs.first() else {
            return Err(EngineError::PromptEmpty);
        };
        let vectors = match line.as_str() {
            "longer" => vec![vec![0.0; 3]],
            "more" => vec![vec![0.0; 2]; 2],
            "nothing" => vec![],
            "no-number" => vec![vec![f32::NAN; 2]],
            _ => vec![vec![0.6, 0.8]; request.inputs.len()],
        };
        Ok(Embedded { vectors, tokens: 7 })
    }

    fn tokenise(&self, text: String, _: bool) -> Result<Vec<i32>, EngineError> {
        Ok(vec![7; if text == "flood" { 100_000 } else { text.len() }])
    }

    fn detokenise(&self, tokens: Vec<i32>) -> Result<String, EngineError> {
        Ok("x".repeat(if tokens == [666] { 1 << 20 } else { tokens.len() }))
    }

    fn generate(
        &self,
        request: GenerateRequest,
        sink: &mut dyn FnMut(Event) -> ControlFlow<()>,
    ) -> Result<Completion, EngineError> {
        let Input::Raw(line) = &request.input else { return Err(EngineError::NoTemplate) };
        let mut end = Completion { finish: FinishReason::Stop, usage: Usage::default() };
        let started = |sink: &mut dyn FnMut(Event) -> ControlFlow<()>| {
            let _ = sink(Event::Started { prompt_tokens: 1 });
        };
        match line.as_str() {
            "abort" => std::process::abort(),
            "exit" => std::process::exit(7),
            "hang" => std::thread::sleep(Duration::from_secs(3600)),
            "start-twice" => {
                started(sink);
                started(sink);
            }
            "text-first" => {
                let _ = sink(Event::Text("x".into()));
            }
            "too-much" => {
                started(sink);
                let text = "x".repeat(1 << 20);
                while sink(Event::Text(text.clone())).is_continue() {}
            }
            "scored" => {
                started(sink);
                let _ = sink(Event::Token(TokenScore::default()));
            }
            "too-many" => {
                started(sink);
                end.usage.completion_tokens = 1_000_000;
            }
            "noise" => {
                started(sink);
                // Past the sender, onto the socket itself: a length that no message has.
                let _ = rustix::io::write(std::io::stdin(), &[0xff; 64]);
            }
            "nonsense" => {
                started(sink);
                let _ = rustix::io::write(std::io::stdin(), &[1, 0, 0, 0, 99]);
            }
            "environment" => {
                started(sink);
                let names: Vec<_> = std::env::vars().map(|(name, _)| name).collect();
                let _ = sink(Event::Text(names.join(" ")));
            }
            line => {
                started(sink);
                let _ = sink(Event::Text(attempt(line).render()));
            }
        }
        Ok(end)
    }
}

/// A request for vectors of [`Hostile`].
pub(crate) fn vectors(lines: &[&str]) -> EmbedRequest {
    let inputs = lines.iter().map(|line| EmbedInput::Text((*line).into())).collect();
    EmbedRequest { inputs, tenant: None, cancel: Cancel::new() }
}

/// A request for [`Hostile`].
pub(crate) fn order(line: &str) -> GenerateRequest {
    GenerateRequest::new(Input::Raw(line.into()), TokenBudget::Exact(NonZeroU32::new(8).unwrap()))
}
