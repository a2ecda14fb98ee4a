//! What is asked of the directory, and what it tells.

use super::{Faults, Invalid, InvalidField, content, value};
use crate::domain::{Agent, Contact, CustomReply, Customer, CustomerCard, Team};
use crate::gateway::directory::Page;
use crate::grpc::pb;
use crate::grpc::position::CursorError;

/// The most items in a page, and as many unless asked otherwise: what Blip tells at a time.
const PAGE_MAX: usize = 100;
/// The longest identity, in characters: each of its two parts has at most 1,023.
const IDENTITY_CHARS_MAX: usize = 2 * 1_023 + 1;
/// The longest name of a category, in characters.
const CATEGORY_CHARS_MAX: usize = 256;
/// The longest link, in bytes.
const LINK_BYTES_MAX: usize = 8 * 1024;
/// What a page token begins with.
const TOKEN_VERSION: &str = "p1";

/// What a page is of; its token is of nothing else.
#[derive(Debug, Clone, Copy)]
pub(in crate::grpc) struct Of<'a> {
    /// The rpc.
    pub(in crate::grpc) method: &'static str,
    /// The bot's short name.
    pub(in crate::grpc) bot: &'a str,
    /// What is listed.
    pub(in crate::grpc) what: &'a str,
}

impl Of<'_> {
    fn check(&self, skip: usize) -> u32 {
        let Self { method, bot, what } = self;
        crc32fast::hash(format!("{method}\n{bot}\n{what}\n{skip}").as_bytes())
    }

    /// The token of the page after the first `skip` items; empty where there is none.
    pub(in crate::grpc) fn token(&self, skip: Option<usize>) -> String {
        skip.map(|skip| format!("{TOKEN_VERSION}-{skip:x}-{:08x}", self.check(skip))).unwrap_or_default()
    }

    /// How many items come before the page of a token.
    pub(in crate::grpc) fn skip(&self, token: &str) -> Result<usize, CursorError> {
        if token.is_empty() {
            return Ok(0);
        }
        let skip = token.split('-').nth(1).and_then(|skip| usize::from_str_radix(skip, 16).ok());
        skip.filter(|skip| self.token(Some(*skip)) == token).ok_or(CursorError::Malformed)
    }
}

/// How many items a page has.
pub(in crate::grpc) fn take_of(page_size: i32) -> Result<usize, Invalid> {
    match usize::try_from(page_size) {
        Ok(0) => Ok(PAGE_MAX),
        Ok(size) => Ok(size.min(PAGE_MAX)),
        Err(_) => Err(InvalidField::new("page_size", "must not be negative").into()),
    }
}

/// A page that makes sense.
pub(in crate::grpc) const fn page(skip: usize, take: usize) -> Page {
    Page { skip, take }
}

/// Reads which saved replies to list: the bot, the category, the size of the page, and its token.
pub(in crate::grpc) fn replies(
    request: pb::ListRepliesRequest,
) -> Result<(String, String, usize, String), Invalid> {
    let pb::ListRepliesRequest { bot, category, page_size, page_token } = request;
    let mut faults = Faults::default();
    if category.chars().count() > CATEGORY_CHARS_MAX {
        faults.add("category", format!("must have at most {CATEGORY_CHARS_MAX} characters"));
    }
    let take = match take_of(page_size) {
        Ok(take) => take,
        Err(Invalid::Fields(fields)) => {
            for InvalidField { field, description } in fields {
                faults.add(field, description);
            }
            0
        }
        Err(other @ Invalid::Content { .. }) => return Err(other),
    };
    faults.done((bot, category, take, page_token))
}

/// Reads who a customer is.
pub(in crate::grpc) fn customer(request: pb::GetCustomerRequest) -> Result<(String, String), Invalid> {
    let pb::GetCustomerRequest { bot, customer_identity } = request;
    let parts = customer_identity.split_once('@');
    let whole = parts
        .is_some_and(|(name, domain)| !name.is_empty() && !domain.is_empty() && !domain.starts_with('/'));
    let description = if customer_identity.is_empty() {
        "is required"
    } else if customer_identity.chars().count() > IDENTITY_CHARS_MAX {
        "is too long to be an identity"
    } else if !whole || customer_identity.chars().any(|letter| letter.is_control() || letter.is_whitespace())
    {
        "must be an identity, such as \"5531999990000@wa.gw.msging.net\""
    } else {
        return Ok((bot, customer_identity));
    };
    Err(InvalidField::new("customer_identity", description).into())
}

/// Reads a link that is to be renewed or fetched.
pub(in crate::grpc) fn link(uri: String) -> Result<String, Invalid> {
    let description = if uri.is_empty() {
        "is required".to_owned()
    } else if uri.len() > LINK_BYTES_MAX {
        format!("must have at most {LINK_BYTES_MAX} bytes")
    } else if uri.chars().any(|letter| letter.is_control() || letter.is_whitespace()) {
        "must be a link, as MediaLink.uri has it".to_owned()
    } else {
        return Ok(uri);
    };
    Err(InvalidField::new("uri", description).into())
}

/// Whether a link asks for the bot's key itself.
pub(in crate::grpc) fn asks_for_key(authorization_realm: &str) -> Result<bool, Invalid> {
    match authorization_realm.trim() {
        "" => Ok(false),
        realm if realm.eq_ignore_ascii_case("blip") => Ok(true),
        _ => Err(InvalidField::new("authorization_realm", "must be \"blip\" or left out: no other is known")
            .into()),
    }
}

/// An agent as readers see it.
pub(in crate::grpc) fn agent_to_pb(agent: Agent) -> pb::Agent {
    let Agent { identity, email, full_name, teams, status, slots, tickets_in_service } = agent;
    pb::Agent { agent_identity: identity, email, full_name, teams, status, slots, tickets_in_service }
}

/// A team as readers see it.
pub(in crate::grpc) fn team_to_pb(team: Team) -> pb::Team {
    let Team { name, agents_online } = team;
    pb::Team { name, agents_online }
}

/// A saved reply as readers see it.
pub(in crate::grpc) fn reply_to_pb(reply: CustomReply) -> pb::CustomReply {
    let CustomReply { id, category, name, content: says, dynamic } = reply;
    pb::CustomReply { id, category, name, content: says.as_ref().map(content::to_pb), dynamic }
}

/// A customer as readers see it.
pub(in crate::grpc) fn customer_to_pb(customer: Customer) -> pb::Customer {
    let Customer { identity, resolved_identity, card } = customer;
    let (contact, more) = match card {
        None => (None, None),
        Some(CustomerCard { contact, more, originator: _ }) => {
            let Contact { name, email, phone_number } = contact;
            (Some(pb::Contact { name, email, phone_number }), value::struct_to_pb(&more))
        }
    };
    pb::Customer { identity, resolved_identity, contact, more }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tests::fields;
    use super::*;

    const AGENTS: Of<'_> = Of { method: "ListAgents", bot: "suporte", what: "" };

    #[test]
    fn a_token_is_of_its_own_list() {
        let token = AGENTS.token(Some(100));
        assert_eq!(AGENTS.skip(&token), Ok(100));
        assert_eq!((AGENTS.skip(""), AGENTS.token(None)), (Ok(0), String::new()));
        for other in [
            Of { bot: "vendas", ..AGENTS },
            Of { what: "greetings", ..AGENTS },
            Of { method: "ListReplies", ..AGENTS },
        ] {
            assert_eq!(other.skip(&token), Err(CursorError::Malformed));
        }
        for bad in [
            "x",
            "p1-64",
            "p1-64-00000000",
            &token.replace("p1", "p2"),
            &format!("{token}-"),
            &token.to_uppercase(),
        ] {
            assert_eq!(AGENTS.skip(bad), Err(CursorError::Malformed), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn tokens_round_trip_and_nothing_else_is_one(skip: usize, text in ".{0,30}") {
            prop_assert_eq!(AGENTS.skip(&AGENTS.token(Some(skip))), Ok(skip));
            if let Ok(skip) = AGENTS.skip(&text) {
                prop_assert!(text.is_empty() || AGENTS.token(Some(skip)) == text);
            }
        }
    }

    #[test]
    fn bad_fields_are_named() {
        assert_eq!(fields(take_of(-1)), ["page_size"]);
        assert_eq!((take_of(0).unwrap(), take_of(7).unwrap(), take_of(1_000).unwrap()), (100, 7, 100));
        let request =
            pb::ListRepliesRequest { category: "x".repeat(257), page_size: -1, ..Default::default() };
        assert_eq!(fields(replies(request)), ["category", "page_size"]);
        for identity in ["", "ana", "@", "a@", "@b", "a@/c", "a b@c", &format!("{}@b", "a".repeat(3_000))] {
            let request =
                pb::GetCustomerRequest { customer_identity: identity.to_owned(), ..Default::default() };
            assert_eq!(fields(customer(request)), ["customer_identity"], "{identity}");
        }
        for uri in ["", "https://a b", &"x".repeat(LINK_BYTES_MAX + 1)] {
            assert_eq!(fields(link(uri.to_owned())), ["uri"]);
        }
        assert_eq!(fields(asks_for_key("other")), ["authorization_realm"]);
        assert_eq!((asks_for_key("").unwrap(), asks_for_key("Blip").unwrap()), (false, true));
    }
}
