//! What `Send` refuses of content, over the wire: each field at fault by its path, and nothing goes to Blip.

use deskgate::grpc::pb;
use pb::content::Kind;
use tonic::Code;
use tonic_types::StatusExt as _;

use crate::support::{World, reason_of};

fn of(kind: Kind) -> pb::Content {
    pb::Content { media_type: String::new(), kind: Some(kind), more: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_field_at_fault_is_named_and_nothing_is_sent() {
    let world = World::start().await;
    let (customer, ticket_id) = world.customer("Olá").await;
    let mut tickets = world.tickets().await;
    let mut send = async |content: pb::Content| {
        let ticket_id = ticket_id.clone();
        let request = pb::SendRequest { ticket_id, content: Some(content), ..pb::SendRequest::default() };
        tickets.send(request).await.unwrap_err()
    };
    let menu = pb::Menu { options: vec![pb::MenuOption::default()], ..pb::Menu::default() };
    let carousel = pb::Carousel { options: vec![pb::CarouselOption::default()], ..pb::Carousel::default() };
    let empty = Box::new(of(Kind::Text(String::new())));
    let reply = pb::Reply { replied: Some(empty), direction: "both".to_owned(), ..pb::Reply::default() };
    let reaction = pb::Reaction { emoji: "ok".to_owned(), ..pb::Reaction::default() };
    for (kind, paths) in [
        (Kind::Menu(menu), ["content.menu.text", "content.menu.options[0].text"].as_slice()),
        (
            Kind::Carousel(Box::new(carousel)),
            &["content.carousel.header", "content.carousel.options[0].label"],
        ),
        (Kind::Input(Box::default()), &["content.input.label"]),
        (
            Kind::Reply(Box::new(reply)),
            &["content.reply.replied.text", "content.reply.in_reply_to_id", "content.reply.direction"],
        ),
        (
            Kind::Reaction(Box::new(reaction)),
            &["content.reaction.emoji", "content.reaction.in_reaction_to_id"],
        ),
    ] {
        let status = send(of(kind)).await;
        assert_eq!((status.code(), reason_of(&status).0.as_str()), (Code::InvalidArgument, "INVALID_FIELD"));
        let details = status.get_error_details();
        let violations = &details.bad_request().unwrap().field_violations;
        let fields: Vec<_> = violations.iter().map(|violation| violation.field.as_str()).collect();
        assert_eq!(fields, paths);
        assert!(violations.iter().all(|violation| !violation.description.is_empty()));
    }
    for media_type in ["application/vnd.lime.deleted-content+json", "application/vnd.iris.ticket+json"] {
        let json = Kind::Json(prost_types::Value::from(String::new()));
        let status = send(pb::Content { media_type: media_type.to_owned(), ..of(json) }).await;
        let (reason, metadata) = reason_of(&status);
        assert_eq!((status.code(), reason.as_str()), (Code::InvalidArgument, "CONTENT_NOT_SUPPORTED"));
        assert_eq!(metadata["media_type"], media_type);
        assert!(include_str!("../../docs/ERRORS.md").contains(&format!("`{media_type}`")));
    }
    let received = &world.customers_view(&customer).await["received"];
    assert_eq!(received.as_array().map_or(0, Vec::len), 0, "{received}");
}
