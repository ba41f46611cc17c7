//! A blob's name is its SHA-256.

use cloudcore_protocol::BlobHash;

#[test]
fn a_blob_is_named_as_sha256sum_names_it() {
    assert_eq!(
        BlobHash::of(b"abc").to_string(),
        "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    );
}

#[test]
fn a_hash_of_another_length_is_refused() {
    for len in [0, 31, 33] {
        let bytes = minicbor::to_vec(minicbor::bytes::ByteVec::from(vec![7; len])).unwrap();
        assert!(minicbor::decode::<BlobHash>(&bytes).is_err(), "{len} bytes");
    }
}
