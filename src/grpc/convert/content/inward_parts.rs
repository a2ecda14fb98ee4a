//! From the API to the domain: content that holds content.

use serde_json::{Map, Value};

use super::inward::Reader;
use super::value;
use crate::domain::content::{CONTAINER, is_container, same_type};
use crate::domain::{
    Carousel, CarouselOption, Collection, ContentKind, DocumentList, Earlier, Input, Menu, MenuOption,
    Reaction, Reply, is_mime,
};
use crate::grpc::pb;
use pb::content::Kind;

/// How many answers Blip takes where they go away with the next message.
const QUICK_REPLIES_MAX: usize = 11;
/// How long a question can be answered.
const SCOPES: [&str; 3] = ["transient", "persistent", "immediate"];
/// Whose an earlier message was.
const DIRECTIONS: [&str; 2] = ["sent", "received"];
/// What an answer must be.
const RULES: [&str; 5] = ["text", "number", "date", "regex", "type"];
/// The longest emoji: some are made of many characters.
const EMOJI_CHARS_MAX: usize = 32;
/// The longest id of a message, in bytes.
const MESSAGE_ID_BYTES_MAX: usize = 1_024;

impl Reader {
    /// Reads a kind that holds content; every other is read elsewhere.
    pub(super) fn parts(&mut self, kind: Kind, at: &str, media_type: &str) -> ContentKind {
        match kind {
            Kind::Menu(menu) => self.menu(menu, &format!("{at}.menu")),
            Kind::Carousel(carousel) => self.carousel(*carousel, &format!("{at}.carousel")),
            Kind::List(list) => {
                let pb::DocumentList { header, items } = *list;
                let at = format!("{at}.list");
                let header = self.maybe(header.map(|header| *header), &format!("{at}.header")).map(Box::new);
                self.at_least_one(items.len(), &format!("{at}.items"));
                let items = items.into_iter().enumerate();
                let items = items.map(|(index, item)| self.inner(item, &format!("{at}.items[{index}]"), ""));
                ContentKind::List(DocumentList { header, items: items.collect() })
            }
            Kind::Input(input) => self.input(*input, &format!("{at}.input")),
            Kind::Collection(collection) => {
                self.collection(collection, &format!("{at}.collection"), media_type)
            }
            Kind::Reply(reply) => {
                let pb::Reply { replied, in_reply_to_id, in_reply_to, direction } = *reply;
                let at = format!("{at}.reply");
                let replied = self.required(replied, &format!("{at}.replied"));
                let in_reply_to = self.earlier(&at, "in_reply_to", in_reply_to_id, in_reply_to, direction);
                ContentKind::Reply(Reply { replied, in_reply_to })
            }
            Kind::Reaction(reaction) => {
                let pb::Reaction { emoji, in_reaction_to_id, in_reaction_to, removed, direction } = *reaction;
                let at = format!("{at}.reaction");
                self.emoji(&emoji, removed, &at);
                let in_reaction_to =
                    self.earlier(&at, "in_reaction_to", in_reaction_to_id, in_reaction_to, direction);
                ContentKind::Reaction(Reaction { emoji, in_reaction_to })
            }
            Kind::Sensitive(content) => {
                let content = self.inner(*content, &format!("{at}.sensitive"), "");
                ContentKind::Sensitive(Box::new(content))
            }
            Kind::Text(_)
            | Kind::Media(_)
            | Kind::Location(_)
            | Kind::Contact(_)
            | Kind::WebLink(_)
            | Kind::Json(_) => ContentKind::default(),
        }
    }

    fn at_least_one(&mut self, count: usize, at: &str) {
        if count == 0 {
            self.fault(at, "must be at least one");
        }
    }

    /// A word that must be one of few, or empty, in the documented spelling; in a quotation as it was told.
    pub(super) fn one_of(&mut self, word: String, words: &[&str], at: String) -> String {
        match words.iter().find(|one| one.eq_ignore_ascii_case(&word)) {
            Some(one) if !self.quoting => (*one).to_owned(),
            None if !word.is_empty() => {
                self.fault(at, format!("must be one of {}, or empty", words.join(", ")));
                word
            }
            Some(_) | None => word,
        }
    }

    fn menu(&mut self, menu: pb::Menu, at: &str) -> ContentKind {
        let pb::Menu { text, options, scope } = menu;
        if text.is_empty() {
            self.fault(format!("{at}.text"), "is required");
        }
        let scope = self.one_of(scope, &SCOPES, format!("{at}.scope"));
        self.at_least_one(options.len(), &format!("{at}.options"));
        if scope.eq_ignore_ascii_case("immediate") && options.len() > QUICK_REPLIES_MAX {
            let most = format!("must be at most {QUICK_REPLIES_MAX} where scope is immediate");
            self.fault(format!("{at}.options"), most);
        }
        let options = options.into_iter().enumerate();
        let options = options.map(|(index, option)| {
            let pb::MenuOption { order, text, value } = option;
            let at = format!("{at}.options[{index}]");
            if !self.part() {
                return MenuOption::default();
            }
            if text.is_empty() {
                self.fault(format!("{at}.text"), "is required");
            }
            MenuOption { order, text, value: self.maybe(value, &format!("{at}.value")) }
        });
        ContentKind::Menu(Menu { options: options.collect(), text, scope })
    }

    fn carousel(&mut self, carousel: pb::Carousel, at: &str) -> ContentKind {
        let pb::Carousel { header, options, scope } = carousel;
        let header = self.required(header, &format!("{at}.header"));
        let scope = self.one_of(scope, &SCOPES, format!("{at}.scope"));
        let options = options.into_iter().enumerate();
        let options = options.map(|(index, option)| {
            let pb::CarouselOption { label, value, order } = option;
            let at = format!("{at}.options[{index}]");
            if !self.part() {
                return CarouselOption::default();
            }
            if label.is_none() {
                self.fault(format!("{at}.label"), "is required");
            }
            let label = self.maybe(label, &format!("{at}.label"));
            CarouselOption { label, value: self.maybe(value, &format!("{at}.value")), order }
        });
        ContentKind::Carousel(Carousel { options: options.collect(), header, scope })
    }

    fn input(&mut self, input: pb::Input, at: &str) -> ContentKind {
        let pb::Input { label, validation } = input;
        let label = self.required(label, &format!("{at}.label"));
        let at = format!("{at}.validation");
        let validation = validation.map_or_else(|| Ok(Map::new()), |rules| value::struct_of_pb(rules, &at));
        let mut validation = self.faults.take(validation);
        if let (false, Some(Value::String(rule))) = (self.quoting, validation.get_mut("rule")) {
            rule.make_ascii_lowercase(); // as all of them are documented
        }
        if !validation.is_empty() {
            let text = |name: &str| validation.get(name).and_then(Value::as_str).unwrap_or_default();
            let rule = text("rule").to_ascii_lowercase();
            if !RULES.contains(&rule.as_str()) {
                self.fault(format!("{at}.rule"), format!("must be one of {}", RULES.join(", ")));
            }
            if rule == "regex" && text("regex").is_empty() {
                self.fault(format!("{at}.regex"), "is required where rule is regex");
            }
            if rule == "type" && !is_mime(text("type")) {
                self.fault(format!("{at}.type"), "must be a MIME type where rule is type");
            }
        }
        ContentKind::Input(Input { label, validation })
    }

    fn collection(&mut self, collection: pb::Collection, at: &str, media_type: &str) -> ContentKind {
        let pb::Collection { item_media_type, items } = collection;
        let single = is_container(media_type);
        self.at_least_one(items.len(), &format!("{at}.items"));
        if single && items.len() > 1 {
            self.fault(format!("{at}.items"), "must be one in a container: leave media_type empty for more");
        }
        if single && !item_media_type.is_empty() {
            let why = "must be empty for a single container, whose item names its own type";
            self.fault(format!("{at}.item_media_type"), why);
        } else if !item_media_type.is_empty() && !is_mime(&item_media_type) {
            self.fault(format!("{at}.item_media_type"), "must be a MIME type, or empty");
        }
        let of_one_type = !item_media_type.is_empty() && !is_container(&item_media_type);
        let inherited = if of_one_type { item_media_type.as_str() } else { "" };
        let items = items.into_iter().enumerate();
        let items = items.map(|(index, item)| {
            let at = format!("{at}.items[{index}]");
            let item = self.inner(item, &at, inherited);
            if of_one_type && !same_type(&item.media_type, &item_media_type) {
                let why = "is not the collection's item_media_type: leave that empty where types differ";
                self.fault(format!("{at}.media_type"), why);
            }
            item
        });
        let items: Vec<_> = items.collect();
        let item_media_type = match items.split_first() {
            Some((first, rest)) if item_media_type.is_empty() && !single => {
                let alike = rest.iter().all(|item| same_type(&item.media_type, &first.media_type));
                if alike { first.media_type.clone() } else { CONTAINER.to_owned() }
            }
            _ => item_media_type,
        };
        ContentKind::Collection(Collection { item_media_type, items })
    }

    fn earlier(
        &mut self,
        at: &str,
        field: &str,
        id: String,
        content: Option<Box<pb::Content>>,
        direction: String,
    ) -> Earlier {
        if id.is_empty() && content.is_none() {
            self.fault(format!("{at}.{field}_id"), format!("is required, unless {field} tells the message"));
        }
        if id.len() > MESSAGE_ID_BYTES_MAX {
            self.fault(format!("{at}.{field}_id"), format!("must have at most {MESSAGE_ID_BYTES_MAX} bytes"));
        }
        let direction = self.one_of(direction, &DIRECTIONS, format!("{at}.direction"));
        let quoting = std::mem::replace(&mut self.quoting, true);
        let content = self.maybe(content.map(|content| *content), &format!("{at}.{field}")).map(Box::new);
        self.quoting = quoting;
        Earlier { id, content, direction }
    }

    fn emoji(&mut self, emoji: &str, removed: bool, at: &str) {
        let strange = |one: char| one.is_whitespace() || one.is_control();
        if removed && !emoji.is_empty() {
            self.fault(format!("{at}.removed"), "and emoji cannot both be given");
        } else if !removed && emoji.is_empty() {
            self.fault(format!("{at}.emoji"), "is required, unless removed is true");
        } else if !emoji.is_empty()
            && (emoji.is_ascii() || emoji.contains(strange) || emoji.chars().count() > EMOJI_CHARS_MAX)
        {
            self.fault(format!("{at}.emoji"), "must be one emoji");
        }
    }
}
