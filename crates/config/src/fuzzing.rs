//! What must hold for any bytes. For the fuzzer and for the tests that replay its findings.

use crate::{Environment, load, print};

/// A file is answered: with diagnostics that can be shown, or with a plan that means the same after it was printed.
///
/// # Panics
/// When that is not so.
pub fn file(bytes: &[u8]) -> bool {
    let environment = Environment { directory: "/srv/sites".into(), ..Environment::default() };
    match load(bytes, "fuzz.toml", &environment) {
        Err(all) => {
            assert!(all.has_errors(), "refused without an error");
            let shown = all.render(false);
            assert!(shown.chars().all(|c| c == '\n' || !c.is_control()), "a control character is shown");
            false
        }
        Ok(first) => {
            let printed = print(&first.plan, &first.origins);
            match load(printed.as_bytes(), "printed.toml", &Environment::default()) {
                Ok(second) => assert_eq!(first.plan, second.plan, "{printed}"),
                Err(all) => unreachable!("what was printed is refused:\n{printed}\n{}", all.render(false)),
            }
            true
        }
    }
}

#[cfg(test)]
mod tests {
    /// Seeds and findings. A name that begins with `valid` promises a file that is accepted.
    #[test]
    fn the_corpus_is_answered() {
        let folder = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/config");
        let mut count = 0;
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let accepted = super::file(&std::fs::read(&path).unwrap());
            let valid = path.file_name().unwrap().to_string_lossy().starts_with("valid");
            assert_eq!(accepted, valid, "{}", path.display());
            count += 1;
        }
        assert!(count >= 4, "the corpus is not there");
    }
}
