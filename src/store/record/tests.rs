//! Round trips: whatever the domain can hold comes back as it was.

use std::sync::Arc;

use proptest::collection::{btree_map, vec};
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;
use crate::domain::content::LEVELS_MAX as CONTENT_LEVELS_MAX;
use crate::domain::{
    Carousel, CarouselOption, Collection, Contact, Content, ContentKind, DocumentList, Earlier, Fact, Fault,
    Flags, Input, Location, MediaLink, Menu, MenuOption, MessageStatus, NewEvent, Origin, Outcome, Payload,
    Reaction, Reply, Returned, SettledAs, Successor, TicketStatus, WebLink,
};

fn json_value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..3).prop_map(Value::Array),
            btree_map(prop_oneof![4 => "[a-z#$. ]{0,4}", 1 => secret()], inner, 0..3)
                .prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

/// The name by which the JSON parser tells itself of numbers.
fn secret() -> impl Strategy<Value = String> {
    Just("$serde_json::private::Number".to_owned())
}

fn members() -> impl Strategy<Value = Map<String, Value>> {
    btree_map(prop_oneof![4 => any::<String>(), 1 => secret()], json_value(), 0..3)
        .prop_map(|members| members.into_iter().collect())
}

fn date() -> impl Strategy<Value = Option<Timestamp>> {
    let nanoseconds = -1_000_000_000_000_000_000_i128..4_000_000_000_000_000_000_i128;
    option::of(nanoseconds.prop_map(|at| Timestamp::from_nanosecond(at).unwrap()))
}

fn content() -> impl Strategy<Value = Content> {
    let media = (any::<[String; 8]>(), any::<i64>()).prop_map(|(texts, size_bytes)| {
        let [uri, mime_type, title, text, preview_uri, preview_mime_type, aspect_ratio, authorization_realm] =
            texts;
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
    });
    let place = (any::<[f64; 2]>(), any::<Option<f64>>(), any::<String>()).prop_map(
        |([latitude, longitude], altitude, text)| {
            ContentKind::Location(Location { latitude, longitude, altitude, text })
        },
    );
    let card = any::<[String; 3]>()
        .prop_map(|[name, email, phone_number]| ContentKind::Contact(Contact { name, email, phone_number }));
    let link = any::<[String; 5]>().prop_map(|[uri, title, text, preview_uri, target]| {
        ContentKind::WebLink(WebLink { uri, title, text, preview_uri, target })
    });
    let leaf = prop_oneof![
        any::<String>().prop_map(ContentKind::Text),
        media,
        place,
        card,
        link,
        json_value().prop_map(ContentKind::Json),
    ];
    typed(leaf).prop_recursive(3, 8, 3, |inner| typed(holding(inner)))
}

fn typed(kind: impl Strategy<Value = ContentKind>) -> impl Strategy<Value = Content> {
    (any::<String>(), kind, members()).prop_map(|(media_type, kind, more)| Content { media_type, kind, more })
}

fn successor() -> impl Strategy<Value = Option<Successor>> {
    let successor = any::<[String; 3]>().prop_map(|texts| {
        let [ticket_id, team, agent_identity] = texts;
        Successor { ticket_id, team, agent_identity }
    });
    option::of(successor)
}

/// Every kind that holds content.
fn holding(inner: impl Strategy<Value = Content> + Clone + 'static) -> impl Strategy<Value = ContentKind> {
    let text = any::<String>;
    let maybe = option::of(inner.clone());
    let boxed = maybe.clone().prop_map(|content| content.map(Box::new));
    let list = vec(inner.clone(), 0..3);
    let earlier = (text(), boxed.clone(), text()).prop_map(|(id, content, direction)| Earlier {
        id,
        content,
        direction,
    });
    let answer = (any::<Option<i32>>(), text(), maybe.clone()).prop_map(|(order, text, value)| MenuOption {
        order,
        text,
        value,
    });
    let button = (maybe.clone(), maybe, any::<Option<i32>>())
        .prop_map(|(label, value, order)| CarouselOption { label, value, order });
    prop_oneof![
        (text(), vec(answer, 0..3), text()).prop_map(|(text, options, scope)| ContentKind::Menu(Menu {
            text,
            options,
            scope
        })),
        (boxed.clone(), vec(button, 0..3), text()).prop_map(|(header, options, scope)| {
            ContentKind::Carousel(Carousel { header, options, scope })
        }),
        (boxed.clone(), list.clone())
            .prop_map(|(header, items)| ContentKind::List(DocumentList { header, items })),
        (boxed.clone(), members())
            .prop_map(|(label, validation)| ContentKind::Input(Input { label, validation })),
        (text(), list).prop_map(|(item_media_type, items)| {
            ContentKind::Collection(Collection { item_media_type, items })
        }),
        (boxed, earlier.clone())
            .prop_map(|(replied, in_reply_to)| ContentKind::Reply(Reply { replied, in_reply_to })),
        (text(), earlier).prop_map(|(emoji, in_reaction_to)| {
            ContentKind::Reaction(Reaction { emoji, in_reaction_to })
        }),
        inner.prop_map(|content| ContentKind::Sensitive(Box::new(content))),
    ]
}

fn ticket() -> impl Strategy<Value = Ticket> {
    let words = TicketStatus::WORDS.map(|(status, _)| status);
    let status = prop_oneof![
        proptest::sample::select(words.to_vec()),
        Just(TicketStatus::Unspecified),
        Just(TicketStatus::Unrecognized)
    ];
    let parts = (
        (status, any::<[String; 12]>(), any::<[Option<i64>; 2]>(), any::<Option<i32>>(), successor()),
        (
            vec(any::<String>(), 0..3),
            option::of(content()),
            [date(), date(), date(), date(), date()],
            members(),
        ),
    );
    parts.prop_map(|((status, texts, numbers, priority, successor), (tags, customer_input, dates, more))| {
        let [id, blip_status, sequential_suffix, customer_identity, customer_domain, rest @ ..] = texts;
        let [
            routing_customer_identity,
            agent_identity,
            team,
            closed_by,
            parent_ticket_id,
            external_id,
            tunnel_customer_identity,
        ] = rest;
        let (
            [sequential_id, parent_sequential_id],
            [create_time, open_time, close_time, status_time, command_time],
        ) = (numbers, dates);
        Ticket {
            id,
            status,
            blip_status,
            sequential_id,
            sequential_suffix,
            customer_identity,
            customer_domain,
            routing_customer_identity,
            tunnel_customer_identity,
            agent_identity,
            team,
            priority,
            tags,
            untagged: false,
            closed_by,
            parent_sequential_id,
            parent_ticket_id,
            successor,
            external_id,
            customer_input,
            create_time,
            open_time,
            close_time,
            status_time,
            command_time,
            more,
        }
    })
}

fn status() -> impl Strategy<Value = MessageStatus> {
    proptest::sample::select(vec![
        MessageStatus::Accepted,
        MessageStatus::Dispatched,
        MessageStatus::Received,
        MessageStatus::Consumed,
        MessageStatus::Failed,
        MessageStatus::Unrecognized,
    ])
}

fn settled_as() -> impl Strategy<Value = SettledAs> {
    proptest::sample::select(vec![SettledAs::Succeeded, SettledAs::Failed, SettledAs::Unknown])
}

fn payload() -> impl Strategy<Value = Payload> {
    let text = any::<String>;
    prop_oneof![
        ticket().prop_map(Payload::TicketCreated),
        ticket().prop_map(Payload::TicketAssigned),
        ticket().prop_map(Payload::TicketTransferred),
        ticket().prop_map(Payload::TicketClosed),
        (ticket(), vec(text(), 0..3))
            .prop_map(|(ticket, changed_fields)| Payload::TicketUpdated { ticket, changed_fields }),
        (text(), content(), btree_map(text(), text(), 0..3)).prop_map(|(message_id, content, metadata)| {
            Payload::CustomerMessage { message_id, content, metadata: metadata.into() }
        }),
        (text(), content(), text(), text()).prop_map(|(message_id, content, agent_identity, command_id)| {
            Payload::AgentMessage { message_id, content, agent_identity, command_id }
        }),
        (text(), status(), any::<i64>(), text(), text()).prop_map(
            |(message_id, status, reason_code, reason_description, blip_status)| {
                Payload::MessageStatusChanged {
                    message_id,
                    status,
                    reason_code,
                    reason_description,
                    blip_status,
                }
            }
        ),
        text().prop_map(|message_id| Payload::MessageDeleted { message_id }),
        text().prop_map(|state| Payload::CustomerTyping { state }),
        content().prop_map(Payload::TicketContext),
        (any::<[String; 4]>(), settled_as()).prop_map(|(texts, end)| {
            let [command_id, method, error_reason, request_id] = texts;
            Payload::CommandSettled { command_id, method, end, error_reason, request_id }
        }),
        (text(), text(), members()).prop_map(|(reason, description, details)| Payload::GatewayAlert {
            reason,
            description,
            details
        }),
        (text(), json_value()).prop_map(|(media_type, json)| Payload::Unknown { media_type, json }),
    ]
}

fn event() -> impl Strategy<Value = Event> {
    let origin = proptest::sample::select(vec![
        Origin::Webhook,
        Origin::Command,
        Origin::Reconciliation,
        Origin::Gateway,
    ]);
    let parts = (any::<u128>(), any::<[String; 8]>(), any::<u64>(), origin, any::<[bool; 4]>());
    (parts, date(), date(), payload()).prop_map(
        |((id, texts, ticket_sequence, origin, flags), receive_time, event_time, payload)| {
            let [bot, ticket_id, blip_id, traceparent, customer_identity, rest @ ..] = texts;
            let [resolved_customer_identity, team, agent_identity] = rest;
            let [order_uncertain, ticket_unknown, after_close, synthetic_id] = flags;
            Event {
                id: Uuid::from_u128(id),
                bot: Arc::from(bot),
                ticket_id,
                ticket_sequence,
                origin,
                receive_time: receive_time.unwrap_or_default(),
                event_time,
                blip_id,
                flags: Flags { order_uncertain, ticket_unknown, after_close, synthetic_id },
                traceparent,
                customer_identity,
                resolved_customer_identity,
                team,
                agent_identity,
                payload,
            }
        },
    )
}

fn end() -> impl Strategy<Value = End> {
    let fault = (any::<[String; 2]>(), vec(any::<(String, String)>(), 0..3), any::<bool>()).prop_map(
        |([reason, message], metadata, frees_request_id)| Fault {
            reason,
            message,
            metadata,
            frees_request_id,
        },
    );
    let outcome = prop_oneof![
        Just(Outcome::Done),
        Just(Outcome::AlreadyClosed),
        fault.clone().prop_map(Outcome::Failed),
        fault.prop_map(Outcome::Unknown),
    ];
    let returned = prop_oneof![
        any::<String>().prop_map(Returned::Ticket),
        (any::<String>(), json_value())
            .prop_map(|(media_type, json)| Returned::Document { media_type, json }),
    ];
    (outcome, any::<u32>(), proptest::option::of(returned)).prop_map(|(outcome, attempts, returned)| End {
        outcome,
        attempts,
        returned,
    })
}

fn unknown(json: Value) -> Event {
    Event {
        id: Uuid::nil(),
        bot: Arc::from("suporte"),
        ticket_id: String::new(),
        ticket_sequence: 0,
        origin: Origin::Webhook,
        receive_time: Timestamp::UNIX_EPOCH,
        event_time: None,
        blip_id: String::new(),
        flags: Flags::default(),
        traceparent: String::new(),
        customer_identity: String::new(),
        resolved_customer_identity: String::new(),
        team: String::new(),
        agent_identity: String::new(),
        payload: Payload::Unknown { media_type: String::new(), json },
    }
}

fn there_and_back(event: &Event) -> Event {
    let mut record = Vec::new();
    encode_event(event, &mut record).unwrap();
    decode_event(VERSION, &record, &[]).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn events_round_trip(event in event()) {
        prop_assert_eq!(there_and_back(&event), event);
    }

    /// What was written in two parts is what would have been written at once.
    #[test]
    fn a_prepared_record_is_the_same(event in event()) {
        let new = NewEvent {
            bot: Arc::clone(&event.bot),
            ticket_id: (!event.ticket_id.is_empty()).then(|| event.ticket_id.clone()),
            dedup: None,
            origin: event.origin,
            event_time: event.event_time,
            blip_id: if event.flags.synthetic_id { String::new() } else { event.blip_id.clone() },
            traceparent: event.traceparent.clone(),
            resolved_customer_identity: String::new(),
            order_uncertain: false,
            fact: Fact::Told(event.payload.clone()),
            raw: bytes::Bytes::new(),
        };
        let prepared = prepare(&new).unwrap().unwrap();
        let mut record = Vec::new();
        encode_prepared(&event, &prepared, &mut record).unwrap();
        prop_assert_eq!(decode_event(VERSION, &record, &[]).unwrap(), event);
    }

    #[test]
    fn tickets_round_trip(ticket in ticket()) {
        prop_assert_eq!(decode_ticket(VERSION, &encode_ticket(&ticket).unwrap()).unwrap(), ticket);
    }

    #[test]
    fn ends_round_trip(end in end()) {
        prop_assert_eq!(decode_end(VERSION, &encode_end(&end).unwrap()).unwrap(), end);
    }

    #[test]
    fn any_bytes_are_read_without_panic(version: u8, bytes: Vec<u8>) {
        let _ = decode_event(version, &bytes, &bytes);
        let _ = decode_ticket(version, &bytes);
        let _ = decode_end(version, &bytes);
    }

    #[test]
    fn a_flipped_bit_changes_the_check(seq: u64, record: Vec<u8>, raw: Vec<u8>, at: usize, bit in 0_u8..8) {
        let check = checksum(VERSION, Seq(seq), &record, &raw);
        let mut changed = record.clone();
        prop_assume!(!record.is_empty());
        let at = at % record.len();
        changed[at] ^= 1 << bit;
        prop_assert_ne!(checksum(VERSION, Seq(seq), &changed, &raw), check);
        prop_assert_ne!(checksum(VERSION, Seq(seq ^ 1), &record, &raw), check);
    }
}

#[test]
fn json_as_deep_as_a_body_may_be_comes_back() {
    for levels in [60, 64, 65, 100, 126] {
        let body = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let deep: Value = serde_json::from_str(&body).unwrap();
        let event = unknown(json!({ "x": deep }));
        assert_eq!(there_and_back(&event), event, "{levels} levels");
    }
}

/// The form that takes the most levels, in the event that takes the most.
#[test]
fn content_as_deep_as_a_reading_may_be_comes_back() {
    let body = format!("{}{}", "[".repeat(120), "]".repeat(120));
    let deep: Value = serde_json::from_str(&body).unwrap();
    let innermost = Content { kind: ContentKind::Json(deep.clone()), ..Content::default() };
    let content = (1..CONTENT_LEVELS_MAX).fold(innermost, |inner, _| {
        let option = CarouselOption { value: Some(inner), ..CarouselOption::default() };
        let more = Map::from_iter([("more".to_owned(), deep.clone())]);
        let carousel = Carousel { options: vec![option], ..Carousel::default() };
        Content { kind: ContentKind::Carousel(carousel), more, ..Content::default() }
    });
    let ticket = Ticket { customer_input: Some(content), ..Ticket::default() };
    let payload = Payload::TicketUpdated { ticket, changed_fields: vec![] };
    let event = Event { payload, ..unknown(Value::Null) };
    assert_eq!(there_and_back(&event), event);
}

#[test]
fn json_that_looks_like_our_own_escape_comes_back() {
    let event = unknown(json!({ AS_TEXT: "[1]" }));
    assert_eq!(there_and_back(&event), event);
}

#[test]
fn numbers_that_json_lacks_come_back() {
    for number in [f64::INFINITY, f64::NEG_INFINITY, -0.0, 5e-324, 0.1 + 0.2] {
        let place = Location { latitude: number, ..Location::default() };
        let content = Content { kind: ContentKind::Location(place), ..Content::default() };
        let event = Event { payload: Payload::TicketContext(content), ..unknown(Value::Null) };
        assert_eq!(there_and_back(&event), event);
    }
}

#[test]
fn a_later_version_is_refused_by_name() {
    assert!(matches!(decode_event(VERSION + 1, b"{}", &[]), Err(DecodeError::Version(3))));
}

/// Released: these texts must be readable for ever.
#[test]
fn versions_1_and_2_stay_as_they_were() {
    let content = Content {
        media_type: "text/plain".to_owned(),
        kind: ContentKind::Text("Olá".to_owned()),
        more: Map::new(),
    };
    let event = Event {
        ticket_id: "t1".to_owned(),
        ticket_sequence: 3,
        blip_id: "m1".to_owned(),
        flags: Flags { after_close: true, ..Flags::default() },
        payload: Payload::CustomerMessage {
            message_id: "m1".to_owned(),
            content,
            metadata: [("k".to_owned(), "v".to_owned())].into_iter().collect(),
        },
        ..unknown(Value::Null)
    };
    let record = concat!(
        r#"{"id":"00000000-0000-0000-0000-000000000000","bot":"suporte","ticket":"t1","ticket_sequence":3,"#,
        r#""origin":"webhook","received":"1970-01-01T00:00:00Z","blip_id":"m1","flags":{"after_close":true},"#,
        r#""what":{"message.customer":{"message_id":"m1","content":{"media_type":"text/plain","#,
        r#""is":{"text":"Olá"}},"metadata":{"k":"v"}}}}"#
    );
    let mut written = Vec::new();
    encode_event(&event, &mut written).unwrap();
    assert_eq!(String::from_utf8(written).unwrap(), record);
    assert_eq!(decode_event(1, record.as_bytes(), &[]).unwrap(), event);

    let beside = record.replace(r#""metadata":{"k":"v"}"#, r#""metadata_at":[5,14]"#);
    assert_eq!(decode_event(2, beside.as_bytes(), br#"{"m":{"k":"v"}}"#).unwrap(), event);
    for raw in [&b"{\"m\":{}}"[..], b"", b"{\"m\": {\"k\":\"v\"}}"] {
        assert!(decode_event(2, beside.as_bytes(), raw).is_err());
    }
}
