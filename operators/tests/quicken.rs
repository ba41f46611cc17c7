//! A quickened graph against the engine's own operators.
#![allow(clippy::unwrap_used)] // a test may fail by panicking

use cloudcore_operators::quicken;
use tract_onnx::{
    prelude::*,
    tract_core::ops::{
        cnn::{Conv, KernelFormat, MaxPool, PaddingSpec, PoolSpec},
        nn::{
            DataFormat, leaky_relu,
            resize::{CoordTransformer, Interpolator, Nearest, Resize},
        },
    },
};

/// Values that repeat nowhere near, between -1 and 1.
fn values(shape: &[usize], seed: usize) -> Tensor {
    let length: usize = shape.iter().product();
    let mut state = seed as u64 + 1;
    let values: Vec<f32> = (0..length)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / (1 << 23) as f32 - 1.0
        })
        .collect();
    Tensor::from_shape(shape, &values).unwrap()
}

fn spec(channels: [usize; 2], kernel: usize, stride: usize, pads: [usize; 4]) -> PoolSpec {
    let [top, left, bottom, right] = pads;
    PoolSpec {
        data_format: DataFormat::NCHW,
        kernel_shape: tvec!(kernel, kernel),
        padding: PaddingSpec::Explicit(tvec!(top, left), tvec!(bottom, right)),
        dilations: None,
        strides: Some(tvec!(stride, stride)),
        input_channels: channels[0],
        output_channels: channels[1],
    }
}

/// A graph of one operator, and another behind it if `leaky` says so.
fn graph(
    input: [usize; 3],
    leaky: Option<f32>,
    wire: impl FnOnce(&mut TypedModel, OutletId) -> OutletId,
) -> TypedModel {
    let mut model = TypedModel::default();
    let source = model.add_source("input", f32::fact([1, input[0], input[1], input[2]])).unwrap();
    let mut output = wire(&mut model, source);
    if let Some(alpha) = leaky {
        output = model.wire_node("leaky", leaky_relu(alpha), &[output]).unwrap()[0];
    }
    model.select_output_outlets(&[output]).unwrap();
    model
}

fn convolution(
    input: [usize; 3],
    outputs: usize,
    [kernel, stride]: [usize; 2],
    pads: [usize; 4],
    leaky: Option<f32>,
) -> TypedModel {
    graph(input, leaky, |model, source| {
        let kernels = values(&[outputs, input[0], kernel, kernel], 1);
        let kernels = model.add_const("kernel", kernels).unwrap();
        let bias = model.add_const("bias", values(&[outputs], 2)).unwrap();
        let conv = Conv {
            pool_spec: spec([input[0], outputs], kernel, stride, pads),
            kernel_fmt: KernelFormat::OIHW,
            group: 1,
            q_params: None,
        };
        model.wire_node("conv", conv, &[source, kernels, bias]).unwrap()[0]
    })
}

fn run(model: TypedModel, input: &Tensor) -> Tensor {
    let plan = model.into_optimized().unwrap().into_runnable().unwrap();
    plan.run(tvec!(input.clone().into())).unwrap().remove(0).into_tensor()
}

/// Alike but for the rounding of sums.
fn compare(what: &str, wanted: &Tensor, found: &Tensor) {
    assert_eq!(wanted.shape(), found.shape(), "{what}");
    let [wanted, found] =
        [wanted, found].map(|one| one.try_as_plain_ram().unwrap().as_slice::<f32>().unwrap());
    let most = wanted.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
    for (at, (wanted, found)) in wanted.iter().zip(found).enumerate() {
        let close = (wanted - found).abs() <= 1e-5 * most;
        assert!(close, "{what}: value {at} is {found} and not {wanted}, at most {most}");
    }
}

/// The quickened graph has `operator`, and nothing behind it, and the same results.
fn check(what: &str, operator: &str, model: &TypedModel) {
    let shape = model.input_fact(0).unwrap().shape.as_concrete().unwrap().to_vec();
    let quick = quicken(model.clone()).unwrap();
    let last = quick.output_outlets().unwrap()[0].node;
    assert_eq!(quick.node(last).op.name(), operator, "{what}");
    for seed in [3, 4] {
        let input = values(&shape, seed);
        let (wanted, found) = (run(model.clone(), &input), run(quick.clone(), &input));
        compare(what, &wanted, &found);
    }
}

#[test]
fn tiles_give_what_a_convolution_gives() {
    for (height, width) in [(13, 13), (16, 31), (26, 26), (52, 52), (9, 8), (1, 40), (5, 17)] {
        for pads in [[1, 1, 1, 1], [0, 1, 2, 0], [2, 2, 2, 2]] {
            for (leaky, channels) in [(None, [16, 24]), (Some(0.1), [40, 16])] {
                let what = format!("{height} x {width}, {pads:?}, {channels:?}");
                let model =
                    convolution([channels[0], height, width], channels[1], [3, 1], pads, leaky);
                check(&what, "WinogradConv", &model);
            }
        }
    }
}

#[test]
fn patches_give_what_a_convolution_gives() {
    for ([kernel, stride], pads) in [
        ([3, 2], [1, 1, 1, 1]),
        ([3, 2], [0, 0, 1, 1]),
        ([5, 1], [2, 2, 2, 2]),
        ([5, 3], [4, 3, 4, 5]),
        ([2, 2], [0, 0, 0, 0]),
        ([1, 1], [0, 0, 0, 0]),
        ([1, 1], [1, 0, 0, 1]),
        ([1, 2], [0, 0, 0, 0]),
        ([6, 4], [5, 5, 5, 5]),
    ] {
        for (height, width) in [(13, 13), (26, 27), (7, 52)] {
            let what = format!("{height} x {width}, {kernel} by {stride}, {pads:?}");
            let model = convolution([70, height, width], 18, [kernel, stride], pads, Some(0.25));
            check(&what, "PatchConv", &model);
        }
    }
}

#[test]
fn large_pictures_are_done_in_strips() {
    check("tiles", "WinogradConv", &convolution([96, 150, 130], 16, [3, 1], [1; 4], None));
    check("patches", "PatchConv", &convolution([40, 150, 130], 16, [3, 2], [1; 4], None));
}

#[test]
fn an_output_that_is_seen_elsewhere_stays() {
    let mut model = convolution([16, 20, 20], 16, [3, 1], [1; 4], Some(0.1));
    let both: Vec<OutletId> =
        ["conv", "leaky"].map(|name| model.node_id_by_name(name).unwrap().into()).into();
    model.select_output_outlets(&both).unwrap();
    let quick = quicken(model.clone()).unwrap();
    assert!(quick.nodes().iter().any(|node| node.op.name() == "WinogradConv"));
    let input = values(&[1, 16, 20, 20], 5);
    let outputs = [model, quick].map(|model| {
        let plan = model.into_optimized().unwrap().into_runnable().unwrap();
        plan.run(tvec!(input.clone().into())).unwrap()
    });
    for (wanted, found) in outputs[0].iter().zip(&outputs[1]) {
        compare("a convolution and what is behind it", wanted, found);
    }
}

#[test]
fn the_greatest_value_is_the_greatest() {
    for ([kernel, stride], pads) in [
        ([2, 2], [0; 4]),
        ([3, 2], [1; 4]),
        ([5, 1], [2; 4]),
        ([3, 2], [0, 0, 1, 1]),
        ([2, 3], [0; 4]),
    ] {
        for (height, width) in [(13, 13), (20, 27), (6, 5)] {
            let what = format!("{height} x {width}, {kernel} by {stride}, {pads:?}");
            let model = graph([3, height, width], None, |model, source| {
                let pool_spec = spec([3, 3], kernel, stride, pads);
                let pool = MaxPool { pool_spec, with_index_outputs: None };
                model.wire_node("pool", pool, &[source]).unwrap()[0]
            });
            check(&what, "LinewiseMaxPool", &model);
        }
    }
}

#[test]
fn pictures_are_resized_alike() {
    for meaning in
        [CoordTransformer::HalfPixel, CoordTransformer::AlignCorners, CoordTransformer::Asymmetric]
    {
        for (down, across) in [(2.0_f32, 2.0_f32), (1.5, 3.0), (0.5, 0.25), (1.0, 2.0)] {
            let model = graph([3, 12, 20], None, |model, source| {
                let scales = model.add_const("scales", tensor1(&[1.0, 1.0, down, across])).unwrap();
                let resize = Resize {
                    coord_transformer: meaning.clone(),
                    interpolator: Interpolator::Linear,
                    nearest: Nearest::Floor,
                    optional_scales_input: Some(1),
                    optional_sizes_input: None,
                };
                model.wire_node("resize", resize, &[source, scales]).unwrap()[0]
            });
            check(&format!("{meaning:?}, {down} x {across}"), "BilinearResize", &model);
        }
    }
}
