//! What can name an application: `module:attribute` and its relatives.

use super::draft::{App, Value};

/// `module:attribute`, `module:factory()` or `asgi:module:attribute`.
pub(super) fn set_target(app: &mut App, text: &str) {
    let plain =
        text.strip_prefix("wsgi:").or_else(|| text.strip_prefix("asgi:")).filter(|rest| rest.contains(':'));
    let interface = text.split(':').next().unwrap_or_default();
    match plain {
        Some(plain) => {
            plain.clone_into(&mut app.target);
            app.table.set("interface", Value::Text(interface.to_owned()), "");
        }
        None => text.clone_into(&mut app.target),
    }
}

/// Whether a text can be an application: our loader imports the part before the colon by name.
pub(super) fn is_target(text: &str) -> bool {
    let (module, attribute) = text.split_once(':').unwrap_or((text, "application"));
    let is_name = |name: &str| {
        !name.is_empty()
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && name.chars().all(|c| c == '_' || c.is_alphanumeric())
    };
    let call = attribute.split_once('(');
    let closed = call.is_none_or(|(_, arguments)| arguments.ends_with(')'));
    let attribute = call.map_or(attribute, |(name, _)| name);
    closed && module.split('.').all(is_name) && attribute.split('.').all(is_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn applications_are_told_from_other_words() {
        for target in ["a:b", "a.b:c.d", "a", "a:f()", "a:f('x')", "a:f(x=1)"] {
            assert!(is_target(target), "{target}");
        }
        for other in ["", ":a", "a:", "a/b:c", "-a:b", "a:b-c", "1a:b", "a..b:c", "$A", "a:b():c"] {
            assert!(!is_target(other), "{other}");
        }
        let mut app = App::default();
        set_target(&mut app, "asgi:a:b");
        assert_eq!(
            (app.target.as_str(), app.table.get("interface")),
            ("a:b", Some(&Value::Text("asgi".to_owned())))
        );
    }
}
