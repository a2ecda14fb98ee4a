//! From a typed reading to the document that Blip documents.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::domain::content::{
    Carousel, CarouselOption, Collection, Contact, Content, ContentKind, DocumentList, Earlier, Input,
    Location, MediaLink, Menu, MenuOption, Reaction, Reply, WebLink, is_container,
};
use crate::lime::document;

/// Content as LIME's `content` member, in the documented form.
pub fn content_document(content: &Content) -> Value {
    let Content { media_type, kind, more } = content;
    let object = match kind {
        ContentKind::Text(text) => return text.as_str().into(),
        ContentKind::Json(value) => return value.clone(),
        ContentKind::Media(media) => media_document(media),
        ContentKind::Location(place) => location_document(place),
        ContentKind::Contact(contact) => contact_document(contact),
        ContentKind::WebLink(link) => web_link_document(link),
        ContentKind::Menu(menu) => menu_document(menu),
        ContentKind::Carousel(carousel) => carousel_document(carousel),
        ContentKind::List(list) => list_document(list),
        ContentKind::Input(input) => input_document(input),
        ContentKind::Collection(collection) => collection_document(media_type, collection),
        ContentKind::Reply(Reply { replied, in_reply_to }) => {
            let mut object = Object::default();
            object.document("replied", replied.as_deref());
            object.earlier("inReplyTo", in_reply_to);
            object
        }
        ContentKind::Reaction(Reaction { emoji, in_reaction_to }) => {
            let mut object = Object::default();
            if !emoji.is_empty() {
                let values = emoji.chars().map(|one| Value::from(u32::from(one))).collect();
                object.put("emoji", Value::Object(Map::from_iter([("values".to_owned(), values)])));
            }
            object.earlier("inReactionTo", in_reaction_to);
            object
        }
        ContentKind::Sensitive(content) => container(content),
    };
    let mut document = Value::Object(object.0);
    add(&mut document, more);
    document
}

/// Adds members that have no field to a document, at their places; what is there already stays.
pub fn add(document: &mut Value, more: &Map<String, Value>) {
    let Value::Object(object) = document else { return };
    for (name, value) in more {
        match object.get_mut(name) {
            Some(there) => add_value(there, value),
            None => _ = object.insert(name.clone(), value.clone()),
        }
    }
}

fn add_value(there: &mut Value, more: &Value) {
    match (there, more) {
        (there @ Value::Object(_), Value::Object(members)) => add(there, members),
        (Value::Array(items), Value::Array(others)) => {
            items.iter_mut().zip(others).for_each(|(item, other)| add_value(item, other));
        }
        _ => {}
    }
}

/// The first member that [`add`] would have to leave out, by its path: a document tells it already. So it does under a name
/// in other letters, small or capital: whoever reads it does not tell these apart (R§1.2).
pub fn clash(document: &Value, more: &Map<String, Value>) -> Option<String> {
    let object = document.as_object()?;
    let told: BTreeSet<_> = object.keys().map(|name| name.to_ascii_lowercase()).collect();
    more.iter().find_map(|(name, value)| match object.get(name) {
        Some(there) => clash_at(there, value, name),
        None => told.contains(&name.to_ascii_lowercase()).then(|| name.clone()),
    })
}

fn clash_at(there: &Value, more: &Value, at: &str) -> Option<String> {
    match (there, more) {
        (Value::Object(_), Value::Object(members)) => {
            clash(there, members).map(|path| format!("{at}.{path}"))
        }
        (Value::Array(items), Value::Array(others)) if others.len() <= items.len() => {
            let mut pairs = items.iter().zip(others).enumerate();
            pairs.find_map(|(index, (item, other))| clash_at(item, other, &format!("{at}[{index}]")))
        }
        _ => Some(at.to_owned()),
    }
}

/// An object in the making: what is empty is left out.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    fn texts<const N: usize>(&mut self, texts: [(&str, &String); N]) {
        for (name, text) in texts {
            if !text.is_empty() {
                self.put(name, text.as_str().into());
            }
        }
    }

    fn order(&mut self, order: Option<i32>) {
        if let Some(order) = order {
            self.put("order", order.into());
        }
    }

    /// A document with its type, as `{type, value}`.
    fn document(&mut self, name: &str, content: Option<&Content>) {
        if let Some(content) = content {
            self.put(name, Value::Object(container(content).0));
        }
    }

    /// A document and its type, as members of this object.
    fn contents(&mut self, content: Option<&Content>) {
        if let Some(content) = content {
            self.texts([("type", &content.media_type)]);
            let value = content_document(content);
            if !value.is_null() {
                self.put("value", value);
            }
        }
    }

    fn earlier(&mut self, name: &str, earlier: &Earlier) {
        let Earlier { id, content, direction } = earlier;
        let mut object = Self::default();
        object.texts([("id", id), ("direction", direction)]);
        object.contents(content.as_deref());
        self.put(name, Value::Object(object.0));
    }
}

fn container(content: &Content) -> Object {
    let mut object = Object::default();
    object.contents(Some(content));
    object
}

/// A whole number is written as one: `12`, not `12.0`.
fn number(double: f64) -> Value {
    document::whole(double).map_or_else(|| double.into(), Value::from)
}

fn media_document(media: &MediaLink) -> Object {
    let MediaLink {
        uri,
        mime_type,
        title,
        text,
        size_bytes,
        preview_uri,
        preview_mime_type,
        aspect_ratio,
        authorization_realm,
    } = media;
    let mut object = Object::default();
    object.texts([
        ("uri", uri),
        ("type", mime_type),
        ("title", title),
        ("text", text),
        ("previewUri", preview_uri),
        ("previewType", preview_mime_type),
        ("aspectRatio", aspect_ratio),
        ("authorizationRealm", authorization_realm),
    ]);
    if *size_bytes > 0 {
        object.put("size", (*size_bytes).into());
    }
    object
}

fn location_document(place: &Location) -> Object {
    let Location { latitude, longitude, altitude, text } = place;
    let mut object = Object::default();
    object.put("latitude", number(*latitude));
    object.put("longitude", number(*longitude));
    if let Some(altitude) = altitude {
        object.put("altitude", number(*altitude));
    }
    object.texts([("text", text)]);
    object
}

fn contact_document(contact: &Contact) -> Object {
    let Contact { name, email, phone_number } = contact;
    let mut object = Object::default();
    object.texts([("name", name), ("email", email), ("phoneNumber", phone_number)]);
    object
}

fn web_link_document(link: &WebLink) -> Object {
    let WebLink { uri, title, text, preview_uri, target } = link;
    let mut object = Object::default();
    object.texts([
        ("uri", uri),
        ("title", title),
        ("text", text),
        ("previewUri", preview_uri),
        ("target", target),
    ]);
    object
}

fn menu_document(menu: &Menu) -> Object {
    let Menu { text, options, scope } = menu;
    let option = |option: &MenuOption| {
        let MenuOption { order, text, value } = option;
        let mut object = Object::default();
        object.order(*order);
        object.texts([("text", text)]);
        object.contents(value.as_ref());
        Value::Object(object.0)
    };
    let mut object = Object::default();
    object.texts([("text", text), ("scope", scope)]);
    object.put("options", options.iter().map(option).collect());
    object
}

fn carousel_document(carousel: &Carousel) -> Object {
    let Carousel { header, options, scope } = carousel;
    let option = |option: &CarouselOption| {
        let CarouselOption { label, value, order } = option;
        let mut object = Object::default();
        object.order(*order);
        object.document("label", label.as_ref());
        object.document("value", value.as_ref());
        Value::Object(object.0)
    };
    let mut object = Object::default();
    object.texts([("scope", scope)]);
    object.document("header", header.as_deref());
    object.put("options", options.iter().map(option).collect());
    object
}

fn list_document(list: &DocumentList) -> Object {
    let DocumentList { header, items } = list;
    let mut object = Object::default();
    object.document("header", header.as_deref());
    object.put("items", items.iter().map(|item| Value::Object(container(item).0)).collect());
    object
}

fn input_document(input: &Input) -> Object {
    let Input { label, validation } = input;
    let mut object = Object::default();
    object.document("label", label.as_deref());
    if !validation.is_empty() {
        object.put("validation", Value::Object(validation.clone()));
    }
    object
}

/// A collection; a single container is the one it holds, with its type.
fn collection_document(media_type: &str, collection: &Collection) -> Object {
    let Collection { item_media_type, items } = collection;
    if is_container(media_type) {
        return items.first().map(container).unwrap_or_default();
    }
    let with_types = is_container(item_media_type);
    let item = |item: &Content| {
        if with_types { Value::Object(container(item).0) } else { content_document(item) }
    };
    let mut object = Object::default();
    object.texts([("itemType", item_media_type)]);
    object.put("items", items.iter().map(item).collect());
    object
}
