//! The snapshots of the tables: where they lie, and how a table differs from its snapshot.

use super::text::Table;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Where the snapshots lie, from the root of the repo.
pub const FOLDER: &str = "stack/sim/golden";

/// The folder of the snapshots in the repo that `from` is in.
pub fn folder(from: &Path) -> Option<PathBuf> {
    from.ancestors().map(|dir| dir.join(FOLDER)).find(|folder| folder.is_dir())
}

/// Where the snapshot of a table lies in `folder`.
pub fn file(folder: &Path, name: &str) -> PathBuf {
    folder.join(format!("{name}.txt"))
}

/// What has changed between the snapshot and the table: lines that begin with `-` are the snapshot's, with `+` the
/// table's. Empty when nothing has. Of a sample only the lines that were made are compared.
///
/// # Errors
/// When the snapshot can't be read; the error names it.
pub fn check(folder: &Path, table: &Table) -> io::Result<Vec<String>> {
    let path = file(folder, table.name);
    let golden = fs::read_to_string(&path)
        .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(compare(&golden, table))
}

fn compare(golden: &str, table: &Table) -> Vec<String> {
    let golden: Vec<&str> = golden.lines().collect();
    if golden.len() != table.lines.len() {
        let lines: Vec<&str> = table.lines.iter().flatten().map(String::as_str).collect();
        return diff(&golden, &lines);
    }
    let pairs = golden.iter().zip(&table.lines);
    let (old, new): (Vec<&str>, Vec<&str>) = pairs.filter_map(|(old, new)| Some((*old, new.as_deref()?))).unzip();
    diff(&old, &new)
}

/// Makes the table the snapshot; says whether that changed anything.
///
/// # Errors
/// When it can't be written; the error names it.
pub fn update(folder: &Path, table: &Table) -> io::Result<bool> {
    let (path, text) = (file(folder, table.name), table.to_string());
    if fs::read_to_string(&path).is_ok_and(|before| before == text) {
        return Ok(false);
    }
    fs::write(&path, text).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))?;
    Ok(true)
}

/// The lines that are not in both, by their longest common subsequence.
fn diff(old: &[&str], new: &[&str]) -> Vec<String> {
    let width = new.len() + 1;
    let mut common = vec![0_u32; (old.len() + 1) * width];
    for i in (0..old.len()).rev() {
        for j in (0..new.len()).rev() {
            let (down, right) = (common[(i + 1) * width + j], common[i * width + j + 1]);
            let both = common[(i + 1) * width + j + 1] + 1;
            common[i * width + j] = if old[i] == new[j] { both } else { down.max(right) };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            (i, j) = (i + 1, j + 1);
        } else if i < old.len() && (j == new.len() || common[(i + 1) * width + j] >= common[i * width + j + 1]) {
            out.push(format!("- {}", old[i]));
            i += 1;
        } else {
            out.push(format!("+ {}", new[j]));
            j += 1;
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_changed_is_shown() {
        assert_eq!(diff(&["a", "b", "c"], &["a", "b", "c"]), Vec::<String>::new());
        assert_eq!(diff(&["a", "b", "c"], &["a", "x", "c"]), ["- b", "+ x"]);
        assert_eq!(diff(&["a", "c"], &["a", "b", "c", "d"]), ["+ b", "+ d"]);
        assert_eq!(diff(&["a"], &[]), ["- a"]);
    }

    #[test]
    fn of_a_sample_only_what_was_made_is_compared() {
        let mut table = Table::new("test");
        table.push("head");
        table.skip();
        table.push("row 2");
        assert_eq!(compare("head\nrow 1\nrow 2\n", &table), Vec::<String>::new());
        assert_eq!(compare("head\nrow 1\nrow 3\n", &table), ["- row 3", "+ row 2"]);
        assert_eq!(compare("head\nrow 2\n", &table), Vec::<String>::new());
    }
}
