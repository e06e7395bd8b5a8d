//! The schema as a judge of lines.

use jsonschema::Validator;
use serde_json::{Map, Value};

use super::super::SCHEMA;

pub struct Schema {
    whole: Value,
    validator: Validator,
}

impl Schema {
    pub fn new() -> Self {
        let whole: Value = serde_json::from_str(SCHEMA).expect("JSON");
        let validator = jsonschema::draft202012::new(&whole).expect("a schema");
        Self { whole, validator }
    }

    /// Judges a line: its values, its keys, and their order. The keys that have something are added
    /// to `told`.
    pub fn check(&self, line: &Value, told: &mut Vec<String>) -> Result<(), String> {
        if let Some(error) = self.validator.iter_errors(line).next() {
            return Err(format!("{error} at {}", error.instance_path()));
        }
        let kind = line["type"].as_str().ok_or("no type")?;
        self.keys_of(line, &self.whole["$defs"][kind], kind, told)
    }

    /// All keys: `packet/src`.
    pub fn keys(&self) -> impl Iterator<Item = String> {
        self.definitions().iter().flat_map(|(name, definition)| {
            let keys = properties(definition).keys();
            keys.map(move |key| format!("{name}/{key}"))
        })
    }

    fn definitions(&self) -> &Map<String, Value> {
        self.whole["$defs"].as_object().expect("definitions")
    }

    fn keys_of(
        &self,
        value: &Value,
        definition: &Value,
        name: &str,
        told: &mut Vec<String>,
    ) -> Result<(), String> {
        let value = value.as_object().ok_or("not an object")?;
        let properties = properties(definition);
        let [has, should]: [Vec<_>; 2] = [value.keys().collect(), properties.keys().collect()];
        if has != should {
            return Err(format!("{name} has {has:?}, should have {should:?}"));
        }
        let required = definition["required"].as_array().expect("required keys");
        assert!(
            required.iter().eq(should),
            "all keys of {name} are required"
        );
        for (key, value) in value {
            if value.is_null() {
                continue;
            }
            let key_of = format!("{name}/{key}");
            if !told.contains(&key_of) {
                told.push(key_of);
            }
            let property = &properties[key];
            if let Some(inner) = reference(property) {
                self.keys_of(value, &self.definitions()[inner], inner, told)?;
            }
            if let Some(inner) = reference(&property["items"]) {
                for item in value.as_array().into_iter().flatten() {
                    self.keys_of(item, &self.definitions()[inner], inner, told)?;
                }
            }
        }
        Ok(())
    }
}

fn properties(definition: &Value) -> &Map<String, Value> {
    definition["properties"].as_object().expect("properties")
}

/// The definition that a property refers to, alone or with `null`.
fn reference(property: &Value) -> Option<&str> {
    let either = property["anyOf"].get(0).unwrap_or(property);
    either["$ref"].as_str()?.strip_prefix("#/$defs/")
}
