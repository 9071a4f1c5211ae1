//! Evaluation on the widest registers that the processor has.
//!
//! In and out as [`BitForest::add_leaves`], of which this is the same code, compiled thrice. The
//! choice is made when the program runs; without a processor that is known, the portable body is
//! all there is. This is the one place of the project with unsafe code, and all that is unsafe
//! about it is the call of a body compiled for instructions that were asked for the line before.

use super::Node;
use super::block::BitForest;
use super::block::Lane;
use super::block::ROWS;

/// Work that gains from wide registers. Its body has to be inlined (`#[inline(always)]`), and so
/// has what it calls, or it stays as it was compiled.
pub(in crate::model) trait Work {
    /// What it gives.
    type Out;

    /// Does it.
    fn run(self) -> Self::Out;
}

/// Does the work on registers twice as wide where the processor has them: the same operations in
/// the same order, and so the same bits.
pub(in crate::model) fn widest<W: Work>(work: W) -> W::Out {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("bmi1") {
        #[allow(unsafe_code, reason = "a body for instructions that this processor has")]
        // SAFETY: the processor has both sets of instructions, which was asked just now.
        unsafe {
            return on_avx2(work);
        }
    }
    work.run()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1")]
fn on_avx2<W: Work>(work: W) -> W::Out {
    work.run()
}

/// Adds the leaves of all trees to the sums of the rows of a block.
pub(super) fn add_leaves(bits: &BitForest, nodes: &[Node], block: &[Lane], sums: &mut [f64; ROWS]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx512f")
        && std::arch::is_x86_feature_detected!("avx512bw")
        && std::arch::is_x86_feature_detected!("avx512dq")
        && std::arch::is_x86_feature_detected!("avx512vl")
        && std::arch::is_x86_feature_detected!("bmi1")
    {
        #[allow(unsafe_code, reason = "a body for instructions that this processor has")]
        // SAFETY: the processor has all of these sets of instructions, which was asked just now.
        unsafe {
            add_leaves_avx512(bits, nodes, block, sums);
        }
        return;
    }
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

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,bmi1")]
fn add_leaves_avx512(bits: &BitForest, nodes: &[Node], block: &[Lane], sums: &mut [f64; ROWS]) {
    bits.add_leaves(nodes, block, sums);
}
