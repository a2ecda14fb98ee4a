//! Where the page of a list ends, as callers carry it: printable, with a check and the log's id, and of use for no other
//! list.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{LogId, MalformedCursor, seal, unseal, unseal_bytes};

/// The lists that are read in pages. What they are called is part of what callers carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum List {
    /// Tickets, as the log knows them.
    Tickets,
    /// Tickets, as Blip has them: a count within one such list.
    TicketsAtBlip,
    /// A ticket's conversation, as Blip has it: a count within one such list.
    Messages,
    /// Commands.
    Commands,
    /// A group's parked events.
    Parked,
}

impl List {
    /// No cursor, and no mark of the quarantine, begins so.
    fn version(self) -> u8 {
        match self {
            Self::Tickets => 0x61,
            Self::TicketsAtBlip => 0x62,
            Self::Messages => 0x63,
            Self::Commands => 0x64,
            Self::Parked => 0x65,
        }
    }
}

/// Bits of a number that count, where the others check which list it is.
const COUNT_BITS: u32 = 32;

/// Where a page ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageMark {
    /// Of which list.
    pub list: List,
    /// Whose list.
    pub log: LogId,
    /// The store's or Blip's own number.
    pub number: u64,
}

impl PageMark {
    /// A mark behind so many items of one among the lists of its kind, which `of` names: it is of use for no other.
    pub fn within(list: List, log: LogId, of: &str, count: u64) -> Self {
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        Self { list, log, number: (check(of) << COUNT_BITS) | u64::from(count) }
    }

    /// How many items it is behind, if it is of the list that `of` names.
    pub fn count_in(self, of: &str) -> Option<u64> {
        (self.number >> COUNT_BITS == check(of)).then_some(self.number & u64::from(u32::MAX))
    }

    /// Reads a mark of `list` as [`Display`](fmt::Display) wrote it.
    pub fn parse(list: List, text: &str) -> Result<Self, MalformedCursor> {
        let (log, number) = unseal(list.version(), text)?;
        Ok(Self { list, log, number })
    }
}

fn check(of: &str) -> u64 {
    u64::from(crc32fast::hash(of.as_bytes()))
}

impl fmt::Display for PageMark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&seal(self.list.version(), self.log, self.number))
    }
}

/// Where a page of consumer groups ends: its list is by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameMark {
    /// Whose list.
    pub log: LogId,
    /// The last name.
    pub name: String,
}

/// No other mark begins so.
const NAME_VERSION: u8 = 0x66;

impl NameMark {
    /// Reads a mark as [`Display`](fmt::Display) wrote it.
    pub fn parse(text: &str) -> Result<Self, MalformedCursor> {
        let (log, name) = unseal_bytes(NAME_VERSION, text)?;
        let Ok(name) = String::from_utf8(name) else { return Err(MalformedCursor) };
        Ok(Self { log, name })
    }
}

impl fmt::Display for NameMark {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = vec![NAME_VERSION];
        bytes.extend_from_slice(&self.log.0);
        bytes.extend_from_slice(self.name.as_bytes());
        let check = crc32fast::hash(&bytes).to_be_bytes();
        bytes.extend_from_slice(&check);
        out.write_str(&URL_SAFE_NO_PAD.encode(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_comes_back_and_no_name_is_a_mark() {
        let mark = NameMark { log: LogId([7; 8]), name: "a.b_c-d".to_owned() };
        assert_eq!(NameMark::parse(&mark.to_string()), Ok(mark));
        let other = PageMark { list: List::Parked, log: LogId([7; 8]), number: 9 };
        for text in ["zz", "a.b_c-d", "", &"z".repeat(63), &other.to_string()] {
            assert_eq!(NameMark::parse(text), Err(MalformedCursor), "{text}");
        }
    }

    #[test]
    fn a_mark_is_of_its_own_list() {
        let mark = PageMark { list: List::Tickets, log: LogId([7; 8]), number: 9 };
        assert_eq!(PageMark::parse(List::Tickets, &mark.to_string()), Ok(mark));
        assert_eq!(PageMark::parse(List::Commands, &mark.to_string()), Err(MalformedCursor));
        let mark = PageMark::within(List::Messages, LogId([7; 8]), "a", 9);
        assert_eq!(PageMark::parse(List::Messages, &mark.to_string()), Ok(mark));
        assert_eq!((mark.count_in("a"), mark.count_in("b")), (Some(9), None));
    }
}
