//! Where a customer stands, and what it means that this changed.
//!
//! In: an answer, and the standing before. Out: whether anything changed that a business acts on
//! (tier, segment, heartbeats), and a record of it. Silence changes all three without an event, so
//! whoever keeps standings has to look again and again. It deliberately keeps nothing itself.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::{Answer, Engine};
use crate::decision::{Heartbeat, HeartbeatStates, Segment, Tier};

/// The form of a standing's bytes.
const FORMAT: u8 = 1;
/// The form of a transition's record.
const RECORD_VERSION: u32 = 1;
/// Reasons kept of a tier: a record stays short.
const REASONS_MAX: usize = 8;

/// What of a customer is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Risk tier after the policy's overrides.
    pub tier: Option<Tier>,
    /// Segment.
    pub segment: Segment,
    /// Signals against the customer's own past.
    pub heartbeat: HeartbeatStates,
}

impl Standing {
    /// Of an answer.
    #[must_use]
    pub const fn of(answer: &Answer<'_>) -> Self {
        let decision = &answer.decision;
        Self { tier: decision.tier, segment: decision.segment, heartbeat: decision.heartbeat }
    }

    /// As 14 bytes: the form, tier, segment, three heartbeats (0 for none, else their number), and
    /// who judged, little-endian.
    #[must_use]
    pub fn to_bytes(&self, judge: u64) -> Vec<u8> {
        let HeartbeatStates { orders, activity, spend } = self.heartbeat;
        let beat = |beat: Option<Heartbeat>| beat.map_or(0, |beat| beat as u8 + 1);
        let tier = self.tier.map_or(0, |tier| tier as u8);
        let mut bytes =
            vec![FORMAT, tier, self.segment as u8, beat(orders), beat(activity), beat(spend)];
        bytes.extend_from_slice(&judge.to_le_bytes());
        bytes
    }

    /// Back from its bytes, with who judged; none for bytes of another form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<(Self, u64)> {
        let ([FORMAT, tier, segment, beats @ ..], judge) = bytes.split_first_chunk::<6>()? else {
            return None;
        };
        let beat = |at: usize| match beats[at] {
            0 => Some(None),
            n => Some(Some(*Heartbeat::ALL.get(usize::from(n) - 1)?)),
        };
        let tier = match *tier {
            0 => None,
            n => Some(*Tier::ALL.get(usize::from(n) - 1)?),
        };
        let segment = *Segment::ALL.get(usize::from(*segment))?;
        let heartbeat = HeartbeatStates { orders: beat(0)?, activity: beat(1)?, spend: beat(2)? };
        Some((Self { tier, segment, heartbeat }, u64::from_le_bytes(judge.try_into().ok()?)))
    }
}

impl Engine {
    /// Who judges: model and policy as one number. Another one may see every customer otherwise.
    #[must_use]
    pub fn judge(&self) -> u64 {
        let mut bytes = self.model_version().as_bytes().to_vec();
        bytes.extend_from_slice(&self.policy().id().hash);
        xxh3_64(&bytes)
    }
}

/// What brought a change about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Cause {
    /// New events.
    Events,
    /// Time alone.
    Time,
    /// Another model or policy.
    Model,
}

/// A standing in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StandingV1 {
    /// Risk tier.
    pub tier: Option<String>,
    /// Segment.
    pub segment: String,
    /// Heartbeat of orders.
    pub orders: Option<String>,
    /// Heartbeat of activity.
    pub activity: Option<String>,
    /// Heartbeat of spend.
    pub spend: Option<String>,
}

impl From<Standing> for StandingV1 {
    fn from(standing: Standing) -> Self {
        let Standing { tier, segment, heartbeat } = standing;
        let HeartbeatStates { orders, activity, spend } = heartbeat;
        let beat = |beat: Option<Heartbeat>| beat.map(|beat| beat.as_str().to_owned());
        Self {
            tier: tier.map(|tier| tier.as_str().to_owned()),
            segment: segment.as_str().to_owned(),
            orders: beat(orders),
            activity: beat(activity),
            spend: beat(spend),
        }
    }
}

impl TryFrom<&StandingV1> for Standing {
    /// A word that this version does not know.
    type Error = String;

    fn try_from(words: &StandingV1) -> Result<Self, String> {
        let StandingV1 { tier, segment, orders, activity, spend } = words;
        let unknown = |word: &str| word.to_owned();
        let tier = match tier {
            Some(word) => Some(Tier::parse(word).ok_or_else(|| unknown(word))?),
            None => None,
        };
        let found = Segment::ALL.into_iter().find(|one| one.as_str() == segment);
        let beat = |word: &Option<String>| match word {
            Some(word) => {
                let found = Heartbeat::ALL.into_iter().find(|one| one.as_str() == word);
                found.map(Some).ok_or_else(|| unknown(word))
            }
            None => Ok(None),
        };
        let (orders, activity, spend) = (beat(orders)?, beat(activity)?, beat(spend)?);
        Ok(Self {
            tier,
            segment: found.ok_or_else(|| unknown(segment))?,
            heartbeat: HeartbeatStates { orders, activity, spend },
        })
    }
}

/// The record of a change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TransitionV1 {
    /// The form of the record, 1.
    pub v: u32,
    /// Where the customer stood; none for a customer seen for the first time.
    pub before: Option<StandingV1>,
    /// Where the customer stands.
    pub after: StandingV1,
    /// What brought it about.
    pub cause: Cause,
    /// The instant it speaks of, microseconds since 1970.
    pub as_of: i64,
    /// Time of the newest event it rests on, microseconds since 1970.
    pub facts_as_of: Option<i64>,
    /// Reason codes of the tier, at most eight.
    pub tier_reasons: Vec<String>,
    /// `models/NAME/versions/VERSION` that judged.
    pub model: String,
}

impl TransitionV1 {
    /// The record of an answer.
    #[must_use]
    pub fn new(answer: &Answer<'_>, before: Option<Standing>, cause: Cause, model: &str) -> Self {
        let reasons = answer.decision.tier_reasons.iter().take(REASONS_MAX);
        Self {
            v: RECORD_VERSION,
            before: before.map(StandingV1::from),
            after: Standing::of(answer).into(),
            cause,
            as_of: answer.as_of.instant().micros(),
            facts_as_of: answer.facts_as_of.map(crate::domain::Timestamp::micros),
            tier_reasons: reasons.map(|reason| (*reason).to_owned()).collect(),
            model: model.to_owned(),
        }
    }

    /// As JSON.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Only a map with keys that are no texts, or a writer, could fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Back from its bytes; none for those of another form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes).ok().filter(|found: &Self| found.v == RECORD_VERSION)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_comes_back_from_bytes_and_words() {
        let beats = Heartbeat::ALL.into_iter().map(Some).chain([None]);
        for tier in Tier::ALL.into_iter().map(Some).chain([None]) {
            for segment in Segment::ALL {
                for beat in beats.clone() {
                    let heartbeat = HeartbeatStates { orders: beat, activity: None, spend: beat };
                    let standing = Standing { tier, segment, heartbeat };
                    let bytes = standing.to_bytes(u64::MAX - 3);
                    assert_eq!(Standing::from_bytes(&bytes), Some((standing, u64::MAX - 3)));
                    assert_eq!(Standing::try_from(&StandingV1::from(standing)), Ok(standing));
                }
            }
        }
        let good = [1, 3, 12, 4, 0, 1, 7, 0, 0, 0, 0, 0, 0, 0];
        assert!(Standing::from_bytes(&good).is_some());
        for (at, byte) in [(0, 2), (1, 4), (2, 13), (3, 5)] {
            let mut bytes = good;
            bytes[at] = byte;
            assert_eq!(Standing::from_bytes(&bytes), None, "{at}");
        }
        assert_eq!(Standing::from_bytes(&good[..13]), None);
    }
}
