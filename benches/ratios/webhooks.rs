//! The webhooks we post: what Blip sends for a customer's message and for a new ticket, each message with an id
//! of its own, spread over two thousand tickets. Requests are formatted once and patched in place, so that the
//! load generator takes as little of the machine as it can.

use std::io::Write;

use anyhow::{Context, Result};

/// How many tickets the messages belong to.
pub(crate) const TICKETS: u64 = 2_000;

/// The bot, in URLs and configuration.
pub(crate) const BOT: &str = "bench";

/// What admits our webhooks.
pub(crate) const TOKEN: &str = "bench-2f6c1d0a9be84c55";

/// Stands before the sixteen digits that make a message's id its own.
pub(crate) const MARK: &[u8] = b"wamid.BENCH";

const MESSAGE: &str = include_str!("data/message.json");
const TICKET: &str = include_str!("data/ticket.json");

/// The part of the samples' ticket id that stays, and the part that tells tickets apart.
const TICKET_ID_HEAD: &[u8] = b"76f5bc38-b476-4895-a0c6-";
const TICKET_ID_TAIL: usize = 12;
const MESSAGE_ID_TAIL: usize = 16;

/// A request, or its body alone, that becomes another message by changing a few digits.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    bytes: Vec<u8>,
    id: std::ops::Range<usize>,
    ticket: std::ops::Range<usize>,
}

impl Message {
    /// Whole HTTP/1.1 requests.
    pub(crate) fn requests() -> Result<Self> {
        Self::patching(request(MESSAGE.trim_end()))
    }

    /// Bodies alone.
    pub(crate) fn bodies() -> Result<Self> {
        Self::patching(MESSAGE.trim_end().as_bytes().to_vec())
    }

    fn patching(bytes: Vec<u8>) -> Result<Self> {
        let id = after(&bytes, MARK).context("the sample has no marked id")?;
        let ticket = after(&bytes, TICKET_ID_HEAD).context("the sample has no ticket")?;
        Ok(Self { bytes, id: id..id + MESSAGE_ID_TAIL, ticket: ticket..ticket + TICKET_ID_TAIL })
    }

    /// The `number`th message.
    pub(crate) fn number(&mut self, number: u64) -> &[u8] {
        patch(self.bytes.get_mut(self.id.clone()), number);
        patch(self.bytes.get_mut(self.ticket.clone()), number % TICKETS);
        &self.bytes
    }
}

/// The body that tells of the `number`th ticket.
pub(crate) fn ticket_body(number: u64) -> String {
    let Some((head, _)) = TICKET.split_once("016ed1288ba0") else { return TICKET.to_owned() };
    debug_assert!(head.ends_with("76f5bc38-b476-4895-a0c6-"));
    TICKET.trim_end().replace("016ed1288ba0", &format!("{number:012x}"))
}

/// The `number`th ticket's id.
pub(crate) fn ticket_id(number: u64) -> String {
    format!("76f5bc38-b476-4895-a0c6-{number:012x}")
}

/// A whole request that carries `body`.
pub(crate) fn request(body: &str) -> Vec<u8> {
    format!(
        "POST /webhooks/{BOT} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Key {TOKEN}\r\n\
         Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

/// The number of the message whose id stands in `bytes`, and what follows it.
pub(crate) fn find_number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let rest = bytes.get(after(bytes, MARK)?..)?;
    let (digits, rest) = rest.split_at_checked(MESSAGE_ID_TAIL)?;
    let number = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    Some((number, rest))
}

fn after(bytes: &[u8], mark: &[u8]) -> Option<usize> {
    Some(bytes.windows(mark.len()).position(|window| window == mark)? + mark.len())
}

/// Writes `number` in as many hexadecimal digits as there is room for.
fn patch(place: Option<&mut [u8]>, number: u64) {
    let Some(mut place) = place else { return };
    let width = place.len();
    let written = write!(place, "{number:0width$x}");
    debug_assert!(written.is_ok(), "a number has too many digits");
}
