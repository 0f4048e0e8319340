//! One table's settings, looked up through the layers.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use toml::de::DeValue;

use crate::diagnostic::Diagnostics;
use crate::names::Named;
use crate::origin::{Origin, Places};
use crate::plan::Tenancy;
use crate::read::{self, Reader};
use crate::section::{Entry, Layer};
use crate::source::Source;
use crate::table::{APP, Fallback, HOST, LIMITS, Section};
use crate::value::{FromValue, Value, word};

/// The layers of one table, nearest first.
pub(super) struct Layers<'a> {
    pub(super) section: &'static Section,
    /// Before the key in [`Places`]: empty or "limits.".
    pub(super) prefix: &'static str,
    pub(super) own: Option<&'a Layer>,
    pub(super) defaults: Option<&'a Layer>,
    pub(super) tenancy: Tenancy,
    pub(super) source: &'a Source,
    pub(super) places: &'a mut Places,
}

impl Layers<'_> {
    /// The value of a setting that always has one.
    pub(super) fn get<T: FromValue>(&mut self, name: &'static str) -> T {
        self.with(name, T::from_value)
    }

    /// The same for a setting with words.
    pub(super) fn word<T: Named>(&mut self, name: &'static str) -> T {
        self.with(name, word)
    }

    /// The value of a setting if the file says it.
    pub(super) fn said<T: FromValue>(&mut self, name: &'static str) -> Option<T> {
        let (entry, origin) = self.entry(name)?;
        let found = T::from_value(entry.value.as_ref()?);
        let span = entry.span.clone();
        self.note(name, origin, Some(span));
        found
    }

    /// Remember where a value came from.
    pub(super) fn note(&mut self, name: &str, origin: Origin, span: Option<crate::source::Span>) {
        self.places.values.insert(format!("{}{name}", self.prefix), (origin, span));
    }

    fn with<T>(&mut self, name: &'static str, from: fn(&Value) -> Option<T>) -> T {
        if let Some((entry, origin)) = self.entry(name)
            && let Some(value) = &entry.value
        {
            let found = from(value);
            let span = entry.span.clone();
            self.note(name, origin, Some(span));
            if let Some(found) = found {
                return found;
            }
        }
        if let Some(Fallback::ByTenancy { .. }) = self.section.setting(name).map(|setting| setting.default)
            && !self.places.values.contains_key(&format!("{}{name}", self.prefix))
        {
            self.note(name, Origin::Tenancy(self.tenancy), None);
        }
        match built_in(self.section, self.tenancy).get(name).and_then(from) {
            Some(value) => value,
            // The test `every_default_is_right` walks the table, and every load takes every setting.
            None => unreachable!("the setting {name} has no usable default"),
        }
    }

    fn entry(&self, name: &str) -> Option<(&Entry, Origin)> {
        let of = |layer: &Layer| layer.entries.get(name).map(|entry| self.source.line(entry.span.start));
        if let Some((own, line)) = self.own.and_then(|own| Some((own, of(own)?))) {
            return own.entries.get(name).map(|entry| (entry, Origin::File { line }));
        }
        let (defaults, line) = self.defaults.and_then(|layer| Some((layer, of(layer)?)))?;
        defaults.entries.get(name).map(|entry| (entry, Origin::Defaults { line }))
    }
}

type BuiltIn = BTreeMap<&'static str, Value>;

/// The values of a section that are constants, read once.
pub(crate) fn built_in(section: &'static Section, tenancy: Tenancy) -> &'static BuiltIn {
    static ALL: LazyLock<BTreeMap<(&'static str, &'static str), BuiltIn>> = LazyLock::new(|| {
        let sections = [&HOST, &APP, &LIMITS];
        let tenancies = [Tenancy::Shared, Tenancy::Isolated];
        let pairs =
            sections.iter().flat_map(|section| tenancies.iter().map(move |tenancy| (*section, *tenancy)));
        pairs
            .map(|(section, tenancy)| ((section.title, tenancy.name()), constants(section, tenancy)))
            .collect()
    });
    static EMPTY: BuiltIn = BuiltIn::new();
    ALL.get(&(section.title, tenancy.name())).unwrap_or(&EMPTY)
}

fn constants(section: &'static Section, tenancy: Tenancy) -> BuiltIn {
    let read = |setting: &'static crate::table::Setting| {
        let text = setting.default.text(tenancy)?;
        let value = DeValue::parse(text).ok()?;
        let source = std::sync::Arc::new(Source::new("built in", text.to_owned()));
        let mut all = Diagnostics::new(std::sync::Arc::clone(&source));
        let broken = std::collections::HashSet::new();
        let mut reader = Reader::new(&source, &mut all, &broken);
        Some((setting.name, read::value(setting, &value, &mut reader)?))
    };
    section.settings.iter().filter_map(read).collect()
}
