//! Unchecked settings in layers, and the reader that checks them one by one.
//!
//! In: what flags, environment and file say. Out: typed values, each with its origin, and every
//! issue found on the way. It deliberately knows no setting by name.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::fmt::Write;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};

use thiserror::Error;
use toml::Value;

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// The command line.
    Flag,
    /// A variable of the environment.
    Environment,
    /// The configuration file.
    File,
    /// Nobody said anything.
    Default,
}

/// The settings as a TOML file, each with a comment on where it came from.
#[must_use]
pub fn settings_toml(settings: &[Setting]) -> String {
    settings.iter().fold(String::new(), |mut text, setting| {
        let Setting { key, text: value, origin } = setting;
        let is_list = value.starts_with('[') && value.ends_with(']');
        let is_bare =
            is_list || value == "true" || value == "false" || value.parse::<u64>().is_ok();
        // Writing to a string cannot fail.
        let _ = match (value.as_str(), is_bare) {
            ("-", _) => writeln!(text, "# {key} is not set"),
            (_, true) => writeln!(text, "{key} = {value}  # {origin}"),
            (_, false) => {
                let quoted = Value::String(value.clone());
                writeln!(text, "{key} = {quoted}  # {origin}")
            }
        };
        text
    })
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

/// One setting as it holds, for printing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// Its key.
    pub key: &'static str,
    /// Its value as text; `-` for none.
    pub text: String,
    /// Where it came from.
    pub origin: Origin,
}

/// One problem of a configuration.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ConfigIssue {
    /// A key that nobody knows.
    #[error("{origin}: {key:?} is not a setting{hint}")]
    UnknownKey {
        /// Where it was found.
        origin: Origin,
        /// The key.
        key: String,
        /// Which one was meant, perhaps.
        hint: String,
    },
    /// A setting that has no default was not given.
    #[error("{key} is missing: give --{flag}, TENURE_*_{variable} or {key} in the file")]
    Missing {
        /// The key.
        key: &'static str,
        /// As a flag.
        flag: String,
        /// As the end of a variable's name.
        variable: String,
    },
    /// A value that cannot be used.
    #[error("{origin}: {key} is {found}, {wanted} is wanted")]
    BadValue {
        /// Where it was found.
        origin: Origin,
        /// The key.
        key: &'static str,
        /// The value.
        found: String,
        /// What would do.
        wanted: String,
    },
    /// Settings that do not go together.
    #[error("{text}")]
    Conflict {
        /// Which, why, and what to do.
        text: String,
    },
}

/// Why there is no configuration.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// The file is no TOML.
    #[error("{}: {source}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: Box<toml::de::Error>,
    },
    /// All the problems found.
    #[error("{}", listed(.0))]
    Issues(Vec<ConfigIssue>),
}

fn listed(issues: &[ConfigIssue]) -> String {
    let lines: Vec<String> = issues.iter().map(|issue| format!("  {issue}")).collect();
    format!("{} problem(s) in the configuration\n{}", issues.len(), lines.join("\n"))
}

/// Reads a configuration file.
///
/// # Errors
/// [`ConfigError::Read`] and [`ConfigError::Syntax`].
pub fn read_file(path: &Path) -> Result<toml::Table, ConfigError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| ConfigError::Read { path: path.to_owned(), source })?;
    text.parse::<toml::Table>()
        .map_err(|source| ConfigError::Syntax { path: path.to_owned(), source: Box::new(source) })
}

/// What each source says, by key. A value of the environment is a text; the file's have types.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// The command line, only what was given.
    pub flags: BTreeMap<String, String>,
    /// The environment, see [`process_environment`](super::process_environment).
    pub environment: BTreeMap<String, String>,
    /// The file.
    pub file: toml::Table,
}

/// Takes settings out of the layers one by one and notes what is wrong.
#[derive(Debug)]
pub(super) struct Reader {
    layers: Layers,
    known: BTreeSet<&'static str>,
    settings: Vec<Setting>,
    issues: Vec<ConfigIssue>,
}

impl Reader {
    pub(super) fn new(layers: Layers) -> Self {
        Self { layers, known: BTreeSet::new(), settings: Vec::new(), issues: Vec::new() }
    }

    /// The winning value of a key, as text.
    fn find(&mut self, key: &'static str) -> Option<(String, Origin)> {
        self.known.insert(key);
        if let Some(text) = self.layers.flags.get(key) {
            return Some((text.clone(), Origin::Flag));
        }
        if let Some(text) = self.layers.environment.get(key) {
            return Some((text.clone(), Origin::Environment));
        }
        let text = match self.layers.file.get(key)? {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        Some((text, Origin::File))
    }

    fn note(&mut self, key: &'static str, text: String, origin: Origin) {
        self.settings.push(Setting { key, text, origin });
    }

    /// A value read by `parse`, which says what is wanted where it fails.
    pub(super) fn parsed<T>(
        &mut self,
        key: &'static str,
        default: T,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> T
    where
        T: fmt::Display,
    {
        match self.find(key) {
            None => {
                self.note(key, default.to_string(), Origin::Default);
                default
            }
            Some((text, origin)) => match parse(&text) {
                Ok(value) => {
                    self.note(key, text, origin);
                    value
                }
                Err(wanted) => {
                    let found = format!("{text:?}");
                    self.issues.push(ConfigIssue::BadValue { origin, key, found, wanted });
                    default
                }
            },
        }
    }

    /// A text that may be missing; an empty one counts as missing.
    pub(super) fn optional(&mut self, key: &'static str) -> Option<String> {
        let found = self.find(key).filter(|(text, _)| !text.is_empty());
        let (text, origin) = match found {
            Some((text, origin)) => (Some(text), origin),
            None => (None, Origin::Default),
        };
        self.note(key, text.clone().unwrap_or_else(|| "-".to_owned()), origin);
        text
    }

    /// Several texts: a list in the file, separated by `:` in the environment, the flag repeated
    /// on the command line (where lines of the text stand for the repetitions).
    pub(super) fn list(&mut self, key: &'static str) -> Vec<String> {
        let listed = match self.layers.file.get(key) {
            Some(Value::Array(items)) => {
                Some(items.iter().map(|item| item.as_str().map(str::to_owned)).collect())
            }
            _ => None,
        };
        let Some((text, origin)) = self.find(key).filter(|(text, _)| !text.is_empty()) else {
            self.note(key, "-".to_owned(), Origin::Default);
            return Vec::new();
        };
        let parts: Option<Vec<String>> = match origin {
            Origin::Flag => Some(text.lines().map(str::to_owned).collect()),
            Origin::Environment => Some(text.split(':').map(str::to_owned).collect()),
            Origin::File => listed.unwrap_or_else(|| Some(vec![text.clone()])),
            Origin::Default => None,
        };
        let Some(parts) = parts else {
            let wanted = "a list of texts".to_owned();
            self.issues.push(ConfigIssue::BadValue { origin, key, found: text, wanted });
            return Vec::new();
        };
        let quoted = parts.iter().cloned().map(Value::String).collect();
        self.note(key, Value::Array(quoted).to_string(), origin);
        parts
    }

    /// A value that must be there, read by `parse`; none where it is missing or wrong, which is
    /// noted.
    pub(super) fn required_parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.required(key);
        if text.is_empty() {
            return None;
        }
        self.checked(key, &text, parse)
    }

    /// A value that may be missing, read by `parse`.
    pub(super) fn optional_parsed<T>(
        &mut self,
        key: &'static str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        let text = self.optional(key)?;
        self.checked(key, &text, parse)
    }

    fn checked<T>(
        &mut self,
        key: &'static str,
        text: &str,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(wanted) => {
                let origin = self.settings.last().map_or(Origin::Default, |held| held.origin);
                let found = format!("{text:?}");
                self.issues.push(ConfigIssue::BadValue { origin, key, found, wanted });
                None
            }
        }
    }

    /// Whether nothing has been found wrong with a key so far.
    pub(super) fn is_clean_of(&self, wanted: &str) -> bool {
        !self
            .issues
            .iter()
            .any(|issue| matches!(issue, ConfigIssue::BadValue { key, .. } if *key == wanted))
    }

    /// What a key that was read before says; none where nobody said anything.
    pub(super) fn peek(&self, key: &str) -> Option<String> {
        let held = self.settings.iter().find(|setting| setting.key == key)?;
        (held.origin != Origin::Default).then(|| held.text.clone())
    }

    /// Notes an issue.
    pub(super) fn issue(&mut self, issue: ConfigIssue) {
        self.issues.push(issue);
    }

    /// Knows keys that this run does not use, but another of the same program does.
    pub(super) fn tolerate(&mut self, keys: &[&'static str]) {
        self.known.extend(keys);
    }

    /// A text that must be there.
    pub(super) fn required(&mut self, key: &'static str) -> String {
        self.optional(key).unwrap_or_else(|| {
            let (flag, variable) = (key.replace('_', "-"), key.to_ascii_uppercase());
            self.issues.push(ConfigIssue::Missing { key, flag, variable });
            String::new()
        })
    }

    /// A whole number within limits.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        default: u64,
        limits: RangeInclusive<u64>,
    ) -> u64 {
        let wanted = format!("a whole number from {} to {}", limits.start(), limits.end());
        self.parsed(key, default, |text| {
            let number = text.replace('_', "").parse().ok();
            number.filter(|number| limits.contains(number)).ok_or_else(|| wanted.clone())
        })
    }

    /// True or false.
    pub(super) fn flag(&mut self, key: &'static str) -> bool {
        self.parsed(key, false, |text| match text {
            "true" | "1" => Ok(true),
            "false" | "0" => Ok(false),
            _ => Err("true or false".to_owned()),
        })
    }

    /// Notes that settings do not go together.
    pub(super) fn conflict(&mut self, text: String) {
        self.issues.push(ConfigIssue::Conflict { text });
    }

    /// The settings as they hold, if there is no issue and no key is left over.
    pub(super) fn finish(mut self) -> Result<Vec<Setting>, ConfigError> {
        let strangers = (self.layers.flags.keys().map(|key| (Origin::Flag, key)))
            .chain(self.layers.environment.keys().map(|key| (Origin::Environment, key)))
            .chain(self.layers.file.keys().map(|key| (Origin::File, key)))
            .filter(|(_, key)| !self.known.contains(key.as_str()));
        for (origin, key) in strangers {
            let known: Vec<&str> = self.known.iter().copied().collect();
            let hint = format!(" (known: {})", known.join(", "));
            self.issues.push(ConfigIssue::UnknownKey { origin, key: key.clone(), hint });
        }
        if self.issues.is_empty() {
            Ok(self.settings)
        } else {
            Err(ConfigError::Issues(self.issues))
        }
    }
}
