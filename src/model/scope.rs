//! How far settings are searched.

use std::fmt;

/// How far settings of the boosted trees are searched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SearchScope {
    /// Not at all: the usual settings.
    Off,
    /// A handful of settings on a part of the rows.
    #[default]
    Default,
    /// Twice as many on four times the rows.
    Wide,
}

impl SearchScope {
    /// Its name in settings and metrics.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Default => "default",
            Self::Wide => "wide",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Off, Self::Default, Self::Wide].into_iter().find(|scope| scope.as_str() == text)
    }
}

impl fmt::Display for SearchScope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
