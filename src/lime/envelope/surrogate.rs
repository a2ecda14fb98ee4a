//! Halves of surrogate pairs in JSON: the grammar lets a text have one alone, and UTF-8 cannot say it.

/// How long `\uXXXX` is.
const ESCAPE_BYTES: usize = 6;

/// The same JSON with every lone half as `\ufffd`; `None` if there is none.
pub(super) fn mended(json: &[u8]) -> Option<Vec<u8>> {
    let mut mended = Vec::new();
    let (mut rest, mut found) = (json, false);
    while let Some(at) = rest.iter().position(|byte| *byte == b'\\') {
        let (before, escape) = rest.split_at(at);
        mended.extend_from_slice(before);
        let kept = match unit(escape) {
            Some(0xd800..=0xdbff)
                if matches!(escape.get(ESCAPE_BYTES..).and_then(unit), Some(0xdc00..=0xdfff)) =>
            {
                ESCAPE_BYTES.saturating_mul(2)
            }
            Some(0xd800..=0xdfff) => {
                found = true;
                mended.extend_from_slice(b"\\ufffd");
                rest = escape.get(ESCAPE_BYTES..).unwrap_or_default();
                continue;
            }
            Some(_) => ESCAPE_BYTES,
            // The byte behind a backslash is its own, though it be another backslash.
            None => escape.len().min(2),
        };
        let (escape, after) = escape.split_at(kept);
        mended.extend_from_slice(escape);
        rest = after;
    }
    mended.extend_from_slice(rest);
    found.then_some(mended)
}

/// The code unit of the `\uXXXX` that `json` begins with.
fn unit(json: &[u8]) -> Option<u16> {
    let digits = json.strip_prefix(b"\\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok().filter(|digits| !digits.starts_with('+'))?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    #[test]
    fn only_lone_halves_change() {
        for (json, expected) in [
            (r#""\ud83d""#, Some(r#""\ufffd""#)),
            (r#""\uDE00a""#, Some(r#""\ufffda""#)),
            (r#""\ud83d\ud83d\ude00""#, Some(r#""\ufffd\ud83d\ude00""#)),
            (r#""\ud83d\n\ude00""#, Some(r#""\ufffd\n\ufffd""#)),
            (r#""\\\ud83d""#, Some(r#""\\\ufffd""#)),
            (r#""\ud83d\\""#, Some(r#""\ufffd\\""#)),
            (r#""\\ud83d""#, None),
            (r#""\ud83d\ude00""#, None),
            (r#""\u+d83""#, None),
            (r#""\ud8"#, None),
            ("\\", None),
        ] {
            assert_eq!(mended(json.as_bytes()).as_deref(), expected.map(str::as_bytes), "{json}");
        }
    }

    proptest! {
        /// Whatever units a text is made of: it can be read, and as UTF-16 is read where that is lossy.
        #[test]
        fn every_text_of_escapes_can_be_read(units in proptest::collection::vec(
            prop_oneof![0xd7fe_u16..0xe002, Just(0x5c), Just(0x22), Just(0x61)], 0..12,
        )) {
            let escapes: Vec<_> = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let json = format!("\"{}\"", escapes.concat()).into_bytes();
            let read: Value = serde_json::from_slice(&mended(&json).unwrap_or(json)).unwrap();
            prop_assert_eq!(read, String::from_utf16_lossy(&units));
        }
    }
}
