//! Reading every entry of a store on disk and checking it.

use super::super::error::hex;
use super::super::key;
use super::super::{StateStore, StoreError, VerifyIssue, VerifyReport};
use super::{SledStore, bad_state, codec_v1, dedupe_commit, length, parse_dedupe, parse_place};

impl SledStore {
    pub(super) fn verify_all(&self) -> Result<VerifyReport, StoreError> {
        let mut report = VerifyReport { n_states_expected: self.count()?, ..Default::default() };
        for entry in self.entries(vec![key::TAG_STATE]) {
            let (key, value) = entry?;
            report.n_states += 1;
            let state = codec_v1::decode(&key[1..], &value);
            match parse_place(&key).and(state.map_err(|source| bad_state(&key, source))) {
                Ok(state) => {
                    report.state_bytes = report.state_bytes.saturating_add(length(&state.bytes));
                }
                Err(error) => report.note(issue(&key, &error)),
            }
        }
        for entry in self.entries(vec![key::TAG_DEDUPE]) {
            let (key, value) = entry?;
            report.n_dedupe += 1;
            if let Err(error) = parse_dedupe(&key).and(dedupe_commit(&key, &value)) {
                report.note(issue(&key, &error));
            }
        }
        self.verify_notices(&mut |key, error| report.note(issue(key, error)))?;
        Ok(report)
    }
}

fn issue(key: &[u8], error: &StoreError) -> VerifyIssue {
    VerifyIssue { key_hex: hex(key), problem: error.to_string() }
}
