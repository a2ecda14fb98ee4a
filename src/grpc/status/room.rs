//! How much an error carries: all of it has to fit what clients take of headers. What is left out is told.

use crate::grpc::convert::InvalidField;

/// The longest text that an error carries, in bytes: all of it must fit the client's limit for headers.
pub(super) const TEXT_BYTES_MAX: usize = 512;
/// Bytes that faulty fields may take together, within that limit: many clients take 8 KiB, of which base64 is a quarter.
const VIOLATIONS_BYTES_MAX: usize = 3 << 10;
/// What a faulty field takes beside its texts.
const VIOLATION_OVERHEAD_BYTES: usize = 8;
/// Metadata of how many faulty fields are not named, where not all are.
pub(super) const NOT_NAMED: &str = "fields_not_named";
/// What stands where a text was cut.
const ELLIPSIS: &str = "…";

/// As much of a text as an error carries, to the end of a word.
pub(super) fn cut(text: String) -> String {
    cut_to(text, TEXT_BYTES_MAX)
}

fn cut_to(mut text: String, bytes_max: usize) -> String {
    if text.len() > bytes_max {
        text.truncate(text.floor_char_boundary(bytes_max.saturating_sub(ELLIPSIS.len())));
        let word_end = text.rfind(char::is_whitespace).filter(|end| *end > bytes_max / 2);
        text.truncate(word_end.unwrap_or(text.len()));
        text.push_str(ELLIPSIS);
    }
    text
}

/// As many faulty fields as an error carries, and how many are left out.
pub(super) fn named(fields: Vec<InvalidField>) -> (Vec<InvalidField>, usize) {
    let count = fields.len();
    let mut room = VIOLATIONS_BYTES_MAX;
    let mut named = Vec::new();
    for InvalidField { field, description } in fields {
        let fault = InvalidField::new(cut(field), cut(description));
        let size = fault.field.len().saturating_add(fault.description.len());
        let Some(left) = room.checked_sub(size.saturating_add(VIOLATION_OVERHEAD_BYTES)) else { break };
        room = left;
        named.push(fault);
    }
    let left_out = count.saturating_sub(named.len());
    (named, left_out)
}

/// Faulty fields in one text: as many as fit, and how many more there are.
pub(super) fn sum_of(fields: &[InvalidField]) -> String {
    let more = |count: usize| format!("; and {count} more");
    let room = TEXT_BYTES_MAX.saturating_sub(more(fields.len()).len());
    let mut text = String::new();
    for (index, InvalidField { field, description }) in fields.iter().enumerate() {
        let fault = format!("{}{field}: {description}", if index == 0 { "" } else { "; " });
        let is_last = index.saturating_add(1) == fields.len();
        let room = if is_last { TEXT_BYTES_MAX } else { room };
        if index > 0 && text.len().saturating_add(fault.len()) > room {
            let left = fields.len().saturating_sub(index);
            return cut_to(text, room) + &more(left); // the first may be long in itself
        }
        text.push_str(&fault);
    }
    text
}
