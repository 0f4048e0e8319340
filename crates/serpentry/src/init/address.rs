//! Addresses as other servers write them, brought into our form.

use super::draft::Draft;
use super::meaning::{Found, from};

/// Add an address to those that the host listens on. Returns `false` if it makes no sense.
pub(super) fn bind(found: &Found<'_>, draft: &mut Draft) -> bool {
    let place = from(found);
    let mut text = found.text.trim();
    if text.contains("$PORT") || text.contains("${PORT}") || text == "PORT" {
        // Exactly what is listened on by default when the environment has PORT.
        draft.host.remove("listen");
        draft.host.note(format!("{}: listens on $PORT; here too, if the environment has PORT", found.place));
        return true;
    }
    for scheme in ["tcp://", "http://"] {
        text = text.strip_prefix(scheme).unwrap_or(text);
    }
    if text.contains(['$', '`', '\0']) {
        return false;
    }
    let address = if let Some(path) = text.strip_prefix("unix:") {
        let path = path.strip_prefix("//").filter(|path| path.starts_with('/')).unwrap_or(path);
        if path.is_empty() {
            return false;
        }
        format!("unix:{path}")
    } else if let Some(number) = text.strip_prefix("fd://") {
        if number.parse::<u16>().is_err() {
            return false;
        }
        text.to_owned()
    } else {
        match tcp(text) {
            Some(address) => address,
            None => return false,
        }
    };
    let followed = if found.remark.contains("PORT") { "; leave this out to follow PORT" } else { "" };
    draft.host.add("listen", address, &(place + followed));
    true
}

/// `HOST:PORT` from `HOST:PORT`, `:PORT`, `*:PORT` or a port alone.
pub(super) fn tcp(text: &str) -> Option<String> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port),
        None if text.bytes().all(|byte| byte.is_ascii_digit()) => ("", text),
        None => (text, "8000"),
    };
    let port: u16 = port.parse().ok()?;
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '%');
    if bare != "*" && !bare.chars().all(legal) {
        return None;
    }
    match bare {
        "" | "*" => Some(format!("0.0.0.0:{port}")),
        _ if bare.contains(':') => {
            bare.parse::<std::net::Ipv6Addr>().ok().map(|address| format!("[{address}]:{port}"))
        }
        _ => Some(format!("{bare}:{port}")),
    }
}

#[cfg(test)]
mod tests {
    use super::super::draft::Value;
    use super::*;

    fn bound(text: &str) -> (bool, Draft) {
        let mut draft = Draft::default();
        let found = Found { name: "--bind", text, place: "file, line 1", remark: "" };
        (bind(&found, &mut draft), draft)
    }

    #[test]
    fn addresses_are_brought_into_our_form() {
        let cases = [
            ("127.0.0.1:9000", "127.0.0.1:9000"),
            (":8000", "0.0.0.0:8000"),
            ("*:8000", "0.0.0.0:8000"),
            ("8000", "0.0.0.0:8000"),
            ("localhost", "localhost:8000"),
            ("[::]:80", "[::]:80"),
            ("tcp://a:1", "a:1"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
            ("fd://3", "fd://3"),
        ];
        for (found, expected) in cases {
            let (understood, draft) = bound(found);
            assert!(understood, "{found}");
            assert_eq!(draft.host.get("listen"), Some(&Value::Texts(vec![expected.to_owned()])), "{found}");
        }
        for bad in ["a:b", "a b:1", "unix:", "fd://x", "$X:80", "1:2:3:80", "a:99999", "\0:1"] {
            assert!(!bound(bad).0, "{bad}");
        }
        let (understood, draft) = bound("0.0.0.0:$PORT");
        assert!(understood && draft.host.get("listen").is_none() && draft.host.notes[0].contains("$PORT"));
    }
}
