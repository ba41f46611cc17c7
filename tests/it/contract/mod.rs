//! The contract, line by line: what `tests/contract/cloudcore-api.md` shows is done, in its
//! order, as its author wrote it, and what comes is of the shape that it shows.
//!
//! The data beside the page says for each of its examples what is expected, and where it differs
//! from the page, why. Nothing of the page may be missing there.

mod page;
mod requests;
mod shape;
