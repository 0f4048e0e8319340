//! Embeds the Python side in the program when `SERPENTRY_EXT_DIR` names the folder that holds it (`cargo xtask dist`
//! sets it). Without it nothing is embedded, and the program looks for `ext/` beside its own folder: see `extension.rs`.
//! No cargo runs inside cargo.

use std::path::PathBuf;
use std::{env, fs};

const FILES: [&str; 3] = ["serpentry_worker.abi3-py310.so", "serpentry_worker.abi3-py312.so", "boot.py"];

fn main() {
    println!("cargo::rerun-if-env-changed=SERPENTRY_EXT_DIR");
    println!("cargo::rerun-if-changed=build.rs");
    let entries: Vec<String> = match env::var_os("SERPENTRY_EXT_DIR") {
        Some(folder) => FILES
            .iter()
            .map(|name| {
                let path = PathBuf::from(&folder).join(name);
                let path = path.canonicalize().unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                println!("cargo::rerun-if-changed={}", path.display());
                format!("({name:?}, include_bytes!({:?})),", path.display().to_string())
            })
            .collect(),
        None => Vec::new(),
    };
    let source = format!("pub(super) const EMBEDDED: &[(&str, &[u8])] = &[{}];\n", entries.concat());
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR")).join("embedded.rs");
    fs::write(&out, source).unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}
