//! The evaluation of a block of rows on the widest registers that the processor has.
//!
//! In and out as [`BitForest::add_leaves`], of which this is the same code, compiled twice. The
//! choice is made when the program runs; without a processor that is known, the portable body is
//! all there is. This is the one place of the project with unsafe code, and all that is unsafe
//! about it is the call of a body compiled for instructions that were asked for the line before.

use super::Node;
use super::block::BitForest;
use super::block::Lane;
use super::block::ROWS;

/// Adds the leaves of all trees to the sums of the rows of a block.
pub(super) fn add_leaves(bits: &BitForest, nodes: &[Node], block: &[Lane], sums: &mut [f64; ROWS]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("bmi1") {
        #[allow(unsafe_code, reason = "a body for instructions that this processor has")]
        // SAFETY: the processor has both sets of instructions, which was asked just now.
        unsafe {
            add_leaves_avx2(bits, nodes, block, sums);
        }
        return;
    }
    bits.add_leaves(nodes, block, sums);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1")]
fn add_leaves_avx2(bits: &BitForest, nodes: &[Node], block: &[Lane], sums: &mut [f64; ROWS]) {
    bits.add_leaves(nodes, block, sums);
}
