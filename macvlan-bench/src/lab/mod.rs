//! What a lab is built from: namespaces and cables.

pub(crate) mod cables;
