//! Settings about the machine that are more than a word or a number: huge pages and the workers' priority.

use super::setting::{Rule, Setting, wrong_type};
use std::fmt;
use toml::Value;

/// Whether frames lie in huge pages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HugePages {
    /// They never do.
    Off,
    /// They do where enough pages are reserved, and the summary says whether they did.
    Auto,
    /// They do, or the stack does not start.
    Require,
}

impl HugePages {
    /// Every word with its variant.
    pub const ALL: &'static [(&'static str, Self)] =
        &[("off", Self::Off), ("auto", Self::Auto), ("require", Self::Require)];

    /// Whether they are asked for at all.
    pub const fn wanted(self) -> bool {
        !matches!(self, Self::Off)
    }
}

impl fmt::Display for HugePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Auto => "auto",
            Self::Require => "require",
        })
    }
}

impl Setting for HugePages {
    fn kind() -> String {
        "one of \"off\", \"auto\", \"require\"".into()
    }

    fn read(value: &Value) -> Result<Self, String> {
        match value {
            // As the setting was before it knew "auto".
            Value::Boolean(true) => Ok(Self::Require),
            Value::Boolean(false) => Ok(Self::Off),
            Value::String(text) => {
                let found = Self::ALL.iter().find(|(word, _)| word == text);
                found.map(|(_, variant)| *variant).ok_or_else(|| wrong_type::<Self>(value))
            }
            other => Err(wrong_type::<Self>(other)),
        }
    }

    fn write(&self) -> Option<Value> {
        Some(Value::String(self.to_string()))
    }

    fn check(&self, _: Rule) -> Result<(), String> {
        Ok(())
    }
}

/// How the kernel's scheduler treats a worker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Priority {
    /// As the process was started.
    Inherited,
    /// A nice value, -20 (most of the core) to 19.
    Nice(i8),
    /// The real-time policy `SCHED_FIFO` with this priority, 1 to 99.
    Fifo(u8),
}

impl fmt::Display for Priority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inherited => f.write_str("normal"),
            Self::Nice(nice) => write!(f, "nice {nice}"),
            Self::Fifo(priority) => write!(f, "fifo {priority}"),
        }
    }
}

impl Priority {
    fn from_text(text: &str) -> Option<Self> {
        match text.split_once(' ') {
            None if text == "normal" => Some(Self::Inherited),
            Some(("nice", number)) => Self::nice(number.parse().ok()?),
            Some(("fifo", number)) => {
                let number = number.parse().ok().filter(|number| (1..=99).contains(number))?;
                Some(Self::Fifo(number))
            }
            _ => None,
        }
    }

    fn nice(number: i64) -> Option<Self> {
        let nice = i8::try_from(number).ok().filter(|nice| (-20..=19).contains(nice))?;
        Some(Self::Nice(nice))
    }
}

impl Setting for Priority {
    fn kind() -> String {
        "\"normal\", a nice value from -20 to 19, or \"fifo N\" with N from 1 to 99".into()
    }

    fn read(value: &Value) -> Result<Self, String> {
        let read = match value {
            Value::Integer(number) => Self::nice(*number),
            Value::String(text) => Self::from_text(text),
            _ => None,
        };
        read.ok_or_else(|| wrong_type::<Self>(value))
    }

    fn write(&self) -> Option<Value> {
        Some(match self {
            Self::Nice(nice) => Value::Integer((*nice).into()),
            Self::Inherited | Self::Fifo(_) => Value::String(self.to_string()),
        })
    }

    fn check(&self, _: Rule) -> Result<(), String> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, HugePages, Priority};

    fn priority(toml: &str) -> Result<Priority, String> {
        Config::from_toml(&format!("[cores]\npriority = {toml}\n"))
            .map(|config| config.cores().priority())
            .map_err(|error| error.to_string())
    }

    #[test]
    fn priorities_are_a_word_a_nice_value_or_real_time() {
        assert_eq!(priority("\"normal\""), Ok(Priority::Inherited));
        assert_eq!(priority("-20"), Ok(Priority::Nice(-20)));
        assert_eq!(priority("\"nice 5\""), Ok(Priority::Nice(5)));
        assert_eq!(priority("\"fifo 99\""), Ok(Priority::Fifo(99)));
        for wrong in ["20", "-21", "1000000", "\"fifo 0\"", "\"fifo 100\"", "\"fifo\"", "\"rr 1\"", "true", "1.5"] {
            let error = priority(wrong).unwrap_err();
            assert!(error.contains("cores.priority") && error.contains("\"fifo N\""), "{error}");
        }
    }

    #[test]
    fn huge_pages_are_a_word_and_what_they_were_before() {
        let read = |toml: &str| Config::from_toml(&format!("[memory]\nhuge_pages = {toml}\n"));
        for (toml, pages) in [
            ("\"auto\"", HugePages::Auto),
            ("\"require\"", HugePages::Require),
            ("\"off\"", HugePages::Off),
            ("true", HugePages::Require),
            ("false", HugePages::Off),
        ] {
            assert_eq!(read(toml).unwrap().memory().huge_pages(), pages, "{toml}");
        }
        for wrong in ["1", "\"yes\""] {
            let error = read(wrong).unwrap_err().to_string();
            assert!(error.contains("\"require\""), "{error}");
        }
    }

    #[test]
    fn what_is_shown_of_them_reads_back() {
        for value in ["fifo 7", "nice -3", "normal"] {
            let config = Config::builder().set("cores.priority", value).set("memory.huge_pages", true).build().unwrap();
            assert_eq!(Config::from_toml(&config.to_commented_toml()).unwrap(), config);
        }
    }
}
