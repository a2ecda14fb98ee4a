//! What the sandbox promises: Blip's rules, and its behavior over real HTTP.

mod live;
mod rules;
