//! The `syncseal` command.
fn main() {}
