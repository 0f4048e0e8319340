//! A host's configuration as data, and as the text of a `serpentry.toml`.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;

/// Names of this domain are this machine's (RFC 6761, section 6.3), and applications that accept only names they know (Django)
/// often accept these.
const DOMAIN: &str = ".localhost";

/// Applications, and settings of the host's own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct HostPlan {
    pub apps: BTreeMap<String, AppPlan>,
    /// More keys of `[host]`, as in [`AppPlan::keys`].
    pub keys: BTreeMap<String, Value>,
}

/// One application. Keys are those of the configuration; what is not said has the program's own default.
#[derive(Debug, Clone, PartialEq)]
pub struct AppPlan {
    /// `module:attribute`.
    pub app: String,
    pub directory: PathBuf,
    /// Of `[apps.NAME]`, for example `workers`, `tenancy`.
    pub keys: BTreeMap<String, Value>,
    /// Of `[apps.NAME.limits]`.
    pub limits: BTreeMap<String, Value>,
}

impl HostPlan {
    /// With another application.
    #[must_use]
    pub fn with(mut self, name: &str, app: AppPlan) -> Self {
        self.apps.insert(name.to_owned(), app);
        self
    }

    /// The value of a Host field that leads to an application.
    #[must_use]
    pub fn authority(app: &str) -> String {
        format!("{app}{DOMAIN}")
    }

    /// The application that an authority leads to.
    #[must_use]
    pub fn app(authority: &str) -> &str {
        authority.strip_suffix(DOMAIN).unwrap_or(authority)
    }

    /// As a file in this directory.
    #[must_use]
    pub fn text(&self, directory: &Path) -> String {
        let mut keys = self.keys.clone();
        let mut set = |key: &str, value: Value| {
            keys.entry(key.to_owned()).or_insert(value);
        };
        set("listen", Value::from(vec!["127.0.0.1:0"]));
        set("state", directory.join("state").to_string_lossy().into());
        set("graceful_timeout", format!("{}s", super::GRACE.as_secs()).into());
        let mut text = "[host]\n".to_owned();
        lines(&mut text, &keys);
        for (name, app) in &self.apps {
            let mut keys = app.keys.clone();
            keys.insert("app".to_owned(), app.app.as_str().into());
            keys.insert("directory".to_owned(), app.directory.to_string_lossy().into());
            keys.entry("routes".to_owned()).or_insert_with(|| vec![HostPlan::authority(name)].into());
            let _ = writeln!(text, "\n[apps.{name}]");
            lines(&mut text, &keys);
            if !app.limits.is_empty() {
                let _ = writeln!(text, "\n[apps.{name}.limits]");
                lines(&mut text, &app.limits);
            }
        }
        text
    }
}

impl AppPlan {
    #[must_use]
    pub fn new(app: &str, directory: &Path) -> Self {
        let (keys, limits) = (BTreeMap::new(), BTreeMap::new());
        AppPlan { app: app.to_owned(), directory: directory.to_owned(), keys, limits }
    }

    /// With a key of the application.
    #[must_use]
    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.keys.insert(key.to_owned(), value.into());
        self
    }

    /// With a key of its limits.
    #[must_use]
    pub fn limit(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.limits.insert(key.to_owned(), value.into());
        self
    }
}

fn lines(text: &mut String, keys: &BTreeMap<String, Value>) {
    for (key, value) in keys.iter().filter(|(_, value)| !value.is_null()) {
        let _ = writeln!(text, "{key} = {}", toml(value));
    }
}

/// A JSON value as TOML has it. Null does not exist there and becomes an empty text.
#[must_use]
pub fn toml(value: &Value) -> String {
    match value {
        Value::Null => "\"\"".to_owned(),
        // Escapes of JSON are escapes of TOML, but for DEL, which JSON leaves as it is.
        Value::String(_) | Value::Bool(_) | Value::Number(_) => value.to_string().replace('\x7f', "\\u007f"),
        Value::Array(items) => format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Value::Object(fields) => {
            let field = |(key, value): (&String, &Value)| {
                format!("{} = {}", toml(&Value::String(key.clone())), toml(value))
            };
            format!("{{ {} }}", fields.iter().map(field).collect::<Vec<_>>().join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_plan_becomes_a_file() {
        let app = AppPlan::new("probe:app", Path::new("/srv/p"))
            .set("workers", 2)
            .set("env", json!({ "A": "b \"c\"\n" }))
            .limit("cpu", 0.5);
        let plan = HostPlan::default().with("a", app);
        assert_eq!(
            plan.text(Path::new("/tmp/x")),
            "[host]\ngraceful_timeout = \"2s\"\nlisten = [\"127.0.0.1:0\"]\nstate = \"/tmp/x/state\"\n\n[apps.a]\n\
             app = \"probe:app\"\ndirectory = \"/srv/p\"\nenv = { \"A\" = \"b \\\"c\\\"\\n\" }\nroutes = [\"a.localhost\"]\n\
             workers = 2\n\n[apps.a.limits]\ncpu = 0.5\n"
        );
    }
}
