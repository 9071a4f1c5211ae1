//! Identities: who a customer is, and which event is which.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_128;

/// Longest accepted customer id, in bytes: longer ones are a sign of a mis-mapped column.
const ID_BYTES_MAX: usize = 256;

/// Why a string is no identity.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum IdError {
    /// Nothing but white space, or nothing at all.
    #[error("the id is empty")]
    Empty,
    /// Longer than the accepted number of bytes.
    #[error("the id has {found} bytes, at most {ID_BYTES_MAX} are accepted")]
    TooLong {
        /// Its length in bytes.
        found: usize,
    },
    /// It holds a control character, such as a line break.
    #[error("the id holds a control character")]
    Control,
}

/// A customer: an opaque string, compared, hashed and keyed as its raw bytes. Copies share it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CustomerId(Arc<str>);

impl CustomerId {
    /// Takes an id as it is: 1 to 256 bytes, no control characters, nothing trimmed.
    ///
    /// # Errors
    /// [`IdError`] when the string is empty, too long or holds a control character.
    pub fn try_new(text: &str) -> Result<Self, IdError> {
        Self::check(text)?;
        Ok(Self(text.into()))
    }

    /// Whether a text is an id, without making it one.
    ///
    /// # Errors
    /// As [`CustomerId::try_new`].
    pub(crate) fn check(text: &str) -> Result<(), IdError> {
        // Nearly every id is plain: one look at each byte tells.
        let is_plain = |byte: u8| byte.is_ascii_graphic();
        if (1..=ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(is_plain) {
            return Ok(());
        }
        if text.trim().is_empty() {
            return Err(IdError::Empty);
        }
        if text.len() > ID_BYTES_MAX {
            return Err(IdError::TooLong { found: text.len() });
        }
        if text.chars().any(char::is_control) {
            return Err(IdError::Control);
        }
        Ok(())
    }

    /// The id as it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CustomerId({:?})", &*self.0)
    }
}

impl fmt::Display for CustomerId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event's identity: 128 bits of the producer's own id, or of the row's content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(u128);

impl EventId {
    /// From the producer's own id, the idempotency key of intake.
    ///
    /// # Errors
    /// [`IdError`] as for a customer id.
    pub fn try_from_source(text: &str) -> Result<Self, IdError> {
        CustomerId::check(text)?;
        Ok(Self(xxh3_128(text.as_bytes())))
    }

    /// From a row's content and its number among identical rows (0 for the first), so that
    /// identical rows stay distinct and a replayed file gives the same ids.
    #[must_use]
    pub fn from_content(content: &[u8], occurrence: u64) -> Self {
        let mut bytes = Vec::with_capacity(content.len() + 9);
        bytes.extend_from_slice(content);
        Self::from_content_in(&mut bytes, occurrence)
    }

    /// The same of content in a buffer, which is longer meanwhile and left as it was.
    #[must_use]
    pub fn from_content_in(content: &mut Vec<u8>, occurrence: u64) -> Self {
        let n_bytes = content.len();
        content.push(0x1f);
        content.extend_from_slice(&occurrence.to_be_bytes());
        let id = Self(xxh3_128(content));
        content.truncate(n_bytes);
        id
    }

    /// From bits stored earlier.
    #[must_use]
    pub const fn from_bits(bits: u128) -> Self {
        Self(bits)
    }

    /// The 128 bits.
    #[must_use]
    pub const fn bits(self) -> u128 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_kept_byte_for_byte() {
        for text in ["42", "Zoë", " padded ", "customers/7"] {
            assert_eq!(CustomerId::try_new(text).unwrap().as_str(), text);
        }
    }

    #[test]
    fn what_is_no_id_is_refused() {
        assert_eq!(CustomerId::try_new(""), Err(IdError::Empty));
        assert_eq!(CustomerId::try_new("  "), Err(IdError::Empty));
        assert_eq!(CustomerId::try_new("a\nb"), Err(IdError::Control));
        let long = "x".repeat(257);
        assert_eq!(CustomerId::try_new(&long), Err(IdError::TooLong { found: 257 }));
    }

    #[test]
    fn identical_rows_have_distinct_ids() {
        assert_ne!(EventId::from_content(b"a,1", 0), EventId::from_content(b"a,1", 1));
        assert_eq!(EventId::from_content(b"a,1", 3), EventId::from_content(b"a,1", 3));
    }
}
