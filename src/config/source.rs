//! Where configuration comes from beside its file: environment variables, and files that hold secrets. The only
//! place that reads either.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The size of a secret's file is bounded: a wrong path should not fill the memory.
const SECRET_FILE_BYTES_MAX: u64 = 64 * 1024;

/// The outside world, as far as configuration is concerned.
pub trait Source: Send + Sync {
    /// An environment variable; `None` where it is not set, or no Unicode.
    fn var(&self, name: &str) -> Option<String>;

    /// The names of all variables, but of those that are no Unicode.
    fn names(&self) -> Vec<String>;

    /// The contents of a file.
    fn read(&self, path: &Path) -> io::Result<String>;
}

/// The process's environment and the file system.
#[derive(Debug, Clone, Copy, Default)]
pub struct Env;

impl Source for Env {
    #[expect(clippy::disallowed_methods, reason = "the one place that reads the environment")]
    fn var(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }

    fn names(&self) -> Vec<String> {
        std::env::vars_os().filter_map(|(name, _)| name.into_string().ok()).collect()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        let mut text = String::new();
        let read = File::open(path)?.take(SECRET_FILE_BYTES_MAX + 1).read_to_string(&mut text)?;
        if u64::try_from(read).unwrap_or(u64::MAX) > SECRET_FILE_BYTES_MAX {
            return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 64 KiB"));
        }
        Ok(text)
    }
}

/// Variables and files from memory: for tests, and for the sandbox, which has no configuration.
#[derive(Clone, Default)]
pub struct MapSource {
    vars: BTreeMap<String, String>,
    files: BTreeMap<PathBuf, String>,
}

impl MapSource {
    /// Neither variables nor files.
    pub fn new() -> Self {
        Self::default()
    }

    /// With this variable too.
    #[must_use]
    pub fn with_var(mut self, name: &str, value: &str) -> Self {
        self.vars.insert(name.to_owned(), value.to_owned());
        self
    }

    /// With this file too.
    #[must_use]
    pub fn with_file(mut self, path: impl Into<PathBuf>, text: &str) -> Self {
        self.files.insert(path.into(), text.to_owned());
        self
    }
}

impl Source for MapSource {
    fn var(&self, name: &str) -> Option<String> {
        self.vars.get(name).cloned()
    }

    fn names(&self) -> Vec<String> {
        self.vars.keys().cloned().collect()
    }

    fn read(&self, path: &Path) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl fmt::Debug for MapSource {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (vars, files): (Vec<_>, Vec<_>) = (self.vars.keys().collect(), self.files.keys().collect());
        out.debug_struct("MapSource").field("vars", &vars).field("files", &files).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_up_to_a_bound() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "abc\n").unwrap();
        assert_eq!(Env.read(&path).unwrap(), "abc\n");
        std::fs::write(&path, "x".repeat(65 * 1024)).unwrap();
        assert!(Env.read(&path).is_err());
        assert!(Env.read(&folder.path().join("none")).is_err());
    }

    #[test]
    fn debug_shows_names_only() {
        let source = MapSource::new().with_var("A", "s3cret").with_file("f", "s3cret");
        assert_eq!(format!("{source:?}"), r#"MapSource { vars: ["A"], files: ["f"] }"#);
    }
}
