//! The types of documents that tests choose among.

/// Types with a form of their own, and a few that are kept as JSON.
pub const MEDIA_TYPES: [&str; 16] = [
    "text/plain",
    "application/json",
    "application/vnd.lime.media-link+json",
    "application/vnd.lime.location+json",
    "application/vnd.lime.contact+json",
    "application/vnd.lime.web-link+json",
    "application/vnd.lime.select+json",
    "application/vnd.lime.document-select+json",
    "application/vnd.lime.list+json",
    "application/vnd.lime.input+json",
    "application/vnd.lime.collection+json",
    "application/vnd.lime.container+json",
    "application/vnd.lime.reply+json",
    "application/vnd.lime.reaction+json",
    "application/vnd.lime.sensitive+json",
    "application/vnd.lime.identity",
];
