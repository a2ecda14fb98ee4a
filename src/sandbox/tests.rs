//! The sandbox's own tests: the model alone, and the whole over real HTTP.

mod elsewhere;
mod files;
mod invariants;
mod live;
mod matrix;
mod outage;
mod people;
mod rules;
mod samples;
mod world;
