//! A customer who plays by a script, so that there is something to see at once: opens a conversation, tells a
//! story, answers when an agent speaks, and comes back some seconds after the end.

use std::time::Duration;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::ControlError;
use super::handle::{Handle, Opening, Saying};

/// How fast the play goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pace {
    /// Between two things a customer says.
    pub(crate) pause: Duration,
    /// From the end of a conversation to the next customer.
    pub(crate) next: Duration,
}

/// A pace people can follow.
const HUMAN: Pace = Pace { pause: Duration::from_millis(1_500), next: Duration::from_secs(8) };

/// The people of the story, and what opens their conversation.
const CUSTOMERS: [(&str, &str, &str); 3] = [
    ("Ana Exemplo", "Oi, preciso da segunda via da minha fatura", "Financeiro"),
    ("Bruno Teste", "Minha entrega ainda não chegou", "Suporte"),
    ("Carla Amostra", "Quero conhecer os planos", "Vendas"),
];

/// What a customer answers to an agent, one after the other.
const ANSWERS: [&str; 4] = [
    "Certo, obrigado!",
    "Meu CPF é 000.000.000-00",
    "Perfeito, era isso mesmo 😀",
    "Mais uma coisa: até quando vale?",
];

/// Plays until cancelled. Errors end the conversation, never the play.
pub async fn demo(handle: Handle, cancel: CancellationToken) {
    play(handle, cancel, HUMAN).await;
}

pub(crate) async fn play(handle: Handle, cancel: CancellationToken, pace: Pace) {
    let play = async {
        for (name, text, team) in CUSTOMERS.into_iter().cycle() {
            if let Err(error) = conversation(&handle, (name, text, team), pace).await {
                tracing::warn!(%error, "the demo's conversation broke off");
            }
            tokio::time::sleep(pace.next).await;
        }
    };
    tokio::select! {
        () = play => {}
        () = cancel.cancelled() => {}
    }
}

async fn conversation(
    handle: &Handle,
    (name, text, team): (&str, &str, &str),
    pace: Pace,
) -> Result<(), ControlError> {
    let opened = handle
        .open(Opening {
            name: Some(name.to_owned()),
            text: Some(text.to_owned()),
            team: Some(team.to_owned()),
            ..Opening::default()
        })
        .await?;
    let customer = opened.customer_identity;
    tracing::info!(ticket.id = %opened.ticket_id, delivery = opened.delivery.status, "a customer came");
    let mut changes = handle.watch();
    for (media_type, content) in story() {
        tokio::time::sleep(pace.pause).await;
        if handle.attendance(&customer).is_none() {
            return Ok(());
        }
        say(handle, &customer, media_type, content).await?;
    }
    let mut answers = ANSWERS.into_iter().cycle();
    let (mut heard, mut agent) = (0, None);
    loop {
        let Some((_, agent_now)) = handle.attendance(&customer) else { return Ok(()) };
        let heard_now = handle.received(&customer);
        let greeting = agent_now != agent && agent_now.is_some();
        if greeting || heard_now > heard {
            (agent, heard) = (agent_now, heard_now);
            tokio::time::sleep(pace.pause).await;
            let words = if greeting { Some("Olá! Tem alguém aí?") } else { answers.next() };
            if handle.attendance(&customer).is_some() {
                say(handle, &customer, "text/plain", json!(words)).await?;
            }
            continue;
        }
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

fn story() -> [(&'static str, Value); 3] {
    [
        ("text/plain", json!("Já tentei pelo aplicativo e não consegui.")),
        (
            "application/vnd.lime.location+json",
            json!({ "latitude": -19.918_899, "longitude": -43.959_275, "altitude": 853, "text": "Estou aqui" }),
        ),
        (
            "application/vnd.lime.media-link+json",
            json!({
                "type": "image/jpeg", "uri": "https://example.com/comprovante.jpg", "title": "comprovante.jpg",
                "text": "Este é o comprovante", "size": 227_791,
            }),
        ),
    ]
}

async fn say(handle: &Handle, customer: &str, media_type: &str, content: Value) -> Result<(), ControlError> {
    let saying =
        Saying { media_type: Some(media_type.to_owned()), content: Some(content), ..Saying::default() };
    handle.say(customer, saying).await.map(|_| ())
}
