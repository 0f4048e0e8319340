//! The pages of the codes against the catalogue.

use std::fs;
use std::path::Path;

use incident::{Code, page};

#[test]
fn committed_pages_are_those_of_the_catalogue() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/incidents");
    let write = std::env::var_os("SERPENTRY_WRITE_DOCS").is_some();
    let update = "SERPENTRY_WRITE_DOCS=1 cargo test -p incident --test pages";
    for code in Code::ALL {
        let file = docs.join(format!("{code}.md"));
        let committed = fs::read_to_string(&file).unwrap_or_default();
        let generated = page::generated(*code);
        let (above, below) = committed.split_once(page::MARK).unwrap_or(("", "\n"));
        if write {
            fs::write(&file, format!("{}{below}", generated.trim_end())).unwrap();
        } else {
            assert_eq!(
                format!("{above}{}\n", page::MARK),
                generated,
                "docs/incidents/{code}.md is out of date: {update}"
            );
            assert!(below.trim().len() > 100, "docs/incidents/{code}.md explains nothing");
            assert!(
                !below.contains("# "),
                "docs/incidents/{code}.md: prose has no headings, a terminal shows it as it is"
            );
        }
    }
    if write {
        fs::write(docs.join("README.md"), page::index()).unwrap();
    }
    assert_eq!(fs::read_to_string(docs.join("README.md")).unwrap(), page::index(), "{update}");
    let pages = fs::read_dir(docs).unwrap().count();
    assert_eq!(pages, Code::ALL.len() + 1, "a page of no code is in docs/incidents");
}
