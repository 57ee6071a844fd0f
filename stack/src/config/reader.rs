//! From TOML's text to settings, each error with its place.

use super::error::{ConfigError, Place};
use super::setting::Field;
use super::{Config, Interface, MAX_INTERFACES, interface_key};
use std::collections::HashMap;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Value};

/// Where each key of a file stands, for errors that show only when several settings are looked at together.
pub(super) type Places = HashMap<String, Place>;

/// Reads a whole configuration; settings that are not there keep their defaults.
pub(super) fn read(text: &str) -> Result<(Config, Places), ConfigError> {
    let table = DeTable::parse(text).map_err(|error| {
        let place = error.span().map(|span| Place::of(text, span.start));
        // The parser's words, on one line.
        let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        ConfigError::of_syntax(place, format!("this is not TOML: {message}"))
    })?;
    let mut leaves = Vec::new();
    flatten(text, "", table.get_ref(), &mut leaves)?;
    let mut config = Config::default();
    let mut places = Places::new();
    for leaf in leaves {
        assign(&mut config, &leaf.key, &leaf.value).map_err(|error| error.at(Some(leaf.place)))?;
        places.insert(leaf.key, leaf.place);
    }
    Ok((config, places))
}

/// A value with its dotted key.
struct Leaf {
    key: String,
    value: Value,
    place: Place,
}

/// Collects the values under `table`, whose dotted name is `prefix`.
fn flatten(text: &str, prefix: &str, table: &DeTable<'_>, out: &mut Vec<Leaf>) -> Result<(), ConfigError> {
    for (name, value) in table {
        let key = if prefix.is_empty() { name.get_ref().to_string() } else { format!("{prefix}.{}", name.get_ref()) };
        let place = Place::of(text, name.span().start);
        match value.get_ref() {
            DeValue::Table(inner) if is_section(&key) => flatten(text, &key, inner, out)?,
            DeValue::Array(list) if key == "interface" => flatten_interfaces(text, place, list, out)?,
            _ if is_section(&key) => {
                let message = format!("this is a table, not a value: write [{key}] on a line of its own");
                return Err(ConfigError::of_key(key, message).at(Some(place)));
            }
            _ => out.push(Leaf { key, value: plain(value), place }),
        }
    }
    Ok(())
}

/// The same of `[[interface]]`: the first is called as the only one is.
fn flatten_interfaces(
    text: &str,
    place: Place,
    list: &[Spanned<DeValue<'_>>],
    out: &mut Vec<Leaf>,
) -> Result<(), ConfigError> {
    for (at, each) in list.iter().enumerate() {
        let DeValue::Table(inner) = each.get_ref() else {
            let message =
                "this is a list of values, not of tables: write [interface], or [[interface]] for each of several";
            return Err(ConfigError::of_key("interface", message).at(Some(place)));
        };
        flatten(text, &interface_key(at), inner, out)?;
        if inner.is_empty() {
            let message = "it is empty: give its name";
            let place = Place::of(text, each.span().start);
            return Err(ConfigError::of_key(format!("{}.name", interface_key(at)), message).at(Some(place)));
        }
    }
    Ok(())
}

/// Which interface the table of this name is about, from 0.
pub(super) fn interface_of(section: &str) -> Option<usize> {
    let rest = section.strip_prefix("interface")?;
    if rest.is_empty() {
        return Some(0);
    }
    rest.strip_prefix('[')?.strip_suffix(']')?.parse().ok()
}

/// Makes room for the interface that `key` is about, if it is the next one.
fn make_room(config: &mut Config, key: &str) -> Result<(), ConfigError> {
    let Some(at) = key.rsplit_once('.').and_then(|(section, _)| interface_of(section)) else { return Ok(()) };
    let there = 1 + config.others.len();
    if at >= MAX_INTERFACES {
        return Err(ConfigError::of_key(key, format!("there are at most {MAX_INTERFACES} interfaces: give fewer")));
    }
    if at > there {
        let message = format!("the interfaces before it are missing: give {} first", interface_key(there));
        return Err(ConfigError::of_key(key, message));
    }
    if at == there {
        config.others.push(Interface::default());
    }
    Ok(())
}

/// Whether `name` is a section or leads to one.
fn is_section(name: &str) -> bool {
    let mut found = false;
    each_field(&mut Config::default(), |field| {
        found |= field.section == name || field.section.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
    });
    found
}

/// The value without its spans.
fn plain(value: &Spanned<DeValue<'_>>) -> Value {
    match value.get_ref() {
        DeValue::String(text) => Value::String(text.to_string()),
        DeValue::Integer(digits) => {
            // A number that does not fit 64 bits is out of every range: the nearest that fits tells the same.
            let nearest = if digits.as_str().starts_with('-') { i64::MIN } else { i64::MAX };
            Value::Integer(i64::from_str_radix(digits.as_str(), digits.radix()).unwrap_or(nearest))
        }
        DeValue::Float(digits) => Value::Float(digits.as_str().parse().unwrap_or(f64::NAN)),
        DeValue::Boolean(flag) => Value::Boolean(*flag),
        DeValue::Datetime(when) => Value::Datetime(*when),
        DeValue::Array(list) => Value::Array(list.iter().map(plain).collect()),
        DeValue::Table(table) => {
            Value::Table(table.iter().map(|(name, value)| (name.get_ref().to_string(), plain(value))).collect())
        }
    }
}

/// Sets the setting with the dotted name `key`.
pub(super) fn assign(config: &mut Config, key: &str, value: &Value) -> Result<(), ConfigError> {
    make_room(config, key)?;
    let mut result = None;
    each_field(config, |field| {
        if key.strip_prefix(field.section).and_then(|rest| rest.strip_prefix('.')) == Some(field.key) {
            result = Some(field.value.assign(value, field.rule));
        }
    });
    match result {
        Some(Ok(())) => Ok(()),
        Some(Err(wrong)) => Err(ConfigError::of_key(key, wrong)),
        None => Err(ConfigError::of_key(key, unknown(key))),
    }
}

/// What to write instead of an unknown key.
fn unknown(key: &str) -> String {
    let (section, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut nearest: Option<(usize, String)> = None;
    each_field(&mut Config::default(), |field| {
        // A right key in the wrong table is nearer than a wrong key in the right one; an unknown table is compared as
        // a whole.
        let distance = strsim::osa_distance(name, field.key) * 2 + strsim::osa_distance(section, field.section).min(3);
        let table = strsim::osa_distance(key, field.section) * 2 + 1;
        for (distance, known) in [(distance, format!("{}.{}", field.section, field.key)), (table, field.section.into())]
        {
            if nearest.as_ref().is_none_or(|(best, _)| distance < *best) {
                nearest = Some((distance, known));
            }
        }
    });
    let known = nearest.map_or_else(String::new, |(_, known)| known);
    format!("there is no such setting: the nearest one is {known} (`corelane config show` lists all)")
}

/// Shows every field of `config`.
pub(super) fn each_field(config: &mut Config, mut visit: impl FnMut(Field<'_>)) {
    let walked: Result<(), std::convert::Infallible> = config.walk(&mut |field| {
        visit(field);
        Ok(())
    });
    let Ok(()) = walked;
}
