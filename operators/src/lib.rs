//! Operators for tract's graphs that are faster than its own on what a detector is made of:
//! convolutions of a picture, pooling, enlarging. They need no instructions that only some
//! processors have; matrices are multiplied by `matrixmultiply`, which looks for those itself.

mod parts;
mod patches;
mod pool;
mod resize;
mod tile;
mod winograd;

use tract_onnx::{prelude::*, tract_core::model::Rewriter};

/// Replaces what can be done faster, and makes the rest tidy: what comes back is decluttered and
/// not yet optimised. Its results are the same but for the rounding of sums. What is not a single
/// picture in 32 bits and of a known size stays as it is.
///
/// # Errors
/// The engine's, if a model contradicts itself.
pub fn quicken(mut model: TypedModel) -> TractResult<TypedModel> {
    let scratch = parts::Scratch::default();
    // The engine makes einsums of convolutions of single values, and takes these apart where their
    // input is joined, so they have to be met before.
    model.prop_consts()?;
    Rewriter::default()
        .with_rule_for("pointwise", patches::pointwise_rule)
        .rewrite(&scratch, &mut model)?;
    let mut model = model.into_decluttered()?;
    Rewriter::default()
        .with_rule_for("winograd", winograd::rule)
        .with_rule_for("patches", patches::rule)
        .with_rule_for("pool", pool::rule)
        .with_rule_for("resize", resize::rule)
        .rewrite(&scratch, &mut model)?;
    model.into_decluttered()
}
