//! Put a recommendation into the user's file: only the keys that it names change; comments, order and everything else stay.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::{Context as _, bail};
use toml_edit::{DocumentMut, Item, Table};

/// What changed in the file, a line for each key: before and after.
pub(super) fn apply(file: &Path, fragment: &str) -> anyhow::Result<Vec<String>> {
    let shown = file.display();
    let before = fs::read_to_string(file).with_context(|| format!("cannot read {shown}"))?;
    let (after, changes) = merge(&before, fragment).with_context(|| format!("cannot change {shown}"))?;
    if changes.is_empty() {
        return Ok(changes);
    }
    write(file, &after).with_context(|| format!("cannot write {shown}"))?;
    if let Err(report) = crate::load::load(file, &std::collections::BTreeMap::new()) {
        write(file, &before).with_context(|| format!("cannot write {shown}"))?;
        bail!("with the recommendation the file would have errors, so it is as it was: {report}");
    }
    Ok(changes)
}

/// All of it or nothing: a host may read it at any time.
fn write(file: &Path, text: &str) -> anyhow::Result<()> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut new = tempfile::NamedTempFile::new_in(directory)?;
    new.write_all(text.as_bytes())?;
    new.as_file().set_permissions(fs::metadata(file)?.permissions())?;
    new.as_file().sync_all()?;
    new.persist(file)?;
    Ok(())
}

fn merge(text: &str, fragment: &str) -> anyhow::Result<(String, Vec<String>)> {
    let mut document: DocumentMut = text.parse().context("it is not TOML")?;
    let fragment: DocumentMut = fragment.parse().context("the recommendation is not TOML")?;
    let mut changes = Vec::new();
    merge_table(document.as_table_mut(), fragment.as_table(), "", &mut changes)?;
    Ok((document.to_string(), changes))
}

fn merge_table(into: &mut Table, from: &Table, path: &str, changes: &mut Vec<String>) -> anyhow::Result<()> {
    for (key, item) in from {
        let path = if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") };
        match item {
            Item::Table(inner) => {
                let entry = into.entry(key).or_insert_with(|| Item::Table(Table::new()));
                match entry {
                    Item::Table(table) => merge_table(table, inner, &path, changes)?,
                    // `limits = { cpu = 1 }` is a table too, written in another way.
                    Item::Value(value) if value.is_inline_table() => {
                        let mut table = value.as_inline_table().cloned().unwrap_or_default().into_table();
                        merge_table(&mut table, inner, &path, changes)?;
                        *value = toml_edit::Value::InlineTable(table.into_inline_table());
                    }
                    _ => bail!("`{path}` is no table there"),
                }
            }
            Item::Value(value) => {
                // Without the comment behind it.
                let shown = |value: &toml_edit::Value| value.clone().decorated("", "").to_string();
                let before = into.get(key).and_then(Item::as_value).map(shown);
                let after = value.to_string().trim().to_owned();
                if before.as_deref() == Some(after.as_str()) {
                    continue;
                }
                // The comment behind a value stays where it is.
                let mut value = value.clone();
                if let Some(old) = into.get(key).and_then(Item::as_value) {
                    *value.decor_mut() = old.decor().clone();
                }
                into.insert(key, Item::Value(value));
                changes.push(format!("{path}: {} -> {after}", before.as_deref().unwrap_or("not set")));
            }
            _ => bail!("the recommendation has something at `{path}` that is neither table nor value"),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "# mine\n[host]\nlisten = [\"127.0.0.1:0\"]\n\n[apps.shop] # the shop\napp = \"shop:app\"\nworkers = 1 # few\n\
                        limits = { queue = 5, cpu = 2 }\n";

    #[test]
    fn only_what_is_recommended_changes() {
        let fragment = "[apps.shop]\nworkers = 4\ntenancy = \"isolated\"\n[apps.shop.limits]\ncpu = 1\n";
        let (after, changes) = merge(FILE, fragment).unwrap();
        assert_eq!(
            changes,
            [
                "apps.shop.workers: 1 -> 4",
                "apps.shop.tenancy: not set -> \"isolated\"",
                "apps.shop.limits.cpu: 2 -> 1"
            ]
        );
        assert!(after.starts_with("# mine\n[host]"), "{after}");
        assert!(after.contains("[apps.shop] # the shop"), "{after}");
        assert!(after.contains("workers = 4 # few"), "{after}");
        assert!(after.contains("queue = 5"), "{after}");
        let again = merge(&after, fragment).unwrap();
        assert_eq!(again, (after, Vec::new()));
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        assert!(merge("apps = 3\n", "[apps.shop]\nworkers = 4\n").is_err());
        assert!(merge("[apps", "").is_err());
    }

    #[test]
    fn a_file_that_would_not_be_valid_is_left_as_it_was() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("serpentry.toml");
        fs::write(&file, FILE).unwrap();
        let error = apply(&file, "[apps.shop]\nworkers = \"many\"\n").unwrap_err();
        assert!(format!("{error:#}").contains("as it was"), "{error:#}");
        assert_eq!(fs::read_to_string(&file).unwrap(), FILE);
    }
}
