//! What a setting may be: how one value is read from TOML, written back and bounded.

use super::Cidr;
use corelane_proto::Mac;
use toml::Value;

/// The bounds of a setting.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Rule {
    /// Every value of the type will do.
    Any,
    /// A number from the first to the second, both included.
    Range(u64, u64),
    /// A power of two from the first to the second, both included.
    PowerOfTwo(u64, u64),
    /// A probability from 0.0 to 1.0.
    Fraction,
    /// At least one character or one element.
    NotEmpty,
}

impl Rule {
    /// The bounds in words, as they follow "give"; empty when there are none.
    pub(super) fn words(self) -> String {
        match self {
            Self::Any => String::new(),
            Self::Range(low, high) => format!("{low} to {high}"),
            Self::PowerOfTwo(low, high) => format!("a power of two from {low} to {high}"),
            Self::Fraction => "a fraction from 0.0 to 1.0".into(),
            Self::NotEmpty => "at least one".into(),
        }
    }

    fn allows_number(self, n: u64) -> bool {
        match self {
            Self::Range(low, high) => (low..=high).contains(&n),
            Self::PowerOfTwo(low, high) => (low..=high).contains(&n) && n.is_power_of_two(),
            Self::Any | Self::Fraction | Self::NotEmpty => true,
        }
    }
}

/// A type that a setting can have.
///
/// The errors of [`read`](Self::read) and [`check`](Self::check) say what is wrong and what to write instead, without
/// the key and the place, which the caller puts in front.
pub(super) trait Setting: Sized {
    /// What may stand there, as in "give ...".
    fn kind() -> String;

    /// The value that TOML holds.
    fn read(value: &Value) -> Result<Self, String>;

    /// The value as TOML; `None` when the setting is left out.
    fn write(&self) -> Option<Value>;

    /// Whether the bounds allow it.
    fn check(&self, rule: Rule) -> Result<(), String>;
}

/// A value of the wrong type, or a string that means nothing here.
pub(super) fn wrong_type<T: Setting>(value: &Value) -> String {
    format!("{} will not do: give {}", shown(value), T::kind())
}

/// A value as a person would quote it, cut short.
fn shown(value: &Value) -> String {
    match value {
        Value::Table(_) => "a table".into(),
        Value::String(text) if text.chars().count() > 60 => {
            let head: String = text.chars().take(60).collect();
            format!("the string \"{}...\"", head.escape_debug())
        }
        Value::String(text) => format!("the string \"{}\"", text.escape_debug()),
        Value::Array(_) => "a list".into(),
        Value::Boolean(_) => format!("the boolean {value}"),
        Value::Integer(_) | Value::Float(_) | Value::Datetime(_) => value.to_string(),
    }
}

macro_rules! whole_number {
    ($($type:ty),*) => {$(
        impl Setting for $type {
            fn kind() -> String {
                "a whole number".into()
            }

            fn read(value: &Value) -> Result<Self, String> {
                let Value::Integer(n) = value else { return Err(wrong_type::<Self>(value)) };
                Self::try_from(*n).map_err(|_| format!("{n}{OUT_OF_RANGE}0 to {}", Self::MAX))
            }

            fn write(&self) -> Option<Value> {
                // Rules keep every number in the range of TOML's integers.
                Some(Value::Integer(i64::try_from(*self).unwrap_or(i64::MAX)))
            }

            fn check(&self, rule: Rule) -> Result<(), String> {
                if u64::try_from(*self).is_ok_and(|n| rule.allows_number(n)) {
                    Ok(())
                } else {
                    Err(format!("{self}{OUT_OF_RANGE}{}", rule.words()))
                }
            }
        }
    )*};
}
whole_number!(u8, u16, u32, u64, usize);

impl Setting for bool {
    fn kind() -> String {
        "true or false".into()
    }

    fn read(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| wrong_type::<Self>(value))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Boolean(*self))
    }

    fn check(&self, _: Rule) -> Result<(), String> {
        Ok(())
    }
}

impl Setting for f64 {
    fn kind() -> String {
        "a number".into()
    }

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Float(n) => Ok(*n),
            // 0 and 1 are probabilities too; everything else is out of range in either form.
            Value::Integer(0) => Ok(0.0),
            Value::Integer(1) => Ok(1.0),
            Value::Integer(n) => Err(format!("{n}{OUT_OF_RANGE}{}", Rule::Fraction.words())),
            other => Err(wrong_type::<Self>(other)),
        }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Float(*self))
    }

    fn check(&self, rule: Rule) -> Result<(), String> {
        // NaN is in no range.
        if (0.0..=1.0).contains(self) { Ok(()) } else { Err(format!("{self}{OUT_OF_RANGE}{}", rule.words())) }
    }
}

impl Setting for String {
    fn kind() -> String {
        "a string".into()
    }

    fn read(value: &Value) -> Result<Self, String> {
        value.as_str().map(Self::from).ok_or_else(|| wrong_type::<Self>(value))
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.clone()))
    }

    fn check(&self, rule: Rule) -> Result<(), String> {
        if rule == Rule::NotEmpty && self.is_empty() { Err("it is empty: give a name".into()) } else { Ok(()) }
    }
}

/// A value that stands as a string: an address, an enumeration.
macro_rules! in_a_string {
    ($type:ty, $kind:expr) => {
        impl Setting for $type {
            fn kind() -> String {
                $kind.into()
            }

            fn read(value: &Value) -> Result<Self, String> {
                let text = value.as_str().ok_or_else(|| $crate::config::setting::wrong_type::<Self>(value))?;
                Self::from_text(text).ok_or_else(|| $crate::config::setting::wrong_type::<Self>(value))
            }

            fn write(&self) -> Option<Value> {
                Some(Value::String(self.to_string()))
            }

            fn check(&self, _: Rule) -> Result<(), String> {
                Ok(())
            }
        }
    };
}
pub(super) use in_a_string;

/// The parsing side of [`in_a_string`].
pub(super) trait FromText: Sized {
    fn from_text(text: &str) -> Option<Self>;
}

impl FromText for Mac {
    fn from_text(text: &str) -> Option<Self> {
        let mut octets = [0; 6];
        let mut parts = text.split(':');
        for octet in &mut octets {
            let part = parts.next()?;
            if part.len() != 2 || !part.bytes().all(|b| b.is_ascii_hexdigit()) {
                return None;
            }
            *octet = u8::from_str_radix(part, 16).ok()?;
        }
        let mac = Self(octets);
        (parts.next().is_none() && !mac.is_group()).then_some(mac)
    }
}
in_a_string!(Mac, "a unicast Ethernet address such as \"02:00:00:00:00:01\"");

impl FromText for Cidr {
    fn from_text(text: &str) -> Option<Self> {
        text.parse().ok()
    }
}
in_a_string!(Cidr, "a unicast address with its prefix length such as \"10.0.0.2/24\"");

impl FromText for corelane_proto::Addr {
    fn from_text(text: &str) -> Option<Self> {
        let addr = Self::from(text.parse::<std::net::IpAddr>().ok()?);
        addr.is_unicast().then_some(addr)
    }
}
in_a_string!(corelane_proto::Addr, "a unicast address such as \"10.0.0.1\"");

impl<T: Setting> Setting for Option<T> {
    fn kind() -> String {
        T::kind()
    }

    fn read(value: &Value) -> Result<Self, String> {
        T::read(value).map(Some)
    }

    fn write(&self) -> Option<Value> {
        self.as_ref().and_then(T::write)
    }

    fn check(&self, rule: Rule) -> Result<(), String> {
        self.as_ref().map_or(Ok(()), |value| value.check(rule))
    }
}

impl<T: Setting> Setting for Vec<T> {
    fn kind() -> String {
        format!("a list, each element {}", T::kind())
    }

    fn read(value: &Value) -> Result<Self, String> {
        let list = value.as_array().ok_or_else(|| wrong_type::<Self>(value))?;
        list.iter().map(T::read).collect()
    }

    fn write(&self) -> Option<Value> {
        Some(Value::Array(self.iter().filter_map(T::write).collect()))
    }

    fn check(&self, rule: Rule) -> Result<(), String> {
        if rule == Rule::NotEmpty && self.is_empty() {
            return Err(format!("it is empty: give {}", Self::kind()));
        }
        self.iter().try_for_each(|element| element.check(rule))
    }
}

/// One setting as the walk over the configuration meets it.
pub(super) struct Field<'a> {
    /// The table it stands in, for instance `impair.rx`, or `interface[1]` for the second of several.
    pub section: &'a str,
    /// Its key in that table.
    pub key: &'static str,
    /// The documentation, line by line.
    pub doc: &'static [&'static str],
    /// Its bounds.
    pub rule: Rule,
    /// What the type takes.
    pub kind: String,
    /// The value as it is.
    pub value: &'a mut dyn AnySetting,
}

/// [`Setting`] without its type, so that one list of fields serves reading, checking and showing.
pub(super) trait AnySetting {
    fn assign(&mut self, value: &Value, rule: Rule) -> Result<(), String>;
    fn verify(&self, rule: Rule) -> Result<(), String>;
    fn show(&self) -> Option<Value>;
}

impl<T: Setting> AnySetting for T {
    fn assign(&mut self, value: &Value, rule: Rule) -> Result<(), String> {
        let read = T::read(value).map_err(|wrong| with_remedy(wrong, rule))?;
        read.check(rule)?;
        *self = read;
        Ok(())
    }

    fn verify(&self, rule: Rule) -> Result<(), String> {
        self.check(rule)
    }

    fn show(&self) -> Option<Value> {
        self.write()
    }
}

/// Adds the setting's own bounds to what the type alone says.
fn with_remedy(mut wrong: String, rule: Rule) -> String {
    let words = rule.words();
    if words.is_empty() || rule == Rule::NotEmpty {
        return wrong;
    }
    // A number that is too large for its type is told the setting's bounds, not the type's.
    if let Some(at) = wrong.find(OUT_OF_RANGE) {
        wrong.truncate(at);
        wrong.push_str(OUT_OF_RANGE);
    } else {
        wrong.push_str(", ");
    }
    wrong.push_str(&words);
    wrong
}

/// What stands between a number and its bounds.
const OUT_OF_RANGE: &str = " is out of range: give ";
