//! From the API to the domain: what a caller wants to say. Every fault is named by its path.

use serde_json::{Map, Value};

use super::super::{Faults, Invalid};
use super::{field_of, value};
use crate::domain::content::{LEVELS_MAX, MEDIA_TYPE_BYTES_MAX, PARTS_MAX};
use crate::domain::{Contact, Content, ContentKind, Location, MediaLink, WebLink, is_mime, translate};
use crate::grpc::pb;
use pb::content::Kind;

/// How a link may be opened.
const TARGETS: [&str; 4] = ["blank", "self", "selfCompact", "selfTall"];

/// Reads content, noting every fault.
#[derive(Debug, Default)]
pub(super) struct Reader {
    pub(super) faults: Faults,
    /// Content inside the one being read.
    level: usize,
    parts: usize,
    /// Inside the quotation of an earlier message: it is repeated as it was told, sound or not.
    pub(super) quoting: bool,
}

impl Reader {
    /// Reads what the request has in `content`. Whether its type and kind go together is left to the caller.
    pub(super) fn outermost(&mut self, content: pb::Content) -> Content {
        self.read(content, "content", "")
    }

    /// `content`, if no fault was noted.
    pub(super) fn done(mut self, content: Content) -> Result<Content, Invalid> {
        if self.parts > PARTS_MAX {
            self.faults.add("content", format!("must have at most {PARTS_MAX} parts: send several messages"));
        }
        self.faults.done(content)
    }

    /// Notes a fault, but of a quotation.
    pub(super) fn fault(&mut self, field: impl Into<String>, description: impl Into<String>) {
        if !self.quoting {
            self.faults.add(field, description);
        }
    }

    /// Counts a part; `false` where there are too many to go on.
    pub(super) fn part(&mut self) -> bool {
        self.parts = self.parts.saturating_add(1);
        self.parts <= PARTS_MAX
    }

    /// Reads content inside content. `inherited` is the type it has if it names none.
    pub(super) fn inner(&mut self, content: pb::Content, at: &str, inherited: &str) -> Content {
        if !self.part() {
            return Content::default();
        }
        let content = self.read(content, at, inherited);
        if let Err(description) = content.kind.check_media_type(&content.media_type)
            && !content.media_type.is_empty()
        {
            self.fault(format!("{at}.media_type"), description);
        }
        content
    }

    /// Reads content inside content, if there is any.
    pub(super) fn maybe(&mut self, content: Option<pb::Content>, at: &str) -> Option<Content> {
        content.map(|content| self.inner(content, at, ""))
    }

    /// Reads content inside content that has to be there.
    pub(super) fn required(&mut self, content: Option<Box<pb::Content>>, at: &str) -> Option<Box<Content>> {
        if content.is_none() {
            self.fault(at, "is required");
        }
        self.maybe(content.map(|content| *content), at).map(Box::new)
    }

    fn read(&mut self, content: pb::Content, at: &str, inherited: &str) -> Content {
        let pb::Content { media_type, kind, more } = content;
        if media_type.len() > MEDIA_TYPE_BYTES_MAX {
            let most = format!("must have at most {MEDIA_TYPE_BYTES_MAX} bytes");
            self.faults.add(format!("{at}.media_type"), most);
        }
        let media_type = if media_type.trim().is_empty() { inherited.to_owned() } else { media_type };
        let more_at = format!("{at}.more");
        let more = more.map_or_else(|| Ok(Map::new()), |more| value::struct_of_pb(more, &more_at));
        let more = self.faults.take(more);
        self.level = self.level.saturating_add(1);
        let is_json = matches!(kind, Some(Kind::Json(_)));
        let kind = self.kind(kind, at, &media_type, &more);
        self.level = self.level.saturating_sub(1);
        if media_type.is_empty() && is_json {
            self.fault(format!("{at}.media_type"), "is required with json");
        }
        let media_type = if media_type.is_empty() { kind.media_type().to_owned() } else { media_type };
        self.joined(Content { media_type, kind, more: Map::new() }, more, &more_at)
    }

    /// Adds `more` to content, at its places.
    fn joined(&mut self, mut content: Content, more: Map<String, Value>, at: &str) -> Content {
        if more.is_empty() {
            return content;
        }
        let mut document = translate::content_document(&content);
        if let Some(path) = translate::clash(&document, &more) {
            let field = field_of(&content.kind);
            self.faults.add(format!("{at}.{path}"), format!("is told by {field} already: leave it out"));
            return content;
        }
        if let ContentKind::Json(json) = &mut content.kind {
            if !document.is_object() {
                self.faults.add(at, "can only be added to a JSON object");
            }
            translate::add(&mut document, &more);
            *json = document;
        } else if let ContentKind::Text(_) = content.kind {
            self.faults.add(at, "plain text has no members: leave it out, or use json");
        } else {
            content.more = more;
        }
        content
    }

    fn kind(
        &mut self,
        kind: Option<Kind>,
        at: &str,
        media_type: &str,
        more: &Map<String, Value>,
    ) -> ContentKind {
        match kind {
            None => {
                let kinds = "text, media, location, contact, web_link, menu, carousel, list, input, collection, \
                             reply, reaction, sensitive, json";
                self.faults.add(format!("{at}.kind"), format!("is required: set one of {kinds}"));
                ContentKind::default()
            }
            Some(Kind::Text(text)) => {
                if text.is_empty() {
                    self.fault(format!("{at}.text"), "must not be empty");
                }
                ContentKind::Text(text)
            }
            Some(Kind::Media(media)) => self.media(media, &format!("{at}.media")),
            Some(Kind::Location(place)) => self.location(place, &format!("{at}.location")),
            Some(Kind::Contact(contact)) => {
                let pb::Contact { name, email, phone_number } = contact;
                let contact = Contact { name, email, phone_number };
                if contact == Contact::default() && more.is_empty() {
                    self.fault(format!("{at}.contact"), "is empty: give name, email or phone_number");
                }
                ContentKind::Contact(contact)
            }
            Some(Kind::WebLink(link)) => self.web_link(link, &format!("{at}.web_link")),
            Some(Kind::Json(json)) => {
                ContentKind::Json(self.faults.take(value::of_pb(json, &format!("{at}.json"))))
            }
            Some(_) if self.level >= LEVELS_MAX => {
                self.faults.add(at, format!("is more than {LEVELS_MAX} deep: use json"));
                ContentKind::default()
            }
            Some(parts) => self.parts(parts, at, media_type),
        }
    }

    fn web_link(&mut self, link: pb::WebLink, at: &str) -> ContentKind {
        let pb::WebLink { uri, title, text, preview_uri, target } = link;
        if uri.trim().is_empty() {
            self.fault(format!("{at}.uri"), "is required");
        } else if !is_absolute(&uri) {
            self.fault(format!("{at}.uri"), "must be a whole URL, such as \"https://example.com/\"");
        }
        if !preview_uri.is_empty() && !is_absolute(&preview_uri) {
            self.fault(format!("{at}.preview_uri"), "must be a whole URL, or empty");
        }
        let target = self.one_of(target, &TARGETS, format!("{at}.target"));
        ContentKind::WebLink(WebLink { uri, title, text, preview_uri, target })
    }

    fn media(&mut self, media: pb::MediaLink, at: &str) -> ContentKind {
        let pb::MediaLink {
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
        if uri.trim().is_empty() {
            self.fault(format!("{at}.uri"), "is required: a link that Blip can fetch");
        } else if !is_absolute(&uri) {
            self.fault(format!("{at}.uri"), "must be a whole URL, such as \"https://example.com/a.jpg\"");
        }
        if mime_type.trim().is_empty() {
            self.fault(format!("{at}.mime_type"), "is required, such as \"image/jpeg\"");
        } else if !is_mime(&mime_type) {
            self.fault(format!("{at}.mime_type"), "must be a MIME type, such as \"image/jpeg\"");
        }
        if size_bytes < 0 {
            self.fault(format!("{at}.size_bytes"), "must not be negative; 0 means not known");
        }
        ContentKind::Media(MediaLink {
            uri,
            mime_type,
            title,
            text,
            size_bytes,
            preview_uri,
            preview_mime_type,
            aspect_ratio,
            authorization_realm,
        })
    }

    fn location(&mut self, place: pb::Location, at: &str) -> ContentKind {
        let pb::Location { latitude, longitude, altitude, text } = place;
        let mut degrees = |name: &str, value: f64, most: f64| {
            if !(-most..=most).contains(&value) {
                self.fault(format!("{at}.{name}"), format!("must be from -{most} to {most}"));
            }
        };
        degrees("latitude", latitude, 90.0);
        degrees("longitude", longitude, 180.0);
        if altitude.is_some_and(|meters| !meters.is_finite()) {
            self.fault(format!("{at}.altitude"), "must be a finite number");
        }
        ContentKind::Location(Location { latitude, longitude, altitude, text })
    }
}

/// Whether a text is `scheme:…`, in one piece.
fn is_absolute(uri: &str) -> bool {
    let is_scheme = |scheme: &str| {
        scheme.starts_with(|letter: char| letter.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
    };
    let in_one_piece = !uri.contains(|letter: char| letter.is_whitespace() || letter.is_control());
    in_one_piece && uri.split_once(':').is_some_and(|(scheme, rest)| is_scheme(scheme) && !rest.is_empty())
}
