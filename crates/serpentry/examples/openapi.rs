//! Prints the OpenAPI document of the control interface: what is committed as `docs/openapi.json`.

#![expect(clippy::print_stdout, reason = "this is all that it does")]

fn main() {
    print!("{}", serpentry::control::document());
}
