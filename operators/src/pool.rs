//! The greatest value under a window: first of its lines, and then along them.

use tract_onnx::{
    prelude::*,
    tract_core::{
        internal::*,
        ops::{cnn::MaxPool, nn::DataFormat},
    },
};

use crate::parts::{Scratch, output, picture};

/// A pooling by the greatest value.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Greatest {
    /// Channels, height and width of the input.
    input: [usize; 3],
    /// Padding above and on the left, of values that are never the greatest.
    padding: [usize; 2],
    /// Height and width of the window.
    window: [usize; 2],
    stride: [usize; 2],
    /// Channels, height and width of the output.
    output: [usize; 3],
    scratch: Scratch,
}

impl Op for Greatest {
    fn name(&self) -> StaticName {
        "LinewiseMaxPool".into()
    }

    op_as_typed_op!();
}

impl EvalOp for Greatest {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let input = input.try_as_plain_ram()?;
        let from = input.as_slice()?;
        output(self.output, |to| {
            // A line that reaches as far as the last window.
            let length = (self.output[2] - 1) * self.stride[1] + self.window[1];
            let length = length.max(self.padding[1] + self.input[2]);
            self.scratch.lend(length, |line| self.run(from, to, line));
            Ok(())
        })
    }
}

impl TypedOp for Greatest {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [channels, height, width] = self.output;
        Ok(tvec!(inputs[0].datum_type.fact([1, channels, height, width])))
    }

    as_op!();
}

impl Greatest {
    fn run(&self, from: &[f32], to: &mut [f32], line: &mut [f32]) {
        let ([_, height, width], [top, left]) = (self.input, self.padding);
        let planes = from.chunks_exact(height * width);
        let plane = self.output[1] * self.output[2];
        line.fill(f32::NEG_INFINITY);
        for (from, to) in planes.zip(to.chunks_exact_mut(plane)) {
            for (y, to) in to.chunks_exact_mut(self.output[2]).enumerate() {
                let inner = &mut line[left..left + width];
                inner.fill(f32::NEG_INFINITY);
                let start = (y * self.stride[0]).saturating_sub(top);
                let end = (y * self.stride[0] + self.window[0]).saturating_sub(top).min(height);
                for from in from.chunks_exact(width).take(end).skip(start) {
                    for (value, from) in inner.iter_mut().zip(from) {
                        *value = greater(*value, *from);
                    }
                }
                for (to, window) in
                    to.iter_mut().zip(line.windows(self.window[1]).step_by(self.stride[1]))
                {
                    *to = window.iter().copied().fold(f32::NEG_INFINITY, greater);
                }
            }
        }
    }
}

/// As processors have it, in one instruction; `f32::max` takes more to get along with NaN.
#[inline(always)]
fn greater(one: f32, other: f32) -> f32 {
    if one > other { one } else { other }
}

/// Replaces a pooling of pictures.
pub(crate) fn rule(
    scratch: &Scratch,
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    pool: &MaxPool,
) -> TractResult<Option<TypedModelPatch>> {
    let spec = &pool.pool_spec;
    rule_if!(pool.with_index_outputs.is_none() && spec.data_format == DataFormat::NCHW);
    rule_if!(spec.kernel_shape.len() == 2 && spec.dilations()[..] == [1, 1]);
    rule_if_some!(input = picture(model.outlet_fact(node.inputs[0])?));
    let sides = spec.computed_padding(&input[1..]);
    let op = Greatest {
        input,
        padding: [sides[0].pad_before, sides[1].pad_before],
        window: [spec.kernel_shape[0], spec.kernel_shape[1]],
        stride: [spec.stride(0), spec.stride(1)],
        output: [input[0], sides[0].convoluted, sides[1].convoluted],
        scratch: scratch.clone(),
    };
    rule_if!(op.output.iter().all(|side| *side > 0));
    TypedModelPatch::replace_single_op(model, node, &node.inputs, op)
        .with_context(|| format!("{name} line by line"))
        .map(Some)
}
