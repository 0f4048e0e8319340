//! The open connections, by a small number that events carry. An event for a connection that is closed meanwhile, and whose
//! place has been taken by another, is told apart by the place's age.

use super::connection::Connection;

/// A connection's place and its age, as one word for epoll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub(super) place: u32,
    age: u32,
}

impl Token {
    pub(super) fn word(self) -> u64 {
        u64::from(self.age) << 32 | u64::from(self.place)
    }

    pub(super) fn from_word(word: u64) -> Self {
        Token { place: (word & u64::from(u32::MAX)) as u32, age: (word >> 32) as u32 }
    }
}

#[derive(Debug, Default)]
pub(super) struct Slots {
    places: Vec<(u32, Option<Connection>)>,
    free: Vec<u32>,
}

impl Slots {
    /// Bounded by the caller, who opens no more than it may.
    pub(super) fn insert(&mut self, connection: Connection) -> Token {
        let place = self.free.pop().unwrap_or_else(|| {
            self.places.push((0, None));
            (self.places.len() - 1) as u32
        });
        let (age, occupant) = &mut self.places[place as usize];
        *occupant = Some(connection);
        Token { place, age: *age }
    }

    pub(super) fn get(&mut self, token: Token) -> Option<&mut Connection> {
        let (age, connection) = self.places.get_mut(token.place as usize)?;
        if *age == token.age { connection.as_mut() } else { None }
    }

    /// Take it out; its token is worth nothing from now on.
    pub(super) fn remove(&mut self, token: Token) -> Option<Connection> {
        let (age, connection) = self.places.get_mut(token.place as usize)?;
        if *age != token.age {
            return None;
        }
        let taken = connection.take()?;
        *age = age.wrapping_add(1);
        self.free.push(token.place);
        Some(taken)
    }

    /// All that are open.
    pub(super) fn iter(&self) -> impl Iterator<Item = (Token, &Connection)> {
        (0_u32..).zip(&self.places).filter_map(|(place, (age, connection))| {
            connection.as_ref().map(|connection| (Token { place, age: *age }, connection))
        })
    }
}
