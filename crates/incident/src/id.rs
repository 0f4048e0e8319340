//! What an incident is called: short, unique also over restarts, and in the order of time.
//!
//! The number behind it is the millisecond in which the incident was first seen, or the next one that is free. Two parts of
//! the program name incidents without asking each other (the router answers visitors, the host books everything else): each
//! draws from a lane of its own. Not a secret: it tells when, and no more.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use crate::code::Code;

/// Crockford's base 32: no I, L, O, U, so that it can be read aloud (<https://www.crockford.com/base32.html>).
const DIGITS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// 45 bits: one for the lane, 44 for milliseconds since 1970, which is enough until the year 2527.
const LENGTH: usize = 9;
const LARGEST: u64 = (1 << (5 * LENGTH)) - 1;

/// See the module documentation. As text: 9 characters, such as `1QX7K2PZ4`, that sort as the numbers do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id(u64);

/// An incident as visitors, the log and the command line name it: `N11-1QX7K2PZ4`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    pub code: Code,
    pub id: Id,
}

/// Who draws.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Host = 0,
    Router = 1,
}

/// A source of ids.
#[derive(Debug, Clone)]
pub struct Ids {
    lane: Lane,
    last: u64,
}

impl Ids {
    #[must_use]
    pub fn new(lane: Lane) -> Self {
        Ids { lane, last: 0 }
    }

    /// The next id at this time since 1970. Also when the clock goes back, it is one that was not drawn before.
    pub fn draw(&mut self, unix: Duration) -> Id {
        let now = u64::try_from(unix.as_millis()).unwrap_or(u64::MAX).min(LARGEST >> 1);
        self.last = now.max(self.last + 1);
        Id(((self.last << 1) | self.lane as u64) & LARGEST)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for place in (0..LENGTH).rev() {
            write!(f, "{}", char::from(DIGITS[(self.0 >> (5 * place)) as usize & 31]))?;
        }
        Ok(())
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.code.as_str(), self.id)
    }
}

/// That is no id of an incident.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoId;

impl FromStr for Id {
    type Err = NoId;

    /// Reads what people write: small letters too, and the letters that look like digits.
    fn from_str(text: &str) -> Result<Self, NoId> {
        if text.len() != LENGTH {
            return Err(NoId);
        }
        text.bytes()
            .try_fold(0, |number, byte| {
                let byte = match byte.to_ascii_uppercase() {
                    b'I' | b'L' => b'1',
                    b'O' => b'0',
                    byte => byte,
                };
                let digit = DIGITS.iter().position(|digit| *digit == byte).ok_or(NoId)?;
                Ok((number << 5) | digit as u64)
            })
            .map(Id)
    }
}

impl FromStr for Name {
    type Err = NoId;

    fn from_str(text: &str) -> Result<Self, NoId> {
        let (code, id) = text.split_once('-').ok_or(NoId)?;
        Ok(Name { code: Code::from_name(code).ok_or(NoId)?, id: id.parse()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_never_repeat_and_are_in_the_order_of_time() {
        let (mut host, mut router) = (Ids::new(Lane::Host), Ids::new(Lane::Router));
        let at = |ms: u64| Duration::from_millis(1_764_000_000_000 + ms);
        let drawn = [
            host.draw(at(0)),
            router.draw(at(0)),
            host.draw(at(0)),
            host.draw(at(0)),
            // The clock was put back.
            host.draw(at(0) - Duration::from_secs(3600)),
            host.draw(at(100)),
        ];
        for pair in [[0, 2], [2, 3], [3, 4], [4, 5]] {
            let [first, second] = pair.map(|index| drawn[index]);
            assert!(first < second && first.to_string() < second.to_string(), "{first} {second}");
        }
        assert!(!drawn[2..].contains(&drawn[1]) && drawn[0] != drawn[1]);
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        let id = Ids::new(Lane::Router).draw(Duration::from_millis(1_764_000_000_000));
        let name = Name { code: Code::N11, id };
        let text = name.to_string();
        assert_eq!(text, "N11-36NPJZM01");
        assert_eq!(text.parse(), Ok(name));
        assert_eq!("n11-36npjzmoL".parse(), Ok(name));
        for bad in [
            "",
            "N11",
            "N11-",
            "N11-36NPJZM0",
            "N11-36NPJZM011",
            "N11-36NPJZMU1",
            "Z11-36NPJZM01",
            "N11-ééééé",
        ] {
            assert_eq!(bad.parse::<Name>(), Err(NoId), "{bad}");
        }
    }
}
