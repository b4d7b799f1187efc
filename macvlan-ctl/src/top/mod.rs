//! `top`: children and their rates on a terminal screen.
//!
//! `feed` reads, again and again; `model` turns what was read into rows with rates and
//! history; `screen` holds what the user has chosen, and answers to keys (`keys`); `draw`
//! paints it on a frame of ratatui. But for the feed nothing here touches the machine: time comes in
//! as an argument, so every screen can be tested.

mod columns;
pub mod draw;
pub mod feed;
mod history;
mod keys;
mod layout;
mod model;
mod order;
pub mod screen;
#[cfg(test)]
mod tests;
mod text;

pub use self::keys::HELP;
