//! Answers that fit a JSON schema, and schemas that nobody should wait for.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use casemate_engine::{Cancel, Engine, Event, FinishReason, GenerateRequest, Sampling, Schema};
use serde_json::{Value, json};

use crate::{Case, ENGINE, ask, chat, code};

pub(crate) const CASES: &[(&str, Case)] = &[
    ("answers_fit_their_schema", answers_fit_their_schema),
    ("any_json_object_is_a_schema_too", any_json_object_is_a_schema_too),
    ("a_cut_answer_says_so", a_cut_answer_says_so),
    ("schemas_that_no_answer_can_be_held_to", schemas_that_no_answer_can_be_held_to),
    ("hostile_schemas_are_bounded", hostile_schemas_are_bounded),
];

fn held_to(schema: Value, content: &str, tokens: u32) -> GenerateRequest {
    let schema = Some(Schema::new(schema.to_string()).unwrap());
    GenerateRequest { schema, ..chat(content, tokens) }
}

/// SRV-40. The model is not told of the schema: without it, no answer would fit.
fn answers_fit_their_schema() {
    let schema = json!({
        "type": "object",
        "properties": {
            "name": {"type": "string", "maxLength": 12},
            "age": {"type": "integer", "minimum": 7, "maximum": 9},
            "colours": {"type": "array", "items": {"enum": ["red", "grün", "\"blue\""]}, "minItems": 1, "maxItems": 2},
            "parent": {"anyOf": [{"type": "null"}, {"$ref": "#/$defs/parent"}]},
        },
        "required": ["name", "age", "colours", "parent"],
        "additionalProperties": false,
        "$defs": {"parent": {
            "type": "object",
            "properties": {"id": {"type": "string", "pattern": "^[a-f]{2}-[0-9]{3}$"}},
            "required": ["id"],
            "additionalProperties": false,
        }},
    });
    let question = "Describe a child. Write a long story about it.";
    let greedy = held_to(schema.clone(), question, 200);
    let mut samplings = vec![Sampling::greedy()];
    samplings.extend((0..6).map(|seed| Sampling::random(1.0 + 0.2 * seed as f32, 1.0, seed)));
    samplings.push(Sampling {
        frequency_penalty: 2.0,
        bias: vec![(0, 100.0), (2, 100.0)],
        ..Sampling::greedy()
    });
    for sampling in samplings {
        let request = GenerateRequest { sampling: sampling.clone(), ..greedy.clone() };
        let (text, completion) = ENGINE.generate_text(request).unwrap();
        assert_eq!(completion.finish, FinishReason::Stop, "{sampling:?} {text}");
        let answer: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
        assert_eq!(answer.as_object().unwrap().len(), 4, "{text}");
        assert!(answer["name"].as_str().unwrap().chars().count() <= 12, "{text}");
        assert!((7..=9).contains(&answer["age"].as_u64().unwrap()), "{text}");
        let colours = answer["colours"].as_array().unwrap();
        assert!((1..=2).contains(&colours.len()), "{text}");
        assert!(colours.iter().all(|c| ["red", "grün", "\"blue\""].contains(&c.as_str().unwrap())), "{text}");
        if let Some(parent) = answer["parent"].as_object() {
            let id = parent["id"].as_str().unwrap();
            assert!(parent.len() == 1 && id.len() == 6 && &id[2..3] == "-", "{text}");
        }
    }
    assert_eq!(ENGINE.generate_text(greedy.clone()).unwrap(), ENGINE.generate_text(greedy).unwrap());
    assert!(ask(question, 20).parse::<Value>().is_err(), "and without a schema it is no JSON");
}

fn any_json_object_is_a_schema_too() {
    for seed in 0..4 {
        let sampling = Sampling::random(0.7, 0.9, seed);
        let schema = Some(Schema::object());
        let request = GenerateRequest { schema, sampling, ..chat("Name three colours, as JSON.", 250) };
        let (text, completion) = ENGINE.generate_text(request).unwrap();
        match completion.finish {
            FinishReason::Stop => assert!(text.parse::<Value>().unwrap().is_object(), "{text}"),
            finish => {
                assert_eq!((finish, text.trim_start().chars().next()), (FinishReason::Length, Some('{')))
            }
        }
    }
}

fn a_cut_answer_says_so() {
    let schema = json!({"const": {"a": "one two three four five six seven eight"}});
    let (text, completion) = ENGINE.generate_text(held_to(schema.clone(), "Hello", 4)).unwrap();
    assert_eq!(completion.finish, FinishReason::Length);
    assert!(text.parse::<Value>().is_err(), "{text}");
    // What is whole with the last token of its budget is not cut.
    let (whole, completion) = ENGINE.generate_text(held_to(schema.clone(), "Hello", 60)).unwrap();
    assert_eq!(
        (completion.finish, whole.parse::<Value>().unwrap()),
        (FinishReason::Stop, schema["const"].clone())
    );
    let tokens = completion.usage.completion_tokens;
    let (again, completion) = ENGINE.generate_text(held_to(schema, "Hello", tokens)).unwrap();
    assert_eq!((completion.finish, again), (FinishReason::Stop, whole));
}

/// SRV-41.
fn schemas_that_no_answer_can_be_held_to() {
    let object = |value: Value| json!({"type": "object", "properties": {"a": value}, "required": ["a"]});
    for schema in [
        json!({"type": "wizard"}),
        json!({"type": 1}),
        json!({"properties": []}),
        json!({"enum": []}),
        json!({"$ref": "#"}),
        json!({"$ref": "#/$defs/a", "$defs": {"a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}}),
        json!({"$ref": "#/$defs/none"}),
        json!({"$ref": "https://example.com/schema.json"}),
        json!({"not": {"type": "string"}}),
        json!({"if": {"type": "string"}, "then": {"minLength": 1}}),
        json!({"oneOf": [{"type": "string", "minLength": 1}, {"type": "string", "minLength": 2}]}),
        json!({"type": "array", "uniqueItems": true}),
        json!({"allOf": [{"type": "string"}, {"type": "number"}]}),
        object(json!({"type": "string", "pattern": "(?=a)b"})),
        object(json!({"type": "string", "pattern": "("})),
        object(json!({"type": "string", "format": "wizard"})),
        object(json!({"type": "string", "minLength": 2, "maxLength": 1})),
        object(json!({"type": "integer", "minimum": 2, "maximum": 1})),
        object(json!(false)),
    ] {
        assert_eq!(code(held_to(schema.clone(), "Hello", 4)), "engine.schema.invalid", "{schema}");
    }
}

/// SRV-41. Whatever a schema asks for: it is refused, or its answer ends, and meanwhile another answer goes on.
fn hostile_schemas_are_bounded() {
    let string = |pattern: &str| json!({"type": "string", "pattern": pattern});
    let halves: Vec<_> = (0..12)
        .map(|n| json!({"anyOf": [{"properties": {format!("a{n}"): {"type": "string"}}}, {"required": [format!("b{n}")]}]}))
        .collect();
    let options = |kind: usize| -> Vec<_> {
        (0..200)
            .map(|n| json!({"type": "object", "properties": {format!("p{kind}-{n}"): {"minLength": n, "maxLength": 999}}}))
            .collect()
    };
    let words: Vec<_> = (0..4000).map(|n| format!("{:x}", n * 7_919_u64 * 104_729)).collect();
    let members: serde_json::Map<_, _> =
        (0..1300).map(|n| (format!("member{n}"), json!({"type": "string"}))).collect();
    let patterns: serde_json::Map<_, _> =
        (0..900).map(|n| (format!("p{n}"), string(&format!("^.{{1,9{n}}}[^a]{{{n},}}b$")))).collect();
    let mut nested = json!({"type": "string"});
    for _ in 0..30 {
        nested = json!({"type": "object", "properties": {"a": nested}, "required": ["a"]});
    }
    let chain: serde_json::Map<_, _> = (0..62)
        .map(|n| {
            let next = json!({"$ref": format!("#/$defs/d{}", n + 1), "minLength": n});
            (format!("d{n}"), json!({"anyOf": [next, {"type": "object", "properties": {"x": {"$ref": format!("#/$defs/d{}", n + 1)}}}]}))
        })
        .chain([("d62".to_owned(), json!({"type": "string"}))])
        .collect();
    let endless = json!({
        "type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"], "additionalProperties": false
    });
    let schemas = [
        ("endless", endless),
        ("nested quantifiers", string("^(a+)+$")),
        ("many states", string("^(a|b)*a(a|b){200}$")),
        ("repeated repeats", string("^(((a{1,1000}){1,1000}){1,1000}){1,1000}$")),
        ("large classes", string(r"^(\p{L}{1,500}[^\p{N}]{1,500}){1,500}$")),
        ("many words", json!({ "enum": words })),
        ("many members", json!({"type": "object", "properties": members, "additionalProperties": false})),
        (
            "many required",
            json!({"type": "object", "properties": members, "required": members.keys().collect::<Vec<_>>()}),
        ),
        ("long text", json!({"type": "string", "minLength": 1_000_000_000})),
        ("long list", json!({"type": "array", "items": {"type": "integer"}, "minItems": 1_000_000_000})),
        (
            "long lists",
            json!({"type": "array", "items": {"type": "array", "items": {"type": "array", "maxItems": 999_999}, "maxItems": 999_999}, "minItems": 7, "maxItems": 999_999}),
        ),
        ("many halves", json!({ "allOf": halves })),
        ("nested", nested),
        ("a chain", json!({"$ref": "#/$defs/d0", "$defs": chain})),
        ("many intersections", json!({"allOf": [{ "anyOf": options(0) }, { "anyOf": options(1) }]})),
        ("many patterns of text", json!({"type": "object", "properties": patterns})),
        ("numbers", json!({"type": "number", "multipleOf": 1e-300, "minimum": 1e300, "maximum": 1.5e300})),
        ("no multiple", json!({"type": "number", "multipleOf": 0})),
        (
            "many patterns",
            json!({"type": "object", "patternProperties": {"^a": {"type": "string"}, "b$": {"type": "integer"}, "(a|b)*c{1,900}": {}}}),
        ),
    ];
    let (cancel, longest) = (Cancel::new(), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let (cancel, longest) = (&cancel, &longest);
        scope.spawn(move || {
            let request =
                GenerateRequest { cancel: cancel.clone(), ..chat("Write a very long story.", 1900) };
            let mut last = None;
            ENGINE.generate(request, &mut |event| {
                if matches!(event, Event::Text(_)) {
                    let gap =
                        last.replace(Instant::now()).map_or(Duration::ZERO, |last: Instant| last.elapsed());
                    longest.fetch_max(usize::try_from(gap.as_millis()).unwrap(), Ordering::Relaxed);
                }
                ControlFlow::Continue(())
            })
        });
        for (name, schema) in schemas {
            let begun = Instant::now();
            let result = match Schema::new(schema.to_string()) {
                Ok(schema) => {
                    ENGINE.generate_text(GenerateRequest { schema: Some(schema), ..chat("Hello", 12) })
                }
                Err(error) => Err(error),
            };
            let took = begun.elapsed();
            assert!(took < Duration::from_secs(20), "{name}: {took:?}");
            if let Err(error) = result {
                assert!(error.code().starts_with("engine.schema."), "{name}: {error}");
            }
        }
        cancel.cancel();
    });
    let longest = longest.load(Ordering::Relaxed);
    assert!(longest < 5000, "another answer waited {longest} ms");
}
