//! Metadata: what an envelope carries beside its content, texts by key. Nearly every message has a dozen of them and
//! they are kept as long as it is, so they share one piece of memory.

use std::collections::BTreeMap;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};

/// Texts by key, in the order of the keys; each key once.
#[derive(Clone, Default)]
pub struct Metadata {
    /// All keys and values.
    text: String,
    entries: Vec<Entry>,
    place: Option<Range<usize>>,
}

/// Where in the text a key begins, where it ends and its value begins, and where that ends.
#[derive(Debug, Clone, Copy)]
struct Entry {
    from: usize,
    middle: usize,
    to: usize,
}

impl Metadata {
    /// The value of `key`, spelled like this.
    pub fn get(&self, key: &str) -> Option<&str> {
        let at = self.entries.binary_search_by(|entry| self.key(*entry).cmp(key)).ok()?;
        self.entries.get(at).map(|entry| self.value(*entry))
    }

    /// Keys and values, in the order of the keys.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.entries.iter().map(|entry| (self.key(*entry), self.value(*entry)))
    }

    /// Where the object they were read from stands in the body it came in, if that is known: who keeps the body need
    /// not keep them twice.
    pub fn place(&self) -> Option<Range<usize>> {
        self.place.clone()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    fn key(&self, entry: Entry) -> &str {
        self.text.get(entry.from..entry.middle).unwrap_or_default()
    }

    fn value(&self, entry: Entry) -> &str {
        self.text.get(entry.middle..entry.to).unwrap_or_default()
    }

    fn sort(&mut self) {
        let mut entries = std::mem::take(&mut self.entries);
        entries.sort_by(|left, right| self.key(*left).cmp(self.key(*right)));
        self.entries = entries;
    }

    fn has_twice(&self) -> bool {
        self.entries.windows(2).any(|pair| matches!(pair, [one, other] if self.key(*one) == self.key(*other)))
    }
}

impl From<BTreeMap<String, String>> for Metadata {
    fn from(texts: BTreeMap<String, String>) -> Self {
        let bytes = texts.iter().map(|(key, value)| key.len().saturating_add(value.len())).sum();
        let mut all = Self {
            text: String::with_capacity(bytes),
            entries: Vec::with_capacity(texts.len()),
            place: None,
        };
        for (key, value) in texts {
            let from = all.text.len();
            all.text.push_str(&key);
            let middle = all.text.len();
            all.text.push_str(&value);
            all.entries.push(Entry { from, middle, to: all.text.len() });
        }
        all
    }
}

/// Of two values of one key the later counts.
impl FromIterator<(String, String)> for Metadata {
    fn from_iter<T: IntoIterator<Item = (String, String)>>(texts: T) -> Self {
        texts.into_iter().collect::<BTreeMap<_, _>>().into()
    }
}

impl PartialEq for Metadata {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl Eq for Metadata {}

impl fmt::Debug for Metadata {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_map().entries(self.iter()).finish()
    }
}

impl Serialize for Metadata {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter())
    }
}

/// Reads texts and nulls, the nulls left out. Other values, and a key that stands there twice, are errors.
impl<'de> Deserialize<'de> for Metadata {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_map(Within(&[]))
    }
}

/// Reads an object that is part of these bytes, and finds out where it stands in them.
pub(super) struct Within<'a>(pub(super) &'a [u8]);

impl<'de> DeserializeSeed<'de> for Within<'_> {
    type Value = Metadata;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Metadata, D::Error> {
        from.deserialize_map(self)
    }
}

impl Within<'_> {
    /// The object whose first key is `key` and whose last value is `last`, both as they stand in the bytes; nothing
    /// where either was not lent from there, as it is escaped or null.
    fn place(&self, key: Option<&str>, last: Option<&str>) -> Option<Range<usize>> {
        let offset = |text: &str| text.as_ptr().addr().checked_sub(self.0.as_ptr().addr());
        let before = self.0.get(..offset(key?)?)?.strip_suffix(b"\"")?.trim_ascii_end();
        let after = self.0.get(offset(last?)?.checked_add(last?.len())?..)?;
        let after = after.strip_prefix(b"\"")?.trim_ascii_start();
        let from = before.strip_suffix(b"{")?.len();
        let to = self.0.len().checked_sub(after.strip_prefix(b"}")?.len())?;
        Some(from..to)
    }
}

impl<'de> Visitor<'de> for Within<'_> {
    type Value = Metadata;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("an object of texts")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Metadata, A::Error> {
        let mut all =
            Metadata { text: String::with_capacity(512), entries: Vec::with_capacity(12), place: None };
        let mut nulls: Vec<String> = Vec::new();
        let (mut first, mut last) = (None, Appended::Null);
        loop {
            let from = all.text.len();
            let Some(key) = map.next_key_seed(Append(&mut all.text))? else { break };
            first = first.or(Some(key));
            let middle = all.text.len();
            last = map.next_value_seed(Append(&mut all.text))?;
            if last == Appended::Null {
                nulls.push(all.text.split_off(from));
            } else {
                all.entries.push(Entry { from, middle, to: all.text.len() });
            }
        }
        all.place = self.place(first.and_then(Appended::lent), last.lent());
        all.sort();
        if all.has_twice() || nulls.iter().any(|key| all.get(key).is_some()) {
            return Err(A::Error::custom("a key stands there twice"));
        }
        Ok(all)
    }
}

/// Appends a text to others.
struct Append<'a>(&'a mut String);

/// What was appended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Appended<'de> {
    /// A text that stands like this in what is read.
    Lent(&'de str),
    /// A text that is written in another way there.
    Made,
    /// Nothing.
    Null,
}

impl<'de> Appended<'de> {
    fn lent(self) -> Option<&'de str> {
        match self {
            Self::Lent(text) => Some(text),
            Self::Made | Self::Null => None,
        }
    }
}

impl<'de> DeserializeSeed<'de> for Append<'_> {
    type Value = Appended<'de>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Appended<'de>, D::Error> {
        from.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Append<'_> {
    type Value = Appended<'de>;

    fn expecting(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("a text or null")
    }

    fn visit_borrowed_str<E: Error>(self, text: &'de str) -> Result<Appended<'de>, E> {
        self.0.push_str(text);
        Ok(Appended::Lent(text))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Appended<'de>, E> {
        self.0.push_str(text);
        Ok(Appended::Made)
    }

    fn visit_unit<E: Error>(self) -> Result<Appended<'de>, E> {
        Ok(Appended::Null)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn texts_by_key_and_nulls_left_out() {
        let read: Metadata = serde_json::from_str(r##"{"#b":"2","#n":null,"#a":"é\n"}"##).unwrap();
        assert_eq!(read.iter().collect::<Vec<_>>(), [("#a", "é\n"), ("#b", "2")]);
        assert_eq!((read.get("#b"), read.get("#n"), read.len()), (Some("2"), None, 2));
        for refused in
            [r#"{"a":1}"#, r#"{"a":"1","a":"2"}"#, r#"{"a":"1","b":"","a":null}"#, r#"{"a":{}}"#, "[]"]
        {
            assert!(serde_json::from_str::<Metadata>(refused).is_err(), "{refused}");
        }
    }

    #[test]
    fn the_place_is_that_of_the_object() {
        for (object, told) in [
            (r##"{"#a":"1","#b":"é"}"##, true),
            ("{ \"a\" : \"1\" \n}", true),
            (r#"{"a":"x\u0041y","b":"}"}"#, true),
            (r#"{"a":null,"b":"{"}"#, true),
            (r#"{"a":"1","b":null}"#, false),
            (r#"{"a":"1\n"}"#, false),
            (r#"{"\u0061":"1"}"#, false),
            ("{}", false),
        ] {
            let body = format!(r#"[{{"x":1}}, {object} ,"{{}}"]"#);
            let mut json = serde_json::Deserializer::from_str(body.split_at(10).1);
            let read = Within(body.as_bytes()).deserialize(&mut json).unwrap();
            let place = read.place().map(|place| &body[place]);
            assert_eq!(place, told.then_some(object), "{body}");
            assert_eq!(serde_json::from_str::<Metadata>(object).unwrap(), read);
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(texts: BTreeMap<String, String>) {
            let metadata = Metadata::from(texts.clone());
            prop_assert_eq!(metadata.len(), texts.len());
            for (key, value) in &texts {
                prop_assert_eq!(metadata.get(key), Some(value.as_str()));
            }
            let json = serde_json::to_string(&metadata).unwrap();
            prop_assert_eq!(&json, &serde_json::to_string(&texts).unwrap());
            prop_assert_eq!(serde_json::from_str::<Metadata>(&json).unwrap(), metadata);
        }
    }
}
