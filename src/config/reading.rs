//! Walks the TOML tables: each key is asked for once, under its full path, from whoever may answer it; what nobody
//! asked for is an unknown key.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use toml::{Table, Value};

use super::{Fault, Overrides, Source, units};

/// A file being read, and what was found wrong so far.
pub(super) struct Reading<'s> {
    pub(super) source: &'s dyn Source,
    pub(super) overrides: &'s Overrides,
    pub(super) faults: Vec<Fault>,
    pub(super) warnings: Vec<String>,
    /// Every key that means something, as `bots.url`.
    pub(super) known: BTreeSet<String>,
}

/// A table of it.
pub(super) struct Section {
    path: String,
    /// Like `path`, without the name of the bot.
    kind: String,
    table: Table,
    asked: Vec<&'static str>,
}

/// A value, and where it was said.
struct Given {
    key: String,
    value: Value,
    /// By the environment or the command line, where everything is text.
    outside: bool,
}

impl Reading<'_> {
    /// Notes that something is wrong.
    pub(super) fn fault(&mut self, key: impl Into<String>, what: impl Into<String>, fix: impl Into<String>) {
        self.faults.push(Fault { key: key.into(), what: what.into(), fix: fix.into() });
    }

    /// What the command line or the environment says of a key; an empty variable says nothing.
    fn outside(&self, path: &str) -> Option<(String, String)> {
        let twin = twin_of(path);
        if let Some(text) = self.overrides.of(path) {
            return Some((format!("--{} ({twin})", path.replace(['.', '_'], "-")), text.to_owned()));
        }
        let text = self.source.var(&twin).filter(|text| !text.is_empty())?;
        Some((twin, text))
    }
}

impl Section {
    /// The whole file.
    pub(super) fn root(table: Table) -> Self {
        Self { path: String::new(), kind: String::new(), table, asked: Vec::new() }
    }

    /// A key's full path.
    pub(super) fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }

    /// Gives the section the name it is called by in faults.
    pub(super) fn rename(&mut self, path: String) {
        self.path = path;
    }

    /// Whether a key is there.
    pub(super) fn has(&self, key: &str) -> bool {
        self.table.contains_key(key)
    }

    fn take(&mut self, key: &'static str, reading: &mut Reading<'_>) -> Option<Value> {
        self.asked.push(key);
        reading.known.insert(join(&self.kind, key));
        self.table.remove(key)
    }

    fn given(&mut self, key: &'static str, reading: &mut Reading<'_>) -> Option<Given> {
        let value = self.take(key, reading);
        // Bots are a list: none of their keys has one place outside.
        if !self.kind.starts_with("bots")
            && let Some((key, text)) = reading.outside(&self.at(key))
        {
            return Some(Given { key, value: Value::String(text), outside: true });
        }
        Some(Given { key: self.at(key), value: value?, outside: false })
    }

    /// A text.
    pub(super) fn text(&mut self, key: &'static str, reading: &mut Reading<'_>) -> Option<String> {
        let Given { key, value, .. } = self.given(key, reading)?;
        let Value::String(text) = value else {
            reading.fault(key, wrong_type(&value, "a text"), "write it in quotes");
            return None;
        };
        Some(text)
    }

    /// A text that is read further: where `parse` has no answer, it `is_not` what it should be.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        is_not: &str,
        fix: &str,
        reading: &mut Reading<'_>,
        parse: impl Fn(&str) -> Option<T>,
    ) -> Option<T> {
        self.parsed_or(key, is_not, fix, reading, |text| parse(text).ok_or_else(|| fix.to_owned()))
    }

    /// The same, where what to do depends on what was written.
    pub(super) fn parsed_or<T>(
        &mut self,
        key: &'static str,
        is_not: &str,
        fix: &str,
        reading: &mut Reading<'_>,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Given { key, value, .. } = self.given(key, reading)?;
        let Value::String(text) = value else {
            reading.fault(key, wrong_type(&value, "a text"), format!("{fix}, in quotes"));
            return None;
        };
        match parse(text.trim()) {
            Ok(parsed) => Some(parsed),
            Err(fix) => {
                reading.fault(key, format!("`{}` {is_not}", text.escape_debug()), fix);
                None
            }
        }
    }

    /// A list of texts; a single one will do. Outside the file they stand with commas between them.
    pub(super) fn texts(&mut self, key: &'static str, reading: &mut Reading<'_>) -> Option<Vec<String>> {
        let Given { value, outside, .. } = self.given(key, reading)?;
        if outside && let Value::String(text) = &value {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            return Some(parts.map(str::to_owned).collect());
        }
        let values = if let Value::Array(values) = value { values } else { vec![value] };
        let mut texts = Vec::with_capacity(values.len());
        for value in values {
            let Value::String(text) = value else {
                reading.fault(self.at(key), wrong_type(&value, "a list of texts"), "write it like [\"…\"]");
                return None;
            };
            texts.push(text);
        }
        Some(texts)
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str, reading: &mut Reading<'_>) -> Option<bool> {
        let Given { key, value, outside } = self.given(key, reading)?;
        let typed = |text: &str| text.trim().parse().ok();
        let flag = value.as_bool().or_else(|| value.as_str().filter(|_| outside).and_then(typed));
        if flag.is_none() {
            reading.fault(key, wrong_type(&value, "true or false"), "write true or false, without quotes");
        }
        flag
    }

    /// A number from 1 to `max`.
    pub(super) fn count(
        &mut self,
        key: &'static str,
        max: usize,
        reading: &mut Reading<'_>,
    ) -> Option<usize> {
        let Given { key, value, outside } = self.given(key, reading)?;
        let typed = |text: &str| text.trim().parse().ok();
        let number = value.as_integer().or_else(|| value.as_str().filter(|_| outside).and_then(typed));
        let count = number.and_then(|number: i64| usize::try_from(number).ok());
        let count = count.filter(|count| (1..=max).contains(count));
        if count.is_none() {
            reading.fault(key, "this is no number it could be", format!("write one from 1 to {max}"));
        }
        count
    }

    pub(super) fn listen(&mut self, port: u16, reading: &mut Reading<'_>) -> SocketAddr {
        let fix = format!("write it like 127.0.0.1:{port} or [::]:{port}");
        self.parsed("listen", "is no IP address and port", &fix, reading, units::address)
            .unwrap_or(SocketAddr::from(([127, 0, 0, 1], port)))
    }

    /// A table within; an empty one if it is not there.
    pub(super) fn section(&mut self, key: &'static str, reading: &mut Reading<'_>) -> Section {
        let (path, kind) = (self.at(key), join(&self.kind, key));
        let table = match self.take(key, reading) {
            None => Table::new(),
            Some(Value::Table(table)) => table,
            Some(value) => {
                reading.fault(&path, wrong_type(&value, "a table"), format!("write [{path}]"));
                Table::new()
            }
        };
        Section { path, kind, table, asked: Vec::new() }
    }

    /// The tables of a list.
    pub(super) fn sections(&mut self, key: &'static str, reading: &mut Reading<'_>) -> Vec<Section> {
        let values = match self.take(key, reading) {
            None => Vec::new(),
            Some(Value::Array(values)) => values,
            Some(value) => {
                reading.fault(key, wrong_type(&value, "a list of tables"), format!("write [[{key}]]"));
                Vec::new()
            }
        };
        let mut sections = Vec::with_capacity(values.len());
        for (index, value) in values.into_iter().enumerate() {
            let path = format!("{key}[{index}]");
            if let Value::Table(table) = value {
                sections.push(Section { path, kind: key.to_owned(), table, asked: Vec::new() });
            } else {
                reading.fault(path, wrong_type(&value, "a table"), format!("write [[{key}]]"));
            }
        }
        sections
    }

    /// A key of a later version.
    pub(super) fn later(&mut self, key: &'static str, reading: &mut Reading<'_>) {
        if self.take(key, reading).is_some() {
            let fix = "leave it out, and keep the listener on loopback or a private network";
            reading.fault(self.at(key), "this is not supported by this version yet", fix);
        }
    }

    /// A key nobody has, though somebody may expect it.
    pub(super) fn refuse(&mut self, key: &str, what: &str, fix: &str, reading: &mut Reading<'_>) {
        if self.table.remove(key).is_some() {
            reading.fault(self.at(key), what, fix);
        }
    }

    /// Whatever is left is unknown.
    pub(super) fn finish(self, reading: &mut Reading<'_>) {
        for unknown in self.table.keys() {
            let fix = match nearest(self.asked.iter().copied(), unknown) {
                Some(known) => format!("did you mean `{}`?", self.at(known)),
                None => format!("known here: {}", self.asked.join(", ")),
            };
            reading.fault(self.at(unknown), "there is no such key", fix);
        }
    }
}

/// The environment's name for a key.
pub(super) fn twin_of(path: &str) -> String {
    format!("DESKGATE_{}", path.to_uppercase().replace('.', "_"))
}

/// What was probably meant by `unknown`.
pub(super) fn nearest<'k>(known: impl Iterator<Item = &'k str>, unknown: &str) -> Option<&'k str> {
    let near = |known: &&str| strsim::damerau_levenshtein(known, unknown);
    known.min_by_key(near).filter(|known| near(known) <= 2.max(unknown.len() / 3))
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// Names the type only: the value may be a secret in the wrong place.
fn wrong_type(value: &Value, expected: &str) -> String {
    format!("this must be {expected}, not of type {}", value.type_str())
}
