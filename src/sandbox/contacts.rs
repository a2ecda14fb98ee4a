//! Who the customers are: contacts, as each bot knows them, and the tunnels between router and desk. Pure.
//!
//! Behind a router the desk's bot knows a customer by a tunnel identity, and the router by the real one. Each has a
//! contact of its own, and only the router's key sees the tunnel.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::commands::{Answer, Call};
use super::effects::What;
use super::lime::{Document, member};
use super::model::{Account, Desk, TUNNEL, stamp};
use super::ticket::{Customer, Refusal};

const CONTACT: &str = "application/vnd.lime.contact+json";

/// The contacts of both bots.
#[derive(Debug, Default)]
pub(crate) struct Contacts(HashMap<(Account, String), Map<String, Value>>);

impl Contacts {
    /// Makes the contacts of a new customer.
    pub(crate) fn meet(&mut self, customer: &Customer, router: &str) {
        let mut contact = Map::new();
        contact.insert("identity".to_owned(), json!(customer.identity));
        contact.insert("name".to_owned(), json!(customer.name));
        contact.insert("extras".to_owned(), json!({}));
        if let Some(originator) = &customer.originator {
            contact.insert(
                "extras".to_owned(),
                json!({ "tunnel.owner": router, "tunnel.originator": originator }),
            );
            let number = originator.split('@').next().unwrap_or_default();
            let real = json!({
                "identity": originator, "name": customer.name, "phoneNumber": number, "extras": {},
            });
            if let Value::Object(real) = real {
                self.put(Account::Router, originator, real);
            }
        }
        self.put(Account::Desk, &customer.identity, contact);
    }

    fn put(&mut self, account: Account, identity: &str, contact: Map<String, Value>) {
        self.0.insert((account, identity.to_ascii_lowercase()), contact);
    }

    fn find(&self, account: Account, identity: &str) -> Option<&Map<String, Value>> {
        self.0.get(&(account, identity.to_ascii_lowercase()))
    }

    /// Writes a contact: anew, or member by member. Extras are merged one by one.
    fn write(&mut self, account: Account, identity: &str, members: &Map<String, Value>, merge: bool) {
        let kept = if merge { self.find(account, identity).cloned().unwrap_or_default() } else { Map::new() };
        let mut contact = kept;
        for (name, value) in members {
            let extras = contact.get_mut(name).and_then(Value::as_object_mut);
            match (merge && name == "extras", extras, value.as_object()) {
                (true, Some(extras), Some(more)) => extras.extend(more.clone()),
                _ => drop(contact.insert(name.clone(), value.clone())),
            }
        }
        contact.insert("identity".to_owned(), json!(identity));
        self.put(account, identity, contact);
    }
}

impl Desk {
    /// The metadata of a customer's message: behind a router it tells who that is.
    pub(crate) fn with_tunnel(&self, identity: &str, metadata: Option<Value>) -> Option<Value> {
        let Some(originator) = self.customer(identity).and_then(|customer| customer.originator.as_ref())
        else {
            return metadata;
        };
        let mut metadata = metadata.unwrap_or_else(|| json!({}));
        if let Some(members) = metadata.as_object_mut() {
            members.entry("#tunnel.owner").or_insert_with(|| json!(self.router));
            members.entry("#tunnel.originator").or_insert_with(|| json!(originator));
        }
        Some(metadata)
    }
}

/// Carries out a command on contacts.
pub(crate) fn contacts(desk: &mut Desk, call: &Call<'_>) -> Answer {
    match (call.method(), call.path) {
        ("get", ["contacts"]) => {
            let page = call.uri.page(100)?;
            let mut mine: Vec<_> = desk.contacts.0.iter().filter(|((of, _), _)| *of == call.by).collect();
            mine.sort_by(|left, right| left.0.1.cmp(&right.0.1));
            Ok(Some(Document::page(CONTACT, mine.into_iter().map(|(_, contact)| contact), page)))
        }
        ("get", ["contacts", identity]) => {
            let contact = desk.contacts.find(call.by, identity).ok_or_else(Refusal::not_found)?;
            Ok(Some(Document::new(CONTACT, contact)))
        }
        (method @ ("set" | "merge"), ["contacts", rest @ ..]) if rest.len() < 2 => {
            let resource = &call.command.resource;
            let members = resource.as_object().ok_or_else(|| Refusal::new(22, "The document is null"))?;
            let named = rest.first().map(|&name| name.to_owned()).or_else(|| call.command.text("identity"));
            let identity = named
                .filter(|identity| identity.contains('@'))
                .ok_or_else(|| Refusal::new(25, "The contact identity is required"))?;
            if call.by == Account::Desk {
                desk.ensure_customer(&identity, None, None);
            }
            desk.contacts.write(call.by, &identity, members, method == "merge");
            let name = member(resource, "name").and_then(Value::as_str);
            if let (Account::Desk, Some(customer), Some(name)) = (call.by, desk.customer_mut(&identity), name)
            {
                name.clone_into(&mut customer.name);
            }
            desk.effects.count(call.cause(&stamp(call.now)), What::Contact);
            Ok(None)
        }
        _ => Err(Refusal::not_supported()),
    }
}

/// Tells the router who is at the other end of a tunnel.
pub(crate) fn tunnels(desk: &Desk, call: &Call<'_>) -> Answer {
    let ("get", ["tunnels", name]) = (call.method(), call.path) else {
        return Err(Refusal::not_supported());
    };
    if call.by != Account::Router {
        return Err(Refusal::not_found());
    }
    let customer = desk.customer(&format!("{name}@{TUNNEL}")).ok_or_else(Refusal::not_found)?;
    Ok(Some(Document::new(
        "application/vnd.iris.tunnel+json",
        json!({ "owner": desk.router, "originator": customer.originator, "destination": desk.bot }),
    )))
}
