//! Files that people write: read whole, and refused with their name and the line.

use crate::failure::Failure;
use serde::de::DeserializeOwned;
use std::path::Path;

/// Reads a TOML file.
///
/// # Errors
///
/// [`Failure::Usage`]: it cannot be read, or a line is wrong.
pub fn load_toml<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = std::fs::read_to_string(path).map_err(|error| wrong(path, &error.to_string()))?;
    toml::from_str(&text).map_err(|error| {
        // The place may be that of the end of the file.
        let before = error.span().map_or("", |span| text.get(..span.start).unwrap_or(&text));
        let line = before.matches('\n').count() + 1;
        let message: Vec<&str> = error.message().lines().collect();
        Failure::Usage(format!("{}:{line}: {}", path.display(), message.join(" ")))
    })
}

/// That something in a file is wrong, where no line is to blame.
pub fn wrong(path: &Path, what: &str) -> Failure {
    Failure::Usage(format!("{}: {what}", path.display()))
}

/// Whether a number is within its bounds; the error is a clause.
///
/// # Errors
///
/// It is not, or is none.
pub fn within(name: &str, value: f64, least: f64, most: f64) -> Result<(), String> {
    if (least..=most).contains(&value) { Ok(()) } else { Err(format!("{name}: {value} is not from {least} to {most}")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize, PartialEq, Debug)]
    struct Two {
        a: u8,
        b: u8,
    }

    #[test]
    fn the_line_that_is_wrong_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = file.path().display();
        let load = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            load_toml::<Two>(file.path()).map_err(|error| error.to_string())
        };
        assert_eq!(load("a = 1\nb = 2\n"), Ok(Two { a: 1, b: 2 }));
        for (text, line) in [("a = 1\nb = 300\n", 2), ("\n\na = \"ö\"\nb = 1\n", 3), ("a = 1\nb =", 2), ("a = 1\n", 1)]
        {
            let error = load(text).unwrap_err();
            assert!(error.starts_with(&format!("{path}:{line}: ")) && error.lines().count() == 1, "{text:?}: {error}");
        }
        let nowhere = load_toml::<Two>(Path::new("/proc/self/no.toml")).unwrap_err();
        assert!(nowhere.to_string().starts_with("/proc/self/no.toml: No such file"), "{nowhere}");
    }

    #[test]
    fn a_number_is_within_its_bounds_or_named() {
        assert_eq!(within("seconds", 0.5, 0.5, 2.0), Ok(()));
        assert_eq!(within("seconds", 2.1, 0.5, 2.0), Err("seconds: 2.1 is not from 0.5 to 2".to_owned()));
        assert!(within("seconds", f64::NAN, 0.5, 2.0).is_err());
    }
}
