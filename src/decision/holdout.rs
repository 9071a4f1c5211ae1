//! Who is left alone on purpose: membership in experiments is a pure hash.
//!
//! In: a salt, a customer id, a share. Out: an arm. u = the first 8 bytes of
//! SHA-256(salt || 0x1f || customer id), big endian, over 2^64; control where u < share. Anybody
//! can work it out again, in any language.
//!
//! Every experiment has a salt of its own, derived from one root (the installation's, or the one
//! fixed in the policy): `<root>/global` for the global control, `<root>/campaign/<id>` for a
//! campaign's, `<root>/variant/<id>` for its versions, `<root>/explore` for exploration. Reusing
//! one salt would leave out the same people everywhere; a new root draws all groups anew and ends
//! every running comparison.

use std::fmt;

use sha2::Digest;
use sha2::Sha256;
use thiserror::Error;

use crate::decision::campaigns::SALT_BYTES_MIN;
use crate::decision::policy::Campaign;
use crate::decision::policy::Policy;
use crate::decision::policy::SaltSource;

/// Stands between salt and id, so that neither can grow into the other.
const SEPARATOR: u8 = 0x1f;
/// 2^64.
const TWO_POW_64: f64 = 18_446_744_073_709_551_616.0;
/// Buckets of an experiment, for reports.
const BUCKETS: f64 = 10_000.0;

/// Where a customer falls in an experiment with this salt, in [0, 1).
#[must_use]
pub fn unit_interval(salt: &str, customer_id: &str) -> f64 {
    place(&salted(salt), customer_id)
}

fn salted(salt: &str) -> Sha256 {
    Sha256::new().chain_update(salt.as_bytes()).chain_update([SEPARATOR])
}

fn place(salted: &Sha256, customer_id: &str) -> f64 {
    let digest = salted.clone().chain_update(customer_id.as_bytes()).finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    #[allow(clippy::cast_precision_loss, reason = "53 of 64 bits are far more than shares need")]
    let number = u64::from_be_bytes(first) as f64;
    // The greatest integers round up to 2^64; the interval is open at 1.
    (number / TWO_POW_64).min(1.0_f64.next_down())
}

/// Why the experiments have no salt.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SaltError {
    /// The policy leaves it to the installation, which gave none.
    #[error(
        "the policy says salt = \"generated\", but the installation has no salt: generate one once and keep it"
    )]
    Missing,
    /// Too short to be a salt, or with control characters.
    #[error(
        "the installation's salt has {found} bytes or holds control characters, at least {SALT_BYTES_MIN} bytes of plain text are needed"
    )]
    Weak {
        /// Its length in bytes.
        found: usize,
    },
}

/// The salts of all experiments of a policy, hashed as far as they can be beforehand.
#[derive(Clone)]
pub struct Salts {
    root: Box<str>,
    global: Sha256,
    explore: Sha256,
    campaigns: Vec<CampaignSalts>,
}

#[derive(Clone)]
struct CampaignSalts {
    id: Box<str>,
    control: Sha256,
    variant: Sha256,
}

impl CampaignSalts {
    fn new(root: &str, id: &str) -> Self {
        Self {
            id: id.into(),
            control: salted(&campaign_salt(root, id)),
            variant: salted(&variant_salt(root, id)),
        }
    }
}

impl Salts {
    /// Derives the salts from the installation's, or from the one fixed in the policy, which then
    /// goes first.
    ///
    /// # Errors
    /// [`SaltError`] where the policy fixes none and the installation's is missing or too short.
    pub fn try_new(policy: &Policy, installation: Option<&str>) -> Result<Self, SaltError> {
        let root = match (&policy.gates.salt, installation) {
            (SaltSource::Fixed(salt), _) => salt,
            (SaltSource::Generated, None) => return Err(SaltError::Missing),
            (SaltSource::Generated, Some(salt)) => salt,
        };
        if root.trim().len() < SALT_BYTES_MIN || root.chars().any(char::is_control) {
            return Err(SaltError::Weak { found: root.len() });
        }
        let campaigns = policy
            .campaigns
            .iter()
            .map(|campaign| CampaignSalts::new(root, &campaign.id))
            .collect();
        let (global, explore) = (salted(&global_salt(root)), salted(&explore_salt(root)));
        Ok(Self { root: root.into(), global, explore, campaigns })
    }

    pub(crate) fn global(&self, customer_id: &str) -> f64 {
        place(&self.global, customer_id)
    }

    pub(crate) fn explore(&self, customer_id: &str) -> f64 {
        place(&self.explore, customer_id)
    }

    /// The salts may have been derived for another policy: then the campaign's is derived here.
    pub(crate) fn campaign(&self, idx: usize, id: &str, customer_id: &str) -> f64 {
        match self.campaigns.get(idx) {
            Some(known) if *known.id == *id => place(&known.control, customer_id),
            _ => unit_interval(&campaign_salt(&self.root, id), customer_id),
        }
    }

    /// As [`Salts::campaign`], for the campaign's versions.
    pub(crate) fn variant(&self, idx: usize, id: &str, customer_id: &str) -> f64 {
        match self.campaigns.get(idx) {
            Some(known) if *known.id == *id => place(&known.variant, customer_id),
            _ => unit_interval(&variant_salt(&self.root, id), customer_id),
        }
    }

    /// All experiments of a policy as they are drawn with these salts, to be held against what
    /// an installation ran before. A fingerprint tells salts apart and gives none away.
    #[must_use]
    pub fn experiments(&self, policy: &Policy) -> Vec<ExperimentSetup> {
        let setup = |name: String, salt: &str, arms: String| {
            let digest = Sha256::digest(format!("fingerprint\u{1f}{salt}"));
            let fingerprint = digest[..8].iter().map(|byte| format!("{byte:02x}")).collect();
            ExperimentSetup { name, fingerprint, arms }
        };
        let mut found = Vec::new();
        let share = policy.gates.global_control_share;
        if share > 0.0 {
            let arms = format!("control {share}");
            found.push(setup("global".to_owned(), &global_salt(&self.root), arms));
        }
        if policy.gates.explore_share > 0.0 {
            let arms = format!("explore {}", policy.gates.explore_share);
            found.push(setup("explore".to_owned(), &explore_salt(&self.root), arms));
        }
        for campaign in &policy.campaigns {
            let (id, share) = (&campaign.id, campaign.control_share());
            if share > 0.0 {
                let (name, arms) = (format!("campaign/{id}"), format!("control {share}"));
                found.push(setup(name, &campaign_salt(&self.root, id), arms));
            }
            if !campaign.variants.is_empty() {
                let (name, arms) = (format!("variant/{id}"), campaign.variants.join(" "));
                found.push(setup(name, &variant_salt(&self.root, id), arms));
            }
        }
        found
    }
}

/// How an experiment is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExperimentSetup {
    /// `global`, `explore`, `campaign/ID` or `variant/ID`.
    pub name: String,
    /// Tells its salt from others.
    pub fingerprint: String,
    /// Its arms and shares.
    pub arms: String,
}

impl fmt::Debug for Salts {
    /// Without the salt: who knows it can tell who is in a control group.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Salts").field("campaigns", &self.campaigns.len()).finish_non_exhaustive()
    }
}

/// The salt of the global control.
#[must_use]
pub fn global_salt(root: &str) -> String {
    format!("{root}/global")
}

/// The salt of a campaign's control.
#[must_use]
pub fn campaign_salt(root: &str, campaign: &str) -> String {
    format!("{root}/campaign/{campaign}")
}

/// The salt of a campaign's versions.
#[must_use]
pub fn variant_salt(root: &str, campaign: &str) -> String {
    format!("{root}/variant/{campaign}")
}

/// The salt of exploration.
#[must_use]
pub fn explore_salt(root: &str) -> String {
    format!("{root}/explore")
}

/// An experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Experiment<'p> {
    /// All campaigns together.
    Global,
    /// One campaign, by id.
    Campaign(&'p str),
    /// The versions of one campaign, by its id.
    Variants(&'p str),
}

impl Experiment<'_> {
    /// Its name in files and protos: `global`, the campaign's id, or `variant/` and the id.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Global => "global".to_owned(),
            Self::Campaign(id) => (*id).to_owned(),
            Self::Variants(id) => format!("variant/{id}"),
        }
    }
}

/// A side of an experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Arm {
    /// Gets what the policy recommends.
    Treatment = 1,
    /// Is left alone.
    Control = 2,
}

impl Arm {
    /// Its name in files and protos.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Treatment => "treatment",
            Self::Control => "control",
        }
    }
}

/// A customer's place in an experiment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Assignment<'p> {
    /// The experiment.
    pub experiment: Experiment<'p>,
    /// The side.
    pub arm: Arm,
    /// The customer's place, in [0, 1).
    pub place: f64,
    /// The place in ten thousandths, 0..=9999.
    pub bucket: u16,
    /// Probability of this side, in (0, 1].
    pub propensity: f64,
    /// The version, where versions are compared; the side is then the treatment.
    pub variant: Option<&'p str>,
}

impl<'p> Assignment<'p> {
    pub(crate) fn new(experiment: Experiment<'p>, place: f64, control_share: f64) -> Self {
        let (arm, propensity) = if place < control_share {
            (Arm::Control, control_share)
        } else {
            (Arm::Treatment, 1.0 - control_share)
        };
        Self { experiment, arm, place, bucket: bucket(place), propensity, variant: None }
    }

    /// The version of a campaign with versions: equal shares in the order of the list.
    pub(crate) fn of_variant(campaign: &'p Campaign, place: f64) -> Option<Self> {
        #[allow(clippy::cast_precision_loss, reason = "a campaign has at most 20 versions")]
        let n = campaign.variants.len() as f64;
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "the place lies in [0, 1) and there are at most 20 versions"
        )]
        let variant = campaign.variants.get((place * n) as usize)?;
        Some(Self {
            experiment: Experiment::Variants(&campaign.id),
            arm: Arm::Treatment,
            place,
            bucket: bucket(place),
            propensity: 1.0 / n,
            variant: Some(variant),
        })
    }
}

fn bucket(place: f64) -> u16 {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the place lies in [0, 1), so the bucket lies in 0..=9999"
    )]
    let bucket = (place * BUCKETS) as u16;
    bucket
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked out once with hashlib:
    /// int.from_bytes(sha256(salt + b"\x1f" + id).digest()[:8]) / 2^64.
    const VECTORS: &str = include_str!("../../tests/golden/decision/holdout.csv");

    #[test]
    fn the_reference_vectors_are_met() {
        let mut n = 0;
        for line in VECTORS.lines().filter(|line| !line.starts_with('#')) {
            let [salt, id, expected] = line.split(',').collect::<Vec<_>>()[..] else {
                panic!("{line}")
            };
            let expected: f64 = expected.parse().unwrap();
            assert_eq!(unit_interval(salt, id).to_bits(), expected.to_bits(), "{line}");
            n += 1;
        }
        assert_eq!(n, 8);
    }

    #[test]
    fn places_are_uniform_and_independent_across_salts() {
        let (n, cells) = (40_000, 10);
        let mut counts = vec![0_u32; cells * cells];
        for idx in 0..n {
            let id = format!("cust_{idx}");
            let cell = |salt: &str| {
                let bucket =
                    Assignment::new(Experiment::Global, unit_interval(salt, &id), 0.0).bucket;
                usize::from(bucket) * cells / 10_000
            };
            counts[cell("one salt/global") * cells + cell("one salt/campaign/upsell")] += 1;
        }
        let expected = f64::from(n) / (cells * cells) as f64;
        let chi2: f64 =
            counts.iter().map(|&count| (f64::from(count) - expected).powi(2) / expected).sum();
        // 99 degrees of freedom: mean 99, standard deviation 14.1.
        assert!((45.0..155.0).contains(&chi2), "chi squared {chi2}");
    }

    #[test]
    fn shares_and_propensities_belong_together() {
        for (place, share, arm, propensity) in [
            (0.0, 0.05, Arm::Control, 0.05),
            (0.049, 0.05, Arm::Control, 0.05),
            (0.05, 0.05, Arm::Treatment, 0.95),
            (0.0, 0.0, Arm::Treatment, 1.0),
            (0.999_999, 1.0, Arm::Control, 1.0),
        ] {
            let found = Assignment::new(Experiment::Global, place, share);
            assert_eq!(found.arm, arm);
            assert!((found.propensity - propensity).abs() < 1e-15);
        }
        assert_eq!(Assignment::new(Experiment::Global, 0.123_45, 0.1).bucket, 1234);
        assert_eq!(Assignment::new(Experiment::Global, 1.0_f64.next_down(), 0.1).bucket, 9999);
    }

    #[test]
    fn salts_are_needed_unless_the_policy_fixes_one() {
        let policy = Policy::default_policy().unwrap();
        assert_eq!(Salts::try_new(&policy, None).unwrap_err(), SaltError::Missing);
        assert_eq!(
            Salts::try_new(&policy, Some("short")).unwrap_err(),
            SaltError::Weak { found: 5 }
        );
        let salts = Salts::try_new(&policy, Some("installation-1")).unwrap();
        assert!(!format!("{salts:?}").contains("installation-1"));
        let by_hand = unit_interval("installation-1/global", "42");
        assert_eq!(salts.global("42").to_bits(), by_hand.to_bits());
        let by_hand = unit_interval("installation-1/campaign/upsell", "42");
        let idx = policy.campaigns.iter().position(|campaign| &*campaign.id == "upsell").unwrap();
        for idx in [idx, 0, 999] {
            assert_eq!(salts.campaign(idx, "upsell", "42").to_bits(), by_hand.to_bits());
        }
        let fixed = Policy::default_text().replace("\"generated\"", "\"fixed-in-the-policy\"");
        let fixed = Salts::try_new(&Policy::parse(&fixed).unwrap(), Some("other-salt")).unwrap();
        let by_hand = unit_interval("fixed-in-the-policy/global", "42");
        assert_eq!(fixed.global("42").to_bits(), by_hand.to_bits());
    }
}
