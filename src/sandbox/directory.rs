//! Who works at the sandbox's desk, and what they say: a few agents and saved replies to begin with. Pure.

use serde_json::{Value, json};

use super::ticket::Agent;

/// The agents a new sandbox has.
pub(crate) fn agents() -> Vec<Agent> {
    vec![
        agent("Maria Souza", "maria.souza@example.com", "Online", &["Default", "Suporte", "Financeiro"]),
        agent("João Lima", "joao.lima@example.com", "Online", &["Default", "Vendas"]),
        agent("Bia Rocha", "bia.rocha@example.com", "Pause", &["Financeiro"]),
    ]
}

/// An agent by e-mail; the identity is the e-mail, encoded, at `blip.ai`.
pub(crate) fn agent(fullname: &str, email: &str, status: &'static str, teams: &[&str]) -> Agent {
    Agent {
        identity: format!("{}@blip.ai", email.replace('@', "%40")),
        fullname: fullname.to_owned(),
        email: email.to_owned(),
        teams: teams.iter().map(|&team| team.to_owned()).collect(),
        status,
        is_enabled: true,
        slots: 3,
    }
}

/// The saved replies a new sandbox has.
pub(crate) fn replies() -> Vec<Value> {
    let reply = |id: &str, category: &str, name: &str, document: &str| {
        json!({
            "id": id, "category": category, "name": name, "document": document,
            "type": "text/plain", "isDynamicContent": document.contains("${"),
        })
    };
    vec![
        reply("9e4a2a6c-e9c0-401f-a1b9-9cb45528a680", "greetings", "Hi friend", "Some text"),
        reply("3f2b6f0e-57b0-4a0e-9c75-0f7b3f8f6d11", "greetings", "By name", "Oi, ${contact.name}!"),
        reply("b7c1b3d2-1d7f-4a3c-8a55-6f1f0a0e9d22", "billing", "Second copy", "Segue a segunda via."),
    ]
}
