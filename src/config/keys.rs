//! The file of keys: who may call a server, what for, and how often.
//!
//! In: the text of the file, or what a new key shall be allowed. Out: checked grants by the id of
//! a key and by the name in a client's certificate, or a new key with its entry for the file. The
//! file holds the SHA-256 of a key and never the key: 256 random bits need no slow hash, since
//! nobody can try them out. It deliberately draws no random bits itself and knows no request.
//!
//! ```text
//! [[key]]
//! id = "crm"                    # told in logs and quotas
//! sha256 = "9f86d0..."          # of the whole key, tenure_crm_...
//! roles = ["score", "ingest"]   # admin may do everything
//! calls_per_second = 500        # no limit where it is missing
//!
//! [[certificate]]
//! name = "crm.example.org"      # a DNS name of the client's certificate
//! roles = ["score"]
//! ```

use std::collections::BTreeMap;
use std::fmt;
use std::fmt::Write;

use serde::Deserialize;
use sha2::{Digest, Sha256};
use thiserror::Error;

/// Begins every key, so that scanners for leaked secrets find it.
const MARK: &str = "tenure_";
/// Random bytes in a key.
pub const KEY_BYTES: usize = 32;
const ID_CHARS_MAX: usize = 64;
/// More callers than this belong behind a gateway of their own.
const ENTRIES_MAX: usize = 10_000;
/// Above any rate that one server reaches.
const CALLS_PER_SECOND_MAX: u32 = 10_000_000;

/// What a caller may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Ask for scores, customers and what is served.
    Score,
    /// Send events and outcomes.
    Ingest,
    /// Everything, such as loading models, exporting and erasing.
    Admin,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Score, Self::Ingest, Self::Admin];

    /// Its name in files and on the command line.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Score => "score",
            Self::Ingest => "ingest",
            Self::Admin => "admin",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == text)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// What one caller may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Grant {
    /// Id of the key, or a DNS name of the certificate.
    pub name: String,
    /// What for.
    pub roles: Vec<Role>,
    /// Most calls a second, on average over a second; none: no limit.
    pub calls_per_second: Option<u32>,
}

impl Grant {
    /// Whether it covers a role.
    #[must_use]
    pub fn allows(&self, role: Role) -> bool {
        self.roles.iter().any(|held| *held == role || *held == Role::Admin)
    }

    /// Checks what was read or said.
    ///
    /// # Errors
    /// All that is wrong, a line each.
    pub fn check(
        name: &str,
        roles: &[String],
        calls_per_second: Option<u32>,
    ) -> Result<Self, Vec<String>> {
        let mut problems = Vec::new();
        let mut held = Vec::new();
        for text in roles {
            match Role::parse(text) {
                Some(role) => held.push(role),
                None => problems.push(format!("role {text:?}: score, ingest or admin is wanted")),
            }
        }
        if roles.is_empty() {
            problems.push("it has no role: score, ingest or admin is wanted".to_owned());
        }
        if calls_per_second.is_some_and(|n| n == 0 || n > CALLS_PER_SECOND_MAX) {
            problems.push(format!("calls_per_second must be 1 to {CALLS_PER_SECOND_MAX}"));
        }
        if !problems.is_empty() {
            return Err(problems);
        }
        held.sort();
        held.dedup();
        Ok(Self { name: name.to_owned(), roles: held, calls_per_second })
    }
}

/// Whether a text can be the id of a key: lower-case letters, digits and hyphens.
#[must_use]
pub fn is_key_id(text: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(fits)
}

/// All problems of a file of keys.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} problem(s) in the file of keys\n{}", .0.len(), .0.iter().map(|one| format!("  {one}")).collect::<Vec<_>>().join("\n"))]
pub struct KeyFileError(pub Vec<String>);

/// A key as the file knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct HeldKey {
    sha256: [u8; 32],
    grant: Grant,
}

/// A checked file of keys.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeyFile {
    keys: BTreeMap<String, HeldKey>,
    certificates: Vec<Grant>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKeyFile {
    #[serde(default)]
    key: Vec<RawKey>,
    #[serde(default)]
    certificate: Vec<RawCertificate>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawKey {
    id: String,
    sha256: String,
    roles: Vec<String>,
    calls_per_second: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCertificate {
    name: String,
    roles: Vec<String>,
    calls_per_second: Option<u32>,
}

impl KeyFile {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// [`KeyFileError`] with everything that is wrong. What an entry says of its hash is never
    /// repeated.
    pub fn parse(text: &str) -> Result<Self, KeyFileError> {
        let raw: RawKeyFile =
            toml::from_str(text).map_err(|error| KeyFileError(vec![error.message().to_owned()]))?;
        let (mut file, mut problems) = (Self::default(), Vec::new());
        for (idx, key) in raw.key.iter().enumerate() {
            let at = format!("key {} ({:?})", idx + 1, key.id);
            if !is_key_id(&key.id) {
                problems.push(format!(
                    "{at}: an id has 1 to {ID_CHARS_MAX} lower-case letters, digits and hyphens"
                ));
            }
            let sha256 = from_hex(&key.sha256);
            if sha256.is_none() {
                problems.push(format!("{at}: sha256 must have 64 hexadecimal digits"));
            }
            match Grant::check(&key.id, &key.roles, key.calls_per_second) {
                Err(found) => problems.extend(found.iter().map(|text| format!("{at}: {text}"))),
                Ok(grant) => {
                    let held = HeldKey { sha256: sha256.unwrap_or_default(), grant };
                    if file.keys.insert(key.id.clone(), held).is_some() {
                        problems.push(format!("{at}: the id is there twice"));
                    }
                }
            }
        }
        for (idx, one) in raw.certificate.iter().enumerate() {
            let at = format!("certificate {} ({:?})", idx + 1, one.name);
            if one.name.is_empty() {
                problems.push(format!("{at}: a DNS name of the certificate is wanted"));
            }
            match Grant::check(&one.name, &one.roles, one.calls_per_second) {
                Err(found) => problems.extend(found.iter().map(|text| format!("{at}: {text}"))),
                Ok(grant) => file.certificates.push(grant),
            }
        }
        if file.n_entries() > ENTRIES_MAX {
            problems.push(format!("{} entries, at most {ENTRIES_MAX}", file.n_entries()));
        }
        if problems.is_empty() { Ok(file) } else { Err(KeyFileError(problems)) }
    }

    /// Whom a key belongs to. How long it takes tells nothing of the hash that is held: ids are
    /// no secret, and the hashes are compared to the last byte.
    #[must_use]
    pub fn find(&self, key: &str) -> Option<&Grant> {
        let found = Sha256::digest(key.as_bytes());
        let id = key.strip_prefix(MARK).and_then(|rest| rest.split('_').next());
        let held = id.and_then(|id| self.keys.get(id));
        let sha256 = held.map_or([0; 32], |held| held.sha256);
        let differs = found.iter().zip(sha256).fold(0_u8, |acc, (a, b)| acc | (a ^ b));
        held.filter(|_| std::hint::black_box(differs) == 0).map(|held| &held.grant)
    }

    /// Grants by the DNS name of a certificate.
    #[must_use]
    pub fn certificates(&self) -> &[Grant] {
        &self.certificates
    }

    /// How many keys and certificates there are.
    #[must_use]
    pub fn n_entries(&self) -> usize {
        self.keys.len() + self.certificates.len()
    }

    /// Grants of all keys, by id.
    pub fn keys(&self) -> impl Iterator<Item = &Grant> {
        self.keys.values().map(|held| &held.grant)
    }
}

/// A new key: told once, kept as its hash.
#[derive(Clone, PartialEq, Eq)]
pub struct NewKey {
    /// The key. Nobody can work it out again.
    pub key: String,
    /// Its entry for the file.
    pub entry: String,
}

impl fmt::Debug for NewKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewKey").field("entry", &self.entry).finish_non_exhaustive()
    }
}

impl NewKey {
    /// Makes a key from random bytes; the grant's name is its id.
    #[must_use]
    pub fn new(grant: &Grant, random: &[u8; KEY_BYTES]) -> Self {
        let id = &grant.name;
        let key = format!("{MARK}{id}_{}", to_hex(random));
        let sha256 = to_hex(&Sha256::digest(key.as_bytes()));
        let roles: Vec<String> =
            grant.roles.iter().map(|role| format!("{:?}", role.as_str())).collect();
        let mut entry = format!(
            "[[key]]\nid = \"{id}\"\nsha256 = \"{sha256}\"\nroles = [{}]\n",
            roles.join(", ")
        );
        if let Some(n) = grant.calls_per_second {
            // Writing to a string cannot fail.
            let _ = writeln!(entry, "calls_per_second = {n}");
        }
        Self { key, entry }
    }
}

fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; 32];
    for (idx, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * idx..2 * idx + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grant(name: &str, roles: &[&str], rate: Option<u32>) -> Grant {
        let roles: Vec<String> = roles.iter().map(|role| (*role).to_owned()).collect();
        Grant::check(name, &roles, rate).unwrap()
    }

    #[test]
    fn a_new_key_is_found_by_its_entry_and_no_other_is() {
        let crm = NewKey::new(&grant("crm", &["score", "ingest"], Some(50)), &[7; KEY_BYTES]);
        let etl = NewKey::new(&grant("etl-2", &["ingest"], None), &[8; KEY_BYTES]);
        let file = KeyFile::parse(&format!("{}\n{}", crm.entry, etl.entry)).unwrap();
        assert_eq!(file.find(&crm.key), Some(&grant("crm", &["ingest", "score"], Some(50))));
        assert_eq!(file.find(&etl.key).unwrap().name, "etl-2");
        let last = crm.key.len() - 1;
        let stolen = crm.key.replace("crm", "etl-2");
        let others =
            ["", "tenure_", "tenure_crm_", &crm.key[..last], &format!("{}0", crm.key), &stolen];
        for other in others {
            assert_eq!(file.find(other), None, "{other:?}");
        }
        assert!(!crm.entry.contains(&crm.key[11..]), "the file must not hold the key");
        assert!(!format!("{crm:?}").contains(&crm.key));
    }

    #[test]
    fn admin_covers_every_role_and_others_only_their_own() {
        for role in Role::ALL {
            assert!(grant("a", &["admin"], None).allows(role));
            assert_eq!(grant("a", &["score"], None).allows(role), role == Role::Score);
            assert_eq!(grant("a", &["ingest"], None).allows(role), role == Role::Ingest);
        }
    }

    #[test]
    fn all_problems_of_a_file_are_told_at_once() {
        let text = "[[key]]\nid = 'A b'\nsha256 = '12'\nroles = ['boss']\ncalls_per_second = 0\n\
                    [[certificate]]\nname = ''\nroles = []\n";
        let KeyFileError(found) = KeyFile::parse(text).unwrap_err();
        for part in ["lower-case", "64 hexadecimal", "boss", "calls_per_second", "DNS", "no role"] {
            assert!(found.iter().any(|text| text.contains(part)), "{part} in {found:?}");
        }
        assert_eq!(found.len(), 6, "{found:?}");
        assert!(KeyFile::parse("[[key]]\nid = 'a'\ncolour = 1").is_err());
        let crm = NewKey::new(&grant("crm", &["score"], None), &[7; KEY_BYTES]).entry;
        let KeyFileError(twice) = KeyFile::parse(&crm.repeat(2)).unwrap_err();
        assert!(twice[0].contains("twice"), "{twice:?}");
    }
}
