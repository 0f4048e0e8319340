//! What is ours in the kernel, by name: nothing of another instance or another program is touched.

use super::error::Error;
use super::link::Link;

/// What every table of ours begins with.
pub(super) const TABLE: &str = "serpentry-";

/// What is ours in the kernel, by name.
#[derive(Debug, Clone)]
pub(super) struct Names {
    pub(super) instance: String,
    pub(super) table: String,
    /// What interfaces begin with: `serp`, six digits of a hash of the instance, `-`. At most four follow, of 15 in all.
    pub(super) tag: String,
}

impl Names {
    pub(super) fn new(instance: &str) -> Result<Self, Error> {
        let fits = (1..=40).contains(&instance.len())
            && instance.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'));
        if !fits {
            return Err(Error::Name(instance.to_owned()));
        }
        let tag = format!("serp{:06x}-", hash(instance) & 0xff_ffff);
        Ok(Names { instance: instance.to_owned(), table: format!("{TABLE}{instance}"), tag })
    }

    pub(super) fn interface(&self, number: u32) -> String {
        // Four digits of base 36 are enough for any pool that is searched.
        let digits = [number / 46_656, number / 1296, number / 36, number];
        let digit = |value: u32| char::from_digit(value % 36, 36).unwrap_or('0');
        format!("{}{}", self.tag, digits.map(digit).iter().collect::<String>())
    }

    pub(super) fn alias(&self, app: &str) -> String {
        // The kernel takes 255 bytes.
        let app: String = app.chars().take(60).collect();
        format!("serpentry {} {app}", self.instance)
    }

    /// Whether the interface is ours: by its name, and by its alias unless we were killed before it had one.
    pub(super) fn owns(&self, link: &Link) -> bool {
        let said = format!("serpentry {} ", self.instance);
        link.name.starts_with(&self.tag) && (link.alias.is_empty() || link.alias.starts_with(&said))
    }
}

/// FNV-1a: the same in every process, which the standard library's is not.
pub(super) fn hash(text: &str) -> u32 {
    text.bytes().fold(0x811c_9dc5, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_fit_into_what_the_kernel_takes() {
        let names = Names::new("main").unwrap();
        assert_eq!(names.interface(0).len(), 15);
        assert_ne!(names.interface(1), names.interface(36));
        assert!(names.interface(32_767).ends_with("pa7"), "{}", names.interface(32_767));
        assert!(names.alias(&"a".repeat(500)).len() < 256);
        for wrong in ["", "a b", "ä", &"x".repeat(41), "a\"b"] {
            assert!(Names::new(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_interface_of_another_instance_is_not_ours() {
        let names = Names::new("main").unwrap();
        let link =
            |alias: &str| Link { index: 3, name: names.interface(1), mtu: 1500, alias: alias.to_owned() };
        assert!(names.owns(&link("")) && names.owns(&link("serpentry main shop")));
        assert!(!names.owns(&link("serpentry mainly shop")));
        assert!(!names.owns(&Link { name: "serp000000-0000".to_owned(), ..link("serpentry main shop") }));
    }
}
