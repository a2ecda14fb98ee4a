//! Who works at a desk, and for whom, as far as Blip tells. Pure.

use serde_json::{Map, Value};

use super::content::{Contact, Content};

/// Somebody who attends customers. Empty texts and zeros are what was not told, as everywhere below.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Agent {
    /// Blip's identity.
    pub identity: String,
    /// The e-mail address.
    pub email: String,
    /// The name.
    pub full_name: String,
    /// The teams, by name.
    pub teams: Vec<String>,
    /// In Blip's words.
    pub status: String,
    /// How many tickets it may have at a time.
    pub slots: i32,
    /// How many it has.
    pub tickets_in_service: i32,
}

/// A queue of tickets.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Team {
    /// Its name.
    pub name: String,
    /// How many of its agents are online.
    pub agents_online: i32,
}

/// A saved reply, or a category of them, which has no content.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CustomReply {
    /// Its id.
    pub id: String,
    /// The category, as people read it.
    pub category: String,
    /// Its name.
    pub name: String,
    /// What it says.
    pub content: Option<Content>,
    /// It holds places that Blip fills in.
    pub dynamic: bool,
}

/// A customer's contact.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct CustomerCard {
    /// What has a place in a card.
    pub contact: Contact,
    /// The other members.
    pub more: Map<String, Value>,
    /// Who is behind a router's tunnel, where the contact says so.
    pub originator: String,
}

/// What is known of a customer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Customer {
    /// The identity asked for.
    pub identity: String,
    /// The customer's own.
    pub resolved_identity: String,
    /// The contact.
    pub card: Option<CustomerCard>,
}
