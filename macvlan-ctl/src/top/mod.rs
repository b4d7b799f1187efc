//! `top`: children and their rates on a terminal screen.
//!
//! [`feed`] reads, again and again; [`model`] turns what was read into rows with rates and
//! history; [`screen`] holds what the user has chosen, and answers to keys ([`keys`]); [`draw`]
//! paints it on a frame of ratatui. But for the feed nothing here touches the machine: time comes in
//! as an argument, so every screen can be tested.

pub mod columns;
pub mod draw;
pub mod feed;
pub mod history;
pub mod keys;
pub mod layout;
pub mod model;
pub mod order;
pub mod screen;
pub mod text;

#[cfg(test)]
mod tests;
