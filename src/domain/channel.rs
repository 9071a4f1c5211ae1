//! The channels a business reaches its customers by, and short names of things.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

/// Longest accepted name, in bytes.
const NAME_BYTES_MAX: usize = 64;

/// A text that is no channel.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "{found:?} is not a channel (one of email, push, in_app, content_card, sms, web_banner, paid_social, human)"
)]
pub struct ChannelError {
    /// The text found.
    pub found: String,
}

/// A way to reach a customer. The set is closed: caps, consents and campaigns name these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Channel {
    /// Electronic mail.
    Email = 0,
    /// Push notification.
    Push = 1,
    /// Message inside the app.
    InApp = 2,
    /// Card in a news feed.
    ContentCard = 3,
    /// Text message.
    Sms = 4,
    /// Banner on the web site.
    WebBanner = 5,
    /// Paid reach in a social network.
    PaidSocial = 6,
    /// A person: note, call, visit.
    Human = 7,
}

impl Channel {
    /// All channels, in the order of their numbers.
    pub const ALL: [Self; 8] = [
        Self::Email,
        Self::Push,
        Self::InApp,
        Self::ContentCard,
        Self::Sms,
        Self::WebBanner,
        Self::PaidSocial,
        Self::Human,
    ];

    /// Its position in [`Channel::ALL`], stable on disk.
    #[must_use]
    pub const fn index(self) -> usize {
        self as usize
    }

    /// Its name in policies, files and protos.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Email => "email",
            Self::Push => "push",
            Self::InApp => "in_app",
            Self::ContentCard => "content_card",
            Self::Sms => "sms",
            Self::WebBanner => "web_banner",
            Self::PaidSocial => "paid_social",
            Self::Human => "human",
        }
    }

    /// From its name.
    ///
    /// # Errors
    /// [`ChannelError`] for any other text.
    pub fn parse(text: &str) -> Result<Self, ChannelError> {
        Self::ALL
            .into_iter()
            .find(|channel| channel.as_str() == text)
            .ok_or_else(|| ChannelError { found: text.to_owned() })
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A short name of a thing: a category, campaign, activity, device, persona or tag. Copies share
/// it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name(Arc<str>);

/// Why a text is no name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{found:?} is not a name: 1 to {NAME_BYTES_MAX} bytes without control characters")]
pub struct NameError {
    /// The text found, cut to its first characters.
    pub found: String,
}

impl Name {
    /// Takes a text of 1 to 64 bytes; surrounding white space is dropped.
    ///
    /// # Errors
    /// [`NameError`] for an empty or longer text, or one with a control character.
    pub fn try_new(text: &str) -> Result<Self, NameError> {
        Self::check(text).map(|text| Self(text.into()))
    }

    /// The text of the name that a text is, without making it one.
    ///
    /// # Errors
    /// As [`Name::try_new`].
    pub(crate) fn check(text: &str) -> Result<&str, NameError> {
        // Nearly every name is plain: one look at each byte tells.
        if (1..=NAME_BYTES_MAX).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic())
        {
            return Ok(text);
        }
        let text = text.trim();
        if text.is_empty() || text.len() > NAME_BYTES_MAX || text.chars().any(char::is_control) {
            return Err(NameError { found: text.chars().take(32).collect() });
        }
        Ok(text)
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_survives_its_name_and_its_number() {
        for (idx, channel) in Channel::ALL.into_iter().enumerate() {
            assert_eq!(channel.index(), idx);
            assert_eq!(Channel::parse(channel.as_str()), Ok(channel));
        }
        assert!(Channel::parse("Email").is_err());
    }

    #[test]
    fn a_name_is_short_and_visible() {
        assert_eq!(Name::try_new(" GROCERY ").unwrap().as_str(), "GROCERY");
        for bad in ["", "  ", "a\tb"] {
            assert!(Name::try_new(bad).is_err(), "{bad:?}");
        }
        assert!(Name::try_new(&"x".repeat(65)).is_err());
    }
}
