//! The files that are read.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

/// Text files by their path from the root of the repo.
#[derive(Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, String>,
}

/// Folders with sources. What `stack/proto/spec` holds is read whole.
const FOLDERS: &[&str] = &["stack", "bench"];

impl Tree {
    /// The nearest folder at or above `from` that holds the specifications.
    pub fn root(from: &Path) -> Option<PathBuf> {
        from.ancestors().find(|dir| dir.join(super::SPEC).is_dir()).map(Path::to_path_buf)
    }

    /// Reads the repo at `root`.
    ///
    /// # Errors
    ///
    /// When a folder or a file can't be read; the error names it.
    pub fn load(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        for folder in FOLDERS {
            if root.join(folder).is_dir() {
                tree.walk(root, &root.join(folder))?;
            }
        }
        Ok(tree)
    }

    /// A tree of `files`.
    pub fn of<'a>(files: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self { files: files.into_iter().map(|(path, text)| (path.to_owned(), text.to_owned())).collect() }
    }

    fn walk(&mut self, root: &Path, dir: &Path) -> io::Result<()> {
        let named =
            |path: &Path, error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        for entry in dir.read_dir().map_err(|error| named(dir, error))? {
            let path = entry?.path();
            let name = path.file_name().unwrap_or_default();
            if path.is_symlink() || name == "target" {
                continue;
            }
            if path.is_dir() {
                self.walk(root, &path)?;
                continue;
            }
            let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
            if relative.ends_with(".rs") || relative.starts_with(super::SPEC) {
                let text = std::fs::read_to_string(&path).map_err(|error| named(&path, error))?;
                self.files.insert(relative, text);
            }
        }
        Ok(())
    }

    /// The text at `path`.
    pub(super) fn text(&self, path: &str) -> Option<&str> {
        self.files.get(path).map(String::as_str)
    }

    /// Every file whose path ends with `suffix`.
    pub(super) fn files(&self, suffix: &'static str) -> impl Iterator<Item = (&str, &str)> {
        let files = self.files.iter().map(|(path, text)| (path.as_str(), text.as_str()));
        files.filter(move |(path, _)| path.ends_with(suffix))
    }
}
