//! Documents made of bytes: whatever the bytes are, they choose among typical members, types and values.

use serde_json::{Map, Value};

use super::types::MEDIA_TYPES;

/// Types that are not among the usual ones, or are written as nobody writes them.
const ODD_TYPES: [&str; 8] = [
    "application/vnd.iris.ticket+json",
    "application/vnd.lime.redirect+json",
    "Application/Vnd.Lime.Select+JSON; charset=utf-8",
    "TEXT/plain;x",
    "image/png",
    "*/*",
    "",
    "json",
];

/// The members of documents, and some that are none.
const NAMES: [&str; 36] = [
    "uri",
    "type",
    "title",
    "text",
    "size",
    "target",
    "previewUri",
    "latitude",
    "longitude",
    "altitude",
    "name",
    "phoneNumber",
    "options",
    "order",
    "value",
    "scope",
    "header",
    "label",
    "items",
    "itemType",
    "validation",
    "rule",
    "replied",
    "inReplyTo",
    "id",
    "direction",
    "emoji",
    "values",
    "inReactionTo",
    "icon",
    "Type",
    "VALUE",
    "Uri",
    "Emoji",
    "",
    "$serde_json::private::Number",
];

/// Texts that mean something somewhere.
const TEXTS: [&str; 12] =
    ["", " ", "a", "12", "-0", "1e3", "inf", "fwd:fwd:x", "https://example.com/a", "\u{fffd}", "👍", "null"];

/// Numbers of every kind that JSON has.
const NUMBERS: [&str; 12] = [
    "0",
    "-0.0",
    "1",
    "2147483648",
    "9007199254740993",
    "9223372036854775808",
    "123456789012345678901234567890",
    "1e400",
    "1.5e-400",
    "128077",
    "55357",
    "0.1",
];

/// How deep what is made may nest.
const LEVELS_MAX: usize = 40;

/// Bytes as choices; when they run out, each choice is the first.
#[derive(Debug)]
pub struct Choices<'a>(&'a [u8]);

impl<'a> Choices<'a> {
    /// The choices of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[usize::from(self.byte()) % of.len()]
    }

    /// A type, and a document that may be one of it.
    pub fn content(&mut self) -> (String, Value) {
        let media_type = self.media_type().to_owned();
        (media_type, self.object(1))
    }

    fn media_type(&mut self) -> &'static str {
        let types = [MEDIA_TYPES.as_slice(), ODD_TYPES.as_slice()].concat();
        self.one(&types)
    }

    fn value(&mut self, level: usize) -> Value {
        match self.byte() % 12 {
            0 => Value::Null,
            1 => Value::Bool(self.byte() > 127),
            2 => self.byte().into(),
            3 => serde_json::from_str(self.one(&NUMBERS)).unwrap(),
            4 => self.one(&TEXTS).into(),
            5 | 6 => self.media_type().into(),
            7 => i64::from_le_bytes(std::array::from_fn(|_| self.byte())).into(),
            8 if level < LEVELS_MAX => {
                let count = self.byte() % 6;
                (0..count).map(|_| self.value(level + 1)).collect()
            }
            _ if level < LEVELS_MAX => self.object(level + 1),
            _ => Value::Null,
        }
    }

    fn object(&mut self, level: usize) -> Value {
        let count = self.byte() % 8;
        let member = |_| (self.one(&NAMES).to_owned(), self.value(level));
        Value::Object((0..count).map(member).collect::<Map<_, _>>())
    }
}
