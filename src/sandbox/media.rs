//! Files behind media links: kept in memory, under the three kinds of link Blip hands out. Pure; [`super::files`]
//! serves them.

use std::collections::HashMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use jiff::Timestamp;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::commands::{Answer, Call};
use super::ids::{Ids, digest};
use super::lime::Document;
use super::model::Desk;
use super::ticket::Refusal;

/// All files together, at most.
const BYTES_MAX: usize = 256 << 20;

/// How long a signed link is good for, unless the settings say otherwise.
pub(crate) const LINK_LIFE: Duration = Duration::from_mins(30);

/// Who may fetch a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Guard {
    /// Anybody.
    Open,
    /// Whoever has a link that has not expired.
    Signed,
    /// The bot, by its key: `authorizationRealm` is `blip`.
    Keyed,
}

/// A file, or the place for one that was promised.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) media_type: String,
    pub(crate) bytes: Option<Bytes>,
    pub(crate) guard: Guard,
}

/// Why a file is not handed out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Denied {
    /// There is none.
    Missing,
    /// The link is not one of ours, or has expired.
    Expired,
    /// The key is wanting.
    Keyless,
    /// There is no room for more.
    Full,
}

/// The files, and how to get at them.
#[derive(Debug)]
pub(crate) struct Media {
    /// Where the sandbox is reached: `http://127.0.0.1:8090`.
    pub(crate) base: String,
    /// How long signed links live.
    pub(crate) link_life: Duration,
    files: HashMap<String, File>,
    bytes: usize,
}

impl Default for Media {
    fn default() -> Self {
        Self { base: String::new(), link_life: LINK_LIFE, files: HashMap::new(), bytes: 0 }
    }
}

impl Media {
    /// Makes the place for a file, and gives its id.
    pub(crate) fn reserve(&mut self, ids: &mut Ids, guard: Guard) -> String {
        let id = ids.uuid();
        let empty = File { media_type: "application/octet-stream".to_owned(), bytes: None, guard };
        self.files.insert(id.clone(), empty);
        id
    }

    /// Puts the bytes of a file where they were promised.
    pub(crate) fn fill(&mut self, id: &str, media_type: &str, bytes: Bytes) -> Result<(), Denied> {
        let file = self.files.get_mut(id).ok_or(Denied::Missing)?;
        let before = file.bytes.as_ref().map_or(0, Bytes::len);
        let after = self.bytes.saturating_sub(before).saturating_add(bytes.len());
        if after > BYTES_MAX {
            return Err(Denied::Full);
        }
        self.bytes = after;
        media_type.clone_into(&mut file.media_type);
        file.bytes = Some(bytes);
        Ok(())
    }

    /// Where to send the bytes of a file that was promised.
    pub(crate) fn upload_link(&self, id: &str) -> String {
        format!("{}/upload/{id}?sig={}", self.base, digest(&["upload", id]))
    }

    pub(crate) fn is_upload(id: &str, signature: &str) -> bool {
        digest(&["upload", id]) == signature
    }

    /// A link to a file; a signed one is good from `now` on, for a while.
    pub(crate) fn link(&self, id: &str, now: Timestamp) -> Option<String> {
        let base = &self.base;
        Some(match self.files.get(id)?.guard {
            Guard::Open => format!("{base}/medias/Media_{id}"),
            Guard::Keyed => format!("{base}/media/download/{}", URL_SAFE_NO_PAD.encode(id)),
            Guard::Signed => {
                let end = now.saturating_add(self.link_life).unwrap_or(now);
                let (start, end) = (format!("{now:.3}"), format!("{end:.3}"));
                let encoded = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
                format!(
                    "{base}/secure-medias/Media_{id}?sv=2019-07-07&st={}&se={}&sr=b&sp=r&sig={}&secure=true",
                    encoded(&start),
                    encoded(&end),
                    digest(&[id, &end])
                )
            }
        })
    }

    /// A file anybody may have.
    pub(crate) fn open(&self, id: &str) -> Result<&File, Denied> {
        self.files.get(id).filter(|file| file.guard == Guard::Open).ok_or(Denied::Missing)
    }

    /// A file behind a link that was signed until `end`.
    pub(crate) fn signed(
        &self,
        id: &str,
        end: &str,
        signature: &str,
        now: Timestamp,
    ) -> Result<&File, Denied> {
        let file = self.files.get(id).filter(|file| file.guard == Guard::Signed).ok_or(Denied::Missing)?;
        let alive = end.parse::<Timestamp>().is_ok_and(|end| now < end);
        if alive && digest(&[id, end]) == signature { Ok(file) } else { Err(Denied::Expired) }
    }

    /// A file behind the bot's key.
    pub(crate) fn keyed(&self, token: &str, has_key: bool) -> Result<&File, Denied> {
        if !has_key {
            return Err(Denied::Keyless);
        }
        let id = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let file = id.and_then(|id| self.files.get(&id)).filter(|file| file.guard == Guard::Keyed);
        file.ok_or(Denied::Missing)
    }

    /// What there is, without the bytes.
    pub(crate) fn view(&self) -> Value {
        let mut ids: Vec<_> = self.files.iter().collect();
        ids.sort_by_key(|(id, _)| *id);
        ids.into_iter()
            .map(|(id, file)| {
                let size = file.bytes.as_ref().map(Bytes::len);
                json!({ "id": id, "type": file.media_type, "size": size, "guard": file.guard })
            })
            .collect()
    }
}

/// The id in the path of one of our links to `Media_{id}`.
fn id_in(uri: &str) -> Option<&str> {
    uri.split('?').next()?.rsplit('/').next()?.strip_prefix("Media_")
}

/// Carries out a command on media.
pub(crate) fn execute(desk: &mut Desk, call: &Call<'_>) -> Answer {
    match (call.method(), call.path) {
        ("set", ["refresh-media-uri"]) => {
            let old = call.command.resource.as_str().filter(|uri| !uri.is_empty());
            let old = old.ok_or_else(|| Refusal::new(22, "The document is null"))?;
            Ok(Some(Document::new("text/plain", refreshed(desk, old, call.now)?)))
        }
        ("get", ["upload-media-uri"]) => {
            let guard = if call.uri.flag("secure") { Guard::Signed } else { Guard::Open };
            let id = desk.media.reserve(&mut desk.ids, guard);
            Ok(Some(Document::new("text/plain", desk.media.upload_link(&id))))
        }
        _ => Err(Refusal::not_supported()),
    }
}

/// A new link to the same file; one that is not ours gets a new signature, whatever is behind it.
fn refreshed(desk: &mut Desk, old: &str, now: Timestamp) -> Result<String, Refusal> {
    if old.starts_with(&desk.media.base) {
        let link = id_in(old).and_then(|id| desk.media.link(id, now));
        return link.ok_or_else(Refusal::not_found);
    }
    let bare = old.split('?').next().unwrap_or(old);
    Ok(format!("{bare}?sig={}&secure=true", desk.ids.uuid()))
}
