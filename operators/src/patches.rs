//! Convolutions as one matrix product: of the weights, and of what lies under the filter for each
//! value of the output.
//!
//! tract does the same, but copies the input to pad it, and looks each value up by itself for each
//! few rows of the product. Here a strip of the output is gathered once, line by line.

use std::ops::Range;

use tract_onnx::{
    prelude::*,
    tract_core::{
        internal::*,
        ops::{
            cnn::{Conv, KernelFormat},
            nn::DataFormat,
        },
    },
};

use crate::parts::{Activation, Numbers, Scratch, Weights, multiply, output, picture};

/// How many gathered values are worked on at once.
const STRIP: usize = 256 * 1024;
/// With fewer values under the filter a matrix product is no gain.
const LEAST_VALUES: usize = 64;
/// With fewer channels in the output gathering costs more than multiplying.
const LEAST_CHANNELS: usize = 16;

/// Where the values lie.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Geometry {
    /// Channels, height and width of the input.
    input: [usize; 3],
    /// Padding above and on the left.
    padding: [usize; 2],
    /// Height and width of the filter.
    filter: [usize; 2],
    stride: [usize; 2],
    /// Channels, height and width of the output.
    output: [usize; 3],
}

impl Geometry {
    /// Whether the input is a matrix of patches already.
    fn is_pointwise(&self) -> bool {
        self.filter == [1, 1] && self.stride == [1, 1] && self.input[1..] == self.output[1..]
    }

    fn patch(&self) -> usize {
        self.input[0] * self.filter[0] * self.filter[1]
    }
}

/// The convolution, its bias and its activation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct PatchConv {
    geometry: Geometry,
    /// What each value of a patch counts for each channel of the output.
    filters: Numbers,
    bias: Numbers,
    activation: Activation,
    scratch: Scratch,
}

impl Op for PatchConv {
    fn name(&self) -> StaticName {
        "PatchConv".into()
    }

    fn validation(&self) -> Validation {
        Validation::Rounding
    }

    op_as_typed_op!();
}

impl EvalOp for PatchConv {
    op_out_of_plan!();

    fn eval(&self, _: &EvalContext, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
        let input = args_1!(inputs);
        let input = input.try_as_plain_ram()?;
        let from = input.as_slice()?;
        output(self.geometry.output, |to| self.run(from, to))
    }
}

impl TypedOp for PatchConv {
    fn output_facts(&self, inputs: &[&TypedFact]) -> TractResult<TVec<TypedFact>> {
        let [channels, height, width] = self.geometry.output;
        Ok(tvec!(inputs[0].datum_type.fact([1, channels, height, width])))
    }

    as_op!();
}

impl PatchConv {
    fn run(&self, from: &[f32], to: &mut [f32]) -> TractResult<()> {
        let Geometry { output: [_, height, width], .. } = self.geometry;
        let (patch, plane) = (self.geometry.patch(), height * width);
        if self.geometry.is_pointwise() {
            multiply(&self.filters, from, to, patch, plane, 0..plane)?;
            self.finish(to, 0..plane);
            return Ok(());
        }
        let most = (STRIP / (patch * width)).clamp(1, height);
        self.scratch.lend(patch * most * width, |patches| {
            for start in (0..height).step_by(most) {
                let rows = start..height.min(start + most);
                let patches = &mut patches[..patch * rows.len() * width];
                self.gather(rows.clone(), from, patches);
                let columns = rows.start * width..rows.end * width;
                multiply(&self.filters, patches, to, patch, plane, columns.clone())?;
                self.finish(to, columns);
            }
            Ok(())
        })
    }

    /// What lies under the filter: a matrix of the patch's values by those of the output's rows.
    fn gather(&self, rows: Range<usize>, from: &[f32], patches: &mut [f32]) {
        let Geometry { input: [_, height, width], padding: [top, left], .. } = self.geometry;
        let Geometry { filter, stride, output: [.., across], .. } = self.geometry;
        let mut lines = patches.chunks_exact_mut(across);
        for plane in from.chunks_exact(height * width) {
            for (y, x) in (0..filter[0]).flat_map(|y| (0..filter[1]).map(move |x| (y, x))) {
                // The values of the output for which the filter's column lies in the input.
                let first = left.saturating_sub(x).div_ceil(stride[1]).min(across);
                let end = (width + left).saturating_sub(x).div_ceil(stride[1]).clamp(first, across);
                for (row, line) in rows.clone().zip(&mut lines) {
                    let row = (row * stride[0] + y).checked_sub(top).filter(|row| *row < height);
                    let Some(row) = row.filter(|_| first < end) else {
                        line.fill(0.0);
                        continue;
                    };
                    line[..first].fill(0.0);
                    line[end..].fill(0.0);
                    let values = &plane[row * width..][..width][first * stride[1] + x - left..];
                    match stride[1] {
                        1 => line[first..end].copy_from_slice(&values[..end - first]),
                        2 => spread::<2>(values, &mut line[first..end]),
                        step => {
                            let values = values.iter().step_by(step);
                            line[first..end]
                                .iter_mut()
                                .zip(values)
                                .for_each(|(to, from)| *to = *from);
                        }
                    }
                }
            }
        }
    }

    /// Bias and activation.
    fn finish(&self, to: &mut [f32], columns: Range<usize>) {
        let plane = self.geometry.output[1] * self.geometry.output[2];
        for (plane, bias) in to.chunks_exact_mut(plane).zip(self.bias.iter()) {
            for value in &mut plane[columns.clone()] {
                *value = self.activation.of(*value + bias);
            }
        }
    }
}

/// Every `STEP`-th value, a step that the compiler knows.
fn spread<const STEP: usize>(from: &[f32], to: &mut [f32]) {
    let whole = from.chunks_exact(STEP);
    let last = whole.remainder().first();
    for (to, from) in to.iter_mut().zip(whole.map(|step| &step[0]).chain(last)) {
        *to = *from;
    }
}

fn geometry(model: &TypedModel, node: &TypedNode, conv: &Conv) -> TractResult<Option<Geometry>> {
    let spec = &conv.pool_spec;
    rule_if!(conv.group == 1 && conv.q_params.is_none() && conv.kernel_fmt == KernelFormat::OIHW);
    rule_if!(spec.data_format == DataFormat::NCHW && spec.kernel_shape.len() == 2);
    rule_if!(spec.dilations()[..] == [1, 1] && spec.output_channels >= LEAST_CHANNELS);
    rule_if_some!(input = picture(model.outlet_fact(node.inputs[0])?));
    let sides = spec.computed_padding(&input[1..]);
    let geometry = Geometry {
        input,
        padding: [sides[0].pad_before, sides[1].pad_before],
        filter: [spec.kernel_shape[0], spec.kernel_shape[1]],
        stride: [spec.stride(0), spec.stride(1)],
        output: [spec.output_channels, sides[0].convoluted, sides[1].convoluted],
    };
    rule_if!(
        (geometry.patch() >= LEAST_VALUES || geometry.is_pointwise())
            && !geometry.output.contains(&0)
    );
    Ok(Some(geometry))
}

/// Replaces a convolution of single values, with the activation behind it.
pub(crate) fn pointwise_rule(
    scratch: &Scratch,
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    conv: &Conv,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if!(conv.pool_spec.kernel_shape[..] == [1, 1]);
    rule(scratch, model, node, name, conv)
}

/// Replaces a convolution that is worth it, with the activation behind it.
pub(crate) fn rule(
    scratch: &Scratch,
    model: &TypedModel,
    node: &TypedNode,
    name: &str,
    conv: &Conv,
) -> TractResult<Option<TypedModelPatch>> {
    rule_if_some!(geometry = geometry(model, node, conv)?);
    rule_if_some!(weights = Weights::of(model, node, geometry.output[0])?);
    let channels = geometry.output[0];
    let (kernel, mut filters) = (weights.kernel()?, vec![0.0; channels * geometry.patch()]);
    for (channel, values) in kernel.chunks_exact(geometry.patch()).enumerate() {
        for (filter, value) in filters.chunks_exact_mut(channels).zip(values) {
            filter[channel] = *value;
        }
    }
    let (activation, last) = Activation::behind(model, node)?;
    let op = PatchConv {
        geometry,
        filters: filters.into(),
        bias: weights.bias,
        activation,
        scratch: scratch.clone(),
    };
    let mut patch = TypedModelPatch::new(format!("{name} as a product of patches"));
    let input = patch.tap_model(model, node.inputs[0])?;
    let output = patch.wire_node(&last.name, op, &[input])?;
    patch.shunt_outside(model, last.id.into(), output[0])?;
    Ok(Some(patch))
}
