//! The binary: see [`deskgate`].
fn main() {}
