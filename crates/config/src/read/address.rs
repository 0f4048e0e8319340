//! Addresses to listen on, brought into their full form.

use std::net::{Ipv6Addr, SocketAddr};

use toml::Spanned;
use toml::de::DeValue;

use super::{Reader, example, wrong_type};
use crate::diagnostic::Draft;
use crate::table::Setting;
use crate::value::Value;

/// The port if none is said.
const PORT: u16 = 8_000;

pub(super) fn list(
    setting: &Setting,
    value: &Spanned<DeValue<'_>>,
    reader: &mut Reader<'_>,
) -> Option<Value> {
    let DeValue::Array(items) = value.get_ref() else {
        if let DeValue::String(text) = value.get_ref() {
            let draft = Draft::error(value.span(), format!("`{}` must be a list", setting.name));
            reader.report(draft.hint(format!("in brackets: {} = [\"{text}\"]", setting.name)));
            return None;
        }
        return wrong_type(setting, value, "a list of addresses", reader);
    };
    if items.is_empty() {
        let draft = Draft::error(value.span(), "`listen` is empty, so nobody could connect");
        reader.report(draft.hint(example(setting)));
        return None;
    }
    let mut found: Vec<(String, std::ops::Range<usize>)> = Vec::new();
    let mut complete = true;
    for item in items.iter() {
        let address = match item.get_ref() {
            DeValue::String(text) => full(text).map_err(|why| format!("`{text}` is not an address: {why}")),
            _ => Err("an address is a text".to_owned()),
        };
        match address {
            Ok(address) => match found.iter().find(|(other, _)| *other == address) {
                Some((_, first)) => {
                    let draft = Draft::error(item.span(), format!("{address} is listed twice"));
                    reader.report(draft.related(first.clone(), "here first").hint("remove one of them"));
                    complete = false;
                }
                None => found.push((address, item.span())),
            },
            Err(message) => {
                let hint = "an address looks like HOST:PORT, [IPv6]:PORT, unix:PATH or fd://N";
                reader.report(Draft::error(item.span(), message).hint(hint));
                complete = false;
            }
        }
    }
    complete.then_some(Value::Texts(found))
}

/// An address in full: with host and port. The path of a `unix:` address stays as it is.
pub(crate) fn full(text: &str) -> Result<String, String> {
    if let Some(path) = text.strip_prefix("unix:") {
        let right = !path.is_empty() && !path.contains('\0');
        return if right { Ok(text.to_owned()) } else { Err("unix: needs a path".to_owned()) };
    }
    if let Some(number) = text.strip_prefix("fd://") {
        let right = number.parse::<u16>().is_ok();
        return if right { Ok(text.to_owned()) } else { Err("fd:// needs a number".to_owned()) };
    }
    if text.contains("://") {
        return Err("it is a URL".to_owned());
    }
    if let Ok(address) = text.parse::<SocketAddr>() {
        return Ok(address.to_string());
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<Ipv6Addr>() {
        return Ok(format!("[{address}]:{PORT}"));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, port.parse::<u16>().map_err(|_| format!("`{port}` is not a port"))?),
        None => (text, PORT),
    };
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let letter = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
    if !host.bytes().all(letter) {
        return Err(format!("`{host}` is not a host"));
    }
    // Only digits and dots, but no address: a slip of the keyboard, which a name server would be asked for.
    if host.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
        && host.parse::<std::net::Ipv4Addr>().is_err()
    {
        return Err(format!("`{host}` is not a host; for all interfaces and a port write \":{host}\""));
    }
    Ok(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::full;

    #[test]
    fn addresses_come_out_in_full() {
        for (text, expected) in [
            ("127.0.0.1:8000", "127.0.0.1:8000"),
            (":80", "0.0.0.0:80"),
            ("example.org", "example.org:8000"),
            ("localhost:0", "localhost:0"),
            ("[::1]:80", "[::1]:80"),
            ("::1", "[::1]:8000"),
            ("unix:/run/x.sock", "unix:/run/x.sock"),
            ("fd://3", "fd://3"),
        ] {
            assert_eq!(full(text).as_deref(), Ok(expected), "{text}");
        }
        for bad in ["", "8000", "1.2.3:80", "a:b:c", "host:99999", "http://host", "unix:", "fd://x", "a b:80"]
        {
            assert!(full(bad).is_err() || bad.is_empty(), "{bad}: {:?}", full(bad));
        }
    }
}
