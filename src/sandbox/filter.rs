//! The part of Blip's OData-like `$filter` that clients use: comparisons, `substringof`, `and`, `or`, brackets. Pure.
//!
//! Members match without case; so do texts. What it cannot do fails as Blip fails: by naming the operation.

use std::cmp::Ordering;

use super::ticket::{Refusal, Status, Ticket};

/// Brackets within brackets, at most.
const DEPTH_MAX: usize = 32;

/// A condition on a ticket's members.
#[derive(Clone, Debug)]
pub(crate) enum Filter {
    Any(Vec<Filter>),
    All(Vec<Filter>),
    Compare { member: String, test: Test, value: String },
    Contains { member: String, part: String },
}

/// A comparison.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Test {
    Eq,
    Ne,
    Gt,
    Ge,
    Lt,
    Le,
}

impl Filter {
    /// Reads a filter, already percent-decoded.
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let refuse = || Refusal::new(61, format!("Unable to perform operation '{text}'"));
        let tokens = tokens(text).ok_or_else(refuse)?;
        let mut parser = Parser { tokens: &tokens };
        let filter = parser.any(0).ok_or_else(refuse)?;
        if !parser.tokens.is_empty() || !filter.is_possible() {
            return Err(refuse());
        }
        Ok(filter)
    }

    /// Whether the ticket meets the condition.
    pub(crate) fn accepts(&self, ticket: &Ticket) -> bool {
        match self {
            Self::Any(filters) => filters.iter().any(|filter| filter.accepts(ticket)),
            Self::All(filters) => filters.iter().all(|filter| filter.accepts(ticket)),
            Self::Contains { member, part } => {
                ticket.member(member).is_some_and(|text| text.to_lowercase().contains(&part.to_lowercase()))
            }
            Self::Compare { member, test, value } => {
                let order = ticket.member(member).map(|text| compare(&text, value));
                match test {
                    Test::Eq => order == Some(Ordering::Equal),
                    Test::Ne => order != Some(Ordering::Equal),
                    Test::Gt => order == Some(Ordering::Greater),
                    Test::Ge => order.is_some_and(Ordering::is_ge),
                    Test::Lt => order == Some(Ordering::Less),
                    Test::Le => order.is_some_and(Ordering::is_le),
                }
            }
        }
    }

    /// Whether it says anything of this member.
    pub(crate) fn mentions(&self, name: &str) -> bool {
        match self {
            Self::Any(filters) | Self::All(filters) => filters.iter().any(|filter| filter.mentions(name)),
            Self::Compare { member, .. } | Self::Contains { member, .. } => member.eq_ignore_ascii_case(name),
        }
    }

    /// A member that no ticket has, and a status that does not exist, can be compared with nothing.
    fn is_possible(&self) -> bool {
        let known = |name: &String| Ticket::MEMBERS.iter().any(|member| member.eq_ignore_ascii_case(name));
        match self {
            Self::Any(filters) | Self::All(filters) => filters.iter().all(Self::is_possible),
            Self::Compare { member, value, .. } => {
                known(member) && (!member.eq_ignore_ascii_case("status") || Status::parse(value).is_some())
            }
            Self::Contains { member, .. } => known(member),
        }
    }
}

fn compare(left: &str, right: &str) -> Ordering {
    if let (Ok(left), Ok(right)) = (left.parse::<i64>(), right.parse::<i64>()) {
        return left.cmp(&right);
    }
    if let (Ok(left), Ok(right)) = (left.parse::<jiff::Timestamp>(), right.parse::<jiff::Timestamp>()) {
        return left.cmp(&right);
    }
    left.to_lowercase().cmp(&right.to_lowercase())
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Open,
    Close,
    Comma,
}

fn tokens(text: &str) -> Option<Vec<Token>> {
    let mut tokens = Vec::new();
    let mut rest = text.trim_start();
    while let Some(first) = rest.chars().next() {
        let token = match first {
            '(' => Token::Open,
            ')' => Token::Close,
            ',' => Token::Comma,
            '\'' => Token::Text(rest.get(1..)?.split_once('\'')?.0.to_owned()),
            _ => {
                let end = rest.find([' ', '(', ')', ',', '\'']).unwrap_or(rest.len());
                Token::Word(rest.get(..end)?.to_owned())
            }
        };
        let width = match &token {
            Token::Open | Token::Close | Token::Comma => 1,
            Token::Text(text) => text.len() + 2,
            Token::Word(word) => word.len(),
        };
        rest = rest.get(width..)?.trim_start();
        tokens.push(token);
    }
    Some(tokens)
}

struct Parser<'a> {
    tokens: &'a [Token],
}

impl Parser<'_> {
    fn any(&mut self, depth: usize) -> Option<Filter> {
        let mut filters = vec![self.all(depth)?];
        while self.take_word("or") {
            filters.push(self.all(depth)?);
        }
        Some(if filters.len() == 1 { filters.remove(0) } else { Filter::Any(filters) })
    }

    fn all(&mut self, depth: usize) -> Option<Filter> {
        let mut filters = vec![self.one(depth)?];
        while self.take_word("and") {
            filters.push(self.one(depth)?);
        }
        Some(if filters.len() == 1 { filters.remove(0) } else { Filter::All(filters) })
    }

    fn one(&mut self, depth: usize) -> Option<Filter> {
        if self.take(&Token::Open) {
            let inner = if depth < DEPTH_MAX { self.any(depth + 1)? } else { return None };
            return self.take(&Token::Close).then_some(inner);
        }
        let member = self.word()?;
        if member.eq_ignore_ascii_case("substringof") {
            return self.substring_of();
        }
        let test = match self.word()?.to_ascii_lowercase().as_str() {
            "eq" => Test::Eq,
            "ne" => Test::Ne,
            "gt" => Test::Gt,
            "ge" => Test::Ge,
            "lt" => Test::Lt,
            "le" => Test::Le,
            _ => return None,
        };
        Some(Filter::Compare { member, test, value: self.value()? })
    }

    fn substring_of(&mut self) -> Option<Filter> {
        if !self.take(&Token::Open) {
            return None;
        }
        let part = self.text()?;
        let comma = self.take(&Token::Comma);
        let member = self.word()?;
        (comma && self.take(&Token::Close)).then_some(Filter::Contains { member, part })
    }

    fn value(&mut self) -> Option<String> {
        if let Some(text) = self.text() {
            return Some(text);
        }
        let word = self.word()?;
        if word.eq_ignore_ascii_case("datetimeoffset") { self.text() } else { Some(word) }
    }

    fn take(&mut self, token: &Token) -> bool {
        match self.tokens.split_first() {
            Some((first, rest)) if first == token => {
                self.tokens = rest;
                true
            }
            _ => false,
        }
    }

    fn take_word(&mut self, word: &str) -> bool {
        let Some((Token::Word(first), rest)) = self.tokens.split_first() else { return false };
        let found = first.eq_ignore_ascii_case(word);
        if found {
            self.tokens = rest;
        }
        found
    }

    fn word(&mut self) -> Option<String> {
        let (Token::Word(word), rest) = self.tokens.split_first()? else { return None };
        self.tokens = rest;
        Some(word.clone())
    }

    fn text(&mut self) -> Option<String> {
        let (Token::Text(text), rest) = self.tokens.split_first()? else { return None };
        self.tokens = rest;
        Some(text.clone())
    }
}
