//! A validator for the keywords of JSON schema that record.schema.json uses.
//!
//! Its own code, because the crates that validate JSON schema bring forty others (regular expressions, Unicode tables, URLs)
//! for keywords that are not used here, and everybody who runs the tests would build them.
//!
//! Invariant: a keyword that it does not know is an error, so no part of the schema is passed over. A field that the schema
//! does not name is an error too: readers must ignore such fields, and we must describe them.

use serde_json::{Map, Value};

/// Says nothing about a value.
const COMMENTS: &[&str] = &["$schema", "$defs", "title", "description"];

/// Whether a text is JSON that fits a schema.
pub fn validate(schema: &str, text: &str) -> Result<(), String> {
    let parse = |text: &str| serde_json::from_str::<Value>(text).map_err(|error| error.to_string());
    let root = parse(schema)?;
    Validator { root: &root }.fits(&root, &parse(text)?).map_err(|what| format!("the recording{what}"))
}

struct Validator<'a> {
    root: &'a Value,
}

/// What is wrong, and before it the way to it.
type Fits = Result<(), String>;

impl Validator<'_> {
    fn fits(&self, schema: &Value, value: &Value) -> Fits {
        let Some(keywords) = schema.as_object() else { return Err(format!(": {schema} is no schema")) };
        keywords.iter().try_for_each(|(keyword, rule)| self.keyword(keywords, keyword, rule, value))
    }

    fn keyword(&self, schema: &Map<String, Value>, keyword: &str, rule: &Value, value: &Value) -> Fits {
        let holds = |holds: bool| {
            if holds { Ok(()) } else { Err(format!(": {keyword} {rule} does not hold for {}", short(value))) }
        };
        match keyword {
            _ if COMMENTS.contains(&keyword) => Ok(()),
            "$ref" => self.fits(self.referred(rule)?, value),
            "const" => holds(rule == value),
            "enum" => holds(list(rule).contains(value)),
            "type" => holds(list(rule).iter().any(|name| is_a(name, value))),
            "minimum" => holds(value.as_i64().zip(rule.as_i64()).is_none_or(|(value, bound)| value >= bound)),
            "maximum" => holds(value.as_i64().zip(rule.as_i64()).is_none_or(|(value, bound)| value <= bound)),
            "minItems" => holds(value.as_array().is_none_or(|items| items.len() as u64 >= rule.as_u64().unwrap_or(0))),
            "maxItems" => holds(value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap_or(0))),
            "required" => holds(list(rule).iter().all(|name| value.get(name.as_str().unwrap_or_default()).is_some())),
            "properties" => self.properties(rule, value),
            "items" => self.items(rule, value),
            "anyOf" | "oneOf" => {
                let tried: Vec<Fits> = list(rule).iter().map(|schema| self.fits(schema, value)).collect();
                match (keyword, tried.iter().filter(|fits| fits.is_ok()).count()) {
                    (_, 1) | ("anyOf", 2..) => Ok(()),
                    (_, 0) => Err(self.nearest(value, tried)),
                    (_, n) => Err(format!(": {n} of the alternatives hold for {}", short(value))),
                }
            }
            unknown => Err(format!(": the schema has the keyword {unknown} beside {:?}, unknown here", schema.keys())),
        }
    }

    /// Of several reasons, the one that leads farthest into the value.
    fn nearest(&self, value: &Value, tried: Vec<Fits>) -> String {
        let reasons = tried.into_iter().filter_map(Result::err);
        let depth = |reason: &String| reason.split(':').next().map_or(0, |way| way.matches(['.', '[']).count());
        reasons.max_by_key(depth).unwrap_or_else(|| format!(": no alternative for {}", short(value)))
    }

    fn properties(&self, rules: &Value, value: &Value) -> Fits {
        let Some(fields) = value.as_object() else { return Ok(()) };
        fields.iter().try_for_each(|(name, field)| match rules.get(name) {
            Some(rule) => self.fits(rule, field).map_err(|what| format!(".{name}{what}")),
            None => Err(format!(".{name}: the schema does not name this field")),
        })
    }

    fn items(&self, rule: &Value, value: &Value) -> Fits {
        let items = value.as_array().map_or(&[][..], Vec::as_slice);
        let fits = |(at, item): (usize, &Value)| self.fits(rule, item).map_err(|what| format!("[{at}]{what}"));
        items.iter().enumerate().try_for_each(fits)
    }

    fn referred(&self, rule: &Value) -> Result<&Value, String> {
        let way = rule.as_str().and_then(|way| way.strip_prefix('#')).unwrap_or("?");
        self.root.pointer(way).ok_or_else(|| format!(": the schema refers to {rule}, which is not there"))
    }
}

/// A rule that is one thing or several.
fn list(rule: &Value) -> &[Value] {
    rule.as_array().map_or(std::slice::from_ref(rule), Vec::as_slice)
}

fn is_a(name: &Value, value: &Value) -> bool {
    match name.as_str() {
        Some("null") => value.is_null(),
        Some("boolean") => value.is_boolean(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("string") => value.is_string(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => false,
    }
}

fn short(value: &Value) -> String {
    let text = value.to_string();
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text,
    }
}
