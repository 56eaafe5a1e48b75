//! From JSON to a policy, member by member.

use serde_json::{Map, Value};

use super::{
    Authority, Condition, MAX_CLAIM_LEN, MAX_DEPTH, MAX_LEN, PolicyError, ReleasePolicy, Scalar, Test,
    VERSION, pin_digits,
};
use casemate_attest::json::{self, JsonError, shorten};

pub(super) fn policy(text: &[u8]) -> Result<ReleasePolicy, PolicyError> {
    if text.len() > MAX_LEN {
        return Err(PolicyError::TooLarge { len: text.len() });
    }
    let value = json::parse(text).map_err(|error| match error {
        JsonError::Syntax { line, column } => PolicyError::Syntax { line, column },
        JsonError::Duplicate { member } => PolicyError::DuplicateMember { member },
    })?;
    // JSON is UTF-8 (RFC 8259 section 8.1), and the parser has just seen that this is.
    let text = String::from_utf8(text.to_vec()).map_err(|_| PolicyError::Syntax { line: 1, column: 1 })?;

    let mut document = Object::new(value, "the policy".into())?;
    let version = document.string("version")?;
    if version != VERSION {
        return Err(PolicyError::Version { found: shorten(&version) });
    }
    let danger_any_workload = match document.members.remove("danger-any-workload") {
        None => false,
        Some(Value::Bool(value)) => value,
        Some(_) => return Err(wrong_type("danger-any-workload", "true or false")),
    };
    let entries = document.required("anyOf")?;
    document.end()?;

    let authorities = items(entries, "anyOf")?
        .into_iter()
        .enumerate()
        .map(|(index, entry)| authority(entry, format!("anyOf[{index}]")))
        .collect::<Result<_, _>>()?;
    Ok(ReleasePolicy { text, authorities, danger_any_workload })
}

fn authority(value: Value, at: String) -> Result<Authority, PolicyError> {
    let mut entry = Object::new(value, at)?;
    let issuer = entry.string("authority")?;
    let rule = match entry.list(1)? {
        Some(rule) => rule,
        None => return Err(PolicyError::NoCondition { at: entry.at }),
    };
    entry.end()?;
    Ok(Authority { issuer, rule })
}

fn condition(value: Value, at: String, depth: usize) -> Result<Condition, PolicyError> {
    let mut object = Object::new(value, at)?;
    if let Some(list) = object.list(depth.saturating_add(1))? {
        object.end()?;
        return Ok(list);
    }
    if !object.members.contains_key("claim") {
        return Err(PolicyError::NoCondition { at: object.at });
    }
    let name = object.string("claim")?;
    if !is_claim_name(&name) {
        return Err(PolicyError::ClaimName { at: object.at, claim: shorten(&name) });
    }
    let mut found = OPERATORS.into_iter().filter_map(|op| object.members.remove(op).map(|value| (op, value)));
    let first = found.next();
    let second = found.next();
    drop(found);
    let (operator, value) = match (first, second) {
        (Some(one), None) => one,
        (None, _) => {
            // An unknown operator is an unknown member, and that says more than "no operator".
            let at = object.at.clone();
            object.end()?;
            return Err(PolicyError::NoOperator { at });
        }
        (Some((first, _)), Some((second, _))) => {
            return Err(PolicyError::TwoOperators { at: object.at, first, second });
        }
    };
    let test = test(operator, value, &object.at)?;
    if let (Some((claim, digits)), Test::Equals(expected)) = (pin_digits(&name), &test) {
        let hex = |text: &str| text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if !matches!(expected, Scalar::Text(text) if text.len() == digits && hex(text)) {
            return Err(PolicyError::PinValue { at: object.at, claim, digits });
        }
    }
    object.end()?;
    Ok(Condition::Claim { name, test })
}

/// The operators, in the order in which the grammar has them.
const OPERATORS: [&str; 7] =
    ["equals", "notEquals", "less", "lessOrEquals", "greater", "greaterOrEquals", "exists"];

fn test(operator: &'static str, value: Value, at: &str) -> Result<Test, PolicyError> {
    let wrong = |expected| PolicyError::Value { at: at.to_owned(), operator, expected };
    let any = || Scalar::of(&value).ok_or_else(|| wrong("a string, a whole number or a boolean"));
    let integer = || match Scalar::of(&value) {
        Some(Scalar::Integer(number)) => Ok(number),
        _ => Err(wrong("a whole number")),
    };
    match operator {
        "equals" => any().map(Test::Equals),
        "notEquals" => any().map(Test::NotEquals),
        "less" => integer().map(Test::Less),
        "lessOrEquals" => integer().map(Test::LessOrEquals),
        "greater" => integer().map(Test::Greater),
        "greaterOrEquals" => integer().map(Test::GreaterOrEquals),
        _ => match Scalar::of(&value) {
            Some(Scalar::Bool(true)) => Ok(Test::Exists),
            Some(Scalar::Bool(false)) => Err(PolicyError::ExistsFalse { at: at.to_owned() }),
            _ => Err(wrong("a boolean")),
        },
    }
}

/// Parts of printable ASCII joined by dots. Brackets and quotes are other languages' ways to index: refused, so that
/// nobody believes that they work here.
fn is_claim_name(name: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_graphic() && !br#"[]"'\"#.contains(&byte);
    name.len() <= MAX_CLAIM_LEN && name.split('.').all(|part| !part.is_empty() && part.bytes().all(plain))
}

fn items(value: Value, at: &str) -> Result<Vec<Value>, PolicyError> {
    match value {
        Value::Array(items) if items.is_empty() => Err(PolicyError::EmptyList { at: at.to_owned() }),
        Value::Array(items) => Ok(items),
        _ => Err(wrong_type(at, "a list")),
    }
}

fn wrong_type(at: &str, expected: &'static str) -> PolicyError {
    PolicyError::Type { at: at.to_owned(), expected }
}

/// An object whose members are taken one by one, so that what is left over is unknown.
struct Object {
    at: String,
    members: Map<String, Value>,
}

impl Object {
    fn new(value: Value, at: String) -> Result<Self, PolicyError> {
        match value {
            Value::Object(members) => Ok(Self { at, members }),
            _ => Err(PolicyError::Type { at, expected: "an object" }),
        }
    }

    fn required(&mut self, member: &'static str) -> Result<Value, PolicyError> {
        self.members.remove(member).ok_or_else(|| PolicyError::MissingMember { at: self.at.clone(), member })
    }

    fn string(&mut self, member: &'static str) -> Result<String, PolicyError> {
        match self.required(member)? {
            Value::String(text) => Ok(text),
            _ => Err(wrong_type(&format!("{}.{member}", self.at), "a string")),
        }
    }

    /// The object's `allOf` or `anyOf`, if it has one.
    fn list(&mut self, depth: usize) -> Result<Option<Condition>, PolicyError> {
        let (name, value, make): (_, _, fn(Vec<Condition>) -> Condition) =
            match (self.members.remove("allOf"), self.members.remove("anyOf")) {
                (None, None) => return Ok(None),
                (Some(_), Some(_)) => return Err(PolicyError::BothLists { at: self.at.clone() }),
                (Some(value), None) => ("allOf", value, Condition::AllOf),
                (None, Some(value)) => ("anyOf", value, Condition::AnyOf),
            };
        let at = format!("{}.{name}", self.at);
        if depth > MAX_DEPTH {
            return Err(PolicyError::TooDeep { at });
        }
        let children = items(value, &at)?
            .into_iter()
            .enumerate()
            .map(|(index, child)| condition(child, format!("{at}[{index}]"), depth))
            .collect::<Result<_, _>>()?;
        Ok(Some(make(children)))
    }

    fn end(self) -> Result<(), PolicyError> {
        match self.members.into_iter().min_by(|left, right| left.0.cmp(&right.0)) {
            None => Ok(()),
            Some((member, _)) => Err(PolicyError::UnknownMember { at: self.at, member: shorten(&member) }),
        }
    }
}
