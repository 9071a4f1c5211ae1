//! Who, when and how much: the newtypes that every other room speaks in.
//!
//! In: raw strings and numbers. Out: values that cannot be wrong in the way the type rules out.
//! It deliberately knows no file format, no clock and no model.

mod channel;
mod id;
mod money;
mod prob;
mod time;

pub use channel::{Channel, ChannelError, Name, NameError};
pub use id::{CustomerId, EventId, IdError};
pub use money::{Currency, Money, MoneyError};
pub use prob::{Probability, ProbabilityError};
pub use time::{AsOf, Day, Days, TimeError, Timestamp, Zone};
