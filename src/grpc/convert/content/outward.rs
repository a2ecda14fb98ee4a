//! From the domain to the API. Cannot fail.

use super::value;
use crate::domain::content::LEVELS_MAX;
use crate::domain::{
    Carousel, CarouselOption, Collection, Contact, Content, ContentKind, DocumentList, Input, Location,
    MediaLink, Menu, MenuOption, Reaction, Reply, WebLink, translate,
};
use crate::grpc::pb;
use pb::content::Kind;

/// Content at a level, 1 for the outermost. Beyond the deepest it is JSON.
pub(super) fn to_pb(content: &Content, level: usize) -> pb::Content {
    let Content { media_type, kind, more } = content;
    let inner = level.saturating_add(1);
    let at = |content: &Content| to_pb(content, inner);
    let maybe = |content: &Option<Box<Content>>| content.as_deref().map(|content| Box::new(at(content)));
    let kind = match kind {
        ContentKind::Text(text) => Kind::Text(text.clone()),
        ContentKind::Media(media) => Kind::Media(media_to_pb(media)),
        ContentKind::Location(place) => Kind::Location(location_to_pb(place)),
        ContentKind::Contact(Contact { name, email, phone_number }) => Kind::Contact(pb::Contact {
            name: name.clone(),
            email: email.clone(),
            phone_number: phone_number.clone(),
        }),
        ContentKind::WebLink(link) => Kind::WebLink(web_link_to_pb(link)),
        ContentKind::Json(json) => Kind::Json(value::to_pb(json)),
        ContentKind::Menu(_)
        | ContentKind::Carousel(_)
        | ContentKind::List(_)
        | ContentKind::Input(_)
        | ContentKind::Collection(_)
        | ContentKind::Reply(_)
        | ContentKind::Reaction(_)
        | ContentKind::Sensitive(_)
            if level >= LEVELS_MAX =>
        {
            return as_json(content);
        }
        ContentKind::Menu(Menu { text, options, scope }) => Kind::Menu(pb::Menu {
            text: text.clone(),
            options: options.iter().map(|option| menu_option_to_pb(option, inner)).collect(),
            scope: scope.clone(),
        }),
        ContentKind::Carousel(Carousel { header, options, scope }) => {
            Kind::Carousel(Box::new(pb::Carousel {
                header: maybe(header),
                options: options.iter().map(|option| carousel_option_to_pb(option, inner)).collect(),
                scope: scope.clone(),
            }))
        }
        ContentKind::List(DocumentList { header, items }) => Kind::List(Box::new(pb::DocumentList {
            header: maybe(header),
            items: items.iter().map(at).collect(),
        })),
        ContentKind::Input(Input { label, validation }) => Kind::Input(Box::new(pb::Input {
            label: maybe(label),
            validation: value::struct_to_pb(validation),
        })),
        ContentKind::Collection(Collection { item_media_type, items }) => Kind::Collection(pb::Collection {
            item_media_type: item_media_type.clone(),
            items: items.iter().map(at).collect(),
        }),
        ContentKind::Reply(Reply { replied, in_reply_to }) => Kind::Reply(Box::new(pb::Reply {
            replied: maybe(replied),
            in_reply_to_id: in_reply_to.id.clone(),
            in_reply_to: maybe(&in_reply_to.content),
            direction: in_reply_to.direction.clone(),
        })),
        ContentKind::Reaction(Reaction { emoji, in_reaction_to }) => Kind::Reaction(Box::new(pb::Reaction {
            emoji: emoji.clone(),
            in_reaction_to_id: in_reaction_to.id.clone(),
            in_reaction_to: maybe(&in_reaction_to.content),
            removed: emoji.is_empty(),
            direction: in_reaction_to.direction.clone(),
        })),
        ContentKind::Sensitive(content) => Kind::Sensitive(Box::new(at(content))),
    };
    pb::Content { media_type: media_type.clone(), kind: Some(kind), more: value::struct_to_pb(more) }
}

/// Content as the JSON it came as.
pub(super) fn as_json(content: &Content) -> pb::Content {
    let json = value::to_pb(&translate::content_document(content));
    pb::Content { media_type: content.media_type.clone(), kind: Some(Kind::Json(json)), more: None }
}

fn menu_option_to_pb(option: &MenuOption, level: usize) -> pb::MenuOption {
    let MenuOption { order, text, value } = option;
    let value = value.as_ref().map(|content| to_pb(content, level));
    pb::MenuOption { order: *order, text: text.clone(), value }
}

fn carousel_option_to_pb(option: &CarouselOption, level: usize) -> pb::CarouselOption {
    let CarouselOption { label, value, order } = option;
    let maybe = |content: &Option<Content>| content.as_ref().map(|content| to_pb(content, level));
    pb::CarouselOption { label: maybe(label), value: maybe(value), order: *order }
}

fn web_link_to_pb(link: &WebLink) -> pb::WebLink {
    let WebLink { uri, title, text, preview_uri, target } = link.clone();
    pb::WebLink { uri, title, text, preview_uri, target }
}

fn media_to_pb(media: &MediaLink) -> pb::MediaLink {
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
    } = media.clone();
    pb::MediaLink {
        uri,
        mime_type,
        title,
        text,
        size_bytes,
        preview_uri,
        preview_mime_type,
        aspect_ratio,
        authorization_realm,
    }
}

fn location_to_pb(place: &Location) -> pb::Location {
    let Location { latitude, longitude, altitude, text } = place.clone();
    pb::Location { latitude, longitude, altitude, text }
}
