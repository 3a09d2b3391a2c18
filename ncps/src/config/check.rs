//! Checks a table against the JSON schema of the configuration before serde sees it.
//!
//! Serde loses the position of an error inside a tagged enum; the schema, made from the same structs, does not:
//! it names the exact key, its alternatives and the expected type, at any depth.

use serde_json::Value as Json;
use toml::{Table, Value};

use super::document::Part;
use super::nearest::nearest;

/// The first thing in a table that the schema does not allow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Keys from the root; array elements by number.
    pub(crate) path: Vec<String>,
    pub(crate) part: Part,
    pub(crate) message: String,
    pub(crate) help: Vec<String>,
}

/// Finds the first fault of `table`, reading keys in order.
pub(crate) fn check(schema: &Json, table: &Table) -> Result<(), Fault> {
    let checker = Checker { root: schema };
    checker.table(schema, table, &mut Vec::new())
}

struct Checker<'s> {
    root: &'s Json,
}

impl<'s> Checker<'s> {
    /// Follows `$ref`s until a schema with content of its own.
    fn resolve(&self, mut schema: &'s Json) -> &'s Json {
        for _ in 0..16 {
            let Some(target) = schema["$ref"].as_str() else {
                break;
            };
            let Some(found) = target.strip_prefix('#').and_then(|p| self.root.pointer(p)) else {
                break;
            };
            schema = found;
        }
        schema
    }

    fn value(&self, schema: &'s Json, value: &Value, path: &mut Vec<String>) -> Result<(), Fault> {
        let schema = self.resolve(schema);
        if let Some(alternatives) = self.alternatives(schema) {
            return self.one_of(&alternatives, value, path);
        }
        if !self.type_fits(schema, value) {
            return Err(wrong_type(&self.describe(schema), value, path));
        }
        self.words(&[schema], value, path)?;
        limits(schema, value, path)?;
        match value {
            Value::Table(table) => self.table(schema, table, path),
            Value::Array(items) => self.array(schema, items, path),
            _ => Ok(()),
        }
    }

    fn array(
        &self,
        schema: &'s Json,
        items: &[Value],
        path: &mut Vec<String>,
    ) -> Result<(), Fault> {
        for (index, item) in items.iter().enumerate() {
            let item_schema = schema["prefixItems"].get(index).unwrap_or(&schema["items"]);
            if item_schema.is_object() {
                path.push(index.to_string());
                self.value(item_schema, item, path)?;
                path.pop();
            }
        }
        let (least, most) = (schema["minItems"].as_u64(), schema["maxItems"].as_u64());
        let count = items.len() as u64;
        if least.is_some_and(|n| count < n) || most.is_some_and(|n| count > n) {
            let expected = match (least, most) {
                (Some(a), Some(b)) if a == b => format!("exactly {a}"),
                (Some(a), _) if count < a => format!("at least {a}"),
                (_, Some(b)) => format!("at most {b}"),
                _ => String::new(),
            };
            let message = format!(
                "`{}` has {count} elements, expected {expected}",
                path.join(".")
            );
            return Err(fault(path, Part::Value, message, Vec::new()));
        }
        Ok(())
    }

    fn table(&self, schema: &'s Json, table: &Table, path: &mut Vec<String>) -> Result<(), Fault> {
        let known = self.properties(schema);
        for (key, value) in table {
            path.push(key.clone());
            match known.iter().find(|(name, _)| name == key) {
                Some((_, property)) => self.value(property, value, path)?,
                None if self.is_closed(schema) => return Err(unknown_key(&known, table, path)),
                None if schema["additionalProperties"].is_object() => {
                    self.value(&schema["additionalProperties"], value, path)?;
                }
                None => {}
            }
            path.pop();
        }
        let required = schema["required"].as_array().into_iter().flatten();
        for name in required.filter_map(Json::as_str) {
            if !table.contains_key(name) {
                let message = format!("missing key `{name}` {}", table_name(path));
                let help = self.missing_help(&known, name, path);
                return Err(fault(path, Part::Key, message, help));
            }
        }
        Ok(())
    }

    fn missing_help(
        &self,
        known: &[(&'s str, &'s Json)],
        name: &str,
        path: &[String],
    ) -> Vec<String> {
        let expected = known
            .iter()
            .find(|(key, _)| *key == name)
            .map(|(_, schema)| self.describe(schema));
        let mut key = path.to_vec();
        key.push(name.to_owned());
        expected
            .map(|expected| {
                format!(
                    "`{name}` is {expected}; write it there or give --set {}=...",
                    key.join(".")
                )
            })
            .into_iter()
            .collect()
    }

    /// The properties of an object schema, those of its `allOf` parts included.
    fn properties(&self, schema: &'s Json) -> Vec<(&'s str, &'s Json)> {
        let own = schema["properties"].as_object().into_iter().flatten();
        let mut all: Vec<_> = own.map(|(name, schema)| (name.as_str(), schema)).collect();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            all.extend(self.properties(self.resolve(part)));
        }
        all
    }

    fn is_closed(&self, schema: &'s Json) -> bool {
        schema["additionalProperties"] == Json::Bool(false)
            || schema["unevaluatedProperties"] == Json::Bool(false)
    }

    /// The alternatives of a schema, nested ones flattened and null left out.
    fn alternatives(&self, schema: &'s Json) -> Option<Vec<&'s Json>> {
        let list = schema["oneOf"]
            .as_array()
            .or_else(|| schema["anyOf"].as_array())?;
        let mut flat = Vec::new();
        for item in list.iter().map(|item| self.resolve(item)) {
            match self.alternatives(item) {
                Some(inner) => flat.extend(inner),
                None if item["type"] == "null" => {}
                None => flat.push(item),
            }
        }
        Some(flat)
    }

    fn one_of(
        &self,
        options: &[&'s Json],
        value: &Value,
        path: &mut Vec<String>,
    ) -> Result<(), Fault> {
        let fitting: Vec<&'s Json> = options
            .iter()
            .copied()
            .filter(|option| self.type_fits(option, value))
            .collect();
        if let (Value::Table(table), Some(tag)) = (value, tag_of(&fitting)) {
            return self.tagged(&fitting, tag, table, path);
        }
        match fitting[..] {
            [] => {
                let expected: Vec<String> =
                    options.iter().map(|option| self.describe(option)).collect();
                Err(wrong_type(&join_or(&expected), value, path))
            }
            [only] => self.value(only, value, path),
            _ if value.is_str() => self.words(&fitting, value, path),
            _ => self.first_that_passes(&fitting, value, path),
        }
    }

    fn first_that_passes(
        &self,
        options: &[&'s Json],
        value: &Value,
        path: &mut Vec<String>,
    ) -> Result<(), Fault> {
        let mut worst: Option<Fault> = None;
        for option in options {
            let depth = path.len();
            match self.value(option, value, path) {
                Ok(()) => return Ok(()),
                Err(found) => {
                    path.truncate(depth);
                    // The alternative that got furthest is the one that was meant.
                    if worst
                        .as_ref()
                        .is_none_or(|w| w.path.len() < found.path.len())
                    {
                        worst = Some(found);
                    }
                }
            }
        }
        worst.map_or(Ok(()), Err)
    }

    fn tagged(
        &self,
        options: &[&'s Json],
        tag: &str,
        table: &Table,
        path: &mut Vec<String>,
    ) -> Result<(), Fault> {
        let kinds: Vec<&str> = options
            .iter()
            .filter_map(|o| o["properties"][tag]["const"].as_str())
            .collect();
        let Some(kind) = table.get(tag) else {
            let message = format!("missing key `{tag}` {}", table_name(path));
            return Err(fault(
                path,
                Part::Key,
                message,
                vec![format!("expected one of: {}", kinds.join(", "))],
            ));
        };
        let chosen = options
            .iter()
            .find(|o| o["properties"][tag]["const"].as_str() == kind.as_str() && kind.is_str());
        match chosen {
            Some(option) => self.table(option, table, path),
            None => {
                path.push(tag.to_owned());
                Err(unknown_word(kind, &kinds, path))
            }
        }
    }

    /// A string with a closed set of values must be one of them.
    fn words(&self, options: &[&'s Json], value: &Value, path: &[String]) -> Result<(), Fault> {
        let mut words = Vec::new();
        for option in options {
            let listed = option["enum"].as_array().into_iter().flatten();
            let own: Vec<&str> = option
                .get("const")
                .into_iter()
                .chain(listed)
                .filter_map(Json::as_str)
                .collect();
            if own.is_empty() {
                return Ok(());
            }
            words.extend(own);
        }
        match value.as_str() {
            Some(word) if !words.contains(&word) => Err(unknown_word(value, &words, path)),
            _ => Ok(()),
        }
    }

    fn type_fits(&self, schema: &Json, value: &Value) -> bool {
        let names: Vec<&str> = match &schema["type"] {
            Json::String(name) => vec![name],
            Json::Array(names) => names.iter().filter_map(Json::as_str).collect(),
            _ => return true,
        };
        names.iter().any(|name| match value {
            Value::String(_) | Value::Datetime(_) => *name == "string",
            Value::Integer(_) => matches!(*name, "integer" | "number"),
            Value::Float(_) => *name == "number",
            Value::Boolean(_) => *name == "boolean",
            Value::Array(_) => *name == "array",
            Value::Table(_) => *name == "object",
        })
    }

    /// What a schema wants, in words.
    fn describe(&self, schema: &'s Json) -> String {
        let schema = self.resolve(schema);
        if let Some(options) = self.alternatives(schema) {
            if let Some(tag) = tag_of(&options) {
                let kinds: Vec<&str> = options
                    .iter()
                    .filter_map(|o| o["properties"][tag]["const"].as_str())
                    .collect();
                return format!("a table with `{tag}` = one of {}", kinds.join(", "));
            }
            let mut parts: Vec<String> =
                options.iter().map(|option| self.describe(option)).collect();
            parts.dedup();
            return join_or(&parts);
        }
        let words: Vec<&str> = schema["enum"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Json::as_str)
            .collect();
        if let Some(word) = schema["const"].as_str() {
            return format!("\"{word}\"");
        }
        if !words.is_empty() {
            return format!("one of \"{}\"", words.join("\", \""));
        }
        if let Some(kind) = schema["properties"]["kind"]["const"].as_str() {
            return format!("a table with `kind` = \"{kind}\"");
        }
        let names: Vec<&str> = match &schema["type"] {
            Json::String(name) => vec![name],
            Json::Array(names) => names
                .iter()
                .filter_map(Json::as_str)
                .filter(|n| *n != "null")
                .collect(),
            _ => Vec::new(),
        };
        let words: Vec<String> = names.iter().map(|name| type_word(name, schema)).collect();
        if words.is_empty() {
            "a value".to_owned()
        } else {
            join_or(&words)
        }
    }
}

/// The key whose constant value tells table alternatives apart, if there is one.
fn tag_of<'s>(options: &[&'s Json]) -> Option<&'s str> {
    let tables: Vec<&&Json> = options.iter().filter(|o| o["type"] == "object").collect();
    let properties = tables.first()?["properties"].as_object()?;
    properties
        .iter()
        .map(|(name, _)| name.as_str())
        .find(|name| {
            tables
                .iter()
                .all(|t| t["properties"][*name]["const"].is_string())
        })
}

fn type_word(name: &str, schema: &Json) -> String {
    match name {
        "integer" if schema["minimum"].as_f64() == Some(0.0) => {
            "a whole number, zero or more".into()
        }
        "integer" => "a whole number".into(),
        "number" => "a number".into(),
        "string" => "a string".into(),
        "boolean" => "true or false".into(),
        "array" => "an array".into(),
        "object" => "a table".into(),
        other => other.into(),
    }
}

fn limits(schema: &Json, value: &Value, path: &[String]) -> Result<(), Fault> {
    let number = match value {
        Value::Integer(n) => *n as f64,
        Value::Float(x) => *x,
        _ => return Ok(()),
    };
    let bound = |name: &str| schema[name].as_f64();
    let broken = [
        (bound("minimum").filter(|least| number < *least), "at least"),
        (bound("maximum").filter(|most| number > *most), "at most"),
        (
            bound("exclusiveMinimum").filter(|least| number <= *least),
            "more than",
        ),
        (
            bound("exclusiveMaximum").filter(|most| number >= *most),
            "less than",
        ),
    ];
    for (limit, words) in broken {
        if let Some(limit) = limit {
            let message = format!("`{}` is {value}, expected {words} {limit}", path.join("."));
            return Err(fault(path, Part::Value, message, Vec::new()));
        }
    }
    Ok(())
}

fn fault(path: &[String], part: Part, message: String, help: Vec<String>) -> Fault {
    Fault {
        path: path.to_vec(),
        part,
        message,
        help,
    }
}

fn unknown_key(known: &[(&str, &Json)], table: &Table, path: &[String]) -> Fault {
    let (key, parents) = path
        .split_last()
        .map_or(("", path), |(key, parents)| (key.as_str(), parents));
    let names: Vec<&str> = known.iter().map(|(name, _)| *name).collect();
    let kind = table.get("kind").and_then(Value::as_str);
    let of_kind = kind
        .map(|kind| format!(" of kind \"{kind}\""))
        .unwrap_or_default();
    let mut help = Vec::new();
    if let Some(name) = nearest(key, names.iter().copied()) {
        let already = if table.contains_key(name) {
            " (it is set as well)"
        } else {
            ""
        };
        help.push(format!("did you mean `{name}`?{already}"));
    }
    help.push(format!("known keys: {}", names.join(", ")));
    let message = format!("unknown key `{key}` {}{of_kind}", table_name(parents));
    fault(path, Part::Key, message, help)
}

fn unknown_word(value: &Value, words: &[&str], path: &[String]) -> Fault {
    let mut help = Vec::new();
    if let Some(word) = value
        .as_str()
        .and_then(|text| nearest(text, words.iter().copied()))
    {
        help.push(format!("did you mean \"{word}\"?"));
    }
    help.push(format!("expected one of: {}", words.join(", ")));
    let message = format!("`{}` cannot be {}", path.join("."), show(value));
    fault(path, Part::Value, message, help)
}

fn wrong_type(expected: &str, value: &Value, path: &[String]) -> Fault {
    let message = format!(
        "`{}` is {}, expected {expected}",
        path.join("."),
        show(value)
    );
    fault(path, Part::Value, message, Vec::new())
}

/// A value with its type, short enough for one line.
fn show(value: &Value) -> String {
    match value {
        Value::String(text) if text.chars().count() > 40 => "a long string".into(),
        Value::String(text) => format!("the string \"{text}\""),
        Value::Table(_) => "a table".into(),
        Value::Array(_) => "an array".into(),
        other => other.to_string(),
    }
}

/// How a table is called in messages: "in [train.clip]" or "at the top level".
pub(crate) fn table_name(path: &[String]) -> String {
    if path.is_empty() {
        "at the top level".into()
    } else {
        format!("in [{}]", path.join("."))
    }
}

fn join_or(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [firsts @ .., last] => format!("{} or {last}", firsts.join(", ")),
    }
}
