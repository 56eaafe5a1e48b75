//! Functions that a request declares: what the model is told of them, what its answer is held to, and how calls are read out of it
//! (spec/serving.md, section 6).

use casemate_engine::{Schema, ToolForm, Tools};
use serde_json::{Map, Value, json};

use super::calls::{Reader, Reading};
use super::choosing::check_name;
use super::error::ApiError;

/// Most functions of one request.
const MAX_FUNCTIONS: usize = 128;

/// A function, as either family of routes declares it.
pub(super) struct Function {
    pub(super) name: String,
    pub(super) description: Option<String>,
    /// A JSON schema of an object, as it was written; none for a function without arguments.
    pub(super) parameters: Option<String>,
}

/// What the model must or may call.
pub(super) enum Choice {
    /// Nothing: it is not told of any function.
    None,
    /// What it likes.
    Auto,
    /// Any one of them.
    Required,
    /// This one.
    Named(String),
}

/// What follows for the engine and for reading its answer.
pub(super) struct Plan {
    pub(super) tools: Option<Tools>,
    pub(super) schema: Option<Schema>,
    pub(super) reader: Reader,
}

/// `form` is the model's; `schema` is what the answer must fit apart from functions; `parallel` is whether several calls count.
pub(super) fn plan(
    functions: Vec<Function>,
    choice: Choice,
    parallel: bool,
    form: ToolForm,
    schema: Option<Schema>,
) -> Result<Plan, ApiError> {
    if functions.len() > MAX_FUNCTIONS {
        return Err(ApiError::OutOfRange { param: "tools", expected: "at most 128 functions" });
    }
    let mut declared: Vec<(String, Option<String>, Map<String, Value>)> = Vec::new();
    for Function { name, description, parameters } in functions {
        check_name("tools", &name)?;
        if declared.iter().any(|(other, ..)| *other == name) {
            return Err(ApiError::OutOfRange { param: "tools", expected: "functions with different names" });
        }
        let parameters = parameters.unwrap_or_else(|| NOTHING.to_owned());
        // Bounds first, which a schema has; then it is JSON.
        let parameters = Schema::new(parameters)?;
        let Ok(Value::Object(mut parameters)) = serde_json::from_str(parameters.as_str()) else {
            return Err(ApiError::Unsupported { param: "tools" });
        };
        // Arguments are an object, also where their schema does not say so.
        if *parameters.entry("type").or_insert_with(|| "object".into()) != "object" {
            let expected = "functions whose parameters are an object";
            return Err(ApiError::OutOfRange { param: "tools", expected });
        }
        declared.push((name, description, parameters));
    }
    let asked = match &choice {
        Choice::None => return Ok(Plan { tools: None, schema, reader: Reader::text() }),
        Choice::Auto if declared.is_empty() => {
            return Ok(Plan { tools: None, schema, reader: Reader::text() });
        }
        Choice::Required | Choice::Named(_) if declared.is_empty() => {
            return Err(ApiError::Missing { param: "tools" });
        }
        Choice::Auto | Choice::Required => None,
        Choice::Named(name) => match declared.iter().position(|(other, ..)| other == name) {
            None => {
                return Err(ApiError::OutOfRange { param: "tool_choice", expected: "a declared function" });
            }
            at => at,
        },
    };
    // An answer is held to one thing.
    if schema.is_some() {
        return Err(ApiError::Unsupported { param: "response_format" });
    }
    let names: Vec<_> = declared.iter().map(|(name, ..)| name.clone()).collect();
    let list = declared.iter().map(|(name, description, parameters)| {
        let mut function = json!({ "name": name });
        if let Some(description) = description {
            function["description"] = description.as_str().into();
        }
        function["parameters"] = Value::Object(parameters.clone());
        json!({"type": "function", "function": function})
    });
    let tools = Tools::new(list.collect::<Value>().to_string());
    if matches!(choice, Choice::Auto) {
        // The model would not know of them, and the client not know that.
        return match form {
            ToolForm::None => Err(ApiError::Unsupported { param: "tools" }),
            form => {
                Ok(Plan { tools, schema: None, reader: Reader::new(Reading::Form(form), names, parallel) })
            }
        };
    }
    let held = match asked {
        Some(at) => {
            let function = declared.into_iter().nth(at);
            function.map(|(name, _, schema)| call(&name, schema, "#/properties/arguments"))
        }
        None => {
            let each = declared.into_iter().enumerate().map(|(at, (name, _, schema))| {
                call(&name, schema, &format!("#/anyOf/{at}/properties/arguments"))
            });
            Some(json!({ "anyOf": each.collect::<Value>() }))
        }
    };
    let held = held.unwrap_or_default();
    let schema = Some(Schema::new(held.to_string())?);
    Ok(Plan { tools, schema, reader: Reader::new(Reading::One, names, parallel) })
}

/// The schema of a call. `place` is where the arguments' schema comes to stand, for references inside it.
fn call(name: &str, mut parameters: Map<String, Value>, place: &str) -> Value {
    // Of a document, which it is not any more.
    parameters.remove("$schema");
    parameters.remove("$id");
    let mut parameters = Value::Object(parameters);
    move_references(&mut parameters, place);
    json!({
        "type": "object",
        "properties": {"name": {"const": name}, "arguments": parameters},
        "required": ["name", "arguments"],
        "additionalProperties": false,
    })
}

/// Lets references into the document (`#…`) point where it comes to stand.
fn move_references(schema: &mut Value, place: &str) {
    match schema {
        Value::Array(values) => values.iter_mut().for_each(|value| move_references(value, place)),
        Value::Object(members) => {
            for (key, value) in members.iter_mut() {
                match value {
                    Value::String(target) if key == "$ref" && target.starts_with('#') => {
                        let inside = target.trim_start_matches('#').trim_end_matches('/');
                        *target = format!("{place}{inside}");
                    }
                    // Values, not schemas.
                    _ if ["const", "enum", "default", "examples"].contains(&key.as_str()) => {}
                    value => move_references(value, place),
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// The schema of no arguments.
const NOTHING: &str = r#"{"type":"object","properties":{},"additionalProperties":false}"#;
