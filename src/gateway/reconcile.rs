//! Reading Blip back: what webhooks did not tell is found and appended, with origin *reconciliation*, each fact once.
//! What to ask is the planner's to say ([`plan`]).

#[expect(dead_code, reason = "the driver comes next")]
mod find;
pub mod plan;
