//! The agent's detector against ONNX Runtime, on photographs of known content.
#![allow(clippy::unwrap_used, clippy::panic)] // a test may fail by panicking

use std::{collections::BTreeMap, fs, path::PathBuf};

use cloudcore_agent::detect::{BoundingBox, Detection, Detector};
use serde::Deserialize;

/// What `tests/reference/make_reference.py` wrote.
#[derive(Deserialize)]
struct Reference {
    model_sha256: String,
    confidence: f32,
    photographs: BTreeMap<String, Vec<Seen>>,
}

#[derive(Deserialize, Debug)]
struct Seen {
    label: String,
    class: usize,
    score: f32,
    #[serde(rename = "box")]
    place: BoundingBox,
}

/// What `tests/reference/make_heads.py` wrote.
#[derive(Deserialize)]
struct Heads {
    families: BTreeMap<String, BTreeMap<String, Vec<Seen>>>,
}

fn cache(file: &str) -> PathBuf {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.cache")).join(file);
    assert!(path.exists(), "{} is missing: run deploy/setup.sh", path.display());
    path
}

fn detector() -> Detector {
    match Detector::load(cache("models/nanodet.json")) {
        Ok(detector) => detector,
        Err(error) => panic!("{error}: run deploy/setup.sh"),
    }
}

fn detect(detector: &Detector, photograph: &str, confidence: f32) -> Vec<Detection> {
    let frame = image::open(cache(&format!("photos/{photograph}"))).unwrap().into_rgb8();
    detector.detect(&frame, confidence).unwrap()
}

fn iou(a: &BoundingBox, b: &BoundingBox) -> f32 {
    let width = (a.x + a.width).min(b.x + b.width) - a.x.max(b.x);
    let height = (a.y + a.height).min(b.y + b.height) - a.y.max(b.y);
    let shared = width.max(0.0) * height.max(0.0);
    shared / (a.width * a.height + b.width * b.height - shared)
}

#[test]
fn the_agent_sees_what_onnx_runtime_sees() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/../tests/reference/detections.json");
    let reference: Reference = serde_json::from_slice(&fs::read(reference).unwrap()).unwrap();
    let detector = detector();
    assert_eq!(detector.description().sha256, reference.model_sha256, "another model");
    assert_eq!(reference.photographs.len(), 3);
    for (photograph, wanted) in &reference.photographs {
        let found = detect(&detector, photograph, reference.confidence);
        compare(photograph, wanted, found);
    }
}

fn compare(what: &str, wanted: &[Seen], mut found: Vec<Detection>) {
    for seen in wanted {
        let same = |one: &Detection| {
            one.class == seen.class
                && *one.label == *seen.label
                && iou(&one.bbox, &seen.place) > 0.95
                && (one.confidence - seen.score).abs() < 0.01
        };
        let index = found.iter().position(same);
        let index = index.unwrap_or_else(|| panic!("{what}: no {seen:?} in {found:#?}"));
        found.swap_remove(index);
    }
    assert!(found.is_empty(), "{what}: ONNX Runtime does not see {found:#?}");
}

#[test]
fn every_family_is_read_as_its_authors_read_it() {
    let reference = concat!(env!("CARGO_MANIFEST_DIR"), "/reference");
    let heads = fs::read(format!("{reference}/heads.json")).unwrap();
    let heads: Heads = serde_json::from_slice(&heads).unwrap();
    assert_eq!(heads.families.len(), 4);
    for (family, photographs) in &heads.families {
        let path = match family.as_str() {
            "centerface" => cache("models/centerface.json"),
            family => PathBuf::from(format!("{reference}/heads/{family}.json")),
        };
        let detector = Detector::load(path).unwrap();
        assert!(photographs.values().any(|seen| !seen.is_empty()), "{family} sees nothing");
        for (photograph, wanted) in photographs {
            let found = detect(&detector, photograph, detector.description().confidence);
            compare(&format!("{family}, {photograph}"), wanted, found);
        }
    }
}

#[test]
fn a_person_a_cat_and_a_cup_are_found() {
    let detector = detector();
    for (photograph, object) in
        [("astronaut.png", "person"), ("chelsea.png", "cat"), ("coffee.png", "cup")]
    {
        let found = detect(&detector, photograph, 0.25);
        assert!(found.iter().any(|one| *one.label == *object), "{photograph}: {found:#?}");
    }
}

#[test]
fn boxes_stay_within_the_frame_and_a_high_confidence_leaves_nothing() {
    let detector = detector();
    let frame = image::open(cache("photos/coffee.png")).unwrap().into_rgb8();
    let all = detector.detect(&frame, 0.0).unwrap();
    assert!(!all.is_empty() && all.is_sorted_by(|a, b| a.confidence >= b.confidence));
    let (width, height) = (frame.width() as f32, frame.height() as f32);
    for BoundingBox { x, y, width: w, height: h } in all.iter().map(|one| one.bbox) {
        assert!(x >= 0.0 && y >= 0.0 && x + w <= width + 0.01 && y + h <= height + 0.01);
    }
    assert!(detector.detect(&frame, 1.0).unwrap().is_empty());
}
