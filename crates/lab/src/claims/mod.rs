//! What is commonly said about hosting Python, put to the test.

pub mod c10;
pub mod c11;
pub mod c12;
pub mod c3;
pub mod c4;
mod pairing;

pub use pairing::Concluded;
