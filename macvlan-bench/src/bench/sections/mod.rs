//! What is measured, one kind of question after the other.

pub mod control;
pub mod crowds;
pub mod frames;
pub mod streams;
pub mod user_space;
