//! From the domain to the stored form, borrowing.

use std::borrow::Cow;

use super::super::write::text;
use super::{Foreign, Members, Real, V1CarouselOption, V1Content, V1ContentKind, V1Earlier, V1MenuOption};
use crate::domain::{
    Carousel, CarouselOption, Collection, Contact, Content, ContentKind, DocumentList, Earlier, Input,
    Location, MediaLink, Menu, MenuOption, Reaction, Reply, WebLink,
};

fn boxed(from: Option<&Content>) -> Option<Box<V1Content<'_>>> {
    from.map(|content| Box::new(content.into()))
}

fn all<'a, From, To: std::convert::From<&'a From>>(from: &'a [From]) -> Vec<To> {
    from.iter().map(To::from).collect()
}

impl<'a> From<&'a Content> for V1Content<'a> {
    fn from(content: &'a Content) -> Self {
        let Content { media_type, kind, more } = content;
        Self { media_type: text(media_type), is: kind.into(), more: Members(Cow::Borrowed(more)) }
    }
}

impl<'a> From<&'a ContentKind> for V1ContentKind<'a> {
    fn from(kind: &'a ContentKind) -> Self {
        match kind {
            ContentKind::Text(said) => Self::Text(text(said)),
            ContentKind::Media(MediaLink {
                uri,
                mime_type,
                title,
                text: caption,
                size_bytes,
                preview_uri,
                preview_mime_type,
                aspect_ratio,
                authorization_realm,
            }) => Self::Media {
                uri: text(uri),
                mime_type: text(mime_type),
                title: text(title),
                text: text(caption),
                size_bytes: *size_bytes,
                preview_uri: text(preview_uri),
                preview_mime_type: text(preview_mime_type),
                aspect_ratio: text(aspect_ratio),
                authorization_realm: text(authorization_realm),
            },
            ContentKind::Contact(Contact { name, email, phone_number }) => {
                Self::Contact { name: text(name), email: text(email), phone_number: text(phone_number) }
            }
            ContentKind::WebLink(WebLink { uri, title, text: caption, preview_uri, target }) => {
                Self::WebLink {
                    uri: text(uri),
                    title: text(title),
                    text: text(caption),
                    preview_uri: text(preview_uri),
                    target: text(target),
                }
            }
            ContentKind::Location(Location { latitude, longitude, altitude, text: name }) => Self::Location {
                latitude: Real(*latitude),
                longitude: Real(*longitude),
                altitude: altitude.map(Real),
                text: text(name),
            },
            ContentKind::Menu(Menu { text: question, options, scope }) => {
                Self::Menu { text: text(question), options: all(options), scope: text(scope) }
            }
            ContentKind::Carousel(Carousel { header, options, scope }) => {
                Self::Carousel { header: boxed(header.as_deref()), options: all(options), scope: text(scope) }
            }
            ContentKind::List(DocumentList { header, items }) => {
                Self::List { header: boxed(header.as_deref()), items: all(items) }
            }
            ContentKind::Input(Input { label, validation }) => {
                Self::Input { label: boxed(label.as_deref()), validation: Members(Cow::Borrowed(validation)) }
            }
            ContentKind::Collection(Collection { item_media_type, items }) => {
                Self::Collection { item_media_type: text(item_media_type), items: all(items) }
            }
            ContentKind::Reply(Reply { replied, in_reply_to }) => {
                Self::Reply { replied: boxed(replied.as_deref()), to: in_reply_to.into() }
            }
            ContentKind::Reaction(Reaction { emoji, in_reaction_to }) => {
                Self::Reaction { emoji: text(emoji), to: in_reaction_to.into() }
            }
            ContentKind::Sensitive(content) => Self::Sensitive(Box::new((&**content).into())),
            ContentKind::Json(json) => Self::Json(Foreign(Cow::Borrowed(json))),
        }
    }
}

impl<'a> From<&'a MenuOption> for V1MenuOption<'a> {
    fn from(option: &'a MenuOption) -> Self {
        let MenuOption { order, text: says, value } = option;
        Self { order: *order, text: text(says), value: value.as_ref().map(V1Content::from) }
    }
}

impl<'a> From<&'a CarouselOption> for V1CarouselOption<'a> {
    fn from(option: &'a CarouselOption) -> Self {
        let CarouselOption { label, value, order } = option;
        let content = |of: &'a Option<Content>| of.as_ref().map(V1Content::from);
        Self { label: content(label), value: content(value), order: *order }
    }
}

impl<'a> From<&'a Earlier> for V1Earlier<'a> {
    fn from(earlier: &'a Earlier) -> Self {
        let Earlier { id, content, direction } = earlier;
        Self { id: text(id), content: boxed(content.as_deref()), direction: text(direction) }
    }
}
