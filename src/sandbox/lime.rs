//! Just enough of the LIME protocol to stand in for its server: commands, their URIs, their responses. Pure.

use serde::Serialize;
use serde_json::{Value, json};

use super::shapes;
use super::ticket::Refusal;

/// MIME type of a collection.
pub(crate) const COLLECTION: &str = "application/vnd.lime.collection+json";

/// A command request that is well formed, whatever it asks.
#[derive(Clone, Debug)]
pub(crate) struct Command {
    pub(crate) id: String,
    pub(crate) to: String,
    pub(crate) method: String,
    pub(crate) uri: String,
    pub(crate) resource: Value,
}

impl Command {
    /// Reads an envelope; the error says what makes it malformed.
    pub(crate) fn read(envelope: &Value) -> Result<Self, &'static str> {
        let text = |name: &str| member(envelope, name).and_then(Value::as_str).map(str::to_owned);
        if member(envelope, "status").is_some() {
            return Err("a command request has no status");
        }
        Ok(Self {
            id: text("id").filter(|id| !id.is_empty()).ok_or("a command needs an id")?,
            to: text("to").unwrap_or_else(|| "postmaster@msging.net".to_owned()),
            method: text("method").map(|word| word.to_ascii_lowercase()).ok_or("a command needs a method")?,
            uri: text("uri").filter(|uri| !uri.is_empty()).ok_or("a command needs a uri")?,
            resource: member(envelope, "resource").cloned().unwrap_or(Value::Null),
        })
    }

    /// A text member of the resource, without case; empty counts as absent.
    pub(crate) fn text(&self, name: &str) -> Option<String> {
        let text = member(&self.resource, name).and_then(Value::as_str)?;
        (!text.is_empty()).then(|| text.to_owned())
    }

    /// The resource's list of texts of this name.
    pub(crate) fn texts(&self, name: &str) -> Option<Vec<String>> {
        let items = member(&self.resource, name)?.as_array()?;
        Some(items.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }
}

/// A member of a JSON object, whose names LIME reads without case.
pub(crate) fn member<'a>(object: &'a Value, name: &str) -> Option<&'a Value> {
    let object = object.as_object()?;
    let found = object.get(name);
    found.or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

/// A command's URI, taken apart and decoded once.
#[derive(Clone, Debug)]
pub(crate) struct Uri {
    pub(crate) path: Vec<String>,
    query: Vec<(String, String)>,
}

impl Uri {
    pub(crate) fn parse(text: &str) -> Self {
        let relative = match text.split_once("://") {
            Some((_, rest)) => rest.split_once('/').map_or("", |(_, path)| path),
            None => text,
        };
        let (path, query) = relative.split_once('?').unwrap_or((relative, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        Self {
            path: path.split('/').filter(|segment| !segment.is_empty()).map(decode).collect(),
            query: pairs
                .map(|pair| pair.split_once('=').unwrap_or((pair, "")))
                .map(|(name, value)| (decode(name), decode(value)))
                .collect(),
        }
    }

    /// A query parameter; `$take` and `take` are the same.
    pub(crate) fn param(&self, name: &str) -> Option<&str> {
        let found = self.query.iter().find(|(key, _)| key.trim_start_matches('$').eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.as_str())
    }

    pub(crate) fn flag(&self, name: &str) -> bool {
        self.param(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// The page asked for: `$skip` and `$take`.
    pub(crate) fn page(&self, take_default: usize) -> Result<(usize, usize), Refusal> {
        let number = |name: &str, default: usize| match self.param(name) {
            None => Ok(default),
            Some(text) => text
                .parse::<usize>()
                .map_err(|error| Refusal::new(64, format!("The {name} parameter is invalid: {error}"))),
        };
        let (skip, take) = (number("skip", 0)?, number("take", take_default)?);
        if take > 100 { Err(Refusal::take_too_large()) } else { Ok((skip, take)) }
    }
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned()
}

/// What a command brought: nothing but success, or a document.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(crate) media_type: String,
    pub(crate) resource: Value,
}

impl Document {
    pub(crate) fn new(media_type: &str, resource: impl Serialize) -> Self {
        Self { media_type: media_type.to_owned(), resource: json!(resource) }
    }

    /// A page of a list; `total` counts the whole list, and is left out when there is nothing.
    pub(crate) fn page<T: Serialize>(
        item_type: &str,
        items: impl IntoIterator<Item = T>,
        (skip, take): (usize, usize),
    ) -> Self {
        let all: Vec<T> = items.into_iter().collect();
        let total = all.len();
        let page: Vec<T> = all.into_iter().skip(skip).take(take).collect();
        let resource = Page { total: (total > 0).then_some(total), item_type, items: page };
        Self::new(COLLECTION, resource)
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a, T> {
    #[serde(skip_serializing_if = "Option::is_none")]
    total: Option<usize>,
    item_type: &'a str,
    items: Vec<T>,
}

/// A command response, in the documented order of members.
#[derive(Serialize)]
struct Response<'a> {
    #[serde(rename = "type", skip_serializing_if = "Option::is_none")]
    media_type: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a Value>,
    method: &'a str,
    status: &'a str,
    id: &'a str,
    from: String,
    to: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a Refusal>,
    metadata: Value,
}

/// Writes the response to a command of this bot; odd, if so wanted.
pub(crate) fn response(
    command: &Command,
    bot: &str,
    result: &Result<Option<Document>, Refusal>,
    odd: bool,
) -> Vec<u8> {
    let document = result.as_ref().ok().and_then(Option::as_ref);
    let strange = document.filter(|_| odd).map(|document| {
        let mut document = document.clone();
        shapes::make_odd(&mut document.resource);
        document
    });
    let document = strange.as_ref().or(document);
    let relative = command.uri.starts_with('/');
    let uri = if relative { format!("lime://{bot}{}", command.uri) } else { command.uri.clone() };
    let response = Response {
        media_type: document.map(|document| document.media_type.as_str()),
        resource: document.map(|document| &document.resource),
        method: &command.method,
        status: if result.is_ok() { "success" } else { "failure" },
        id: &command.id,
        from: format!("{}/#az-iris2", command.to.split('/').next().unwrap_or_default()),
        to: bot,
        reason: result.as_ref().err(),
        metadata: json!({ "#command.uri": uri }),
    };
    serde_json::to_vec(&response).unwrap_or_default()
}
