//! The reading of documents that hold documents. What a part says beyond its fields stands in the whole
//! document's rest, at the part's place.

use serde_json::{Map, Value};

use super::read::{Reader, Typed, Unfit, text};
use crate::domain::content::{
    Carousel, CarouselOption, Collection, Content, ContentKind, DocumentList, Earlier, Input, LEVELS_MAX,
    MEDIA_TYPE_BYTES_MAX, Menu, MenuOption, Reaction, Reply,
};
use crate::lime::document::{self, Members, Misfit};
use crate::lime::{MediaType, canonical_id};

type Object = Map<String, Value>;

/// Reads a document of a type that holds documents; a misfit for every other type.
pub(super) fn read(reader: &mut Reader, essence: &str, object: &Object) -> Result<Typed, Unfit> {
    if reader.level >= LEVELS_MAX {
        return Err(Unfit::Misfit);
    }
    let members = Members(object);
    match essence {
        document::SELECT => menu_of(reader, members),
        document::DOCUMENT_SELECT => carousel_of(reader, members),
        document::LIST => list_of(reader, members),
        document::INPUT => input_of(reader, members),
        document::COLLECTION => collection_of(reader, members),
        document::CONTAINER => {
            let (content, rest) = container_of(reader, object)?;
            let collection = Collection { item_media_type: String::new(), items: vec![content] };
            Ok((ContentKind::Collection(collection), rest))
        }
        document::REPLY => reply_of(reader, members),
        document::REACTION => reaction_of(reader, members),
        document::SENSITIVE => {
            let (content, rest) = container_of(reader, object)?;
            Ok((ContentKind::Sensitive(Box::new(content)), rest))
        }
        _ => Err(Unfit::Misfit),
    }
}

/// The object a member is; `None` where it is absent.
fn object_in<'a>(members: Members<'a>, name: &str) -> Result<Option<&'a Object>, Misfit> {
    members.get(name).map(|value| value.as_object().ok_or(Misfit)).transpose()
}

/// The list a member must be.
fn list_in<'a>(members: Members<'a>, name: &str) -> Result<&'a [Value], Misfit> {
    members.get(name).and_then(Value::as_array).map(Vec::as_slice).ok_or(Misfit)
}

/// What a `{type, value}` holds, if it has one of the two.
fn document_in(reader: &mut Reader, members: Members<'_>) -> Result<Option<Content>, Unfit> {
    let media_type = members.text("type")?.filter(|media_type| !media_type.is_empty());
    let value = members.get("value");
    if media_type.is_none() && value.is_none() {
        return Ok(None);
    }
    let media_type = media_type.unwrap_or_default();
    if media_type.len() > MEDIA_TYPE_BYTES_MAX {
        return Err(Unfit::Misfit);
    }
    Ok(Some(reader.content(&MediaType::new(&media_type), value.unwrap_or(&Value::Null))?))
}

/// What a `{type, value}` holds, and its other members.
fn container_of(reader: &mut Reader, object: &Object) -> Result<(Content, Object), Unfit> {
    let members = Members(object);
    let content = document_in(reader, members)?.ok_or(Misfit)?;
    Ok((content, members.rest(&["type", "value"])))
}

/// What the `{type, value}` at `name` holds; its other members go to `rest`.
fn contained(
    reader: &mut Reader,
    members: Members<'_>,
    name: &str,
    rest: &mut Object,
) -> Result<Option<Content>, Unfit> {
    let Some(object) = object_in(members, name)? else { return Ok(None) };
    let (content, others) = container_of(reader, object)?;
    keep(rest, name, others);
    Ok(Some(content))
}

/// Keeps a part's other members at its place.
fn keep(rest: &mut Object, name: &str, others: Object) {
    if !others.is_empty() {
        rest.insert(name.to_owned(), Value::Object(others));
    }
}

/// Reads each object of a list, and keeps the other members of all at its place.
fn each<T>(
    list: &[Value],
    name: &str,
    rest: &mut Object,
    mut read: impl FnMut(&Object) -> Result<(T, Object), Unfit>,
) -> Result<Vec<T>, Unfit> {
    let (mut items, mut others) = (Vec::new(), Vec::new());
    for value in list {
        let (item, other) = read(value.as_object().ok_or(Misfit)?)?;
        items.push(item);
        others.push(other);
    }
    if others.iter().any(|other| !other.is_empty()) {
        rest.insert(name.to_owned(), others.into_iter().map(Value::Object).collect());
    }
    Ok(items)
}

/// The number of an option.
fn order_of(members: Members<'_>) -> Result<Option<i32>, Misfit> {
    let order = members.integer("order")?;
    order.map(|order| i32::try_from(order).or(Err(Misfit))).transpose()
}

fn menu_of(reader: &mut Reader, members: Members<'_>) -> Result<Typed, Unfit> {
    let mut rest = members.rest(&["text", "options", "scope"]);
    let options = each(list_in(members, "options")?, "options", &mut rest, |object| {
        reader.part()?;
        let option = Members(object);
        let (order, text) = (order_of(option)?, text(option, "text")?);
        let value = document_in(reader, option)?;
        Ok((MenuOption { order, text, value }, option.rest(&["order", "text", "type", "value"])))
    })?;
    let menu = Menu { text: text(members, "text")?, options, scope: text(members, "scope")? };
    Ok((ContentKind::Menu(menu), rest))
}

fn carousel_of(reader: &mut Reader, members: Members<'_>) -> Result<Typed, Unfit> {
    let mut rest = members.rest(&["header", "options", "scope"]);
    let header = contained(reader, members, "header", &mut rest)?.map(Box::new);
    let options = each(list_in(members, "options")?, "options", &mut rest, |object| {
        reader.part()?;
        let option = Members(object);
        let mut rest = option.rest(&["label", "value", "order"]);
        let label = contained(reader, option, "label", &mut rest)?;
        let value = contained(reader, option, "value", &mut rest)?;
        Ok((CarouselOption { label, value, order: order_of(option)? }, rest))
    })?;
    let carousel = Carousel { header, options, scope: text(members, "scope")? };
    Ok((ContentKind::Carousel(carousel), rest))
}

fn list_of(reader: &mut Reader, members: Members<'_>) -> Result<Typed, Unfit> {
    let mut rest = members.rest(&["header", "items"]);
    let header = contained(reader, members, "header", &mut rest)?.map(Box::new);
    let items = each(list_in(members, "items")?, "items", &mut rest, |object| container_of(reader, object))?;
    Ok((ContentKind::List(DocumentList { header, items }), rest))
}

fn input_of(reader: &mut Reader, members: Members<'_>) -> Result<Typed, Unfit> {
    let mut rest = members.rest(&["label", "validation"]);
    let label = contained(reader, members, "label", &mut rest)?.ok_or(Misfit)?;
    let validation = object_in(members, "validation")?.cloned().unwrap_or_default();
    Ok((ContentKind::Input(Input { label: Some(Box::new(label)), validation }), rest))
}

fn collection_of(reader: &mut Reader, members: Members<'_>) -> Result<Typed, Unfit> {
    let mut rest = members.rest(&["itemType", "items"]);
    let item_media_type = text(members, "itemType")?;
    if item_media_type.len() > MEDIA_TYPE_BYTES_MAX {
        return Err(Unfit::Misfit);
    }
    let list = list_in(members, "items")?;
    let item_type = MediaType::new(&item_media_type);
    let items = if item_type.essence() == document::CONTAINER {
        each(list, "items", &mut rest, |object| container_of(reader, object))?
    } else {
        let items = list.iter().map(|item| reader.content(&item_type, item));
        items.collect::<Result<Vec<_>, _>>()?
    };
    Ok((ContentKind::Collection(Collection { item_media_type, items }), rest))
}

fn reply_of(reader: &mut Reader, members: Members<'_>) -> Result<Typed, Unfit> {
    let mut rest = members.rest(&["replied", "inReplyTo"]);
    let replied = contained(reader, members, "replied", &mut rest)?.ok_or(Misfit)?;
    let in_reply_to = earlier_of(reader, members, "inReplyTo", &mut rest)?.unwrap_or_default();
    Ok((ContentKind::Reply(Reply { replied: Some(Box::new(replied)), in_reply_to }), rest))
}

fn reaction_of(reader: &mut Reader, members: Members<'_>) -> Result<Typed, Unfit> {
    let mut rest = members.rest(&["emoji", "inReactionTo"]);
    let earlier = earlier_of(reader, members, "inReactionTo", &mut rest)?;
    let emoji = object_in(members, "emoji")?;
    if earlier.is_none() && emoji.is_none() {
        return Err(Unfit::Misfit);
    }
    let emoji = match emoji.map(Members) {
        None => String::new(),
        Some(emoji) => {
            keep(&mut rest, "emoji", emoji.rest(&["values"]));
            emoji_of(emoji.get("values"))?
        }
    };
    let in_reaction_to = earlier.unwrap_or_default();
    Ok((ContentKind::Reaction(Reaction { emoji, in_reaction_to }), rest))
}

/// The earlier message at `name`; `None` where nothing is told of it.
fn earlier_of(
    reader: &mut Reader,
    members: Members<'_>,
    name: &str,
    rest: &mut Object,
) -> Result<Option<Earlier>, Unfit> {
    let Some(object) = object_in(members, name)? else { return Ok(None) };
    let earlier = Members(object);
    let id = canonical_id(&text(earlier, "id")?).to_owned();
    let content = document_in(reader, earlier)?.map(Box::new);
    keep(rest, name, earlier.rest(&["id", "type", "value", "direction"]));
    Ok(Some(Earlier { id, content, direction: text(earlier, "direction")? }))
}

/// An emoji from code points or UTF-16 units, as numbers or as texts; a unit that stands for half a character
/// is U+FFFD.
fn emoji_of(values: Option<&Value>) -> Result<String, Misfit> {
    let Some(values) = values else { return Ok(String::new()) };
    let code = |value: &Value| match value {
        Value::Number(number) => number.as_u64().and_then(|code| u32::try_from(code).ok()),
        Value::String(text) => text.trim().parse().ok(),
        Value::Null | Value::Bool(_) | Value::Array(_) | Value::Object(_) => None,
    };
    let codes = values.as_array().ok_or(Misfit)?.iter().map(code);
    let codes: Vec<u32> = codes.collect::<Option<_>>().ok_or(Misfit)?;
    let mut emoji = String::new();
    let mut rest = codes.as_slice();
    while let [first, after @ ..] = rest {
        rest = after;
        let one = match (*first, after) {
            (high @ 0xd800..=0xdbff, [low @ 0xdc00..=0xdfff, after @ ..]) => {
                rest = after;
                let bits = high.wrapping_sub(0xd800).wrapping_shl(10) | low.wrapping_sub(0xdc00);
                bits.saturating_add(0x1_0000)
            }
            (0xd800..=0xdfff, _) => 0xfffd,
            (code, _) => code,
        };
        emoji.push(char::from_u32(one).ok_or(Misfit)?);
    }
    Ok(emoji)
}
