//! Write the documents that are made from the table of settings: `cargo run -p config --example reference`.

use std::path::Path;

fn main() -> std::io::Result<()> {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs");
    std::fs::write(docs.join("configuration.md"), config::reference::page())?;
    std::fs::write(docs.join("serpentry.schema.json"), config::schema::text())
}
