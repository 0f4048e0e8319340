//! The catalogue of incidents: one table, a file per family.
//!
//! A code means one cause. Where the same cause is known in different ways, or is known better or worse, the variants are
//! `causes` of one code. Codes are never given another meaning and never reused; one that is retired stays as a tombstone.
//! What is not written here: prose for people, which is in `docs/incidents/`.

mod app;
mod cpu;
mod disk;
mod host;
mod memory;
mod network;
mod process;

use crate::code::{Evidence, Family, Merge, Unit};

pub(crate) const FAMILIES: &[Family] = &[
    Family { letter: 'A', title: "application", entries: app::ENTRIES },
    Family { letter: 'C', title: "CPU", entries: cpu::ENTRIES },
    Family { letter: 'M', title: "memory", entries: memory::ENTRIES },
    Family { letter: 'D', title: "disk", entries: disk::ENTRIES },
    Family { letter: 'N', title: "network", entries: network::ENTRIES },
    Family { letter: 'P', title: "processes", entries: process::ENTRIES },
    Family { letter: 'H', title: "host", entries: host::ENTRIES },
];

/// Of the latest detection.
const fn last(key: &'static str, unit: Unit, about: &'static str) -> Evidence {
    Evidence { key, unit, merge: Merge::Last, about }
}

/// Over all of them.
const fn sum(key: &'static str, unit: Unit, about: &'static str) -> Evidence {
    Evidence { key, unit, merge: Merge::Sum, about }
}

/// The largest of all.
const fn most(key: &'static str, unit: Unit, about: &'static str) -> Evidence {
    Evidence { key, unit, merge: Merge::Most, about }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::code::Code;
    use crate::sentence::names;

    #[test]
    fn every_code_has_one_entry_in_its_family_and_in_order() {
        let entries =
            FAMILIES.iter().flat_map(|family| family.entries.iter().map(move |entry| (family, entry)));
        let mut found = Vec::new();
        for (family, entry) in entries {
            assert!(entry.code.as_str().starts_with(family.letter), "{}", entry.code);
            assert_eq!(entry.code.family().letter, family.letter);
            found.push(entry.code);
        }
        assert_eq!(found, Code::ALL);
    }

    #[test]
    fn sentences_speak_only_of_evidence_that_there_is() {
        let always = ["app", "worker", "pid", "count", "times"];
        for code in Code::ALL {
            let entry = code.entry();
            let mut known = HashSet::new();
            for evidence in entry.evidence {
                assert!(known.insert(evidence.key), "{code}: {} twice", evidence.key);
                assert!(!always.contains(&evidence.key), "{code}: {}", evidence.key);
                assert!(
                    evidence.unit.is_told_by(evidence.key),
                    "{code}: {} does not tell its unit",
                    evidence.key
                );
            }
            let mut causes = HashSet::new();
            for cause in entry.causes {
                assert!(causes.insert(cause.name), "{code}: {} twice", cause.name);
                for text in [cause.sentence, cause.remedy] {
                    assert!(
                        !text.is_empty() && !text.ends_with('.') && !text.contains('\n'),
                        "{code}: {text}"
                    );
                    // Optional parts begin and end in turn: they are not nested.
                    let marks: String = text.chars().filter(|c| matches!(c, '«' | '»')).collect();
                    assert_eq!(marks, "«»".repeat(marks.chars().count() / 2), "{code}: {text}");
                    for name in names(text) {
                        assert!(always.contains(&name) || known.contains(name), "{code}: no evidence {name}");
                        let block = entry.evidence(name).is_some_and(|evidence| evidence.unit == Unit::Block);
                        assert!(!block, "{code}: {name} is too long for a sentence");
                    }
                }
                // The sentence says to whom, the remedy what to type or write.
                assert!(
                    cause.sentence.contains("{app}") || code.family().letter == 'H',
                    "{code}: {}",
                    cause.sentence
                );
                assert!(cause.remedy.contains('`'), "{code}: {}", cause.remedy);
            }
            assert!(!causes.is_empty(), "{code}");
            // What ran short is measured against what was allowed.
            if entry.resource.is_some() {
                assert!(known.iter().any(|key| key.starts_with("limit")), "{code}");
            }
        }
    }

    #[test]
    fn names_are_read() {
        assert_eq!(Code::from_name("n11"), Some(Code::N11));
        assert_eq!(Code::from_name("N111"), None);
        assert_eq!(Code::from_name(""), None);
    }
}
