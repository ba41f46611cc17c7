//! Bilinear resizing, where each value is a mean of two along each axis.

use tract_onnx::{
    prelude::*,
    tract_core::{
        internal::*,
        ops::nn::resize::{AxisPlan, Interpolator, Resize},
    },
};

use crate::parts::{Numbers, Scratch, output, picture};

/// A bilinear resizing.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Bilinear {
    /// What coordinates mean.
    plan: Resize,
    /// Channels, height and width of the input.
    input: [usize; 3],
    /// Channels, height and width of the output.
    output: [usize; 3],
    /// By how much, down and across.
    scales: Numbers,
    scratch: Scratch,
}

impl Op for Bilinear {
    fn name(&self) -> StaticName {
        "BilinearResize".into()
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for Bilinear {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let input = input.try_as_plain_ram()?;
        let from = input.as_slice()?;
        let ([_, height, _], [.., width]) = (self.input, self.output);
        output(self.output, |to| {
            self.scratch.lend(height * width, |lines| self.run(from, to, lines));
            Ok(())
        })
    }
}

impl TypedOp for Bilinear {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [channels, height, width] = self.output;
        Ok(tvec!(inputs[0].datum_type.fact([1, channels, height, width])))
    }

    as_op!();
}

impl Bilinear {
    fn run(&self, from: &[f32], to: &mut [f32], lines: &mut [f32]) {
        let [down, across] = [1, 2].map(|axis| {
            let (input, output) = (self.input[axis], self.output[axis]);
            means(&self.plan.plan_axis(self.scales[axis - 1], input, output))
        });
        let ([_, height, width], [_, out_height, out_width]) = (self.input, self.output);
        let planes = from.chunks_exact(height * width);
        for (from, to) in planes.zip(to.chunks_exact_mut(out_height * out_width)) {
            for (from, line) in from.chunks_exact(width).zip(lines.chunks_exact_mut(out_width)) {
                for (value, mean) in line.iter_mut().zip(&across) {
                    *value = from[mean.first] * mean.one + from[mean.second] * mean.other;
                }
            }
            for (to, mean) in to.chunks_exact_mut(out_width).zip(&down) {
                let [first, second] =
                    [mean.first, mean.second].map(|line| &lines[line * out_width..][..out_width]);
                for ((to, first), second) in to.iter_mut().zip(first).zip(second) {
                    *to = first * mean.one + second * mean.other;
                }
            }
        }
    }
}

/// Of which two values a value is the mean, and how much each counts.
struct Mean {
    first: usize,
    second: usize,
    one: f32,
    other: f32,
}

fn means(plan: &AxisPlan) -> Vec<Mean> {
    let pairs = plan.indices.chunks_exact(2).zip(plan.weights.chunks_exact(2));
    pairs
        .map(|(index, weight)| Mean {
            first: index[0],
            second: index[1],
            one: weight[0],
            other: weight[1],
        })
        .collect()
}

/// Replaces a bilinear resizing of pictures.
pub(crate) fn rule(
    scratch: &Scratch,
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    resize: &Resize,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if!(resize.interpolator == Interpolator::Linear);
    rule_if_some!(input = picture(model.outlet_fact(node.inputs[0])?));
    rule_if_some!(output = picture(&node.outputs[0].fact));
    rule_if!(input[0] == output[0]);
    let given = match resize.optional_scales_input.and_then(|slot| node.inputs.get(slot)) {
        Some(scales) => model.outlet_fact(*scales)?.konst.clone(),
        None => None,
    };
    let scales = match given.filter(|scales| scales.len() == 4) {
        Some(scales) => {
            scales.cast_to::<f32>()?.try_as_plain_ram()?.as_slice::<f32>()?[2..].to_vec()
        }
        None => vec![output[1] as f32 / input[1] as f32, output[2] as f32 / input[2] as f32],
    };
    let op = Bilinear {
        plan: resize.clone(),
        input,
        output,
        scales: scales.into(),
        scratch: scratch.clone(),
    };
    TypedModelPatch::replace_single_op(model, node, &node.inputs[..1], op)
        .with_context(|| format!("{name} by means of two"))
        .map(Some)
}
