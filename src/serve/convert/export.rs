//! What an export holds, to and from the wire.

use crate::serve::pb;
use crate::store::{ExportCounts, ExportManifestV1};

/// A manifest as a message.
pub(in crate::serve) fn manifest(manifest: &ExportManifestV1) -> pb::ExportManifest {
    let ExportManifestV1 { format, commit, shard, counts, bytes, sha256 } = manifest;
    let ExportCounts { pins, watermarks, states, dedupe } = *counts;
    pb::ExportManifest {
        format: *format,
        commit: *commit,
        shard: shard.map(u32::from),
        pin_count: pins,
        watermark_count: watermarks,
        state_count: states,
        event_id_count: dedupe,
        byte_count: *bytes,
        sha256: unhex(sha256),
    }
}

/// A manifest out of a message; none where the shard is none.
pub(in crate::serve) fn manifest_of(message: &pb::ExportManifest) -> Option<ExportManifestV1> {
    let pb::ExportManifest {
        format,
        commit,
        shard,
        pin_count: pins,
        watermark_count: watermarks,
        state_count: states,
        event_id_count: dedupe,
        byte_count: bytes,
        sha256,
    } = message;
    Some(ExportManifestV1 {
        format: *format,
        commit: *commit,
        shard: shard.map(u16::try_from).transpose().ok()?,
        counts: ExportCounts {
            pins: *pins,
            watermarks: *watermarks,
            states: *states,
            dedupe: *dedupe,
        },
        bytes: *bytes,
        sha256: sha256.iter().map(|byte| format!("{byte:02x}")).collect(),
    })
}

/// Bytes out of hexadecimal digits, which are ours and sound.
fn unhex(text: &str) -> Vec<u8> {
    let digit = |at: usize| text.get(at..at + 2).and_then(|two| u8::from_str_radix(two, 16).ok());
    (0..text.len()).step_by(2).filter_map(digit).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_comes_back_from_the_wire() {
        for shard in [None, Some(1_023)] {
            let counts = ExportCounts { pins: 1, watermarks: 2, states: 3, dedupe: 4 };
            let sha256 = "00ff7a".to_owned();
            let held = ExportManifestV1 { format: 1, commit: 9, shard, counts, bytes: 8, sha256 };
            assert_eq!(manifest_of(&manifest(&held)), Some(held));
        }
        let bad = pb::ExportManifest { shard: Some(70_000), ..Default::default() };
        assert_eq!(manifest_of(&bad), None);
    }
}
